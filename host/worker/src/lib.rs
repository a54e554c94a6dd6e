//! The process that holds one plugin library, and what is needed on both ends of the pipe to it.
//!
//! The host starts a worker. The first frame tells the worker what the plugin may do. It gives up everything else
//! ([`sandbox`]) and says so. The second names the library, which it loads ([`library`]); then it makes the calls that
//! the host asks for ([`serve`]). The host's end of the pipe lies in the host; both ends exchange [`frame`]s.
//!
//! Invariants: all `unsafe` of the host is here. This crate knows no network, no HTTP, no config and
//! no async runtime: it depends on none of them.

mod crash;
mod digest;
pub mod exercise;
pub mod frame;
#[cfg(target_os = "linux")]
pub mod handover;
#[cfg(unix)]
mod keeper;
pub mod library;
mod pages;
pub mod permissions;
mod process;
pub mod sandbox;
pub mod serve;
mod stdio;

pub use digest::Digest;
#[cfg(unix)]
pub use keeper::KEEP;
pub use pages::Pages;
pub use process::{ARGUMENT, EXERCISE, GUARDED, main};
#[cfg(target_os = "linux")]
pub use stdio::output_was_closed;
