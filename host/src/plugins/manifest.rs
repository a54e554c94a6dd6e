//! Reads what a library says of itself, and refuses what the host could not work with, or not in bounded time.

use ticket_plugin_api::json;
use ticket_plugin_api::message::Manifest;

use super::schema_bounds;
use crate::terminal;

/// Bytes that a version may have, and each alias.
const LONGEST_NAME: usize = 200;
/// Aliases that a plugin may have.
const MOST_ALIASES: usize = 100;
/// Permissions that a plugin may ask for.
const MOST_PERMISSIONS: usize = 32;
/// Statuses that a plugin may say stand for a request that was not carried out: of each there is one.
const MOST_STATUSES: usize = 101;
/// Words of what a plugin's update() can do, also such that this host doesn't know.
const MOST_ACTIONS: usize = 16;
/// Seconds for which a ticket system's lists may lag.
const LONGEST_SETTLE: u32 = 3600;
/// Bytes that are kept of every other text of a manifest; the rest is cut off.
const LONGEST_TEXT: usize = 1 << 10;

/// Whether `name` is a valid name for a plugin.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'))
}

/// The manifest's name and its aliases.
pub(crate) fn names(manifest: &Manifest) -> impl Iterator<Item = &str> {
    std::iter::once(&manifest.name).chain(&manifest.aliases).map(String::as_str)
}

/// Whether `name` is the manifest's name or one of its aliases. Names are compared sign by sign.
pub(crate) fn answers_to(manifest: &Manifest, name: &str) -> bool {
    names(manifest).any(|own| own == name)
}

/// Reads a plugin's manifest. Each text in it is made one line.
///
/// # Errors
/// What is wrong with it, in words that begin with "its manifest".
pub(crate) fn read(text: &str) -> Result<Manifest, String> {
    let mut manifest: Manifest = json::read(text.as_bytes()).map_err(|cause| {
        // It may quote what is in the manifest.
        let cause = terminal::short_line(&cause.to_string(), LONGEST_TEXT);
        format!("its manifest is not valid: {cause}")
    })?;
    let name = &manifest.name;
    if !is_name(name) {
        let name: String = name.chars().take(100).collect();
        return Err(format!(
            "its manifest's name {name:?} is not valid: it must be 1 to 64 of a-z, 0-9, - and _, \
             beginning with a letter"
        ));
    }
    let unfit = |text: &String| text.len() > LONGEST_NAME || text.chars().any(char::is_control);
    if manifest.aliases.iter().any(unfit) || unfit(&manifest.version) {
        return Err(format!(
            "its manifest has a version or an alias over {LONGEST_NAME} bytes, or with control characters"
        ));
    }
    if manifest.aliases.len() > MOST_ALIASES || manifest.permissions.len() > MOST_PERMISSIONS {
        return Err(format!(
            "its manifest has more than {MOST_ALIASES} aliases or {MOST_PERMISSIONS} permissions"
        ));
    }
    if manifest.not_done.len() > MOST_STATUSES {
        return Err(format!("its manifest's not_done has more than {MOST_STATUSES} statuses"));
    }
    if manifest.actions.len() > MOST_ACTIONS || manifest.actions.iter().any(unfit) {
        return Err(format!(
            "its manifest has more than {MOST_ACTIONS} actions, or one over {LONGEST_NAME} bytes or with control characters"
        ));
    }
    if manifest.settle_seconds.is_some_and(|seconds| seconds > LONGEST_SETTLE) {
        return Err(format!("its manifest's settle_seconds is over {LONGEST_SETTLE}"));
    }
    for (name, schema) in
        [("secret", &manifest.secret_schema), ("information", &manifest.information_schema)]
    {
        schema_bounds::check(schema)
            .map_err(|why| format!("its manifest's {name}_schema {why}"))?;
    }
    let texts = [
        &mut manifest.vendor,
        &mut manifest.license,
        &mut manifest.description,
        &mut manifest.homepage,
        &mut manifest.sdk,
    ];
    let permissions = manifest.permissions.iter_mut();
    let asked =
        permissions.flat_map(|asked| [&mut asked.permission, &mut asked.what, &mut asked.why]);
    for text in texts.into_iter().chain(asked) {
        *text = terminal::short_line(text, LONGEST_TEXT);
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_that_no_host_can_work_with_is_refused_with_its_reason() {
        let aliases: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        for (manifest, why) in [
            (json!([]), "its manifest is not valid"),
            (json!({"version": "1"}), "missing field `name`"),
            (json!({"name": "Bad Name!"}), "its manifest's name \"Bad Name!\" is not valid"),
            (json!({"name": "x", "version": "1\n2"}), "control characters"),
            (json!({"name": "x", "actions": ["x\n  sha256  aaaa"]}), "control characters"),
            (json!({"name": "x", "actions": vec!["a"; 17]}), "more than 16 actions"),
            (json!({"name": "x", "aliases": ["a".repeat(201)]}), "over 200 bytes"),
            (json!({"name": "x", "aliases": aliases}), "more than 100 aliases"),
            (json!({"name": "x", "not_done": vec![503; 102]}), "not_done has more than 101"),
            (json!({"name": "x", "settle_seconds": 3601}), "settle_seconds is over 3600"),
            (
                json!({"name": "x", "information_schema": {"$ref": "#"}}),
                "its manifest's information_schema has the reference \"#\", which leads back",
            ),
        ] {
            let error = read(&manifest.to_string()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn no_text_of_a_manifest_makes_a_line_of_its_own_or_is_very_long() {
        let description = format!("a\nb{}", "c".repeat(1 << 19));
        let json = json!({"name": "x", "description": description}).to_string();
        let manifest = read(&json).unwrap();
        assert!(manifest.description.starts_with("a\\nbccc"));
        assert!(manifest.description.len() < 1100);
    }
}
