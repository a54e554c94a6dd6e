//! Makes titles and bodies fit for ticket systems: short enough, and without mentions that nobody meant.

use crate::message::fingerprint;

/// What stands before and behind the fingerprint in a marker.
const MARKER: (&str, &str) = ("<!-- ticket-host sha256:", " -->");

/// The beginning of `text` with `…` after it, together at most `limit` long; None if the text isn't longer
/// than that. `width` tells how long a character is by the ticket system's own measure: `char::len_utf8`,
/// `char::len_utf16`, or 1 for each.
pub fn cut(text: &str, limit: usize, width: impl Fn(char) -> usize) -> Option<String> {
    let length: usize = text.chars().map(&width).sum();
    if length <= limit {
        return None;
    }
    let mut left = limit - width('…');
    let fits = |c: &char| {
        let fits = width(*c) <= left;
        left = left.saturating_sub(width(*c));
        fits
    };
    Some(text.chars().take_while(fits).collect::<String>() + "…")
}

/// A title of at most `limit`. If it has to be cut, a warning is added that says so. It has the whole title
/// in it, unless that is the incident's description, since a reader finds that in the body.
pub fn title(
    title: &str,
    limit: usize,
    width: impl Fn(char) -> usize,
    description: &str,
    warnings: &mut Vec<String>,
) -> String {
    let Some(short) = cut(title, limit, width) else { return title.to_owned() };
    let mut warning = format!("the title was cut to {limit}, which is all that the system takes");
    if !title.split_whitespace().eq(description.split_whitespace()) {
        warning.push_str(&format!("; the whole title: {title}"));
    }
    warnings.push(warning);
    short
}

/// A Markdown body of at most `limit` bytes. If it has to be cut, it ends with a line that says so, and the same
/// is added as a warning.
pub fn body(markdown: String, limit: usize, warnings: &mut Vec<String>) -> String {
    if markdown.len() <= limit {
        return markdown;
    }
    let warning = format!("the body was cut to {limit} bytes, which is all that the system takes");
    let end = format!("\n\n*{warning}*\n");
    let start = &markdown[..markdown.floor_char_boundary(limit.saturating_sub(end.len()))];
    // It is cut between lines: a cut within one could leave half of an escape or of a link.
    let lines = start.rfind('\n').map_or(start, |at| &start[..at]);
    warnings.push(warning);
    format!("{}{end}", lines.trim_end_matches('\\'))
}

/// A Markdown comment that stands for a key. A plugin puts it at the end of a body, where readers don't see it.
/// Text of an incident can't pretend to be it, since the `<` in such text is escaped.
pub fn marker(key: &str) -> String {
    format!("{}{}{}", MARKER.0, fingerprint(key), MARKER.1)
}

/// The [`fingerprint`]s of the keys whose [`marker`]s are in a text.
///
/// ```
/// # use ticket_plugin_api::{fingerprint, text};
/// let body = format!("gw1 is down\n{}", text::marker("key"));
/// assert_eq!(text::marked(&body).collect::<Vec<_>>(), [fingerprint("key")]);
/// ```
pub fn marked(text: &str) -> impl Iterator<Item = &str> {
    text.split(MARKER.0).skip(1).filter_map(|behind| {
        let fingerprint = behind.get(..64)?;
        let is_one = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let ends = behind[64..].starts_with(MARKER.1) && fingerprint.bytes().all(is_one);
        ends.then_some(fingerprint)
    })
}

/// The Markdown, changed so that no text of the incident in it mentions a person or refers to another ticket.
///
/// The host has escaped the signs in the incident's text (`\@`, `\#`), but a forge takes the escapes away before
/// it looks for mentions. So a zero-width space is put behind each escaped sign that is one of `signs`, if a
/// name or a number could follow it. What the operator's own template mentions isn't escaped, and still works.
pub fn without_references(markdown: &str, signs: &str) -> String {
    let mut out = String::with_capacity(markdown.len() + 16);
    let mut rest = markdown.chars().peekable();
    while let Some(c) = rest.next() {
        out.push(c);
        if c != '\\' {
            continue;
        }
        let Some(escaped) = rest.next() else { break };
        out.push(escaped);
        if signs.contains(escaped) && rest.peek().is_some_and(|next| !next.is_whitespace()) {
            out.push_str("&#8203;");
        }
    }
    out
}

/// A plain text, such as a title, changed so that it mentions nobody and refers to no other ticket: a
/// zero-width space is put behind each of `signs` that a name or a number follows. URLs and mail addresses are
/// left as they are, since people copy them.
pub fn plain_without_references(text: &str, signs: &str) -> String {
    let words = text.split(' ').map(|word| {
        if word.contains("://") {
            return word.to_owned();
        }
        let mut out = String::with_capacity(word.len() + 3);
        let mut before = None;
        let mut rest = word.chars().peekable();
        while let Some(c) = rest.next() {
            out.push(c);
            let named = rest.peek().is_some_and(|next| next.is_alphanumeric() || *next == '"');
            let address = c == '@' && before.is_some_and(char::is_alphanumeric);
            if signs.contains(c) && named && !address {
                out.push('\u{200b}');
            }
            before = Some(c);
        }
        out
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_cut_at_a_character_by_the_systems_own_measure() {
        assert_eq!(cut("ååå", 3, |_| 1), None);
        assert_eq!(cut("åååå", 3, |_| 1).unwrap(), "åå…");
        assert_eq!(cut("åååå", 7, char::len_utf8).unwrap(), "åå…");
        assert_eq!(cut("𝄞𝄞𝄞", 5, char::len_utf16).unwrap(), "𝄞𝄞…");
    }

    #[test]
    fn a_cut_title_is_whole_in_the_body() {
        let mut warnings = Vec::new();
        assert_eq!(title("a b c", 4, |_| 1, "a\nb c", &mut warnings), "a b…");
        assert!(!warnings[0].contains("the whole title"), "{warnings:?}");
        title("a b c", 4, |_| 1, "other", &mut warnings);
        assert!(warnings[1].ends_with("the whole title: a b c"), "{warnings:?}");
    }

    #[test]
    fn a_body_is_cut_at_a_line_and_says_so() {
        let mut warnings = Vec::new();
        assert_eq!(body("short\n".into(), 100, &mut warnings), "short\n");
        assert!(warnings.is_empty());
        let cut = body("first line\\\nå\n".repeat(20), 100, &mut warnings);
        assert!(cut.len() <= 100 && cut.starts_with("first line"), "{cut}");
        assert!(
            cut.ends_with(
                "\n\n*the body was cut to 100 bytes, which is all that the system takes*\n"
            ),
            "{cut}"
        );
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_text_tells_each_key_that_it_is_marked_with_and_nothing_else() {
        let (a, b) = (marker("a"), marker("b"));
        let upper = a.replace(&fingerprint("a"), &fingerprint("a").to_uppercase());
        for (text, keys) in [
            (format!("x\n{a}"), &["a"][..]),
            (format!("{a}{b}\n{a} y"), &["a", "b", "a"]),
            (a[..a.len() - 1].to_owned(), &[]),
            (a.replace(" -->", "0 -->"), &[]),
            (upper, &[]),
            ("<!-- ticket-host sha256:å -->".repeat(3), &[]),
            (String::new(), &[]),
        ] {
            let expected: Vec<String> = keys.iter().map(|key| fingerprint(key)).collect();
            assert_eq!(marked(&text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn plain_text_refers_to_nothing_and_keeps_what_people_copy() {
        assert_eq!(
            plain_without_references("@all see g/p#1 !2: noc@x.org http://x/#1 # 1", "@#!"),
            "@\u{200b}all see g/p#\u{200b}1 !\u{200b}2: noc@x.org http://x/#1 # 1"
        );
    }

    #[test]
    fn escaped_signs_refer_to_nothing_and_the_templates_own_do() {
        assert_eq!(
            without_references(r"@noc: \@all \# \#12 \!3 \\@x a\@b", "@#"),
            r"@noc: \@&#8203;all \# \#&#8203;12 \!3 \\@x a\@&#8203;b"
        );
    }
}
