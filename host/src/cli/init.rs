//! `ticket-host init`: a config file to start from.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use url::Url;

use super::output::{print, print_json};
use super::warn;
use crate::config;
use crate::error::{Error, Result};
use crate::worker::Worker;

const EXAMPLES: &str = "\
Examples:
  ticket-host init
  ticket-host init --config ./ticket-host.toml";

/// Writes a config file with comments, and prints its name. Its backend `local`, which needs no ticket
/// system, works at once; the others are examples in comments. A file that is there is left as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {}

pub(super) async fn run(_: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let path = match &program.config {
        Some(path) => path.clone(),
        None => config::user_file().ok_or_else(|| {
            Error::usage("this user has no home directory for the config file")
                .help("name a file with --config")
        })?,
    };
    let failed = |cause: std::io::Error| {
        Error::settings(format!("the config file {} can't be written: {cause}", path.display()))
            .help("name another file with --config")
    };
    let directory = directory_of(&path).map_err(failed)?;
    fs::create_dir_all(&directory).map_err(failed)?;
    let lacks = Worker::unconfinable().await;
    let lacks = lacks.map_err(|cause| Error::import("the sandbox can't be tried").cause(cause))?;
    let text = starter(&directory.join("tickets"), &lacks);
    let written = match options().open(&path) {
        Ok(mut file) => {
            file.write_all(text.as_bytes()).map_err(failed)?;
            for lack in &lacks {
                warn(&format!("the sandbox is not whole on this machine: {lack}"));
            }
            if !lacks.is_empty() && cfg!(target_os = "linux") {
                warn(
                    "so the config says sandbox = \"best-effort\"; \"require\" would load no plugin here",
                );
            }
            true
        }
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
            warn(&format!("{} is there already and is left as it is", path.display()));
            false
        }
        Err(cause) => return Err(failed(cause)),
    };
    let answered = if program.json {
        print_json(&json!({"config": path.display().to_string(), "written": written}))
    } else {
        print(&format!("{}\n", path.display()))
    };
    let what = if written { "was written" } else { "was there already" };
    answered.map_err(|lost| lost.at(&format!("the config file {} {what}", path.display())))?;
    Ok(ExitCode::SUCCESS)
}

/// The absolute path of the directory that `path` is in.
fn directory_of(path: &Path) -> std::io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    Ok(whole.parent().map(Path::to_owned).unwrap_or_default())
}

/// How a config file is opened to be written: it must be new, and only its owner can read it, since the operator may
/// write secrets into it.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The config file's text; its tickets go into the directory `tickets`. `lacks` says what the sandbox can't enforce
/// on this machine.
fn starter(tickets: &Path, lacks: &[String]) -> String {
    let endpoint = Url::from_directory_path(tickets)
        .map_or_else(|()| "file:///tmp/tickets/".to_owned(), String::from);
    let directory = format!("{tickets:?}");
    let (sandbox, can) = if lacks.is_empty() {
        ("require", "# This machine has all of it.".to_owned())
    } else {
        ("best-effort", format!("# This machine lacks a part of it.\n# {}", lacks.join("\n# ")))
    };
    include_str!("starter.toml")
        .replace("{endpoint}", &endpoint)
        .replace("{directory}", &directory)
        .replace("{sandbox}", sandbox)
        .replace("{can}", &can)
}
