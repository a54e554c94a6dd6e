//! What a worker is confined to: its permissions, and the files and directories that they name, opened once.
//!
//! Invariant: a grant is what its path led to when the backend was made, without a symbolic link on the way. A plugin
//! that can write above it can't make it lead elsewhere.

use std::path::Path;
use std::sync::Arc;

use ticket_host_worker::permissions::Permissions;
use ticket_host_worker::sandbox::Policy;

use super::Denials;
use crate::error::{Error, Result};

/// What a worker is confined to.
#[derive(Debug)]
pub struct Confinement {
    pub policy: Policy,
    pub permissions: Permissions,
    /// The descriptors of what `permissions.read` and then `permissions.write` name.
    #[cfg(target_os = "linux")]
    pub granted: Vec<std::os::fd::OwnedFd>,
    /// Who is told of the system calls that it refuses.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is refused there"))]
    pub(crate) denials: Arc<Denials>,
}

impl Confinement {
    /// Nothing is granted.
    pub fn nothing(policy: Policy) -> Confinement {
        Confinement {
            policy,
            permissions: Permissions::default(),
            #[cfg(target_os = "linux")]
            granted: Vec::new(),
            denials: Denials::untold(),
        }
    }

    /// Opens what `permissions` grants. Directories to write to are made where there are none.
    ///
    /// # Errors
    /// A settings error: a path doesn't exist, can't be made, or leads over a symbolic link.
    pub fn open(policy: Policy, permissions: &Permissions) -> Result<Confinement> {
        let mut granted = Vec::new();
        for path in &permissions.read {
            granted.push(open(path, false).map_err(|why| refused("read", path, why))?);
        }
        for path in &permissions.write {
            granted.push(open(path, true).map_err(|why| refused("write", path, why))?);
        }
        Ok(Confinement {
            policy,
            permissions: permissions.clone(),
            #[cfg(target_os = "linux")]
            granted,
            denials: Denials::untold(),
        })
    }
}

#[cfg(target_os = "linux")]
impl Confinement {
    /// Whether both grant the very same files and directories: one of that name that was made anew is another.
    pub fn grants_same_files(&self, other: &Confinement) -> bool {
        let identities = |confinement: &Confinement| -> Option<Vec<(u64, u64)>> {
            let identity =
                |file| rustix::fs::fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino));
            confinement.granted.iter().map(identity).collect()
        };
        identities(self).is_some_and(|own| identities(other) == Some(own))
    }
}

#[cfg(not(target_os = "linux"))]
impl Confinement {
    /// Nothing is opened here, so there is nothing to compare.
    pub fn grants_same_files(&self, _: &Confinement) -> bool {
        true
    }
}

/// Why a path can't be granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[cfg(target_os = "linux")]
    #[error("is not an absolute path without `..`")]
    NotPlain,
    #[cfg(target_os = "linux")]
    #[error("{0} is a symbolic link, and whoever can change it could make it lead elsewhere")]
    Link(std::path::PathBuf),
}

fn refused(setting: &str, path: &Path, why: NotGranted) -> Error {
    let error = Error::settings(format!("permissions.{setting}: {}: {why}", path.display()));
    error.help(match (&why, path.canonicalize()) {
        #[cfg(target_os = "linux")]
        (NotGranted::Link(_), Ok(real)) => format!("name where it leads: {}", real.display()),
        _ if setting == "write" => {
            "name a directory that the host's user can make, or make it".to_owned()
        }
        _ => "name a file or a directory that is there".to_owned(),
    })
}

/// Opens `path` step by step, so that no symbolic link is followed. The descriptor serves for nothing but to name
/// the file (O_PATH).
#[cfg(target_os = "linux")]
fn open(path: &Path, make: bool) -> std::result::Result<std::os::fd::OwnedFd, NotGranted> {
    use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat};
    use rustix::io::Errno;
    use std::path::{Component, PathBuf};
    let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |errno: Errno| NotGranted::Io(errno.into());
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(NotGranted::NotPlain);
    }
    let mut walked = PathBuf::from("/");
    let mut here = openat(CWD, &walked, step, Mode::empty()).map_err(failed)?;
    for component in components {
        let Component::Normal(name) = component else { return Err(NotGranted::NotPlain) };
        walked.push(name);
        let mut next = openat(&here, name, step, Mode::empty());
        if make && next.as_ref().is_err_and(|errno| *errno == Errno::NOENT) {
            match mkdirat(&here, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => next = openat(&here, name, step, Mode::empty()),
                Err(errno) => return Err(failed(errno)),
            }
        }
        here = next.map_err(failed)?;
        let stat = fstat(&here).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return Err(NotGranted::Link(walked));
        }
    }
    let is_directory = FileType::from_raw_mode(fstat(&here).map_err(failed)?.st_mode).is_dir();
    if make && !is_directory {
        return Err(failed(Errno::NOTDIR));
    }
    Ok(here)
}

/// Nothing confines a plugin here, so it's enough that what is granted is there.
#[cfg(not(target_os = "linux"))]
fn open(path: &Path, make: bool) -> std::result::Result<(), NotGranted> {
    if make {
        std::fs::create_dir_all(path)?;
    }
    std::fs::metadata(path)?;
    Ok(())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_grant_is_made_where_it_is_missing_and_no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        symlink(root.join("real"), root.join("link")).unwrap();
        let grant = |read: &[&str], write: &[&str]| {
            let paths = |names: &[&str]| names.iter().map(|name| root.join(name)).collect();
            let permissions =
                Permissions { read: paths(read), write: paths(write), ..Permissions::default() };
            let opened = Confinement::open(Policy::Require, &permissions);
            opened
                .map(|confinement| confinement.granted.len())
                .map_err(|error| format!("{} {}", error.message, error.help.unwrap_or_default()))
        };
        assert_eq!(grant(&["file", "real"], &["real/new/newer"]), Ok(3));
        assert!(root.join("real/new/newer").is_dir());
        for (read, write, why) in [
            (&["link"][..], &[][..], "is a symbolic link"),
            (&[], &["link"], "is a symbolic link"),
            (&[], &["link/below"], "link is a symbolic link"),
            (&["link/new"], &[], "name where it leads: "),
            (&["real/../file"], &[], "without `..`"),
            (&["nowhere"], &[], "No such file"),
            (&[], &["file"], "Not a directory"),
            (&[], &["file/below"], "Not a directory"),
        ] {
            let refused = grant(read, write).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(!root.join("real/below").exists());
    }
}
