//! The few lines of a config file that an error shows: those that it points to, the one before, and the one after.
//!
//! Only these are given to miette, which looks at all of what it is given. Long lines are cut.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use crate::error::Snippet;

/// Bytes of a line that are shown at most.
const WIDTH: usize = 200;
/// Lines that are pointed to at most.
const LINES: usize = 10;
/// What stands where a line was cut.
const CUT: &str = "...";

#[derive(Debug)]
pub(super) struct Excerpt {
    file: String,
    text: String,
    /// What to point at: bytes of `text`.
    pub span: Range<usize>,
    /// How many lines of the file stand before the excerpt.
    lines_before: usize,
    /// Where what is pointed at begins in its line of the file.
    column: usize,
}

impl Excerpt {
    pub(super) fn of(snippet: &Snippet) -> Excerpt {
        let text = &*snippet.text;
        let start = text.floor_char_boundary(snippet.span.start);
        let end = text.ceil_char_boundary(snippet.span.end.min(text.len())).max(start);
        let line_start = |at: usize| text[..at].rfind('\n').map_or(0, |end| end + 1);
        let first = line_start(start);
        let before = line_start(first.saturating_sub(1));
        let mut shown = String::new();
        if before < first {
            Piece::of(&text[before..first], 0).add_to(&mut shown);
        }
        let mut span = shown.len()..shown.len();
        let (mut at, mut shows_end) = (first, false);
        for (number, line) in text[first..].split_inclusive('\n').enumerate().take(LINES + 1) {
            let piece = Piece::of(line, start.saturating_sub(at));
            if shows_end {
                piece.add_to(&mut shown);
                break;
            }
            if number == 0 {
                span.start = shown.len() + piece.position(start - at);
            }
            shows_end = end <= at + line.len() || number + 1 == LINES;
            span.end = shown.len() + piece.position((end - at).min(line.len()));
            piece.add_to(&mut shown);
            at += line.len();
        }
        span.end = span.end.max(span.start);
        Excerpt {
            file: snippet.file.clone(),
            text: shown,
            span,
            lines_before: text[..before].matches('\n').count(),
            column: start - first,
        }
    }
}

/// What is shown of a line.
struct Piece<'a> {
    line: &'a str,
    kept: Range<usize>,
}

impl Piece<'_> {
    /// As much of the line as is shown around this byte of it.
    fn of(line: &str, around: usize) -> Piece<'_> {
        let whole = line.trim_end_matches(['\r', '\n']).len();
        if whole <= WIDTH {
            return Piece { line, kept: 0..line.len() };
        }
        let start = line.floor_char_boundary(around.min(whole).saturating_sub(WIDTH / 2));
        Piece { line, kept: start..line.floor_char_boundary(whole.min(start + WIDTH)) }
    }

    /// Where this byte of the line stands in what is shown of it.
    fn position(&self, at: usize) -> usize {
        let cut = if self.kept.start > 0 { CUT.len() } else { 0 };
        at.clamp(self.kept.start, self.kept.end) - self.kept.start + cut
    }

    fn add_to(&self, shown: &mut String) {
        if self.kept.start > 0 {
            shown.push_str(CUT);
        }
        shown.push_str(&self.line[self.kept.clone()]);
        if self.kept.end < self.line.len() {
            shown.push_str(CUT);
            shown.push('\n');
        }
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let read = self.text.read_span(span, before, after)?;
        // Without lines before it, the contents begin where the span does.
        let column = if before == 0 { self.column } else { read.column() };
        let line = read.line() + self.lines_before;
        let (data, span, lines) = (read.data(), *read.span(), read.line_count());
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.clone(),
            data,
            span,
            line,
            column,
            lines,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, span: Range<usize>) -> Excerpt {
        Excerpt::of(&Snippet { file: "c.toml".to_owned(), text: text.into(), span })
    }

    #[test]
    fn the_lines_around_a_mistake_are_shown_with_what_is_pointed_at() {
        let text = "a = 1\nb = 2\nc = 3\nd = 4\ne = 5\n";
        for (span, shown, pointed, before) in [
            (0..1, "a = 1\nb = 2\n", "a", 0),
            (6..7, "a = 1\nb = 2\nc = 3\n", "b", 0),
            (16..17, "b = 2\nc = 3\nd = 4\n", "3", 1),
            (12..22, "b = 2\nc = 3\nd = 4\ne = 5\n", "c = 3\nd = ", 1),
            (24..29, "d = 4\ne = 5\n", "e = 5", 3),
            (30..30, "e = 5\n", "", 4),
            (99..usize::MAX, "e = 5\n", "", 4),
        ] {
            let excerpt = excerpt(text, span.clone());
            assert_eq!(excerpt.text, shown, "{span:?}");
            assert_eq!(&excerpt.text[excerpt.span.clone()], pointed, "{span:?}");
            assert_eq!(excerpt.lines_before, before, "{span:?}");
        }
    }

    #[test]
    fn long_lines_are_cut_and_what_is_pointed_at_is_still_there() {
        let long = "æ".repeat(1000);
        let text = format!("{long}\n{long} = 0 {long}\n{long}\n");
        let at = text.find('0').unwrap();
        let cut = excerpt(&text, at..at + 1);
        assert_eq!(&cut.text[cut.span.clone()], "0");
        assert_eq!(cut.column, 2003);
        assert_eq!(cut.text.lines().count(), 3);
        assert!(cut.text.lines().all(|line| line.len() <= WIDTH + 2 * CUT.len()), "{}", cut.text);
        // A text of many lines, and one that is as long as its line.
        assert_eq!(excerpt(&"x\n".repeat(1000), 0..2000).text.lines().count(), LINES + 1);
        assert!(excerpt(&long, 0..2000).text.len() <= WIDTH + CUT.len() + 1);
    }
}
