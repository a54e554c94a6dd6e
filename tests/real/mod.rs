//! Against real servers. These tests are ignored unless asked for: the script beside each installs its servers,
//! starts them and runs it.

mod argus;
#[cfg(target_os = "linux")]
mod cgroups;
mod rt;
mod windows;
