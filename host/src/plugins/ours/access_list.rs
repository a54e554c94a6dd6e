//! POSIX access lists: who they let write to a file. Linux keeps them in an attribute of the file (acl(5);
//! include/uapi/linux/posix_acl_xattr.h). Other systems' are not looked at.

use std::fs::File;
use std::io;
use std::path::Path;

use super::unix::Writer;

/// The only version there is.
const VERSION: u32 = 2;
const WRITE: u16 = 2;
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// Those whom the list of a file that belongs to `group` lets write to it, beside its owner.
pub(super) fn writers(list: &[u8], group: u32) -> Option<Vec<Writer>> {
    let (version, entries) = list.split_first_chunk()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
        return None;
    }
    let entries: Vec<(u16, bool, u32)> = entries
        .iter()
        .map(|&[tag, tag_high, allowed, allowed_high, a, b, c, d]| {
            let allowed = u16::from_le_bytes([allowed, allowed_high]);
            let id = u32::from_le_bytes([a, b, c, d]);
            (u16::from_le_bytes([tag, tag_high]), allowed & WRITE != 0, id)
        })
        .collect();
    // The mask bounds what all but the owner and others may.
    let masked = entries.iter().any(|(tag, writes, _)| *tag == MASK && !writes);
    let mut writers = Vec::new();
    for (tag, writes, id) in entries {
        let writer = match tag {
            OWNER | MASK => continue,
            OTHERS => Writer::Everybody,
            USER => Writer::User(id),
            OWNING_GROUP => Writer::Group(group),
            GROUP => Writer::Group(id),
            _ => return None,
        };
        if writes && (tag == OTHERS || !masked) {
            writers.push(writer);
        }
    }
    Some(writers)
}

#[cfg(target_os = "linux")]
const NAME: &str = "system.posix_acl_access";
/// Bytes that an attribute can have (XATTR_SIZE_MAX).
#[cfg(target_os = "linux")]
const LARGEST: usize = 64 << 10;

#[cfg(target_os = "linux")]
pub(super) fn of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut list = Vec::with_capacity(LARGEST);
    let read = rustix::fs::getxattr(path, NAME, rustix::buffer::spare_capacity(&mut list));
    found(read, list)
}

#[cfg(target_os = "linux")]
pub(super) fn of_file(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut list = Vec::with_capacity(LARGEST);
    let read = rustix::fs::fgetxattr(file, NAME, rustix::buffer::spare_capacity(&mut list));
    found(read, list)
}

#[cfg(target_os = "linux")]
fn found(read: rustix::io::Result<usize>, list: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    use rustix::io::Errno;
    match read {
        Ok(_) => Ok(Some(list)),
        // The file has none, or its file system knows none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of(_: &Path) -> io::Result<Option<Vec<u8>>> {
    Ok(None)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of_file(_: &File) -> io::Result<Option<Vec<u8>>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u8, u8, u8)]) -> Vec<u8> {
        let mut list = vec![2, 0, 0, 0];
        for (tag, allowed, id) in entries {
            list.extend([*tag, 0, *allowed, 0, *id, 0, 0, 0]);
        }
        list
    }

    #[test]
    fn a_list_tells_who_writes() {
        use Writer::{Everybody, Group, User};
        // The owner, the group and others, as in every list.
        let all = [(0x01, 6, 0), (0x04, 4, 0), (0x20, 4, 0)];
        for (more, who) in [
            (vec![], vec![]),
            (vec![(0x02, 6, 5)], vec![User(5)]),
            (vec![(0x02, 6, 5), (0x08, 2, 9), (0x10, 7, 0)], vec![User(5), Group(9)]),
            (vec![(0x02, 6, 5), (0x08, 2, 9), (0x10, 5, 0)], vec![]),
            (vec![(0x04, 6, 0)], vec![Group(70)]),
            (vec![(0x20, 2, 0), (0x10, 4, 0)], vec![Everybody]),
        ] {
            let entries: Vec<_> = all.into_iter().chain(more).collect();
            assert_eq!(writers(&list(&entries), 70), Some(who), "{entries:?}");
        }
    }

    #[test]
    fn a_list_that_is_not_understood_is_not_taken_for_an_empty_one() {
        let good = list(&[(0x01, 6, 0)]);
        let version = [&[3, 0, 0, 0], &good[4..]].concat();
        for list in [&good[..3], &good[..11], &version, &list(&[(0x40, 6, 0)])] {
            assert_eq!(writers(list, 70), None, "{list:?}");
        }
    }
}
