//! What else a ticket system could have answered: its script's own answers with something missing, added, or beside it.

use std::slice;

use serde_json::{Map, Value};
use ticket_plugin_api::message::fingerprint;

/// An answer's body, and words for what was done to it.
type Variant = (String, Value);

/// The body without each of its members, and with null in its place; of a list's items only the first is changed.
pub(in crate::validate) fn lacking(body: &Value) -> Vec<Variant> {
    let mut pointers = Vec::new();
    members(body, "", &mut pointers);
    pointers.iter().flat_map(|pointer| [without(body, pointer), null(body, pointer)]).collect()
}

/// The body by which a search says that there is no ticket, without the list that would have it, and without what that
/// stands in. Which list that is tells `made`, the body of a search that finds one.
pub(in crate::validate) fn without_list(empty: &Value, made: &Value) -> Vec<Variant> {
    let mut pointers = Vec::new();
    members(empty, "", &mut pointers);
    let items = |body: &Value, pointer: &str| Some(body.pointer(pointer)?.as_array()?.len());
    let is_it = |pointer: &String| {
        items(empty, pointer) == Some(0) && items(made, pointer).is_some_and(|items| items > 0)
    };
    let mut out = Vec::new();
    for list in pointers.iter().filter(|pointer| is_it(pointer)) {
        for (replaced, by) in [(Value::Object(Map::new()), "{}"), (Value::from("text"), "a text")] {
            let mut body = empty.clone();
            body.pointer_mut(list).into_iter().for_each(|place| *place = replaced.clone());
            out.push((format!("{by} for {}", shown(list)), body));
        }
        for (end, _) in list.match_indices('/').skip(1).chain([(list.len(), "")]) {
            out.extend([without(empty, &list[..end]), null(empty, &list[..end])]);
        }
    }
    out
}

/// The body about other tickets than the one of this name, each with its name: one is a number of more than 32 bits.
pub(in crate::validate) fn of_others(body: &Value, name: &str) -> Vec<Variant> {
    let (start, digits) = split(name);
    let wide = (1 << 32) + digits.parse::<u64>().unwrap_or(0) % (1 << 32);
    [another(name), format!("{start}{wide}")]
        .map(|other| (other.clone(), replaced(body, name, &other)))
        .into()
}

/// The body with one more member in each object, which is like the body but about another ticket than the one of this name.
pub(in crate::validate) fn with_another(body: &Value, name: &str) -> Value {
    added(body, &replaced(body, name, &another(name)))
}

/// A search's body with a ticket of another key before that of `key`, and with one behind it. There is none if the body has
/// no list in which a ticket of this name has the key or its SHA-256.
pub(in crate::validate) fn among_others(body: &Value, key: &str, name: &str) -> Vec<Variant> {
    let mut pointers = vec![String::new()];
    members(body, "", &mut pointers);
    let print = fingerprint(key);
    let is_own = |item: &Value| has_text(item, key) || has_text(item, &print);
    let lists = pointers.iter().filter_map(|pointer| Some((pointer, body.pointer(pointer)?)));
    let mut lists = lists.filter_map(|(pointer, list)| Some((pointer, list.as_array()?)));
    let Some((pointer, list)) = lists.find(|(_, list)| list.iter().any(is_own)) else {
        return Vec::new();
    };
    let Some(own) = list.iter().find(|item| is_own(item) && has_text(item, name)) else {
        return Vec::new();
    };
    let other_key = format!("{key}, another one");
    let other = replaced(own, &print, &fingerprint(&other_key));
    let other = replaced(&replaced(&other, key, &other_key), name, &another(name));
    let with = |items: Vec<Value>| {
        let mut body = body.clone();
        count(&mut body, list.len(), items.len());
        body.pointer_mut(pointer).into_iter().for_each(|place| *place = items.clone().into());
        body
    };
    let before = [slice::from_ref(&other), &list[..]].concat();
    let behind = [&list[..], slice::from_ref(&other)].concat();
    vec![
        ("another key's ticket before it".to_owned(), with(before)),
        ("another key's ticket behind it".to_owned(), with(behind)),
    ]
}

/// The JSON pointers of all members of objects in it; of a list only the first item is looked at.
fn members(value: &Value, at: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(all) => {
            for (name, member) in all {
                let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                into.push(pointer.clone());
                members(member, &pointer, into);
            }
        }
        Value::Array(items) => {
            items.first().into_iter().for_each(|item| members(item, &format!("{at}/0"), into));
        }
        _ => {}
    }
}

/// A pointer as people write it: `issue.id`.
fn shown(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}

fn without(body: &Value, pointer: &str) -> Variant {
    let mut body = body.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    let name = name.replace("~1", "/").replace("~0", "~");
    if let Some(Value::Object(members)) = body.pointer_mut(parent) {
        members.remove(&name);
    }
    (format!("no {}", shown(pointer)), body)
}

fn null(body: &Value, pointer: &str) -> Variant {
    let mut body = body.clone();
    body.pointer_mut(pointer).into_iter().for_each(|place| *place = Value::Null);
    (format!("null for {}", shown(pointer)), body)
}

fn added(value: &Value, other: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| (name.clone(), added(member, other)));
            // It sorts before the others, so that it comes first in the text.
            members.chain([("@another".to_owned(), other.clone())]).collect()
        }
        Value::Array(items) => items.iter().map(|item| added(item, other)).collect(),
        other => other.clone(),
    }
}

/// What another ticket is called: 917 for 17, NOC-947 for NOC-47.
fn another(name: &str) -> String {
    let (start, digits) = split(name);
    format!("{start}9{digits}")
}

/// A name before its number, and the number.
fn split(name: &str) -> (&str, &str) {
    name.split_at(name.trim_end_matches(|c: char| c.is_ascii_digit()).len())
}

fn replaced(value: &Value, text: &str, by: &str) -> Value {
    match value {
        _ if text.is_empty() => value.clone(),
        Value::String(whole) => whole.replace(text, by).into(),
        Value::Number(number) if number.to_string() == text => {
            by.parse().map_or_else(|_| value.clone(), |number: u64| number.into())
        }
        Value::Array(items) => items.iter().map(|item| replaced(item, text, by)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), replaced(member, text, by)))
            .collect(),
        other => other.clone(),
    }
}

fn has_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(whole) => whole.contains(text),
        Value::Number(number) => number.to_string() == text,
        Value::Array(items) => items.iter().any(|item| has_text(item, text)),
        Value::Object(members) => members.values().any(|member| has_text(member, text)),
        _ => false,
    }
}

/// Puts the new number of tickets where the old one is told.
fn count(body: &mut Value, old: usize, new: usize) {
    let Value::Object(members) = body else { return };
    for (name, member) in members {
        let name = name.to_lowercase();
        if (name.contains("total") || name.contains("count"))
            && member.as_u64() == u64::try_from(old).ok()
        {
            *member = Value::from(new);
        }
        count(member, old, new);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_member_is_missing_once_and_null_once() {
        let lacking = lacking(&json!({"a/b": {"id": 1}, "list": [{"x": 1}, {"x": 2}]}));
        let all: Vec<(&str, &Value)> =
            lacking.iter().map(|(what, body)| (what.as_str(), body)).collect();
        assert_eq!(
            all,
            [
                ("no a/b", &json!({"list": [{"x": 1}, {"x": 2}]})),
                ("null for a/b", &json!({"a/b": null, "list": [{"x": 1}, {"x": 2}]})),
                ("no a/b.id", &json!({"a/b": {}, "list": [{"x": 1}, {"x": 2}]})),
                ("null for a/b.id", &json!({"a/b": {"id": null}, "list": [{"x": 1}, {"x": 2}]})),
                ("no list", &json!({"a/b": {"id": 1}})),
                ("null for list", &json!({"a/b": {"id": 1}, "list": null})),
                ("no list.0.x", &json!({"a/b": {"id": 1}, "list": [{}, {"x": 2}]})),
                ("null for list.0.x", &json!({"a/b": {"id": 1}, "list": [{"x": null}, {"x": 2}]})),
            ]
        );
    }

    #[test]
    fn only_the_list_that_has_the_ticket_is_taken_away() {
        let empty = json!({"data": {"tickets": []}, "errors": []});
        let made = json!({"data": {"tickets": [{"id": 1}]}, "errors": []});
        let what: Vec<String> =
            without_list(&empty, &made).into_iter().map(|(what, _)| what).collect();
        assert_eq!(
            what,
            [
                "{} for data.tickets",
                "a text for data.tickets",
                "no data",
                "null for data",
                "no data.tickets",
                "null for data.tickets"
            ]
        );
        assert_eq!(without_list(&json!([]), &json!([1])), []);
    }

    #[test]
    fn another_ticket_has_another_name_and_another_key() {
        let key = "k 17";
        let body = json!({"total": 1, "page": 1, "items": [{"id": 17, "k": "k 17", "f": fingerprint(key)}]});
        let other =
            json!({"id": 917, "k": "k 917, another one", "f": fingerprint("k 17, another one")});
        let both = among_others(&body, key, "17");
        assert_eq!(both[0].1["total"], 2);
        assert_eq!(both[0].1["page"], 1);
        assert_eq!(both[0].1["items"][0]["id"], other["id"]);
        assert_eq!(both[0].1["items"][0]["k"], other["k"]);
        assert_ne!(both[0].1["items"][0]["f"], body["items"][0]["f"]);
        assert_eq!(both[0].1["items"][1], body["items"][0]);
        assert_eq!(both[1].1["items"][0], body["items"][0]);
        assert_eq!(among_others(&json!({"id": 17, "k": "k 17"}), key, "17"), []);
        let others = of_others(&json!({"id": 17, "key": "NOC-17"}), "17");
        assert_eq!(others[0], ("917".to_owned(), json!({"id": 917, "key": "NOC-917"})));
        let wide = "4294967313";
        assert_eq!(others[1].0, wide);
        assert_eq!(others[1].1, json!({"id": 4_294_967_313_u64, "key": "NOC-4294967313"}));
        let strewn = with_another(&json!({"issue": {"id": 17}}), "17");
        assert_eq!(
            strewn.to_string(),
            r#"{"@another":{"issue":{"id":917}},"issue":{"@another":{"issue":{"id":917}},"id":17}}"#
        );
    }
}
