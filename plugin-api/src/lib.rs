//! The ABI between a ticket host and its plugins, and an SDK for plugins in Rust.
//!
//! A plugin is a type that implements [`TicketPlugin`], and a library of the kind `cdylib` that exports it
//! with [`export_plugin!`]. It opens no connections of its own: it asks its [`Call`] for HTTP exchanges, and
//! for the ticket's title and body. The feature `testkit` has a host for tests, [`testkit::FakeHost`], with
//! which a plugin's tests need no network. The feature `layout` lets the host compare the layout of this crate's types
//! with its own before it calls the plugin.
//!
//! This crate knows nothing of any host, and does no I/O.

#![warn(missing_docs)]

/// This crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub mod abi;
mod cache;
mod error;
pub mod http;
mod incident;
pub mod json;
pub mod listing;
pub mod mapping;
pub mod message;
mod plugin;
mod states;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod text;
mod webhook;

pub use abi::plugin_side::{Call, Extra, Format};
pub use cache::Cached;
pub use error::{Error, ErrorKind, Result, Retry};
pub use http::{Endpoint, HttpError, Request, Response, Url};
pub use incident::{Incident, Tag, unix_time, utc, utc_before};
pub use message::{
    Action, Changed, ChangesRequest, Check, Difference, FindMany, Found, FoundMany, Received,
    StateRequest, States, Step, Ticket, TicketName, TicketRequest, TicketState, TicketStatus,
    UpdateRequest, Updated, WantedKey, Webhook, fingerprint,
};
pub use plugin::{About, Offer, Settings, TicketPlugin};
pub use states::ToldStates;
pub use webhook::is_hmac_sha256;

// The examples of that page are compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../docs/sdk.md")]
struct Page;
