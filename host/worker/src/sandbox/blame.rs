//! Says in words why a part of the sandbox can't be had: whether the kernel, a filter around this program, or this
//! build of it is to blame, and what mends that.

/// A part of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Landlock,
    Seccomp,
}

/// The first version of Linux that has Landlock.
const LANDLOCK_SINCE: (u32, u32) = (5, 13);

/// Why `part` can't be used on a machine whose kernel calls itself `release`, after a system call of it failed with
/// `errno`. Without an `errno` this program itself lacks it.
pub(super) fn why(part: Part, errno: Option<i32>, release: &str) -> String {
    match (part, errno) {
        (_, None) => format!(
            "this program was built for {}, whose system calls it has no list of",
            std::env::consts::ARCH
        ),
        (_, Some(libc::EPERM | libc::EACCES)) => format!(
            "a seccomp filter around this program forbids {} (EPERM): it must let the system calls \
             landlock_create_ruleset, landlock_add_rule, landlock_restrict_self and seccomp through \
             (in a systemd unit SystemCallFilter, in a container its seccomp profile)",
            match part {
                Part::Landlock => "Landlock",
                Part::Seccomp => "seccomp",
            }
        ),
        (Part::Landlock, Some(libc::EOPNOTSUPP)) => {
            "the kernel has Landlock, but it is switched off at boot: add landlock to lsm= on the \
             kernel's command line"
                .to_owned()
        }
        (Part::Landlock, Some(libc::ENOSYS)) if version(release) < Some(LANDLOCK_SINCE) => {
            format!("the kernel ({release}) is too old for Landlock, which Linux has since 5.13")
        }
        (Part::Landlock, Some(libc::ENOSYS)) => format!(
            "the kernel ({release}) was built without Landlock, or a container's seccomp profile hides \
             it (ENOSYS)"
        ),
        (Part::Seccomp, Some(libc::ENOSYS | libc::EINVAL)) => {
            format!("the kernel ({release}) was built without CONFIG_SECCOMP_FILTER")
        }
        (_, Some(errno)) => {
            format!("the kernel refused it: {}", std::io::Error::from_raw_os_error(errno))
        }
    }
}

/// The first two numbers of a release such as `6.1.0-30-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Part::{Landlock, Seccomp};
    use super::*;

    #[test]
    fn the_kernel_a_filter_or_the_build_is_to_blame() {
        for (part, errno, release, says) in [
            (Landlock, Some(libc::ENOSYS), "5.10.0-32-amd64", "is too old for Landlock"),
            (Landlock, Some(libc::ENOSYS), "5.4", "is too old for Landlock"),
            (Landlock, Some(libc::ENOSYS), "6.1.0-30-amd64", "was built without Landlock"),
            (Landlock, Some(libc::EOPNOTSUPP), "6.1.0", "add landlock to lsm="),
            (Landlock, Some(libc::EPERM), "6.1.0", "forbids Landlock (EPERM)"),
            (Landlock, Some(libc::E2BIG), "6.1.0", "the kernel refused it"),
            (Seccomp, Some(libc::EPERM), "6.1.0", "forbids seccomp (EPERM)"),
            (Seccomp, Some(libc::EINVAL), "6.1.0", "without CONFIG_SECCOMP_FILTER"),
            (Seccomp, None, "6.1.0", "whose system calls it has no list of"),
        ] {
            let why = why(part, errno, release);
            assert!(why.contains(says), "{part:?} {errno:?} {release}: {why}");
        }
    }
}
