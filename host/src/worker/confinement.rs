//! What a worker is confined to: its permissions, and the files and directories that they name, opened once.
//!
//! Invariant: a grant is what its path led to when the backend was made, without a symbolic link on the way. A plugin
//! that can write above it can't make it lead elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ticket_host_worker::permissions::Permissions;
use ticket_host_worker::sandbox::Policy;

use super::Denials;
use crate::error::{Error, Result};

/// What becomes of a directory that is granted for writing and isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is made.
    Made,
    /// It is left out of what is granted: for who only looks (`check`, a dry run), and makes nothing.
    LeftOut,
}

/// What a worker is confined to.
#[derive(Debug)]
pub struct Confinement {
    pub policy: Policy,
    /// What is granted, without what was left out.
    pub permissions: Permissions,
    /// The directories to write to that aren't there and were left out. On Linux it was looked at that the host's user could make each.
    pub left_out: Vec<PathBuf>,
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
            left_out: Vec::new(),
            #[cfg(target_os = "linux")]
            granted: Vec::new(),
            denials: Denials::untold(),
        }
    }

    /// Opens what `permissions` grants. `missing` says what becomes of directories to write to that aren't there.
    ///
    /// # Errors
    /// A settings error: a path doesn't exist, can't be made, or leads over a symbolic link.
    pub fn open(
        policy: Policy,
        permissions: &Permissions,
        missing: Missing,
    ) -> Result<Confinement> {
        let (mut granted, mut left_out) = (Vec::new(), Vec::new());
        let mut permissions = permissions.clone();
        for path in &permissions.read {
            granted.extend(open(path, None).map_err(|why| refused("read", path, why))?);
        }
        for path in &permissions.write {
            match open(path, Some(missing)).map_err(|why| refused("write", path, why))? {
                Some(opened) => granted.push(opened),
                None => left_out.push(path.clone()),
            }
        }
        permissions.write.retain(|path| !left_out.contains(path));
        Ok(Confinement {
            policy,
            permissions,
            left_out,
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
    Link(PathBuf),
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
/// the file (O_PATH). `write` says what becomes of a missing directory that is to be written to; None is returned if it
/// is left out.
///
/// # Errors
/// It isn't there, or it could not be made. That is found out before it is left out, too.
#[cfg(target_os = "linux")]
fn open(
    path: &Path,
    write: Option<Missing>,
) -> std::result::Result<Option<std::os::fd::OwnedFd>, NotGranted> {
    use rustix::fs::{
        Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, mkdirat, openat,
    };
    use rustix::io::Errno;
    use std::path::Component;
    let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |errno: Errno| NotGranted::Io(errno.into());
    let mut components = path.components();
    let is_plain = |component| matches!(component, Component::Normal(_));
    if components.next() != Some(Component::RootDir) || !components.clone().all(is_plain) {
        return Err(NotGranted::NotPlain);
    }
    let mut walked = PathBuf::from("/");
    let mut here = openat(CWD, &walked, step, Mode::empty()).map_err(failed)?;
    for component in components {
        let name = component.as_os_str();
        walked.push(name);
        let mut next = openat(&here, name, step, Mode::empty());
        let is_missing = next.as_ref().is_err_and(|errno| *errno == Errno::NOENT);
        match write.filter(|_| is_missing) {
            Some(Missing::LeftOut) => {
                let making = Access::WRITE_OK | Access::EXEC_OK;
                accessat(&here, ".", making, AtFlags::EACCESS).map_err(failed)?;
                return Ok(None);
            }
            Some(Missing::Made) => match mkdirat(&here, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => next = openat(&here, name, step, Mode::empty()),
                Err(errno) => return Err(failed(errno)),
            },
            None => {}
        }
        here = next.map_err(failed)?;
        let stat = fstat(&here).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return Err(NotGranted::Link(walked));
        }
    }
    let is_directory = FileType::from_raw_mode(fstat(&here).map_err(failed)?.st_mode).is_dir();
    if write.is_some() && !is_directory {
        return Err(failed(Errno::NOTDIR));
    }
    Ok(Some(here))
}

/// Nothing confines a plugin here, so it's enough that what is granted is there.
#[cfg(not(target_os = "linux"))]
fn open(path: &Path, write: Option<Missing>) -> std::result::Result<Option<()>, NotGranted> {
    match write {
        Some(Missing::LeftOut) if !path.try_exists()? => return Ok(None),
        Some(Missing::Made) => std::fs::create_dir_all(path)?,
        _ => {}
    }
    std::fs::metadata(path)?;
    Ok(Some(()))
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
            let opened = Confinement::open(Policy::Require, &permissions, Missing::Made);
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

    #[test]
    fn who_only_looks_makes_no_directory_and_hears_whether_it_could_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["there", "closed"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        let look = |write: &[&str]| {
            let write = write.iter().map(|name| root.join(name)).collect();
            let permissions = Permissions { write, ..Permissions::default() };
            Confinement::open(Policy::Require, &permissions, Missing::LeftOut)
        };
        let looked = look(&["there", "new/newer"]).unwrap();
        assert_eq!(looked.left_out, [root.join("new/newer")]);
        assert_eq!(looked.permissions.write, [root.join("there")]);
        assert_eq!(looked.granted.len(), 1, "as many descriptors as paths");
        assert!(!root.join("new").exists());
        // Root may write everywhere.
        if !rustix::process::geteuid().is_root() {
            use std::os::unix::fs::PermissionsExt;
            let closed = std::fs::Permissions::from_mode(0o500);
            std::fs::set_permissions(root.join("closed"), closed).unwrap();
            assert!(look(&["closed/new"]).unwrap_err().message.contains("Permission denied"));
        }
    }
}
