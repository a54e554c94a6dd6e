//! `ticket-host plugins validate`: does a library keep the rules?

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::output::{error_json, print, print_json};
use super::progress::Progress;
use crate::error::{Error, Kind, Result};
use crate::store::Timestamp;
use crate::terminal::{counted, line, safe};
use crate::validate::{self, CaseResult, Event, Grade, Options, Settings, Subject, excludes};
use report::{Destination, Inputs, Report};

/// Check whether a plugin keeps the rules. The exit code is 0 if no case failed, and 6 if one did
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ticket-host plugins validate libticket_plugin_acme.so
  ticket-host plugins validate libticket_plugin_acme.so --settings acme.toml
  ticket-host plugins validate acme.so --settings acme.toml --report acme.json
  ticket-host plugins validate libticket_plugin_acme.so --fuzz 60

The library runs in sandboxed workers, and a script plays its ticket system, so nothing leaves this \
    machine. Without --settings, cases that need to know how the ticket system answers are skipped.")]
pub(super) struct Arguments {
    /// The plugin's library
    file: PathBuf,
    /// Run only this case; can be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Run the library in this process, without a sandbox, so that a debugger or a sanitizer can see it
    #[arg(long)]
    in_process: bool,
    /// A TOML file with the plugin's endpoint, secret, information and permissions, and with [[http]]
    /// tables that say how the ticket system answers
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// A TOML file with a line for each case that is not to be run: its name, and why, as a text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["fuzz", "reproduce"])]
    exclude: Option<PathBuf>,
    /// Write what was validated and how each case ended into this file, as JSON, for a vendor to sign
    #[arg(long, value_name = "FILE", conflicts_with_all = ["fuzz", "reproduce"])]
    report: Option<PathBuf>,
    /// Instead of running the cases, call the plugin with mutated requests and answers for as
    /// many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    fuzz: Option<u64>,
    /// Make the one call that --fuzz made with this seed, and show what the plugin got, asked for and returned
    #[arg(long, value_name = "SEED", conflicts_with = "fuzz")]
    reproduce: Option<u64>,
}

impl Arguments {
    /// Whether this file is one of those that are read.
    fn reads(&self, file: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        let read = [Some(&self.file), self.settings.as_ref(), self.exclude.as_ref()];
        real(file).is_some() && read.into_iter().flatten().any(|path| real(path) == real(file))
    }
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let settings = arguments.settings.as_deref().map(Settings::load).transpose()?;
    let excluded = arguments.exclude.as_deref().map(excludes::load).transpose()?;
    let options = Options {
        library: &arguments.file,
        settings,
        in_process: arguments.in_process,
        only: &arguments.only,
        excluded: &excluded.unwrap_or_default(),
    };
    if arguments.fuzz.is_some() || arguments.reproduce.is_some() {
        return fuzz(arguments, options, program.json).await;
    }
    let inputs = Inputs::of(arguments)?;
    let destination = arguments.report.as_deref().map(|file| Destination::at(file, arguments));
    let destination = destination.transpose()?;
    let (began_at, began) = (Timestamp::now(), Instant::now());
    let (subject, cases) = run_cases(options, program.json).await?;
    let time = began.elapsed();
    let ok = !cases.iter().any(|result| matches!(result.grade, Grade::Fail | Grade::Crash));
    if let Some(destination) = destination {
        let report = Report::new(began_at, time, inputs, &subject, &cases, ok);
        destination.write(&report)?;
    }
    if program.json {
        let file = arguments.file.display().to_string();
        print_json(&json!({"file": file, "ok": ok, "cases": cases}))?;
    } else {
        let grades: Vec<Grade> = cases.iter().map(|result| result.grade).collect();
        print(&summary(&grades, time))?;
    }
    Ok(ExitCode::from(if ok { 0 } else { Kind::Plugin.exit_code() }))
}

/// Runs the cases, and prints how each ended unless it is `quiet`.
async fn run_cases(options: Options<'_>, quiet: bool) -> Result<(Subject, Vec<CaseResult>)> {
    let mut results = Vec::new();
    let width = validate::cases().map(|case| case.name.len()).max().unwrap_or(0);
    let grades = [Grade::Crash, Grade::Excluded];
    let grades = &grades[..if options.excluded.is_empty() { 1 } else { 2 }];
    let grade_width = grades.iter().map(|grade| grade.name().len()).max().unwrap_or(0);
    let mut progress = Progress::new(quiet);
    let subject = validate::run(options, |event| {
        match event {
            Event::Begins { name, number, all } => progress.is_at(number, all, name),
            Event::Ended(result) => {
                progress.erase();
                if !quiet {
                    print(&safe(&lines(&result, grade_width, width)))?;
                }
                results.push(result);
            }
        }
        Ok(())
    });
    let subject = subject.await?;
    Ok((subject, results))
}

/// The last line: how the cases ended, together, and how long they took.
fn summary(grades: &[Grade], time: Duration) -> String {
    let count = |wanted| grades.iter().filter(|grade| **grade == wanted).count();
    let failed = count(Grade::Fail) + count(Grade::Crash);
    format!(
        "{}: {} passed, {}, {failed} failed, {} skipped, {} excluded in {:.1} s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        count(Grade::Pass),
        counted(count(Grade::Warn) as u64, "warning"),
        count(Grade::Skip),
        count(Grade::Excluded),
        time.as_secs_f64()
    )
}

fn lines(result: &CaseResult, grade_width: usize, width: usize) -> String {
    let CaseResult { name, demands, grade, message, note, .. } = result;
    let mut lines = format!("{:grade_width$}  {name:width$}  {demands}\n", grade.name());
    let message = (!message.is_empty()).then_some(message);
    for text in message.into_iter().chain(note) {
        let before = grade_width + width + 4;
        lines.push_str(&format!("{:before$}{}\n", "", line(text)));
    }
    lines
}

async fn fuzz(arguments: &Arguments, options: Options<'_>, as_json: bool) -> Result<ExitCode> {
    let seed = arguments.reproduce.unwrap_or_else(|| fastrand::u64(..1 << 48));
    if arguments.fuzz.is_some() && !as_json {
        print(&format!("seed {seed}\n"))?;
    }
    let mut progress = Progress::new(as_json);
    progress.begin(|| counted(0, "call"));
    let hear = |calls| progress.goes_on(|| counted(calls, "call"));
    let fuzzed = validate::fuzz(options, arguments.fuzz, seed, hear).await?;
    drop(progress);
    let validate::Fuzzed { calls, call, seed, broken } = fuzzed;
    let shows = broken.is_some() || arguments.reproduce.is_some();
    let code = if broken.is_some() { Kind::Plugin.exit_code() } else { 0 };
    let again = format!("to make the same call again: --reproduce {seed}");
    if as_json {
        let mut answer = json!({"ok": broken.is_none(), "seed": seed, "calls": calls});
        if shows {
            answer["call"] = json!(call);
        }
        if let Some(what) = broken {
            answer["error"] = error_json(&Error::plugin(what).help(again));
        }
        print_json(&answer)?;
        return Ok(ExitCode::from(code));
    }
    let mut text = match &broken {
        Some(what) => format!("FAILED: {}\n", line(what)),
        None => format!("ok: the plugin kept the rules in {}\n", counted(calls, "call")),
    };
    if shows {
        text.extend(call.lines().iter().map(|line| format!("  {line}\n")));
    }
    if broken.is_some() {
        text.push_str(&format!("  {again}\n"));
    }
    print(&safe(&text))?;
    Ok(ExitCode::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_there_is_one_of_in_the_singular() {
        let all = [Grade::Pass, Grade::Warn, Grade::Skip];
        let told = |grades: &[Grade]| summary(grades, Duration::from_millis(12_340));
        assert_eq!(
            told(&all),
            "ok: 1 passed, 1 warning, 0 failed, 1 skipped, 0 excluded in 12.3 s\n"
        );
        let bad = [Grade::Warn, Grade::Warn, Grade::Fail, Grade::Crash];
        assert_eq!(
            told(&bad),
            "FAILED: 0 passed, 2 warnings, 2 failed, 0 skipped, 0 excluded in 12.3 s\n"
        );
        let excluded = [Grade::Excluded];
        assert_eq!(
            told(&excluded),
            "ok: 0 passed, 0 warnings, 0 failed, 0 skipped, 1 excluded in 12.3 s\n"
        );
    }
}
