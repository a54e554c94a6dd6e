//! Secrets: written out in the config, or the file or environment variable that each is read from.
//!
//! Invariant: no secret gets into an error, a warning or Debug.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::locations;
use crate::error::{Error, Errors, Result};

/// Bytes that a file with a secret may have.
const LONGEST: u64 = 64 << 10;

/// A secret as the config has it: a text, `{ env = "NAME" }` or `{ file = "/path" }`, or a table of such,
/// like `{ user = "argus", token = { env = "NAME" } }`, at any depth.
#[derive(Clone, PartialEq)]
pub struct SecretSource {
    pub value: Value,
    /// The config file's directory, from which relative file names count.
    pub base: PathBuf,
}

/// The schema of a secret that is a single text, such as a token.
pub(super) fn text_schema(_: &mut SchemaGenerator) -> Schema {
    let from = |name: &str| {
        json_schema!({
            "type": "object",
            "properties": {name: {"type": "string"}},
            "required": [name],
            "additionalProperties": false,
        })
    };
    json_schema!({
        "title": "a text in quotes, or { env = \"NAME\" }, or { file = \"/path\" }",
        "anyOf": [{"type": "string"}, from("env"), from("file")],
    })
}

/// A secret after every file and environment variable of it was read.
pub struct Resolved {
    pub value: Value,
    /// What is odd about where it came from, a sentence each.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretSource")
    }
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolved")
    }
}

impl SecretSource {
    /// Reads the files and environment variables that it names. `name` is what errors call the setting.
    ///
    /// # Errors
    /// Settings errors: each of them that can't be read, or is empty.
    pub fn resolve(&self, name: &str) -> Result<Resolved> {
        let (mut warnings, mut errors) = (Vec::new(), Errors::default());
        let value = self.read(name, &self.value, &mut warnings, &mut errors);
        errors.or(Some(Resolved { value, warnings }))
    }

    /// The secret that is a single text, such as a token.
    ///
    /// # Errors
    /// A settings error: its file or variable can't be read, or it is not a text, or empty.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        match self.resolve(name)?.value {
            Value::String(text) if !text.is_empty() => Ok(text),
            _ => Err(Error::settings(format!("{name} must be a text that is not empty"))
                .help("give the token, or { env = \"NAME\" }, or { file = \"/path\" }")),
        }
    }

    /// Whether a value is written out in the config, and not only where to read it.
    pub(crate) fn is_written_out(&self) -> bool {
        is_written_out(&self.value)
    }

    /// The files that it is read from.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.sources("file").into_iter().map(|file| self.base.join(file))
    }

    /// The environment variables that it is read from.
    pub(super) fn variables(&self) -> Vec<String> {
        self.sources("env").into_iter().map(str::to_owned).collect()
    }

    fn sources(&self, kind: &str) -> Vec<&str> {
        let mut sources = Vec::new();
        collect(&self.value, kind, &mut sources);
        sources
    }

    /// The value with what it names read. What can't be read is null, and why is added to `errors`.
    fn read(
        &self,
        path: &str,
        value: &Value,
        warnings: &mut Vec<String>,
        errors: &mut Errors,
    ) -> Value {
        let Value::Object(members) = value else { return value.clone() };
        let text = match source(members) {
            Some(("env", name)) => std::env::var(name).map_err(|_| {
                Error::settings(format!("{path}: the environment variable {name} is not set"))
                    .help(format!("set {name}, or change {path}"))
            }),
            Some((_, file)) => read(path, &self.base.join(file), warnings),
            None => {
                let read = members.iter().map(|(name, value)| {
                    let path = format!("{path}.{name}");
                    (name.clone(), self.read(&path, value, warnings, errors))
                });
                return Value::Object(read.collect());
            }
        };
        errors.keep(text).map_or(Value::Null, Value::String)
    }
}

fn is_written_out(value: &Value) -> bool {
    match value {
        Value::Object(members) => source(members).is_none() && members.values().any(is_written_out),
        Value::Array(items) => items.iter().any(is_written_out),
        Value::String(_) | Value::Number(_) => true,
        Value::Null | Value::Bool(_) => false,
    }
}

/// Puts in `sources` the names of what `value` is read from, as far as they are of this kind: `env` or `file`.
fn collect<'a>(value: &'a Value, kind: &str, sources: &mut Vec<&'a str>) {
    let Value::Object(members) = value else { return };
    match source(members) {
        Some((of_kind, name)) if of_kind == kind => sources.push(name),
        Some(_) => {}
        None => members.values().for_each(|member| collect(member, kind, sources)),
    }
}

/// Where a secret is read from, if that is all that the table says: `("env", NAME)` or `("file", PATH)`.
pub(crate) fn source(members: &Map<String, Value>) -> Option<(&str, &str)> {
    let mut all = members.iter();
    match (all.next(), all.next()) {
        (Some((name, Value::String(text))), None) if name == "env" || name == "file" => {
            Some((name, text))
        }
        _ => None,
    }
}

fn read(path: &str, file: &Path, warnings: &mut Vec<String>) -> Result<String> {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        fs::File::open(file)?.take(LONGEST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LONGEST {
            return Err(std::io::Error::other(format!("it has more than {LONGEST} bytes")));
        }
        Ok(text)
    };
    let text = read().map_err(|cause| {
        Error::settings(format!("{path}: the file {} can't be read: {cause}", file.display()))
            .help("write the secret there, readable by the host's user alone")
    })?;
    if readable_by_all(file) {
        warnings.push(format!(
            "{path}: the file {} is readable by everybody on this machine; mend it with: {}",
            file.display(),
            closing(file)
        ));
    }
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Error::settings(format!("{path}: the file {} is empty", file.display()))
            .help("write the secret there, readable by the host's user alone"));
    }
    Ok(text.to_owned())
}

/// The command after which only those read the file who must: the service too, if the file is the machine's.
pub(super) fn closing(file: &Path) -> String {
    let name = file.display();
    if locations::is_of_system(file) {
        format!("chown root:ticket-host {name} && chmod 640 {name}")
    } else {
        format!("chmod 600 {name}")
    }
}

/// Whether every user of this machine may read the file. On Windows the answer is always no, since the
/// access lists that decide it there are not looked at.
pub(super) fn readable_by_all(file: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolve(value: Value) -> Result<Resolved> {
        SecretSource { value, base: PathBuf::new() }.resolve("secret")
    }

    #[test]
    fn a_secret_is_read_from_a_file_without_its_last_newline() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "hunter2\n").unwrap();
        let resolved = resolve(json!({"token": {"file": file}, "user": "argus"})).unwrap();
        assert_eq!(resolved.value, json!({"token": "hunter2", "user": "argus"}));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_all_may_read_is_a_warning_with_its_cure() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "hunter2").unwrap();
        for (mode, warned) in [(0o644, true), (0o600, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let warnings = resolve(json!({"token": {"file": file}})).unwrap().warnings;
            assert_eq!(warnings.iter().any(|w| w.contains("chmod 600")), warned, "{warnings:?}");
        }
    }

    #[test]
    fn a_file_of_the_machines_is_closed_to_all_but_the_service() {
        let closing = |file| closing(Path::new(file));
        assert_eq!(
            closing("/etc/ticket-host/token"),
            "chown root:ticket-host /etc/ticket-host/token && chmod 640 /etc/ticket-host/token"
        );
        assert_eq!(closing("/home/a/token"), "chmod 600 /home/a/token");
    }

    #[test]
    fn what_is_missing_is_named_with_its_setting() {
        let error = resolve(json!({"token": {"file": "/no/such/file"}})).unwrap_err();
        assert!(error.message.starts_with("secret.token: the file /no/such/file"), "{error}");
        let unset = resolve(json!({"token": {"env": "TICKET_HOST_NO_SUCH_VARIABLE"}}));
        assert!(unset.unwrap_err().message.contains("TICKET_HOST_NO_SUCH_VARIABLE"));
    }

    #[test]
    fn all_that_is_missing_is_named() {
        let error = resolve(json!({
            "a": {"env": "TICKET_HOST_NO_SUCH_VARIABLE"},
            "b": {"file": "/no/such/file"},
            "c": {"d": {"file": "/no/such/file"}, "e": "there"},
        }));
        let error = error.unwrap_err();
        let told: Vec<&str> = error.each().map(|error| error.message.as_str()).collect();
        assert_eq!(told.len(), 3, "{told:#?}");
        for (told, name) in told.iter().zip(["secret.a: ", "secret.b: ", "secret.c.d: "]) {
            assert!(told.starts_with(name), "{told}");
        }
    }

    #[test]
    fn a_secret_that_is_written_out_is_told_from_where_to_read_one() {
        assert!(is_written_out(&json!({"token": "x"})));
        assert!(is_written_out(&json!({"token": {"env": "x"}, "user": "y"})));
        assert!(!is_written_out(&json!({"token": {"env": "x"}, "password": {"file": "y"}})));
    }
}
