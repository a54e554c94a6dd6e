//! `ticket-host plugins validate`: does a library keep the rules?

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::print;
use crate::error::{Kind, Result};
use crate::terminal::safe;
use crate::validate::{self, CaseResult, Fuzzed, Grade, Options, Settings};

/// Run the cases of the plugin validator. Exit code 0: none failed; 6: one did.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The library runs in sandboxed workers, against a scripted ticket system: nothing leaves \
    this machine. Cases that need to know the ticket system are skipped without --settings."
)]
pub(super) struct Arguments {
    /// The library
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only this case; can be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// In this process, without a sandbox: for debuggers and sanitizers
    #[arg(long)]
    in_process: bool,
    /// TOML: endpoint, secret, information, permissions, and [[http]]: how the ticket system answers
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Instead of the cases: call it with mutated requests and answers for so long
    #[arg(long, value_name = "SECONDS")]
    fuzz: Option<u64>,
    /// Do what --fuzz did with this seed, once
    #[arg(long, value_name = "SEED", conflicts_with = "fuzz")]
    reproduce: Option<u64>,
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let settings = arguments.settings.as_deref().map(Settings::load).transpose()?;
    let options = Options {
        library: &arguments.file,
        settings,
        in_process: arguments.in_process,
        only: &arguments.only,
    };
    if arguments.fuzz.is_some() || arguments.reproduce.is_some() {
        return fuzz(arguments, options).await;
    }
    let mut results = Vec::new();
    let width = validate::cases().map(|case| case.name.len()).max().unwrap_or(0);
    validate::run(options, |result| {
        if !arguments.json {
            print(&safe(&line(result, width)));
        }
        results.push(result.clone());
    })
    .await?;
    let count = |grade| results.iter().filter(|result| result.grade == grade).count();
    let bad = count(Grade::Fail) + count(Grade::Crash);
    if arguments.json {
        print(&format!(
            "{:#}\n",
            json!({"file": arguments.file, "passed": bad == 0, "cases": results})
        ));
    } else {
        print(&format!(
            "{}: {} passed, {} warnings, {bad} failed, {} skipped\n",
            if bad == 0 { "ok" } else { "FAILED" },
            count(Grade::Pass),
            count(Grade::Warn),
            count(Grade::Skip)
        ));
    }
    Ok(ExitCode::from(if bad == 0 { 0 } else { Kind::Plugin.exit_code() }))
}

fn line(result: &CaseResult, width: usize) -> String {
    let mut line =
        format!("{:5}  {:width$}  {}\n", result.grade.name(), result.name, result.demands);
    if !result.message.is_empty() {
        line.push_str(&format!("{:width$}         {}\n", "", result.message));
    }
    line
}

async fn fuzz(arguments: &Arguments, options: Options<'_>) -> Result<ExitCode> {
    let seed = arguments.reproduce.unwrap_or_else(|| fastrand::u64(..1 << 48));
    if arguments.fuzz.is_some() {
        print(&format!("seed {seed}\n"));
    }
    match validate::fuzz(options, arguments.fuzz, seed).await {
        Fuzzed::KeptTheRules { calls } => {
            print(&format!("ok: {calls} calls kept the rules\n"));
            Ok(ExitCode::SUCCESS)
        }
        Fuzzed::BrokeARule { seed, what } => {
            print(&safe(&format!("FAILED: {what}\n  again: --reproduce {seed}\n")));
            Ok(ExitCode::from(Kind::Plugin.exit_code()))
        }
    }
}
