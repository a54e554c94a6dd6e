//! What a webhook of Jira's is about, once its signature is checked.
//!
//! Source: <https://developer.atlassian.com/cloud/jira/platform/webhooks/#secure-admin-webhooks> and, for Data Center,
//! <https://confluence.atlassian.com/adminjiraserver/managing-webhooks-938846912.html>.

use serde_json::Value;
use ticket_plugin_api::{Error, Received, Result, TicketName, Webhook, json};

use crate::{Jira, life};

pub(crate) fn receive(jira: &Jira, webhook: &Webhook) -> Result<Received> {
    let signed = match &jira.webhook_secret {
        Some(secret) => webhook.is_signed("x-hub-signature", secret),
        None => {
            Err("secret.webhook_secret isn't set: set it to the secret that Jira's webhook has"
                .to_owned())
        }
    };
    if let Err(why) = signed {
        return Ok(Received { forged: Some(why), ..Received::default() });
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
