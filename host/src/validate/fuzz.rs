//! Calls a plugin with mutated requests and answers: whatever comes, it must keep the rules.

mod call;

use std::time::{Duration, Instant};

use serde_json::Value;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};

use super::Grade;
use super::bench::Bench;
use super::incidents::odd;
use super::mutations::{Change, Good, answering, asking, cuts, extremes};
use super::script::{Behaviour, Role};
use call::Call;

/// What came of fuzzing.
#[derive(Debug)]
pub(crate) struct Fuzzed {
    /// How many calls were made.
    pub calls: u64,
    /// The last of them.
    pub call: Call,
    /// The seed that makes it again.
    pub seed: u64,
    /// Which rule the plugin broke in it, if it broke one.
    pub broken: Option<String>,
}

/// Calls with one seed after the other until the plugin breaks a rule, or the time is over. Err says why no call can be made.
pub(super) async fn run(
    bench: &mut Bench,
    seconds: Option<u64>,
    first: u64,
    mut hear: impl FnMut(u64),
) -> Result<Fuzzed, String> {
    let material = Material::of(bench);
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut calls = 0;
    loop {
        let seed = first.wrapping_add(calls);
        let input = Input::of(&material, seed);
        let broken = input.call(bench).await?;
        calls += 1;
        hear(calls);
        if broken.is_some() || end.is_none_or(|end| Instant::now() >= end) {
            let call = Call::of(&input, &bench.last, &bench.redactor);
            return Ok(Fuzzed { calls, call, seed, broken });
        }
    }
}

/// What inputs are made of.
struct Material {
    /// Good answers, with the changes to each that are the most telling.
    good: Vec<(Good, Vec<Change>)>,
    incidents: Vec<Value>,
}

impl Material {
    fn of(bench: &Bench) -> Material {
        let mut good = Good::all(&bench.settings.http);
        // For who has no script, or an answer of which the script doesn't know.
        let body =
            br#"{"id": "17", "url": "https://tickets.example.org/17", "items": []}"#.to_vec();
        let roles = [Role::LookUp, Role::Search, Role::Create];
        good.extend(roles.map(|role| Good {
            role,
            status: 200,
            headers: Vec::new(),
            body: body.clone(),
        }));
        // What only the functions after a ticket's creation ask for is an answer to none of these calls.
        good.retain(|good| !asking(good.role).is_empty());
        let changed = |good: Good| {
            let changes = [cuts(&good.body), extremes(&good.body)].concat();
            (good, changes)
        };
        Material { good: good.into_iter().map(changed).collect(), incidents: odd() }
    }
}

/// What the plugin gets in one call.
#[derive(Debug)]
struct Input {
    operation: Operation,
    incident: Value,
    answer: HttpAnswer,
    /// What the requests are for that get the answer. None: all get it.
    role: Option<Role>,
}

impl Input {
    /// The one that `seed` stands for.
    fn of(material: &Material, seed: u64) -> Input {
        let mut random = fastrand::Rng::with_seed(seed);
        let (good, changes) = &material.good[random.usize(..material.good.len())];
        let asking = asking(good.role);
        let operation = asking[random.usize(..asking.len())];
        let mut incident = material.incidents[random.usize(..material.incidents.len())].clone();
        for _ in 0..random.usize(..4) {
            mutate_json(&mut incident, &mut random);
        }
        let answer = answer(good, changes, &mut random);
        let role = (random.u8(..4) > 0).then_some(good.role);
        Input { operation, incident, answer, role }
    }

    /// Makes the call. Some says which rule the plugin broke, Err why it can't be called.
    async fn call(&self, bench: &mut Bench) -> Result<Option<String>, String> {
        let answer = self.answer.clone();
        let behaviour = match self.role {
            Some(role) => answering(role, answer),
            None => Behaviour::Always(answer),
        };
        match bench.survives(self.operation, &self.incident, behaviour).await {
            Err(verdict) if matches!(verdict.grade, Grade::Fail | Grade::Crash) => {
                Ok(Some(bench.redactor.strike(&verdict.message)))
            }
            Err(verdict) if verdict.grade == Grade::Skip => Err(verdict.message),
            _ => Ok(None),
        }
    }
}

/// An answer to a request: mostly one that the script gives, with a telling change or bytes changed.
fn answer(good: &Good, changes: &[Change], random: &mut fastrand::Rng) -> HttpAnswer {
    let mut body = match changes.len() {
        0 => good.body.clone(),
        all if random.bool() => changes[random.usize(..all)].of(&good.body),
        _ => good.body.clone(),
    };
    for _ in 0..random.usize(..4) {
        mutate_bytes(&mut body, random);
    }
    match random.u8(..20) {
        0 => HttpAnswer::NotSent("fuzz".to_owned()),
        1 => HttpAnswer::Unknown("fuzz".to_owned()),
        2 => HttpAnswer::Denied("fuzz".to_owned()),
        3 => HttpAnswer::DryRun,
        // Most of what a plugin reads, it reads of a success.
        4..12 => good.with(body),
        _ => HttpAnswer::Answered { status: status(random), headers: headers(random), body },
    }
}

fn status(random: &mut fastrand::Rng) -> u16 {
    let usual = [200, 201, 204, 400, 401, 404, 429, 500, 503];
    if random.bool() { usual[random.usize(..usual.len())] } else { random.u16(100..600) }
}

fn headers(random: &mut fastrand::Rng) -> Vec<(String, String)> {
    let names = ["content-type", "retry-after", "location", "link", "etag"];
    let texts = ["", "-1", "99999999999999999999", "application/json", "\u{fffd}", "1.5"];
    let mut one = |all: &[&str]| all[random.usize(..all.len())].to_owned();
    let count = one(&["", "x", "xx", "xxx"]).len();
    (0..count).map(|_| (one(&names), one(&texts))).collect()
}

/// Replaces one value in it, at any depth, by one of another kind.
fn mutate_json(value: &mut Value, random: &mut fastrand::Rng) {
    match value {
        Value::Object(members) if !members.is_empty() && random.u8(..4) > 0 => {
            let at = random.usize(..members.len());
            if let Some((_, member)) = members.iter_mut().nth(at) {
                mutate_json(member, random);
            }
        }
        Value::Array(items) if !items.is_empty() && random.u8(..4) > 0 => {
            let at = random.usize(..items.len());
            mutate_json(&mut items[at], random);
        }
        Value::String(text) if random.bool() => {
            let mut bytes = std::mem::take(text).into_bytes();
            mutate_bytes(&mut bytes, random);
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        other => {
            *other = match random.u8(..6) {
                0 => Value::Null,
                1 => Value::from(random.i64(..)),
                2 => Value::from(random.f64() * 1e300),
                3 => Value::from("x".repeat(random.usize(..2000))),
                4 => Value::Array(vec![other.take(); random.usize(..4)]),
                _ => Value::Bool(random.bool()),
            };
        }
    }
}

/// Changes, removes, inserts or repeats bytes at one position.
fn mutate_bytes(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if bytes.is_empty() {
        bytes.push(random.u8(..));
        return;
    }
    let at = random.usize(..bytes.len());
    match random.u8(..6) {
        0 => bytes[at] = random.u8(..),
        1 => bytes[at] ^= 1 << random.u8(..8),
        2 => bytes.truncate(at),
        3 => drop(bytes.remove(at)),
        4 => {
            let signs = [b'"', b'\\', b'{', b'}', b'[', b']', b',', b':', 0, 0xff, b'-', b'0'];
            bytes.insert(at, signs[random.usize(..signs.len())]);
        }
        _ => {
            let end = (at + random.usize(..16)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}
