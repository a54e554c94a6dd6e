//! Against real servers. These tests are ignored unless asked for: the script beside each installs its servers,
//! starts them and runs it.

mod argus;
#[cfg(target_os = "linux")]
mod cgroups;
#[cfg(target_os = "linux")]
mod kernels;
#[cfg(target_os = "linux")]
mod postgres;
mod rt;
#[cfg(target_os = "linux")]
mod systemd;
mod windows;
