//! Which ticket a webhook of RT's scrip is about, once its signature is checked. RT has no webhooks of its own: the README has the scrip.

use serde::Deserialize;
use ticket_plugin_api::{Error, Received, Result, TicketName, Webhook, json};

use crate::Rt;
use crate::client::Number;

/// As the host gives it, in lower case.
const SIGNATURE: &str = "x-ticket-host-signature-256";

/// What the scrip sends.
#[derive(Deserialize)]
struct Event {
    ticket: Changed,
}

#[derive(Deserialize)]
struct Changed {
    id: Number,
}

/// Source of how scrips are run: <https://docs.bestpractical.com/rt/5.0/extending/using_scrips.html>.
pub(crate) fn receive(rt: &Rt, webhook: &Webhook) -> Result<Received> {
    let signed = match &rt.webhook_secret {
        Some(secret) => webhook.is_signed(SIGNATURE, secret),
        None => Err(
            "secret.webhook_secret isn't set: set it to the secret that the scrip in RT signs with"
                .to_owned(),
        ),
    };
    if let Err(why) = signed {
        return Ok(Received { forged: Some(why), ..Received::default() });
    }
    let event: Event = json::read(webhook.body).map_err(|cause| {
        Error::plugin(format!(
            "the webhook is signed, and its body isn't {{\"ticket\": {{\"id\": 7}}}} ({cause}): \
             is the scrip in RT the one in the plugin's README?"
        ))
    })?;
    let Number(id) = event.ticket.id;
    let ticket = TicketName { url: rt.client.page(&id), id };
    Ok(Received { tickets: vec![ticket], ..Received::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use ticket_plugin_api::message::WebhookHead;
    use ticket_plugin_api::testkit;

    use super::*;

    /// The HMAC-SHA256 of [`BODY`] with the key "hook".
    const SIGNED: &str = "sha256=d8bc5b9124bc92f2a6a5fd6134fda33ea9fc68450efe1dca798b85d579b64ff1";
    const BODY: &[u8] = br#"{"ticket":{"id":7}}"#;

    fn received(secret: Value, signature: Option<&str>, body: &[u8]) -> Result<Received> {
        let mut rt =
            testkit::open::<Rt>("https://rt.example.org/", secret, json!({"queue": "NOC"}))?;
        let header = signature.map(|signature| (SIGNATURE.to_owned(), signature.to_owned()));
        let head = WebhookHead {
            method: "POST".to_owned(),
            url: "https://hooks.example.org/v1/hooks/rt".to_owned(),
            headers: header.into_iter().collect(),
        };
        let received = rt.receive(&head, body);
        assert!(rt.host.sent.is_empty());
        received
    }

    fn token() -> Value {
        json!({"token": "1-14-x", "webhook_secret": "hook"})
    }

    /// The signature of what is sent, as RT makes it.
    fn signature(body: &[u8]) -> String {
        let bytes = testkit::hmac_sha256(b"hook", body);
        bytes.iter().fold("sha256=".to_owned(), |all, byte| format!("{all}{byte:02x}"))
    }

    #[test]
    fn a_signed_webhook_names_its_ticket() {
        let password = json!({"username": "a", "password": "b", "webhook_secret": "hook"});
        for secret in [token(), password] {
            let received = received(secret, Some(SIGNED), BODY).unwrap();
            let url = "https://rt.example.org/Ticket/Display.html?id=7".to_owned();
            assert_eq!(received.tickets, [TicketName { url, id: "7".to_owned() }]);
        }
        let body = br#"{"ticket": {"id": "8", "status": "open"}, "later": 1}"#;
        let received = received(token(), Some(&signature(body)), body).unwrap();
        assert_eq!(received.tickets[0].id, "8");
    }

    #[test]
    fn one_that_is_not_signed_or_differs_is_forged() {
        let cut = &SIGNED[..30];
        let longer = format!("{SIGNED}0");
        let bare = SIGNED.trim_start_matches("sha256=");
        let other = SIGNED.replace('a', "b");
        for (signature, body, says) in [
            (None, BODY, "is missing"),
            (Some(""), BODY, "is another one"),
            (Some("sha256="), BODY, "is another one"),
            (Some(cut), BODY, "is another one"),
            (Some(&longer), BODY, "is another one"),
            (Some(bare), BODY, "is another one"),
            (Some(&other), BODY, "is another one"),
            (Some(SIGNED), br#"{"ticket":{"id":8}}"#, "is another one"),
            (Some(SIGNED), b"", "is another one"),
        ] {
            let received = received(token(), signature, body).unwrap();
            let forged = received.forged.unwrap();
            assert!(forged.contains(says), "{signature:?}: {forged}");
        }
    }

    #[test]
    fn without_a_secret_each_one_is_forged() {
        for secret in [json!({"token": "1-14-x"}), json!({"token": "1-14-x", "webhook_secret": ""})]
        {
            let forged = received(secret, Some(SIGNED), BODY).unwrap().forged.unwrap();
            assert!(forged.starts_with("secret.webhook_secret isn't set"), "{forged}");
        }
    }

    #[test]
    fn one_that_is_signed_and_names_no_ticket_is_an_error() {
        for body in [
            &b""[..],
            b"id=7",
            b"{}",
            br#"{"ticket": 7}"#,
            br#"{"ticket": {"id": null}}"#,
            br#"{"ticket": {"id": "../7"}}"#,
        ] {
            let error = received(token(), Some(&signature(body)), body).unwrap_err();
            assert!(error.message.contains("the webhook is signed"), "{error}");
        }
    }
}
