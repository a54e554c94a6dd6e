//! Folders that commands write: each is there as a whole, or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that is being written beside where it is to be. It is removed when this is dropped, unless it was put in its place.
pub(super) struct Staged {
    new: Temporary,
    /// Where what was there before is kept until the new one is in its place.
    aside: PathBuf,
}

/// A folder that is removed when this is dropped, if it is there.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // If it can't be removed, it stays; its name says what it is.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Staged {
    /// Begins an empty one beside `folder`.
    pub(super) fn beside(folder: &Path) -> io::Result<Staged> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mark = fastrand::u64(..);
        let beside = |what: &str| folder.with_file_name(format!(".{name}-{what}-{mark:016x}"));
        fs::create_dir(beside("new"))?;
        Ok(Staged { new: Temporary(beside("new")), aside: beside("old") })
    }

    pub(super) fn path(&self) -> &Path {
        &self.new.0
    }

    /// Writes a file, and the folders that it is in.
    pub(super) fn write(&self, name: impl AsRef<Path>, text: &str) -> io::Result<()> {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(self.path()))?;
        fs::write(path, text)
    }

    /// Puts it in its place. A folder that is there is removed when this one is there.
    pub(super) fn put(self, folder: &Path) -> io::Result<()> {
        if !folder.exists() {
            return fs::rename(self.path(), folder);
        }
        fs::rename(folder, &self.aside)?;
        fs::rename(self.path(), folder).inspect_err(|_| {
            // The first error is the one that is told of.
            let _ = fs::rename(&self.aside, folder);
        })?;
        drop(Temporary(self.aside));
        Ok(())
    }
}
