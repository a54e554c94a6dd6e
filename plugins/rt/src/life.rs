//! What happens to a ticket after it was made: a comment, closing, opening again.
//!
//! Invariant: a ticket that isn't the incident's own, or of which that or its state isn't known, is written to by nobody here; a step's
//! comment is written once, however often the step is tried. Comments are RT's comments: a reply would be mailed to the requestors, and
//! would open a ticket that is closed.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ticket_plugin_api::mapping::FieldMappings;
use ticket_plugin_api::{
    Action, Call, Error, Format, Incident, Response, Result, Retry, Step, TicketName, TicketState,
    UpdateRequest, Updated,
};

use crate::Rt;
use crate::client::{Number, Order, is_number};
use crate::ticket::{CustomFields, Stored, as_rt_takes, fields_json, marker};

/// RT gives no more messages at once.
const PAGE: usize = 100;

/// A ticket as it is looked at before and after a step, and where its state is asked for.
#[derive(Deserialize)]
pub(crate) struct Shown {
    /// Not the number that was asked for, if that one was merged into this ticket.
    pub(crate) id: Number,
    #[serde(rename = "Status")]
    pub(crate) status: String,
    /// When it became what its lifecycle calls inactive, whether resolved, rejected or deleted.
    #[serde(rename = "Resolved", default)]
    pub(crate) resolved: Option<String>,
    #[serde(rename = "Queue")]
    queue: InQueue,
    #[serde(flatten)]
    stored: Stored,
}

#[derive(Deserialize)]
struct InQueue {
    id: Number,
    /// Empty if the login lacks the right SeeQueue.
    #[serde(rename = "Name", default)]
    name: String,
}

/// What a step changes beside the comment that it adds.
struct Change {
    status: String,
    custom_fields: CustomFields,
}

pub(crate) fn update(
    rt: &Rt,
    call: &Call,
    request: &UpdateRequest<Incident>,
) -> Result<Option<Updated>> {
    let step = &request.step;
    let not_done = |state| Ok(Some(Updated { state, ..Updated::default() }));
    let Some(number) = number(rt, &request.ticket) else {
        return not_done(TicketState::Foreign);
    };
    let change = Change::of(rt, step, &request.incident);
    if request.dry_run {
        return rehearse(rt, call, &number, step, change.as_ref()).map(Some);
    }
    let ticket = look(rt, call, &number)?;
    if !is_ours(rt, &ticket, &number, &request.ticket.url, &request.key)? {
        return not_done(TicketState::Foreign);
    }
    let was = match state(rt, &ticket)? {
        TicketState::Gone => return Ok(None),
        was => was,
    };
    let id = &ticket.id.0;
    let mut written = request.again && has_mark(rt, call, id, step)?;
    if (was == TicketState::Open) == (step.action == Action::Reopen) {
        // If the comment isn't there, a person was faster.
        return Ok(Some(Updated { done: written, state: was, ..Updated::default() }));
    }
    // A merged ticket is about more than this incident: it may be told, but people say whether it is done.
    if change.is_some() && (*id != number || ticket.stored.is_also_anothers(&request.key)) {
        return not_done(TicketState::Foreign);
    }
    let text = if written { None } else { comment(call, step)? };
    if let Some(text) = &text {
        rt.client.comment(call, id, &comment_json(text, change.as_ref()))?;
        written = true;
    }
    match &change {
        None => Ok(Some(Updated { done: true, state: was, ..Updated::default() })),
        Some(change) => finish(rt, call, ticket, text.is_some(), step.action, change)
            .map_err(|error| if written { error.partial() } else { error }),
    }
}

/// Asks for what the step asks for. In a dry run the host shows each request, and answers none.
fn rehearse(
    rt: &Rt,
    call: &Call,
    number: &str,
    step: &Step,
    change: Option<&Change>,
) -> Result<Updated> {
    let looked = look(rt, call, number).map(drop);
    let last = match (comment(call, step)?, change) {
        (Some(text), _) => rt.client.comment(call, number, &comment_json(&text, change)).map(drop),
        (None, Some(change)) => rt.client.change(call, number, &change.json().into()).map(drop),
        (None, None) => looked,
    };
    last.map(|()| Updated::default())
}

/// The number of the ticket, if it can be one of this RT.
pub(crate) fn number(rt: &Rt, ticket: &TicketName) -> Option<String> {
    let id = Some(ticket.id.clone()).filter(|id| !id.is_empty());
    id.or_else(|| rt.client.number(&ticket.url)).filter(|number| is_number(number))
}

fn look(rt: &Rt, call: &Call, number: &str) -> Result<Shown> {
    shown(rt, &rt.client.ask_for_ticket(call, number)?, number)
}

/// The ticket in the answer to a request for it.
pub(crate) fn shown(rt: &Rt, answer: &Response, number: &str) -> Result<Shown> {
    rt.client.read_ticket(answer, number)?.ok_or_else(|| {
        Error::creation(format!(
            "this user may not see ticket {number} (403): give it the right ShowTicket in the \
             ticket's queue"
        ))
    })
}

/// Whether it is the incident's ticket: the one with the key's link, wherever people moved it, or one that a person named, in the queue.
pub(crate) fn is_ours(
    rt: &Rt,
    ticket: &Shown,
    number: &str,
    page: &str,
    key: &str,
) -> Result<bool> {
    if ticket.stored.refers_to(&marker(key)) {
        return Ok(true);
    }
    if rt.client.number(page).as_deref() != Some(number) {
        return Ok(false);
    }
    let queue = rt.information.queue.text();
    match &ticket.queue {
        InQueue { id, .. } if id.0 == queue => Ok(true),
        InQueue { name, .. } if name.is_empty() => Err(Error::creation(format!(
            "ticket {number}: this user may not see which queue it is in: give it the right \
             SeeQueue there"
        ))),
        InQueue { name, .. } => Ok(name.to_lowercase() == queue.to_lowercase()),
    }
}

pub(crate) fn state(rt: &Rt, ticket: &Shown) -> Result<TicketState> {
    match rt.information.meaning(&ticket.status) {
        TicketState::Unknown => Err(Error::creation(format!(
            "ticket {} has the status {:?}, which is none of RT's own: say in information.statuses \
             what it means",
            ticket.id.0, ticket.status
        ))),
        state => Ok(state),
    }
}

/// An HTML comment that no reader sees: by it a later try knows the step's comment.
fn mark(step: &Step) -> String {
    format!("<!-- ticket-host step:{} -->", step.id)
}

/// Whether the step's comment is there.
///
/// RT hides comments from a login that lacks a right, and doesn't say so. But they keep their places in the list, so that all were read
/// if the oldest message is as many places from the newest one as were read.
fn has_mark(rt: &Rt, call: &Call, ticket: &str, step: &Step) -> Result<bool> {
    let mark = mark(step);
    let mut read = 0;
    for page in 1.. {
        let messages = rt.client.messages(call, ticket, Order::OldestFirst, PAGE, page)?;
        let count = messages.len();
        let mut contents = messages.into_iter().filter_map(|message| message.content);
        if contents.any(|content| content.contains(&mark)) {
            return Ok(true);
        }
        read += count;
        if count < PAGE {
            break;
        }
    }
    let at = |order, place| -> Result<Option<String>> {
        let message = rt.client.messages(call, ticket, order, 1, place)?.pop();
        Ok(message.map(|message| message.id.0))
    };
    if read > 0 {
        let oldest = at(Order::OldestFirst, 1)?;
        if oldest.is_some() && oldest == at(Order::NewestFirst, read)? {
            return Ok(false);
        }
    }
    let why = "whether the step's comment is there can't be told, since RT hides some of the \
               ticket's messages from this user, or they changed meanwhile: look yourself, and \
               give the user the rights ShowTicketComments and ShowOutgoingEmail";
    Err(Error::creation(format!("ticket {ticket}: {why}")).retry(Retry::Unknown))
}

/// What the comment says, with the step's mark; None if the operator's template says nothing.
fn comment(call: &Call, step: &Step) -> Result<Option<String>> {
    let said = call.comment(step.action, Format::Html)?;
    // RT may be set to cut long messages off at their end.
    Ok((!said.is_empty()).then(|| format!("{}\n{said}", mark(step))))
}

/// The request that adds a comment, and changes the ticket.
fn comment_json(text: &str, change: Option<&Change>) -> Value {
    let mut all = change.map(Change::json).unwrap_or_default();
    all.insert("Content".to_owned(), json!(text));
    all.insert("ContentType".to_owned(), json!("text/html"));
    Value::Object(all)
}

impl Change {
    /// What the step changes; None if it only adds a comment.
    fn of(rt: &Rt, step: &Step, incident: &Incident) -> Option<Change> {
        match step.action {
            Action::Close => {
                // All of them are custom fields, so that none of RT's own is replaced, which people may have edited.
                let custom_fields_set = step.fields.clone().into_iter().collect();
                let set = FieldMappings { custom_fields_set, ..FieldMappings::default() };
                let fields = set.resolve(incident).fields.into_iter();
                Some(Change {
                    status: rt.information.close_status.clone(),
                    custom_fields: fields
                        .map(|(name, values)| (name, as_rt_takes(values)))
                        .collect(),
                })
            }
            Action::Reopen => Some(Change {
                status: rt.information.reopen_status.clone(),
                custom_fields: CustomFields::new(),
            }),
            Action::Comment | Action::Other => None,
        }
    }

    fn json(&self) -> Map<String, Value> {
        let mut all = Map::new();
        all.insert("Status".to_owned(), json!(self.status));
        if !self.custom_fields.is_empty() {
            all.insert("CustomFields".to_owned(), fields_json(&self.custom_fields));
        }
        all
    }
}

/// Sees to it that the ticket is closed, or open again: RT mostly has done that if it was asked for together with the comment.
fn finish(
    rt: &Rt,
    call: &Call,
    mut ticket: Shown,
    is_asked: bool,
    action: Action,
    change: &Change,
) -> Result<Option<Updated>> {
    let id = ticket.id.0.clone();
    // What can't be seen after a request may have been done by it.
    let look_again = || look(rt, call, &id).map_err(|error| error.retry(Retry::Unknown));
    let is_missing = |state| (state == TicketState::Open) == (action == Action::Close);
    if is_asked {
        ticket = look_again()?;
    }
    let mut said = Vec::new();
    let mut now = state(rt, &ticket)?;
    if is_missing(now) && now != TicketState::Gone {
        // Also where it was asked for: the first RTs of 5.0 take the comment, and leave out the status that comes with it.
        said = rt.client.change(call, &id, &change.json().into())?;
        ticket = look_again()?;
        now = state(rt, &ticket)?;
    }
    if now == TicketState::Gone {
        return Ok(None);
    }
    if is_missing(now) {
        let (status, wanted) = (&ticket.status, &change.status);
        let said: Vec<&str> = said.iter().filter_map(Value::as_str).collect();
        return Err(Error::creation(format!(
            "ticket {id} is {status} and doesn't become {wanted}: RT says {said:?}; may this user do \
             that (right ModifyTicket), and does the queue's lifecycle allow it?"
        )));
    }
    let warnings = ticket.stored.field_differences(&change.custom_fields);
    Ok(Some(Updated { done: true, state: now, warnings, ..Updated::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{KEY, incident, open};
    use ticket_plugin_api::ErrorKind;
    use ticket_plugin_api::abi::host_side::HttpAnswer;
    use ticket_plugin_api::testkit::{self, Fixture};

    const PAGE_OF_17: &str = "https://rt.example.org/Ticket/Display.html?id=17";
    const TICKET: &str = "https://rt.example.org/REST/2.0/ticket/17";
    const COMMENT: &str = "https://rt.example.org/REST/2.0/ticket/17/comment";
    const MARK: &str = "<!-- ticket-host step:s1 -->";

    fn rt() -> Fixture {
        open(json!({"queue": "NOC"}))
    }

    fn named(url: &str, id: &str) -> TicketName {
        TicketName { url: url.to_owned(), id: id.to_owned() }
    }

    fn step(action: Action) -> Step {
        Step { id: "s1".to_owned(), action, diff: Default::default(), fields: Map::new() }
    }

    fn update(rt: &mut Fixture, action: Action, again: bool) -> Result<Option<Updated>> {
        rt.update(&named(PAGE_OF_17, "17"), incident(), &step(action), again)
    }

    /// What an update says that isn't an error, of a ticket that isn't gone.
    fn told(updated: Result<Option<Updated>>) -> (bool, TicketState) {
        let updated = updated.unwrap().unwrap();
        (updated.done, updated.state)
    }

    /// Ticket 17, whose key is the fixture's.
    fn ticket(status: &str) -> Value {
        linked(status, &["key"])
    }

    /// Ticket 17, which has the links of these keys.
    fn linked(status: &str, keys: &[&str]) -> Value {
        let link = |key: &&str| json!({"ref": "refers-to", "_url": marker(key)});
        let links: Vec<Value> = keys.iter().map(link).collect();
        json!({
            "id": 17, "Status": status, "Queue": {"id": "3", "Name": "NOC"}, "_hyperlinks": links,
        })
    }

    fn looks(rt: &mut Fixture, shown: Value) {
        rt.host.answer("GET", &format!("{TICKET}?fields%5BQueue%5D=Name"), 200, shown);
    }

    /// A request for the ticket's messages, and those that RT shows of the page.
    fn lists(rt: &mut Fixture, order: &str, per_page: usize, page: usize, shown: &[(u32, &str)]) {
        let query = "%5B%7B%22field%22%3A%22ContentType%22%2C%22operator%22%3A%22STARTSWITH%22%2C\
                     %22value%22%3A%22text%2F%22%7D%5D";
        let url = format!(
            "{TICKET}/attachments?query={query}&fields=Content&orderby=id&order={order}\
             &per_page={per_page}&page={page}"
        );
        let item = |(id, content): &(u32, &str)| json!({"id": id.to_string(), "Content": content});
        let items: Vec<Value> = shown.iter().map(item).collect();
        rt.host.answer("GET", &url, 200, json!({"items": items, "total": null}));
    }

    fn body(rt: &Fixture) -> Value {
        rt.host.sent_json(rt.host.sent.len() - 1)
    }

    /// How many requests were sent that change something.
    fn written(rt: &Fixture) -> usize {
        rt.host.sent.iter().filter(|request| request.method != "GET").count()
    }

    #[test]
    fn a_step_is_one_request_with_the_comment_its_id_and_the_status() {
        let mut rt = rt();
        looks(&mut rt, ticket("open"));
        rt.host.answer("POST", COMMENT, 201, json!(["Comments added"]));
        assert_eq!(told(update(&mut rt, Action::Comment, false)), (true, TicketState::Open));
        let sent = body(&rt);
        let text = sent["Content"].as_str().unwrap();
        assert!(text.starts_with(&format!("{MARK}\nhtml comment of gw1")), "{text}");
        assert_eq!(sent, json!({"Content": text, "ContentType": "text/html"}));
        for (action, was, wanted, part, state) in [
            (Action::Close, "new", "resolved", "closing", TicketState::Closed),
            (Action::Reopen, "rejected", "open", "comment", TicketState::Open),
        ] {
            looks(&mut rt, ticket(was));
            rt.host.answer("POST", COMMENT, 201, json!(["Comments added", "Status changed"]));
            looks(&mut rt, ticket(wanted));
            assert_eq!(told(update(&mut rt, action, false)), (true, state));
            let sent = rt.host.sent_json(rt.host.sent.len() - 2);
            assert_eq!(sent["Status"], wanted);
            let text = sent["Content"].as_str().unwrap();
            assert!(text.contains(MARK) && text.contains(&format!("html {part} of")), "{text}");
        }
    }

    #[test]
    fn where_the_template_says_nothing_only_the_status_changes() {
        let mut rt = rt();
        rt.host.comment = Some(String::new());
        looks(&mut rt, ticket("new"));
        assert_eq!(told(update(&mut rt, Action::Comment, false)), (true, TicketState::Open));
        assert_eq!(written(&rt), 0);
        looks(&mut rt, ticket("new"));
        rt.host.answer("PUT", TICKET, 200, json!(["Ticket 17: Status changed", null]));
        looks(&mut rt, ticket("resolved"));
        assert_eq!(told(update(&mut rt, Action::Close, false)), (true, TicketState::Closed));
        assert_eq!(rt.host.sent_json(2), json!({"Status": "resolved"}));
    }

    #[test]
    fn what_a_person_closed_or_opened_is_left_alone() {
        use TicketState::{Cancelled, Closed, Open};
        let mut rt = rt();
        for (action, status, state) in [
            (Action::Comment, "resolved", Closed),
            (Action::Close, "Rejected", Cancelled),
            (Action::Reopen, "stalled", Open),
        ] {
            looks(&mut rt, ticket(status));
            assert_eq!(told(update(&mut rt, action, false)), (false, state));
        }
        assert_eq!(written(&rt), 0);
    }

    #[test]
    fn a_step_whose_comment_is_there_gets_only_what_is_missing() {
        let there = [(31, "<p>gw1</p>"), (35, "<!-- ticket-host step:s1 -->\n<p>gw1</p>")];
        let mut rt = rt();
        looks(&mut rt, ticket("open"));
        lists(&mut rt, "ASC", 100, 1, &there);
        assert_eq!(told(update(&mut rt, Action::Comment, true)), (true, TicketState::Open));
        assert_eq!(written(&rt), 0);
        looks(&mut rt, ticket("resolved"));
        lists(&mut rt, "ASC", 100, 1, &there);
        assert_eq!(told(update(&mut rt, Action::Close, true)), (true, TicketState::Closed));
        assert_eq!(written(&rt), 0, "it is closed, by this very step");
        looks(&mut rt, ticket("open"));
        lists(&mut rt, "ASC", 100, 1, &there);
        rt.host.answer("PUT", TICKET, 500, json!(""));
        let error = update(&mut rt, Action::Close, true).unwrap_err();
        assert_eq!((error.partial, error.retry), (true, Retry::Unknown), "{error}");
        looks(&mut rt, ticket("open"));
        lists(&mut rt, "ASC", 100, 1, &there);
        rt.host.answer("PUT", TICKET, 200, json!(["Ticket 17: Status changed"]));
        looks(&mut rt, ticket("resolved"));
        assert_eq!(told(update(&mut rt, Action::Close, true)), (true, TicketState::Closed));
    }

    #[test]
    fn a_step_of_which_nothing_is_there_is_carried_out_if_all_messages_were_read() {
        let full: Vec<(u32, &str)> = (1..=100).map(|id| (id, "a")).collect();
        let mut rt = rt();
        looks(&mut rt, ticket("open"));
        lists(&mut rt, "ASC", 100, 1, &full);
        lists(&mut rt, "ASC", 100, 2, &[(103, MARK.trim_end_matches('>'))]);
        lists(&mut rt, "ASC", 1, 1, &[(1, "a")]);
        lists(&mut rt, "DESC", 1, 101, &[(1, "a")]);
        rt.host.answer("POST", COMMENT, 201, json!(["Comments added"]));
        assert_eq!(told(update(&mut rt, Action::Comment, true)), (true, TicketState::Open));
        // A person closed it before anything was written.
        looks(&mut rt, ticket("resolved"));
        lists(&mut rt, "ASC", 100, 1, &[(1, "a")]);
        lists(&mut rt, "ASC", 1, 1, &[(1, "a")]);
        lists(&mut rt, "DESC", 1, 1, &[(1, "a")]);
        assert_eq!(told(update(&mut rt, Action::Close, true)), (false, TicketState::Closed));
    }

    #[test]
    fn where_messages_are_hidden_no_second_comment_is_written() {
        type Shown = &'static [(u32, &'static str)];
        let first: Shown = &[(1, "a")];
        let cases: [(Shown, Shown, Option<Shown>); 4] = [
            // The second of two is hidden, the first of two, all but two of more, all.
            (first, first, Some(&[])),
            (&[(2, "a")], &[], None),
            (&[(1, "a"), (9, "a")], first, Some(&[(5, "a")])),
            (&[], &[], None),
        ];
        for (shown, oldest, nth_newest) in cases {
            let mut rt = rt();
            looks(&mut rt, ticket("open"));
            lists(&mut rt, "ASC", 100, 1, shown);
            if !shown.is_empty() {
                lists(&mut rt, "ASC", 1, 1, oldest);
            }
            if let Some(newest) = nth_newest {
                lists(&mut rt, "DESC", 1, shown.len(), newest);
            }
            let error = update(&mut rt, Action::Close, true).unwrap_err();
            assert_eq!((error.retry, error.partial), (Retry::Unknown, false), "{error}");
            assert!(error.message.contains("ShowTicketComments"), "{error}");
            assert_eq!(written(&rt), 0);
        }
    }

    #[test]
    fn a_ticket_of_this_incident_has_its_link_and_one_that_a_person_named_is_in_the_queue() {
        let mut moved = ticket("resolved");
        moved["Queue"] = json!({"id": "8", "Name": "Field"});
        let mut elsewhere = moved.clone();
        elsewhere["_hyperlinks"] = json!([]);
        let mut hidden = elsewhere.clone();
        hidden["Queue"] = json!({"id": "8", "Name": ""});
        let mut named_so = elsewhere.clone();
        named_so["Queue"]["Name"] = json!("noc");
        let renamed = "https://old.example.org/Ticket/Display.html?id=17";
        for (queue, page, shown, state) in [
            (json!("NOC"), PAGE_OF_17, &moved, Some(TicketState::Closed)),
            (json!("NOC"), renamed, &moved, Some(TicketState::Closed)),
            (json!("NOC"), PAGE_OF_17, &elsewhere, Some(TicketState::Foreign)),
            (json!("NOC"), renamed, &named_so, Some(TicketState::Foreign)),
            (json!("NOC"), PAGE_OF_17, &named_so, Some(TicketState::Closed)),
            (json!(8), PAGE_OF_17, &elsewhere, Some(TicketState::Closed)),
            (json!("NOC"), PAGE_OF_17, &hidden, None),
        ] {
            let mut rt = open(json!({"queue": queue}));
            looks(&mut rt, shown.clone());
            let ticket = named(page, "17");
            let updated = rt.update(&ticket, incident(), &step(Action::Close), false);
            match state {
                Some(state) => assert_eq!(told(updated), (false, state), "{page} {shown}"),
                None => assert!(updated.unwrap_err().message.contains("SeeQueue")),
            }
        }
    }

    #[test]
    fn a_ticket_goes_by_the_url_that_a_person_copied() {
        for url in [
            PAGE_OF_17,
            "HTTPS://rt.example.org/Ticket/History.html?id=17#txn-90",
            "https://rt.example.org/Ticket/Display.html?results=x;id=17",
        ] {
            let mut rt = rt();
            looks(&mut rt, ticket("resolved"));
            let updated = rt.update(&named(url, ""), incident(), &step(Action::Close), false);
            assert_eq!(told(updated), (false, TicketState::Closed), "{url}");
        }
        for url in [
            "https://other.example.org/Ticket/Display.html?id=17",
            "https://rt.example.org/Ticket/Display.html?id=17/comment",
            "https://rt.example.org/Ticket/Display.html?id=",
            "https://rt.example.org/",
            "æ",
            "",
        ] {
            let updated = rt().update(&named(url, ""), incident(), &step(Action::Close), false);
            assert_eq!(told(updated), (false, TicketState::Foreign), "{url}");
        }
    }

    #[test]
    fn a_deleted_ticket_is_gone_and_one_that_cannot_be_seen_is_an_error() {
        let mut rt = rt();
        looks(&mut rt, ticket("deleted"));
        assert_eq!(update(&mut rt, Action::Reopen, false).unwrap(), None);
        let url = format!("{TICKET}?fields%5BQueue%5D=Name");
        for (status, message, says) in
            [(403, "Forbidden", "right ShowTicket"), (404, "Not Found", "was it shredded")]
        {
            rt.host.answer("GET", &url, status, json!({"message": message}));
            let error = update(&mut rt, Action::Close, false).unwrap_err();
            assert_eq!((error.kind, error.retry), (ErrorKind::Creation, Retry::Never), "{error}");
            assert!(error.message.contains(says), "{error}");
        }
        // A person deletes it meanwhile: to change its status would bring it back.
        for (action, was) in [(Action::Close, "open"), (Action::Reopen, "resolved")] {
            looks(&mut rt, ticket(was));
            rt.host.answer("POST", COMMENT, 201, json!(["Comments added"]));
            looks(&mut rt, ticket("deleted"));
            assert_eq!(update(&mut rt, action, false).unwrap(), None);
        }
    }

    #[test]
    fn a_merged_ticket_is_told_and_people_close_it() {
        let mut into = ticket("open");
        into["id"] = json!(9);
        for shown in [into.clone(), linked("open", &["key", KEY]), linked("open", &[KEY])] {
            let mut rt = rt();
            looks(&mut rt, shown);
            let closed = update(&mut rt, Action::Close, false);
            assert_eq!(told(closed), (false, TicketState::Foreign));
            assert_eq!(written(&rt), 0);
        }
        let mut rt = rt();
        looks(&mut rt, into);
        let comment = COMMENT.replace("17", "9");
        rt.host.answer("POST", &comment, 201, json!(["Comments added"]));
        assert_eq!(told(update(&mut rt, Action::Comment, false)), (true, TicketState::Open));
    }

    #[test]
    fn statuses_of_other_lifecycles_mean_what_the_settings_say() {
        let mut rt = open(json!({
            "queue": "NOC", "close_status": "Done", "reopen_status": "triage",
            "statuses": {"open": ["waiting"], "closed": ["stalled"], "cancelled": ["Dropped"]},
        }));
        for (status, state) in [
            ("done", TicketState::Closed),
            ("stalled", TicketState::Closed),
            ("dropped", TicketState::Cancelled),
            ("resolved", TicketState::Closed),
        ] {
            looks(&mut rt, ticket(status));
            assert_eq!(told(update(&mut rt, Action::Close, false)), (false, state), "{status}");
        }
        for status in ["waiting", "triage", "new"] {
            looks(&mut rt, ticket(status));
            let reopened = update(&mut rt, Action::Reopen, false);
            assert_eq!(told(reopened), (false, TicketState::Open), "{status}");
        }
        looks(&mut rt, ticket("simmering"));
        let error = update(&mut rt, Action::Comment, false).unwrap_err();
        assert!(error.message.contains("say in information.statuses what it means"), "{error}");
        assert_eq!(written(&rt), 0);
        for (name, value) in
            [("close_status", "open"), ("close_status", "deleted"), ("reopen_status", "resolved")]
        {
            let mut information = json!({"queue": "NOC"});
            information[name] = json!(value);
            let secret = json!({"token": "1-14-secret"});
            let opened = testkit::open::<Rt>("https://rt.example.org", secret, information);
            let error = opened.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Settings);
            assert!(error.message.contains(name), "{error}");
        }
    }

    #[test]
    fn fields_for_closing_are_custom_fields_and_what_rt_leaves_out_is_a_warning() {
        let fields = json!({
            "Cause": "ended", "When": "2026-07-01T12:00:00+02:00", "Hosts": ["a", "b"],
            "Subject": "mine", "Status": "rejected",
        });
        let mut step = step(Action::Close);
        step.fields = fields.as_object().unwrap().clone();
        let mut closed = ticket("resolved");
        let picture = json!({"filename": "a.png", "content_type": "image/png", "_url": "x"});
        closed["CustomFields"] = json!([
            {"name": "cause", "values": ["ended"]}, {"name": "Picture", "values": [picture]},
            {"name": "When", "values": ["2026-07-01T10:00:00Z"]},
            {"name": "Hosts", "values": ["b", "a"]},
        ]);
        let mut rt = rt();
        looks(&mut rt, ticket("new"));
        rt.host.answer("POST", COMMENT, 201, json!(["Comments added"]));
        looks(&mut rt, closed);
        let updated = rt.update(&named(PAGE_OF_17, "17"), incident(), &step, false);
        let updated = updated.unwrap().unwrap();
        let sent = rt.host.sent_json(1);
        assert_eq!((&sent["Status"], &sent["Subject"]), (&json!("resolved"), &Value::Null));
        let fields = json!({
            "Cause": "ended", "When": "2026-07-01T10:00:00+00:00", "Hosts": ["a", "b"],
            "Subject": "mine", "Status": "rejected",
        });
        assert_eq!(sent["CustomFields"], fields);
        let begins = updated.warnings.iter().map(|warning| warning.split(':').next().unwrap());
        assert_eq!(begins.collect::<Vec<_>>(), ["custom field Status", "custom field Subject"]);
        // Nothing is set when it is opened again.
        step.action = Action::Reopen;
        looks(&mut rt, ticket("resolved"));
        rt.host.answer("POST", COMMENT, 201, json!(["Comments added"]));
        looks(&mut rt, ticket("open"));
        rt.update(&named(PAGE_OF_17, "17"), incident(), &step, false).unwrap();
        assert_eq!(rt.host.sent_json(4)["CustomFields"], Value::Null);
    }

    #[test]
    fn a_status_that_came_with_the_comment_and_was_left_out_is_asked_for_again() {
        let mut rt = rt();
        looks(&mut rt, ticket("new"));
        rt.host.answer("POST", COMMENT, 201, json!(["Comments added"]));
        looks(&mut rt, ticket("new"));
        rt.host.answer("PUT", TICKET, 200, json!(["Ticket 17: Status changed"]));
        looks(&mut rt, ticket("resolved"));
        assert_eq!(told(update(&mut rt, Action::Close, false)), (true, TicketState::Closed));
        // RT refuses it.
        looks(&mut rt, ticket("new"));
        rt.host.answer("POST", COMMENT, 201, json!(["Comments added"]));
        looks(&mut rt, ticket("new"));
        let why = "Ticket 17: Status 'resolved' isn't a valid status for this ticket.";
        rt.host.answer("PUT", TICKET, 200, json!([why]));
        looks(&mut rt, ticket("new"));
        let error = update(&mut rt, Action::Close, false).unwrap_err();
        assert_eq!((error.retry, error.partial), (Retry::Never, true), "{error}");
        assert!(error.message.contains(why), "{error}");
    }

    #[test]
    fn a_comment_that_may_be_written_is_unknown_and_one_that_rt_refused_is_not() {
        use ErrorKind::{Client, Creation, Plugin, Settings};
        let page = "<!DOCTYPE html><html>";
        for (status, body, kind, retry) in [
            (400, json!({"message": "Permission Denied"}), Creation, Retry::Never),
            (401, json!({"message": "Unauthorized"}), Settings, Retry::Never),
            (429, json!({"message": "slow down"}), Client, Retry::Later),
            (500, json!(""), Client, Retry::Unknown),
            (503, json!(page), Client, Retry::Unknown),
            (200, json!(["Comments added"]), Settings, Retry::Unknown),
            (201, json!(page), Settings, Retry::Unknown),
            (201, json!({}), Plugin, Retry::Unknown),
        ] {
            let mut rt = rt();
            looks(&mut rt, ticket("new"));
            rt.host.answer("POST", COMMENT, status, body);
            let error = update(&mut rt, Action::Close, false).unwrap_err();
            assert_eq!((error.kind, error.retry), (kind, retry), "{status} {error}");
            assert!(!error.partial, "{error}");
        }
        let mut rt = rt();
        looks(&mut rt, ticket("new"));
        rt.host.outcome("POST", COMMENT, HttpAnswer::Unknown("timed out".into()));
        let error = update(&mut rt, Action::Comment, false).unwrap_err();
        assert_eq!((error.retry, error.partial), (Retry::Unknown, false), "{error}");
        // The comment is written, and whether the ticket is closed can't be seen.
        looks(&mut rt, ticket("new"));
        rt.host.answer("POST", COMMENT, 201, json!(["Comments added"]));
        let url = format!("{TICKET}?fields%5BQueue%5D=Name");
        rt.host.answer("GET", &url, 503, json!(""));
        let error = update(&mut rt, Action::Close, false).unwrap_err();
        assert_eq!((error.retry, error.partial), (Retry::Unknown, true), "{error}");
    }

    #[test]
    fn a_dry_run_shows_the_requests() {
        let url = format!("{TICKET}?fields%5BQueue%5D=Name");
        for (comment, method, last) in [(None, "POST", COMMENT), (Some(""), "PUT", TICKET)] {
            let mut rt = rt();
            rt.host.comment = comment.map(str::to_owned);
            rt.host.outcome("GET", &url, HttpAnswer::DryRun);
            rt.host.outcome(method, last, HttpAnswer::DryRun);
            let ticket = named(PAGE_OF_17, "17");
            rt.rehearse(&ticket, incident(), &step(Action::Close)).unwrap_err();
            assert_eq!(rt.host.sent_json(1)["Status"], "resolved");
        }
    }
}
