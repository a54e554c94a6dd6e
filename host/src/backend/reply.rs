//! Makes what a plugin replied fit to be shown and kept: every text gets a bound, becomes one line, and loses the
//! secret if it has it.

use ticket_plugin_api::abi::MAX_ID;
use ticket_plugin_api::{Check, Ticket};
use url::Url;

use super::redact::Redactor;
use crate::terminal;

/// Bytes that a ticket's URL may have.
const LONGEST_URL: usize = 4096;
/// Bytes that are kept of a message.
const LONGEST_TEXT: usize = 8 << 10;
/// Bytes that are kept of all items of a list together.
const LONGEST_LIST: usize = 16 << 10;
/// Bytes that are kept of one item of a list.
const LONGEST_ITEM: usize = 1 << 10;
/// Bytes that are added to what an item or a line counts for, so that even empty ones can't be without number.
const OVERHEAD: usize = 8;
/// Bytes that are shown of a preview: what a plugin would make if this were not a dry run.
const LONGEST_PREVIEW: usize = 64 << 10;

/// The text as one line of at most 8 KiB, without the secret. Its end may be where the plugin cut what it quotes: half a
/// secret there is struck out, too.
pub(super) fn text(text: &str, redactor: &Redactor) -> String {
    let start = &text[..text.floor_char_boundary(2 * LONGEST_TEXT)];
    terminal::short_line(&redactor.strike_cut(start), LONGEST_TEXT)
}

/// The items of a list, each as one line, 16 KiB together. If some are left out, a last item says how many.
pub(super) fn list(items: &[String], redactor: &Redactor) -> Vec<String> {
    let mut left = LONGEST_LIST;
    let mut kept = Vec::new();
    for item in items {
        let item = terminal::cut(&text(item, redactor), LONGEST_ITEM);
        let bytes = item.len() + OVERHEAD;
        if bytes > left {
            kept.push(format!("... and {} more", items.len() - kept.len()));
            break;
        }
        left -= bytes;
        kept.push(item);
    }
    kept
}

/// A preview. It keeps its lines, since a person reads it as it is.
pub(super) fn preview(preview: &str, redactor: &Redactor) -> String {
    terminal::cut(&redactor.strike_start(preview, 2 * LONGEST_PREVIEW), LONGEST_PREVIEW)
}

/// Whether people can open a ticket's URL, which has the scheme http, https or `scheme`, the endpoint's own.
pub(crate) fn can_be_opened(url: &str, scheme: &str) -> bool {
    let known = |url: Url| matches!(url.scheme(), "http" | "https") || url.scheme() == scheme;
    url.len() <= LONGEST_URL
        && !url.chars().any(|c| c.is_control() || c.is_whitespace())
        && Url::parse(url).is_ok_and(known)
}

/// The ticket with all its texts bounded. Its URL must have the scheme http, https or `scheme`, the endpoint's own.
///
/// # Errors
/// The beginning of the URL, if nobody could open it.
pub(super) fn ticket(ticket: &Ticket, scheme: &str, redactor: &Redactor) -> Result<Ticket, String> {
    if !can_be_opened(&ticket.url, scheme) {
        return Err(ticket.url.chars().take(100).collect());
    }
    let mut warnings = list(&ticket.warnings, redactor);
    let url = redactor.strike(&ticket.url);
    if url != ticket.url {
        warnings
            .push("the plugin put the secret into the ticket's URL; it is struck out".to_owned());
    }
    // Never cut: the id that is kept is the one by which the plugin is asked for the ticket again.
    let is_an_id = ticket.id.len() <= MAX_ID
        && !ticket.id.contains(char::is_control)
        && terminal::line(&ticket.id) == ticket.id
        && redactor.strike(&ticket.id) == ticket.id;
    if !is_an_id {
        warnings.push(format!(
            "the plugin gave the ticket an id that is left out: it has over {MAX_ID} bytes, control characters, or the secret"
        ));
    }
    Ok(Ticket {
        url,
        id: if is_an_id { ticket.id.clone() } else { String::new() },
        missing_fields: list(&ticket.missing_fields, redactor),
        warnings,
        preview: None,
    })
}

/// The lines of a check, 32 KiB together. If some are left out, a last line says how many, and fails if one of
/// them does.
pub(super) fn checks(checks: &[Check], redactor: &Redactor) -> Vec<Check> {
    let mut left = 2 * LONGEST_LIST;
    let mut kept = Vec::new();
    for check in checks {
        let name = text(&check.name, redactor);
        let message = text(&check.message, redactor);
        let help = text(&check.help, redactor);
        let bytes = name.len() + message.len() + help.len() + OVERHEAD;
        if bytes > left {
            let more = terminal::counted((checks.len() - kept.len()) as u64, "line");
            let more = format!("{more} more, not shown");
            let ok = checks[kept.len()..].iter().all(|check| check.ok);
            kept.push(Check { ok, ..Check::failed("...", more, "") });
            break;
        }
        left -= bytes;
        kept.push(Check { name, message, help, ..*check });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ticket: &Ticket) -> Result<Ticket, String> {
        super::ticket(ticket, "file", &Redactor::default())
    }

    fn at(url: &str) -> Ticket {
        Ticket { url: url.to_owned(), ..Ticket::default() }
    }

    #[test]
    fn of_a_secret_that_the_plugin_cut_nothing_is_left() {
        let redactor = Redactor::new(&serde_json::json!({"token": "hunter2"}), &true.into());
        assert_eq!(text("answered 500: Bearer hunter", &redactor), "answered 500: Bearer ***");
        assert_eq!(text("the hunters", &redactor), "the hunters");
    }

    #[test]
    fn a_url_that_nobody_can_open_is_refused() {
        for good in ["https://x.org/1", "http://x.org/1", "file:///tickets/1"] {
            assert_eq!(of(&at(good)).unwrap().url, good);
        }
        let long = format!("https://x.org/{}", "a".repeat(4096));
        for bad in ["", "not a url", "javascript:alert(1)", "https://x.org/a b", &long] {
            let start: String = bad.chars().take(100).collect();
            assert_eq!(of(&at(bad)).unwrap_err(), start);
        }
    }

    #[test]
    fn an_id_is_kept_as_it_is_or_not_at_all() {
        let redactor = Redactor::new(&serde_json::json!({"token": "hunter2"}), &true.into());
        for (id, is_kept) in [
            ("NOC-47", true),
            ("æøå 7", true),
            (&"9".repeat(256), true),
            (&"9".repeat(257), false),
            ("4\n7", false),
            ("4\t7", false),
            ("\u{202e}47", false),
            ("NOC-hunter", true),
            ("hunter2", false),
        ] {
            let named = Ticket { id: id.to_owned(), ..at("https://x.org/1") };
            let kept = super::ticket(&named, "file", &redactor).unwrap();
            assert_eq!(kept.id, if is_kept { id } else { "" });
            assert_eq!(kept.warnings.is_empty(), is_kept, "{:?}", kept.warnings);
        }
    }

    #[test]
    fn what_is_kept_of_a_ticket_is_bounded_and_says_what_was_left_out() {
        let huge = Ticket {
            id: "9".repeat(1 << 20),
            missing_fields: vec!["x".repeat(1 << 20)],
            warnings: vec![String::new(); 1 << 20],
            ..at("https://x.org/1")
        };
        let kept = of(&huge).unwrap();
        assert!(serde_json::to_string(&kept).unwrap().len() < 64 << 10);
        assert!(kept.missing_fields[0].ends_with("bytes more)"), "{:?}", kept.missing_fields);
        let left_out = format!("... and {} more", (1 << 20) - 2048);
        assert_eq!(kept.warnings[kept.warnings.len() - 2], left_out);
    }

    #[test]
    fn of_a_huge_text_only_the_beginning_is_looked_at_and_no_secret_is_left_in_that() {
        let redactor = Redactor::new(&serde_json::json!({"token": "hunter2"}), &true.into());
        let before = "hunter2%2".repeat(2 * LONGEST_TEXT / 9);
        let huge = before + &"hunter2&".repeat(4 << 20);
        let started = std::time::Instant::now();
        let kept = text(&huge, &redactor);
        assert!(kept.len() < LONGEST_TEXT + 100 && !kept.contains("hun"), "{}", kept.len());
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn no_text_of_a_plugin_makes_a_line_of_its_own() {
        let text = text("refused\n INFO ticket 99 (x): created\r\x1b[2J", &Redactor::default());
        assert_eq!(text, "refused\\n INFO ticket 99 (x): created\\u{d}\\u{1b}[2J");
    }

    #[test]
    fn a_check_of_very_many_lines_is_cut_and_still_fails() {
        let mut lines = vec![Check::passed("queue", "is there"); 100_000];
        lines.push(Check::failed("project", "is not there", ""));
        let kept = checks(&lines, &Redactor::default());
        assert!(kept.len() < 2000);
        assert!(!kept.last().unwrap().ok);
    }
}
