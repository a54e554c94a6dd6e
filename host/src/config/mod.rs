//! The settings: which backends there are, where plugins are looked for, how `serve` works.
//!
//! They come from a TOML file or, where there is none, from the environment variables that Argus gives
//! to its own ticket plugins. Each table of the file has a room of its own here, with its settings as they
//! are written (`Raw...`), their bounds and defaults, and as the host uses them. The schema of the file is made from these types,
//! and its reference (host/docs/config.md) from the schema.

mod alarm;
mod argus;
mod backends;
mod bounds;
pub(crate) mod environment;
mod explain;
mod file;
pub mod grants;
pub(crate) mod guess;
mod json;
mod limits;
mod locations;
mod mask;
mod queue;
mod reference;
mod schema;
mod secret;
mod serve;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod times;
mod trust;
mod urls;

use std::path::Path;

use crate::error::Result;
pub use alarm::AlarmConfig;
pub(crate) use alarm::Text as AlarmText;
pub use argus::{ArgusConfig, Backlog, Ended};
pub use backends::{BackendConfig, Isolation, LookFirst, WhenUnknown};
pub use limits::WorkerLimits;
pub use locations::user_file;
pub use queue::{Database, QueueConfig};
pub use reference::reference;
pub use schema::schema;
pub(crate) use secret::source as secret_source;
pub use secret::{Resolved, SecretSource};
pub use serve::{Scope, ServeConfig, TokenConfig, TokenSource};
pub use settings::{Config, Draft};
pub use source::BackendSetting;

impl Config {
    /// Reads a config's text, which `name` names in errors.
    ///
    /// # Errors
    /// A settings error that points to what is wrong.
    pub(crate) fn parse(name: &Path, text: &str) -> Result<Config> {
        file::parse(name, text)?.whole()
    }

    /// Reads the file `named`, or else the first of the usual config files that exists, or else the
    /// environment.
    ///
    /// # Errors
    /// Settings errors that point to what is wrong, or one that says that there is nothing to read.
    pub fn load(named: Option<&Path>) -> Result<Config> {
        Draft::load(named)?.whole()
    }

    /// As [`Config::load`]. None if no file is named, none of the usual ones exists, and TICKET_PLUGIN is not set.
    ///
    /// # Errors
    /// Settings errors that point to what is wrong.
    pub fn load_if_any(named: Option<&Path>) -> Result<Option<Config>> {
        Draft::load_if_any(named)?.map(Draft::whole).transpose()
    }
}

impl Draft {
    /// As [`Config::load`], also where something is wrong.
    ///
    /// # Errors
    /// There is nothing to read, or nothing that can be read.
    pub fn load(named: Option<&Path>) -> Result<Draft> {
        let draft = Draft::load_if_any(named)?;
        draft.ok_or_else(|| environment::nothing(&locations::config_files()))
    }

    fn load_if_any(named: Option<&Path>) -> Result<Option<Draft>> {
        let usual = || locations::config_files().into_iter().find(|file| locations::is_there(file));
        let variable = |name: &str| std::env::var(name).ok();
        let Some(path) = named.map(Path::to_owned).or_else(usual) else {
            return Ok(environment::load(variable));
        };
        let mut draft = file::load(&path)?;
        let config = &mut draft.config;
        config.warnings.extend(environment::unused(config, &path, variable));
        if named.is_none() {
            config.notes = locations::shadowed(locations::config_files(), &path);
        }
        Ok(Some(draft))
    }
}
