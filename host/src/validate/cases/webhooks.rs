//! What receive() makes of webhooks: of the ticket system's own, and of such as anybody can send.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use ticket_plugin_api::message::{Received, TicketName};

use crate::validate::answer::Said;
use crate::validate::bench::Bench;
use crate::validate::script::Webhook;
use crate::validate::{Done, Verdict, fail, skip, warn};

cases! {
    "receive" receive_works "receive() names the tickets of a webhook of the ticket system, without HTTP";
    "receive-forged" receive_forged "receive() says \"forged\" of a webhook whose signature is missing, another one's, or cut";
    "receive-garbage" receive_garbage "receive() survives webhooks that are empty, huge, HTML, without members";
}

/// The webhooks to try. Each case ends with [`Bench::close`], so that what comes after has the replaced secret.
fn ready(bench: &mut Bench) -> Result<Vec<Webhook>, Verdict> {
    bench.offers("receive")?;
    let webhooks = bench.webhooks();
    if webhooks.is_empty() {
        return Err(skip("needs a [[webhook]] as the ticket system signs it"));
    }
    bench.close();
    Ok(webhooks)
}

/// All of a webhook but its body.
fn head(webhook: &Webhook) -> Value {
    let headers = webhook.headers.iter().map(|(name, value)| json!([name.to_lowercase(), value]));
    let headers: Vec<Value> = headers.collect();
    json!({"method": "POST", "url": webhook.url, "headers": headers, "later": 1})
}

async fn receive_works(bench: &mut Bench) -> Done {
    let webhooks = ready(bench)?;
    let done = names_tickets(bench, &webhooks).await;
    bench.close();
    done
}

async fn names_tickets(bench: &mut Bench, webhooks: &[Webhook]) -> Done {
    for (number, webhook) in (1..).zip(webhooks) {
        let said = bench.receive(&head(webhook), webhook.body.as_bytes()).await?;
        let when = |verdict: Verdict| verdict.when(&format!("[[webhook]] {number}"));
        let Said::Reply(received) = said else {
            return Err(when(fail(format!("receive() gives {said}"))));
        };
        if let Some(why) = received.forged {
            return Err(when(fail(format!("it is signed, and receive() calls it forged: {why}"))));
        }
        let named = |wanted: &String| {
            received.tickets.iter().any(|TicketName { url, id }| url == wanted || id == wanted)
        };
        if let Some(missing) = webhook.tickets.iter().find(|wanted| !named(wanted)) {
            return Err(when(fail(format!(
                "it is about the ticket {missing}, which receive() doesn't name"
            ))));
        }
    }
    Ok(())
}

async fn receive_forged(bench: &mut Bench) -> Done {
    let webhooks = ready(bench)?;
    let done = refuses_forged(bench, &webhooks).await;
    bench.close();
    done
}

async fn refuses_forged(bench: &mut Bench, webhooks: &[Webhook]) -> Done {
    for (number, webhook) in (1..).zip(webhooks) {
        let when = |what: &str| format!("[[webhook]] {number} {what}");
        let unsigned =
            Webhook { headers: kept(webhook), url: bare(&webhook.url), ..webhook.clone() };
        is_forged(bench, &unsigned, &when("without its headers")).await?;
        if webhook.signs_body {
            for (what, body) in other_bodies(&webhook.body) {
                let other = Webhook { body, ..webhook.clone() };
                is_forged(bench, &other, &when(what)).await?;
            }
            for other in webhooks.iter().filter(|other| other.body != webhook.body) {
                let other = Webhook { body: other.body.clone(), ..webhook.clone() };
                is_forged(bench, &other, &when("with the body of another one")).await?;
            }
        }
        for name in webhook.headers.keys() {
            let with = |value: Option<String>| {
                let mut headers = webhook.headers.clone();
                match value {
                    Some(value) => headers.insert(name.clone(), value),
                    None => headers.remove(name),
                };
                Webhook { headers, ..webhook.clone() }
            };
            let without = bench.receive(&head(&with(None)), webhook.body.as_bytes()).await?;
            if heeds(&without) {
                continue;
            }
            for (what, value) in other_values(&webhook.headers[name]) {
                is_forged(bench, &with(Some(value)), &when(&format!("whose {name} {what}")))
                    .await?;
            }
        }
    }
    Ok(())
}

/// Whether the plugin takes the webhook for one of the ticket system's.
fn heeds(said: &Said<Received>) -> bool {
    matches!(said, Said::Reply(received) if received.forged.is_none())
}

async fn is_forged(bench: &mut Bench, webhook: &Webhook, when: &str) -> Done {
    match bench.receive(&head(webhook), webhook.body.as_bytes()).await? {
        Said::Reply(received) if received.forged.is_some() => Ok(()),
        Said::Reply(received) => {
            let named = received.tickets.len();
            Err(fail(format!(
                "{when}: receive() doesn't say \"forged\", and names {named} tickets"
            )))
        }
        other => Err(warn(format!("{when}: receive() gives {other}, and not \"forged\""))),
    }
}

/// The headers that say what the body is, which sign nothing.
fn kept(webhook: &Webhook) -> BTreeMap<String, String> {
    let headers =
        webhook.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    headers.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The URL without its query, in which a token may be.
fn bare(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

/// Another digit or letter in the place of this one.
fn another(c: char) -> char {
    match c {
        '0'..='8' | 'a'..='e' | 'g'..='y' | 'A'..='E' | 'G'..='Y' => char::from(c as u8 + 1),
        '9' => '0',
        'f' | 'z' => 'a',
        _ => 'A',
    }
}

/// The text with another character in one place, if it has a digit or a letter from there on.
fn changed(text: &str, from: usize) -> Option<String> {
    let signs = |(at, c): &(usize, char)| *at >= from && c.is_ascii_alphanumeric();
    let (at, c) = text.char_indices().find(signs)?;
    Some(format!("{}{}{}", &text[..at], another(c), &text[at + c.len_utf8()..]))
}

/// Bodies that differ from the signed one by a byte, with words for each.
fn other_bodies(body: &str) -> Vec<(&'static str, String)> {
    let last = body.rfind(|c: char| c.is_ascii_alphanumeric()).unwrap_or_default();
    let flipped = [0, body.len() / 2, last].into_iter().filter_map(|from| changed(body, from));
    let flipped = flipped.map(|body| ("with one byte of its body changed", body));
    flipped.chain([("with a space after its body", format!("{body} "))]).collect()
}

/// Values that are not a signature's, with words for each.
fn other_values(value: &str) -> Vec<(&'static str, String)> {
    let middle = changed(value, value.len() / 2).map(|value| ("has another character", value));
    let half: String = value.chars().take(value.chars().count() / 2).collect();
    let longer = format!("{value}0");
    let others = [("is empty", String::new()), ("is cut to its half", half), ("is longer", longer)];
    others.into_iter().chain(middle).collect()
}

async fn receive_garbage(bench: &mut Bench) -> Done {
    bench.offers("receive")?;
    bench.close();
    let done = survives(bench).await;
    bench.close();
    done
}

async fn survives(bench: &mut Bench) -> Done {
    let webhooks = bench.webhooks();
    let signed = webhooks.first().map(head);
    let long = "x".repeat(60_000);
    let heads = [
        json!({"method": "POST", "url": "https://hooks.example.org/", "headers": []}),
        json!({"method": "POST", "url": "", "headers": [["", ""], ["x-signature", long]]}),
        json!({}),
    ];
    let signs_body = webhooks.first().is_some_and(|webhook| webhook.signs_body);
    for head in signed.iter().chain(&heads) {
        for (name, body) in bodies() {
            let said = bench.receive(head, &body).await;
            let said = said.map_err(|verdict| verdict.when(&format!("of a webhook of {name}")))?;
            if signs_body && heeds(&said) {
                return Err(fail(format!(
                    "receive() gives {said} of a webhook of {name}, which nobody signed"
                )));
            }
        }
    }
    Ok(())
}

/// Bodies that no ticket system sends, with words for each.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", vec![]),
        ("HTML", b"<!DOCTYPE html><html><body><h1>Log in</h1></body></html>".to_vec()),
        ("256 KiB", vec![b'a'; 256 << 10]),
        ("a deep nest", vec![b'['; 100_000]),
        ("NULs", vec![0; 1000]),
        ("no UTF-8", b"{\"id\": \"\xff\xfe\"}".to_vec()),
        ("half of JSON", b"{\"id\": \"17".to_vec()),
        (
            "other types",
            br#"{"id": {"a": []}, "issue": 17, "ticket": null, "data": [[]]}"#.to_vec(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_bodies_and_signatures_differ_from_those_that_they_are_made_of() {
        for text in ["{\"id\": \"17\"}", "sha256=0f9e", "v1=zz,t=9", "æ7", "x", ""] {
            let all = [other_bodies(text), other_values(text)].concat();
            let same: Vec<_> = all.iter().filter(|(_, other)| other == text).collect();
            // Half of nothing is nothing, too.
            assert!(same.is_empty() || text.is_empty(), "{text}: {same:?}");
        }
        assert_eq!(changed("a-9", 1).as_deref(), Some("a-0"));
        assert_eq!(changed("a--", 1), None);
    }
}
