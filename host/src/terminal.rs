//! Text from outside on a terminal: what could move the cursor or reorder the line is shown, not done.

/// `text` with control and bidirectional-override characters but newline and tab as `\u{..}`.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let harmful = c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if harmful {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn escape_sequences_and_overrides_are_shown_and_not_done() {
        assert_eq!(super::safe("a\x1b[2J\u{202e}b\nc\td\0"), "a\\u{1b}[2J\\u{202e}b\nc\td\\u{0}");
    }
}
