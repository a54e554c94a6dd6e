//! What a webhook of Jira's is about, once its signature is checked.
//!
//! Source: <https://developer.atlassian.com/cloud/jira/platform/webhooks/#secure-admin-webhooks> and, for Data Center,
//! <https://confluence.atlassian.com/adminjiraserver/managing-webhooks-938846912.html>.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use ticket_plugin_api::{Error, Received, Result, TicketName, Webhook, json};

use crate::{Jira, life};

pub(crate) fn receive(jira: &Jira, webhook: &Webhook) -> Result<Received> {
    if let Err(why) = is_signed(jira.webhook_secret.as_deref(), webhook) {
        return Ok(Received { forged: Some(why.to_owned()), ..Received::default() });
    }
    let event: Value = json::read(webhook.body).map_err(|cause| {
        Error::plugin(format!(
            "the webhook is signed, and its body isn't JSON ({cause}): is \"Exclude body\" set in Jira?"
        ))
    })?;
    let mut tickets = Vec::new();
    for key in keys(&event) {
        let name = TicketName { url: jira.client.page_of(key), id: key.to_owned() };
        if life::key(jira, &name).is_some() && !tickets.contains(&name) {
            tickets.push(name);
        }
    }
    Ok(Received { tickets, ..Received::default() })
}

/// The key, and the one that it had until it was moved. What isn't about an issue, such as a version's release, has none.
fn keys(event: &Value) -> impl Iterator<Item = &str> {
    let changes = event.pointer("/changelog/items").and_then(Value::as_array);
    let moves = changes.into_iter().flatten().filter(|change| change["field"] == "Key");
    let keys = event.pointer("/issue/key").into_iter();
    keys.chain(moves.map(|change| &change["fromString"])).filter_map(Value::as_str)
}

/// Whether the signature is the HMAC-SHA256 of the body.
///
/// # Errors
/// Why not.
fn is_signed(secret: Option<&str>, webhook: &Webhook) -> std::result::Result<(), &'static str> {
    let secret = secret
        .ok_or("secret.webhook_secret isn't set: set it to the secret that Jira's webhook has")?;
    let signature = webhook.head.header("x-hub-signature");
    let signature =
        signature.ok_or("X-Hub-Signature is missing: has the webhook in Jira a secret?")?;
    let signature = signature.strip_prefix("sha256=").and_then(from_hex);
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok();
    // It is compared in constant time.
    let is_signed = signature.zip(mac).is_some_and(|(signature, mac)| {
        mac.chain_update(webhook.body).verify_slice(&signature).is_ok()
    });
    let why = "X-Hub-Signature is another one: is secret.webhook_secret the webhook's secret?";
    is_signed.then_some(()).ok_or(why)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}
