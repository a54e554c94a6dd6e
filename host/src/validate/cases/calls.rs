//! What check(), create() and find() do with a ticket system that works.

use std::time::Duration;

use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::message::fingerprint;
use ticket_plugin_api::{Error as PluginError, ErrorKind, Ticket};

use super::answered;
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::{incident, odd};
use crate::validate::script::{Behaviour, Role, Rule, Seen, When};
use crate::validate::{Done, Verdict, fail, skip, warn};

cases! {
    "find-offered" find_offered "offers find(): without it nobody knows whether a lost answer left a ticket";
    "check" check_works "check() tells the state of a working ticket system, line by line";
    "check-fails" check_fails "check() tells that something is wrong where the ticket system refuses every request, or isn't there";
    "create" create_works "create() makes a ticket in a working ticket system, and replies its URL";
    "key" key_counts "puts the key where find() finds it: other keys make other tickets";
    "create-again" create_again "sends the same request for the same key, so that a retry makes no other ticket";
    "find-none" find_none "find() says NOT_FOUND in an empty ticket system";
    "find" find_works "find() gives the ticket of its key";
    "find-exact" find_exact "find() doesn't take another key's ticket for its own, even if a search gives it";
    "dry-run" dry_run "makes nothing in a dry run";
    "incidents" odd_incidents "survives incidents that are empty, huge, deep, of other types, in any script";
}

async fn find_offered(bench: &mut Bench) -> Done {
    let behaviour = Behaviour::Always(answered(503, "{}"));
    match bench.call(Operation::Find, &incident(), KEY, behaviour).await?.0 {
        Answer::Unsupported => Err(warn("it has no find(): operators are warned with each ticket")),
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
    Ok(())
}

/// Whether check() is content though it asked for more than a login.
fn says_well(answer: &Answer, seen: &Seen) -> bool {
    let asked = seen.exchanges.iter().any(|exchange| exchange.role != Role::Login);
    let content =
        matches!(answer, Answer::Checks(checks) if checks.checks.iter().all(|check| check.ok));
    asked && content
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

/// All that a plugin sent, as one text.
pub(super) fn sent(seen: &Seen) -> String {
    let requests = seen.exchanges.iter().map(|exchange| &exchange.request).map(|request| {
        format!("{} {} {}", request.method, request.url, String::from_utf8_lossy(&request.body))
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
    let (first, one) = created(bench, KEY).await?;
    let (again, two) = created(bench, KEY).await?;
    if first.url != again.url {
        return Err(fail(format!("the same answers give {} and then {}", first.url, again.url)));
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
    let (made, _) = created(bench, KEY).await?;
    let found = find(bench, KEY, Behaviour::Script(When::Made)).await?;
    is_found(&made, &found)
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
