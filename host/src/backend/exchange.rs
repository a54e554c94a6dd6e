//! An HTTP exchange as the log has it with `-vvv`: headers and bodies of both directions, without secrets and in bounds.

use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest};

use super::redact::Redactor;
use crate::terminal;

/// Bytes that are shown of a body, and of all headers of a request or of an answer.
const MOST: usize = 8 << 10;

/// The headers that the plugin set, and the body that it sends: lines that begin with `>`.
pub(super) fn request(request: &HttpRequest, redactor: &Redactor) -> String {
    let headers = headers(&request.headers, redactor);
    lines('>', &headers, &body(&request.body, redactor))
}

/// Headers and body of an answer: lines that begin with `<`. Nothing if none came.
pub(super) fn answer(answer: &HttpAnswer, redactor: &Redactor) -> String {
    match answer {
        HttpAnswer::Answered { headers: of_answer, body: whole, .. } => {
            lines('<', &headers(of_answer, redactor), &body(whole, redactor))
        }
        _ => String::new(),
    }
}

/// Each line of the headers and, behind an empty one, of the body, if there is any, after a newline and the mark.
fn lines(mark: char, headers: &str, body: &str) -> String {
    let between = if headers.is_empty() || body.is_empty() { "" } else { "\n" };
    let text = format!("{headers}{between}{body}");
    text.lines().map(|line| format!("\n{mark} {line}").trim_end().to_owned()).collect()
}

fn headers(headers: &[(String, String)], redactor: &Redactor) -> String {
    let mut shown = String::new();
    for (name, value) in headers {
        let value = redactor.strike_header(name, value, 2 * MOST);
        shown.push_str(&format!("{}: {}\n", redactor.strike(name), terminal::line(&value)));
        if shown.len() > MOST {
            break;
        }
    }
    if shown.len() > MOST {
        return format!("{}\n... (of {} headers)\n", cut(&shown), headers.len());
    }
    terminal::safe(&shown)
}

/// Of a long body the beginning. What is struck out is struck out before that is cut off: a secret that stands at the cut
/// is not shown in part.
fn body(body: &[u8], redactor: &Redactor) -> String {
    let text = match std::str::from_utf8(body) {
        Ok(text) if !text.contains('\0') => text,
        _ => return format!("({} that are no text)", terminal::counted(body.len() as u64, "byte")),
    };
    let struck = redactor.strike_content(text, 2 * MOST);
    if text.len() <= MOST {
        return terminal::safe(&struck);
    }
    let all = terminal::counted(body.len() as u64, "byte");
    format!("{}\n... (the beginning of {all})", cut(&struck))
}

/// The first bytes of a text, as a person may see them.
fn cut(text: &str) -> String {
    terminal::safe(&text[..text.floor_char_boundary(MOST)])
}
