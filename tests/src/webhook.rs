//! The webhook plugin with another manifest: as other versions of it, and as plugins that claim other names.

use std::fs;
use std::path::Path;

use crate::c_plugin;

/// What the webhook's manifest begins with, and what takes its place.
const ITS_OWN: &str = "\"name\": \"webhook\", \"version\": \"0.1.0\", \"license\": \"MIT OR Apache-2.0\", \
                       \"description\": \"POSTs each incident as JSON to a webhook of your own\",";

/// Writes the webhook's library to `target`, as a plugin of this name, version and aliases. It is put in place by a
/// rename: a running host never sees a part of it.
///
/// # Panics
/// The names are longer together than what the webhook says of itself.
pub fn webhook_as(target: &Path, name: &str, version: &str, aliases: &[&str]) {
    let claimed =
        format!("\"name\": {name:?}, \"version\": {version:?}, \"aliases\": {aliases:?},");
    let padded = format!("{claimed:0$}", ITS_OWN.len());
    assert_eq!(padded.len(), ITS_OWN.len());
    let mut bytes = fs::read(c_plugin("webhook")).unwrap();
    let at = bytes.windows(ITS_OWN.len()).position(|window| window == ITS_OWN.as_bytes()).unwrap();
    bytes[at..at + padded.len()].copy_from_slice(padded.as_bytes());
    let new = target.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::rename(new, target).unwrap();
}
