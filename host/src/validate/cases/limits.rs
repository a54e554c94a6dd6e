//! What a plugin may not overdo: time, and what it lets others see.

use std::time::{Duration, Instant};

use ticket_plugin_api::abi::host_side::HttpAnswer;

use super::{OPERATIONS, answered};
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, When};
use crate::validate::{Done, fail, skip, warn};

cases! {
    "deadline" deadline "returns when its time is over (rule R6)";
    "cancelled" cancelled "returns at once when it has no time at all";
    "silence" silence "prints nothing: what operators are to read goes through call->log()";
    "secret" secret "keeps the secret out of replies, logs and URLs";
    "system-calls" system_calls "makes no system call that the sandbox refuses: it works without, or asks for the permission";
    "call-thread" call_thread "uses a call only on the thread that received it (rule R4)";
}

/// How late a quick plugin may return.
const LATE: Duration = Duration::from_millis(500);

async fn deadline(bench: &mut Bench) -> Done {
    let pace = bench.pace().await;
    for operation in OPERATIONS {
        // Who is slow by himself is given the time that he needs before he asks.
        let time = Duration::from_millis(200).max(2 * pace);
        let started = Instant::now();
        let called = bench.timed(operation, &incident(), KEY, false, Behaviour::Slow, time).await;
        called.map_err(|verdict| verdict.when("with a server that doesn't answer"))?;
        let late = started.elapsed().saturating_sub(time);
        if late > LATE + pace {
            return Err(warn(format!("{}() returned {late:?} too late", operation.name())));
        }
    }
    Ok(())
}

async fn cancelled(bench: &mut Bench) -> Done {
    let pace = bench.pace().await;
    // What is slow by itself would be killed before it could show that it asks no more.
    let time = if pace > LATE / 2 { pace } else { Duration::ZERO };
    for operation in OPERATIONS {
        let started = Instant::now();
        let behaviour = Behaviour::Always(HttpAnswer::NotSent("the time is over".to_owned()));
        let called = bench.timed(operation, &incident(), KEY, false, behaviour, time).await;
        called.map_err(|verdict| verdict.when("without any time"))?;
        if started.elapsed() > LATE + 2 * pace {
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

async fn call_thread(bench: &mut Bench) -> Done {
    // Every case counts: see `secret`.
    for operation in OPERATIONS {
        let behaviour = Behaviour::Script(When::Empty);
        bench.call(operation, &incident(), KEY, behaviour).await?;
    }
    match bench.used_elsewhere {
        None => Ok(()),
        Some(name) => Err(fail(format!(
            "{name} used its call on another thread than the one that received it, which is denied"
        ))),
    }
}
