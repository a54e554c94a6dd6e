//! The rules of a scripted ticket system: which requests each fits, what role these play, and what answers them.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest};
use ticket_plugin_api::http::is_safe;
use ticket_plugin_api::message::fingerprint;
use url::Url;

use super::content::texts;

/// How one kind of request is answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub method: String,
    /// How the path with its query must begin.
    pub path: String,
    /// Parameters that the query must have, decoded. `{{key}}` and `{{fingerprint}}` in them are the ticket's.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// What the body must contain, in which `{{key}}` and `{{fingerprint}}` are the ticket's.
    #[serde(default)]
    pub has: Option<String>,
    /// What the request is for; without one its method and the rule's other members tell.
    #[serde(default)]
    pub role: Option<Role>,
    /// The state of the ticket system in which the rule holds; without one it always holds.
    #[serde(default)]
    pub when: Option<When>,
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `{{key}}` is the ticket's key as it stands in JSON, `{{fingerprint}}` its SHA-256, `{{tickets}}` what `ticket` makes of each
    /// ticket that the system has, joined by commas.
    #[serde(default)]
    pub body: String,
    /// One ticket in `{{tickets}}`, in which `{{key}}` and `{{fingerprint}}` are its own, and `{{number}}` tells it from the others.
    #[serde(default)]
    pub ticket: String,
}

fn ok() -> u16 {
    200
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// It asks for a token or a session, before anything else.
    Login,
    /// It is about something beside tickets, such as a project.
    LookUp,
    /// It asks for the ticket of a key.
    Search,
    /// It makes a ticket.
    Create,
    /// It is about a ticket that was made or found.
    ReadBack,
    /// It adds a comment to a ticket.
    Comment,
    /// It closes a ticket, maybe with a comment.
    Close,
    /// It opens a closed ticket again, maybe with a comment.
    Reopen,
    /// It asks in which state tickets are, or what comments a ticket has.
    State,
    /// It asks which tickets have changed.
    Changes,
}

impl Role {
    /// What asks and changes nothing, but for logins.
    pub(in crate::validate) const READS: [Role; 5] =
        [Role::LookUp, Role::Search, Role::ReadBack, Role::State, Role::Changes];
    /// What carries out a step.
    pub(in crate::validate) const STEPS: [Role; 3] = [Role::Comment, Role::Close, Role::Reopen];
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
    /// So many tickets that the key's own is on the second page of a search.
    Paged,
    /// The ticket of the key, which a person has closed.
    Closed,
    /// The ticket of the key was deleted.
    Gone,
    /// The ticket of the key, open, with the step's comment.
    Done,
    /// The same, but closed: it is still to be reopened.
    DoneClosed,
}

/// The number by which the first of several tickets goes.
pub(in crate::validate) const FIRST: u32 = 17;

impl Rule {
    /// What the requests are for that the rule fits.
    pub(in crate::validate) fn role(&self) -> Role {
        let keyed = self.is_keyed();
        match self.role {
            Some(role) => role,
            None if self.when.is_some_and(When::is_of_a_step) => Role::State,
            None if self.when.is_some() => Role::Search,
            None if !is_safe(&self.method) => Role::Create,
            None if keyed => Role::Search,
            None => Role::LookUp,
        }
    }

    /// Whether the answer tells whose ticket it is.
    pub(in crate::validate) fn is_keyed(&self) -> bool {
        let placeholders = ["{{key}}", "{{fingerprint}}", "{{tickets}}"];
        placeholders.iter().any(|placeholder| self.body.contains(placeholder))
    }

    /// A search finds a ticket in whichever state that is.
    pub(in crate::validate) fn holds(&self, state: When) -> bool {
        let made = |when| when == When::Made && state.is_found() && self.role() != Role::State;
        self.when.is_none_or(|when| when == state || made(when))
    }

    /// The rule where the step of this id is tried.
    pub(in crate::validate) fn of_step(&self, step: &str) -> Rule {
        let fill_in = |text: &String| text.replace("{{step}}", step);
        let query = self.query.iter().map(|(name, value)| (name.clone(), fill_in(value)));
        let (query, has) = (query.collect(), self.has.as_ref().map(fill_in));
        Rule { query, has, body: fill_in(&self.body), ..self.clone() }
    }

    /// The rule of a system that has the tickets of these keys, in this order and with these numbers.
    pub(in crate::validate) fn of_tickets(&self, tickets: &[(&str, u32)]) -> Rule {
        Rule { body: self.body.replace("{{tickets}}", &self.listed(tickets)), ..self.clone() }
    }

    fn listed(&self, tickets: &[(&str, u32)]) -> String {
        let listed = tickets.iter().map(|(key, number)| {
            let text = self.ticket.replace("{{number}}", &number.to_string());
            filled(&text, &in_json(key), key)
        });
        listed.collect::<Vec<_>>().join(",")
    }

    /// Whether the rule fits a request about the ticket of `key`, in a state in which it holds.
    fn fits(&self, request: &HttpRequest, key: &str) -> bool {
        let Ok(url) = Url::parse(&request.url) else { return false };
        let has_parameter = |(name, value): (&String, &String)| {
            let wanted = filled(value, key, key);
            url.query_pairs().any(|(its, value)| its == *name && value == wanted)
        };
        self.method == request.method
            && target(&url).starts_with(&self.path)
            && self.query.iter().all(has_parameter)
            && self.has.as_ref().is_none_or(|has| contains(request, has, key))
    }

    /// The answer, if the system has the ticket of `key`.
    pub(in crate::validate) fn answer(&self, key: &str) -> HttpAnswer {
        let body = self.body.replace("{{tickets}}", &self.listed(&[(key, FIRST)]));
        let body = filled(&body, &in_json(key), key).into_bytes();
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.clone()));
        HttpAnswer::Answered { status: self.status, headers: headers.collect(), body }
    }
}

impl When {
    /// Whether only a step, or who asks for a ticket's state, sees a difference.
    fn is_of_a_step(self) -> bool {
        self.is_found() || self == When::Gone
    }

    /// Whether the ticket is found, though it isn't just as it was made.
    fn is_found(self) -> bool {
        matches!(self, When::Closed | When::Done | When::DoneClosed)
    }
}

/// What a request about the ticket of `key` is for: the first rule that fits it tells, whether or not it holds in the
/// system's state, so that a search is one whatever is found. Without a rule its method tells. Where nobody gave a role,
/// a request whose flag says that it changes nothing creates nothing.
pub(in crate::validate) fn role(rules: &[Rule], request: &HttpRequest, key: &str) -> Role {
    match rules.iter().find(|rule| rule.fits(request, key)) {
        Some(rule) => match (rule.role, rule.role()) {
            (None, Role::Create) if request.changes_nothing => Role::LookUp,
            (_, role) => role,
        },
        None if !request.can_change() => Role::LookUp,
        None => Role::Create,
    }
}

/// The first rule that fits a request about the ticket of `key` in this state.
pub(in crate::validate) fn rule<'a>(
    rules: &'a [Rule],
    request: &HttpRequest,
    key: &str,
    state: When,
) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.holds(state) && rule.fits(request, key))
}

/// The path with the query, escaped as in the URL.
pub(in crate::validate) fn target(url: &Url) -> &str {
    &url[url::Position::BeforePath..url::Position::AfterQuery]
}

/// Whether the request's body contains the text: as it is, or in the strings of its JSON or the fields of its form.
fn contains(request: &HttpRequest, text: &str, key: &str) -> bool {
    let body = String::from_utf8_lossy(&request.body);
    let bodied = HttpRequest { url: String::new(), ..request.clone() };
    body.contains(&filled(text, &in_json(key), key))
        || percent_decode_str(&body).decode_utf8_lossy().contains(&filled(text, key, key))
        || texts(&bodied)
            .is_ok_and(|all| all.iter().any(|one| one.contains(&filled(text, key, key))))
}

/// The text with its placeholders filled in; `shown` is the key as it stands there.
fn filled(text: &str, shown: &str, key: &str) -> String {
    let text = text.replace("{{key}}", shown);
    if text.contains("{{fingerprint}}") {
        text.replace("{{fingerprint}}", &fingerprint(key))
    } else {
        text
    }
}

/// The text as it stands between a JSON string's quotes.
pub(super) fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a&b \"c\"";

    fn rules(toml: &str) -> Vec<Rule> {
        #[derive(Deserialize)]
        struct Rules {
            http: Vec<Rule>,
        }
        toml::from_str::<Rules>(toml).unwrap().http
    }

    fn request(method: &str, url: &str, body: &str) -> HttpRequest {
        let url = format!("https://t.example.org{url}");
        HttpRequest {
            method: method.to_owned(),
            url,
            headers: Vec::new(),
            body: body.into(),
            changes_nothing: false,
        }
    }

    #[test]
    fn a_rule_without_a_role_has_the_one_that_its_method_and_members_tell() {
        for (rule, role) in [
            ("method = 'GET'", Role::LookUp),
            ("method = 'GET'\nwhen = 'empty'", Role::Search),
            ("method = 'GET'\nbody = '{{key}}'", Role::Search),
            ("method = 'GET'\nbody = '{{fingerprint}}'", Role::Search),
            ("method = 'POST'", Role::Create),
            ("method = 'POST'\nbody = '{{key}}'", Role::Create),
            ("method = 'POST'\nwhen = 'made'", Role::Search),
            ("method = 'POST'\nrole = 'login'", Role::Login),
            ("method = 'GET'\nbody = '{{key}}'\nrole = 'read-back'", Role::ReadBack),
            ("method = 'GET'\nbody = '[{{tickets}}]'", Role::Search),
            ("method = 'GET'\nwhen = 'closed'", Role::State),
            ("method = 'POST'\nwhen = 'gone'", Role::State),
            ("method = 'POST'\nrole = 'close'", Role::Close),
        ] {
            assert_eq!(rules(&format!("[[http]]\npath = '/'\n{rule}"))[0].role(), role, "{rule}");
        }
    }

    #[test]
    fn requests_to_one_url_are_told_apart_by_their_bodies_and_queries() {
        let rules = rules(
            r#"
            [[http]]
            method = "POST"
            path = "/graphql"
            has = "createTicket"
            [[http]]
            method = "POST"
            path = "/graphql"
            has = 'key: "{{key}}"'
            when = "empty"
            [[http]]
            method = "GET"
            path = "/t"
            query = { key = "{{key}}", page = "2" }
            when = "paged"
            [[http]]
            method = "POST"
            path = "/token"
            has = "grant_type=client_credentials"
            role = "login""#,
        );
        let quoted = serde_json::json!({"query": format!("tickets(key: \"{KEY}\")")}).to_string();
        for (request, wanted) in [
            (
                request("POST", "/graphql", r#"{"query": "mutation { createTicket }"}"#),
                Role::Create,
            ),
            (request("POST", "/graphql", &quoted), Role::Search),
            (request("POST", "/graphql", "{}"), Role::Create),
            (request("GET", "/t?page=2&key=a%26b+%22c%22", ""), Role::Search),
            (request("GET", "/t?page=1&key=a%26b+%22c%22", ""), Role::LookUp),
            (request("POST", "/token", "grant_type=client_credentials"), Role::Login),
            (request("POST", "/token", "grant_type=password"), Role::Create),
            (request("DELETE", "/elsewhere", ""), Role::Create),
            (request("GET", "/elsewhere", ""), Role::LookUp),
        ] {
            assert_eq!(role(&rules, &request, KEY), wanted, "{request:?}");
        }
    }

    #[test]
    fn a_request_that_says_that_it_changes_nothing_creates_only_if_the_script_says_so() {
        let rules = rules(
            "[[http]]\nmethod = 'POST'\npath = '/t'\n\
             [[http]]\nmethod = 'POST'\npath = '/r'\nrole = 'create'",
        );
        for (url, flagged, wanted) in [
            ("/t", false, Role::Create),
            ("/t", true, Role::LookUp),
            ("/r", true, Role::Create),
            ("/elsewhere", false, Role::Create),
            ("/elsewhere", true, Role::LookUp),
        ] {
            let request = HttpRequest { changes_nothing: flagged, ..request("POST", url, "") };
            assert_eq!(role(&rules, &request, KEY), wanted, "{url} {flagged}");
        }
    }

    #[test]
    fn tickets_are_listed_with_their_own_keys_and_numbers_and_one_is_the_keys_own() {
        let body = "body = '[{{tickets}}]'\nticket = '{\"{{key}}\": {{number}}}'";
        let rule = &rules(&format!("[[http]]\nmethod = 'GET'\npath = '/'\n{body}"))[0];
        let answered = |rule: &Rule| match rule.answer(KEY) {
            HttpAnswer::Answered { body, .. } => String::from_utf8(body).unwrap(),
            other => panic!("{other:?}"),
        };
        let several = rule.of_tickets(&[("b", 18), ("a \"1\"", 17)]);
        assert_eq!(answered(&several), r#"[{"b": 18},{"a \"1\"": 17}]"#);
        assert_eq!(answered(&rule.of_tickets(&[])), "[]");
        assert_eq!(answered(rule), r#"[{"a&b \"c\"": 17}]"#);
    }

    #[test]
    fn a_closed_ticket_is_found_as_an_open_one_is() {
        for (rule, state, holds) in [
            ("when = 'made'", When::Closed, true),
            ("when = 'made'", When::DoneClosed, true),
            ("when = 'made'", When::Gone, false),
            ("when = 'made'\nrole = 'state'", When::Closed, false),
            ("when = 'closed'", When::Done, false),
            ("when = 'empty'", When::Done, false),
        ] {
            let rule = &rules(&format!("[[http]]\nmethod = 'GET'\npath = '/'\n{rule}"))[0];
            assert_eq!(rule.holds(state), holds, "{rule:?} {state:?}");
        }
    }

    #[test]
    fn a_steps_id_stands_in_what_a_rule_looks_for_and_answers() {
        let rule = "method = 'GET'\npath = '/'\nquery = { m = '{{step}}' }\nhas = 'x{{step}}'\nbody = '{{step}}'";
        let rule = rules(&format!("[[http]]\n{rule}"))[0].of_step("s-1");
        let texts = (rule.query["m"].as_str(), rule.has.as_deref(), rule.body.as_str());
        assert_eq!(texts, ("s-1", Some("xs-1"), "s-1"));
    }

    #[test]
    fn a_search_is_one_in_every_state() {
        let rules = rules(
            "[[http]]\nmethod = 'GET'\npath = '/t'\nwhen = 'made'\nbody = 'x'\n\
             [[http]]\nmethod = 'GET'\npath = '/t'\nstatus = 204",
        );
        let search = request("GET", "/t?key=7", "");
        assert_eq!(role(&rules, &search, KEY), Role::Search);
        assert_eq!(rule(&rules, &search, KEY, When::Empty).unwrap().status, 204);
        assert_eq!(rule(&rules, &search, KEY, When::Made).unwrap().status, 200);
    }
}
