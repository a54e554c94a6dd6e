//! What check(), create() and find() do with a ticket system that works.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::message::fingerprint;
use ticket_plugin_api::{Error as PluginError, ErrorKind, Ticket};

use super::answered;
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::{incident, odd};
use crate::validate::script::{Behaviour, Role, Rule, Seen, When, texts};
use crate::validate::{Done, Verdict, fail, skip, warn};

cases! {
    "find-offered" find_offered "offers find(): without it nobody knows whether a lost answer left a ticket";
    "check" check_works "check() tells the state of a working ticket system, line by line";
    "check-fails" check_fails "check() tells that something is wrong where the ticket system refuses every request, isn't there, or is another server";
    "create" create_works "create() makes a ticket in a working ticket system, and replies its URL";
    "create-flagged" create_flagged "create() sends what makes the ticket as what changes something: by its method, and without TICKET_HTTP_CHANGES_NOTHING";
    "key" key_counts "puts the key where find() finds it: other keys make other tickets";
    "create-again" create_again "sends the same request for the same key, so that a retry makes no other ticket";
    "find-none" find_none "find() says NOT_FOUND in an empty ticket system";
    "find" find_works "find() gives the ticket of its key, also if it found none before";
    "find-exact" find_exact "find() doesn't take another key's ticket for its own, even if a search gives it";
    "dry-run" dry_run "makes nothing in a dry run";
    "incidents" odd_incidents "survives incidents that are empty, huge, deep, of other types, in any script";
}

async fn find_offered(bench: &mut Bench) -> Done {
    let behaviour = Behaviour::Always(answered(503, "{}"));
    match bench.call(Operation::Find, &incident(), KEY, behaviour).await?.0 {
        Answer::Unsupported => Err(warn("it has no find(): operators are warned of that")),
        _ => Ok(()),
    }
}

async fn check_works(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let (answer, seen) =
        bench.call(Operation::Check, &incident(), KEY, Behaviour::Script(When::Empty)).await?;
    let Answer::Checks(checks) = answer else {
        return Err(fail(format!("check() gives {}{}", answer, seen.unscripted())));
    };
    if let Some(failed) = checks.checks.iter().find(|check| !check.ok) {
        let lack = seen.unscripted();
        return Err(fail(format!("check() fails at {}: {}{lack}", failed.name, failed.message)));
    }
    if checks.checks.is_empty() { Err(warn("check() checks nothing")) } else { Ok(()) }
}

async fn check_fails(bench: &mut Bench) -> Done {
    bench.manifest()?;
    for (when, answer) in [
        ("is answered 401", answered(401, r#"{"message": "the validator"}"#)),
        ("is answered 404", answered(404, r#"{"message": "the validator"}"#)),
        ("is answered 500", answered(500, r#"{"message": "the validator"}"#)),
        ("is NOT_SENT", HttpAnswer::NotSent("the validator".to_owned())),
    ] {
        let behaviour = Behaviour::Always(answer);
        let (answer, seen) = bench.call(Operation::Check, &incident(), KEY, behaviour).await?;
        if says_well(&answer, &seen) {
            return Err(fail(format!("all is well to check() when every request {when}")));
        }
    }
    if bench.scripted().is_ok() { check_looks(bench).await } else { Ok(()) }
}

/// Whether check() asks, if create() does, and knows the ticket system's answers from a page of another server's.
async fn check_looks(bench: &mut Bench) -> Done {
    let script = || Behaviour::Script(When::Empty);
    let (_, made) = bench.call(Operation::Create, &incident(), KEY, script()).await?;
    let (answer, seen) = bench.call(Operation::Check, &incident(), KEY, script()).await?;
    let content = is_content(&answer);
    if content && seen.exchanges.is_empty() && !made.exchanges.is_empty() {
        return Err(fail("all is well to check() though it asks for nothing, and create() does"));
    }
    if !content || !answers_json(&seen) {
        return Ok(());
    }
    let (answer, seen) = bench.call(Operation::Check, &incident(), KEY, login_page()).await?;
    if says_well(&answer, &seen) {
        return Err(fail("all is well to check() when every request is answered 200 and HTML"));
    }
    Ok(())
}

/// What a proxy answers in place of the ticket system.
fn login_page() -> Behaviour {
    let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
    let body = b"<!DOCTYPE html><html><body><h1>Log in</h1></body></html>".to_vec();
    Behaviour::Always(HttpAnswer::Answered { status: 200, headers, body })
}

/// Whether each request but logins was answered with JSON.
fn answers_json(seen: &Seen) -> bool {
    let mut asked = seen.exchanges.iter().filter(|exchange| exchange.role != Role::Login);
    asked.all(|exchange| match &exchange.answer {
        HttpAnswer::Answered { body, .. } => serde_json::from_slice::<Value>(body).is_ok(),
        _ => false,
    })
}

fn is_content(answer: &Answer) -> bool {
    matches!(answer, Answer::Checks(checks) if checks.checks.iter().all(|check| check.ok))
}

/// Whether check() is content though it asked for more than a login.
fn says_well(answer: &Answer, seen: &Seen) -> bool {
    let asked = seen.exchanges.iter().any(|exchange| exchange.role != Role::Login);
    asked && is_content(answer)
}

pub(super) async fn created(bench: &mut Bench, key: &str) -> Result<(Ticket, Seen), Verdict> {
    bench.scripted()?;
    let (answer, seen) =
        bench.call(Operation::Create, &incident(), key, Behaviour::Script(When::Empty)).await?;
    match answer {
        Answer::Ticket(ticket) => Ok((ticket, seen)),
        other => Err(fail(format!("create() gives {}{}", other, seen.unscripted()))),
    }
}

async fn create_works(bench: &mut Bench) -> Done {
    created(bench, KEY).await.map(drop)
}

async fn create_flagged(bench: &mut Bench) -> Done {
    let (_, seen) = created(bench, KEY).await?;
    if hides_creation(&seen) {
        return Err(fail(
            "what makes the ticket is a GET, HEAD or OPTIONS, or has the flag TICKET_HTTP_CHANGES_NOTHING: when its answer is \
             lost, the host wouldn't know that a ticket may exist",
        ));
    }
    Ok(())
}

/// Whether a ticket was made by a request that the host takes for one that changes nothing.
fn hides_creation(seen: &Seen) -> bool {
    let flagged = seen
        .exchanges
        .iter()
        .any(|exchange| exchange.role == Role::LookUp && exchange.request.changes_nothing);
    match seen.could_create() {
        true => !seen.creations().any(|creation| creation.request.can_change()),
        false => flagged,
    }
}

/// All that a plugin sent, as one text.
pub(super) fn sent(seen: &Seen) -> String {
    let requests = seen.exchanges.iter().map(|exchange| &exchange.request).map(|request| {
        let headers = request.headers.iter();
        let told = headers.filter(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        let headers: String = told.map(|(name, value)| format!(" {name}: {value}")).collect();
        let body = String::from_utf8_lossy(&request.body);
        format!("{} {}{headers} {body}", request.method, request.url)
    });
    requests.collect::<Vec<_>>().join("\n")
}

async fn key_counts(bench: &mut Bench) -> Done {
    let (first, one) = created(bench, "key-one").await?;
    let (second, two) = created(bench, "key-two").await?;
    if one.exchanges.is_empty() {
        // It makes tickets without HTTP, so that only their URLs can show that they are two.
        return if first.url == second.url {
            Err(fail("tickets of different keys are one"))
        } else {
            Ok(())
        };
    }
    if sent(&one) == sent(&two) {
        return Err(fail("tickets of different keys are the same to the ticket system"));
    }
    let carries = sent(&one).contains("key-one") || sent(&one).contains(&fingerprint("key-one"));
    if carries { Ok(()) } else { Err(warn("neither the key nor its SHA-256 is sent as it is")) }
}

async fn create_again(bench: &mut Bench) -> Done {
    // It stands nowhere else in the incident.
    let key = "vr7q2zx-again";
    let (first, one) = created(bench, key).await?;
    next_second().await;
    let (again, two) = created(bench, key).await?;
    if first.url != again.url {
        return Err(fail(format!("the same answers give {} and then {}", first.url, again.url)));
    }
    if !keeps_key(&carriers(&one, key), &carriers(&two, key)) {
        return Err(fail(
            "the key is sent with something that differs the second time: no search finds both",
        ));
    }
    let last = |seen: &Seen| {
        let creation = seen.creations().next_back().map(|exchange| &exchange.request);
        creation.map(|request| (request.url.clone(), request.body.clone()))
    };
    if last(&one) == last(&two) {
        Ok(())
    } else {
        Err(warn("the same incident and key make another request the second time"))
    }
}

/// Waits until the clock shows another second, which a plugin may send.
async fn next_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into());
    tokio::time::sleep(left + Duration::from_millis(20)).await;
}

/// The texts in what a plugin sent that have the key or its SHA-256 in them.
fn carriers(seen: &Seen, key: &str) -> BTreeSet<String> {
    let print = fingerprint(key);
    let sent = seen.exchanges.iter().filter_map(|exchange| texts(&exchange.request).ok());
    sent.flatten().filter(|text| text.contains(key) || text.contains(&print)).collect()
}

/// Whether the key was sent in the same text both times, if it was sent.
fn keeps_key(one: &BTreeSet<String>, two: &BTreeSet<String>) -> bool {
    one.is_empty() || two.is_empty() || !one.is_disjoint(two)
}

pub(super) async fn find(
    bench: &mut Bench,
    key: &str,
    behaviour: Behaviour,
) -> Result<(Answer, Seen), Verdict> {
    bench.scripted()?;
    let (answer, seen) = bench.call(Operation::Find, &incident(), key, behaviour).await?;
    if matches!(answer, Answer::Unsupported) {
        return Err(skip("it has no find()"));
    }
    Ok((answer, seen))
}

async fn find_none(bench: &mut Bench) -> Done {
    match find(bench, "a key that no ticket has", Behaviour::Script(When::Empty)).await? {
        (Answer::NotFound, _) => Ok(()),
        (other, seen) => Err(fail(format!("find() gives {}{}", other, seen.unscripted()))),
    }
}

async fn find_works(bench: &mut Bench) -> Done {
    // In this order a plugin that remembers what it found is wrong.
    find(bench, KEY, Behaviour::Script(When::Empty)).await?;
    let (made, _) = created(bench, KEY).await?;
    let found = find(bench, KEY, Behaviour::Script(When::Made)).await?;
    is_found(&made, &found)?;
    // Nothing tells how old the ticket may be.
    let mut timeless = incident();
    timeless.as_object_mut().map(|members| members.remove("start_time"));
    let found = bench.call(Operation::Find, &timeless, KEY, Behaviour::Script(When::Made)).await?;
    is_found(&made, &found).map_err(|verdict| verdict.when("without \"not_before\""))
}

/// Whether find() gave the ticket that create() made.
pub(super) fn is_found(made: &Ticket, (answer, seen): &(Answer, Seen)) -> Done {
    match answer {
        Answer::Ticket(found) if found.url == made.url => Ok(()),
        Answer::Ticket(found) => {
            Err(fail(format!("create() replied {}, and find() {}", made.url, found.url)))
        }
        other => Err(fail(format!("find() gives {}{}", other, seen.unscripted()))),
    }
}

async fn find_exact(bench: &mut Bench) -> Done {
    let tells = |rule: &Rule| rule.is_keyed() && rule.holds(When::Other);
    if !bench.settings.http.iter().any(tells) {
        return Err(skip("needs a scripted search whose answer has {{key}} or {{fingerprint}}"));
    }
    for (which, other) in others(KEY) {
        let (answer, seen) = find(bench, KEY, Behaviour::Other(other)).await?;
        if !matches!(answer, Answer::NotFound) {
            return Err(fail(format!(
                "there is only the ticket of another key, {which}, and find() gives {answer}{}",
                seen.unscripted()
            )));
        }
    }
    Ok(())
}

/// Keys that are not `key`, though somewhat like it, with words for each.
fn others(key: &str) -> [(&'static str, String); 4] {
    let swapped = key.chars().map(|c| match c {
        'a'..='z' => c.to_ascii_uppercase(),
        other => other.to_ascii_lowercase(),
    });
    let mut shorter = key.to_owned();
    shorter.pop();
    [
        ("which goes on after this one", format!("{key}, another one")),
        ("which has one digit more", format!("{key}0")),
        ("which differs in upper and lower case", swapped.collect()),
        ("which lacks the last character", shorter),
    ]
}

async fn dry_run(bench: &mut Bench) -> Done {
    if !bench.manifest()?.permissions.is_empty() && !bench.manifest()?.dry_run {
        return Err(skip("it does more than HTTP, and offers no dry run"));
    }
    let behaviour = Behaviour::Always(HttpAnswer::DryRun);
    let time = Duration::from_secs(5);
    let (answer, _) =
        bench.timed(Operation::Create, &incident(), KEY, true, behaviour, time).await?;
    match answer {
        Answer::Error(PluginError { kind: ErrorKind::Client, .. }) => Ok(()),
        Answer::Ticket(Ticket { preview: Some(_), .. }) => Ok(()),
        Answer::Ticket(ticket) => {
            Err(fail(format!("nothing was sent, and create() replied the ticket {}", ticket.url)))
        }
        other => Err(warn(format!("create() gives {}, and no client error", other))),
    }
}

async fn odd_incidents(bench: &mut Bench) -> Done {
    let odd = odd();
    let tried = bench.budget(odd.len(), 4).await;
    for incident in odd.into_iter().take(tried) {
        for operation in [Operation::Find, Operation::Create] {
            let behaviours =
                [Behaviour::Script(When::Empty), Behaviour::Always(answered(500, "{}"))];
            for behaviour in behaviours {
                let called = bench.call(operation, &incident, KEY, behaviour).await;
                let shown: String = incident.to_string().chars().take(100).collect();
                called.map_err(|verdict| verdict.when(&format!("with the incident {shown}")))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::abi::host_side::HttpRequest;

    use super::*;
    use crate::validate::script::Exchange;

    fn seen(exchanges: &[(&str, Role, bool)]) -> Seen {
        let exchanges = exchanges.iter().map(|(method, role, changes_nothing)| {
            let request = HttpRequest {
                method: (*method).to_owned(),
                url: "https://t.example.org/".to_owned(),
                headers: Vec::new(),
                body: Vec::new(),
                changes_nothing: *changes_nothing,
            };
            Exchange { request, role: *role, answer: HttpAnswer::DryRun }
        });
        Seen { exchanges: exchanges.collect(), ..Seen::default() }
    }

    #[test]
    fn the_host_must_see_which_request_makes_a_ticket() {
        for (exchanges, hidden) in [
            (&[][..], false),
            (&[("POST", Role::Create, false)], false),
            (&[("POST", Role::Create, true)], true),
            (&[("GET", Role::Create, false)], true),
            (&[("POST", Role::LookUp, true)], true),
            (&[("POST", Role::Login, true), ("POST", Role::Create, false)], false),
            (&[("GET", Role::LookUp, false)], false),
        ] {
            assert_eq!(hides_creation(&seen(exchanges)), hidden, "{exchanges:?}");
        }
    }

    #[test]
    fn a_key_is_sent_in_the_same_text_each_time() {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        for (one, two, kept) in [
            (&["k"][..], &["k"][..], true),
            (&["k", "k at 7:00"], &["k", "k at 7:01"], true),
            (&["k-1"], &["k-2"], false),
            (&[], &[], true),
        ] {
            assert_eq!(keeps_key(&set(one), &set(two)), kept, "{one:?} {two:?}");
        }
    }
}
