//! The end-to-end tests: the real program with real plugins in real workers, a module for each subject.
//!
//! They are one program, which is linked once and runs them all in parallel: no test may change what the others
//! share (environment variables, the working directory, fixed ports). A module's tests run alone with its name:
//! `cargo test -p ticket-host-tests --test e2e serve_live::`.
#![allow(clippy::unwrap_used)]

mod abi;
mod alarm;
mod api;
mod argus;
mod backup;
#[cfg(target_os = "linux")]
mod bounds;
#[cfg(target_os = "linux")]
mod by_hand;
mod c_plugin;
mod chaos;
mod check;
#[cfg(target_os = "linux")]
mod clock;
mod console;
#[cfg(target_os = "linux")]
mod crashes;
mod create;
#[cfg(target_os = "linux")]
mod denials;
mod exchanges;
mod faults;
mod forges;
mod grants;
mod guide;
#[cfg(target_os = "linux")]
mod health;
mod install;
mod jira;
mod json;
mod libraries;
mod life;
mod mistakes;
mod moves;
mod new;
mod output;
mod pasted;
#[cfg(target_os = "linux")]
mod policy;
mod readme;
#[path = "../real/mod.rs"]
mod real;
#[cfg(target_os = "linux")]
mod resources;
#[cfg(target_os = "linux")]
mod sandbox;
mod searches;
#[cfg(target_os = "linux")]
mod secrets;
mod serve;
mod serve_limits;
mod serve_live;
mod service_log;
mod settings;
mod states;
mod top;
mod trust;
mod validate;
mod version;
