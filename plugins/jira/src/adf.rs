//! Markdown as Atlassian Document Format, which API version 3 takes.
//!
//! Source: <https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd, TextMergeStream};
use serde_json::{Value, json};

use crate::wiki::{OPTIONS, target};

/// Lists in lists, no deeper than anyone reads.
const DEPTH: usize = 20;

pub(crate) fn from_markdown(markdown: &str) -> Value {
    let mut builder =
        Builder { open: vec![json!({"type": "doc", "version": 1})], marks: Vec::new() };
    for event in TextMergeStream::new(Parser::new_ext(markdown, OPTIONS)) {
        builder.event(event);
    }
    while builder.open.len() > 1 {
        builder.close();
    }
    builder.open.pop().unwrap_or_default()
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

struct Builder {
    /// The nodes that we are in, the document first.
    open: Vec<Value>,
    /// The marks that text gets. One for a link that may not be followed is null.
    marks: Vec<Value>,
}

impl Builder {
    fn event(&mut self, event: Event) {
        match event {
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => {
                let marks = self.marks.clone();
                self.text(&text, marks);
            }
            Event::Code(text) => {
                // Beside code, text can only be a link.
                let link = |mark: &&Value| mark["type"] == "link";
                let mut marks: Vec<Value> = self.marks.iter().filter(link).cloned().collect();
                marks.push(json!({"type": "code"}));
                self.text(&text, marks);
            }
            Event::SoftBreak => {
                let marks = self.marks.clone();
                self.text(" ", marks);
            }
            Event::HardBreak => self.inline(json!({"type": "hardBreak"})),
            Event::Rule => self.place(json!({"type": "rule"})),
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag) {
        let node = match tag {
            Tag::Paragraph => json!({"type": "paragraph"}),
            Tag::Heading { level, .. } => {
                json!({"type": "heading", "attrs": {"level": level as u8}})
            }
            Tag::BlockQuote(_) => json!({"type": "blockquote"}),
            Tag::CodeBlock(kind) => match kind {
                CodeBlockKind::Fenced(info) if !info.is_empty() => {
                    let language = info.split_whitespace().next();
                    json!({"type": "codeBlock", "attrs": {"language": language}})
                }
                _ => json!({"type": "codeBlock"}),
            },
            Tag::List(Some(first)) => json!({"type": "orderedList", "attrs": {"order": first}}),
            Tag::List(None) => json!({"type": "bulletList"}),
            Tag::Item => json!({"type": "listItem"}),
            Tag::Table(_) => json!({"type": "table"}),
            Tag::TableHead | Tag::TableRow => json!({"type": "tableRow"}),
            Tag::TableCell => {
                // The first row of a table is its head.
                let table = self.open.iter().rev().nth(1);
                let in_head = table.is_some_and(|table| table.get("content").is_none());
                json!({"type": if in_head { "tableHeader" } else { "tableCell" }})
            }
            Tag::Strong => return self.marks.push(json!({"type": "strong"})),
            Tag::Emphasis => return self.marks.push(json!({"type": "em"})),
            Tag::Strikethrough => return self.marks.push(json!({"type": "strike"})),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                let link = target(&dest_url);
                let mark = link.map(|url| json!({"type": "link", "attrs": {"href": url}}));
                return self.marks.push(mark.unwrap_or_default());
            }
            _ => return,
        };
        self.open.push(node);
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph
            | TagEnd::Heading(_)
            | TagEnd::BlockQuote(_)
            | TagEnd::CodeBlock
            | TagEnd::List(_)
            | TagEnd::Item
            | TagEnd::Table
            | TagEnd::TableHead
            | TagEnd::TableRow
            | TagEnd::TableCell => self.close(),
            TagEnd::Strong
            | TagEnd::Emphasis
            | TagEnd::Strikethrough
            | TagEnd::Link
            | TagEnd::Image => {
                self.marks.pop();
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, marks: Vec<Value>) {
        let in_code = self.open.last().is_some_and(|node| node["type"] == "codeBlock");
        let text = if in_code { text } else { text.trim_end_matches('\n') };
        // The format has no empty text.
        if text.is_empty() {
            return;
        }
        let mut node = json!({"type": "text", "text": text});
        let mut kept: Vec<Value> = Vec::new();
        for mark in marks {
            if !in_code && !mark.is_null() && !kept.iter().any(|k| k["type"] == mark["type"]) {
                kept.push(mark);
            }
        }
        if !kept.is_empty() {
            node["marks"] = json!(kept);
        }
        self.inline(node);
    }

    /// Puts what stands in a line where we are: in a paragraph, if need be in one of its own.
    fn inline(&mut self, node: Value) {
        let Some(parent) = self.open.last_mut() else { return };
        if is_line(parent) {
            return push(parent, node);
        }
        let last = parent["content"].as_array_mut().and_then(|content| content.last_mut());
        match last {
            Some(paragraph) if paragraph["type"] == "paragraph" => push(paragraph, node),
            _ => push(parent, json!({"type": "paragraph", "content": [node]})),
        }
    }

    /// Ends the innermost node and puts it into the one around it.
    fn close(&mut self) {
        let Some(mut node) = self.open.pop() else { return };
        let empty = node.get("content").is_none();
        match node["type"].as_str().unwrap_or_default() {
            "blockquote" | "bulletList" | "orderedList" | "table" | "tableRow" if empty => return,
            "tableCell" | "tableHeader" if empty => push(&mut node, json!({"type": "paragraph"})),
            "listItem" => begin_with_a_paragraph(&mut node),
            "codeBlock" => trim_code(&mut node),
            _ => {}
        }
        self.place(node);
    }

    /// Puts a block where we are; where the format doesn't allow it, its text as a paragraph.
    fn place(&mut self, node: Value) {
        let depth = self.open.len();
        let Some(parent) = self.open.last_mut() else { return };
        if allowed(parent, &node) && depth <= DEPTH {
            return push(parent, node);
        }
        let mut lines = Vec::new();
        collect(&node, &mut lines);
        if !lines.is_empty() {
            push(parent, json!({"type": "paragraph", "content": lines}));
        }
    }
}

fn push(parent: &mut Value, node: Value) {
    match parent["content"].as_array_mut() {
        Some(content) => content.push(node),
        None => parent["content"] = json!([node]),
    }
}

/// Whether a node holds text, not blocks.
fn is_line(node: &Value) -> bool {
    matches!(node["type"].as_str(), Some("paragraph" | "heading" | "codeBlock"))
}

fn allowed(parent: &Value, child: &Value) -> bool {
    let child = child["type"].as_str().unwrap_or_default();
    match parent["type"].as_str().unwrap_or_default() {
        "blockquote" | "listItem" => {
            matches!(child, "paragraph" | "bulletList" | "orderedList" | "codeBlock")
        }
        "bulletList" | "orderedList" => child == "listItem",
        "table" => child == "tableRow",
        "tableRow" => matches!(child, "tableCell" | "tableHeader"),
        "paragraph" | "heading" | "codeBlock" => false,
        _ => true,
    }
}

fn begin_with_a_paragraph(item: &mut Value) {
    let fits = matches!(item["content"][0]["type"].as_str(), Some("paragraph" | "codeBlock"));
    if fits {
        return;
    }
    match item["content"].as_array_mut() {
        Some(content) => content.insert(0, json!({"type": "paragraph"})),
        None => push(item, json!({"type": "paragraph"})),
    }
}

/// Without the line feed that ends the last line of every block of code.
fn trim_code(block: &mut Value) {
    let Some(Value::Array(content)) = block.get_mut("content") else { return };
    if let Some(last) = content.last_mut() {
        let text = last["text"].as_str().unwrap_or_default().trim_end_matches('\n').to_owned();
        last["text"] = json!(text);
    }
    content.retain(|text| text["text"] != "");
}

/// The lines of a node and of all in it, apart by breaks.
fn collect(node: &Value, lines: &mut Vec<Value>) {
    let content = node["content"].as_array().into_iter().flatten();
    if is_line(node) {
        if !lines.is_empty() {
            lines.push(json!({"type": "hardBreak"}));
        }
        lines.extend(content.cloned());
    } else {
        content.for_each(|child| collect(child, lines));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(markdown: &str) -> Value {
        let doc = from_markdown(markdown);
        assert_eq!((&doc["type"], &doc["version"]), (&json!("doc"), &json!(1)));
        valid(&doc);
        doc["content"].clone()
    }

    /// No empty text, no empty content, nothing where it may not be.
    fn valid(node: &Value) {
        assert_ne!(node["text"], "", "{node}");
        if let Some(children) = node.get("content") {
            let children = children.as_array().unwrap();
            assert!(!children.is_empty(), "{node}");
            for child in children {
                let line = matches!(child["type"].as_str(), Some("text" | "hardBreak"));
                assert_eq!(line, is_line(node), "{child} in {node}");
                assert!(line || allowed(node, child), "{child} in {node}");
                valid(child);
            }
        }
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    fn marked(words: &str, mark: &str) -> Value {
        json!({"type": "text", "text": words, "marks": [{"type": mark}]})
    }

    fn paragraph(content: &[Value]) -> Value {
        json!({"type": "paragraph", "content": content})
    }

    #[test]
    fn headings_paragraphs_and_breaks() {
        let expected = json!([
            {"type": "heading", "attrs": {"level": 2}, "content": [text("Tags")]},
            paragraph(&[text("a"), json!({"type": "hardBreak"}), text("b"), text(" "), text("c")]),
            {"type": "rule"},
        ]);
        assert_eq!(content("## Tags\n\na\\\nb\nc\n\n---"), expected);
    }

    #[test]
    fn marks_and_links() {
        let link = json!({"type": "link", "attrs": {"href": "https://x.org/?a=b"}});
        let expected = json!([paragraph(&[
            marked("b", "strong"),
            marked("i", "em"),
            marked("s", "strike"),
            marked("c", "code"),
            json!({"type": "text", "text": "l", "marks": [link]}),
            json!({"type": "text", "text": "m", "marks": [link, {"type": "code"}]}),
        ])]);
        let markdown = "**b***i*~~s~~`c`[l](https://x.org/?a=b)[**`m`**](https://x.org/?a=b)";
        assert_eq!(content(markdown), expected);
    }

    #[test]
    fn lists_in_lists_and_empty_items() {
        let item = |content: Value| json!({"type": "listItem", "content": content});
        let inner = json!({"type": "orderedList", "attrs": {"order": 1}, "content": [
            item(json!([paragraph(&[text("b")])])),
        ]});
        let expected = json!([{"type": "bulletList", "content": [
            item(json!([paragraph(&[text("a")]), inner])),
            item(json!([{"type": "paragraph"}])),
        ]}]);
        assert_eq!(content("- a\n  1. b\n-"), expected);
    }

    #[test]
    fn code_quotes_and_tables() {
        let cell =
            |kind: &str, words: &str| json!({"type": kind, "content": [paragraph(&[text(words)])]});
        let empty = json!({"type": "tableCell", "content": [{"type": "paragraph"}]});
        let expected = json!([
            {"type": "codeBlock", "attrs": {"language": "sh"}, "content": [text("a\n\n*b*")]},
            {"type": "blockquote", "content": [paragraph(&[text("q")])]},
            {"type": "table", "content": [
                {"type": "tableRow", "content": [cell("tableHeader", "h"), cell("tableHeader", "i")]},
                {"type": "tableRow", "content": [cell("tableCell", "1"), empty]},
            ]},
        ]);
        assert_eq!(
            content("```sh\na\n\n*b*\n```\n\n> q\n\n| h | i |\n|---|---|\n| 1 |  |"),
            expected
        );
    }

    #[test]
    fn what_the_format_forbids_keeps_its_text() {
        let quote = content("> ## h\n> > inner\n>\n> ---\n>\n> - x");
        assert_eq!(quote[0]["content"][0], paragraph(&[text("h")]));
        assert_eq!(quote[0]["content"][1], paragraph(&[text("inner")]));
        content("- # h\n- > q\n- | a |\n  |---|\n  | b |\n");
        content("```\n```\n\n>\n\n-");
    }

    #[test]
    fn lists_without_end_do_not_overflow() {
        let deep = content(&"- ".repeat(10_000));
        assert!(deep.to_string().len() < 100_000);
    }

    #[test]
    fn text_of_the_incident_is_text() {
        let markdown = r"\<b\>x\</b\> \@channel \{code\} [a](<javascript:alert(1)>) <i>raw</i>";
        let all = content(markdown);
        let texts = all[0]["content"].as_array().unwrap().iter();
        let shown: String = texts.map(|node| node["text"].as_str().unwrap()).collect();
        assert_eq!(shown, "<b>x</b> @channel {code} a <i>raw</i>");
        assert!(!all.to_string().contains("marks"), "{all}");
    }

    #[test]
    fn plain_text_has_a_paragraph_for_each_line() {
        let expected =
            json!([paragraph(&[text("a")]), {"type": "paragraph"}, paragraph(&[text("b")])]);
        assert_eq!(from_text("a\n\nb")["content"], expected);
    }
}
