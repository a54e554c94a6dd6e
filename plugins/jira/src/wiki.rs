//! Markdown as Jira's wiki markup.
//!
//! Source: <https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all>
//!
//! Text is escaped with HTML character references, not with backslashes. The renderer replaces
//! references by opaque tokens before it looks for phrases and emoticons, so they are inert
//! everywhere. Backslashes are not: the renderer shows them before `.`, `:` and `\`, and still
//! reads `\{\{x\}\}` as monospaced.

use pulldown_cmark::{
    CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, TextMergeStream,
};

/// Where links may lead. The renderer knows none of these in upper case.
const SCHEMES: [&str; 3] = ["http://", "https://", "mailto:"];

/// The macros that this module writes. A block of code must not contain their tags, which would end
/// it.
const MACROS: [&str; 3] = ["code", "noformat", "quote"];

/// What a line begins with, followed by a dot, if it is a heading or a quote.
const BLOCKS: [&str; 7] = ["h1", "h2", "h3", "h4", "h5", "h6", "bq"];

/// How deep lists may nest: each item repeats the markers of all the lists around it.
const MAX_LISTS: usize = 10;

/// The languages that the code macro knows. For any other it shows an error, and without one it
/// assumes Java.
const LANGUAGES: &str = "actionscript ada applescript bash c css erlang go groovy haskell html java \
     javascript json lua objc perl php python r ruby scala sql swift xml yaml";

pub(crate) fn from_markdown(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).map(as_text);
    let mut events = TextMergeStream::new(events).peekable();
    let mut writer = Writer::default();
    while let Some(event) = events.next() {
        writer.event(event, events.peek());
    }
    writer.out.truncate(writer.out.trim_end_matches('\n').len());
    writer.out
}

/// HTML becomes text that is shown as it is, and a line end within a paragraph becomes a space.
fn as_text(event: Event) -> Event {
    match event {
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        Event::SoftBreak => Event::Text(CowStr::Borrowed(" ")),
        event => event,
    }
}

#[derive(Default)]
struct Writer {
    out: String,
    /// The markers of the open lists, the outermost first.
    lists: Vec<char>,
    /// What closes the open quotes and the block of code.
    closing: Vec<&'static str>,
    /// What separates the cells of the current row.
    cell: &'static str,
    /// The delimiters of the open phrases.
    phrases: Vec<&'static str>,
    /// For each open link and image: its target, if it is written as a link, and where its text
    /// starts in the output.
    links: Vec<Option<(String, usize)>>,
}

impl Writer {
    fn event(&mut self, event: Event, next: Option<&Event>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag, next),
            Event::Text(code) if self.in_code() => self.out.push_str(&without_macros(&code)),
            Event::Text(text) => self.text(&text),
            Event::Code(code) => {
                self.delimiter("{{", joins_end(&self.out, "{{"));
                // The renderer knows no phrase that starts or ends with a space.
                escape(code.trim_matches(' '), &mut self.out);
                self.delimiter("}}", joins_start(next));
            }
            Event::HardBreak => self.hard_break(),
            Event::Rule => self.end_block("----\n"),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag) {
        match tag {
            Tag::Heading { level, .. } => self.block(&format!("h{}. ", level as u8)),
            // The macro doesn't nest: an inner quote is part of the outer one.
            Tag::BlockQuote(_) if !self.closing.is_empty() => self.closing.push(""),
            Tag::BlockQuote(_) => self.start_macro("quote", "{quote}\n"),
            Tag::CodeBlock(kind) => match language(&kind) {
                Some(language) => self.start_macro(&format!("code:{language}"), "{code}\n"),
                None => self.start_macro("noformat", "{noformat}\n"),
            },
            Tag::List(first) => self.lists.push(if first.is_some() { '#' } else { '*' }),
            Tag::Item => {
                self.block("");
                self.out.extend(self.lists.iter().take(MAX_LISTS));
                self.out.push(' ');
            }
            Tag::TableHead => self.row("||"),
            Tag::TableRow => self.row("|"),
            Tag::TableCell => self.out.push(' '),
            Tag::Strong => self.start_phrase("*"),
            Tag::Emphasis => self.start_phrase("_"),
            Tag::Strikethrough => self.start_phrase("-"),
            Tag::Link { link_type, dest_url, .. } | Tag::Image { link_type, dest_url, .. } => {
                self.start_link(link_type, &dest_url);
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd, next: Option<&Event>) {
        match tag {
            TagEnd::Strong | TagEnd::Emphasis | TagEnd::Strikethrough => self.end_phrase(next),
            TagEnd::Link | TagEnd::Image => self.end_link(),
            TagEnd::TableCell => self.out.extend([" ", self.cell]),
            TagEnd::Item | TagEnd::TableHead | TagEnd::TableRow => self.block(""),
            TagEnd::BlockQuote(_) | TagEnd::CodeBlock => {
                let tag = self.closing.pop().unwrap_or_default();
                self.end_block(tag);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.end_block("");
            }
            _ => self.end_block(""),
        }
    }

    /// Writes what has to start a line.
    fn block(&mut self, markup: &str) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.out.push_str(markup);
    }

    /// An empty line separates blocks, but it would end a list.
    fn end_block(&mut self, markup: &str) {
        self.block(markup);
        if self.lists.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn row(&mut self, separator: &'static str) {
        self.block(separator);
        self.cell = separator;
    }

    fn start_macro(&mut self, name: &str, closing: &'static str) {
        self.block(&format!("{{{name}}}\n"));
        self.closing.push(closing);
    }

    fn in_code(&self) -> bool {
        matches!(self.closing.last(), Some(&("{code}\n" | "{noformat}\n")))
    }

    /// A phrase doesn't nest in itself.
    fn start_phrase(&mut self, delimiter: &'static str) {
        if !self.phrases.contains(&delimiter) {
            self.delimiter(delimiter, joins_end(&self.out, delimiter));
        }
        self.phrases.push(delimiter);
    }

    fn end_phrase(&mut self, next: Option<&Event>) {
        let Some(delimiter) = self.phrases.pop() else { return };
        if !self.phrases.contains(&delimiter) {
            self.delimiter(delimiter, joins_start(next));
        }
    }

    /// Writes a phrase's delimiter. Next to a letter the renderer reads it only in braces: `{*}`.
    fn delimiter(&mut self, delimiter: &str, in_braces: bool) {
        let (left, right) = if in_braces { ("{", "}") } else { ("", "") };
        self.out.extend([left, delimiter, right]);
    }

    fn text(&mut self, text: &str) {
        let mut rest = text;
        // URLs are put in brackets: without them the renderer takes a character reference that
        // follows for a part of the URL.
        while !self.in_link()
            && let Some((start, url)) = find_url(rest)
        {
            escape(&rest[..start], &mut self.out);
            self.end_colon();
            self.out.extend(["[", url, "]"]);
            rest = &rest[start + url.len()..];
        }
        escape(rest, &mut self.out);
    }

    fn hard_break(&mut self) {
        if self.in_link() {
            self.out.push(' ');
        } else if !self.phrases.is_empty() {
            // A phrase ends with its line, so this break is written within the line.
            self.out.push_str(r" \\ ");
        } else {
            // An empty line would end the paragraph, and the list around it.
            self.out.push_str(if self.out.ends_with('\n') { "&#160;\n" } else { "\n" });
        }
    }

    fn in_link(&self) -> bool {
        self.links.iter().any(Option::is_some)
    }

    /// Links don't nest: an image in a link becomes a part of the link's text.
    fn start_link(&mut self, link_type: LinkType, url: &str) {
        let target = target(link_type, url).filter(|_| !self.in_link());
        self.end_colon();
        self.out.push_str(if target.is_some() { "[" } else { "" });
        self.links.push(target.map(|target| (target, self.out.len())));
    }

    /// Escapes a colon at the end of the output: what is written next could make an emoticon or a
    /// URL of it.
    fn end_colon(&mut self) {
        if self.out.ends_with(':') {
            self.out.pop();
            push_reference(':', &mut self.out);
        }
    }

    fn end_link(&mut self) {
        let Some((target, start)) = self.links.pop().flatten() else { return };
        // A space behind the opening bracket would keep it from being a link.
        let text = self.out.split_off(start).trim_matches(' ').to_owned();
        let mut plain = String::from("[");
        escape(&target, &mut plain);
        // Without a text, the renderer shows a link to a mailbox as the address, without `mailto:`.
        if !text.is_empty() && (plain[1..] != text || target.starts_with("mailto:")) {
            self.out.extend([&text, "|"]);
        }
        self.out.extend([&target, "]"]);
    }
}

/// Whether a phrase that starts behind this output needs braces. (A colon may end the scheme of a
/// URL.)
fn joins_end(out: &str, delimiter: &str) -> bool {
    out.ends_with(|c: char| c.is_alphanumeric() || c == ':') || out.ends_with(delimiter)
}

/// Whether a phrase that ends before this event needs braces.
fn joins_start(next: Option<&Event>) -> bool {
    match next {
        Some(Event::Text(text)) => text.starts_with(char::is_alphanumeric),
        Some(Event::Start(_) | Event::Code(_)) => true,
        _ => false,
    }
}

/// Writes text so that it reads as it is and has no effect. Only characters that could be markup
/// become references, since people will edit the text.
fn escape(text: &str, out: &mut String) {
    for (at, c) in text.char_indices() {
        if is_markup(c, out, &text[..at], &text[at + c.len_utf8()..]) {
            push_reference(c, out);
        } else if c.is_control() && c != '\n' {
            out.push(' ');
        } else {
            out.push(c);
        }
    }
}

fn is_markup(c: char, out: &str, before: &str, after: &str) -> bool {
    let next = after.chars().next();
    let space = next.is_some_and(char::is_whitespace);
    let word = next.is_some_and(char::is_alphanumeric);
    // Within a word a sign isn't markup. Behind a single letter it is escaped all the same, since it
    // would keep a phrase from starting. An issue key (`NOC-1`) counts as a word of its own: behind
    // its digit a phrase may start, and before its first letter one may end.
    let in_date = c == '-' && next.is_some_and(|next| next.is_ascii_digit());
    let in_word = word
        && !next.is_some_and(char::is_uppercase)
        && (in_date || !out.ends_with(|c: char| c.is_ascii_digit()))
        && out.chars().rev().take(2).filter(|c| c.is_alphanumeric()).count() == 2;
    // Between spaces it only means something at the start of a line.
    let blank = |c: char| c != '\n' && (c.is_whitespace() || c.is_control());
    let line = before.trim_end_matches(blank);
    let spaced = space && before.ends_with(' ') && !line.is_empty() && !line.ends_with('\n');
    match c {
        '{' | '}' | '[' | ']' | '|' | '\\' => true,
        '*' | '_' | '-' | '+' | '^' | '~' | '!' => !in_word && !spaced,
        '#' => !spaced && !word,
        '?' => out.ends_with('?') || next == Some('?'),
        '&' => !space,
        // It may begin an emoticon, of which `(flagoff)` is the longest.
        '(' => after.len() < 8 || after.chars().take(8).any(|c| c == ')'),
        // With a semicolon before it, even one that ends a reference, it is an emoticon.
        ')' => out.ends_with(';'),
        // It may begin an emoticon, or end the scheme of a URL.
        ':' => next.is_some_and(|next| !next.is_whitespace() && !next.is_ascii_digit()),
        '.' => BLOCKS.iter().any(|name| out.ends_with(name)),
        _ => false,
    }
}

fn push_reference(c: char, out: &mut String) {
    out.push_str(&format!("&#{};", u32::from(c)));
}

/// Code in which an invisible space breaks up the tags of macros: character references aren't read
/// in a block of code.
fn without_macros(code: &str) -> String {
    let mut parts = code.split('{');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // The renderer overlooks backslashes and line ends within a tag.
        let name = part.chars().filter(|c| *c != '\\' && !c.is_whitespace());
        let name: String = name.take("noformat".len()).collect();
        let is_macro = MACROS.iter().any(|known| name.to_ascii_lowercase().starts_with(known));
        out.extend([if is_macro { "{\u{200b}" } else { "{" }, part]);
    }
    out
}

fn language(kind: &CodeBlockKind) -> Option<&'static str> {
    let CodeBlockKind::Fenced(info) = kind else { return None };
    let name = info.split_whitespace().next()?;
    LANGUAGES.split(' ').find(|known| known.eq_ignore_ascii_case(name))
}

/// The first URL in a text, and where it starts.
fn find_url(text: &str) -> Option<(usize, &str)> {
    text.char_indices().find_map(|(at, _)| Some((at, url_at_start(&text[at..])?)))
}

fn url_at_start(text: &str) -> Option<&str> {
    let scheme = SCHEMES[..2].iter().find(|scheme| text.starts_with(**scheme))?;
    let url = &text[..text.find(needs_encoding).unwrap_or(text.len())];
    // What ends a sentence isn't part of a URL, nor is a parenthesis around it.
    let enclosed = !url.contains('(');
    let url = url.trim_end_matches(|c| ".,;:!?'*_~".contains(c) || enclosed && c == ')');
    (url.len() > scheme.len()).then_some(url)
}

/// Where a link leads, if that is the web or a mailbox, so that it can't end the link.
fn target(link_type: LinkType, url: &str) -> Option<String> {
    let url = if link_type == LinkType::Email { &format!("mailto:{url}") } else { url };
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty()).then(|| url.chars().map(encode).collect())
}

fn encode(c: char) -> String {
    let text = String::from(c);
    if needs_encoding(c) { text.bytes().map(|byte| format!("%{byte:02X}")).collect() } else { text }
}

fn needs_encoding(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "|[]{}\\^\"<>`".contains(c)
}

#[cfg(test)]
mod tests {
    use super::from_markdown as wiki;

    /// Markdown that reads as `text`, as the host makes it of an incident.
    fn untrusted(text: &str) -> String {
        let mut markdown = String::new();
        for c in text.chars() {
            if c.is_ascii_punctuation() {
                markdown.push('\\');
            }
            markdown.push(c);
        }
        markdown
    }

    /// What a reader sees, if the renderer takes nothing in it for markup.
    fn shown(wiki: &str) -> String {
        let mut parts = wiki.split("&#");
        let mut out = parts.next().unwrap().to_owned();
        for part in parts {
            let (code, rest) = part.split_once(';').unwrap();
            out.push(char::from_u32(code.parse().unwrap()).unwrap());
            out.push_str(rest);
        }
        out
    }

    #[track_caller]
    fn assert_inert(text: &str, markup: &[&str]) {
        let out = wiki(&untrusted(text));
        assert_eq!(shown(&out), text, "{out}");
        for markup in markup {
            assert!(!out.contains(markup), "{markup} in {out}");
        }
    }

    #[test]
    fn text_opens_no_macro() {
        assert_inert("{code} {color:red}x{color} {{mono}} {*}b{*}", &["{", "}"]);
    }

    #[test]
    fn text_makes_no_link_and_mentions_nobody() {
        assert_inert("[link] [~admin] [a|b] [^file.txt] [#anchor]", &["[", "]", "|"]);
    }

    #[test]
    fn text_embeds_no_image() {
        assert_inert("!image.png! a !x!", &["!"]);
    }

    #[test]
    fn text_behind_an_issue_key_embeds_no_image() {
        // The renderer takes a key for the end of a word.
        assert_eq!(wiki("ABC-12\\!a.png\\!"), "ABC-12&#33;a.png&#33;");
        assert_eq!(wiki("ABC-1\\!https://x.org/a.png\\!"), "ABC-1&#33;[https://x.org/a.png]&#33;");
    }

    #[test]
    fn text_starts_no_phrase() {
        for text in ["*bold*", "_it_", "-strike-", "+ins+", "^sup^", "~sub~", "a *b c* d"] {
            let delimiter = text.chars().find(char::is_ascii_punctuation).unwrap().to_string();
            assert_inert(text, &[&delimiter]);
        }
    }

    #[test]
    fn text_beside_an_issue_key_makes_no_phrase() {
        assert_eq!(wiki("ABC-12_word *a*"), "ABC-12&#95;word _a_");
        assert_eq!(wiki("*aa_ABC-12*"), "_aa&#95;ABC-12_");
    }

    #[test]
    fn text_cites_nobody() {
        assert_inert("??cite?? ???", &["??"]);
        assert_eq!(wiki("Why?"), "Why?");
    }

    #[test]
    fn text_ends_no_phrase_around_it() {
        assert_eq!(wiki(r"**a\* b**"), "*a&#42; b*");
        assert_eq!(wiki("~~e-mail~~"), "-e&#45;mail-");
    }

    #[test]
    fn text_makes_no_table() {
        assert_inert("|a|b|", &["|"]);
        assert_inert("||a||b||", &["|"]);
    }

    #[test]
    fn text_makes_no_heading_and_no_quote() {
        assert_eq!(wiki("h1. a"), "h1&#46; a");
        assert_eq!(wiki("bq. a"), "bq&#46; a");
        assert_eq!(wiki("- h6\\. a"), "* h6&#46; a");
        assert_eq!(wiki("a. h7. 1."), "a. h7. 1.");
    }

    #[test]
    fn text_makes_no_list() {
        for text in ["* a", "# a", "- a", "** a", "#* a", "-- a"] {
            assert_inert(text, &[]);
            assert!(wiki(&untrusted(text)).starts_with('&'));
        }
        assert_eq!(wiki("- \\- a"), "* &#45; a");
        assert_eq!(wiki("a\\\n\\# b"), "a\n&#35; b");
        assert_eq!(wiki("<p>\n - a"), "<p>\n &#45; a");
        assert_eq!(wiki("&#7; \\- a"), "  &#45; a");
    }

    #[test]
    fn text_makes_no_rule_and_no_dash() {
        for text in ["----", "a -- b", "a --- b"] {
            assert_inert(text, &["-"]);
        }
    }

    #[test]
    fn text_breaks_no_line_and_escapes_nothing() {
        assert_inert(r"a\\b \* \{", &["\\"]);
    }

    #[test]
    fn text_makes_no_emoticon() {
        for text in [":)", ":(", ":P", ":D", ";)", ":-)", "!)"] {
            assert_inert(text, &[text, ";)"]);
        }
        assert_eq!(wiki(":[P](x)"), "&#58;P");
        for text in ["(!)", "(/)", "(x)", "(y)", "(on)", "(*r)", "(flagoff)", "(?)"] {
            assert_inert(text, &["("]);
        }
    }

    #[test]
    fn text_keeps_its_references() {
        assert_inert("&amp; &#123;code&#125; &nbsp;", &["&amp", "&#123", "&nbsp"]);
    }

    #[test]
    fn text_without_markup_stays_readable() {
        for text in [
            "Netbox 11 <12345> down.",
            "ABC-123 2026-09-30 10:30 disk_full web-01.example.org aa+bb",
            "CPU - critical (threshold 90%) #42 R & D: \"x\" 'y' a/b @c $d =e `f`",
        ] {
            assert_eq!(wiki(&untrusted(text)), text);
        }
    }

    #[test]
    fn control_characters_become_spaces() {
        assert_eq!(wiki("a&#7;b&#9;c"), "a b c");
    }

    #[test]
    fn html_is_shown() {
        assert_eq!(wiki("a <b>c</b>"), "a <b>c</b>");
        assert_eq!(wiki("<div>\n{code}\n</div>\n\nx"), "<div>\n&#123;code&#125;\n</div>\n\nx");
    }

    #[test]
    fn headings_have_their_level() {
        assert_eq!(wiki("## Description\n\ntext\n\n###### x"), "h2. Description\n\ntext\n\nh6. x");
    }

    #[test]
    fn a_soft_break_is_a_space_and_a_hard_one_a_line() {
        assert_eq!(wiki("a\nb\\\nc"), "a b\nc");
    }

    #[test]
    fn empty_lines_in_a_paragraph_stay_in_it() {
        assert_eq!(wiki("- a\\\n\\\n  b\n- c"), "* a\n&#160;\nb\n* c");
    }

    #[test]
    fn a_break_within_a_phrase_stays_in_its_line() {
        assert_eq!(wiki("**a\\\nb**"), r"*a \\ b*");
    }

    #[test]
    fn a_break_within_a_link_is_a_space() {
        assert_eq!(wiki("[a\\\nb](https://x.org)"), "[a b|https://x.org]");
    }

    #[test]
    fn phrases_have_their_delimiters() {
        assert_eq!(wiki("**b** *i* ~~s~~ `m`"), "*b* _i_ -s- {{m}}");
    }

    #[test]
    fn phrases_beside_letters_are_in_braces() {
        assert_eq!(wiki("x**b**y"), "x{*}b{*}y");
        assert_eq!(wiki("*i*`m`s"), "_i{_}{{m{}}}s");
        assert_eq!(wiki("**b**https://x.org"), "*b{*}[https://x.org]");
    }

    #[test]
    fn phrases_beside_punctuation_are_not() {
        assert_eq!(wiki("(**Host:** a), **b**."), "&#40;*Host:* a), *b*.");
    }

    #[test]
    fn phrases_nest_in_others_but_not_in_themselves() {
        assert_eq!(wiki("***a***"), "_*a*_");
        assert_eq!(wiki("**a __b__ c**"), "*a b c*");
    }

    #[test]
    fn monospaced_text_is_escaped() {
        assert_eq!(wiki("`{a} [b] }}*`"), "{{&#123;a&#125; &#91;b&#93; &#125;&#125;&#42;}}");
    }

    #[test]
    fn lists_nest() {
        assert_eq!(wiki("- a\n  1. b\n     - c\n- d"), "* a\n*# b\n*#* c\n* d");
    }

    #[test]
    fn a_list_that_starts_an_item_has_its_own_line() {
        assert_eq!(wiki("- - a"), "* \n** a");
    }

    #[test]
    fn blocks_in_an_item_stay_in_the_list() {
        assert_eq!(
            wiki("- a\n\n  b\n  ```\n  c\n  ```\n  d\n- e\n\nf"),
            "* a\nb\n{noformat}\nc\n{noformat}\nd\n* e\n\nf"
        );
    }

    #[test]
    fn code_has_its_language_if_it_is_known() {
        assert_eq!(wiki("```Java x\na\n```"), "{code:java}\na\n{code}");
        assert_eq!(wiki("```a}{b\na\n```"), "{noformat}\na\n{noformat}");
        assert_eq!(wiki("    a"), "{noformat}\na\n{noformat}");
    }

    #[test]
    fn code_is_not_escaped() {
        assert_eq!(wiki("```\n*a* {b} [c] \\ &\n```"), "{noformat}\n*a* {b} [c] \\ &\n{noformat}");
    }

    #[test]
    fn code_ends_no_macro() {
        for tag in
            ["{code}", "{noformat}", "{quote}", "{co\\de}", "{\\code}", "{co\nde}", "{CODE:x}"]
        {
            let out = wiki(&format!("> ```sql\n> {}\n> ```", tag.replace('\n', "\n> ")));
            let broken = tag.replace('{', "{\u{200b}");
            assert_eq!(out, format!("{{quote}}\n{{code:sql}}\n{broken}\n{{code}}\n\n{{quote}}"));
        }
    }

    #[test]
    fn quotes_do_not_nest() {
        assert_eq!(wiki("> a\n> > b\n\nc"), "{quote}\na\n\nb\n\n{quote}\n\nc");
    }

    #[test]
    fn rules_stand_alone() {
        assert_eq!(wiki("a\n\n---\n\nb"), "a\n\n----\n\nb");
    }

    #[test]
    fn tables_have_a_head_and_empty_cells() {
        assert_eq!(
            wiki("| a | b |\n|---|---|\n| **c** | d\\|e |\n| | f |\n\ng"),
            "|| a || b ||\n| *c* | d&#124;e |\n|  | f |\n\ng"
        );
    }

    #[test]
    fn links_have_text_and_target() {
        assert_eq!(
            wiki("[a **b**](<https://x.org/?q=1&r=2#s>)"),
            "[a *b*|https://x.org/?q=1&r=2#s]"
        );
        assert_eq!(wiki("[m](mailto:a@b.org)"), "[m|mailto:a@b.org]");
    }

    #[test]
    fn a_target_cannot_end_its_link() {
        assert_eq!(
            wiki("[a](<https://x.org/|b]c{d}\\\\e f>)"),
            "[a|https://x.org/%7Cb%5Dc%7Bd%7D%5Ce%20f]"
        );
    }

    #[test]
    fn the_text_of_a_link_cannot_end_it() {
        assert_eq!(wiki(r"[a\|b\]c ](https://x.org)"), "[a&#124;b&#93;c|https://x.org]");
        assert_eq!(wiki("[https://a.org](https://b.org)"), "[https&#58;//a.org|https://b.org]");
    }

    #[test]
    fn other_targets_are_not_linked() {
        for url in
            ["javascript:alert(1)", "file:///etc/passwd", "/a", "#a", "~admin", "https://", ""]
        {
            assert_eq!(wiki(&format!("[text](<{url}>)")), "text");
        }
    }

    #[test]
    fn urls_are_links_as_they_are() {
        let url = "https://x.org/a_(b)/~c/-d-/*e*?f=g&h=%20#i!j";
        assert_eq!(wiki(&format!("<{url}>")), format!("[{url}]"));
        assert_eq!(wiki("see https://x.org/a_b-c."), "see [https://x.org/a_b-c].");
        assert_eq!(wiki("(https://x.org/a)"), "&#40;[https://x.org/a])");
        assert_eq!(wiki("https://x.org/a(b)"), "[https://x.org/a(b)]");
        assert_eq!(wiki("https://x.org/{a}"), "[https://x.org/]&#123;a&#125;");
    }

    #[test]
    fn other_schemes_are_no_urls() {
        assert_eq!(wiki("file:///a ftp://b"), "file&#58;///a ftp&#58;//b");
        assert_eq!(wiki("ftp:[a](https://x.org)"), "ftp&#58;[a|https://x.org]");
        assert_eq!(wiki("mailto:**a**"), "mailto:{*}a*");
    }

    #[test]
    fn mailboxes_are_links() {
        assert_eq!(wiki("<a@b.org>"), "[a@b.org|mailto:a@b.org]");
        assert_eq!(wiki("<mailto:a@b.org>"), "[mailto&#58;a@b.org|mailto:a@b.org]");
    }

    #[test]
    fn images_are_links() {
        assert_eq!(wiki("![alt](https://x.org/a.png)"), "[alt|https://x.org/a.png]");
        assert_eq!(wiki("![](https://x.org/a.png)"), "[https://x.org/a.png]");
        assert_eq!(wiki("[![alt](https://x.org/a.png)](https://y.org)"), "[alt|https://y.org]");
    }

    #[test]
    fn nothing_becomes_nothing() {
        assert_eq!(wiki(""), "");
        assert_eq!(wiki(" \n\n"), "");
    }

    #[test]
    fn deep_lists_are_as_deep_as_allowed() {
        assert!(
            wiki(&format!("{}x", "- ".repeat(50)))
                .ends_with(&format!("\n{} x", "*".repeat(super::MAX_LISTS)))
        );
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        for opening in ["> ", "- ", "*a ", "[", "![", "**a "] {
            assert!(wiki(&format!("{}x", opening.repeat(20_000))).contains('x'));
        }
    }
}
