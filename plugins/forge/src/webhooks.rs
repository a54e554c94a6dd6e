//! What a forge's webhook is about, once its signature is checked.

use serde_json::Value;
use ticket_plugin_api::{Error, Received, Result, TicketName, Webhook, json};

use crate::{Forge, states};

pub(crate) fn receive<F: Forge>(forge: &F, webhook: &Webhook) -> Result<Received> {
    if let Err(why) = forge.is_signed(webhook) {
        return Ok(Received { forged: Some(why), ..Received::default() });
    }
    let event: Value = json::read(webhook.body).map_err(|cause| {
        Error::plugin(format!(
            "the webhook is signed, and its body isn't JSON ({cause}): does it send application/json?"
        ))
    })?;
    // What isn't about an issue, such as a ping or a push, has no such URL.
    let url = event.pointer(F::DIALECT.webhook_url).and_then(Value::as_str);
    let tickets = url.and_then(|url| {
        // That of a comment's event ends with the comment.
        let url = url.split('#').next()?.to_owned();
        let name = TicketName { url, id: String::new() };
        Some(TicketName { id: states::number(forge, &name)?, ..name })
    });
    Ok(Received { tickets: tickets.into_iter().collect(), ..Received::default() })
}

/// Why every webhook is forged where the settings have no secret for them.
pub fn no_secret(name: &str) -> String {
    format!("secret.webhook_secret isn't set: set it to the secret that {name}'s webhook has")
}
