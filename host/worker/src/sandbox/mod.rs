//! A worker gives up what its plugin doesn't need, before the library is loaded.
//!
//! Invariant: what is confined can't be undone by the process itself, and goes on for whatever it
//! starts.

#[cfg(target_os = "linux")]
mod linux;
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

/// Says what the plugin of a worker isn't kept from on this platform, a sentence each.
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
