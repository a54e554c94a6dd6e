//! The validator: does a library keep the rules of `ticket_plugin.h`, and does it do what operators need?
//!
//! It runs named cases, each of which says what it demands. The library runs in sandboxed workers against a
//! scripted ticket system, so nothing that it does there reaches anything real.

mod answer;
mod bench;
mod cases;
mod exerciser;
mod fuzz;
mod incidents;
mod loading;
mod script;
mod secret;

use std::fs::File;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use bench::Bench;
pub(crate) use cases::cases;
pub(crate) use fuzz::Fuzzed;
pub(crate) use script::Settings;

/// How well a plugin met a case's demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Grade {
    Pass,
    /// It works, and should be better.
    Warn,
    Fail,
    /// It could not be tried: there is no script, or the plugin doesn't offer the function.
    Skip,
    /// The plugin's process ended, or had to be killed.
    Crash,
}

impl Grade {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Grade::Pass => "pass",
            Grade::Warn => "warn",
            Grade::Fail => "FAIL",
            Grade::Skip => "skip",
            Grade::Crash => "CRASH",
        }
    }
}

/// One case's result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CaseResult {
    pub name: &'static str,
    pub demands: &'static str,
    #[serde(rename = "outcome")]
    pub grade: Grade,
    /// Why it isn't `pass`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Why a case didn't pass.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    grade: Grade,
    message: String,
}

impl Verdict {
    /// The verdict with words before it that say in which situation the plugin got it.
    fn when(self, situation: &str) -> Verdict {
        Verdict { message: format!("{situation}: {}", self.message), ..self }
    }
}

type Done = std::result::Result<(), Verdict>;

fn warn(message: impl Into<String>) -> Verdict {
    Verdict { grade: Grade::Warn, message: message.into() }
}

fn fail(message: impl Into<String>) -> Verdict {
    Verdict { grade: Grade::Fail, message: message.into() }
}

fn skip(message: impl Into<String>) -> Verdict {
    Verdict { grade: Grade::Skip, message: message.into() }
}

fn crash(message: impl Into<String>) -> Verdict {
    Verdict { grade: Grade::Crash, message: message.into() }
}

/// What is to be validated, and how.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    pub library: &'a Path,
    /// Settings and a scripted ticket system. Without them settings are made up from the plugin's schemas.
    pub settings: Option<Settings>,
    /// Whether the library is loaded into this process, for debuggers and sanitizers.
    pub in_process: bool,
    /// The names of the cases to run; if it is empty, all are run.
    pub only: &'a [String],
}

/// What happens while cases run.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// The case of this name begins: the `number`th of `all`.
    Begins {
        name: &'a str,
        number: usize,
        all: usize,
    },
    Ended(CaseResult),
}

/// Runs the cases, and tells `hear` of each when it begins and when it has ended.
///
/// # Errors
/// A usage error: the file can't be read, or `only` has a name that no case has. What `hear` fails with, after which no case is run.
pub(crate) async fn run(
    options: Options<'_>,
    mut hear: impl FnMut(Event<'_>) -> Result<()>,
) -> Result<()> {
    if let Some(unknown) = options.only.iter().find(|name| !cases().any(|case| case.name == *name))
    {
        let names: Vec<&str> = cases().map(|case| case.name).collect();
        return Err(Error::usage(format!("there is no case {unknown:?}"))
            .help(format!("there are: {}", names.join(", "))));
    }
    is_there(options.library)?;
    let only = options.only;
    let mut bench = Bench::new(options.library, options.settings, options.in_process).await;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    let cases: Vec<_> = cases().filter(|case| wanted(case.name)).collect();
    for (index, case) in cases.iter().enumerate() {
        hear(Event::Begins { name: case.name, number: index + 1, all: cases.len() })?;
        let (grade, message) = match (case.run)(&mut bench).await {
            Ok(()) => (Grade::Pass, String::new()),
            Err(verdict) => (verdict.grade, verdict.message),
        };
        hear(Event::Ended(CaseResult { name: case.name, demands: case.demands, grade, message }))?;
    }
    Ok(())
}

/// Calls the plugin with mutated requests and answers: with one seed after the other, from `seed` on, until
/// `seconds` are over; without `seconds`, with `seed` alone.
///
/// # Errors
/// The file can't be read, or is no plugin that calls could be made of.
pub(crate) async fn fuzz(options: Options<'_>, seconds: Option<u64>, seed: u64) -> Result<Fuzzed> {
    is_there(options.library)?;
    let mut bench = Bench::new(options.library, options.settings, options.in_process).await;
    let manifest = match &bench.loaded {
        Ok(loaded) => loaded.manifest.as_ref().map(drop).map_err(String::as_str),
        Err(verdict) => Err(verdict.message.as_str()),
    };
    manifest.map_err(|why| {
        Error::import(format!("{}: {why}", options.library.display()))
            .help("without --fuzz each case says what is wrong with it")
    })?;
    Ok(fuzz::run(&mut bench, seconds, seed).await)
}

/// # Errors
/// There is no file that can be read, which is no fault of a plugin's.
fn is_there(library: &Path) -> Result<()> {
    File::open(library).map(drop).map_err(|cause| {
        Error::usage(format!("{}: can't be opened", library.display())).cause(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_case_is_run_for_who_can_hear_of_none() {
        // No plugin: the first case fails.
        let library = Path::new(env!("CARGO_MANIFEST_PATH"));
        let options = Options { library, settings: None, in_process: true, only: &[] };
        let mut begun = 0;
        let ended = run(options, |event| match event {
            Event::Begins { .. } => {
                begun += 1;
                Ok(())
            }
            Event::Ended(_) => Err(Error::usage("it was lost")),
        });
        assert_eq!(ended.await.unwrap_err().message, "it was lost");
        assert_eq!(begun, 1);
    }
}
