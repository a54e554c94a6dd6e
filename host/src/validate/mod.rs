//! The validator: does a library keep the rules of `ticket_plugin.h`, and does it do what operators need?
//!
//! It runs named cases, each of which says what it demands. The library runs in sandboxed workers against a
//! scripted ticket system, so nothing that it does there reaches anything real.

mod answer;
mod bench;
mod cases;
pub(crate) mod excludes;
mod exerciser;
mod fuzz;
mod incidents;
mod loading;
mod mutations;
mod script;
mod secret;
mod source;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use ticket_host_worker::Digest;
use ticket_host_worker::library::Image;

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
    /// The operator said why it is not to be run.
    Excluded,
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
            Grade::Excluded => "excluded",
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
    /// Why it isn't `pass`, without secrets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What should be known of it though it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How long it ran.
    #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
    pub time: Duration,
}

/// A length of time in whole milliseconds.
pub(crate) fn milliseconds<S: serde::Serializer>(
    time: &Duration,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u128(time.as_millis())
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
    /// The names of cases that are not run, and why.
    pub excluded: &'a BTreeMap<String, String>,
}

/// What was validated: the bytes that the cases ran with, and who they say they are.
#[derive(Debug, Serialize)]
pub(crate) struct Subject {
    pub library: Library,
    /// None if it has no manifest that can be read.
    pub plugin: Option<Identity>,
}

/// A library's file. What isn't known of it could not be read.
#[derive(Debug, Serialize)]
pub(crate) struct Library {
    pub file: String,
    pub bytes: Option<u64>,
    pub sha256: Option<Digest>,
}

/// What a plugin's manifest says of it.
#[derive(Debug, Serialize)]
pub(crate) struct Identity {
    pub name: String,
    pub version: String,
    /// Empty if it doesn't say.
    pub sdk: String,
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
) -> Result<Subject> {
    options.only.iter().try_for_each(|name| is_case(name))?;
    is_there(options.library)?;
    let Options { only, excluded, .. } = options;
    let mut bench = Bench::new(options.library, options.settings, options.in_process).await;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    let cases: Vec<_> = cases().filter(|case| wanted(case.name)).collect();
    for (index, case) in cases.iter().enumerate() {
        hear(Event::Begins { name: case.name, number: index + 1, all: cases.len() })?;
        let began = Instant::now();
        let (grade, message) = match excluded.get(case.name) {
            Some(reason) => (Grade::Excluded, reason.clone()),
            None => match (case.run)(&mut bench).await {
                Ok(()) => (Grade::Pass, String::new()),
                Err(verdict) => (verdict.grade, bench.redactor.strike(&verdict.message)),
            },
        };
        let (name, demands, time) = (case.name, case.demands, began.elapsed());
        let note = bench.note.take();
        hear(Event::Ended(CaseResult { name, demands, grade, message, note, time }))?;
    }
    Ok(subject(options.library, &bench))
}

/// # Errors
/// A usage error: no case has that name.
fn is_case(name: &str) -> Result<()> {
    if cases().any(|case| case.name == name) {
        return Ok(());
    }
    let names: Vec<&str> = cases().map(|case| case.name).collect();
    Err(Error::usage(format!("there is no case {name:?}"))
        .help(format!("there are: {}", names.join(", "))))
}

fn subject(library: &Path, bench: &Bench) -> Subject {
    let name = library.file_name().unwrap_or_default();
    let library = Library {
        file: name.to_string_lossy().into_owned(),
        bytes: bench.image.as_ref().and_then(bytes),
        sha256: bench.image.as_ref().map(|image| image.sha256),
    };
    let plugin = bench.manifest().ok().map(|manifest| Identity {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        sdk: manifest.sdk.clone(),
    });
    Subject { library, plugin }
}

/// How many bytes were read of a library.
fn bytes(image: &Image) -> Option<u64> {
    #[cfg(target_os = "linux")]
    let bytes = rustix::fs::fstat(&image.copy).ok().and_then(|copy| copy.st_size.try_into().ok());
    #[cfg(not(target_os = "linux"))]
    let bytes = std::fs::metadata(&image.path).ok().map(|file| file.len());
    bytes
}

/// Calls the plugin with mutated requests and answers: with one seed after the other, from `seed` on, until
/// `seconds` are over; without `seconds`, with `seed` alone. `hear` is told after each call how many there were.
///
/// # Errors
/// The file can't be read, or is no plugin that calls could be made of.
pub(crate) async fn fuzz(
    options: Options<'_>,
    seconds: Option<u64>,
    seed: u64,
    hear: impl FnMut(u64),
) -> Result<Fuzzed> {
    is_there(options.library)?;
    let mut bench = Bench::new(options.library, options.settings, options.in_process).await;
    let manifest = match &bench.loaded {
        Ok(loaded) => loaded.manifest.as_ref().map(drop).map_err(String::clone),
        Err(verdict) => Err(verdict.message.clone()),
    };
    let fuzzed = match manifest {
        Ok(()) => fuzz::run(&mut bench, seconds, seed, hear).await,
        Err(why) => Err(why),
    };
    fuzzed.map_err(|why| {
        Error::import(format!("{}: {why}", options.library.display()))
            .help("without --fuzz each case says what is wrong with it")
    })
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
        let options = Options {
            library,
            settings: None,
            in_process: true,
            only: &[],
            excluded: &BTreeMap::new(),
        };
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
