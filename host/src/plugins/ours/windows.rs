//! Opens libraries on Windows, whose access lists are not looked at.

use std::fs::{self, File};
use std::path::Path;

use super::{no_file, unreadable};
use crate::error::Result;

/// Opens a file.
///
/// # Errors
/// An import error: it can't be read.
pub(crate) fn open_ours(path: &Path) -> Result<File> {
    // What is not a file, such as a pipe, might be waited for for ever.
    if !fs::metadata(path).map_err(|cause| unreadable(path, cause))?.is_file() {
        return Err(no_file(path));
    }
    File::open(path).map_err(|cause| unreadable(path, cause))
}

pub(crate) fn only_ours(_: &Path) -> Result<()> {
    Ok(())
}
