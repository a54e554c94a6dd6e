//! Whether a plugin's JSON Schema can be worked with in bounded time and memory.
//!
//! A schema of a few KiB can stand for 2^40 parts, if each of 40 definitions refers to the next one twice; no
//! validator would ever be done with that. So the parts are counted here that the schema would have if what
//! each reference refers to stood in the reference's place ("written out"). Each part is looked at once only.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Parts (JSON values) that a schema may have with its references written out.
const MOST_PARTS: u64 = 10_000;
/// Levels that a schema may be deep with its references written out. Validators descend by recursion, and
/// deeper ones could use up a thread's stack.
const DEEPEST: usize = 200;
/// Regular expressions that a schema may have. Each is compiled, which takes time and memory.
const MOST_PATTERNS: usize = 200;
/// Bytes of one of them.
const LONGEST_PATTERN: usize = 1 << 10;
/// Bytes of all texts and names that a schema may have with each reference written out.
const MOST_BYTES: u64 = 512 << 10;
/// Keywords for which a validator works through the part that they stand in a second time.
const TWICE: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
/// Keywords for references whose target is known only while a value is validated, so that they can't be
/// followed here.
const UNKNOWN_ENDS: [&str; 2] = ["$dynamicRef", "$recursiveRef"];

/// Keywords that make a part a schema of its own, within which references mean something else.
const OWN_SCHEMA: [&str; 2] = ["$id", "$schema"];

/// Why a schema is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unbounded {
    #[error("has more than {MOST_PARTS} parts if each reference is written out")]
    Large,
    #[error("is nested deeper than {DEEPEST} levels if each reference is written out")]
    Deep,
    #[error("has more than {MOST_BYTES} bytes if each reference is written out")]
    Bytes,
    #[error(
        "has more than {MOST_PATTERNS} regular expressions, or one of more than {LONGEST_PATTERN} bytes"
    )]
    Patterns,
    #[error("has the reference {0:?}, which leads back to where it stands")]
    Circular(String),
    #[error("has the reference {0:?}, which is not \"#\" and a path within the schema")]
    Elsewhere(String),
    #[error("has the keyword {0:?} below its root, which changes what references mean there")]
    Embedded(String),
}

/// Counts the parts of `schema` with its references written out, and its levels.
///
/// # Errors
/// The schema is over a bound, or has a reference that can't be followed to an end.
pub(crate) fn check(schema: &Value) -> Result<(), Unbounded> {
    let mut walk = Walk { root: schema, parts: HashMap::new(), patterns: 0 };
    walk.measure(schema, 0).map(drop)
}

struct Walk<'a> {
    root: &'a Value,
    /// What is known of each part that was reached, by the part's address in memory.
    parts: HashMap<*const Value, Seen>,
    patterns: usize,
}

#[derive(Clone, Copy)]
enum Seen {
    /// The part is being measured at this moment: a reference to it stands within it.
    Now,
    Measured(Size),
}

/// How large a part is with each reference written out.
#[derive(Clone, Copy)]
struct Size {
    parts: u64,
    /// Of its texts and names.
    bytes: u64,
    levels: usize,
}

impl Size {
    fn add(&mut self, inner: Size) {
        self.parts = self.parts.saturating_add(inner.parts);
        self.bytes = self.bytes.saturating_add(inner.bytes);
        self.levels = self.levels.max(inner.levels);
    }
}

impl<'a> Walk<'a> {
    fn measure(&mut self, part: &'a Value, depth: usize) -> Result<Size, Unbounded> {
        if depth > DEEPEST {
            return Err(Unbounded::Deep);
        }
        if let Some(Seen::Measured(size)) = self.parts.get(&std::ptr::from_ref(part)) {
            return Ok(*size);
        }
        self.parts.insert(part, Seen::Now);
        let mut size = Size { parts: 1, bytes: 8, levels: 0 };
        match part {
            Value::String(text) => size.bytes += text.len() as u64,
            Value::Array(items) => {
                for item in items {
                    size.add(self.measure(item, depth + 1)?);
                }
            }
            Value::Object(members) => size.add(self.measure_members(part, members, depth)?),
            _ => {}
        }
        size.levels += 1;
        if size.parts > MOST_PARTS {
            return Err(Unbounded::Large);
        }
        if size.bytes > MOST_BYTES {
            return Err(Unbounded::Bytes);
        }
        if depth + size.levels > DEEPEST {
            return Err(Unbounded::Deep);
        }
        self.parts.insert(part, Seen::Measured(size));
        Ok(size)
    }

    fn measure_members(
        &mut self,
        part: &Value,
        members: &'a Map<String, Value>,
        depth: usize,
    ) -> Result<Size, Unbounded> {
        if !std::ptr::eq(part, self.root) {
            self.is_no_schema_of_its_own(members)?;
        }
        let mut size = Size { parts: 0, bytes: 0, levels: 0 };
        for (name, member) in members {
            size.bytes += name.len() as u64;
            size.add(self.measure(member, depth + 1)?);
            if let Some(target) = self.target(name, member)? {
                size.add(self.measure(target, depth + 1)?);
            }
        }
        if TWICE.iter().any(|name| members.contains_key(*name)) {
            size.add(size);
        }
        Ok(size)
    }

    /// Whether references mean the same within these members as elsewhere in the schema.
    fn is_no_schema_of_its_own(&self, members: &Map<String, Value>) -> Result<(), Unbounded> {
        // In draft 4 the keyword has no dollar sign.
        let draft_4 = self.root["$schema"].as_str().is_some_and(|draft| draft.contains("draft-04"));
        let keywords = OWN_SCHEMA.into_iter().chain(draft_4.then_some("id"));
        match keywords.into_iter().find(|name| members.get(*name).is_some_and(Value::is_string)) {
            Some(name) => Err(Unbounded::Embedded(name.to_owned())),
            None => Ok(()),
        }
    }

    /// What a member refers to, if it is a reference.
    fn target(&mut self, name: &str, member: &Value) -> Result<Option<&'a Value>, Unbounded> {
        let text = member.as_str().unwrap_or_default();
        let mut longest = 0;
        match name {
            "pattern" if member.is_string() => {
                self.patterns += 1;
                longest = text.len();
            }
            "patternProperties" => {
                let patterns = member.as_object().into_iter().flat_map(Map::keys);
                self.patterns += patterns.clone().count();
                longest = patterns.map(String::len).max().unwrap_or(0);
            }
            _ => {}
        }
        if self.patterns > MOST_PATTERNS || longest > LONGEST_PATTERN {
            return Err(Unbounded::Patterns);
        }
        if UNKNOWN_ENDS.contains(&name) && member.is_string() {
            return Err(Unbounded::Elsewhere(text.to_owned()));
        }
        if name != "$ref" || !member.is_string() {
            return Ok(None);
        }
        let elsewhere = || Unbounded::Elsewhere(text.chars().take(100).collect());
        let pointer = text.strip_prefix('#').ok_or_else(elsewhere)?;
        let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8();
        let target = self.root.pointer(&pointer.map_err(|_| elsewhere())?).ok_or_else(elsewhere)?;
        match self.parts.get(&std::ptr::from_ref(target)) {
            Some(Seen::Now) => Err(Unbounded::Circular(text.to_owned())),
            _ => Ok(Some(target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Definitions of which each refers to the next one `times`.
    fn chain(length: usize, times: usize) -> Value {
        let mut definitions = Map::new();
        for n in 0..length {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            definitions.insert(format!("d{n}"), json!({"allOf": vec![next; times]}));
        }
        definitions.insert(format!("d{length}"), json!({"type": "string"}));
        json!({"$defs": definitions, "properties": {"token": {"$ref": "#/$defs/d0"}}})
    }

    #[test]
    fn what_no_validator_ends_with_is_refused() {
        let circle = json!({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}});
        let mut unevaluated = json!({});
        for _ in 0..30 {
            unevaluated = json!({"unevaluatedProperties": false, "if": unevaluated});
        }
        let long_reference = json!({
            "$defs": {"long": {"required": ["a".repeat(100_000)]}},
            "anyOf": vec![json!({"$ref": "#/$defs/long"}); 10],
        });
        // A validator looks for the inner references in the inner definitions, which are the long chain.
        let embedded = |keyword: &str| {
            let mut inner = chain(40, 2);
            inner[keyword] = "https://x.org/inner".into();
            json!({"$defs": {"inner": inner, "d0": {}}, "$ref": "#/$defs/inner"})
        };
        let mut draft_4 = embedded("id");
        draft_4["$schema"] = "http://json-schema.org/draft-04/schema#".into();
        let patterns: Map<String, Value> =
            (0..201).map(|n| (n.to_string(), json!({"pattern": "a"}))).collect();
        for (schema, expected) in [
            (chain(40, 2), Unbounded::Large),
            (chain(190, 1), Unbounded::Deep),
            (json!({"enum": vec![0; 10_000]}), Unbounded::Large),
            (json!({"properties": patterns}), Unbounded::Patterns),
            (unevaluated, Unbounded::Large),
            (long_reference, Unbounded::Bytes),
            (json!({"pattern": "a".repeat(1025)}), Unbounded::Patterns),
            (json!({"patternProperties": {"a".repeat(1025): {}}}), Unbounded::Patterns),
            (json!({"$ref": "#"}), Unbounded::Circular("#".to_owned())),
            (circle, Unbounded::Circular("#/$defs/a".to_owned())),
            (
                json!({"$ref": "https://x.org/s"}),
                Unbounded::Elsewhere("https://x.org/s".to_owned()),
            ),
            (json!({"$ref": "#/nowhere"}), Unbounded::Elsewhere("#/nowhere".to_owned())),
            (embedded("$id"), Unbounded::Embedded("$id".to_owned())),
            (embedded("$schema"), Unbounded::Embedded("$schema".to_owned())),
            (draft_4, Unbounded::Embedded("id".to_owned())),
            (json!({"items": {"$dynamicRef": "#a"}}), Unbounded::Elsewhere("#a".to_owned())),
        ] {
            assert_eq!(check(&schema), Err(expected));
        }
    }

    #[test]
    fn what_plugins_have_is_let_in() {
        for schema in [
            json!(true),
            chain(8, 2),
            chain(60, 1),
            // A property may have the name of a keyword.
            json!({"properties": {"$ref": {"type": "string"}, "pattern": {}}}),
            json!({"$defs": {"a/b": {}}, "items": [{"$ref": "#/$defs/a~1b"}, {"$ref": "#/$defs/a~1b"}]}),
        ] {
            assert_eq!(check(&schema), Ok(()), "{schema}");
        }
    }
}
