//! `ticket-host`: creates tickets from incidents, through plugins that are shared libraries.
//!
//! Data flows one way: [`cli`] or [`serve`] -> [`tickets`] -> [`backend`] -> [`worker`] -> plugin (in the
//! crate `ticket-host-worker`), and from a running call back to the backend's gateway and templates.
#![forbid(unsafe_code)]

mod alarm;
mod argus;
pub mod backend;
pub mod cli;
pub mod config;
mod control;
mod credential_name;
mod error;
mod incident;
pub mod life;
mod lock;
pub mod machine;
pub mod metrics;
mod origin;
mod outlet;
pub mod plugins;
pub mod queue;
mod report;
pub mod sent;
mod serve;
pub mod setup;
pub mod store;
mod tasks;
mod terminal;
mod tickets;
mod token_bucket;
mod validate;
pub mod worker;

pub use error::{Error, Errors, Kind, Result};
