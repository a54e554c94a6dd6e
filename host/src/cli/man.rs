//! `ticket-host man`: the man pages, made of what `--help` says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use super::output::print_json;
use crate::error::{Error, Result};

/// Writes the man pages: ticket-host.1, and a page for each command, like ticket-host-queue-list.1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ticket-host man ~/.local/share/man/man1")]
pub(super) struct Arguments {
    /// The directory to write them to; it is made if it isn't there
    directory: PathBuf,
}

pub(super) fn run(arguments: &Arguments, as_json: bool) -> Result<ExitCode> {
    let directory = &arguments.directory;
    let mut program = super::Arguments::command().disable_help_subcommand(true);
    program.build();
    let mut files = Vec::new();
    std::fs::create_dir_all(directory)
        .and_then(|()| write(&program, directory, &mut files))
        .map_err(|cause| {
            let what = format!("the man pages can't be written to {}", directory.display());
            Error::usage(what).cause(cause).help("name another directory")
        })?;
    if as_json {
        print_json(&json!({"directory": directory.display().to_string(), "files": files}))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command and those of the commands below it, and adds their names to `files`.
fn write(command: &Command, directory: &Path, files: &mut Vec<String>) -> std::io::Result<()> {
    let page = Man::new(command.clone());
    page.generate_to(directory)?;
    files.push(page.get_filename());
    command.get_subcommands().try_for_each(|below| write(below, directory, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_man_page() {
        fn expect(command: &clap::Command, page: &str, directory: &std::path::Path) {
            let path = directory.join(format!("{page}.1"));
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(text.contains(".SH SYNOPSIS"), "{} is no man page", path.display());
            for below in command.get_subcommands() {
                expect(below, &format!("{page}-{}", below.get_name()), directory);
            }
        }
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("man1");
        run(&Arguments { directory: directory.clone() }, false).expect("pages");
        expect(&super::super::Arguments::command(), "ticket-host", &directory);
    }
}
