//! Markdown (CommonMark 0.31): escapes text so that it is harmless in it, and makes HTML and plain text of it.

use std::fmt::Write;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

/// Characters that are percent-encoded in a link's `<destination>`.
const DESTINATION: &AsciiSet =
    &CONTROLS.add(b' ').add(b'<').add(b'>').add(b'\\').add(b'`').add(b'"');

const OPTIONS: Options = Options::ENABLE_TABLES.union(Options::ENABLE_STRIKETHROUGH);

/// Escapes `text`, so that in Markdown it reads as it was written: nothing in it is markup or HTML, and each of
/// its lines stays a line of the same paragraph, indented as it was. Control characters become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for (number, line) in text.trim_end_matches('\n').split('\n').enumerate() {
        if number > 0 {
            // A backslash at the end of a line is a hard break. Alone on a line it stands for an empty line, and
            // keeps the paragraph from ending there.
            out.push_str("\\\n");
        }
        escape_line(line.trim_end_matches([' ', '\t']), &mut out);
    }
    out
}

fn escape_line(line: &str, out: &mut String) {
    let text = line.trim_start_matches([' ', '\t']);
    for indent in line[..line.len() - text.len()].chars() {
        // No-break spaces are neither dropped nor taken for the start of a code block.
        out.push_str(if indent == '\t' { "\u{a0}\u{a0}\u{a0}\u{a0}" } else { "\u{a0}" });
    }
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let list_marker = text.len() - digits.len();
    let mut before = None;
    let mut in_url = false;
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let after = rest.peek().map(|&(_, c)| c);
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        in_url = match c {
            ' ' | '\t' | '<' | '>' | '"' => false,
            'h' => {
                in_url || text[at..].starts_with("http://") || text[at..].starts_with("https://")
            }
            _ => in_url,
        };
        let special = match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '|' | '~' | '{' | '}' | '$' => true,
            '_' => !(word(before) && word(after)),
            // From here on to the colon: these mean nothing in Markdown, but to a forge they can begin a
            // mention, a reference or an emoji. By the backslash a plugin can tell that the sign is the
            // incident's own. In a mail address an @ is no mention.
            '@' => !in_url && !word(before),
            '#' => at == 0 || !in_url && digit(after),
            '!' => !in_url && (digit(after) || after == Some('[')),
            '%' | '^' => !in_url && (word(after) || after == Some('"')),
            '&' => is_entity(&text[at..]) || !in_url && digit(after),
            ':' => at == 0 || !in_url && is_shortcode(&text[at..]),
            // A slash begins a command in GitLab.
            '+' | '-' | '=' | '/' => at == 0,
            '.' | ')' => at > 0 && at == list_marker,
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(printable(c));
        before = Some(c);
    }
}

/// Whether the text, which begins with `&`, begins with what HTML reads as one character: `&amp;`, `&#38;`.
fn is_entity(text: &str) -> bool {
    let name = text[1..].trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '#');
    name.starts_with(';')
}

/// Whether the text, which begins with a colon, begins with what forges read as an emoji: `:smile:`. What could
/// be a part of a time, a hardware address or an IPv6 address is no emoji: people copy these, and would copy
/// the backslashes.
fn is_shortcode(text: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-');
    let end = text[1..].trim_start_matches(name);
    let name = &text[1..text.len() - end.len()];
    let letter = |c: char| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit();
    end.starts_with(':') && (name.contains(letter) || matches!(name, "+1" | "-1"))
}

/// A link that shows `url` as it was written. What is not an http or https URL stays text.
pub(super) fn link(url: &str) -> String {
    let web = url.starts_with("http://") || url.starts_with("https://");
    if !web {
        return escape(url);
    }
    let destination = utf8_percent_encode(url, DESTINATION).to_string();
    if destination == url {
        format!("<{url}>")
    } else {
        format!("[{}](<{destination}>)", escape(&url.replace(['\r', '\n'], " ")))
    }
}

/// The text on one line: each run of white space becomes a space, each other control character U+FFFD.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<String> =
        text.split_whitespace().map(|word| word.chars().map(printable).collect()).collect();
    words.join(" ")
}

fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}

pub(super) fn to_html(markdown: &str) -> String {
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut out, Parser::new_ext(markdown, OPTIONS));
    out
}

/// Makes plain text of Markdown: an empty line separates paragraphs and headings, a dash begins an item, and
/// the target of a link stands after its text where the two differ.
pub(super) fn to_text(markdown: &str) -> String {
    let mut out = String::with_capacity(markdown.len());
    let mut link: Option<(String, usize)> = None;
    for event in Parser::new_ext(markdown, OPTIONS) {
        match event {
            Event::Text(text) | Event::Code(text) => out.push_str(&text),
            Event::SoftBreak | Event::HardBreak => out.push('\n'),
            Event::Start(Tag::Item) => out.push_str("- "),
            Event::Start(Tag::Link { dest_url, .. }) => {
                link = Some((dest_url.into_string(), out.len()));
            }
            Event::End(TagEnd::Link) => {
                if let Some((target, start)) = link.take()
                    && out[start..] != target
                {
                    let _ = write!(out, " <{target}>");
                }
            }
            Event::End(TagEnd::TableCell) => out.push('\t'),
            Event::End(TagEnd::Item | TagEnd::TableRow | TagEnd::TableHead) => out.push('\n'),
            Event::End(
                TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::List(_) | TagEnd::CodeBlock,
            ) => {
                out.push_str("\n\n");
            }
            _ => {}
        }
    }
    let mut text = String::with_capacity(out.len());
    for line in out.trim().lines() {
        // Where nested elements end together, each has left an empty line. One is enough.
        if !(line.is_empty() && text.ends_with("\n\n")) {
            text.push_str(line.trim_end_matches('\t'));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of the HTML sees: the text without its tags.
    fn seen(text: &str) -> String {
        to_text(&escape(text)).trim_end().to_owned()
    }

    #[test]
    fn hostile_text_reads_as_it_was_written() {
        for text in [
            "<script>alert(1)</script> & <b>bold</b> *md* _md_ [x](http://y) | # | `code`",
            "# no heading",
            "- no list",
            "+ no",
            "1. no number",
            "12) no",
            "> no quote",
            "=====",
            "--- \\back",
            "```rust",
            "~~~",
            "a_b_c _d_ &amp; &#35; & alone",
            "![img](x)",
            "<https://x.org>",
            "| a | b |",
            "\\",
            "*",
            "trailing\\",
            "$math$ {{ x }} {% y %}",
            "@channel mail@x.org #123 o/r#1 !45 %12 &7 ^x",
            "/close",
            "http://x.org/?a=1&b=2",
            "Strømbrudd på Værøy ☃ 𝄞 \u{202e}rtl \"quoted\" 'single' \\back",
        ] {
            assert_eq!(seen(text), text.trim_end(), "{}", escape(text));
            let html = to_html(&escape(text));
            assert!(html.starts_with("<p>") && html.trim_end().ends_with("</p>"), "{html}");
            assert_eq!(html.matches('<').count(), 2, "no tag but the paragraph's: {html}");
        }
    }

    #[test]
    fn what_a_forge_reads_as_a_reference_or_a_command_is_escaped() {
        assert_eq!(escape("@a #1 !2 %3\n/close a/b"), "\\@a \\#1 \\!2 \\%3\\\n\\/close a/b");
        assert_eq!(escape("so :smile: a :b"), "so \\:smile: a :b");
    }

    #[test]
    fn lines_stay_lines_and_keep_their_indentation() {
        assert_eq!(
            seen("first\nsecond\r\nthird\tline\n\n    code?\n# h"),
            "first\nsecond\nthird\tline\n\n\u{a0}\u{a0}\u{a0}\u{a0}code?\n# h"
        );
        assert_eq!(to_html(&escape("a\n\nb")).matches("<p>").count(), 1);
    }

    #[test]
    fn what_people_copy_has_no_escape_in_it() {
        for text in [
            "noc@example.org",
            "2001:db8::1",
            "00:1a:2b:3c",
            "12:34:56",
            "gw1:/var/log",
            "at http://x.org/@a/%20?b=1&c=!2:x:y#d",
        ] {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(escape("a\0b\x1b[31mc"), "a\u{fffd}b\u{fffd}\\[31mc");
        assert_eq!(one_line(" a\n\r\n b\tc\0d "), "a b c\u{fffd}d");
    }

    #[test]
    fn a_url_links_to_itself_and_shows_as_it_was_written() {
        assert_eq!(link("https://x.org/1?a=b"), "<https://x.org/1?a=b>");
        let html = to_html(&link("https://x.org/?a=1&b=<2>"));
        assert_eq!(
            html,
            "<p><a href=\"https://x.org/?a=1&amp;b=%3C2%3E\">https://x.org/?a=1&amp;b=&lt;2&gt;</a></p>\n"
        );
    }

    #[test]
    fn only_web_addresses_become_links() {
        for url in ["javascript:alert(1)", "/x/1", "file:///etc/passwd", "data:text/html,x"] {
            assert!(!to_html(&link(url)).contains("<a "), "{url}");
        }
    }

    #[test]
    fn text_keeps_sections_apart_and_names_link_targets() {
        let text = to_text("## A\n\nb [c](https://d)\n\n## E\n\n- f\n- g\n");
        assert_eq!(text, "A\n\nb c <https://d>\n\nE\n\n- f\n- g\n");
    }
}
