//! Opens files that nobody but root and the host's user can have written to. sshd has the same rule for keys
//! (StrictModes).
//!
//! Invariant: a directory is judged before anything in it is looked at. From then on nobody else can change what it
//! holds, so what was judged is what is opened, though each is found by its name.

#[cfg(unix)]
mod access_list;
#[cfg(unix)]
mod group;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

use std::io;
use std::path::Path;

use crate::error::Error;
#[cfg(unix)]
pub(crate) use unix::{only_ours, open_ours};
#[cfg(not(unix))]
pub(crate) use windows::{only_ours, open_ours};

pub(crate) fn unreadable(path: &Path, cause: io::Error) -> Error {
    Error::import(format!("{}: can't be read", path.display())).cause(cause)
}

pub(crate) fn no_file(path: &Path) -> Error {
    Error::import(format!("{}: is not a file", path.display()))
}
