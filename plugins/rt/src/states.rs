//! In which states tickets are, by a look at each as before a step; and which of them a webhook of RT's is about.
//!
//! Invariant: what is told of a ticket stands in an answer about this very ticket. One that this login may not see, or that RT doesn't have
//! (any more, or at this endpoint), is not told.

use std::time::Duration;

use serde_json::Value;
use ticket_plugin_api::{
    Call, Error, ErrorKind, Received, Result, StateRequest, States, TicketName, TicketState,
    TicketStatus, Webhook, json,
};

use ticket_plugin_api::message::AskedTicket;

use crate::Rt;
use crate::life::{is_ours, look, number, state};

/// The header that RT's scrip signs with, as the README has it.
const SIGNATURE: &str = "x-ticket-host-signature-256";
/// With less time left no further ticket is looked at.
const TIME_FOR_A_LOOK: Duration = Duration::from_secs(2);

pub(crate) fn states(rt: &Rt, call: &Call, request: &StateRequest) -> Result<States> {
    let mut told = States::default();
    // The first that keeps one ticket's state from being told.
    let mut missed = None;
    for asked in &request.tickets {
        if call.remaining() < TIME_FOR_A_LOOK {
            break;
        }
        match of(rt, call, asked) {
            Ok(status) => told.tickets.push(status),
            Err(error) if error.kind == ErrorKind::Creation => {
                call.debug(&error.message);
                missed.get_or_insert(error);
            }
            // It would be so of the others, too.
            Err(error) if told.tickets.is_empty() => return Err(error),
            Err(error) => {
                call.warn(&format!("not all states could be read: {error}"));
                let wait = error.retry_after.map(|wait| wait.as_millis());
                told.retry_after_ms = wait.map(|wait| u64::try_from(wait).unwrap_or(u64::MAX));
                break;
            }
        }
    }
    match missed {
        Some(error) if told.tickets.is_empty() => Err(error),
        _ => Ok(told),
    }
}

/// # Errors
/// It can't be told; one of [`ErrorKind::Creation`] is about this ticket alone.
fn of(rt: &Rt, call: &Call, asked: &AskedTicket) -> Result<TicketStatus> {
    let AskedTicket { url, id, key } = asked;
    let status = |state| TicketStatus { url: url.clone(), state, ..TicketStatus::default() };
    let name = TicketName { url: url.clone(), id: id.clone() };
    let Some(number) = number(rt, &name) else { return Ok(status(TicketState::Foreign)) };
    let ticket = look(rt, call, &number)?;
    if !is_ours(rt, &ticket, &number, &name, key)? {
        return Ok(status(TicketState::Foreign));
    }
    let now = ticket.id.0.clone();
    // One that was merged into another is as that one is.
    let moved = (now != number).then(|| TicketName { url: rt.client.page(&now), id: now.clone() });
    Ok(TicketStatus {
        id: now,
        detail: ticket.status.clone(),
        moved,
        ..status(state(rt, &ticket)?)
    })
}

/// What a webhook is about: `{"ticket": {"id": 17}}`, signed by RT's scrip.
pub(crate) fn receive(rt: &Rt, webhook: &Webhook) -> Result<Received> {
    let signed = match &rt.webhook_secret {
        Some(secret) => webhook.is_signed(SIGNATURE, secret),
        None => {
            Err("secret.webhook_secret isn't set: set it to the secret of RT's scrip".to_owned())
        }
    };
    if let Err(why) = signed {
        return Ok(Received { forged: Some(why), ..Received::default() });
    }
    let odd = |why: String| Error::plugin(format!("the webhook is signed, and {why}: {README}"));
    let told: Value =
        json::read(webhook.body).map_err(|cause| odd(format!("its body isn't JSON ({cause})")))?;
    let id = match told.pointer("/ticket/id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    };
    if !crate::client::is_number(&id) {
        return Err(odd("its body names no ticket".to_owned()));
    }
    let name = TicketName { url: rt.client.page(&id), id };
    Ok(Received { tickets: vec![name], ..Received::default() })
}

const README: &str = "does the scrip send what the plugin's README says?";

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ticket_plugin_api::message::WebhookHead;
    use ticket_plugin_api::testkit::{self, Fixture};

    use super::*;
    use crate::tests::KEY;
    use crate::ticket::marker;

    const SECRET: &str = "It's a Secret to Everybody";

    fn rt() -> Fixture {
        let secret = json!({"token": "1-14-secret", "webhook_secret": SECRET});
        testkit::open::<Rt>("https://rt.example.org/", secret, json!({"queue": "NOC"})).unwrap()
    }

    fn page(number: u32) -> String {
        format!("https://rt.example.org/Ticket/Display.html?id={number}")
    }

    fn asked(url: &str, id: &str) -> AskedTicket {
        AskedTicket { url: url.to_owned(), id: id.to_owned(), key: KEY.to_owned() }
    }

    fn answers(rt: &mut Fixture, number: u32, status: u16, body: Value) {
        let url = format!("https://rt.example.org/REST/2.0/ticket/{number}?fields%5BQueue%5D=Name");
        rt.host.answer("GET", &url, status, body);
    }

    /// A ticket of the key, or a person's in that queue.
    fn shown(number: u32, status: &str, queue: &str, is_made: bool) -> Value {
        let link = json!({"ref": "refers-to", "_url": marker(KEY)});
        let links = if is_made { vec![link] } else { Vec::new() };
        json!({"id": number, "Status": status, "Queue": {"id": "3", "Name": queue}, "_hyperlinks": links})
    }

    fn states(
        rt: &mut Fixture,
        tickets: Vec<AskedTicket>,
    ) -> Result<Vec<(TicketState, String, String)>> {
        let told = rt.state(&StateRequest { tickets })?;
        Ok(told.tickets.into_iter().map(|it| (it.state, it.id, it.detail)).collect())
    }

    #[test]
    fn a_ticket_is_as_its_status_says_also_if_only_its_url_is_known() {
        use TicketState::{Cancelled, Closed, Gone, Open};
        for (status, state) in [
            ("new", Open),
            ("stalled", Open),
            ("resolved", Closed),
            ("Rejected", Cancelled),
            ("deleted", Gone),
        ] {
            for (queue, is_made, id) in [("NOC", false, ""), ("noc", true, "17"), ("Lab", true, "")]
            {
                let mut rt = rt();
                answers(&mut rt, 17, 200, shown(17, status, queue, is_made));
                let told = states(&mut rt, vec![asked(&page(17), id)]).unwrap();
                assert_eq!(
                    told,
                    [(state, "17".to_owned(), status.to_owned())],
                    "{queue} {is_made}"
                );
            }
        }
    }

    #[test]
    fn a_ticket_of_another_rt_or_queue_is_foreign() {
        let mut rt = rt();
        answers(&mut rt, 17, 200, shown(17, "open", "Lab", false));
        let tickets = vec![
            asked("https://rt.example.com/Ticket/Display.html?id=5", ""),
            asked(&page(17), ""),
        ];
        let told = states(&mut rt, tickets).unwrap();
        assert_eq!(told, vec![(TicketState::Foreign, String::new(), String::new()); 2]);
        assert_eq!(rt.host.sent.len(), 1);
    }

    #[test]
    fn a_merged_ticket_is_as_the_one_that_it_was_merged_into() {
        let mut rt = rt();
        answers(&mut rt, 17, 200, shown(9, "resolved", "NOC", true));
        let told = rt.state(&StateRequest { tickets: vec![asked(&page(17), "17")] }).unwrap();
        let moved = TicketName { url: page(9), id: "9".to_owned() };
        assert_eq!(
            (told.tickets[0].state, &told.tickets[0].moved),
            (TicketState::Closed, &Some(moved))
        );
    }

    #[test]
    fn what_cannot_be_seen_is_not_told_and_the_others_are() {
        for (status, body) in [
            (403, json!({"message": "Forbidden"})),
            (404, json!({"message": "Not Found"})),
            (200, shown(17, "simmering", "NOC", true)),
        ] {
            let mut rt = rt();
            answers(&mut rt, 17, status, body.clone());
            answers(&mut rt, 18, 200, shown(18, "open", "NOC", true));
            let tickets = vec![asked(&page(17), "17"), asked(&page(18), "18")];
            let told = states(&mut rt, tickets).unwrap();
            assert_eq!(told, [(TicketState::Open, "18".to_owned(), "open".to_owned())], "{status}");
            answers(&mut rt, 17, status, body);
            assert!(
                states(&mut rt, vec![asked(&page(17), "17")]).is_err(),
                "nothing was found out"
            );
        }
    }

    #[test]
    fn what_is_so_of_all_ends_the_call_and_what_was_told_stays() {
        let mut rt = rt();
        answers(&mut rt, 17, 200, shown(17, "open", "NOC", true));
        answers(&mut rt, 18, 401, json!({"message": "Unauthorized"}));
        let all = || vec![asked(&page(17), "17"), asked(&page(18), "18"), asked(&page(19), "19")];
        assert_eq!(states(&mut rt, all()).unwrap().len(), 1);
        assert_eq!(rt.host.sent.len(), 2);
        answers(&mut rt, 17, 401, json!({"message": "Unauthorized"}));
        assert_eq!(states(&mut rt, all()).unwrap_err().kind, ErrorKind::Settings);
    }

    fn receive(rt: &mut Fixture, signature: &str, body: &str) -> Result<Received> {
        let headers = vec![("x-ticket-host-signature-256".to_owned(), signature.to_owned())];
        rt.receive(&WebhookHead { headers, ..WebhookHead::default() }, body.as_bytes())
    }

    #[test]
    fn a_signed_webhook_names_its_ticket_and_all_others_are_forged() {
        let mut rt = rt();
        let signature = "sha256=0e28c0f66df0a7a624901ab62b129667a43c1e5d488a9478c57a473b28cbc4ae";
        let received = receive(&mut rt, signature, r#"{"ticket": {"id": 17}}"#).unwrap();
        assert_eq!(received.tickets, [TicketName { url: page(17), id: "17".to_owned() }]);
        for (signature, body) in
            [("", r#"{"ticket": {"id": 17}}"#), (signature, r#"{"ticket": {"id": 18}}"#)]
        {
            let forged = receive(&mut rt, signature, body).unwrap();
            assert!(forged.forged.is_some() && forged.tickets.is_empty(), "{signature} {body}");
        }
        // GitHub's own example of a signature.
        let hello = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let error = receive(&mut rt, hello, "Hello, World!").unwrap_err();
        assert!(error.message.contains("its body isn't JSON"), "{error}");
        let mut without = crate::tests::open(json!({"queue": "NOC"}));
        let forged = receive(&mut without, hello, "Hello, World!").unwrap().forged.unwrap();
        assert!(forged.contains("secret.webhook_secret isn't set"), "{forged}");
    }
}
