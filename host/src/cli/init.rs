//! `ticket-host init`: a config file to start from.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use url::Url;

use super::{print, warn};
use crate::config;
use crate::error::{Error, Result};

/// Writes a commented config file; its backend `local` works at once, the others are comments.
/// Prints the file's name. An existing file is left as it is.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments, named: Option<&Path>) -> Result<ExitCode> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => config::user_file().ok_or_else(|| {
            Error::usage("there is no home directory for the config file")
                .help("name one with --config")
        })?,
    };
    let failed = |cause: std::io::Error| {
        Error::settings(format!("the config file {} can't be written: {cause}", path.display()))
            .help("name another with --config")
    };
    let directory = absolute(&path).map_err(failed)?;
    fs::create_dir_all(&directory).map_err(failed)?;
    let text = starter(&directory.join("tickets"));
    match options().open(&path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(failed)?,
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
            warn(&format!("{} is there already and is left as it is", path.display()));
        }
        Err(cause) => return Err(failed(cause)),
    }
    print(&format!("{}\n", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// The directory that `path` is in, absolute.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    Ok(whole.parent().map(Path::to_owned).unwrap_or_default())
}

/// A new file that only its owner can read: secrets may come to stand in it.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn starter(tickets: &Path) -> String {
    let endpoint = Url::from_directory_path(tickets)
        .map_or_else(|()| "file:///tmp/tickets/".to_owned(), String::from);
    let directory = format!("{tickets:?}");
    include_str!("starter.toml").replace("{endpoint}", &endpoint).replace("{directory}", &directory)
}
