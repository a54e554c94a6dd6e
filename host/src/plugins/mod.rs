//! The plugin libraries that there are: which lie in the search path, who vouches for them, how they get there.

pub mod catalog;
pub mod install;
pub(crate) mod manifest;
pub(crate) mod ours;
mod schema_bounds;
pub mod trust;
