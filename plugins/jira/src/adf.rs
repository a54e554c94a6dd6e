//! Markdown as Atlassian Document Format.
//!
//! Source: <https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>

use pulldown_cmark::{
    CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, TextMergeStream,
};
use serde_json::{Value, json};

/// How deep lists may nest. Deeper ones become paragraphs: nobody reads them, and a program that
/// walks the document recursively could overflow its stack.
const MAX_LISTS: usize = 10;

/// Where links may lead.
const SCHEMES: [&str; 3] = ["http://", "https://", "mailto:"];

pub(crate) fn from_markdown(markdown: &str) -> Value {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).map(as_text);
    let mut builder = Builder::default();
    for event in TextMergeStream::new(events) {
        builder.event(event);
    }
    builder.finish()
}

/// Plain text: a paragraph for each line.
pub(crate) fn from_text(text: &str) -> Value {
    let paragraphs: Vec<Value> = text
        .lines()
        .map(|line| match line {
            "" => json!({"type": "paragraph"}),
            line => json!({"type": "paragraph", "content": [{"type": "text", "text": line}]}),
        })
        .collect();
    json!({"type": "doc", "version": 1, "content": paragraphs})
}

/// HTML becomes text that is shown as it is, and a line end within a paragraph becomes a space.
fn as_text(event: Event) -> Event {
    match event {
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        Event::SoftBreak => Event::Text(CowStr::Borrowed(" ")),
        event => event,
    }
}

struct Node {
    kind: &'static str,
    attrs: Option<Value>,
    content: Vec<Value>,
    /// Whether the builder opened it for text that is in no paragraph in the Markdown.
    implicit: bool,
}

impl Node {
    fn new(kind: &'static str) -> Self {
        Self { kind, attrs: None, content: Vec::new(), implicit: false }
    }

    fn with(kind: &'static str, attrs: Value) -> Self {
        Self { attrs: Some(attrs), ..Self::new(kind) }
    }

    fn holds_text(&self) -> bool {
        matches!(self.kind, "paragraph" | "heading" | "codeBlock")
    }

    /// The node as JSON, unless it must have content and has none.
    fn into_value(mut self) -> Option<Value> {
        let first = self.content.first().map_or(&Value::Null, |first| &first["type"]);
        let needs_paragraph = match self.kind {
            "listItem" => first != "paragraph" && first != "codeBlock",
            "tableHeader" | "tableCell" => first.is_null(),
            _ => false,
        };
        if needs_paragraph {
            self.content.insert(0, json!({"type": "paragraph"}));
        }
        if self.content.is_empty() && !self.holds_text() {
            return None;
        }
        let mut value = json!({"type": self.kind});
        if let Some(attrs) = self.attrs {
            value["attrs"] = attrs;
        }
        if !self.content.is_empty() {
            value["content"] = Value::Array(self.content);
        }
        Some(value)
    }
}

fn allows(parent: &str, child: &str) -> bool {
    match parent {
        "doc" => !matches!(child, "listItem" | "tableRow" | "tableHeader" | "tableCell"),
        "blockquote" | "listItem" => {
            matches!(child, "paragraph" | "bulletList" | "orderedList" | "codeBlock")
        }
        "bulletList" | "orderedList" => child == "listItem",
        "table" => child == "tableRow",
        "tableRow" => matches!(child, "tableHeader" | "tableCell"),
        "tableHeader" | "tableCell" => child == "paragraph",
        _ => false,
    }
}

#[derive(Default)]
struct Builder {
    /// The blocks of the document that are complete.
    document: Vec<Value>,
    /// The nodes that are still open, the outermost first.
    open: Vec<Node>,
    /// For each open block of the Markdown, whether it has a node.
    blocks: Vec<bool>,
    marks: Vec<&'static str>,
    /// The target of each open link and image; None where it isn't one that people may follow.
    links: Vec<Option<String>>,
}

impl Builder {
    fn event(&mut self, event: Event) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(code) if self.innermost() == "codeBlock" => self.code_block(&code),
            Event::Text(text) => self.text(&text, &["strong", "em", "strike"]),
            Event::Code(code) => {
                // The format allows code in a link, but not in bold or italics.
                self.marks.push("code");
                self.text(&code, &["code"]);
                self.marks.pop();
            }
            Event::HardBreak => self.inline(json!({"type": "hardBreak"})),
            Event::Rule => {
                self.close_implicit();
                if allows(self.innermost(), "rule") {
                    self.add(json!({"type": "rule"}));
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag) {
        match tag {
            Tag::Strong => self.marks.push("strong"),
            Tag::Emphasis => self.marks.push("em"),
            Tag::Strikethrough => self.marks.push("strike"),
            Tag::Link { link_type, dest_url, .. } | Tag::Image { link_type, dest_url, .. } => {
                self.links.push(target(link_type, &dest_url));
            }
            Tag::TableCell if self.innermost() == "paragraph" => self.start_cell_as_text(),
            tag => self.start_block(self.node(&tag)),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong | TagEnd::Emphasis | TagEnd::Strikethrough => {
                self.marks.pop();
            }
            TagEnd::Link | TagEnd::Image => {
                self.links.pop();
            }
            _ => {
                self.close_implicit();
                if self.blocks.pop() == Some(true) {
                    self.close();
                }
            }
        }
    }

    fn node(&self, tag: &Tag) -> Option<Node> {
        Some(match tag {
            Tag::Paragraph | Tag::HtmlBlock => Node::new("paragraph"),
            Tag::Heading { level, .. } => Node::with("heading", json!({"level": *level as u8})),
            Tag::BlockQuote(_) => Node::new("blockquote"),
            Tag::CodeBlock(kind) => code_block(kind),
            Tag::List(_) if self.lists() == MAX_LISTS => return None,
            Tag::List(Some(first)) => Node::with("orderedList", json!({"order": first})),
            Tag::List(None) => Node::new("bulletList"),
            Tag::Item => Node::new("listItem"),
            Tag::Table(_) => Node::new("table"),
            Tag::TableHead | Tag::TableRow => Node::new("tableRow"),
            Tag::TableCell if self.in_table_head() => Node::new("tableHeader"),
            Tag::TableCell => Node::new("tableCell"),
            _ => return None,
        })
    }

    /// The head is a table's first row: the table around the open row has no other row yet.
    fn in_table_head(&self) -> bool {
        self.open.iter().nth_back(1).is_some_and(|table| table.content.is_empty())
    }

    /// Opens a block. Where the format doesn't allow this block, its text goes into a paragraph, and
    /// the blocks in it go into the block around it.
    fn start_block(&mut self, node: Option<Node>) {
        self.close_implicit();
        let node = node.and_then(|node| match node.kind {
            kind if allows(self.innermost(), kind) => Some(node),
            "heading" | "tableRow" => Some(Node::new("paragraph")),
            _ => None,
        });
        self.blocks.push(node.is_some());
        self.open.extend(node);
    }

    /// Begins a cell of a row that became a paragraph: a bar separates it from the cell before.
    fn start_cell_as_text(&mut self) {
        self.blocks.push(false);
        if self.open.last().is_some_and(|row| !row.content.is_empty()) {
            self.text(" | ", &[]);
        }
    }

    fn close(&mut self) {
        if let Some(value) = self.open.pop().and_then(Node::into_value) {
            self.add(value);
        }
    }

    fn close_implicit(&mut self) {
        if self.open.last().is_some_and(|node| node.implicit) {
            self.close();
        }
    }

    fn add(&mut self, value: Value) {
        self.open.last_mut().map_or(&mut self.document, |parent| &mut parent.content).push(value);
    }

    fn lists(&self) -> usize {
        self.open.iter().filter(|node| matches!(node.kind, "bulletList" | "orderedList")).count()
    }

    fn innermost(&self) -> &'static str {
        self.open.last().map_or("doc", |node| node.kind)
    }

    fn text(&mut self, text: &str, allowed: &[&str]) {
        let marks = allowed.iter().filter(|mark| self.marks.contains(mark));
        let mut marks: Vec<Value> = marks.map(|mark| json!({"type": mark})).collect();
        // Links don't nest: an image in a link becomes a part of the link's text.
        let link = self.links.iter().flatten().next();
        marks.extend(link.map(|href| json!({"type": "link", "attrs": {"href": href}})));
        for (number, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            if number > 0 {
                self.inline(json!({"type": "hardBreak"}));
            }
            let line = line.replace(char::is_control, " ");
            // The format allows neither an empty text nor an empty list of marks.
            match (line.is_empty(), marks.is_empty()) {
                (true, _) => {}
                (_, true) => self.inline(json!({"type": "text", "text": line})),
                _ => self.inline(json!({"type": "text", "text": line, "marks": marks})),
            }
        }
    }

    /// The line feed that ends a block isn't part of its code.
    fn code_block(&mut self, code: &str) {
        let code = code.strip_suffix('\n').unwrap_or(code);
        if !code.is_empty() {
            self.add(json!({"type": "text", "text": code}));
        }
    }

    fn inline(&mut self, node: Value) {
        if !self.open.last().is_some_and(Node::holds_text) {
            self.open.push(Node { implicit: true, ..Node::new("paragraph") });
        }
        self.add(node);
    }

    fn finish(mut self) -> Value {
        while !self.open.is_empty() {
            self.close();
        }
        json!({"version": 1, "type": "doc", "content": self.document})
    }
}

fn code_block(kind: &CodeBlockKind) -> Node {
    let CodeBlockKind::Fenced(info) = kind else { return Node::new("codeBlock") };
    match info.split_whitespace().next() {
        Some(language) => Node::with("codeBlock", json!({"language": language})),
        None => Node::new("codeBlock"),
    }
}

/// Where a link leads, if that is the web or a mailbox.
fn target(link_type: LinkType, url: &str) -> Option<String> {
    let url = if link_type == LinkType::Email { &format!("mailto:{url}") } else { url };
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty()).then(|| url.chars().map(encode).collect())
}

/// Percent-encodes white space: a URL has none, but Markdown allows it in `<...>`.
fn encode(c: char) -> String {
    let text = String::from(c);
    if c.is_whitespace() || c.is_control() {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn content(markdown: &str) -> Value {
        let document = from_markdown(markdown);
        assert_eq!((&document["version"], &document["type"]), (&json!(1), &json!("doc")));
        assert_valid(&document);
        document["content"].clone()
    }

    /// Fails where a node isn't as the format's schema says.
    #[track_caller]
    fn assert_valid(node: &Value) {
        let kind = node["type"].as_str().unwrap();
        let empty = Vec::new();
        let children = node["content"].as_array().unwrap_or(&empty);
        match kind {
            "text" => return assert_valid_text(node),
            "hardBreak" | "rule" => return assert!(node.get("content").is_none()),
            "doc" | "paragraph" | "heading" | "codeBlock" => {}
            _ => assert!(!children.is_empty(), "{node}"),
        }
        for child in children {
            let child_kind = child["type"].as_str().unwrap();
            let allowed = match kind {
                "codeBlock" => child_kind == "text" && child.get("marks").is_none(),
                "paragraph" | "heading" => matches!(child_kind, "text" | "hardBreak"),
                _ => allows(kind, child_kind) && child_kind != "text" && child_kind != "hardBreak",
            };
            assert!(allowed, "{child_kind} in {node}");
            assert_valid(child);
        }
        if kind == "listItem" {
            assert!(matches!(children[0]["type"].as_str(), Some("paragraph" | "codeBlock")));
        }
    }

    #[track_caller]
    fn assert_valid_text(node: &Value) {
        assert_ne!(node["text"], "");
        let Some(marks) = node.get("marks") else { return };
        let kinds = marks.as_array().unwrap().iter().map(|mark| mark["type"].as_str().unwrap());
        let kinds: Vec<&str> = kinds.collect();
        assert!(!kinds.is_empty());
        let distinct: std::collections::BTreeSet<&&str> = kinds.iter().collect();
        assert_eq!(distinct.len(), kinds.len(), "{node}");
        assert!(!kinds.contains(&"code") || kinds.iter().all(|k| matches!(*k, "code" | "link")));
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    fn marked(text: &str, marks: &[&str]) -> Value {
        let marks: Vec<Value> = marks.iter().map(|mark| json!({"type": mark})).collect();
        json!({"type": "text", "text": text, "marks": marks})
    }

    fn linked(text: &str, href: &str) -> Value {
        json!({"type": "text", "text": text, "marks": [{"type": "link", "attrs": {"href": href}}]})
    }

    fn hard_break() -> Value {
        json!({"type": "hardBreak"})
    }

    fn node(kind: &str, content: Value) -> Value {
        json!({"type": kind, "content": content})
    }

    fn paragraph(words: &str) -> Value {
        node("paragraph", json!([text(words)]))
    }

    #[test]
    fn untrusted_text_is_text() {
        let words = "{code} [~a] *b* _c_ <b>d</b> @e :) h1. | & &amp; https://x.org";
        let escape = |c: char| if c.is_ascii_punctuation() { format!("\\{c}") } else { c.into() };
        let markdown: String = words.chars().map(escape).collect();
        assert_eq!(content(&markdown), json!([paragraph(words)]));
    }

    #[test]
    fn headings_have_their_level() {
        let heading = |level: u8| json!({"type": "heading", "attrs": {"level": level}, "content": [text("a")]});
        assert_eq!(content("## a\n\n###### a"), json!([heading(2), heading(6)]));
    }

    #[test]
    fn a_soft_break_is_a_space_and_a_hard_one_a_break() {
        let line = json!([text("a b"), hard_break(), text("c")]);
        assert_eq!(content("a\nb\\\nc"), json!([node("paragraph", line)]));
    }

    #[test]
    fn styles_are_marks() {
        let line = json!([
            marked("b", &["strong"]),
            marked("i", &["em"]),
            marked("s", &["strike"]),
            marked("c", &["code"])
        ]);
        assert_eq!(content("**b***i*~~s~~`c`"), json!([node("paragraph", line)]));
    }

    #[test]
    fn styles_combine_once_each() {
        let line = json!([marked("a ", &["strong"]), marked("b", &["strong", "em"])]);
        assert_eq!(content("**a __*b*__**"), json!([node("paragraph", line)]));
    }

    #[test]
    fn code_has_no_other_style() {
        assert_eq!(
            content("***`c`***"),
            json!([node("paragraph", json!([marked("c", &["code"])]))])
        );
    }

    #[test]
    fn code_may_be_a_link() {
        let link = json!({"type": "link", "attrs": {"href": "https://x.org"}});
        let code = json!({"type": "text", "text": "c", "marks": [{"type": "code"}, link]});
        assert_eq!(content("[**`c`**](https://x.org)"), json!([node("paragraph", json!([code]))]));
    }

    #[test]
    fn links_have_their_target() {
        for (markdown, expected) in [
            (
                "<https://x.org/?a=b&c=d>",
                linked("https://x.org/?a=b&c=d", "https://x.org/?a=b&c=d"),
            ),
            ("[t](<https://x.org/a|b]c d>)", linked("t", "https://x.org/a|b]c%20d")),
            ("[t](mailto:a@b.org)", linked("t", "mailto:a@b.org")),
            ("<a@b.org>", linked("a@b.org", "mailto:a@b.org")),
        ] {
            assert_eq!(content(markdown), json!([node("paragraph", json!([expected]))]));
        }
    }

    #[test]
    fn other_targets_are_not_linked() {
        for url in ["javascript:alert(1)", "file:///etc/passwd", "/a", "#a", "https://", ""] {
            assert_eq!(content(&format!("[text](<{url}>)")), json!([paragraph("text")]));
        }
    }

    #[test]
    fn images_are_links_and_links_do_not_nest() {
        for (markdown, href) in [
            ("![alt](https://x.org/a.png)", "https://x.org/a.png"),
            ("[![alt](https://x.org/a.png)](https://y.org)", "https://y.org"),
            ("[![alt](https://x.org/a.png)](javascript:a)", "https://x.org/a.png"),
        ] {
            assert_eq!(content(markdown), json!([node("paragraph", json!([linked("alt", href)]))]));
        }
    }

    #[test]
    fn text_behind_a_link_is_not_linked() {
        let line = json!([linked("a", "https://x.org"), text(" b")]);
        assert_eq!(content("[a](https://x.org) b"), json!([node("paragraph", line)]));
    }

    #[test]
    fn lists_nest() {
        let c = node("listItem", json!([paragraph("b")]));
        let ordered = json!({"type": "orderedList", "attrs": {"order": 3}, "content": [c]});
        let items = json!([
            node("listItem", json!([paragraph("a"), ordered])),
            node("listItem", json!([paragraph("c"), paragraph("d")])),
        ]);
        assert_eq!(content("- a\n\n  3. b\n- c\n\n  d"), json!([node("bulletList", items)]));
    }

    #[test]
    fn items_start_with_a_paragraph() {
        let empty = json!({"type": "paragraph"});
        let inner = node("bulletList", json!([node("listItem", json!([paragraph("a")]))]));
        let outer =
            json!([node("listItem", json!([empty, inner])), node("listItem", json!([empty]))]);
        assert_eq!(content("- - a\n-"), json!([node("bulletList", outer)]));
    }

    #[test]
    fn items_may_start_with_code() {
        let code = node("codeBlock", json!([text("a")]));
        let items = json!([node("listItem", json!([code, paragraph("b")]))]);
        assert_eq!(content("- ```\n  a\n  ```\n  b"), json!([node("bulletList", items)]));
    }

    #[test]
    fn code_has_its_language_and_no_marks() {
        let code = json!({"type": "codeBlock", "attrs": {"language": "sql"}, "content": [text("*a*\n\n b")]});
        assert_eq!(content("```sql x\n*a*\n\n b\n```"), json!([code]));
    }

    #[test]
    fn empty_code_has_no_text() {
        assert_eq!(content("```\n```"), json!([{"type": "codeBlock"}]));
        assert_eq!(content("```\n\n```"), json!([{"type": "codeBlock"}]));
    }

    #[test]
    fn quotes_hold_what_the_format_allows() {
        let list = node("bulletList", json!([node("listItem", json!([paragraph("b")]))]));
        let code = node("codeBlock", json!([text("c")]));
        let quote = node("blockquote", json!([paragraph("a"), list, code]));
        assert_eq!(content("> a\n>\n> - b\n>\n> ```\n> c\n> ```"), json!([quote]));
    }

    #[test]
    fn what_a_quote_may_not_hold_keeps_its_text() {
        let row = |a, b| node("paragraph", json!([text(a), text(" | "), text(b)]));
        let quote = json!([paragraph("a"), paragraph("b"), row("c", "d"), row("e", "f")]);
        assert_eq!(
            content("> # a\n> > b\n>\n> ---\n>\n> | c | d |\n> |---|---|\n> | e | f |"),
            json!([node("blockquote", quote)])
        );
    }

    #[test]
    fn what_an_item_may_not_hold_keeps_its_text() {
        let items =
            json!([node("listItem", json!([paragraph("a"), paragraph("b"), paragraph("c")]))]);
        assert_eq!(content("- # a\n  > b\n\n  c"), json!([node("bulletList", items)]));
    }

    #[test]
    fn an_empty_quote_is_none() {
        assert_eq!(content(">\n\na"), json!([paragraph("a")]));
    }

    #[test]
    fn rules_stand_alone() {
        assert_eq!(content("a\n\n---"), json!([paragraph("a"), {"type": "rule"}]));
    }

    #[test]
    fn tables_have_a_head_and_empty_cells() {
        let row = |kind: &str, first: Value, second: Value| {
            let cell = |content: Value| node(kind, json!([content]));
            node("tableRow", json!([cell(first), cell(second)]))
        };
        let rows = json!([
            row("tableHeader", paragraph("a"), paragraph("b")),
            row("tableCell", paragraph("c"), json!({"type": "paragraph"})),
        ]);
        assert_eq!(content("| a | b |\n|---|---|\n| c | |"), json!([node("table", rows)]));
    }

    #[test]
    fn html_is_shown() {
        let block = node("paragraph", json!([text("<div>"), hard_break(), text("a </div>")]));
        assert_eq!(
            content("<div>\na </div>\n\nb <i>c</i>"),
            json!([block, paragraph("b <i>c</i>")])
        );
    }

    #[test]
    fn empty_lines_are_breaks_only() {
        let lines = json!([text("<!--"), hard_break(), hard_break(), text("-->")]);
        assert_eq!(content("<!--\n\n-->"), json!([node("paragraph", lines)]));
    }

    #[test]
    fn a_rule_in_an_item_separates_paragraphs() {
        let items = json!([node("listItem", json!([paragraph("a"), paragraph("b")]))]);
        assert_eq!(content("- a\n  ***\n  b"), json!([node("bulletList", items)]));
    }

    #[test]
    fn control_characters_become_spaces() {
        assert_eq!(content("a&#7;b"), json!([paragraph("a b")]));
    }

    #[test]
    fn nothing_is_an_empty_document() {
        assert_eq!(from_markdown(""), json!({"version": 1, "type": "doc", "content": []}));
    }

    #[test]
    fn text_without_content_is_no_node() {
        assert_eq!(content("[](https://x.org)"), json!([{"type": "paragraph"}]));
    }

    #[test]
    fn deep_lists_go_on_as_paragraphs() {
        let depth = MAX_LISTS + 2;
        let lines = (0..depth).map(|level| format!("{}- {level}\n", "  ".repeat(level)));
        let document = content(&lines.collect::<String>()).to_string();
        assert_eq!(document.matches("bulletList").count(), MAX_LISTS);
        for level in 0..depth {
            assert!(document.contains(&format!("\"text\":\"{level}\"")), "{level} in {document}");
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        for opening in ["> ", "- ", "*a ", "[", "![", "**a "] {
            content(&format!("{}x", opening.repeat(20_000)));
        }
    }
}
