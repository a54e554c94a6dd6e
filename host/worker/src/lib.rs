//! The process that holds one plugin library, and what is needed on both ends of the pipe to it.
//!
//! A worker is started by the host, is told by its first frame which library to load and what it may
//! do, gives up everything else ([`sandbox`]), loads the library ([`library`]) and answers calls
//! ([`serve`]). The host's end of the pipe lives in the host; both ends speak [`frame`].
//!
//! Invariants: all `unsafe` of the host is here. This crate knows no network, no HTTP, no config and
//! no async runtime: its manifest has none of them.

mod digest;
mod exercise;
pub mod frame;
pub mod library;
pub mod permissions;
mod process;
pub mod sandbox;
pub mod serve;
mod stdio;

pub use digest::Digest;
pub use process::{ARGUMENT, Confine, main, main_with};
