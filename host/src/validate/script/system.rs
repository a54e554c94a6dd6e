//! The host's side of one call: it answers the plugin's requests by the script or as the case wants, and keeps what it saw.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use ticket_host_worker::Pages;
use ticket_plugin_api::Incident;
use ticket_plugin_api::abi::host_side::{Host, HttpAnswer, HttpRequest};
use url::Url;

use super::rules::{Role, Rule, When, role, rule, target};
use crate::backend::{News, Templates};
use crate::worker::Peer;

/// How requests are answered. Logins are answered by the script, unless nothing is sent in a dry run.
#[derive(Debug, Clone)]
pub(in crate::validate) enum Behaviour {
    /// By the script's rules for a ticket system in this state, in which a ticket is found once it was created.
    Script(When),
    /// By the script's rules for a system that has the ticket of this other key alone.
    Other(String),
    /// Every request gets this answer.
    Always(HttpAnswer),
    /// Requests that create get this answer, the others what the rules say of an empty system.
    Creations(HttpAnswer),
    /// The same of requests that search.
    Searches(HttpAnswer),
    /// The same of requests that look something up beside tickets.
    LookUps(HttpAnswer),
    /// Requests for a ticket that was found get this answer, the others what the rules say of a system that has it.
    ReadBacks(HttpAnswer),
    /// The same of requests that search.
    Found(HttpAnswer),
    /// Requests after one that creates get this answer, the others what the rules say of an empty system.
    AfterCreation(HttpAnswer),
    /// Searches after the first get this answer, the others what the rules say of a search with many pages.
    NextPages(HttpAnswer),
    /// The first search of many pages is answered when the call's time is over, and nothing is sent after it.
    LatePage,
    /// Of a system in this state, requests of these roles get this answer, the others what the rules say.
    Roles(When, &'static [Role], HttpAnswer),
    /// Of a system in this state, the n-th request of a call that only asks gets this answer.
    Nth(When, usize, HttpAnswer),
    /// Of a system in this state, every request after a search that was answered gets this answer.
    AfterSearch(When, HttpAnswer),
    /// The host denies every request.
    Denied,
    /// No request is answered before the call's time is over.
    Slow,
}

impl Behaviour {
    /// What is in the ticket system when the call begins.
    fn state(&self) -> When {
        match self {
            Behaviour::Script(when)
            | Behaviour::Roles(when, ..)
            | Behaviour::Nth(when, ..)
            | Behaviour::AfterSearch(when, _) => *when,
            Behaviour::Other(_) => When::Other,
            Behaviour::ReadBacks(_) | Behaviour::Found(_) => When::Made,
            Behaviour::NextPages(_) | Behaviour::LatePage => When::Paged,
            _ => When::Empty,
        }
    }

    /// The answer that a request of this role gets whatever the rules say, after these others.
    fn prepared(&self, role: Role, earlier: &[Exchange]) -> Option<HttpAnswer> {
        let asks = |role: &Role| Role::READS.contains(role);
        let earlier_roles = || earlier.iter().map(|exchange| exchange.role);
        let searched = earlier_roles().any(|role| role == Role::Search);
        let (answer, applies) = match self {
            Behaviour::Script(_) | Behaviour::Other(_) => return None,
            Behaviour::Always(answer @ HttpAnswer::DryRun) => (answer.clone(), true),
            Behaviour::Always(answer) => (answer.clone(), role != Role::Login),
            Behaviour::Creations(answer) => (answer.clone(), role == Role::Create),
            Behaviour::Searches(answer) | Behaviour::Found(answer) => {
                (answer.clone(), role == Role::Search)
            }
            Behaviour::LookUps(answer) => (answer.clone(), role == Role::LookUp),
            Behaviour::ReadBacks(answer) => (answer.clone(), role == Role::ReadBack),
            Behaviour::AfterCreation(answer) => {
                let created = earlier_roles().any(|role| role == Role::Create);
                (answer.clone(), role != Role::Login && created)
            }
            Behaviour::NextPages(answer) => (answer.clone(), role == Role::Search && searched),
            Behaviour::LatePage => {
                let late = "the call's time was over before the request".to_owned();
                (HttpAnswer::NotSent(late), role != Role::Login && searched)
            }
            Behaviour::Roles(_, roles, answer) => (answer.clone(), roles.contains(&role)),
            Behaviour::Nth(_, nth, answer) => {
                (answer.clone(), asks(&role) && earlier_roles().filter(asks).count() == *nth)
            }
            Behaviour::AfterSearch(_, answer) => (answer.clone(), searched && role != Role::Login),
            Behaviour::Denied => (HttpAnswer::Denied("there is no network here".to_owned()), true),
            Behaviour::Slow => {
                let late = "no answer came before the call's time was over".to_owned();
                (HttpAnswer::Unknown(late), role != Role::Login)
            }
        };
        applies.then_some(answer)
    }
}

/// A request, what it was for, and its answer.
#[derive(Debug, Clone)]
pub(in crate::validate) struct Exchange {
    pub request: HttpRequest,
    pub role: Role,
    pub answer: HttpAnswer,
}

/// A text that render() gave.
#[derive(Debug, Clone)]
pub(in crate::validate) struct Rendered {
    pub part: String,
    pub text: String,
}

#[cfg(test)]
impl Exchange {
    /// A POST of this body below https://t.example.org/.
    pub(in crate::validate) fn posted(
        role: Role,
        path: &str,
        body: &str,
        answer: HttpAnswer,
    ) -> Exchange {
        let request = HttpRequest {
            method: "POST".to_owned(),
            url: format!("https://t.example.org/{path}"),
            headers: Vec::new(),
            body: body.into(),
            changes_nothing: false,
        };
        Exchange { request, role, answer }
    }
}

/// What a plugin asked for and said in one call.
#[derive(Debug, Default)]
pub(in crate::validate) struct Seen {
    pub exchanges: Vec<Exchange>,
    pub rendered: Vec<Rendered>,
    pub logged: Vec<String>,
    pub printed: Vec<String>,
    /// Requests that no rule fits.
    pub unknown: Vec<String>,
}

impl Seen {
    /// The exchanges that can have created something.
    pub(in crate::validate) fn creations(&self) -> impl DoubleEndedIterator<Item = &Exchange> {
        self.exchanges.iter().filter(|exchange| exchange.role == Role::Create)
    }

    /// Whether one of the requests can have created something.
    pub(in crate::validate) fn could_create(&self) -> bool {
        self.creations().next().is_some()
    }

    /// A remark for a failure that may lie in the script: which request it has no rule for, if there was one.
    pub(in crate::validate) fn unscripted(&self) -> String {
        match self.unknown.first() {
            Some(request) => format!(" (the script has nothing for {request})"),
            None => String::new(),
        }
    }
}

/// The host's side of one call.
#[derive(Debug)]
pub(in crate::validate) struct Scripted<'a> {
    rules: &'a [Rule],
    behaviour: Behaviour,
    key: &'a str,
    /// What render() fills in; None where there is no incident.
    rendered: Option<(&'a Templates, Incident)>,
    deadline: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What is in the ticket system.
    when: When,
    seen: Seen,
}

impl<'a> Scripted<'a> {
    pub(in crate::validate) fn new(
        rules: &'a [Rule],
        behaviour: Behaviour,
        key: &'a str,
        time: Duration,
    ) -> Scripted<'a> {
        let deadline = Instant::now() + time;
        let state = Mutex::new(State { when: behaviour.state(), seen: Seen::default() });
        Scripted { rules, behaviour, key, rendered: None, deadline, state }
    }

    /// The same for a call that has an incident.
    pub(in crate::validate) fn about(
        self,
        incident: &Value,
        templates: &'a Templates,
    ) -> Scripted<'a> {
        let members = incident.as_object().cloned().unwrap_or_default();
        Scripted { rendered: Some((templates, Incident::from(members))), ..self }
    }

    pub(in crate::validate) fn into_seen(self) -> Seen {
        self.state.into_inner().expect("nobody panics with this lock").seen
    }

    fn see(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.state.lock().expect("nobody panics with this lock").seen);
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The answer to a request, and how long it takes to come.
    fn answer(&self, request: HttpRequest) -> (HttpAnswer, Duration) {
        let role = role(self.rules, &request, self.key);
        let mut state = self.state.lock().expect("nobody panics with this lock");
        let (answer, wait) =
            match (self.behaviour.prepared(role, &state.seen.exchanges), &self.behaviour) {
                // As the host's gateway does: so a search through pages without end ends.
                _ if self.left().is_zero() => {
                    (HttpAnswer::NotSent("the call's time is over".to_owned()), Duration::ZERO)
                }
                (Some(answer), Behaviour::Slow) => (answer, self.left()),
                (Some(answer), _) => (answer, Duration::ZERO),
                (None, Behaviour::LatePage) if role == Role::Search => {
                    (self.by_rules(&request, &mut state), self.left())
                }
                (None, _) => (self.by_rules(&request, &mut state), Duration::ZERO),
            };
        state.seen.exchanges.push(Exchange { request, role, answer: answer.clone() });
        (answer, wait)
    }

    fn by_rules(&self, request: &HttpRequest, state: &mut State) -> HttpAnswer {
        let Some(rule) = rule(self.rules, request, self.key, state.when) else {
            let url = Url::parse(&request.url);
            let asked = url.as_ref().map_or(request.url.as_str(), target);
            state.seen.unknown.push(format!("{} {asked}", request.method));
            let body = br#"{"message": "the script has no such thing"}"#.to_vec();
            return HttpAnswer::Answered { status: 404, headers: Vec::new(), body };
        };
        let creates = role(self.rules, request, self.key) == Role::Create;
        let when = state.when;
        if (200..300).contains(&rule.status) {
            state.when = match rule.role() {
                Role::Close => When::Closed,
                Role::Reopen => When::Made,
                _ if creates && when == When::Empty => When::Made,
                _ => when,
            };
        }
        match &self.behaviour {
            Behaviour::Other(key) => rule.answer(key),
            _ if when == When::Empty => rule.of_tickets(&[]).answer(self.key),
            _ => rule.answer(self.key),
        }
    }

    fn fill_in(&self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        let Some((templates, incident)) = &self.rendered else {
            return Err("there is no incident in this call to render".to_owned());
        };
        let text = templates.render(part, format, extra, incident, &News::default())?;
        let rendered = Rendered { part: part.to_owned(), text: text.clone() };
        self.see(|seen| seen.rendered.push(rendered));
        Ok(text)
    }
}

impl Peer for Scripted<'_> {
    async fn http(&self, request: HttpRequest) -> HttpAnswer {
        let (answer, wait) = self.answer(request);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        answer
    }

    async fn render(&self, part: String, format: String, extra: String) -> Result<String, String> {
        self.fill_in(&part, &format, &extra)
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
        let (answer, wait) = self.answer(request);
        std::thread::sleep(wait);
        answer
    }

    fn render(&mut self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        self.fill_in(part, format, extra)
    }

    fn log(&mut self, level: u32, message: &str) {
        Peer::log(*self, level, message);
    }

    fn remaining(&self) -> Duration {
        self.left()
    }

    fn apart(&mut self, bytes: &[u8]) -> Option<Box<dyn AsRef<[u8]>>> {
        Some(Box::new(Pages::of(bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_behaviour_answers_the_role_that_it_is_about() {
        use Role::{Close, Create, Login, LookUp, ReadBack, Search};
        let all = [Login, LookUp, Search, Create, ReadBack, Close];
        let no = || HttpAnswer::NotSent(String::new());
        for (behaviour, roles) in [
            (Behaviour::Script(When::Made), &[][..]),
            (Behaviour::Other(String::new()), &[]),
            (Behaviour::Always(no()), &[LookUp, Search, Create, ReadBack, Close]),
            (Behaviour::Always(HttpAnswer::DryRun), &all),
            (Behaviour::Creations(no()), &[Create]),
            (Behaviour::Searches(no()), &[Search]),
            (Behaviour::LookUps(no()), &[LookUp]),
            (Behaviour::ReadBacks(no()), &[ReadBack]),
            (Behaviour::Found(no()), &[Search]),
            (Behaviour::AfterCreation(no()), &[]),
            (Behaviour::NextPages(no()), &[]),
            (Behaviour::LatePage, &[]),
            (Behaviour::Slow, &[LookUp, Search, Create, ReadBack, Close]),
            (Behaviour::Denied, &all),
            (Behaviour::Roles(When::Made, &Role::STEPS, no()), &[Close]),
            (Behaviour::Nth(When::Made, 0, no()), &[LookUp, Search, ReadBack]),
            (Behaviour::Nth(When::Made, 1, no()), &[]),
            (Behaviour::AfterSearch(When::Made, no()), &[]),
        ] {
            let answered: Vec<Role> =
                all.into_iter().filter(|role| behaviour.prepared(*role, &[]).is_some()).collect();
            assert_eq!(answered, roles, "{behaviour:?}");
        }
    }

    #[test]
    fn what_comes_after_a_search_or_a_creation_is_answered_otherwise() {
        use Role::{Create, Login, LookUp, ReadBack, Search};
        let all = [Login, LookUp, Search, Create, ReadBack];
        let no = || HttpAnswer::NotSent(String::new());
        for (behaviour, before, roles) in [
            (Behaviour::AfterCreation(no()), Create, &[LookUp, Search, Create, ReadBack][..]),
            (Behaviour::AfterCreation(no()), Search, &[]),
            (Behaviour::NextPages(no()), Search, &[Search]),
            (Behaviour::NextPages(no()), LookUp, &[]),
            (Behaviour::LatePage, Search, &[LookUp, Search, Create, ReadBack]),
        ] {
            let earlier = [Exchange::posted(before, "", "", no())];
            let answered: Vec<Role> = all
                .into_iter()
                .filter(|role| behaviour.prepared(*role, &earlier).is_some())
                .collect();
            assert_eq!(answered, roles, "{behaviour:?} after {before:?}");
        }
    }

    #[test]
    fn what_answers_a_later_request_waits_for_those_before_it() {
        let earlier = |role| [Exchange::posted(role, "", "", HttpAnswer::DryRun)];
        let no = || HttpAnswer::NotSent(String::new());
        for (behaviour, before, answered) in [
            (Behaviour::Nth(When::Made, 1, no()), Role::State, true),
            (Behaviour::Nth(When::Made, 1, no()), Role::Comment, false),
            (Behaviour::AfterSearch(When::Made, no()), Role::Search, true),
            (Behaviour::AfterSearch(When::Made, no()), Role::LookUp, false),
        ] {
            let prepared = behaviour.prepared(Role::State, &earlier(before));
            assert_eq!(prepared.is_some(), answered, "{behaviour:?} {before:?}");
        }
    }
}
