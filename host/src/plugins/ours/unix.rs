//! Looks at every directory and link on the way to a file, and at the file itself once it is open.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

use super::access_list;
use super::group::is_private;
use super::{no_file, unreadable};
use crate::error::{Error, Result};

/// Links that may be followed on the way to a file: as many as Linux itself follows.
const MOST_LINKS: usize = 40;
/// The bits of a mode that let the group and everybody write, and that of a sticky directory.
const GROUP: u32 = 0o020;
const ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Opens a file that nobody but root and the host's user can write to, nor to a directory on the way to it,
/// those of symlinks included, and so replace it. What is read from the open file is what was judged.
///
/// # Errors
/// An import error: it can't be read, or others can write to it; then with the command that mends it.
pub(crate) fn open_ours(path: &Path) -> Result<File> {
    let (real, metadata) = follow(path)?;
    if !metadata.is_file() {
        return Err(no_file(path));
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(&real).map_err(|cause| unreadable(path, cause))?;
    let metadata = file.metadata().map_err(|cause| unreadable(path, cause))?;
    if !metadata.is_file() {
        return Err(no_file(path));
    }
    match judge(path, &real, &metadata, access_list::of_file(&file))? {
        Standing::Ours => Ok(file),
        Standing::Sticky => Err(shared(path, &real, &metadata)),
    }
}

/// Whether nobody but root and the host's user can write to a directory, or to one on the way to it.
///
/// # Errors
/// As [`open_ours`].
pub(crate) fn only_ours(directory: &Path) -> Result<()> {
    let (real, metadata) = follow(directory)?;
    match judge(directory, &real, &metadata, access_list::of(&real))? {
        Standing::Ours => Ok(()),
        Standing::Sticky => Err(shared(directory, &real, &metadata)),
    }
}

/// Where `path` leads to when all symlinks are followed, and what is there. Each directory on the way was
/// judged, and what is there was not.
fn follow(path: &Path) -> Result<(PathBuf, Metadata)> {
    let absolute = std::path::absolute(path).map_err(|cause| unreadable(path, cause))?;
    let mut at = PathBuf::from("/");
    let mut ahead = reversed(&absolute);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let here = fs::metadata(&at).map_err(|cause| unreadable(path, cause))?;
        let standing = judge(path, &at, &here, access_list::of(&at))?;
        let next = at.join(&name);
        let found = fs::symlink_metadata(&next).map_err(|cause| unreadable(path, cause))?;
        // In a sticky directory, such as /tmp, nobody can replace what belongs to somebody else. That is enough
        // for a directory, whose owner is judged next. A link or a library lies where others add none.
        if standing == Standing::Sticky && !found.is_dir() {
            return Err(shared(path, &at, &here));
        }
        if found.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(Error::import(format!("{}: has too many links", path.display())));
            }
            let target = fs::read_link(&next).map_err(|cause| unreadable(path, cause))?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            ahead.extend(reversed(&target));
        } else if found.is_dir() || ahead.is_empty() {
            at = next;
        } else {
            return Err(unreadable(path, io::ErrorKind::NotADirectory.into()));
        }
    }
    let found = fs::symlink_metadata(&at).map_err(|cause| unreadable(path, cause))?;
    Ok((at, found))
}

/// The names of a path, the last one first.
fn reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nobody else can write to it.
    Ours,
    /// A directory in which everybody may make files, and replace their own alone.
    Sticky,
}

/// Whether nobody else can write to `at`, which lies on the way to `path`.
fn judge(
    path: &Path,
    at: &Path,
    metadata: &Metadata,
    list: io::Result<Option<Vec<u8>>>,
) -> Result<Standing> {
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    let list = list.map_err(|cause| unreadable(at, cause))?;
    if owner != 0 && owner != own {
        return Err(Error::import(format!(
            "{}: {} belongs to another user (number {owner}), who could change what is loaded",
            path.display(),
            at.display()
        ))
        .help(format!("chown root {}", at.display())));
    }
    let Some(writers) = writers(metadata.mode(), metadata.gid(), list.as_deref()) else {
        return Err(Error::import(format!(
            "{}: {} has an access list that can't be understood",
            path.display(),
            at.display()
        ))
        .help(format!("setfacl -b {}", at.display())));
    };
    let other = writers.into_iter().find(|writer| match writer {
        Writer::Everybody => true,
        Writer::User(user) => *user != 0 && *user != own,
        Writer::Group(group) => !is_private(owner, *group),
    });
    let sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
    match other {
        None => Ok(Standing::Ours),
        Some(_) if sticky => Ok(Standing::Sticky),
        Some(other) => Err(writable(path, at, metadata.mode(), other, list.is_some())),
    }
}

fn shared(path: &Path, at: &Path, metadata: &Metadata) -> Error {
    writable(path, at, metadata.mode(), Writer::Everybody, false)
}

fn writable(path: &Path, at: &Path, mode: u32, by: Writer, listed: bool) -> Error {
    let (who, mend) = match by {
        Writer::Everybody => ("others".to_owned(), "chmod go-w"),
        Writer::Group(group) if listed => (format!("the group number {group}"), "setfacl -b"),
        Writer::Group(group) => (format!("the group number {group}"), "chmod g-w"),
        Writer::User(user) => (format!("the user number {user}"), "setfacl -b"),
    };
    Error::import(format!(
        "{}: {who} can write to {} (mode {:04o}), and so change what is loaded",
        path.display(),
        at.display(),
        mode & 0o7777
    ))
    .help(format!("{mend} {}", at.display()))
}

/// Who can write to a file beside its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Everybody,
    User(u32),
    Group(u32),
}

/// Those whom a file's mode and its access list let write to it. None if the list can't be understood.
fn writers(mode: u32, group: u32, list: Option<&[u8]>) -> Option<Vec<Writer>> {
    if let Some(list) = list {
        return access_list::writers(list, group);
    }
    let groups = (mode & GROUP != 0).then_some(Writer::Group(group));
    let everybody = (mode & ALL != 0).then_some(Writer::Everybody);
    Some(everybody.into_iter().chain(groups).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn made() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        fs::create_dir_all(real.join("good/deep")).unwrap();
        fs::create_dir(real.join("open")).unwrap();
        fs::write(real.join("good/deep/lib.so"), "bytes").unwrap();
        (root, real)
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_mode_tells_who_writes() {
        for (mode, who) in [
            (0o755, vec![]),
            (0o664, vec![Writer::Group(7)]),
            (0o646, vec![Writer::Everybody]),
            (0o777, vec![Writer::Everybody, Writer::Group(7)]),
        ] {
            assert_eq!(writers(mode, 7, None), Some(who), "{mode:o}");
        }
    }

    #[test]
    fn every_directory_that_a_link_lies_in_or_leads_through_counts() {
        let (_root, real) = made();
        let (good, open) = (real.join("good"), real.join("open"));
        // From a good directory through an open one to a good file; "above" leads there by a relative link.
        symlink(good.join("deep"), open.join("through")).unwrap();
        symlink(open.join("through"), good.join("link")).unwrap();
        symlink("../good/link/lib.so", good.join("above.so")).unwrap();
        for name in ["link/lib.so", "above.so"] {
            let path = good.join(name);
            assert!(open_ours(&path).is_ok(), "{name}");
            for mode in [0o777, 0o1777] {
                set(&open, mode);
                let error = open_ours(&path).unwrap_err();
                let at = format!("can write to {} (mode {mode:04o})", open.display());
                assert!(error.message.contains(&at), "{error}");
                assert!(error.help.unwrap().contains(&format!("go-w {}", open.display())));
            }
            set(&open, 0o755);
        }
        symlink("circle", good.join("circle")).unwrap();
        assert!(open_ours(&good.join("circle")).unwrap_err().message.contains("too many links"));
    }

    #[test]
    fn a_directory_may_lie_in_a_sticky_one_and_a_library_may_not() {
        let (_root, real) = made();
        set(&real.join("good"), 0o1777);
        assert!(open_ours(&real.join("good/deep/lib.so")).is_ok());
        assert!(only_ours(&real.join("good/deep")).is_ok());
        assert!(only_ours(&real.join("good")).is_err());
        set(&real.join("good/deep"), 0o1777);
        assert!(open_ours(&real.join("good/deep/lib.so")).is_err());
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let (_root, real) = made();
        let pipe = real.join("good/pipe.so");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe, real.join("good/deep")] {
            assert!(open_ours(&path).unwrap_err().message.ends_with("is not a file"));
        }
        assert!(open_ours(&real.join("good/deep/lib.so/more")).is_err());
    }
}
