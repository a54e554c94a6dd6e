//! Text for people: numbers with their nouns; and text from outside on a terminal, where what could move the cursor or
//! reorder the line is shown, not done.

/// How many there are of something: `1 warning`, `2 warnings`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `text` with control characters (but newline and tab), bidirectional overrides, and the line separators that only
/// some programs know, as `\u{..}`.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same JSON, with escapes for what a terminal would do, or what some programs take for the end of a line. It can only
/// stand within strings.
pub(crate) fn safe_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmful(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character in the midst of a text could move the cursor, reorder the line, or end it.
fn is_harmful(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As [`safe`], and on one line: who wrote `text` can't begin a line of a log or a report.
pub(crate) fn line(text: &str) -> String {
    safe(text).replace('\n', "\\n")
}

/// As [`line`], and of a long one the first `most` bytes.
pub(crate) fn short_line(text: &str, most: usize) -> String {
    cut(&line(text), most)
}

/// The first `most` bytes of `text`, and how many more there are.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    format!("{} ... ({} more)", &text[..end], counted((text.len() - end) as u64, "byte"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_stays_one_and_a_long_text_says_that_it_was_cut() {
        assert_eq!(super::line("a\n INFO b\tc"), "a\\n INFO b\tc");
        assert_eq!(super::cut("abc", 3), "abc");
        assert_eq!(super::cut("aæb", 2), "a ... (3 bytes more)");
        assert_eq!(super::cut("ab", 1), "a ... (1 byte more)");
    }

    #[test]
    fn json_with_escapes_for_what_is_harmful_means_the_same() {
        let value = serde_json::json!({"a\u{202e}": "\u{1b}[2J\u{85}\u{2028}b\r\nc\td\u{1f525}"});
        for json in [value.to_string(), format!("{value:#}\n")] {
            let safe = super::safe_json(&json);
            assert_eq!(safe.chars().find(|c| super::is_harmful(*c)), None, "{safe}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value, "{safe}");
        }
    }

    #[test]
    fn escape_sequences_and_overrides_are_shown_and_not_done() {
        assert_eq!(super::safe("a\x1b[2J\u{202e}b\nc\td\0"), "a\\u{1b}[2J\\u{202e}b\nc\td\\u{0}");
    }
}
