//! Markdown as Jira's wiki markup, which API version 2 takes.
//!
//! Source: <https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all>

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd, TextMergeStream};

pub(crate) const OPTIONS: Options = Options::ENABLE_TABLES.union(Options::ENABLE_STRIKETHROUGH);

/// What the renderer draws as a picture.
const EMOTICONS: [&str; 17] = [
    "(y)", "(n)", "(i)", "(/)", "(x)", "(!)", "(+)", "(-)", "(?)", "(on)", "(off)", "(*)", "(*r)",
    "(*g)", "(*b)", "(*y)", "(flag",
];

pub(crate) fn from_markdown(markdown: &str) -> String {
    let mut writer = Writer::default();
    for event in TextMergeStream::new(Parser::new_ext(markdown, OPTIONS)) {
        writer.event(event);
    }
    writer.out.truncate(writer.out.trim_end().len());
    writer.out.push('\n');
    writer.out
}

#[derive(Default)]
struct Writer {
    out: String,
    /// The markers of the lists that we are in: `*` or `#` each.
    lists: Vec<char>,
    /// The target of the link that we are in, if it is one that may be followed.
    link: Option<String>,
    in_code: bool,
    in_head: bool,
}

impl Writer {
    fn event(&mut self, event: Event) {
        match event {
            Event::Text(text) if self.in_code => {
                // Nothing is escaped in a block of code, and nothing may end it.
                self.out.push_str(&text.replace("{code", "{\u{200b}code"));
            }
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(text) => {
                self.out.push_str("{{");
                self.text(&text);
                self.out.push_str("}}");
            }
            Event::SoftBreak => self.out.push(' '),
            Event::HardBreak => self.out.push('\n'),
            Event::Rule => self.block("----\n\n"),
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag) {
        match tag {
            Tag::Heading { level, .. } => self.block(&format!("h{}. ", level as u8)),
            Tag::BlockQuote(_) => self.block("{quote}\n"),
            Tag::CodeBlock(kind) => {
                let language = match &kind {
                    CodeBlockKind::Fenced(info) => info.split_whitespace().next().unwrap_or(""),
                    CodeBlockKind::Indented => "",
                };
                let known = !language.is_empty() && language.chars().all(char::is_alphanumeric);
                let head = if known { format!("{{code:{language}}}\n") } else { "{code}\n".into() };
                self.block(&head);
                self.in_code = true;
            }
            Tag::List(first) => {
                self.new_line();
                self.lists.push(if first.is_some() { '#' } else { '*' });
            }
            Tag::Item => {
                self.new_line();
                self.out.extend(&self.lists);
                self.out.push(' ');
            }
            Tag::TableHead => {
                self.in_head = true;
                self.block("||");
            }
            Tag::TableRow => self.out.push('|'),
            // The form in braces works inside words as well.
            Tag::Strong => self.out.push_str("{*}"),
            Tag::Emphasis => self.out.push_str("{_}"),
            Tag::Strikethrough => self.out.push_str("{-}"),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.link = target(&dest_url);
                if self.link.is_some() {
                    self.out.push('[');
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph if self.lists.is_empty() => self.out.push_str("\n\n"),
            TagEnd::Paragraph | TagEnd::TableRow => self.new_line(),
            TagEnd::Heading(_) | TagEnd::Table => self.out.push_str("\n\n"),
            TagEnd::BlockQuote(_) => self.block("{quote}\n\n"),
            TagEnd::CodeBlock => {
                self.in_code = false;
                self.block("{code}\n\n");
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.new_line();
                if self.lists.is_empty() {
                    self.out.push('\n');
                }
            }
            TagEnd::TableHead => {
                self.in_head = false;
                self.out.push('\n');
            }
            // A cell without anything in it would not be one.
            TagEnd::TableCell => self.out.push_str(if self.in_head { " ||" } else { " |" }),
            TagEnd::Strong => self.out.push_str("{*}"),
            TagEnd::Emphasis => self.out.push_str("{_}"),
            TagEnd::Strikethrough => self.out.push_str("{-}"),
            TagEnd::Link | TagEnd::Image => {
                if let Some(target) = self.link.take() {
                    self.out.push_str(&format!("|{target}]"));
                }
            }
            _ => {}
        }
    }

    fn new_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    /// What has to begin a line.
    fn block(&mut self, text: &str) {
        self.new_line();
        self.out.push_str(text);
    }

    /// Text that reads as it is and does nothing.
    ///
    /// Escaped by character references, which the renderer leaves alone: a backslash does not
    /// work everywhere, and two of them are a line break. Only where it could mean something,
    /// since people edit this text; a URL that stands by itself stays one.
    fn text(&mut self, text: &str) {
        let mut before = self.out.chars().next_back().filter(|c| *c != '\n');
        let mut in_url = false;
        let mut rest = text.char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            let after = rest.peek().map(|&(_, c)| c);
            let from_here = &text[at..];
            in_url = match c {
                ' ' | '\n' | '\t' | '<' | '>' | '"' => false,
                _ => {
                    in_url || from_here.starts_with("http://") || from_here.starts_with("https://")
                }
            };
            let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            let opens = !word(before) && after.is_some_and(|c| !c.is_whitespace());
            let escaped = match c {
                '{' | '}' | '[' | ']' | '|' | '\\' => true,
                '&' => is_reference(from_here),
                '^' | '~' | '!' => !in_url,
                '*' | '_' | '+' => !in_url && (opens || before.is_none()),
                '-' => !in_url && (opens || before.is_none() || before == Some('-')),
                '#' => before.is_none(),
                '?' => !in_url && (after == Some('?') || before == Some('?')),
                ':' | ';' => !in_url && after.is_some_and(|c| ")(PDp|".contains(c)),
                '(' => EMOTICONS.iter().any(|emoticon| from_here.starts_with(emoticon)),
                '.' => starts_a_block(&self.out),
                _ => false,
            };
            if escaped {
                self.out.push_str(&format!("&#{};", u32::from(c)));
            } else {
                self.out.push(c);
            }
            before = Some(c).filter(|c| *c != '\n');
        }
    }
}

/// Whether text begins with what HTML reads as one character: `&amp;`, `&#38;`.
fn is_reference(text: &str) -> bool {
    let name = text[1..].trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '#');
    name.starts_with(';')
}

/// Whether a dot behind `out` makes its line a heading or a quotation.
fn starts_a_block(out: &str) -> bool {
    let line = out.rsplit('\n').next().unwrap_or_default().trim_start();
    line == "bq"
        || line.len() == 2 && line.starts_with('h') && line.ends_with(|c: char| c.is_ascii_digit())
}

/// A link's target, if it leads to the web or to a mailbox: so that it can't end the link.
pub(crate) fn target(url: &str) -> Option<String> {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https" | "mailto")) {
        return None;
    }
    let mut out = String::with_capacity(url.len());
    for c in url.chars() {
        match c {
            '|' | '[' | ']' | '{' | '}' | '\\' | '^' | '"' | '<' | '>' | ' ' => {
                out.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::from_markdown;

    fn wiki(markdown: &str) -> String {
        from_markdown(markdown).trim_end().to_owned()
    }

    #[test]
    fn what_a_body_has_becomes_wiki_markup() {
        for (markdown, expected) in [
            ("## Tags\n\n- a\n- b\n\nnext", "h2. Tags\n\n* a\n* b\n\nnext"),
            ("1. a\n   - b\n2. c", "# a\n#* b\n# c"),
            ("a **b** *c* ~~d~~ `e`", "a {*}b{*} {_}c{_} {-}d{-} {{e}}"),
            ("in**wor**d", "in{*}wor{*}d"),
            ("one\\\ntwo\nthree", "one\ntwo three"),
            ("> quoted\n\nafter", "{quote}\nquoted\n\n{quote}\n\nafter"),
            ("```rust\nfn {a}\n```", "{code:rust}\nfn {a}\n{code}"),
            ("| a | b |\n|---|---|\n| 1 |  |", "||a ||b ||\n|1 | |"),
            ("a\n\n---\n\nb", "a\n\n----\n\nb"),
            ("<https://x.org/a_b?c=d>", "[https://x.org/a_b?c=d|https://x.org/a_b?c=d]"),
            ("[see \\| this](<https://x.org/a|b]c>)", "[see &#124; this|https://x.org/a%7Cb%5Dc]"),
            ("![alt](https://x.org/i.png)", "[alt|https://x.org/i.png]"),
            ("", ""),
        ] {
            assert_eq!(wiki(markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn text_does_nothing_and_reads_as_it_was() {
        for (text, expected) in [
            ("{code} {color:red}x", "&#123;code&#125; &#123;color:red&#125;x"),
            ("[~admin] [a|http://x]", "&#91;&#126;admin&#93; &#91;a&#124;http://x&#93;"),
            ("!image.png!", "&#33;image.png&#33;"),
            (
                "*b* _i_ -s- +u+ ^p^ ~q~",
                "&#42;b* &#95;i_ &#45;s- &#43;u+ &#94;p&#94; &#126;q&#126;",
            ),
            ("??cite??", "&#63;&#63;cite&#63;&#63;"),
            ("# no\\\n* no\\\n- no", "&#35; no\n&#42; no\n&#45; no"),
            ("h1. no\\\nbq. no", "h1&#46; no\nbq&#46; no"),
            ("a -- b ---- c", "a &#45;&#45; b &#45;&#45;&#45;&#45; c"),
            (":) ;) (!) (/) (no)", "&#58;) &#59;) &#40;&#33;) &#40;/) (no)"),
            ("a\\b & &amp; &#38;", "a&#92;b & &#38;amp; &#38;#38;"),
            ("Netbox 11 <12345> down.", "Netbox 11 <12345> down."),
            ("trd-gw1 a_b 2026-11-23T08:00:00+01:00", "trd-gw1 a_b 2026-11-23T08:00:00+01:00"),
            ("https://x.org/~a/_b?c=-d#e", "https://x.org/~a/_b?c=-d#e"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ] {
            // As the host escapes what stands in an incident.
            let mut markdown = String::new();
            for c in text.chars() {
                let escape =
                    c.is_ascii_punctuation() && c != '\\' || c == '\\' && !text.contains("\\\n");
                markdown.push_str(if escape { "\\" } else { "" });
                markdown.push(c);
            }
            assert_eq!(wiki(&markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn code_cannot_be_ended_from_within() {
        let text = wiki("```\na {code} b\n```");
        assert_eq!(text.matches("{code}").count(), 2, "{text}");
    }

    #[test]
    fn only_the_web_and_mailboxes_are_linked() {
        for url in ["javascript:alert(1)", "/relative", "file:///etc/passwd", "#anchor"] {
            assert_eq!(wiki(&format!("[text](<{url}>)")), "text");
        }
    }
}
