//! Standard output, where a command's answer goes: as text for people, or as JSON with `--json`.
//!
//! Invariant: an answer that was not written whole is an error, whatever was done before it.

use std::io::Write;

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result, Snippet};
use crate::terminal::safe_json;

/// Prints to standard output.
///
/// # Errors
/// Not all of it could be written: the disk is full, or who reads it has ended.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    is_open().and_then(|()| out.write_all(text.as_bytes())).and_then(|()| out.flush()).map_err(lost)
}

/// Whether there is a standard output to write to.
pub(super) fn is_open() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    if ticket_host_worker::output_was_closed() {
        return Err(std::io::Error::other("it is closed"));
    }
    Ok(())
}

/// Prints a JSON value on lines of its own.
///
/// # Errors
/// As those of [`print`].
pub(super) fn print_json(value: &Value) -> Result<()> {
    print(&safe_json(&format!("{value:#}\n")))
}

/// Prints what is a text for programs, too, such as a script: as JSON, the member `text`.
///
/// # Errors
/// As those of [`print`].
pub(super) fn print_text(text: &str, as_json: bool) -> Result<()> {
    if as_json { print_json(&json!({"text": text})) } else { print(text) }
}

/// The error for an answer that could not be written.
pub(super) fn lost(cause: std::io::Error) -> Error {
    Error::new(Kind::Output, "the answer could not be written to standard output").cause(cause)
}

/// An error for programs.
pub(super) fn error_json(error: &Error) -> Value {
    let mut causes = Vec::new();
    let mut cause = error.cause.as_deref().map(|cause| cause as &dyn std::error::Error);
    while let Some(why) = cause {
        causes.push(why.to_string());
        cause = why.source();
    }
    json!({
        "kind": error.kind,
        "message": error.message,
        "causes": causes,
        "help": error.help,
        "retry": error.retry,
        "retry_after_ms": error.retry_after.map(|wait| wait.as_millis() as u64),
        "at": error.snippet.as_deref().map(place),
    })
}

/// What an error is about: a file, and a line and a character in it, counted from 1. No text of the file, which may be a
/// secret of the operator's.
fn place(snippet: &Snippet) -> Value {
    let before = &snippet.text[..snippet.text.floor_char_boundary(snippet.span.start)];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    json!({"file": snippet.file, "line": line, "column": column})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_from_one_in_lines_and_characters() {
        let text = "a = 1\næø = 2\n";
        for (start, line, column) in
            [(0, 1, 1), (4, 1, 5), (6, 2, 1), (11, 2, 4), (text.len(), 3, 1), (99, 3, 1)]
        {
            let snippet =
                Snippet { file: "config.toml".to_owned(), text: text.into(), span: start..start };
            let expected = json!({"file": "config.toml", "line": line, "column": column});
            assert_eq!(place(&snippet), expected, "{start}");
        }
    }
}
