//! `ticket-host`: creates tickets from incidents, through plugins that are shared libraries.
//!
//! Data flows one way: [`cli`] -> [`tickets`] -> [`backend`] -> [`worker`] or [`in_process`] ->
//! plugin, and from a running call back through [`call`] to [`gateway`] and [`template`].

pub mod argus;
pub mod backend;
pub mod call;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod error;
pub mod gateway;
pub mod in_process;
pub mod incident;
pub mod install;
pub mod library;
pub mod metrics;
pub mod permissions;
pub mod queue;
pub mod redact;
mod report;
mod sandbox;
mod schema;
pub mod serve;
pub mod setup;
pub mod store;
pub mod template;
mod terminal;
pub mod tickets;
pub mod trust;
pub mod validate;
pub mod worker;

pub use error::{Error, Kind, Result};
