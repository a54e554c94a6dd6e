//! Writes errors for people to read, with the lines of the config file that they are about.

mod excerpt;

use std::io::IsTerminal;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan};
use ticket_plugin_api::Retry;

use crate::error::{Error, Kind};
use crate::terminal::{counted, safe};
use excerpt::Excerpt;

/// Of how many things that are wrong at the same time all is told.
const MOST: usize = 20;

/// Whether what is written to standard error may have colours: only on a terminal, and not if the user
/// has set NO_COLOR (https://no-color.org).
pub(crate) fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// An error as a person reads it: what failed, which line of the config it is about, why, whether there may be a ticket
/// all the same, and what to do. Then the same of what else is wrong. A log is no place for colours: it may be read by a
/// program.
pub(crate) fn text(error: &Error) -> String {
    text_in(error, false)
}

/// As [`text`], with the lines of the config in colours if `colour` is set.
pub(crate) fn text_in(error: &Error, colour: bool) -> String {
    let mut out: Vec<String> =
        error.each().take(MOST).map(|error| text_of(error, colour)).collect();
    let more = (error.others.len() + 1).saturating_sub(MOST) + error.more as usize;
    if more > 0 {
        out.push(format!("... and {} more\n", counted(more as u64, "error")));
    }
    out.join("\n")
}

/// One error, without its others.
fn text_of(error: &Error, colour: bool) -> String {
    let mut out = format!("error: {}\n", safe(&error.message));
    if let Some(snippet) = &error.snippet {
        let theme =
            if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let excerpt = Excerpt::of(snippet);
        let diagnostic = miette::MietteDiagnostic::new("")
            .with_label(LabeledSpan::underline(excerpt.span.clone()));
        let report = miette::Report::new(diagnostic).with_source_code(excerpt);
        let mut shown = String::new();
        let handler = GraphicalReportHandler::new_themed(theme);
        if handler.render_report(&mut shown, report.as_ref()).is_ok() {
            // miette begins with a line for a message, which is empty: ours is above. The frame follows it.
            let frame = shown.lines().skip_while(|line| !line.contains('╭'));
            frame.for_each(|line| out.push_str(&format!("{line}\n")));
        }
    }
    let mut cause = error.cause.as_deref().map(|cause| cause as &dyn std::error::Error);
    while let Some(why) = cause {
        out.push_str(&format!("  because: {}\n", safe(&why.to_string())));
        cause = why.source();
    }
    if error.retry == Retry::Unknown {
        out.push_str(
            "  the ticket may exist: wait a little and run the same command again; it looks for the ticket before it creates one\n",
        );
    } else if error.retry == Retry::Later && error.kind == Kind::Client {
        out.push_str("  no ticket was created; trying again can help\n");
    }
    if let Some(wait) = error.retry_after {
        out.push_str(&format!(
            "  the ticket system asks to be left alone for {} s\n",
            wait.as_secs()
        ));
    }
    if let Some(help) = &error.help {
        out.push_str(&format!("  help: {}\n", safe(help)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Snippet;

    #[test]
    fn only_who_asks_for_colours_gets_them() {
        let mut error = Error::settings("it is wrong");
        let file = "config.toml".to_owned();
        error.snippet = Some(Box::new(Snippet { file, text: "a = 1\n".into(), span: 4..5 }));
        assert!(text_in(&error, true).contains("\u{1b}["), "{}", text_in(&error, true));
        assert!(!text(&error).contains('\u{1b}') && text(&error).contains("a = 1"));
    }
}
