//! Whether find() finds what is there, and says "none" only where the ticket system says so.

use serde_json::Value;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};

use super::answered;
use super::calls::{created, find, is_found};
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, Role, Rule, Seen, When};
use crate::validate::{Done, fail, skip};

cases! {
    "find-lost" find_lost "find() gives the ticket whose creation had no answer";
    "find-paged" find_paged "find() gives a ticket that is on the second page of a search";
    "search-unclear" search_unclear "find() doesn't say NOT_FOUND of an answer that isn't the ticket system's, such as a login page";
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

/// The bodies by which the script's searches say that there is no ticket.
pub(super) fn empty_answers(rules: &[Rule]) -> Vec<String> {
    let searches =
        rules.iter().filter(|rule| rule.role() == Role::Search && rule.holds(When::Empty));
    searches.map(|rule| rule.body.clone()).collect()
}

/// Whether NOT_FOUND was said of a body that doesn't say that there is no ticket.
fn takes_for_none(role: Role, body: &str, empty: &[String], answer: &Answer, seen: &Seen) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let same = |empty: &String| {
        empty.trim() == body.trim() || (json(body).is_some() && json(body) == json(empty))
    };
    let asked = seen.exchanges.iter().any(|exchange| exchange.role == role);
    matches!(answer, Answer::NotFound) && asked && !empty.iter().any(same)
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::abi::host_side::HttpRequest;

    use super::*;
    use crate::validate::script::Exchange;

    #[test]
    fn only_the_scripts_own_words_for_none_mean_none() {
        let request = HttpRequest {
            method: "GET".to_owned(),
            url: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
            changes_nothing: false,
        };
        let exchange = Exchange { request, role: Role::Search, answer: HttpAnswer::DryRun };
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
