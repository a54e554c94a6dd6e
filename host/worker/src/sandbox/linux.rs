//! Confines the worker by what Linux offers to a process without privileges: Landlock for files, seccomp for system
//! calls, and resource limits. Before that the worker closes whatever it inherited.
//!
//! Documents: <https://docs.kernel.org/userspace-api/landlock.html>, seccomp(2), getrlimit(2).
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use rustix::process::{self, DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use super::blame::{self, Part};
use super::privileges::{self, Unreachable};
use super::{OFF, Policy, notifier, syscalls};
use crate::permissions::{Network, Permissions};

/// The newest version of Landlock that this program knows. An older kernel enforces as much of it as it can.
const LANDLOCK: ABI = ABI::V10;
/// What the dynamic loader reads beside the plugin's library: other libraries.
const LIBRARIES: [&str; 6] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"];
/// What any language's runtime may read: time zones and random numbers.
const HARMLESS: [&str; 4] =
    ["/usr/share/zoneinfo", "/etc/localtime", "/dev/urandom", "/dev/random"];
/// What a plugin with sockets of its own may read: its resolver and its TLS library do.
const NETWORK: [&str; 8] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
];
/// Where the system's programs lie. /etc/alternatives is where Debian's names of programs lead to.
const PROGRAMS: [&str; 4] = ["/bin", "/usr", "/sbin", "/etc/alternatives"];

/// Bytes of address space that a worker may have. Plugins need far less, also those whose runtime reserves
/// address space that it doesn't use.
const ADDRESSES: u64 = 2 << 30;
/// Files that a worker may have open.
const FILES: u64 = 128;
/// Bytes that a file which a worker writes may have.
const FILE_SIZE: u64 = 64 << 20;
/// Signals that may wait for the host's user in all, and timers that may send some. Linux counts these for the user too.
const SIGNALS: u64 = 128;
/// Processes and threads that the host's user may have in all: Linux counts them for the user, not for each worker.
const PROCESSES: u64 = 4096;

/// Why a process can't be confined at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotEntered {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Files and directories that are granted, each opened and checked by the host.
pub(crate) struct Granted {
    pub read: Vec<OwnedFd>,
    pub write: Vec<OwnedFd>,
}

/// Closes everything but standard input, output and error and `pipes`, goes to an empty working directory, and begins a
/// session and a process group of its own: Linux then shares out the processors among workers (sched(7), autogroup), and
/// not among all of their threads.
///
/// # Errors
/// One of these steps failed.
pub(crate) fn tidy(pipes: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    close_all_but(pipes.map(|pipe| pipe.as_raw_fd()))?;
    empty_directory()?;
    process::setsid()?;
    Ok(())
}

/// Lets Linux end this process when the process `host` ends.
///
/// # Errors
/// It can't be done, or the host has ended already.
pub(crate) fn end_with(host: u32) -> io::Result<()> {
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent.cast_unsigned() != host {
        return Err(io::Error::other("the host is gone"));
    }
    Ok(())
}

/// Confines this process to `permissions`, whose files and directories are `granted`. Gives what could not be
/// enforced, one sentence each. `pass` sends the host a listener, which hears of the system calls that are refused.
///
/// # Errors
/// What is granted can't be reached, or a step failed that every Linux can do.
pub(crate) fn enter(
    policy: Policy,
    permissions: &Permissions,
    granted: Granted,
    pass: impl FnOnce(BorrowedFd<'_>) -> io::Result<()> + Send,
) -> Result<Vec<String>, NotEntered> {
    if policy == Policy::Off {
        return Ok(vec![OFF.to_owned()]);
    }
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)?;
    limit(Resource::Core, 0)?;
    limit(Resource::As, ADDRESSES)?;
    limit(Resource::Nofile, FILES)?;
    limit(Resource::Fsize, FILE_SIZE)?;
    limit(Resource::Nproc, PROCESSES)?;
    limit(Resource::Sigpending, SIGNALS)?;
    privileges::drop_all(permissions)?;
    privileges::check_grants(permissions)?;
    let mut missing = Vec::new();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if let Err(errno) = confine_files(permissions, granted) {
        let why = blame::why(Part::Landlock, Some(errno), &release);
        missing
            .push(format!("files: {why}; the plugin may read and write what the host's user may"));
    }
    if let Err(errno) = confine_calls(permissions, pass) {
        let why = blame::why(Part::Seccomp, errno, &release);
        missing
            .push(format!("system calls: {why}; the plugin may open sockets and start programs"));
    }
    Ok(missing)
}

/// Sets a limit so that it can't be raised again. A limit that is lower already stays.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let now = process::getrlimit(resource);
    let most = now.maximum.map_or(most, |maximum| maximum.min(most));
    Ok(process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

fn close_all_but(keep: [RawFd; 2]) -> io::Result<()> {
    let [low, high] = if keep[0] < keep[1] { keep } else { [keep[1], keep[0]] };
    for (first, last) in [(3, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: closes descriptors that this process was started with and that nothing in it
        // uses: it has opened none but `keep`. The arguments are plain numbers.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if done != 0 {
            let cause = io::Error::last_os_error();
            // Linux before 5.9 doesn't have the call. All descriptors that Rust opens are closed when a program
            // starts, so what is left open there is what the host itself was started with.
            if cause.raw_os_error() != Some(libc::ENOSYS) {
                return Err(cause);
            }
        }
    }
    Ok(())
}

/// Makes the working directory one in which nothing is, and nothing can be made.
fn empty_directory() -> io::Result<()> {
    let name = format!("/tmp/ticket-host-{}-{:016x}", std::process::id(), fastrand::u64(..));
    if fs::create_dir(&name).is_ok() {
        process::chdir(name.as_str())?;
        // The directory stays this process's working directory, though it has no name any more.
        return fs::remove_dir(&name);
    }
    // It can't be made in /tmp. The root directory will do, since Landlock lets the plugin neither list nor
    // write it.
    Ok(process::chdir("/")?)
}

/// Confines files by Landlock, and also TCP, signals and abstract sockets where the kernel's Landlock can do that.
///
/// # Errors
/// The number of the error by which the kernel refused.
fn confine_files(permissions: &Permissions, granted: Granted) -> Result<(), i32> {
    ask_for_landlock()?;
    restrict_files(permissions, granted).map_err(|error| {
        let mut causes =
            std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let errno = causes.find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
        errno.unwrap_or(libc::EINVAL)
    })
}

/// Asks the kernel for the version of its Landlock, since only its own error tells why there is none.
fn ask_for_landlock() -> Result<(), i32> {
    const VERSION: libc::c_uint = 1;
    let no_attributes = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel reads no attributes and makes nothing (landlock_create_ruleset(2)).
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, no_attributes, 0_usize, VERSION)
    };
    if version < 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOSYS));
    }
    Ok(())
}

fn restrict_files(permissions: &Permissions, granted: Granted) -> Result<(), RulesetError> {
    let see = AccessFs::ReadFile | AccessFs::ReadDir;
    // Files, directories and links, but no devices, sockets and fifos, by which one reaches the kernel or a process.
    let change = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let direct = permissions.network == Network::Direct;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    if !direct {
        ruleset = ruleset.handle_access(AccessNet::from_all(LANDLOCK))?;
    }
    let mut ruleset = ruleset
        .create()?
        .add_rules(path_beneath_rules(LIBRARIES.iter().chain(&HARMLESS), see))?
        .add_rules(path_beneath_rules(["/dev/null"], see | AccessFs::WriteFile))?;
    for file in granted.read {
        ruleset = ruleset.add_rule(beneath(file, see))?;
    }
    for directory in granted.write {
        ruleset = ruleset.add_rule(beneath(directory, see | change))?;
    }
    if direct {
        ruleset = ruleset.add_rules(path_beneath_rules(NETWORK, see))?;
    }
    if permissions.exec {
        let run = see | AccessFs::Execute;
        ruleset = ruleset
            .add_rules(path_beneath_rules(PROGRAMS, run))?
            .add_rules(path_beneath_rules(LIBRARIES, run))?;
    }
    ruleset.restrict_self()?;
    Ok(())
}

/// The rule that lets this process have `access` to a file, or to all that is below a directory.
fn beneath(granted: OwnedFd, access: BitFlags<AccessFs>) -> PathBeneath<OwnedFd> {
    let is_directory = rustix::fs::fstat(&granted)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
    let fitting = if is_directory { access } else { access & AccessFs::from_file(LANDLOCK) };
    PathBeneath::new(granted, fitting)
}

/// Whether this kernel's Landlock keeps signals from other processes (Linux 6.12).
fn scopes_signals() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.scope(Scope::Signal).is_ok()
}

/// Confines system calls by seccomp.
///
/// # Errors
/// The number of the error by which the kernel refused, or None where this program has no list of system calls.
fn confine_calls(
    permissions: &Permissions,
    pass: impl FnOnce(BorrowedFd<'_>) -> io::Result<()> + Send,
) -> Result<(), Option<i32>> {
    restrict_calls(permissions, pass).map_err(|error| match error {
        seccompiler::Error::Prctl(cause) | seccompiler::Error::Seccomp(cause) => {
            cause.raw_os_error()
        }
        _ => None,
    })
}

fn restrict_calls(
    permissions: &Permissions,
    pass: impl FnOnce(BorrowedFd<'_>) -> io::Result<()> + Send,
) -> Result<(), seccompiler::Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules: BTreeMap<i64, Vec<SeccompRule>>, otherwise, then| {
        BpfProgram::try_from(SeccompFilter::new(rules, otherwise, then, arch)?)
    };
    let refused = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
    for (calls, errno) in
        [(syscalls::ABSENT, libc::ENOSYS), (syscalls::UNSUPPORTED, libc::EOPNOTSUPP)]
    {
        let rules = calls.iter().map(|call| (*call, vec![])).collect();
        let rules = filter(rules, SeccompAction::Allow, refused(errno))?;
        seccompiler::apply_filter_all_threads(&rules)?;
    }
    let allowed = syscalls::allowed(permissions, std::process::id(), scopes_signals())?;
    let allowed = filter(allowed, refused(libc::EPERM), SeccompAction::Allow)?;
    notifier::install(&allowed, pass)
}
