//! Whether find() finds what is there, and says "none" only where the ticket system says so.

use std::time::Duration;

use serde_json::Value;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};

use super::answered;
use super::answers::Answered;
use super::calls::{created, find, is_found};
use super::retries::failures;
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{
    Behaviour, Exchange, Role, Rule, Seen, When, among_others, without_list,
};
use crate::validate::source::names;
use crate::validate::{Done, fail, skip};

cases! {
    "find-lost" find_lost "find() gives the ticket whose creation had no answer";
    "find-paged" find_paged "find() gives a ticket that is on the second page of a search";
    "page-fails" page_fails "find() doesn't say NOT_FOUND if a search's second page fails, or there is no time left for it";
    "search-unclear" search_unclear "find() doesn't say NOT_FOUND of an answer that isn't the ticket system's, such as a login page, or has no list";
    "find-among" find_among "find() gives its key's ticket where a search gives other keys' tickets, too";
}

async fn find_lost(bench: &mut Bench) -> Done {
    let (made, _) = created(bench, KEY).await?;
    let lost = Behaviour::Creations(HttpAnswer::Unknown("the validator".to_owned()));
    let (answer, seen) = bench.call(Operation::Create, &incident(), KEY, lost).await?;
    if !seen.could_create() {
        return Err(skip("create() sends no request that creates"));
    }
    let found = find(bench, KEY, Behaviour::Script(When::Made)).await?;
    is_found(&made, &found)
        .map_err(|verdict| verdict.when(&format!("the answer was lost, create() gave {answer}")))
}

async fn find_paged(bench: &mut Bench) -> Done {
    if !bench.settings.http.iter().any(|rule| rule.when == Some(When::Paged)) {
        return Err(skip("needs a scripted search with when = \"paged\""));
    }
    let (made, _) = created(bench, KEY).await?;
    let found = find(bench, KEY, Behaviour::Script(When::Paged)).await?;
    is_found(&made, &found)
}

async fn page_fails(bench: &mut Bench) -> Done {
    if !bench.settings.http.iter().any(|rule| rule.when == Some(When::Paged)) {
        return Err(skip("needs a scripted search with when = \"paged\""));
    }
    for (when, answer) in failures() {
        let (answer, seen) = find(bench, KEY, Behaviour::NextPages(answer)).await?;
        if searches(&seen).count() > 1 && matches!(answer, Answer::NotFound) {
            return Err(fail(format!(
                "find() says NOT_FOUND when the request for a second page {when}: the ticket may be there"
            )));
        }
    }
    let time = (bench.pace().await * 4).max(Duration::from_millis(200));
    let late = Behaviour::LatePage;
    let (answer, _) = bench.timed(Operation::Find, &incident(), KEY, false, late, time).await?;
    match answer {
        Answer::NotFound => Err(fail(
            "find() says NOT_FOUND when there is no time left for the second page: the ticket may be there",
        )),
        _ => Ok(()),
    }
}

fn searches(seen: &Seen) -> impl DoubleEndedIterator<Item = &Exchange> {
    seen.exchanges.iter().filter(|exchange| exchange.role == Role::Search)
}

async fn search_unclear(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let searches = empty_answers(&bench.settings.http);
    for (name, body) in unclear() {
        let roles = [
            (Role::Search, Behaviour::Searches as fn(HttpAnswer) -> Behaviour),
            (Role::ReadBack, Behaviour::ReadBacks),
        ];
        for (role, behaviour) in roles {
            let answer = answered(200, body);
            let (answer, seen) = find(bench, KEY, behaviour(answer)).await?;
            if takes_for_none(role, body, &searches, &answer, &seen) {
                return Err(fail(format!(
                    "find() says NOT_FOUND when a {} is answered 200 and {name}: that is not \"certainly none\"",
                    if role == Role::Search { "search" } else { "request for a ticket" }
                )));
            }
        }
    }
    listless(bench).await
}

/// Whether a search is taken for one without a hit though the list is missing in which a hit would be.
async fn listless(bench: &mut Bench) -> Done {
    let (_, empty) = find(bench, KEY, Behaviour::Script(When::Empty)).await?;
    let (_, made) = find(bench, KEY, Behaviour::Script(When::Made)).await?;
    let (Some(empty), Some(made)) = (last_found(&empty), last_found(&made)) else { return Ok(()) };
    for (what, body) in without_list(&empty.json, &made.json) {
        let (answer, _) = find(bench, KEY, Behaviour::Searches(empty.with(&body))).await?;
        if matches!(answer, Answer::NotFound) {
            return Err(fail(format!(
                "find() says NOT_FOUND of a search's answer with {what}: that is not \"certainly none\""
            )));
        }
    }
    Ok(())
}

/// The last search that was answered with JSON.
fn last_found(seen: &Seen) -> Option<Answered> {
    searches(seen).rev().find_map(|search| Answered::of(&search.answer))
}

async fn find_among(bench: &mut Bench) -> Done {
    let (made, _) = created(bench, KEY).await?;
    let (answer, seen) = find(bench, KEY, Behaviour::Script(When::Made)).await?;
    is_found(&made, &(answer, Seen::default()))?;
    let variants = last_found(&seen).map(|found| {
        let names = names(&made.url);
        let all = names.iter().map(|name| among_others(&found.json, KEY, name));
        let variants = all.into_iter().find(|variants| !variants.is_empty());
        (found, variants.unwrap_or_default())
    });
    let Some((found, variants)) = variants.filter(|(_, variants)| !variants.is_empty()) else {
        return Err(skip(
            "needs a scripted search whose answer has a list of tickets with {{key}} or {{fingerprint}}",
        ));
    };
    for (what, body) in variants {
        let answer = find(bench, KEY, Behaviour::Found(found.with(&body))).await?;
        is_found(&made, &answer)
            .map_err(|verdict| verdict.when(&format!("where a search gives {what}")))?;
    }
    Ok(())
}

/// What no ticket system answers to a search that went well, unless its script says so.
pub(super) fn unclear() -> [(&'static str, &'static str); 7] {
    [
        ("HTML", "<!DOCTYPE html><html><body><h1>Log in</h1></body></html>"),
        ("{}", "{}"),
        ("null", "null"),
        ("[]", "[]"),
        ("a text", "\"text\""),
        ("a number", "17"),
        ("nothing", ""),
    ]
}

/// The rules by which the script's searches say that there is no ticket.
pub(super) fn empty_searches(rules: &[Rule]) -> impl Iterator<Item = &Rule> {
    rules.iter().filter(|rule| rule.role() == Role::Search && rule.holds(When::Empty))
}

/// The bodies by which the script's searches say that there is no ticket.
pub(super) fn empty_answers(rules: &[Rule]) -> Vec<String> {
    empty_searches(rules).map(|rule| rule.body.clone()).collect()
}

/// Whether a search that is answered so may say that there is no ticket, by the script.
pub(super) fn says_none(rules: &[Rule], answer: &HttpAnswer) -> bool {
    let HttpAnswer::Answered { status, body, .. } = answer else { return false };
    let body = String::from_utf8_lossy(body);
    let mut none = empty_searches(rules).filter(|rule| rule.status == *status);
    none.any(|rule| *status >= 300 || is_same(&rule.body, &body))
}

/// Whether two bodies are the same, or the same JSON.
fn is_same(one: &str, other: &str) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    one.trim() == other.trim() || (json(one).is_some() && json(one) == json(other))
}

/// Whether NOT_FOUND was said of a body that doesn't say that there is no ticket.
fn takes_for_none(role: Role, body: &str, empty: &[String], answer: &Answer, seen: &Seen) -> bool {
    let asked = seen.exchanges.iter().any(|exchange| exchange.role == role);
    matches!(answer, Answer::NotFound) && asked && !empty.iter().any(|empty| is_same(empty, body))
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_search_may_say_none_only_as_the_scripts_do() {
        let rules = |rule: &str| -> Vec<Rule> {
            vec![
                toml::from_str(&format!("method = 'GET'\npath = '/'\nwhen = 'empty'\n{rule}"))
                    .unwrap(),
            ]
        };
        for (rule, status, body, none) in [
            ("status = 404", 404, "{}", true),
            ("status = 404", 500, "{}", false),
            ("body = '[]'", 200, "[ ]", true),
            ("body = '[]'", 200, "{}", false),
            ("", 404, "{}", false),
        ] {
            assert_eq!(says_none(&rules(rule), &answered(status, body)), none, "{rule} {status}");
        }
    }

    #[test]
    fn only_the_scripts_own_words_for_none_mean_none() {
        let exchange = Exchange::posted(Role::Search, "", "", HttpAnswer::DryRun);
        let seen = Seen { exchanges: vec![exchange], ..Seen::default() };
        for (body, empty, wrong) in [
            ("{}", "[]", true),
            ("[]", "[ ]", false),
            ("<html>", r#"{"items": []}"#, true),
            ("{}", r#"{"items": []}"#, true),
            ("{}", " {} ", false),
            ("", "", false),
            ("null", "", true),
        ] {
            let empty = [empty.to_owned()];
            for role in [Role::Search, Role::ReadBack] {
                let judged = takes_for_none(role, body, &empty, &Answer::NotFound, &seen);
                assert_eq!(judged, wrong && role == Role::Search, "{body} {empty:?} {role:?}");
            }
            assert!(!takes_for_none(Role::Search, body, &empty, &Answer::Unsupported, &seen));
        }
    }
}
