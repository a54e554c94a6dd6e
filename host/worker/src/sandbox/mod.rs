//! Before a worker loads its library it gives up whatever the plugin doesn't need.
//!
//! Invariant: the process can't undo its confinement, and whatever it starts is confined in the same way.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod privileges;
#[cfg(target_os = "linux")]
mod syscalls;

#[cfg(windows)]
mod windows;

#[cfg(windows)]
pub(crate) use windows::end_quietly;
#[cfg(windows)]
pub use windows::end_together;

#[cfg(target_os = "linux")]
pub(crate) use linux::{enter, tidy};

/// Confines nothing, since this platform has no sandbox here. Says in one sentence what that means.
#[cfg(not(target_os = "linux"))]
pub(crate) fn enter(
    _: &crate::permissions::Permissions,
    _: &std::path::Path,
) -> std::io::Result<Vec<String>> {
    Ok(vec![format!(
        "{} has no sandbox here: the plugin may do whatever the host's user may, in a process of its own",
        std::env::consts::OS
    )])
}
