//! Tells the program from which revision, and for which target, it is built: `ticket-host --version` says so.
//!
//! The revision is what the variable `TICKET_HOST_REVISION` says, which whoever builds from a tarball sets; else the commit
//! that git has checked out; else "unknown".

use std::env;
use std::path::Path;
use std::process::Command;

const REVISION: &str = "TICKET_HOST_REVISION";

fn main() {
    // Without such a line, each change of any file here would have the program compiled anew.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={REVISION}");
    let told = env::var(REVISION).ok().filter(|told| !told.trim().is_empty());
    let revision = told.or_else(checked_out).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={REVISION}={}", revision.trim());
    println!("cargo::rustc-env=TICKET_HOST_TARGET={}", env::var("TARGET").unwrap_or_default());
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
