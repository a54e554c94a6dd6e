//! What check(), create() and find() do with a ticket system that works.

use std::time::Duration;

use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::http::is_safe;
use ticket_plugin_api::message::fingerprint;
use ticket_plugin_api::{Error as PluginError, ErrorKind, Ticket};

use super::answered;
use crate::validate::bench::{Answer, Bench, KEY};
use crate::validate::incidents::{incident, odd};
use crate::validate::script::{Behaviour, Rule, Seen, When};
use crate::validate::{Done, Verdict, fail, skip, warn};

cases! {
    "find-offered" find_offered "offers find(): without it nobody knows whether a lost answer left a ticket";
    "check" check_works "check() tells the state of a working ticket system, line by line";
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
    if seen.could_create() {
        return Err(fail("check() sends what can create something"));
    }
    let Answer::Checks(checks) = answer else {
        return Err(fail(format!("check() gives {}{}", answer, seen.unscripted())));
    };
    if let Some(failed) = checks.checks.iter().find(|check| !check.ok) {
        let lack = seen.unscripted();
        return Err(fail(format!("check() fails at {}: {}{lack}", failed.name, failed.message)));
    }
    if checks.checks.is_empty() { Err(warn("check() checks nothing")) } else { Ok(()) }
}

async fn created(bench: &mut Bench, key: &str) -> Result<(Ticket, Seen), Verdict> {
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
fn sent(seen: &Seen) -> String {
    let requests = seen.requests.iter().map(|request| {
        format!("{} {} {}", request.method, request.url, String::from_utf8_lossy(&request.body))
    });
    requests.collect::<Vec<_>>().join("\n")
}

async fn key_counts(bench: &mut Bench) -> Done {
    let (first, one) = created(bench, "key-one").await?;
    let (second, two) = created(bench, "key-two").await?;
    if one.requests.is_empty() {
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
        let creating = seen.requests.iter().rev().find(|request| !is_safe(&request.method));
        creating.map(|request| (request.url.clone(), request.body.clone()))
    };
    if last(&one) == last(&two) {
        Ok(())
    } else {
        Err(warn("the same incident and key make another request the second time"))
    }
}

async fn find(bench: &mut Bench, key: &str, when: When) -> Result<(Answer, Seen), Verdict> {
    bench.scripted()?;
    let (answer, seen) =
        bench.call(Operation::Find, &incident(), key, Behaviour::Script(when)).await?;
    if matches!(answer, Answer::Unsupported) {
        return Err(skip("it has no find()"));
    }
    if seen.could_create() && seen.requests.iter().any(|request| request.method != "POST") {
        return Err(fail("find() sends what can change something"));
    }
    Ok((answer, seen))
}

async fn find_none(bench: &mut Bench) -> Done {
    match find(bench, "a key that no ticket has", When::Empty).await? {
        (Answer::NotFound, _) => Ok(()),
        (other, seen) => Err(fail(format!("find() gives {}{}", other, seen.unscripted()))),
    }
}

async fn find_works(bench: &mut Bench) -> Done {
    let (made, _) = created(bench, KEY).await?;
    match find(bench, KEY, When::Made).await? {
        (Answer::Ticket(found), _) if found.url == made.url => Ok(()),
        (Answer::Ticket(found), _) => {
            Err(fail(format!("create() replied {}, and find() {}", made.url, found.url)))
        }
        (other, seen) => Err(fail(format!("find() gives {}{}", other, seen.unscripted()))),
    }
}

async fn find_exact(bench: &mut Bench) -> Done {
    let tells = |rule: &Rule| {
        let keyed = rule.body.contains("{{key}}") || rule.body.contains("{{fingerprint}}");
        keyed && rule.when.is_none_or(|when| when == When::Other)
    };
    if !bench.settings.http.iter().any(tells) {
        return Err(skip("needs a scripted search whose answer has {{key}} or {{fingerprint}}"));
    }
    match find(bench, KEY, When::Other).await? {
        (Answer::NotFound, _) => Ok(()),
        (other, seen) => Err(fail(format!(
            "there is a ticket of another key only, and find() gives {}{}",
            other,
            seen.unscripted()
        ))),
    }
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
    for incident in odd() {
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
