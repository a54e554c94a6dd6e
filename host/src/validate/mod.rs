//! The validator: does a library keep the rules of `ticket_plugin.h`, and does it do what operators need?
//!
//! Named cases, each with what it demands and why. The library runs in sandboxed workers against a
//! scripted ticket system; what it does there touches nothing.

mod bench;
mod cases;
mod fuzz;
mod script;

use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use bench::Bench;
pub(crate) use cases::CASES;
pub(crate) use script::Settings;

/// What came of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Pass,
    /// Works, and could be better.
    Warn,
    Fail,
    /// Needs what isn't there: a script, a function that the plugin doesn't offer.
    Skip,
    /// The plugin's process ended, or had to be killed.
    Crash,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
            Outcome::Skip => "skip",
            Outcome::Crash => "CRASH",
        }
    }
}

/// One case's result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CaseResult {
    pub name: &'static str,
    pub demands: &'static str,
    pub outcome: Outcome,
    /// Why it isn't `pass`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Why a case didn't pass.
#[derive(Debug)]
pub(crate) struct Verdict {
    outcome: Outcome,
    message: String,
}

type Done = std::result::Result<(), Verdict>;

fn warn(message: impl Into<String>) -> Verdict {
    Verdict { outcome: Outcome::Warn, message: message.into() }
}

fn fail(message: impl Into<String>) -> Verdict {
    Verdict { outcome: Outcome::Fail, message: message.into() }
}

fn skip(message: impl Into<String>) -> Verdict {
    Verdict { outcome: Outcome::Skip, message: message.into() }
}

fn crash(message: impl Into<String>) -> Verdict {
    Verdict { outcome: Outcome::Crash, message: message.into() }
}

/// What is to be validated, and how.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    pub library: &'a Path,
    /// Settings and a scripted ticket system; None: settings made up from the plugin's schemas.
    pub settings: Option<Settings>,
    /// In this process, for debuggers and sanitizers.
    pub in_process: bool,
    /// The cases; empty: all.
    pub only: &'a [String],
}

/// Runs the cases, and tells of each when it is done.
///
/// # Errors
/// A usage error: there is no case of a name in `only`.
pub(crate) async fn run(options: Options<'_>, mut done: impl FnMut(&CaseResult)) -> Result<()> {
    if let Some(unknown) = options.only.iter().find(|name| !CASES.iter().any(|c| c.name == *name)) {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(Error::usage(format!("there is no case {unknown:?}"))
            .help(format!("there are: {}", names.join(", "))));
    }
    let only = options.only;
    let mut bench = Bench::new(options.library, options.settings, options.in_process).await;
    for case in CASES {
        if !only.is_empty() && !only.iter().any(|name| name == case.name) {
            continue;
        }
        let (outcome, message) = match (case.run)(&mut bench).await {
            Ok(()) => (Outcome::Pass, String::new()),
            Err(verdict) => (verdict.outcome, verdict.message),
        };
        done(&CaseResult { name: case.name, demands: case.demands, outcome, message });
    }
    Ok(())
}

/// Calls the plugin with mutated requests and answers until the time is over, or once with `seed`.
/// What went wrong first, with the seed that does it again.
pub(crate) async fn fuzz(
    options: Options<'_>,
    seconds: Option<u64>,
    seed: u64,
) -> Result<std::result::Result<u64, (u64, String)>> {
    let mut bench = Bench::new(options.library, options.settings, options.in_process).await;
    Ok(fuzz::run(&mut bench, seconds, seed).await)
}
