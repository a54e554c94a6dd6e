//! In which states tickets are: by one search for all of them, and a look at each that it doesn't give.
//!
//! Invariant: what is told of a ticket stands in RT's answer about this very ticket. RT's search says nothing of tickets that are deleted,
//! were merged into another one, or may not be seen, and doesn't tell these from one another.

use std::time::Duration;

use serde::Deserialize;
use ticket_plugin_api::message::AskedTicket;
use ticket_plugin_api::{
    Call, Response, Result, StateRequest, States, TicketName, TicketState, TicketStatus, ToldStates,
};

use crate::Rt;
use crate::life::{self, Shown};

/// With less time left, no ticket is looked at by itself.
const TIME_FOR_A_LOOK: Duration = Duration::from_secs(2);

/// How RT writes a time that isn't set.
const NEVER: &str = "1970-01-01T00:00:00Z";

/// Source: <https://docs.bestpractical.com/rt/5.0/RT/REST2.html#Tickets>.
pub(crate) fn state(rt: &Rt, call: &Call, request: &StateRequest) -> Result<States> {
    let (mut told, mut asked) = (ToldStates::default(), Vec::new());
    for ticket in &request.tickets {
        let name = TicketName { url: ticket.url.clone(), id: ticket.id.clone() };
        match life::number(rt, &name) {
            Some(number) => asked.push((number, ticket)),
            None => told.tell(call, Ok(TicketStatus::of(&ticket.url, TicketState::Foreign))),
        }
    }
    let ended = look(rt, call, &asked, &mut told);
    told.ended(call, ended)
}

/// # Errors
/// What keeps it from finding out more.
fn look(
    rt: &Rt,
    call: &Call,
    asked: &[(String, &AskedTicket)],
    told: &mut ToldStates,
) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let numbers: Vec<&str> = asked.iter().map(|(number, _)| number.as_str()).collect();
    let listed = rt.client.numbered(call, &numbers)?;
    let listed: Vec<Shown> =
        listed.into_iter().filter_map(|ticket| Shown::deserialize(ticket).ok()).collect();
    for (number, ticket) in asked {
        if let Some(shown) = listed.iter().find(|shown| shown.id.0 == *number) {
            told.tell(call, status(rt, shown, number, ticket));
            continue;
        }
        if call.remaining() < TIME_FOR_A_LOOK {
            // Others may be listed.
            continue;
        }
        let answer = rt.client.ask_for_ticket(call, number)?;
        match life::shown(rt, &answer, number) {
            Err(error) if is_about_all(&answer) => return Err(error),
            shown => told.tell(call, shown.and_then(|shown| status(rt, &shown, number, ticket))),
        }
    }
    Ok(())
}

/// Whether RT would answer a request for another ticket like this, too.
fn is_about_all(answer: &Response) -> bool {
    matches!(answer.status, 401 | 429) || answer.retry_after().is_some()
}

/// What the ticket that RT gives for this number is to the one that is asked for.
fn status(rt: &Rt, shown: &Shown, number: &str, asked: &AskedTicket) -> Result<TicketStatus> {
    if !life::is_ours(rt, shown, number, &asked.url, &asked.key)? {
        return Ok(TicketStatus::of(&asked.url, TicketState::Foreign));
    }
    let state = life::state(rt, shown)?;
    let id = shown.id.0.clone();
    // RT keeps the time when the ticket is opened again.
    let at = shown.resolved.clone().filter(|at| state != TicketState::Open && at != NEVER);
    let moved = (id != number).then(|| TicketName { url: rt.client.page(&id), id: id.clone() });
    Ok(TicketStatus {
        id,
        at: at.unwrap_or_default(),
        detail: shown.status.clone(),
        moved,
        ..TicketStatus::of(&asked.url, state)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use ticket_plugin_api::abi::host_side::HttpAnswer;
    use ticket_plugin_api::testkit::Fixture;

    use super::*;
    use crate::tests::{KEY, open};
    use crate::ticket::marker;

    const TICKETS: &str = "https://rt.example.org/REST/2.0/tickets";

    fn rt() -> Fixture {
        open(json!({"queue": "NOC"}))
    }

    fn page(number: u32) -> String {
        format!("https://rt.example.org/Ticket/Display.html?id={number}")
    }

    fn look(number: u32) -> String {
        format!("https://rt.example.org/REST/2.0/ticket/{number}?fields%5BQueue%5D=Name")
    }

    /// A ticket that a person named.
    fn named(url: &str) -> AskedTicket {
        AskedTicket { url: url.to_owned(), ..AskedTicket::default() }
    }

    fn asked(numbers: std::ops::RangeInclusive<u32>) -> StateRequest {
        StateRequest { tickets: numbers.map(|number| named(&page(number))).collect() }
    }

    /// A ticket as RT's search gives it, or the answer to a request for it.
    fn ticket(number: u32, status: &str) -> Value {
        json!({
            "id": number.to_string(), "Status": status, "Resolved": "1970-01-01T00:00:00Z",
            "Queue": {"id": "3", "Name": "NOC"}, "_hyperlinks": [],
        })
    }

    fn search(rt: &mut Fixture, items: Value) {
        rt.host.answer("POST", TICKETS, 200, json!({"items": items, "total": null}));
    }

    fn limited() -> HttpAnswer {
        let headers = vec![("retry-after".to_owned(), "7".to_owned())];
        HttpAnswer::Answered { status: 429, headers, body: br#"{"message": "slow"}"#.to_vec() }
    }

    /// What is told of each ticket, by the last of its URL.
    fn told<'a>(states: &'a States) -> Vec<(&'a str, TicketState)> {
        let last = |status: &'a TicketStatus| status.url.rsplit('=').next().unwrap();
        states.tickets.iter().map(|status| (last(status), status.state)).collect()
    }

    #[test]
    fn one_search_tells_the_states_of_a_hundred_tickets() {
        use TicketState::{Cancelled, Closed, Open};
        let statuses = ["new", "open", "stalled", "Resolved", "rejected"];
        let states = [Open, Open, Open, Closed, Cancelled];
        let status = |number: u32| (number % 5) as usize;
        let mut rt = rt();
        let items: Vec<Value> = (1..=100).map(|n| ticket(n, statuses[status(n)])).collect();
        search(&mut rt, json!(items));
        let reply = rt.state(&asked(1..=100)).unwrap();
        assert_eq!((reply.tickets.len(), reply.retry_after_ms), (100, None));
        for (number, ticket) in (1..).zip(&reply.tickets) {
            assert_eq!(ticket.url, page(number));
            assert_eq!(ticket.id, number.to_string());
            assert_eq!(ticket.state, states[status(number)]);
            assert_eq!(ticket.detail, statuses[status(number)]);
            assert_eq!((&*ticket.at, &ticket.moved), ("", &None));
        }
        let sent = &rt.host.sent[0];
        assert!(sent.changes_nothing, "it is a POST, and changes nothing");
        let body = String::from_utf8(sent.body.clone()).unwrap();
        assert!(body.starts_with("query=id%20%3D%201%20OR%20id%20%3D%202%20OR"), "{body}");
        let fields = "&fields=Status%2CQueue%2CResolved%2C_hyperlinks&fields%5BQueue%5D=Name\
                      &orderby=id&order=ASC&per_page=100";
        assert!(body.ends_with(fields), "{body}");
        assert_eq!(rt.host.sent.len(), 1);
    }

    #[test]
    fn a_closed_ticket_has_the_time_when_it_was_and_an_open_one_none() {
        let (mut closed, mut reopened) = (ticket(1, "resolved"), ticket(2, "open"));
        for ticket in [&mut closed, &mut reopened] {
            ticket["Resolved"] = json!("2026-11-24T09:00:00Z");
        }
        let mut rt = rt();
        search(&mut rt, json!([closed, reopened]));
        let reply = rt.state(&asked(1..=2)).unwrap();
        assert_eq!(reply.tickets[0].at, "2026-11-24T09:00:00Z");
        assert_eq!(reply.tickets[1].at, "");
    }

    #[test]
    fn a_ticket_that_the_search_does_not_give_is_looked_at() {
        let mut rt = rt();
        search(&mut rt, json!([ticket(1, "open"), null, {"id": "5"}]));
        rt.host.answer("GET", &look(2), 200, ticket(2, "deleted"));
        rt.host.answer("GET", &look(3), 200, ticket(9, "resolved"));
        rt.host.answer("GET", &look(4), 403, json!({"message": "Forbidden"}));
        rt.host.answer("GET", &look(5), 404, json!({"message": "Not Found"}));
        rt.host.answer("GET", &look(6), 500, json!(""));
        rt.host.answer("GET", &look(7), 200, ticket(7, "open"));
        let reply = rt.state(&asked(1..=7)).unwrap();
        let states = [
            ("1", TicketState::Open),
            ("2", TicketState::Gone),
            ("3", TicketState::Closed),
            ("7", TicketState::Open),
        ];
        assert_eq!(told(&reply), states);
        let merged = &reply.tickets[2];
        let moved = merged.moved.as_ref().unwrap();
        assert_eq!((&*merged.id, &*moved.id, &*moved.url), ("9", "9", &*page(9)));
        assert_eq!(reply.retry_after_ms, None);
    }

    #[test]
    fn a_ticket_of_the_key_is_ours_in_every_queue_and_others_are_in_the_backends() {
        let elsewhere = |number| {
            let mut ticket = ticket(number, "open");
            ticket["Queue"] = json!({"id": "8", "Name": "Field"});
            ticket
        };
        let mut ours = elsewhere(1);
        ours["_hyperlinks"] = json!([{"ref": "refers-to", "_url": marker(KEY)}]);
        let mut hidden = elsewhere(3);
        hidden["Queue"]["Name"] = json!("");
        let mut rt = rt();
        search(&mut rt, json!([ours, elsewhere(2), hidden, ticket(4, "simmering")]));
        let mut request = asked(1..=4);
        request.tickets[0].key = KEY.to_owned();
        for url in ["https://other.example.org/Ticket/Display.html?id=1", "https://wiki.org/x"] {
            request.tickets.push(named(url));
        }
        let reply = rt.state(&request).unwrap();
        let mut states = told(&reply);
        states.sort_by_key(|(url, _)| *url);
        let wiki = "https://wiki.org/x";
        assert_eq!(states.len(), 4, "{states:?}");
        assert_eq!(states[0], ("1", TicketState::Foreign));
        assert_eq!(states[1], ("1", TicketState::Open));
        assert_eq!(states[2], ("2", TicketState::Foreign));
        assert_eq!(states[3], (wiki, TicketState::Foreign));
        assert_eq!(rt.host.sent.len(), 1, "what was given isn't looked at again");
        // Nothing is asked of RT about pages of others.
        let request = StateRequest { tickets: vec![named(wiki)] };
        assert_eq!(told(&rt.state(&request).unwrap()), [(wiki, TicketState::Foreign)]);
        assert_eq!(rt.host.sent.len(), 1);
    }

    #[test]
    fn what_keeps_it_from_finding_out_more_is_told_and_what_was_found_out_is_kept() {
        let mut rt = rt();
        rt.host.outcome("POST", TICKETS, limited());
        let error = rt.state(&asked(1..=2)).unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        // The look at the second one is refused, and the third isn't asked for.
        search(&mut rt, json!([ticket(1, "open")]));
        rt.host.outcome("GET", &look(2), limited());
        let reply = rt.state(&asked(1..=3)).unwrap();
        assert_eq!(told(&reply), [("1", TicketState::Open)]);
        assert_eq!((reply.retry_after_ms, rt.host.sent.len()), (Some(7000), 3));
        // So is what is about each ticket, if nothing was found out.
        search(&mut rt, json!([]));
        rt.host.answer("GET", &look(1), 403, json!({"message": "Forbidden"}));
        let error = rt.state(&asked(1..=1)).unwrap_err();
        assert!(error.message.contains("right ShowTicket"), "{error}");
        for (status, body) in [
            (200, json!("<html>login</html>")),
            (200, json!({})),
            (200, json!({"items": null})),
            (500, json!("")),
            (404, json!({"message": "Not Found"})),
        ] {
            rt.host.answer("POST", TICKETS, status, body);
            rt.state(&asked(1..=1)).unwrap_err();
        }
    }

    #[test]
    fn with_little_time_left_only_the_search_is_made() {
        let mut rt = rt();
        rt.host.remaining = Duration::from_secs(1);
        search(&mut rt, json!([ticket(2, "open")]));
        assert_eq!(told(&rt.state(&asked(1..=2)).unwrap()), [("2", TicketState::Open)]);
    }
}
