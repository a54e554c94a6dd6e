//! What a plugin makes of answers and incidents at the ends of what there can be: it may refuse them, and goes on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_plugin_api::abi::MAX_HEADERS;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};

use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::{incident, long_texts};
use crate::validate::mutations::{Change, Good, answering, asking, cuts, extremes, in_turn};
use crate::validate::script::{Behaviour, When};
use crate::validate::{Done, Grade};

cases! {
    "answers-cut" answers_cut "survives answers that break off anywhere: within a text, behind a backslash, in a number";
    "answers-extreme" answers_extreme "survives answers whose numbers, texts, lists, headers and sizes are what no good server gives";
    "texts-extreme" texts_extreme "survives keys and texts of an incident that are of any length and of any signs";
}

/// How a good answer is given in another way.
enum Odd {
    Changed(Change),
    /// The answer of this number in [`large`].
    Large(usize),
}

/// How long a case gives answers at most.
const LONGEST: Duration = Duration::from_secs(5);

/// Gives the plugin these answers, as many as there is time for, each in the calls that are about its role.
async fn survives(bench: &mut Bench, good: &[Good], odd: Vec<(usize, Odd)>) -> Done {
    /// A quick plugin has time for all of a usual script's.
    const MOST: usize = 2500;
    /// Requests that only a search through pages without end makes in a call.
    const MANY: usize = 20;
    let all = odd.len().min(MOST);
    let tried = bench.budget(all, 1).await;
    let until = Instant::now() + LONGEST;
    for (count, (number, odd)) in odd.into_iter().take(tried).enumerate() {
        // Large answers take longer than others, and a search through pages without end takes all of a call's time.
        if Instant::now() > until {
            bench.note = Some(format!("{count} of {all} values were tried in {LONGEST:?}"));
            break;
        }
        let good = &good[number];
        let (what, answer) = match odd {
            Odd::Changed(change) => (change.what(&good.body), good.with(change.of(&good.body))),
            Odd::Large(number) => large(good, number),
        };
        for operation in asking(good.role) {
            let behaviour = answering(good.role, answer.clone());
            let called = bench.survives(*operation, &incident(), behaviour).await;
            let Err(verdict) = called else { continue };
            // What it says of such an answer may make as little sense; and who is given the same page again and again may ask
            // until it is stopped.
            if verdict.grade == Grade::Crash && bench.last.exchanges.len() < MANY {
                let when = format!("{}() with an answer {what}", operation.name());
                return Err(verdict.when(&when));
            }
        }
    }
    Ok(())
}

/// What `changes` makes of each answer's body, one answer after the other.
fn changed(good: &[Good], changes: fn(&[u8]) -> Vec<Change>) -> Vec<Vec<(usize, Odd)>> {
    let numbered = good.iter().enumerate();
    let changed = numbered.map(|(number, good)| {
        let changes = changes(&good.body).into_iter();
        changes.map(|change| (number, Odd::Changed(change))).collect()
    });
    changed.collect()
}

async fn answers_cut(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let good = Good::all(&bench.settings.http);
    survives(bench, &good, in_turn(changed(&good, cuts))).await
}

async fn answers_extreme(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let good = Good::all(&bench.settings.http);
    let of_each = |large| (0..good.len()).map(move |number| (number, Odd::Large(large)));
    let mut all = changed(&good, extremes);
    all.push((0..LARGE).flat_map(of_each).collect());
    survives(bench, &good, in_turn(all)).await
}

/// How many ways there are in which [`large`] makes an answer large.
const LARGE: usize = 8;

/// An answer that is large in one way or another, and words for it.
fn large(good: &Good, number: usize) -> (String, HttpAnswer) {
    let headed = |headers: Vec<(String, String)>| HttpAnswer::Answered {
        status: good.status,
        headers,
        body: good.body.clone(),
    };
    let names = ["content-type", "retry-after", "location", "link", "etag", "set-cookie", "date"];
    let valued = |value: &str| headed(names.map(|name| (name.to_owned(), value.to_owned())).into());
    let (what, answer) = match number {
        0 => {
            let padded = [vec![b' '; 16 << 20], good.body.clone()].concat();
            ("that begins with 16 MiB of spaces", good.with(padded))
        }
        1 => ("that is a nest of 1,000,000 lists", good.with(vec![b'['; 1_000_000])),
        2 => ("that is a nest of 200,000 objects", good.with(b"{\"a\":".repeat(200_000))),
        3 => {
            let many = (0..MAX_HEADERS).map(|n| (format!("x-{n}"), "x".repeat(n)));
            ("with 256 headers", headed(many.collect()))
        }
        4 => ("with headers of 64 KiB", valued(&"9".repeat(64 << 10))),
        5 => ("with headers that are empty", valued("")),
        6 => ("with headers that break off", valued("<https://x.example.org/?page=2>; rel=\"")),
        _ => ("without headers", headed(Vec::new())),
    };
    (what.to_owned(), answer)
}

async fn texts_extreme(bench: &mut Bench) -> Done {
    let (keys, texts) = (long_texts(1000), long_texts(200_000));
    let described = |text: &String| {
        let mut incident = incident();
        incident["description"] = Value::from(text.as_str());
        incident
    };
    let tags: Vec<String> = (0..10_000).map(|n| format!("k{n}={}", "v".repeat(n % 100))).collect();
    let mut tagged = incident();
    tagged["tags"] = json!(tags);
    let by_key = keys.iter().map(|key| (key.clone(), incident())).collect();
    let by_text = texts.iter().map(|text| (KEY.to_owned(), described(text)));
    let by_text = by_text.chain([(KEY.to_owned(), tagged)]).collect();
    let all = in_turn(vec![by_key, by_text]);
    let tried = bench.budget(all.len(), 2).await;
    for (key, incident) in all.into_iter().take(tried) {
        for operation in [Operation::Find, Operation::Create] {
            let script = Behaviour::Script(When::Empty);
            let called = bench.call(operation, &incident, &key, script).await;
            called.map_err(|verdict| {
                let description = incident["description"].as_str().unwrap_or_default();
                verdict.when(&format!(
                    "{}() with a key of {} and a description of {} bytes, which ends in {:?}",
                    operation.name(),
                    key.len(),
                    description.len(),
                    description.chars().next_back().unwrap_or_default()
                ))
            })?;
        }
    }
    Ok(())
}
