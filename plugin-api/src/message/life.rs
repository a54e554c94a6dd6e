//! The JSON of what comes after a ticket's creation: `update`, `state`, `receive` and `changes`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::abi::{
    MAX_ANSWER, MAX_CHANGED, MAX_CURSOR, MAX_RECEIVED, MAX_STATES, MAX_WEBHOOK_BODY,
    MAX_WEBHOOK_HEAD,
};

/// Which ticket is meant. In what a plugin replies one of the two is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TicketName {
    /// Where a person opens it, as `create` or `find` gave it, or a person named it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// What the ticket system calls it, as `create` or `find` gave it; empty if nobody knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

/// What `update` is called with: one step of one ticket. In a plugin `I` is [`Incident`](crate::Incident).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateRequest<I> {
    /// The ticket that the step is for.
    pub ticket: TicketName,
    /// The key that the ticket was created with; empty if a person named the ticket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The incident as it is now.
    pub incident: I,
    /// What is to be done.
    pub step: Step,
    /// Whether an earlier try of this very step may have written something: then the plugin first looks for the step's id in all of
    /// the ticket's comments.
    #[serde(default)]
    pub again: bool,
    /// Whether this is a dry run, in which nothing may be changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// One thing to do to a ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What tells this step from all others: 1 to 64 of `a-z`, `0-9` and `-`, which nobody can guess. It goes onto the comment where
    /// readers see least of it.
    pub id: String,
    /// What is to be done.
    pub action: Action,
    /// What differs from what the ticket was told last, by the incident's attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub diff: BTreeMap<String, Difference>,
    /// What the operator wants to be set on the ticket when it is closed, by the ticket system's names.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// What is done in a step. A plugin says in [`About::actions`](crate::About::actions) which of them it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The text `comment` is added to the ticket, whose state stays.
    Comment,
    /// The text `closing` is added, and then the ticket is closed.
    Close,
    /// The text `comment` is added, and then the ticket is opened again.
    Reopen,
    /// A word that this version doesn't know, from a newer host. The SDK answers it with "unsupported" by itself.
    #[serde(other)]
    Other,
}

impl Action {
    /// The word that the ABI has for it: `comment`, `close` or `reopen`.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Comment => "comment",
            Action::Close => "close",
            Action::Reopen => "reopen",
            Action::Other => "",
        }
    }
}

/// How an attribute of the incident changed. A value that wasn't there is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What the ticket was told last.
    #[serde(default)]
    pub from: Value,
    /// What it is now.
    #[serde(default)]
    pub to: Value,
}

/// The reply of `update`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// Whether the step is carried out, by this call or an earlier one. If not, nothing was written, since the ticket was in `state`
    /// before.
    #[serde(default)]
    pub done: bool,
    /// The ticket's state after this call, if it is known.
    #[serde(default)]
    pub state: TicketState,
    /// What is not on the ticket as the settings want it: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// In a dry run, a description of what would be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// In which state a ticket is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TicketState {
    /// Somebody still has to do something, or waits for that.
    Open,
    /// It is done: resolved or closed.
    Closed,
    /// It is closed and was not done: rejected, a duplicate.
    Cancelled,
    /// It was deleted. An answer that can also mean a permission that was lost (such as a 404) is none that says so.
    Gone,
    /// It is not in what the backend's settings name, such as a ticket of another project.
    Foreign,
    /// It was not found out. So reads also a word that this version doesn't know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What `state` is called with: at most [`MAX_STATES`](crate::abi::MAX_STATES) tickets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRequest {
    /// The tickets, each of them once. One that a person named has a url alone.
    pub tickets: Vec<AskedTicket>,
}

/// A ticket whose state is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedTicket {
    /// Where a person opens it.
    pub url: String,
    /// What the ticket system calls it; empty if nobody knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The key that it was created with; empty if it wasn't created by this host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// The reply of `state`. A ticket that is missing was not found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct States {
    /// What was found out, in any order.
    pub tickets: Vec<TicketStatus>,
    /// For how many milliseconds the ticket system is to be left alone before the others are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What `state` found out of one ticket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketStatus {
    /// The url as it was asked for: by that the host knows which ticket this is.
    pub url: String,
    /// What the ticket system calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// In which state it is.
    pub state: TicketState,
    /// Who brought it into that state, if the system tells.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// When (RFC 3339), if the system tells.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// The ticket system's own word for the state.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Where the ticket is now, if it was moved or merged; `state` is that one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<TicketName>,
}

/// A webhook that a ticket system sent.
#[derive(Debug, Clone)]
pub struct Webhook<'a> {
    /// All of it but the body.
    pub head: WebhookHead,
    /// The body, byte for byte as it came: that is what was signed.
    pub body: &'a [u8],
}

/// What `receive` is called with beside the body: at most [`MAX_WEBHOOK_HEAD`](crate::abi::MAX_WEBHOOK_HEAD) bytes of URL and headers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookHead {
    /// `POST`, mostly.
    #[serde(default)]
    pub method: String,
    /// The URL as it was called, with its query.
    #[serde(default)]
    pub url: String,
    /// Names, in lower case, and values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

impl WebhookHead {
    /// Whether a host may pass this on, with this body.
    ///
    /// # Errors
    /// Why not, in words after "the request".
    pub fn is_sound(&self, body: &[u8]) -> Result<(), String> {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        let head = self.method.len() + self.url.len() + headers.sum::<usize>();
        if head > MAX_WEBHOOK_HEAD || body.len() > MAX_WEBHOOK_BODY {
            return Err(format!(
                "has {head} bytes of URL and headers and {} of body, more than {MAX_WEBHOOK_HEAD} or {MAX_WEBHOOK_BODY}",
                body.len()
            ));
        }
        Ok(())
    }

    /// The value of the header with this name (in lower case), or the first of several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(named, _)| named == name).map(|(_, value)| value.as_str())
    }
}

/// The reply of `receive`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The tickets that the host is to ask `state` for, at most [`MAX_RECEIVED`].
    #[serde(default)]
    pub tickets: Vec<TicketName>,
    /// What the sender waits for (a handshake), of at most [`MAX_ANSWER`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Why the webhook is not taken for one of the ticket system's: a signature that is missing or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forged: Option<String>,
}

/// What `changes` is called with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesRequest {
    /// The cursor of the last reply. None: there was none yet, and the plugin only says from where on it will tell changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The reply of `changes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The tickets that changed, whoever made them: at most [`MAX_CHANGED`]. The host asks `state` for those that it knows.
    #[serde(default)]
    pub tickets: Vec<TicketName>,
    /// From where on the next call tells changes: a text of the plugin's own, of at most [`MAX_CURSOR`] bytes.
    pub cursor: String,
    /// Whether there are more, so that the host asks again at once.
    #[serde(default)]
    pub more: bool,
    /// Whether changes may have been missed, so that the host asks `state` for all tickets.
    #[serde(default)]
    pub gap: bool,
    /// For how many milliseconds the ticket system is to be left alone before the next call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Updated {
    /// Whether this can be the reply to a step of `action`.
    ///
    /// # Errors
    /// Why not, in words after "its reply": a ticket that was closed is open, for example.
    pub fn answers(&self, action: Action) -> Result<(), String> {
        use TicketState::{Cancelled, Closed, Foreign, Open};
        let fits = match (action, self.done) {
            _ if self.preview.is_some() => true,
            (Action::Close, true) => matches!(self.state, Closed | Cancelled),
            (Action::Reopen, true) => self.state == Open,
            (_, true) => true,
            // Nothing was written: it was closed already, is another project's, or was open where it was to be reopened.
            (Action::Reopen, false) => matches!(self.state, Open | Foreign),
            (_, false) => matches!(self.state, Closed | Cancelled | Foreign),
        };
        let done = if self.done { "done" } else { "not done" };
        fits.then_some(()).ok_or_else(|| {
            format!("says that {} is {done}, and the ticket {:?}", action.name(), self.state)
        })
    }
}

impl TicketState {
    /// The word that the ABI has for it, such as `open`.
    pub const fn name(self) -> &'static str {
        match self {
            TicketState::Open => "open",
            TicketState::Closed => "closed",
            TicketState::Cancelled => "cancelled",
            TicketState::Gone => "gone",
            TicketState::Foreign => "foreign",
            TicketState::Unknown => "unknown",
        }
    }
}

impl StateRequest {
    /// Whether a host may ask this.
    ///
    /// # Errors
    /// Why not, in words after "the request".
    pub fn is_sound(&self) -> Result<(), String> {
        match self.tickets.len() {
            many if many > MAX_STATES => {
                Err(format!("has {many} tickets, more than the {MAX_STATES} that it may"))
            }
            _ => Ok(()),
        }
    }
}

impl States {
    /// Whether this can be the reply to `asked`.
    ///
    /// # Errors
    /// Why not, in words after "its reply": it names a ticket that wasn't asked for, or one twice, or by another id.
    pub fn answers(&self, asked: &StateRequest) -> Result<(), String> {
        let mut open: BTreeMap<&str, &str> =
            asked.tickets.iter().map(|asked| (asked.url.as_str(), asked.id.as_str())).collect();
        for TicketStatus { url, id, moved, .. } in &self.tickets {
            let Some(known) = open.remove(url.as_str()) else {
                return Err(format!("names the ticket {url:?} twice, or it wasn't asked for"));
            };
            if moved.is_none() && !known.is_empty() && !id.is_empty() && id != known {
                return Err(format!("gives the ticket {url:?} the id {id:?}, which was {known:?}"));
            }
        }
        Ok(())
    }
}

impl Received {
    /// Whether a plugin may reply this.
    ///
    /// # Errors
    /// Why not, in words after "its reply".
    pub fn is_sound(&self) -> Result<(), String> {
        if self.forged.is_some() && (!self.tickets.is_empty() || self.answer.is_some()) {
            return Err("calls the webhook forged, and heeds it".to_owned());
        }
        super::fits(self.answer.as_deref(), "answer", MAX_ANSWER)?;
        named(&self.tickets, MAX_RECEIVED)
    }
}

impl Changed {
    /// Whether this can be the reply to `asked`.
    ///
    /// # Errors
    /// Why not, in words after "its reply".
    pub fn answers(&self, asked: &ChangesRequest) -> Result<(), String> {
        if self.cursor.is_empty() {
            return Err("has an empty cursor".to_owned());
        }
        if self.more && asked.cursor.as_ref() == Some(&self.cursor) {
            return Err("has more, and the same cursor as before".to_owned());
        }
        super::fits(Some(&self.cursor), "cursor", MAX_CURSOR)?;
        named(&self.tickets, MAX_CHANGED)
    }
}

/// Whether so many tickets may be named, and each of them has a name.
fn named(tickets: &[TicketName], most: usize) -> Result<(), String> {
    if tickets.len() > most {
        return Err(format!("names {} tickets, more than the {most} that it may", tickets.len()));
    }
    if tickets.iter().any(|ticket| ticket.url.is_empty() && ticket.id.is_empty()) {
        return Err("names a ticket by neither url nor id".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(id: &str) -> TicketName {
        TicketName { id: id.to_owned(), ..TicketName::default() }
    }

    #[test]
    fn a_states_name_is_its_word_in_json() {
        use TicketState::{Cancelled, Closed, Foreign, Gone, Open, Unknown};
        for state in [Open, Closed, Cancelled, Gone, Foreign, Unknown] {
            assert_eq!(serde_json::json!(state), state.name());
        }
    }

    #[test]
    fn states_are_of_tickets_that_were_asked_for_once_each_and_by_their_ids() {
        let asked =
            |url: &str| AskedTicket { url: url.to_owned(), id: "7".to_owned(), key: String::new() };
        let request = StateRequest { tickets: vec![asked("u:1"), asked("u:2")] };
        for (told, moved, sound) in [
            (&[("u:1", "7")][..], None, true),
            (&[("u:2", "7"), ("u:1", "")], None, true),
            (&[], None, true),
            (&[("u:1", "7"), ("u:1", "7")], None, false),
            (&[("u:3", "7")], None, false),
            (&[("u:1", "8")], None, false),
            (&[("u:1", "8")], Some(ticket("8")), true),
        ] {
            let status = |(url, id): &(&str, &str)| TicketStatus {
                url: (*url).to_owned(),
                id: (*id).to_owned(),
                moved: moved.clone(),
                ..TicketStatus::default()
            };
            let tickets = told.iter().map(status).collect();
            let states = States { tickets, retry_after_ms: None };
            assert_eq!(states.answers(&request).is_ok(), sound, "{told:?}");
        }
    }

    #[test]
    fn a_webhook_names_tickets_or_is_forged() {
        let tickets = |count| Received { tickets: vec![ticket("7"); count], ..Received::default() };
        let forged = || Received { forged: Some("no signature".to_owned()), ..Received::default() };
        let answers = |length| Received { answer: Some("a".repeat(length)), ..Received::default() };
        for (reply, sound) in [
            (tickets(0), true),
            (tickets(MAX_RECEIVED), true),
            (tickets(MAX_RECEIVED + 1), false),
            (Received { tickets: vec![TicketName::default()], ..Received::default() }, false),
            (answers(MAX_ANSWER), true),
            (answers(MAX_ANSWER + 1), false),
            (forged(), true),
            (Received { tickets: vec![ticket("7")], ..forged() }, false),
            (Received { answer: Some(String::new()), ..forged() }, false),
        ] {
            assert_eq!(reply.is_sound().is_ok(), sound, "{reply:?}");
        }
    }

    #[test]
    fn changes_go_on_and_name_a_bounded_number_of_tickets() {
        let request = |cursor: Option<&str>| ChangesRequest { cursor: cursor.map(str::to_owned) };
        let reply = |cursor: &str, more, tickets| Changed {
            tickets: vec![ticket("7"); tickets],
            cursor: cursor.to_owned(),
            more,
            ..Changed::default()
        };
        for (asked, answered, sound) in [
            (request(None), reply("1", false, 0), true),
            (request(Some("1")), reply("1", false, MAX_CHANGED), true),
            (request(Some("1")), reply("2", true, 1), true),
            (request(Some("1")), reply("1", true, 1), false),
            (request(Some("1")), reply("", false, 0), false),
            (request(None), reply("1", false, MAX_CHANGED + 1), false),
            (request(None), reply(&"1".repeat(MAX_CURSOR + 1), false, 0), false),
        ] {
            assert_eq!(answered.answers(&asked).is_ok(), sound, "{asked:?} {answered:?}");
        }
    }

    #[test]
    fn a_step_that_is_done_leaves_the_ticket_in_the_state_that_it_is_for() {
        use TicketState::{Cancelled, Closed, Foreign, Open, Unknown};
        for (action, done, state, sound) in [
            (Action::Comment, true, Open, true),
            (Action::Comment, true, Unknown, true),
            (Action::Comment, false, Closed, true),
            (Action::Comment, false, Open, false),
            (Action::Close, true, Closed, true),
            (Action::Close, true, Cancelled, true),
            (Action::Close, true, Open, false),
            (Action::Close, true, Unknown, false),
            (Action::Close, false, Closed, true),
            (Action::Close, false, Open, false),
            (Action::Close, false, Foreign, true),
            (Action::Reopen, true, Open, true),
            (Action::Reopen, true, Closed, false),
            (Action::Reopen, false, Open, true),
            (Action::Reopen, false, Closed, false),
            (Action::Comment, false, Unknown, false),
            (Action::Reopen, false, Unknown, false),
        ] {
            let updated = Updated { done, state, ..Updated::default() };
            assert_eq!(updated.answers(action).is_ok(), sound, "{action:?} {updated:?}");
            let preview = Updated { preview: Some(String::new()), ..updated };
            assert!(preview.answers(action).is_ok());
        }
    }

    #[test]
    fn a_dry_run_of_a_step_replies_a_preview_alone() {
        let updated: Updated = serde_json::from_str(r#"{"preview": "a comment"}"#).unwrap();
        assert!(updated.answers(Action::Close).is_ok());
    }

    #[test]
    fn words_of_a_later_version_are_read_as_unknown() {
        let state: TicketState = serde_json::from_str("\"frozen\"").unwrap();
        assert_eq!(state, TicketState::Unknown);
        let step = r#"{"id": "1", "action": "merge", "into": 7}"#;
        let step: Step = serde_json::from_str(step).unwrap();
        assert_eq!(step.action, Action::Other);
    }
}
