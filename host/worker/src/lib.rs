//! The process that holds one plugin library, and what is needed on both ends of the pipe to it.
//!
//! The host starts a worker. The first frame tells the worker which library to load, and what the plugin may
//! do. It gives up everything else ([`sandbox`]), says so, loads the library ([`library`]) and makes the calls that
//! the host asks for ([`serve`]). The host's end of the pipe lies in the host; both ends exchange [`frame`]s.
//!
//! Invariants: all `unsafe` of the host is here. This crate knows no network, no HTTP, no config and
//! no async runtime: it depends on none of them.

mod digest;
mod exercise;
pub mod frame;
#[cfg(target_os = "linux")]
pub mod handover;
pub mod library;
pub mod permissions;
mod process;
pub mod sandbox;
pub mod serve;
mod stdio;

pub use digest::Digest;
pub use process::{ARGUMENT, main};
