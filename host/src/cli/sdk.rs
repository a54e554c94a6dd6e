//! `ticket-host plugins sdk`: writes the source of the SDK for plugins in Rust, which the program carries, into a folder that
//! a plugin's Cargo.toml names by its path.
//!
//! Invariant: the folder is replaced as a whole, and only where each file in it is as this command wrote it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use ticket_host_worker::Digest;
use ticket_plugin_api::VERSION;

use super::folder::Staged;
use super::output::{print, print_json};
use crate::error::{Error, Result};
use crate::terminal::line;

const EXAMPLES: &str = "\
Examples:
  ticket-host plugins sdk sdk
  ticket-host plugins sdk ~/src/ticket-plugin-api";

/// The SDK's files, each with its name and its text. build.rs collects them.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The file in a written folder that says of which version the folder is, and what was written. `sha256sum --check` reads it.
const RECORD: &str = "WRITTEN.sha256";
/// What the record begins with; the version follows.
const RECORD_BEGIN: &str = "# ticket-plugin-api ";
/// Bytes of a record, at most: a line for each file.
const LARGEST_RECORD: u64 = 1 << 20;
/// How many files an error names.
const NAMED: usize = 5;

/// Write the SDK for plugins in Rust, or update one that was written by an earlier ticket-host. Its version is this
/// program's. `plugins new` writes one into each new plugin in Rust.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The folder: one that isn't there yet, an empty one, or one that this command wrote. Cargo.toml then has:
    /// ticket-plugin-api = { path = "DIR" }
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// What was done to a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The SDK was written to where there was nothing.
    Wrote,
    /// It was written in the place of another one, of this version.
    Replaced(String),
    /// The very same was there.
    Kept,
}

pub(super) fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let done = write(&arguments.folder)?;
    let folder = arguments.folder.display().to_string();
    let replaced = match &done {
        Done::Replaced(version) => Some(version),
        Done::Wrote | Done::Kept => None,
    };
    let answered = if program.json {
        print_json(&json!({
            "folder": folder,
            "version": VERSION,
            "files": FILES.len(),
            "written": done != Done::Kept,
            "replaced": replaced,
        }))
    } else {
        let what = match replaced {
            _ if done == Done::Kept => "was there already".to_owned(),
            Some(version) => format!("was written in the place of {}", line(version)),
            None => "was written".to_owned(),
        };
        print(&format!("{}: ticket-plugin-api {VERSION} {what}\n", line(&folder)))
    };
    answered.map_err(|lost| lost.at(&format!("the SDK is in {folder}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the SDK to `folder`.
///
/// # Errors
/// Something is there that this command didn't write, or it can't be written; what was there stays.
pub(super) fn write(folder: &Path) -> Result<Done> {
    write_files(folder, FILES, VERSION)
}

fn write_files(named: &Path, files: &[(&str, &str)], version: &str) -> Result<Done> {
    let failed = |cause: io::Error| {
        Error::usage(format!("{} can't be written", named.display()))
            .cause(cause)
            .help("the SDK is made beside the folder and then put in its place: may you write to where it lies?")
    };
    // A link is followed, so that the folder is replaced, and not the link.
    let folder =
        if named.exists() { named.canonicalize().map_err(failed)? } else { named.to_owned() };
    if named.file_name().and(folder.file_name()).is_none() {
        let error = Error::usage(format!("{} can't be the folder of the SDK", named.display()));
        return Err(error.help("name a folder from outside of it, such as sdk"));
    }
    let record = record_of(files, version);
    let there = look(&folder, named)?;
    if there.as_deref() == Some(record.as_str()) && is_whole(&folder, files) {
        return Ok(Done::Kept);
    }
    let staged = Staged::beside(&folder).map_err(failed)?;
    for (name, text) in files.iter().copied().chain([(RECORD, record.as_str())]) {
        staged.write(name, text).map_err(failed)?;
    }
    staged.put(&folder).map_err(failed)?;
    Ok(there.map_or(Done::Wrote, |record| Done::Replaced(version_of(&record).to_owned())))
}

/// The text of the record: the version, then each file after its SHA-256.
fn record_of(files: &[(&str, &str)], version: &str) -> String {
    let mut out = format!(
        "{RECORD_BEGIN}{version}\n\
         # `ticket-host plugins sdk` wrote this folder, and updates it as a whole: keep files of your own elsewhere.\n"
    );
    for (name, text) in files {
        out.push_str(&format!("{}  {name}\n", Digest::of(text.as_bytes())));
    }
    out
}

fn version_of(record: &str) -> &str {
    record.lines().next().and_then(|line| line.strip_prefix(RECORD_BEGIN)).unwrap_or_default()
}

/// Whether no file is missing in a folder in which nothing is changed.
fn is_whole(folder: &Path, files: &[(&str, &str)]) -> bool {
    files.iter().all(|(name, _)| folder.join(name).is_file())
}

/// The record of the SDK that is in `folder`; None if nothing is there.
///
/// # Errors
/// It is no folder, it is none that this command wrote, or something in it was added or changed since.
fn look(folder: &Path, named: &Path) -> Result<Option<String>> {
    let refused = |what: String, help: &str| {
        Err(Error::usage(format!("{}: {what}; nothing was written", named.display())).help(help))
    };
    let unreadable = |cause: io::Error| {
        Error::usage(format!("{} can't be looked at", named.display()))
            .cause(cause)
            .help("name a folder in one that you may read and write to")
    };
    match fs::symlink_metadata(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unreadable(cause)),
        Ok(metadata) if !metadata.is_dir() => {
            return refused(
                "it is not a folder".to_owned(),
                "name another one, or remove it first",
            );
        }
        Ok(_) => {}
    }
    if fs::read_dir(folder).map_err(unreadable)?.next().is_none() {
        return Ok(None);
    }
    let record = match read_record(&folder.join(RECORD)) {
        Some(record) if record.starts_with(RECORD_BEGIN) => record,
        _ => {
            return refused(
                format!("it holds something, and no {RECORD}, so it is not the SDK"),
                "name a folder that isn't there yet, or an empty one",
            );
        }
    };
    let mut strange = Vec::new();
    compare(folder, "", &record, &mut strange).map_err(unreadable)?;
    if strange.is_empty() {
        return Ok(Some(record));
    }
    strange.sort();
    let more = strange.len().saturating_sub(NAMED);
    strange.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    refused(
        format!("it holds what `plugins sdk` didn't write: {}{more}", strange.join(", ")),
        "move that elsewhere; or, if you don't need it, remove the folder",
    )
}

/// The text of a record. None if there is none, or it is nothing that this command wrote: a link, a pipe, or large.
fn read_record(path: &Path) -> Option<String> {
    let file = fs::symlink_metadata(path).ok()?;
    let is_a_record = file.is_file() && file.len() <= LARGEST_RECORD;
    is_a_record.then(|| fs::read_to_string(path).ok()).flatten()
}

/// Adds to `strange` what is below `folder`, whose name begins with `prefix`, and isn't as the record says.
fn compare(folder: &Path, prefix: &str, record: &str, strange: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        let below = format!("{name}/");
        if kind.is_dir() && record.lines().any(|line| written_as(line).starts_with(&below)) {
            compare(&entry.path(), &below, record, strange)?;
        } else if !kind.is_file() {
            strange.push(name);
        } else if name != RECORD {
            let line = format!("{}  {name}", Digest::of_all(File::open(entry.path())?)?);
            if !record.lines().any(|known| known == line) {
                strange.push(name);
            }
        }
    }
    Ok(())
}

/// The name of the file that a line of a record is about.
fn written_as(line: &str) -> &str {
    line.split_once("  ").map_or("", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use tempfile::tempdir;
    use toml::{Table, Value};

    use super::*;

    const OLD: &[(&str, &str)] =
        &[("Cargo.toml", "old"), ("src/lib.rs", "a"), ("src/gone/x.rs", "b")];
    const NEW: &[(&str, &str)] = &[("Cargo.toml", "new"), ("src/lib.rs", "a"), ("src/y.rs", "c")];

    /// What is in a folder: each file's name and text, but for the record.
    fn files(folder: &Path) -> Vec<(String, String)> {
        fn add(folder: &Path, prefix: &str, out: &mut Vec<(String, String)>) {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    add(&entry.path(), &format!("{name}/"), out);
                } else if name != RECORD {
                    out.push((name, fs::read_to_string(entry.path()).unwrap()));
                }
            }
        }
        let mut out = Vec::new();
        add(folder, "", &mut out);
        out.sort();
        out
    }

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut out: Vec<_> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        out.sort();
        out
    }

    #[test]
    fn an_update_leaves_what_the_new_sdk_has_and_nothing_else() {
        let place = tempdir().unwrap();
        let sdk = place.path().join("sdk");
        assert_eq!(write_files(&sdk, OLD, "0.1.0").unwrap(), Done::Wrote);
        assert_eq!(files(&sdk), owned(OLD));
        assert_eq!(write_files(&sdk, OLD, "0.1.0").unwrap(), Done::Kept);
        assert_eq!(write_files(&sdk, NEW, "0.2.0").unwrap(), Done::Replaced("0.1.0".to_owned()));
        assert_eq!(files(&sdk), owned(NEW));
        fs::remove_file(sdk.join("src/y.rs")).unwrap();
        assert_eq!(write_files(&sdk, NEW, "0.2.0").unwrap(), Done::Replaced("0.2.0".to_owned()));
        assert_eq!(files(&sdk), owned(NEW));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_was_added_or_changed_is_never_overwritten() {
        for (file, text) in
            [("src/lib.rs", "mine"), ("src/mine.rs", ""), ("notes", "mine"), ("target/x/y", "")]
        {
            let place = tempdir().unwrap();
            let sdk = place.path().join("sdk");
            write_files(&sdk, OLD, "0.1.0").unwrap();
            fs::create_dir_all(sdk.join(file).parent().unwrap()).unwrap();
            fs::write(sdk.join(file), text).unwrap();
            let before = files(&sdk);
            let error = write_files(&sdk, NEW, "0.2.0").unwrap_err();
            let named = file.split("/x/").next().unwrap();
            assert!(error.message.contains(&format!("didn't write: {named};")), "{error}");
            assert_eq!(files(&sdk), before, "{file}");
        }
    }

    #[test]
    fn what_cannot_be_put_in_place_leaves_what_was_there() {
        let place = tempdir().unwrap();
        let sdk = place.path().join("sdk");
        write_files(&sdk, OLD, "0.1.0").unwrap();
        let bad = [("src/lib.rs", "c"), ("src/lib.rs/y.rs", "a file can't be a folder")];
        let error = write_files(&sdk, &bad, "0.2.0").unwrap_err();
        assert!(
            error.message.ends_with("sdk can't be written") && error.cause.is_some(),
            "{error}"
        );
        assert_eq!(files(&sdk), owned(OLD));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn sha256sum_checks_a_record() {
        let place = tempdir().unwrap();
        let sdk = place.path().join("sdk");
        write(&sdk).unwrap();
        let check = Command::new("sha256sum")
            .args(["--check", "--strict", RECORD])
            .current_dir(&sdk)
            .output();
        let output = check.unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), FILES.len());
    }

    #[test]
    fn the_carried_files_are_those_that_cargo_would_publish() {
        let listed = Command::new(env!("CARGO"))
            .args([
                "package",
                "--list",
                "--allow-dirty",
                "--offline",
                "--package",
                "ticket-plugin-api",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(listed.status.success(), "{listed:?}");
        let listed = String::from_utf8(listed.stdout).unwrap();
        let made_by_cargo = ["Cargo.lock", "Cargo.toml.orig", ".cargo_vcs_info.json"];
        // The crate has its tests, too, which nobody needs who builds with it.
        let published: BTreeSet<&str> = listed
            .lines()
            .filter(|name| !made_by_cargo.contains(name) && !name.starts_with("tests/"))
            .collect();
        let carried = FILES.iter().map(|(name, _)| *name).filter(|name| *name != ".gitattributes");
        assert_eq!(carried.collect::<BTreeSet<_>>(), published);
        let bytes: usize = FILES.iter().map(|(_, text)| text.len()).sum();
        println!("the SDK: {} files, {} KB", FILES.len(), bytes / 1000);
    }

    fn text(name: &str) -> &'static str {
        FILES.iter().find(|(file, _)| *file == name).unwrap().1
    }

    #[test]
    fn the_sdk_says_of_itself_what_the_workspace_says_of_all() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let at_root = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        let workspace: Table = at_root("Cargo.toml").parse().unwrap();
        let (workspace, sdk): (_, Table) =
            (&workspace["workspace"], text("Cargo.toml").parse().unwrap());
        for (name, value) in workspace["package"].as_table().unwrap() {
            assert_eq!(sdk["package"].get(name), Some(value), "{name}");
        }
        assert_eq!(sdk["lints"], workspace["lints"]);
        for (name, value) in sdk["dependencies"].as_table().unwrap() {
            let mut value = value.clone();
            if let Some(table) = value.as_table_mut() {
                table.remove("optional");
            }
            assert_eq!(Some(&value), workspace["dependencies"].get(name), "{name}");
        }
        assert_eq!(sdk["package"]["version"], Value::from(VERSION));
        for name in ["LICENSE-MIT", "LICENSE-APACHE", "rustfmt.toml"] {
            assert_eq!(text(name), at_root(name), "{name}");
        }
    }

    #[test]
    fn the_pages_of_the_sdk_link_to_what_is_carried() {
        for (file, text) in FILES.iter().filter(|(file, _)| file.ends_with(".md")) {
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = link.split('#').next().unwrap();
                if path.is_empty() || path.contains("://") {
                    continue;
                }
                let mut target: Vec<&str> =
                    folder.split('/').filter(|part| !part.is_empty()).collect();
                for part in path.split('/') {
                    if part == ".." {
                        assert!(target.pop().is_some(), "{file}: {link} leads out of the SDK");
                    } else {
                        target.push(part);
                    }
                }
                let target = target.join("/");
                let is_there = |(name, _): &(&str, &str)| {
                    *name == target || name.starts_with(&format!("{target}/"))
                };
                assert!(FILES.iter().any(is_there), "{file}: {link} leads nowhere");
            }
        }
    }
}
