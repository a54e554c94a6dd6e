//! `signatures`, `[trusted_keys.NAME]` and `sha256`: who vouches for plugins.

use std::collections::{BTreeMap, BTreeSet};

use minisign_verify::PublicKey;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use ticket_host_worker::Digest;

use super::backends::BackendConfig;
use super::explain::Mistake;
use super::guess;
use super::source::{Source, Spanned};
use crate::error::{Error, Errors, Result};
use crate::plugins::trust::TrustedKey;

/// The settings that say which libraries may be loaded.
const SETTINGS: [&str; 4] = ["signatures", "sandbox", "trusted_keys", "plugin_dirs"];

/// Whether a mistake in the file leaves it open which libraries may be loaded: it is about a setting that says that, or
/// seems to be, or there are settings in it of which nobody knows whether they are.
pub(super) fn is_open_after(mistake: &Mistake) -> bool {
    let names = [mistake.path.first(), mistake.path.last()];
    mistake.hides_settings || names.into_iter().flatten().any(|name| seems_meant(name))
}

/// Whether what a backend gives to its plugin seems to hold a setting that says which libraries may be loaded: one that
/// was added at the end of the file is in the last table there.
pub(super) fn is_open_in(backend: &BackendConfig) -> bool {
    let given = [&backend.secret.value, &backend.information];
    let mut names = given.into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    names.any(|name| seems_meant(name))
}

fn seems_meant(name: &str) -> bool {
    guess::nearest(name, SETTINGS.into_iter()).is_some()
}

/// What a SHA-256 looks like, as a regular expression for the schema.
pub(super) const SHA256: &str = "^[0-9A-Fa-f]{64}$";

/// A key, `[trusted_keys.NAME]`, that may sign plugins.
///
/// ```toml
/// signatures = "require"
/// [trusted_keys.acme]
/// key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
/// plugins = ["acme"]
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKey {
    /// The public key: the second line of the vendor's `.pub` file, which `minisign -G` writes.
    key: Spanned<String>,
    /// The names and aliases of the plugins that this key may sign, and no others. At least one.
    #[schemars(with = "Vec<String>", length(min = 1))]
    plugins: Spanned<BTreeSet<String>>,
}

/// The keys that may sign plugins. One that can't be read, or may sign nothing, is added to `errors`.
pub(super) fn keys(
    source: &Source,
    raw: BTreeMap<String, RawKey>,
    errors: &mut Errors,
) -> Vec<TrustedKey> {
    raw.into_iter().filter_map(|(name, raw)| key(source, name, raw, errors)).collect()
}

fn key(source: &Source, name: String, raw: RawKey, errors: &mut Errors) -> Option<TrustedKey> {
    let key = source.read(&raw.key, |text| {
        PublicKey::from_base64(text).map_err(|cause| {
            Error::settings(format!("key is not a public key of minisign's: {cause}")).help(
                "give the second line of a .pub file that `minisign -G` writes, beginning with RW",
            )
        })
    });
    let signs = source.read(&raw.plugins, |plugins| {
        if !plugins.is_empty() {
            return Ok(());
        }
        Err(Error::settings("plugins is empty, so the key may sign nothing")
            .help("name the plugins that it may sign, like [\"acme\"]"))
    });
    let (key, ()) = errors.keep(key).zip(errors.keep(signs))?;
    Some(TrustedKey { name, key, plugins: raw.plugins.into_inner() })
}

/// The digest that a backend's library must have.
///
/// # Errors
/// A settings error: it is not a SHA-256.
pub(super) fn pin(text: &str) -> Result<Digest> {
    text.parse().map_err(|cause| {
        Error::settings(format!("sha256 {cause}"))
            .help("`ticket-host plugins show` prints a plugin's, and so does sha256sum")
    })
}

/// The digests that backends pin, each with the names by which these backends ask for their plugin.
pub(super) fn pins<'a>(
    backends: impl IntoIterator<Item = &'a BackendConfig>,
) -> BTreeMap<Digest, BTreeSet<String>> {
    let mut pins: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    for backend in backends {
        if let Some(digest) = backend.sha256 {
            pins.entry(digest).or_default().insert(backend.plugin.clone());
        }
    }
    pins
}
