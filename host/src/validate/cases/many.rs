//! Whether find_many() finds the tickets of many keys, and says "none" only where a whole search says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::message::{FindMany, FoundMany};

use super::answered;
use super::calls::find;
use super::searches::{empty_answers, unclear};
use crate::validate::answer::{Answer, Said};
use crate::validate::bench::{Ask, Bench};
use crate::validate::script::{Behaviour, FIRST, Role, Rule, Seen, When};
use crate::validate::{Done, Verdict, fail, skip, warn};

cases! {
    "find-many" find_many_works "find_many() gives each key's own ticket, byte for byte, and \"none\" of those that have none";
    "find-many-paged" find_many_paged "find_many() finds a ticket on the second page, and says \"none\" of no key before it saw all pages";
    "find-many-unclear" find_many_unclear "find_many() says \"none\" of no key when the search fails, or its answer isn't the ticket system's";
    "find-many-shared" find_many_shared "find_many() asks for many keys with fewer requests than there are keys";
}

/// The key of most calls, and such as could be taken for it.
const KEY: &str = "https://argus.example.org/incidents/17?x=æ&b #c";
const LONGER: &str = "https://argus.example.org/incidents/17?x=æ&b #c0";
const SHORTER: &str = "https://argus.example.org/incidents/17?x=æ&b #";
const UPPER: &str = "https://argus.example.org/incidents/17?X=æ&b #c";
const OTHER: &str = "https://argus.example.org/incidents/4";
/// How often a search may go on.
const MOST: usize = 50;

/// Whether there is a search to be tried.
fn ready(bench: &Bench) -> Done {
    bench.offers("find_many")?;
    bench.scripted()?;
    let search = |rule: &Rule| rule.is_keyed() && rule.role() == Role::Search;
    if bench.settings.http.iter().any(search) {
        return Ok(());
    }
    Err(skip("needs a scripted search whose answer has {{key}}, {{fingerprint}} or {{tickets}}"))
}

/// What is asked for a search of these keys.
fn request(keys: &[&str], cursor: Option<&str>) -> Value {
    let keys = keys.iter().map(|key| {
        json!({"key": key, "not_before": "2026-11-23T07:00:00Z", "not_after": "2026-11-23T09:00:00Z"})
    });
    let mut request = json!({"keys": keys.collect::<Vec<_>>(), "later": 1});
    if let Some(cursor) = cursor {
        request["cursor"] = cursor.into();
    }
    request
}

/// One call.
async fn ask(
    bench: &mut Bench,
    request: Value,
    tickets: Option<&[(&str, u32)]>,
    behaviour: Behaviour,
    time: Option<Duration>,
) -> Result<(Said<FoundMany>, Seen), Verdict> {
    let asked: FindMany =
        serde_json::from_value(request.clone()).expect("a request to find_many() is one");
    let key = asked.keys.first().map_or("", |wanted| wanted.key.as_str()).to_owned();
    if asked.cursor.is_none() {
        // Each search meets another ticket system, in which a listing that an instance keeps would be wrong.
        bench.close();
    }
    let operation = Operation::FindMany;
    let ask = Ask { operation, request, key: &key, tickets, behaviour, time };
    let (said, seen) = bench.ask::<FoundMany>(ask).await?;
    if let Some(request) = seen.unknown.first() {
        return Err(skip(format!("needs a scripted listing: there is nothing for {request}")));
    }
    if let Said::Reply(found) = &said {
        found.answers(&asked).map_err(|why| fail(format!("find_many(): its reply {why}")))?;
    }
    Ok((said, seen))
}

/// What a whole search came to.
#[derive(Debug, Default)]
struct Search {
    /// The URLs, by the keys.
    found: BTreeMap<String, String>,
    none: BTreeSet<String>,
}

/// Searches to the end, and goes on wherever a cursor says so.
async fn search(
    bench: &mut Bench,
    keys: &[&str],
    tickets: Option<&[(&str, u32)]>,
    when: When,
    cursor: Option<String>,
) -> Result<Search, Verdict> {
    let mut search = Search::default();
    let mut cursor = cursor;
    for _ in 0..MOST {
        let told = |key: &&str| search.found.contains_key(*key) || search.none.contains(*key);
        let left: Vec<&str> = keys.iter().copied().filter(|key| !told(key)).collect();
        let request = request(&left, cursor.as_deref());
        let (said, seen) = ask(bench, request, tickets, Behaviour::Script(when), None).await?;
        let found = match said {
            Said::Reply(found) => found,
            Said::Unsupported => return Err(skip("it has no find_many()")),
            other => return Err(fail(format!("find_many() gives {other}{}", seen.unscripted()))),
        };
        search.found.extend(found.found.into_iter().map(|found| (found.key, found.ticket.url)));
        search.none.extend(found.none);
        cursor = found.cursor;
        if cursor.is_none() || search.found.len() + search.none.len() == keys.len() {
            return Ok(search);
        }
    }
    Err(fail(format!("find_many() gives another cursor {MOST} times, and its search has no end")))
}

/// Whether the search told of these keys these tickets, and "none" of the others.
fn is_found(search: &Search, keys: &[&str], tickets: &[&str]) -> Done {
    for key in keys {
        let there = tickets.contains(key);
        match (search.found.get(*key), search.none.contains(*key)) {
            (Some(_), _) if there => {}
            (None, true) if !there => {}
            (Some(url), _) => {
                return Err(fail(format!(
                    "the key {key:?} has no ticket, and find_many() gives {url}"
                )));
            }
            (None, none) => {
                let says = if none { "says \"none\"" } else { "tells nothing of it" };
                let has = if there { "has a ticket" } else { "has no ticket" };
                return Err(fail(format!("the key {key:?} {has}, and find_many() {says}")));
            }
        }
    }
    Ok(())
}

async fn find_many_works(bench: &mut Bench) -> Done {
    ready(bench)?;
    let empty = search(bench, &[KEY], None, When::Empty, None).await?;
    is_found(&empty, &[KEY], &[]).map_err(|verdict| verdict.when("in an empty ticket system"))?;
    let made = search(bench, &[KEY], None, When::Made, None).await?;
    is_found(&made, &[KEY], &[KEY])?;
    if bench.offers("find").is_ok() {
        let (answer, _) = find(bench, KEY, Behaviour::Script(When::Made)).await?;
        let its = &made.found[KEY];
        if let Answer::Ticket(ticket) = answer
            && ticket.url != *its
        {
            return Err(fail(format!("find() gives {}, and find_many() {its}", ticket.url)));
        }
    }
    let listed = |rule: &Rule| rule.body.contains("{{tickets}}");
    if !bench.settings.http.iter().any(listed) {
        return Ok(());
    }
    let keys = [KEY, LONGER, OTHER];
    let (second, third, fourth) = (FIRST + 1, FIRST + 2, FIRST + 3);
    let one = [(UPPER, fourth), (SHORTER, third), (OTHER, second), (LONGER, FIRST)];
    let one = search(bench, &keys, Some(&one), When::Made, None).await?;
    is_found(&one, &keys, &[LONGER, OTHER])?;
    let two = [(OTHER, FIRST), (SHORTER, third), (LONGER, second), (UPPER, fourth)];
    let two = search(bench, &keys, Some(&two), When::Made, None).await?;
    is_found(&two, &keys, &[LONGER, OTHER])?;
    let swapped = one.found[LONGER] == two.found[OTHER] && one.found[OTHER] == two.found[LONGER];
    if swapped { Ok(()) } else { Err(fail("find_many() gives a key another key's ticket")) }
}

async fn find_many_paged(bench: &mut Bench) -> Done {
    ready(bench)?;
    if !bench.settings.http.iter().any(|rule| rule.when == Some(When::Paged)) {
        return Err(skip("needs a scripted search with when = \"paged\""));
    }
    let made = search(bench, &[KEY], None, When::Made, None).await?;
    let paged = search(bench, &[KEY], None, When::Paged, None).await?;
    let second = |verdict: Verdict| verdict.when("the ticket is on the second page");
    is_found(&paged, &[KEY], &[KEY]).map_err(second)?;
    if paged.found != made.found {
        return Err(fail("the ticket on the second page is another one than where it is alone"));
    }
    for (when, answer) in failures() {
        let cut = Behaviour::AfterSearch(When::Paged, answer.clone());
        let (said, _) = ask(bench, request(&[KEY], None), None, cut, None).await?;
        no_none(&said).map_err(|verdict| verdict.when(&format!("the second page {when}")))?;
        let Said::Reply(FoundMany { cursor: Some(cursor), .. }) = said else { continue };
        let failed = Behaviour::Roles(When::Paged, &Role::READS, answer);
        let (said, _) = ask(bench, request(&[KEY], Some(&cursor)), None, failed, None).await?;
        no_none(&said).map_err(|verdict| verdict.when(&format!("the second page {when}")))?;
        let cursor = match said {
            Said::Reply(FoundMany { cursor: Some(cursor), .. }) => cursor,
            _ => cursor,
        };
        let rest = search(bench, &[KEY], None, When::Paged, Some(cursor)).await?;
        is_found(&rest, &[KEY], &[KEY])
            .map_err(|verdict| verdict.when("a page failed, and the search goes on"))?;
    }
    Ok(())
}

/// Ways in which a search fails, with words for each.
fn failures() -> Vec<(String, HttpAnswer)> {
    let why = || "the validator".to_owned();
    let mut failures = vec![
        ("is UNKNOWN".to_owned(), HttpAnswer::Unknown(why())),
        ("is NOT_SENT".to_owned(), HttpAnswer::NotSent(why())),
    ];
    failures.extend([401, 403, 429, 500, 503].map(|code| {
        (format!("is answered {code}"), answered(code, r#"{"message": "the validator"}"#))
    }));
    failures.push(("is answered 200 and HTML".to_owned(), answered(200, "<html>Log in</html>")));
    failures
}

fn no_none(said: &Said<FoundMany>) -> Done {
    match said {
        Said::Reply(found) if !found.none.is_empty() => Err(fail(
            "find_many() says \"none\", and who takes that for true makes a second ticket",
        )),
        Said::NotFound => Err(fail("find_many() returned NOT_FOUND")),
        _ => Ok(()),
    }
}

async fn find_many_unclear(bench: &mut Bench) -> Done {
    ready(bench)?;
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let empty = empty_answers(&bench.settings.http);
    let empty: Vec<String> = empty.iter().map(|body| body.replace("{{tickets}}", "")).collect();
    let says_none = |body: &str| {
        empty.iter().any(|none| {
            none.trim() == body.trim() || (json(none).is_some() && json(none) == json(body))
        })
    };
    let mut answers = failures();
    let bodies = unclear().into_iter().filter(|(_, body)| !says_none(body));
    answers.extend(
        bodies.map(|(name, body)| (format!("is answered 200 and {name}"), answered(200, body))),
    );
    for (when, answer) in answers {
        let behaviour = Behaviour::Roles(When::Empty, &Role::READS, answer);
        let (said, seen) = ask(bench, request(&[KEY, OTHER], None), None, behaviour, None).await?;
        if !seen.exchanges.is_empty() {
            no_none(&said).map_err(|verdict| verdict.when(&format!("when a request {when}")))?;
        }
    }
    let time = Some(Duration::from_secs(1));
    let (said, seen) = ask(bench, request(&[KEY], None), None, Behaviour::Slow, time).await?;
    if seen.exchanges.is_empty() {
        return Ok(());
    }
    no_none(&said).map_err(|verdict| verdict.when("when the time is over"))
}

async fn find_many_shared(bench: &mut Bench) -> Done {
    ready(bench)?;
    let keys: Vec<String> =
        (0..50).map(|n| format!("https://argus.example.org/incidents/{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let behaviour = Behaviour::Script(When::Empty);
    let (_, seen) = ask(bench, request(&keys, None), Some(&[]), behaviour, None).await?;
    let asked = seen.exchanges.iter().filter(|exchange| exchange.role != Role::Login).count();
    if asked < keys.len() {
        return Ok(());
    }
    Err(warn(format!(
        "find_many() sends {asked} requests for {} keys: find() does that, too",
        keys.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_told_its_ticket_or_none() {
        for (found, none, tickets, right) in [
            (&["a"][..], &["b"][..], &["a"][..], true),
            (&["a", "b"], &[], &["a"], false),
            (&["a"], &[], &["a"], false),
            (&[], &["a", "b"], &["a"], false),
        ] {
            let search = Search {
                found: found.iter().map(|key| ((*key).to_owned(), "u:1".to_owned())).collect(),
                none: none.iter().map(|key| (*key).to_owned()).collect(),
            };
            assert_eq!(is_found(&search, &["a", "b"], tickets).is_ok(), right, "{search:?}");
        }
    }
}
