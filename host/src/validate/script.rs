//! The ticket system that a plugin under test talks to: a script, or one and the same answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ticket_plugin_api::abi::host_side::{Host, HttpAnswer, HttpRequest};
use ticket_plugin_api::http::is_safe;
use ticket_plugin_api::message::fingerprint;

use crate::error::{Error, Result};
use crate::worker::Peer;
use ticket_host_worker::permissions::Permissions;
use ticket_host_worker::sandbox::Policy;

/// A settings file: a backend's settings, and how its ticket system answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub endpoint: String,
    #[serde(default = "object")]
    pub secret: Value,
    #[serde(default = "object")]
    pub information: Value,
    #[serde(default)]
    pub permissions: Permissions,
    /// Whether the cases are run where the plugin can't be confined.
    #[serde(default)]
    pub sandbox: Policy,
    /// The first rule that fits a request answers it.
    #[serde(default)]
    pub http: Vec<Rule>,
}

fn object() -> Value {
    Value::Object(Map::new())
}

/// How one kind of request is answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub method: String,
    /// How the path with its query must begin.
    pub path: String,
    /// The state of the ticket system in which the rule holds; without one it always holds.
    #[serde(default)]
    pub when: Option<When>,
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `{{key}}` is the ticket's key as it stands in JSON, `{{fingerprint}}` its SHA-256.
    #[serde(default)]
    pub body: String,
}

fn ok() -> u16 {
    200
}

/// What is in the ticket system: a state that a rule can depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum When {
    /// No ticket.
    Empty,
    /// The ticket of the key.
    Made,
    /// A ticket of another key, which the system's search gives all the same.
    Other,
}

impl Settings {
    pub(crate) fn load(path: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Error::usage(format!("{}: can't be read", path.display())).cause(cause)
        })?;
        toml::from_str(&text).map_err(|cause| {
            Error::usage(format!("{}: {}", path.display(), cause.message()))
                .help("it may have endpoint, secret, information, permissions, sandbox, and [[http]] with method, path, when, status, headers, body")
        })
    }

    /// Makes settings up, which fit the plugin's schemas where these are simple.
    pub(super) fn made_up(secret_schema: &Value, information_schema: &Value) -> Settings {
        Settings {
            endpoint: "https://tickets.example.org/".to_owned(),
            secret: value(secret_schema, secret_schema, "secret", 8),
            information: value(information_schema, information_schema, "information", 8),
            permissions: Permissions::default(),
            sandbox: Policy::default(),
            http: Vec::new(),
        }
    }

    /// The JSON that open() gets.
    pub(super) fn json(&self) -> Value {
        json!({"endpoint": self.endpoint, "secret": self.secret, "information": self.information})
    }
}

/// A value that fits a simple schema: an object has the members that it must have, a list as few items as it may.
/// References and members are followed `depth` levels down, since a schema may refer to itself.
fn value(root: &Value, schema: &Value, name: &str, depth: usize) -> Value {
    let again = |schema: &Value| match depth {
        0 => Value::Null,
        _ => value(root, schema, name, depth - 1),
    };
    if let Some(target) = schema["$ref"].as_str().and_then(|r| root.pointer(r.strip_prefix('#')?)) {
        return again(target);
    }
    let fixed = [schema.get("const"), schema["enum"].get(0), schema["examples"].get(0)];
    if let Some(fixed) = fixed.into_iter().flatten().next() {
        return fixed.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].get(0)
            && schema.get("properties").is_none()
        {
            return again(first);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("string") => Value::from(format!("validator-{name}")),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => Value::from(false),
        Some("array") if schema["minItems"].as_u64().unwrap_or(0) > 0 => {
            json!([again(&schema["items"])])
        }
        Some("array") => json!([]),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten();
            let members = required.filter_map(Value::as_str).map(|name| {
                let member = &schema["properties"][name];
                let made =
                    if depth == 0 { Value::Null } else { value(root, member, name, depth - 1) };
                (name.to_owned(), made)
            });
            Value::Object(members.collect())
        }
    }
}

/// How requests are answered.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// By the script's rules for a ticket system in this state.
    Script(When),
    /// Every request gets this answer.
    Always(HttpAnswer),
    /// Requests that can create something get this answer, the others what the rules say of an empty system.
    Creations(HttpAnswer),
    /// No request is answered before the call's time is over.
    Slow,
}

/// What a plugin asked for and said in one call.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub requests: Vec<HttpRequest>,
    pub logged: Vec<String>,
    pub printed: Vec<String>,
    /// Requests that no rule fits.
    pub unknown: Vec<String>,
}

impl Seen {
    /// Whether one of the requests can have created something.
    pub(super) fn could_create(&self) -> bool {
        self.requests.iter().any(|request| !is_safe(&request.method))
    }

    /// A remark for a failure that may lie in the script: which request it has no rule for, if there was one.
    pub(super) fn unscripted(&self) -> String {
        match self.unknown.first() {
            Some(request) => format!(" (the script has nothing for {request})"),
            None => String::new(),
        }
    }
}

/// The host's side of one call.
#[derive(Debug)]
pub(super) struct Scripted<'a> {
    rules: &'a [Rule],
    behaviour: Behaviour,
    key: &'a str,
    deadline: Instant,
    seen: Mutex<Seen>,
}

impl<'a> Scripted<'a> {
    pub(super) fn new(
        rules: &'a [Rule],
        behaviour: Behaviour,
        key: &'a str,
        time: Duration,
    ) -> Scripted<'a> {
        let deadline = Instant::now() + time;
        Scripted { rules, behaviour, key, deadline, seen: Mutex::default() }
    }

    pub(super) fn into_seen(self) -> Seen {
        self.seen.into_inner().expect("nobody panics with this lock")
    }

    fn see(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.seen.lock().expect("nobody panics with this lock"));
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The answer to a request. None: it gets [`Scripted::late`], and not before the call's time is over.
    fn answer(&self, request: HttpRequest) -> Option<HttpAnswer> {
        let method = request.method.clone();
        let target = match url::Url::parse(&request.url) {
            Ok(url) => url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
            Err(_) => String::new(),
        };
        self.see(|seen| seen.requests.push(request));
        let when = match &self.behaviour {
            Behaviour::Always(answer) => return Some(answer.clone()),
            Behaviour::Creations(answer) if !is_safe(&method) => return Some(answer.clone()),
            Behaviour::Creations(_) => When::Empty,
            Behaviour::Slow => return None,
            Behaviour::Script(when) => *when,
        };
        let fits = |rule: &&Rule| {
            rule.method == method
                && target.starts_with(&rule.path)
                && rule.when.is_none_or(|only| only == when)
        };
        let Some(rule) = self.rules.iter().find(fits) else {
            self.see(|seen| seen.unknown.push(format!("{method} {target}")));
            let body = br#"{"message": "the script has no such thing"}"#.to_vec();
            return Some(HttpAnswer::Answered { status: 404, headers: Vec::new(), body });
        };
        let other = format!("{}, another one", self.key);
        let key = if when == When::Other { &other } else { self.key };
        let quoted = Value::from(key).to_string();
        let body = rule.body.replace("{{key}}", quoted.trim_matches('"'));
        let body = body.replace("{{fingerprint}}", &fingerprint(key)).into_bytes();
        let headers =
            rule.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        Some(HttpAnswer::Answered { status: rule.status, headers, body })
    }

    fn late() -> HttpAnswer {
        HttpAnswer::Unknown("no answer came before the call's time was over".to_owned())
    }

    fn rendered(part: &str, format: &str) -> std::result::Result<String, String> {
        match (part, format) {
            ("title", _) => Ok("gw1 is down".to_owned()),
            ("body", "markdown") => Ok("# gw1 is down\n\n**nav** says so".to_owned()),
            ("body", "html") => Ok("<h1>gw1 is down</h1><p>nav says so</p>".to_owned()),
            ("body", "text") => Ok("gw1 is down\n\nnav says so".to_owned()),
            _ => Err(format!("there is no template {part:?} in {format:?}")),
        }
    }
}

impl Peer for Scripted<'_> {
    async fn http(&self, request: HttpRequest) -> HttpAnswer {
        match self.answer(request) {
            Some(answer) => answer,
            None => {
                tokio::time::sleep(self.left()).await;
                Self::late()
            }
        }
    }

    async fn render(
        &self,
        part: String,
        format: String,
        _: String,
    ) -> std::result::Result<String, String> {
        Self::rendered(&part, &format)
    }

    fn log(&self, _: u32, message: &str) {
        self.see(|seen| seen.logged.push(message.to_owned()));
    }

    fn printed(&self, line: &str) {
        self.see(|seen| seen.printed.push(line.to_owned()));
    }

    fn remaining(&self) -> Duration {
        self.left()
    }
}

/// The same for a plugin in this process, whose functions block.
impl Host for &Scripted<'_> {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        self.answer(request).unwrap_or_else(|| {
            std::thread::sleep(self.left());
            Scripted::late()
        })
    }

    fn render(&mut self, part: &str, format: &str, _: &str) -> std::result::Result<String, String> {
        Scripted::rendered(part, format)
    }

    fn log(&mut self, level: u32, message: &str) {
        Peer::log(*self, level, message);
    }

    fn remaining(&self) -> Duration {
        self.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../plugin-api/docs/validate-toml.md");

    /// The words that serde would have taken in the place of one that doesn't exist.
    fn taken<T: serde::de::DeserializeOwned>(toml: &str) -> Vec<String> {
        let Err(error) = toml::from_str::<T>(toml) else { panic!("{toml} is taken") };
        let (_, words) = error.message().split_once("expected").unwrap();
        words.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_reference_names_all_that_the_file_may_hold_and_its_example_is_read() {
        let members = [
            taken::<Settings>("nobody = 1"),
            taken::<Rule>("nobody = 1"),
            taken::<Permissions>("nobody = 1"),
        ];
        assert_eq!(members.each_ref().map(Vec::len), [6; 3], "{members:?}");
        for member in members.concat() {
            assert!(PAGE.contains(&format!("\n| `{member}` | ")), "{member}");
        }
        for (key, words) in [
            ("when", taken::<Rule>("method = \"\"\npath = \"\"\nwhen = \"nobody\"")),
            ("sandbox", taken::<Settings>("endpoint = \"\"\nsandbox = \"nobody\"")),
            ("network", taken::<Permissions>("network = \"nobody\"")),
        ] {
            let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{key}` | "))).unwrap();
            for word in words {
                assert!(row.contains(&format!("`\"{word}\"`")), "{key}: {word}");
            }
        }
        let example = PAGE.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let settings: Settings = toml::from_str(example).unwrap();
        assert_eq!((settings.http.len(), settings.http[1].when), (3, Some(When::Empty)));
    }
}
