//! Tells the program what it can't know by itself: from which revision and for which target it is built, which
//! `ticket-host --version` says, and the text of each file of the SDK, which `plugins sdk` writes.
//!
//! The revision is what the variable `TICKET_HOST_REVISION` says, which whoever builds from a tarball sets; else the commit
//! that git has checked out; else "unknown".

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

const REVISION: &str = "TICKET_HOST_REVISION";
/// Where the SDK's source is.
const SDK: &str = "../plugin-api";
/// What of it is carried: files, and folders with all that is in them. The crate that cargo would publish has the same and its
/// tests, which a test compares.
const CARRIED: [&str; 9] = [
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "docs",
    "examples",
    "include",
    "rustfmt.toml",
    "src",
];

fn main() -> io::Result<()> {
    // Without such a line, each change of any file here would have the program compiled anew.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={REVISION}");
    let told = env::var(REVISION).ok().filter(|told| !told.trim().is_empty());
    let revision = told.or_else(checked_out).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={REVISION}={}", revision.trim());
    println!("cargo::rustc-env=TICKET_HOST_TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo::rerun-if-changed={SDK}");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("sdk.rs"), sdk()?)
}

/// A Rust expression: the SDK's files, each with its name and its text.
fn sdk() -> io::Result<String> {
    let root = Path::new(SDK).canonicalize()?;
    let mut files = Vec::new();
    for name in CARRIED {
        collect(root.join(name), &mut files)?;
    }
    files.sort();
    let entries = files.iter().map(|file| {
        let below = file.strip_prefix(&root).map_err(io::Error::other)?;
        let name: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        Ok(format!("({:?}, include_str!({file:?})),\n", name.join("/")))
    });
    let entries = entries.collect::<io::Result<String>>()?;
    // In a vendor's repository git keeps the bytes as they are, or an update would take them for changed.
    Ok(format!("&[\n(\".gitattributes\", \"* -text\\n\"),\n{entries}]"))
}

/// Adds `path`, or all files below it, to `files`.
fn collect(path: PathBuf, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path);
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(entry?.path(), files)?;
    }
    Ok(())
}

/// The commit that is checked out, if this directory lies in a clone of this repository.
fn checked_out() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    // Sources from a tarball may lie within another repository, whose commit says nothing of them.
    let root = Path::new("..").canonicalize().ok()?;
    if Path::new(&top).canonicalize().ok()? != root {
        return None;
    }
    // To the first git adds a line whenever another commit is checked out or made; where no such log is kept, the second
    // changes at least if another branch is checked out.
    for name in ["logs/HEAD", "HEAD"] {
        let file = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

/// What git says. None if there is no git, or it knows nothing.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
