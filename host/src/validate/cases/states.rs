//! What state() and changes() tell of tickets, and that they tell nothing of what they couldn't find out.

use serde_json::{Value, json};
use ticket_plugin_api::Ticket;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::message::{
    Changed, ChangesRequest, StateRequest, States, TicketName, TicketState, TicketStatus,
};

use super::answered;
use super::calls::created;
use crate::validate::answer::Said;
use crate::validate::bench::{Ask, Bench, KEY};
use crate::validate::script::{Behaviour, Role, Seen, When};
use crate::validate::{Done, Verdict, fail, skip, warn};

cases! {
    "state" state_works "state() tells whether a ticket is open, closed or gone, by its URL alone and among others, too";
    "state-unclear" state_unclear "state() tells no state of a ticket that it couldn't read: a lost permission is not \"gone\"";
    "changes" changes_works "changes() first says from where on, and then tells which tickets have changed";
    "changes-lost" changes_lost "changes() loses no change: what failed or isn't understood is an error or a gap, and no new cursor";
}

/// The statuses by which the script says that a ticket is gone.
pub(super) fn gone_statuses(bench: &Bench) -> Vec<u16> {
    let rules = bench.settings.http.iter().filter(|rule| rule.when == Some(When::Gone));
    rules.map(|rule| rule.status).filter(|status| *status >= 400).collect()
}

/// What a ticket is called in a request.
pub(super) fn named(ticket: &Ticket) -> Value {
    match ticket.id.as_str() {
        "" => json!({"url": ticket.url}),
        id => json!({"url": ticket.url, "id": id}),
    }
}

/// Answers that say nothing of a ticket, with words for each. Those of the statuses `but` are left out, and a body that
/// the script has itself.
pub(super) fn unclear_looks(bench: &Bench, but: &[u16]) -> Vec<(String, HttpAnswer)> {
    let why = || "the validator".to_owned();
    let refused = [404, 403, 401, 500, 503, 429].into_iter().filter(|code| !but.contains(code));
    let refused = refused.map(|code| {
        (format!("is answered {code}"), answered(code, r#"{"message": "the validator"}"#))
    });
    let own = |body: &str| bench.settings.http.iter().any(|rule| rule.body.trim() == body);
    let bodies = [
        ("HTML", "<!DOCTYPE html><html><body><h1>Log in</h1></body></html>"),
        ("{}", "{}"),
        ("null", "null"),
        ("a text", "\"text\""),
        ("nothing", ""),
    ];
    let bodies = bodies.into_iter().filter(|(_, body)| !own(body));
    let bodies =
        bodies.map(|(name, body)| (format!("is answered 200 and {name}"), answered(200, body)));
    let unsent = ("is NOT_SENT".to_owned(), HttpAnswer::NotSent(why()));
    let lost = ("is UNKNOWN".to_owned(), HttpAnswer::Unknown(why()));
    refused.chain(bodies).chain([unsent, lost]).collect()
}

fn has_role(bench: &Bench, role: Role) -> bool {
    bench.settings.http.iter().any(|rule| rule.role() == role)
}

/// The ticket to ask for.
async fn ready(
    bench: &mut Bench,
    function: &str,
    role: Role,
    word: &str,
) -> Result<Ticket, Verdict> {
    bench.offers(function)?;
    if !has_role(bench, role) {
        return Err(skip(format!("needs [[http]] with role = \"{word}\"")));
    }
    created(bench, KEY).await.map(|(ticket, _)| ticket)
}

async fn states(
    bench: &mut Bench,
    tickets: &[Value],
    behaviour: Behaviour,
) -> Result<(Said<States>, Seen), Verdict> {
    let request = json!({"tickets": tickets, "later": 1});
    let asked: StateRequest =
        serde_json::from_value(request.clone()).expect("a request to state() is one");
    let operation = Operation::State;
    let ask = Ask { operation, request, key: KEY, tickets: None, behaviour, time: None };
    let (said, seen) = bench.ask::<States>(ask).await?;
    if let Said::Reply(states) = &said {
        states.answers(&asked).map_err(|why| fail(format!("state(): its reply {why}")))?;
    }
    Ok((said, seen))
}

/// What was said of a ticket; None if nothing was.
fn told<'a>(said: &'a Said<States>, url: &str) -> Option<&'a TicketStatus> {
    let Said::Reply(states) = said else { return None };
    let of_it = states.tickets.iter().find(|status| status.url == url);
    of_it.filter(|status| status.state != TicketState::Unknown)
}

async fn state_works(bench: &mut Bench) -> Done {
    let ticket = ready(bench, "state", Role::State, "state").await?;
    let mut whole = named(&ticket);
    whole["key"] = KEY.into();
    let alone = json!({"url": ticket.url});
    let other = other(&ticket);
    let other_named = named(&other);
    for (when, words, states) in [
        (When::Made, "open", &[TicketState::Open][..]),
        (When::Closed, "closed", &[TicketState::Closed, TicketState::Cancelled]),
        (When::Gone, "gone", &[TicketState::Gone]),
    ] {
        let scripted = bench.settings.http.iter().any(|rule| rule.when == Some(when));
        if when != When::Made && !scripted {
            continue;
        }
        for (tickets, how) in [
            (vec![whole.clone()], ""),
            (vec![alone.clone()], " of its URL alone"),
            (vec![other_named.clone(), whole.clone()], " after a ticket that isn't there"),
            (vec![whole.clone(), other_named.clone()], " before a ticket that isn't there"),
        ] {
            let (said, seen) = self::states(bench, &tickets, Behaviour::Script(when)).await?;
            match told(&said, &ticket.url) {
                Some(status) if states.contains(&status.state) => {}
                Some(status) => {
                    let wrong =
                        format!("the ticket is {words}, and state(){how} says {:?}", status.state);
                    return Err(fail(wrong));
                }
                None if matches!(said, Said::Unsupported) => return Err(skip("it has no state()")),
                None => {
                    let unscripted = seen.unscripted();
                    return Err(fail(format!(
                        "the ticket is {words}, and state(){how} gives {said}{unscripted}"
                    )));
                }
            }
            is_left_out(&other, &said, &seen)?;
        }
    }
    Ok(())
}

/// A ticket that isn't there: its URL and id differ from the other's in the last digit or letter.
fn other(ticket: &Ticket) -> Ticket {
    let next = |text: &str| {
        let at = text.rfind(|c: char| c.is_ascii_alphanumeric());
        let change = |(index, c): (usize, char)| match c {
            _ if Some(index) != at => c,
            '9' => '8',
            'z' | 'Z' => 'y',
            c => char::from(c as u8 + 1),
        };
        text.char_indices().map(change).collect()
    };
    Ticket { url: next(&ticket.url), id: next(&ticket.id), ..Ticket::default() }
}

/// Whether nothing is said of a ticket that the script doesn't know, if it was asked for.
fn is_left_out(other: &Ticket, said: &Said<States>, seen: &Seen) -> Done {
    let last = other.url.rsplit(['/', '=']).next().unwrap_or_default();
    let name = if other.id.is_empty() { last } else { &other.id };
    let asked = seen.unknown.iter().any(|request| request.contains(name));
    match told(said, &other.url) {
        Some(status) if asked => Err(fail(format!(
            "the ticket {name} was answered 404, which can mean a lost permission, and state() says {:?}",
            status.state
        ))),
        _ => Ok(()),
    }
}

async fn state_unclear(bench: &mut Bench) -> Done {
    let ticket = ready(bench, "state", Role::State, "state").await?;
    let gone = gone_statuses(bench);
    for (when, answer) in unclear_looks(bench, &gone) {
        let behaviour = Behaviour::Roles(When::Made, &Role::READS, answer);
        let (said, seen) = states(bench, &[named(&ticket)], behaviour).await?;
        let met = seen.exchanges.iter().any(|exchange| Role::READS.contains(&exchange.role));
        if let Some(status) = told(&said, &ticket.url).filter(|_| met) {
            return Err(fail(format!(
                "state() says {:?} when a request {when}: that was not found out",
                status.state
            )));
        }
    }
    Ok(())
}

async fn changes(
    bench: &mut Bench,
    cursor: Option<&str>,
    behaviour: Behaviour,
) -> Result<(Said<Changed>, Seen), Verdict> {
    let asked = ChangesRequest { cursor: cursor.map(str::to_owned) };
    let mut request = json!({"later": 1});
    if let Some(cursor) = cursor {
        request["cursor"] = cursor.into();
    }
    let operation = Operation::Changes;
    let ask = Ask { operation, request, key: KEY, tickets: None, behaviour, time: None };
    let (said, seen) = bench.ask::<Changed>(ask).await?;
    if let Said::Reply(changed) = &said {
        changed.answers(&asked).map_err(|why| fail(format!("changes(): its reply {why}")))?;
    }
    Ok((said, seen))
}

/// The ticket that changes, and the cursor of a first call.
async fn begun(bench: &mut Bench) -> Result<(Ticket, String), Verdict> {
    let ticket = ready(bench, "changes", Role::Changes, "changes").await?;
    match changes(bench, None, Behaviour::Script(When::Made)).await? {
        (Said::Reply(changed), _) => Ok((ticket, changed.cursor)),
        (Said::Unsupported, _) => Err(skip("it has no changes()")),
        (other, seen) => {
            Err(fail(format!("changes() without a cursor gives {other}{}", seen.unscripted())))
        }
    }
}

async fn changes_works(bench: &mut Bench) -> Done {
    let (ticket, cursor) = begun(bench).await?;
    let quiet = Behaviour::Script(When::Made);
    let (said, seen) = changes(bench, Some(&cursor), quiet).await?;
    let Said::Reply(changed) = said else {
        return Err(fail(format!(
            "changes() with its own cursor gives {said}{}",
            seen.unscripted()
        )));
    };
    if changed.gap {
        return Err(warn(
            "changes() tells of a gap after its own cursor: the host asks for all tickets",
        ));
    }
    let changing = |when| when == Some(When::Closed);
    let rules = bench.settings.http.iter().filter(|rule| rule.role() == Role::Changes);
    if !rules.map(|rule| rule.when).any(changing) {
        return Ok(());
    }
    let (said, seen) = changes(bench, Some(&cursor), Behaviour::Script(When::Closed)).await?;
    let is_it = |name: &TicketName| {
        name.url == ticket.url || (!ticket.id.is_empty() && name.id == ticket.id)
    };
    match &said {
        Said::Reply(changed) if changed.gap || changed.tickets.iter().any(is_it) => Ok(()),
        other => Err(fail(format!(
            "the ticket {} has changed, and changes() gives {other}{}",
            ticket.url,
            seen.unscripted()
        ))),
    }
}

async fn changes_lost(bench: &mut Bench) -> Done {
    let (_, cursor) = begun(bench).await?;
    for (when, answer) in unclear_looks(bench, &[]) {
        for cursor in [None, Some(cursor.as_str())] {
            let behaviour = Behaviour::Roles(When::Made, &Role::READS, answer.clone());
            let (said, seen) = changes(bench, cursor, behaviour).await?;
            let Said::Reply(changed) = &said else { continue };
            let stays = cursor == Some(&changed.cursor);
            if !seen.exchanges.is_empty() && !changed.gap && !stays {
                return Err(fail(format!(
                    "changes() gives the cursor {:?} when a request {when}: what changed until then is lost",
                    changed.cursor
                )));
            }
        }
    }
    let behaviour = Behaviour::Script(When::Made);
    let (said, _) = changes(bench, Some("cursor-of-another-version"), behaviour).await?;
    match said {
        Said::Reply(changed) if !changed.gap => Err(fail(
            "changes() takes a cursor that it never gave for one of its own, without an error or a gap; if the ticket system \
             refuses such a one, the script has to",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_ticket_differs_in_the_last_digit_or_letter() {
        for (url, id, other_url, other_id) in [
            ("https://t.org/t/17", "17", "https://t.org/t/18", "18"),
            ("https://t.org/t/19/", "NOC-z", "https://t.org/t/18/", "NOC-y"),
            ("https://t.org/t?id=a", "", "https://t.org/t?id=b", ""),
        ] {
            let ticket = Ticket { url: url.to_owned(), id: id.to_owned(), ..Ticket::default() };
            let other = other(&ticket);
            assert_eq!((other.url.as_str(), other.id.as_str()), (other_url, other_id));
        }
    }
}
