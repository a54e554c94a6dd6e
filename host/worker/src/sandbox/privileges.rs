//! Takes from this process every privilege that a plugin needs none of: capabilities, memory that is written and then
//! run, and what a processor guesses ahead. Nothing that it starts gets them back.
//!
//! Documents: capabilities(7), PR_SET_MDWE(2const),
//! <https://docs.kernel.org/userspace-api/spec_ctrl.html>.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{
    SpeculationFeature, SpeculationFeatureControl, SpeculationFeatureState,
    control_speculative_feature, geteuid, speculative_feature_state,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::permissions::Permissions;

/// What a processor guesses ahead, by which one program can read what another one's memory holds.
const GUESSES: [SpeculationFeature; 2] =
    [SpeculationFeature::SpeculativeStoreBypass, SpeculationFeature::IndirectBranchSpeculation];

/// A path that is granted, but that this process can't reach without capabilities.
#[derive(Debug, thiserror::Error)]
#[error("permissions.{setting}: {} can't be {done}: {cause}{reason}", path.display())]
pub(crate) struct Unreachable {
    setting: &'static str,
    path: PathBuf,
    done: &'static str,
    cause: io::Error,
    reason: String,
}

/// Takes all privileges from this process. It must have one thread, since Linux takes them thread by thread.
pub(super) fn drop_all(permissions: &Permissions) -> io::Result<()> {
    set_no_new_privs(true)?;
    drop_capabilities()?;
    if !permissions.makes_code() {
        refuse_new_code()?;
    }
    stop_guessing();
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel knows no capability of this number, and so no higher one.
            Err(Errno::INVAL) => break,
            // This process may not change the bounding set, which limits what a program gets that is started. It gets
            // nothing in any case, since set_no_new_privs() was called.
            Err(Errno::PERM) => break,
            Err(cause) => return Err(cause.into()),
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(set_capabilities(None, sets)?)
}

/// Lets no memory become executable that isn't so from the beginning, and none be writable and executable at once.
fn refuse_new_code() -> io::Result<()> {
    let refuse: libc::c_ulong = libc::PR_MDWE_REFUSE_EXEC_GAIN.into();
    let unused: libc::c_ulong = 0;
    // SAFETY: sets a flag of this process. All arguments are numbers of the type that the kernel reads.
    let done = unsafe { libc::prctl(libc::PR_SET_MDWE, refuse, unused, unused, unused) };
    let cause = io::Error::last_os_error();
    // Linux before 6.3 doesn't know the flag.
    if done == 0 || cause.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(cause) }
}

/// Switches off what the processor guesses ahead, where Linux lets a process do so. Elsewhere Linux has decided it for
/// the whole machine.
fn stop_guessing() {
    for guess in GUESSES {
        let state = speculative_feature_state(guess).ok().flatten();
        if state.is_some_and(|state| state.contains(SpeculationFeatureState::PRCTL)) {
            // A refusal changes nothing else: Linux then has the switch only for the whole machine.
            let _ = control_speculative_feature(guess, SpeculationFeatureControl::FORCE_DISABLE);
        }
    }
}

/// Checks that this process can reach what is granted to its plugin. Root without capabilities can't write to other
/// users' directories; without this check the plugin would fail in the middle of a call, and not know why.
pub(super) fn check_grants(permissions: &Permissions) -> Result<(), Unreachable> {
    let read = permissions.read.iter().map(|path| ("read", path));
    let write = permissions.write.iter().map(|path| ("write", path));
    for (setting, path) in read.chain(write) {
        let (done, needed) = match (setting, path.is_dir()) {
            ("write", true) => ("written to", Access::WRITE_OK | Access::EXEC_OK),
            ("write", false) => ("written to", Access::WRITE_OK),
            (_, true) => ("entered", Access::EXEC_OK),
            (_, false) => ("read", Access::READ_OK),
        };
        access(path, needed).map_err(|cause| {
            let reason = if cause == Errno::ACCESS { who_may(path) } else { String::new() };
            Unreachable { setting, path: path.clone(), done, cause: cause.into(), reason }
        })?;
    }
    Ok(())
}

/// Says as whom this process runs, and whose the path is, or the directory on the way there behind which nothing
/// can be seen.
fn who_may(path: &Path) -> String {
    let seen = path.ancestors().find_map(|at| Some((at, fs::metadata(at).ok()?.uid())));
    let Some((at, owner)) = seen else { return String::new() };
    let at = at.display();
    match geteuid().as_raw() {
        0 if owner != 0 => format!(
            ". The plugin runs as root without capabilities; {at} belongs to user {owner}: run the host as that user"
        ),
        own => format!(
            ". The plugin runs as user {own}, without capabilities; {at} belongs to user {owner}: \
             change whose it is, or its mode"
        ),
    }
}
