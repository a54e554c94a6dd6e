//! What a plugin may not overdo: time, threads, memory, and what it lets others see.

use std::time::{Duration, Instant};

use serde_json::Value;
use ticket_plugin_api::abi::host_side::HttpAnswer;

use super::{OPERATIONS, answered};
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, Scripted, When};
use crate::validate::{Done, Verdict, crash, fail, skip, warn};

cases! {
    "deadline" deadline "returns when its time is over (rule R6)";
    "cancelled" cancelled "returns at once when it has no time at all";
    "silence" silence "prints nothing: what operators are to read goes through call->log()";
    "threads" threads "works with many instances on many threads at once (rule R4)";
    "leak" leak "gives back what it took, in 10,000 calls of instances that are opened and closed";
    "secret" secret "keeps the secret out of replies, logs and URLs";
    "system-calls" system_calls "makes no system call that the sandbox refuses: it works without, or asks for the permission";
}

async fn deadline(bench: &mut Bench) -> Done {
    for operation in OPERATIONS {
        let time = Duration::from_millis(200);
        let started = Instant::now();
        let called = bench.timed(operation, &incident(), KEY, false, Behaviour::Slow, time).await;
        called.map_err(|verdict| verdict.when("with a server that doesn't answer"))?;
        let late = started.elapsed().saturating_sub(time);
        if late > Duration::from_millis(500) {
            return Err(warn(format!("{}() returned {late:?} too late", operation.name())));
        }
    }
    Ok(())
}

async fn cancelled(bench: &mut Bench) -> Done {
    for operation in OPERATIONS {
        let started = Instant::now();
        let behaviour = Behaviour::Always(HttpAnswer::NotSent("the time is over".to_owned()));
        let called =
            bench.timed(operation, &incident(), KEY, false, behaviour, Duration::ZERO).await;
        called.map_err(|verdict| verdict.when("without any time"))?;
        if started.elapsed() > Duration::from_millis(500) {
            return Err(warn(format!("{}() took {:?}", operation.name(), started.elapsed())));
        }
    }
    Ok(())
}

async fn silence(bench: &mut Bench) -> Done {
    for operation in OPERATIONS {
        let behaviour = Behaviour::Script(When::Empty);
        bench.call(operation, &incident(), KEY, behaviour).await?;
    }
    match bench.printed.first() {
        None => Ok(()),
        Some(line) => {
            let line: String = line.chars().take(100).collect();
            Err(fail(format!("it prints: {line:?}; call->log() is for that")))
        }
    }
}

/// Has a worker do `runs` by itself, each with so many threads and so many instances on each thread, one
/// after the other. Gives the bytes of memory that the worker had after each run, where the platform tells.
async fn exercise(bench: &Bench, runs: &[(usize, usize)]) -> Result<Vec<Option<u64>>, Verdict> {
    let mut worker = bench.exerciser(runs).await?;
    let mut memory = Vec::new();
    let settings = bench.settings.json().to_string();
    for (threads, times) in runs {
        let peer = Scripted::new(&[], Behaviour::Slow, KEY, Duration::from_secs(60));
        let exercised = worker.open(&settings, &peer).await;
        let returned = exercised.map_err(|cause| crash(cause.to_string()))?;
        let reply = returned.reply.ok().flatten().unwrap_or_default();
        let reply: Value = serde_json::from_str(&reply).unwrap_or_default();
        if let Some(odd) = reply["odd"].get(0).and_then(Value::as_str) {
            return Err(fail(format!("with {threads} instances at once, {times} times: {odd}")));
        }
        memory.push(worker.memory());
    }
    Ok(memory)
}

async fn threads(bench: &mut Bench) -> Done {
    bench.able().await?;
    exercise(bench, &[(16, 50)]).await.map(drop)
}

async fn leak(bench: &mut Bench) -> Done {
    /// Instances that are opened, called three times each and closed: some 10,000 calls.
    const TIMES: usize = 3400;
    /// Bytes that the worker's memory may grow by meanwhile, since allocators don't give all back. A plugin
    /// that loses 309 bytes an instance is found.
    const MOST: u64 = 1 << 20;
    bench.able().await?;
    // The first 600 instances fill pools and caches, so that memory is compared from there on. What collects garbage may still
    // grow once, at any time; a leak grows with every instance. So what grew is exercised for longer, and judged by the
    // part in which it grew the least.
    for rounds in [1, 3] {
        let mut runs = vec![(1, 600)];
        runs.extend(vec![(1, TIMES); rounds]);
        let memory: Option<Vec<u64>> = exercise(bench, &runs).await?.into_iter().collect();
        let memory = memory.ok_or_else(|| skip("this platform doesn't tell a process's memory"))?;
        let grown = memory.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min();
        let grown = grown.unwrap_or_default();
        if grown <= MOST {
            break;
        }
        if rounds > 1 {
            let each = grown / TIMES as u64;
            return Err(fail(format!(
                "it has {} KiB more after each {TIMES} instances: {each} bytes each",
                grown >> 10
            )));
        }
    }
    Ok(())
}

async fn secret(bench: &mut Bench) -> Done {
    bench.manifest()?;
    // Every case looks for the secret in what its calls show. These calls are for when this case runs alone.
    for code in [200, 401, 500] {
        for operation in OPERATIONS {
            let behaviour = Behaviour::Always(answered(code, r#"{"message": "no"}"#));
            bench.call(operation, &incident(), KEY, behaviour).await?;
        }
    }
    match &bench.leak {
        None => Ok(()),
        Some(leak) => Err(fail(leak)),
    }
}

async fn system_calls(bench: &mut Bench) -> Done {
    // Every case counts: see `secret`.
    for operation in OPERATIONS {
        let behaviour = Behaviour::Script(When::Empty);
        bench.call(operation, &incident(), KEY, behaviour).await?;
    }
    match bench.denials.names() {
        None => Err(skip("the kernel tells nobody here which system calls are refused")),
        Some(names) if names.is_empty() => Ok(()),
        Some(names) => Err(warn(format!(
            "the sandbox refused it {}: its operators will find that in their log",
            names.join(", ")
        ))),
    }
}
