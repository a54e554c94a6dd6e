//! Requests to the functions that a plugin may be without, as no good host sends them.

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::Operation;

use super::answered;
use crate::validate::Done;
use crate::validate::bench::{Ask, Bench, KEY, STEP};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, When};
use crate::validate::skip;

cases! {
    "odd-requests" odd_requests "survives requests for many tickets, and such that are empty or lack members, in all that it offers beside find()";
}

async fn odd_requests(bench: &mut Bench) -> Done {
    bench.manifest()?;
    let mut tried = false;
    for operation in [Operation::FindMany, Operation::Update, Operation::State, Operation::Changes]
    {
        if bench.offers(operation.name()).is_err() {
            continue;
        }
        tried = true;
        for request in odd(operation) {
            for behaviour in [Behaviour::Script(When::Made), Behaviour::Always(answered(500, "{}"))]
            {
                let shown: String = request.to_string().chars().take(100).collect();
                let request = request.clone();
                let ask =
                    Ask { operation, request, key: KEY, tickets: None, behaviour, time: None };
                let when = format!("of the request {shown}");
                bench.ask::<Value>(ask).await.map_err(|verdict| verdict.when(&when))?;
            }
        }
    }
    if tried { Ok(()) } else { Err(skip("it offers none of these")) }
}

/// Requests that are odd for this function.
fn odd(operation: Operation) -> Vec<Value> {
    match operation {
        Operation::FindMany => find_many(),
        Operation::Update => update(),
        Operation::State => state(),
        _ => changes(),
    }
}

fn find_many() -> Vec<Value> {
    let keys = |count: usize, length: usize| -> Vec<Value> {
        (0..count).map(|n| json!({"key": format!("{n:0>length$}"), "later": {}})).collect()
    };
    vec![
        json!({}),
        json!({"keys": []}),
        json!({"keys": [{"key": ""}]}),
        json!({"keys": [{"key": "a\"b\\c æ 🦀", "not_before": "yesterday", "not_after": ""}]}),
        json!({"keys": keys(200, 600)}),
        json!({"keys": keys(128, 1000), "cursor": "c".repeat(4096)}),
        json!({"keys": keys(1, 40), "cursor": "a\"b\\c æ 🦀\n"}),
        json!({"keys": keys(1, 40), "cursor": ""}),
    ]
}

fn update() -> Vec<Value> {
    let ticket = || json!({"url": "https://desk.example.org/tickets/4711", "id": "4711"});
    let step = |action: &str| json!({"id": STEP, "action": action});
    vec![
        json!({"ticket": ticket(), "incident": {}, "step": step("")}),
        json!({"ticket": ticket(), "incident": incident(), "step": step("comment"), "again": true}),
        json!({"ticket": {"url": "not a url"}, "incident": incident(), "step": step("close")}),
        json!({"ticket": {"url": "https://elsewhere.example.org/"}, "incident": {}, "step": step("reopen")}),
        json!({"ticket": {"url": format!("https://desk.example.org/{}", "x".repeat(4000)), "id": "x".repeat(256)},
               "incident": {"description": "x".repeat(200_000)}, "step": step("comment")}),
        json!({"ticket": ticket(), "incident": incident(), "key": "k".repeat(1000),
               "step": {"id": STEP, "action": "close", "diff": {"a\"b": {"from": null, "to": [[{}]]}, "c": {}},
                        "fields": {"æ\"": {"b": [null, "x\\"]}}}}),
    ]
}

fn state() -> Vec<Value> {
    let tickets = |length: usize| -> Vec<Value> {
        let url = |n| format!("https://desk.example.org/tickets/{n:0>length$}");
        (0..100).map(|n| json!({"url": url(n), "id": n.to_string(), "later": []})).collect()
    };
    vec![
        json!({"tickets": []}),
        json!({"tickets": [{"url": "not a url"}]}),
        json!({"tickets": [{"url": "https://elsewhere.example.org/"}]}),
        json!({"tickets": [{"url": "https://desk.example.org/a\"b\\c/æ 🦀", "id": "\"\\", "key": "\""}]}),
        json!({"tickets": tickets(4)}),
        json!({"tickets": tickets(2000)}),
    ]
}

fn changes() -> Vec<Value> {
    vec![
        json!({"cursor": ""}),
        json!({"cursor": "a\"b\\c æ 🦀\n"}),
        json!({"cursor": "c".repeat(4096)}),
        json!({"later": {"cursor": "x"}}),
    ]
}
