//! `ticket-host plugins validate`: does a library keep the rules?

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::output::{error_json, print, print_json};
use super::progress::Progress;
use crate::error::{Error, Kind, Result};
use crate::terminal::{counted, safe};
use crate::validate::{self, CaseResult, Event, Fuzzed, Grade, Options, Settings};

/// Check whether a plugin keeps the rules. The exit code is 0 if no case failed, and 6 if one did
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ticket-host plugins validate libticket_plugin_acme.so
  ticket-host plugins validate libticket_plugin_acme.so --settings acme.toml
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
    /// Instead of running the cases, call the plugin with mutated requests and answers for as
    /// many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    fuzz: Option<u64>,
    /// Make the one call that --fuzz made with this seed
    #[arg(long, value_name = "SEED", conflicts_with = "fuzz")]
    reproduce: Option<u64>,
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let settings = arguments.settings.as_deref().map(Settings::load).transpose()?;
    let options = Options {
        library: &arguments.file,
        settings,
        in_process: arguments.in_process,
        only: &arguments.only,
    };
    if arguments.fuzz.is_some() || arguments.reproduce.is_some() {
        return fuzz(arguments, options, program.json).await;
    }
    let mut results = Vec::new();
    let width = validate::cases().map(|case| case.name.len()).max().unwrap_or(0);
    let mut progress = Progress::new(program.json);
    validate::run(options, |event| {
        match event {
            Event::Begins { name, number, all } => progress.is_at(number, all, name),
            Event::Ended(result) => {
                progress.erase();
                if !program.json {
                    print(&safe(&line(&result, width)))?;
                }
                results.push(result);
            }
        }
        Ok(())
    })
    .await?;
    let ok = !results.iter().any(|result| matches!(result.grade, Grade::Fail | Grade::Crash));
    if program.json {
        print_json(
            &json!({"file": arguments.file.display().to_string(), "ok": ok, "cases": results}),
        )?;
    } else {
        let grades = results.iter().map(|result| result.grade);
        print(&summary(&grades.collect::<Vec<_>>()))?;
    }
    Ok(ExitCode::from(if ok { 0 } else { Kind::Plugin.exit_code() }))
}

/// The last line: how the cases ended, together.
fn summary(grades: &[Grade]) -> String {
    let count = |wanted| grades.iter().filter(|grade| **grade == wanted).count();
    let failed = count(Grade::Fail) + count(Grade::Crash);
    format!(
        "{}: {} passed, {}, {failed} failed, {} skipped\n",
        if failed == 0 { "ok" } else { "FAILED" },
        count(Grade::Pass),
        counted(count(Grade::Warn) as u64, "warning"),
        count(Grade::Skip)
    )
}

fn line(result: &CaseResult, width: usize) -> String {
    let mut line =
        format!("{:5}  {:width$}  {}\n", result.grade.name(), result.name, result.demands);
    if !result.message.is_empty() {
        line.push_str(&format!("{:width$}         {}\n", "", result.message));
    }
    line
}

async fn fuzz(arguments: &Arguments, options: Options<'_>, as_json: bool) -> Result<ExitCode> {
    let seed = arguments.reproduce.unwrap_or_else(|| fastrand::u64(..1 << 48));
    if arguments.fuzz.is_some() && !as_json {
        print(&format!("seed {seed}\n"))?;
    }
    match validate::fuzz(options, arguments.fuzz, seed).await? {
        Fuzzed::KeptTheRules { calls } if as_json => {
            print_json(&json!({"ok": true, "seed": seed, "calls": calls}))?;
            Ok(ExitCode::SUCCESS)
        }
        Fuzzed::BrokeARule { seed, what } if as_json => {
            let error = Error::plugin(what)
                .help(format!("to make the same call again: --reproduce {seed}"));
            print_json(&json!({"ok": false, "seed": seed, "error": error_json(&error)}))?;
            Ok(ExitCode::from(Kind::Plugin.exit_code()))
        }
        Fuzzed::KeptTheRules { calls } => {
            print(&format!("ok: the plugin kept the rules in {}\n", counted(calls, "call")))?;
            Ok(ExitCode::SUCCESS)
        }
        Fuzzed::BrokeARule { seed, what } => {
            print(&safe(&format!(
                "FAILED: {what}\n  to make the same call again: --reproduce {seed}\n"
            )))?;
            Ok(ExitCode::from(Kind::Plugin.exit_code()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_there_is_one_of_in_the_singular() {
        let all = [Grade::Pass, Grade::Warn, Grade::Skip];
        assert_eq!(summary(&all), "ok: 1 passed, 1 warning, 0 failed, 1 skipped\n");
        let bad = [Grade::Warn, Grade::Warn, Grade::Fail, Grade::Crash];
        assert_eq!(summary(&bad), "FAILED: 0 passed, 2 warnings, 2 failed, 0 skipped\n");
        assert_eq!(summary(&[]), "ok: 0 passed, 0 warnings, 0 failed, 0 skipped\n");
    }
}
