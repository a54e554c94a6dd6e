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

/// Whether a character in the midst of a text could move the cursor, reorder the line, or end it.
pub(crate) fn is_harmful(c: char) -> bool {
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
    fn escape_sequences_and_overrides_are_shown_and_not_done() {
        assert_eq!(super::safe("a\x1b[2J\u{202e}b\nc\td\0"), "a\\u{1b}[2J\\u{202e}b\nc\td\\u{0}");
    }
}
