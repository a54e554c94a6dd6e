//! Before a worker loads its library it gives up whatever the plugin doesn't need.
//!
//! Invariant: the process can't undo its confinement, and whatever it starts is confined in the same way.

#[cfg(target_os = "linux")]
mod blame;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod notifier;
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
pub(crate) use linux::{Granted, NotEntered, end_with, enter, tidy};
#[cfg(target_os = "linux")]
pub use notifier::{Listener, Refused};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a plugin is loaded where it can't be confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It is not loaded unless the sandbox is whole.
    Require,
    /// It is loaded, confined by what there is.
    BestEffort,
    /// It is loaded, and nothing confines it: for debuggers.
    Off,
}

impl Default for Policy {
    /// Only Linux has a sandbox here.
    fn default() -> Policy {
        if cfg!(target_os = "linux") { Policy::Require } else { Policy::BestEffort }
    }
}

/// What the sandbox could not enforce where nothing is confined.
const OFF: &str = "it is off (sandbox = \"off\"): the plugin may do whatever the host's user may";

/// Confines nothing, since this platform has no sandbox here. Says in one sentence what that means.
#[cfg(not(target_os = "linux"))]
pub(crate) fn lacks(policy: Policy) -> Vec<String> {
    if policy == Policy::Off {
        return vec![OFF.to_owned()];
    }
    vec![format!(
        "{} has no sandbox here: the plugin may do whatever the host's user may, in a process of its own",
        std::env::consts::OS
    )]
}
