//! Bodies that are made of a good answer's: broken off, or with values that no good server gives.

use serde_json::Value;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};

use super::bench::KEY;
use super::script::{Behaviour, Role, Rule};

/// A good answer of the script's.
#[derive(Debug)]
pub(super) struct Good {
    pub role: Role,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Good {
    /// The answers of the script that say something, each once.
    pub(super) fn all(rules: &[Rule]) -> Vec<Good> {
        let mut all: Vec<Good> = Vec::new();
        for rule in rules.iter().filter(|rule| rule.role() != Role::Login) {
            let HttpAnswer::Answered { status, headers, body } = rule.answer(KEY) else { continue };
            let same = |one: &Good| one.role == rule.role() && one.body == body;
            if !body.is_empty() && !all.iter().any(same) {
                all.push(Good { role: rule.role(), status, headers, body });
            }
        }
        all
    }

    /// The same with another body.
    pub(super) fn with(&self, body: Vec<u8>) -> HttpAnswer {
        HttpAnswer::Answered { status: self.status, headers: self.headers.clone(), body }
    }
}

/// The functions of those that every plugin has, and find(), that make requests of that role.
pub(super) fn asking(role: Role) -> &'static [Operation] {
    match role {
        Role::Login | Role::Comment | Role::Close | Role::Reopen | Role::State | Role::Changes => {
            &[]
        }
        Role::LookUp => &[Operation::Check],
        Role::Search => &[Operation::Find],
        Role::Create => &[Operation::Create],
        Role::ReadBack => &[Operation::Create, Operation::Find],
    }
}

/// The behaviour in which requests of that role get that answer. Logins are answered by the script.
pub(super) fn answering(role: Role, answer: HttpAnswer) -> Behaviour {
    match role {
        Role::LookUp => Behaviour::LookUps(answer),
        Role::Search => Behaviour::Searches(answer),
        Role::Create => Behaviour::Creations(answer),
        Role::ReadBack => Behaviour::ReadBacks(answer),
        _ => Behaviour::Always(answer),
    }
}

/// What is done to a good body.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// It breaks off at this position, and ends with this.
    Cut(usize, &'static [u8]),
    /// The value at this JSON pointer is another one.
    Value(String, &'static Extreme),
    /// The member at this JSON pointer is left out.
    LeftOut(String),
}

impl Change {
    /// The changed body.
    pub(super) fn of(&self, body: &[u8]) -> Vec<u8> {
        const HERE: &str = "\u{1}here";
        let json = || serde_json::from_slice::<Value>(body).unwrap_or_default();
        match self {
            Change::Cut(at, tail) => [&body[..*at], tail].concat(),
            Change::Value(place, extreme) => {
                let mut json = json();
                if let Some(value) = json.pointer_mut(place) {
                    *value = HERE.into();
                }
                let mark = Value::from(HERE).to_string();
                json.to_string().replace(&mark, &extreme.json()).into_bytes()
            }
            Change::LeftOut(place) => {
                let mut json = json();
                let (parent, name) = place.rsplit_once('/').unwrap_or_default();
                let parent = json.pointer_mut(parent).and_then(Value::as_object_mut);
                parent.map(|parent| parent.remove(&unescaped(name)));
                json.to_string().into_bytes()
            }
        }
    }

    /// What is odd about the changed body, in words.
    pub(super) fn what(&self, body: &[u8]) -> String {
        match self {
            Change::Cut(..) => {
                let body = self.of(body);
                let end = &body[body.len().saturating_sub(20)..];
                format!("that breaks off after {:?}", String::from_utf8_lossy(end))
            }
            Change::Value(place, extreme) => format!("whose {place} is {}", extreme.name),
            Change::LeftOut(place) => format!("without {place}"),
        }
    }
}

/// A member's name of a JSON pointer.
fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

/// What a text may break off with. Who looks for the rest of it looks beyond the body.
const TAILS: [&[u8]; 9] =
    [b"\\", b"", b"\\u", b"\\u00", b"\\u00e", b"\\ud83d", b"\\ud83d\\", b"\\ud83d\\u", b"\xe7\xb6"];
/// Texts of a body that are given each of the tails.
const TAILED: usize = 12;

/// The body broken off at every position, those first at which readers go on the most: within texts.
pub(super) fn cuts(body: &[u8]) -> Vec<Change> {
    let texts = in_texts(body);
    let begins = |at: &usize| texts[*at] && !texts[at - 1];
    // From the end, so that most of what a reader needs is there.
    let positions = || (1..body.len()).rev();
    let starts: Vec<usize> = positions().filter(begins).take(TAILED).collect();
    let tailed = TAILS.iter().flat_map(|tail| starts.iter().map(|at| Change::Cut(*at, tail)));
    let (within, between): (Vec<usize>, Vec<usize>) = positions().partition(|at| texts[*at]);
    let rest = within.into_iter().chain(between).filter(|at| !starts.contains(at));
    tailed.chain(rest.map(|at| Change::Cut(at, b""))).collect()
}

/// For each position whether it is within quotes.
fn in_texts(body: &[u8]) -> Vec<bool> {
    let (mut within, mut escaped) = (false, false);
    let positions = body.iter().map(|byte| {
        let is_within = within;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = within,
            b'"' => within = !within,
            _ => {}
        }
        is_within
    });
    positions.collect()
}

/// A value that no good server gives, as JSON: a text that is repeated, and what stands before and behind it.
#[derive(Debug)]
pub(super) struct Extreme {
    name: &'static str,
    text: &'static str,
    times: usize,
    around: [&'static str; 2],
}

impl Extreme {
    const fn once(text: &'static str) -> Extreme {
        Extreme { name: text, text, times: 1, around: ["", ""] }
    }

    const fn text(name: &'static str, text: &'static str, times: usize) -> Extreme {
        Extreme { name, text, times, around: ["\"", "\""] }
    }

    fn json(&self) -> String {
        let [before, behind] = self.around;
        format!("{before}{}{behind}", self.text.repeat(self.times))
    }
}

/// Those first that are trusted the most.
static EXTREMES: [Extreme; 29] = [
    Extreme::once("999999999999999999"),
    Extreme::once("-1"),
    Extreme::text("a text of 64 KiB", "x", 64 << 10),
    Extreme::once("null"),
    Extreme::once("4294967296"),
    Extreme::once("\"\""),
    Extreme::text("an id of 100 KiB", "7", 100 << 10),
    Extreme::once("0"),
    Extreme::once("[]"),
    Extreme::once("{}"),
    Extreme::text("a text of 300 bytes", "x", 300),
    Extreme::text("a text of 1100 bytes", "x", 1100),
    Extreme { name: "a number of 100,000 digits", text: "7", times: 100_000, around: ["", ""] },
    Extreme::once("2147483648"),
    Extreme::once("18446744073709551616"),
    Extreme::once("100000000"),
    Extreme::text("a text of 5000 signs", "網", 5000),
    Extreme::text("a text of 1000 quotes", "\\\"", 1000),
    Extreme { name: "a list of 10,000 lists", text: "[],", times: 9999, around: ["[", "[]]"] },
    Extreme { name: "a nest of lists", text: "[", times: 10_000, around: ["", ""] },
    Extreme::once("1e400"),
    Extreme::once("-9223372036854775808"),
    Extreme::once("true"),
    Extreme::once("0.5"),
    Extreme::once("\"\\u0000\""),
    Extreme::once("\"\\ud83d\""),
    Extreme::once("\"\\\\\""),
    Extreme::once("[null]"),
    Extreme::once("{\"\": {}}"),
];

/// The ways to replace a value of a body of JSON by one that no good server gives, or to leave it out. None of a body that is no
/// JSON.
pub(super) fn extremes(body: &[u8]) -> Vec<Change> {
    let Ok(json) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let places = pointers(&json);
    let is_member = |place: &&String| {
        let parent = place.rsplit_once('/').map(|(parent, _)| parent);
        parent.and_then(|parent| json.pointer(parent)).is_some_and(Value::is_object)
    };
    let left_out = places.iter().filter(is_member).cloned().map(Change::LeftOut);
    let replaced = EXTREMES
        .iter()
        .flat_map(|extreme| places.iter().map(move |place| Change::Value(place.clone(), extreme)));
    left_out.chain(replaced).collect()
}

/// Where the values of a value are: as JSON pointers. Of a list only the first items.
fn pointers(value: &Value) -> Vec<String> {
    const ITEMS: usize = 2;
    let below = |name: &str, value: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        let within = pointers(value).into_iter().map(|rest| format!("/{name}{rest}"));
        [format!("/{name}")].into_iter().chain(within).collect::<Vec<_>>()
    };
    match value {
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| below(name, value)).collect()
        }
        Value::Array(items) => {
            let items = items.iter().take(ITEMS).enumerate();
            items.flat_map(|(number, value)| below(&number.to_string(), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// The items of all lists, taken from each in turn: so that no list comes first as a whole.
pub(super) fn in_turn<T>(lists: Vec<Vec<T>>) -> Vec<T> {
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(lists.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these changes to a body.
    fn changed(body: &str, changes: Vec<Change>) -> Vec<String> {
        let changed = changes.iter().map(|change| change.of(body.as_bytes()));
        changed.map(|body| String::from_utf8_lossy(&body).into_owned()).collect()
    }

    #[test]
    fn a_body_is_broken_off_at_every_position_and_within_texts_first() {
        let body = r#"{"a": "b\"c", "d": 12}"#;
        let all = changed(body, cuts(body.as_bytes()));
        for at in 1..body.len() {
            assert!(all.iter().any(|cut| *cut == body[..at]), "{at}");
        }
        assert_eq!(all[..3], [r#"{"a": "b\"c", "\"#, r#"{"a": "\"#, r#"{"\"#]);
        assert_eq!(all.last().unwrap(), "{");
    }

    #[test]
    fn each_value_is_replaced_and_each_member_left_out() {
        let body = r#"{"a": [{"b": 1}, 2, 3], "c/d": "e"}"#;
        let all = changed(body, extremes(body.as_bytes()));
        for body in [
            r#"{"a":[{"b":1},2,3],"c/d":4294967296}"#,
            r#"{"a":[{"b":-1},2,3],"c/d":"e"}"#,
            r#"{"a":[{"b":1},null,3],"c/d":"e"}"#,
            r#"{"a":[{},2,3],"c/d":"e"}"#,
            r#"{"a":[{"b":1},2,3]}"#,
            r#"{"a":{},"c/d":"e"}"#,
        ] {
            assert!(all.iter().any(|one| one == body), "{body}");
        }
        assert!(extremes(b"<html>").is_empty());
    }

    #[test]
    fn lists_are_taken_from_in_turn() {
        assert_eq!(in_turn(vec![vec![1, 4, 6], vec![2], vec![3, 5]]), [1, 2, 3, 4, 5, 6]);
    }
}
