//! What a plugin may do beside HTTP to its endpoint: what its manifest asks for, and what the
//! operator grants a backend.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ticket_plugin_api::message::{Manifest, Permission};

/// What a plugin may do beside HTTP to its endpoint. Its manifest asks for it (`ticket-host plugins show PLUGIN`), this grants
/// it. Where something that it asks for isn't granted, the plugin isn't started.
///
/// ```toml
/// [backends.files.permissions]
/// write = ["/var/lib/tickets"]
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// How the plugin reaches the network.
    pub network: Network,
    /// Files that the plugin may read, and directories in which it may read all files, beside the system's
    /// libraries.
    pub read: Vec<PathBuf>,
    /// Directories in which the plugin may write and read all files. They are made if they aren't there.
    pub write: Vec<PathBuf>,
    /// The names of the host's environment variables that the plugin sees.
    pub env: Vec<String>,
    /// Whether the plugin may start the system's programs. These are confined as the plugin is.
    pub exec: bool,
    /// Whether the plugin may write code into memory and run it, as just-in-time compilers do.
    pub jit: bool,
}

/// How a plugin reaches the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Through the host only, which lets requests go to the backend's endpoint.
    #[default]
    Gateway,
    /// With sockets of its own, to wherever it wants.
    Direct,
}

impl Permissions {
    /// Whether the permission that manifests call `name` is granted. One that this host doesn't know never is.
    pub fn grants(&self, name: &str) -> bool {
        match name {
            "network" => self.network == Network::Direct,
            "read" => !self.read.is_empty() || !self.write.is_empty(),
            "write" => !self.write.is_empty(),
            "env" => !self.env.is_empty(),
            "exec" => self.exec,
            "jit" => self.makes_code(),
            _ => false,
        }
    }

    /// Whether code may be written into memory and run. With `exec` it may: nobody knows which of the system's
    /// programs do so, and they are confined in this as the plugin is.
    pub fn makes_code(&self) -> bool {
        self.jit || self.exec
    }

    /// The permissions that the manifest asks for and that are not granted.
    pub fn lacking<'a>(&self, manifest: &'a Manifest) -> Vec<&'a Permission> {
        manifest.permissions.iter().filter(|asked| !self.grants(&asked.permission)).collect()
    }

    /// What is granted, each permission as it would stand in the config. Empty if nothing is granted.
    pub fn granted(&self) -> Vec<String> {
        let list = |name: &str, items: Vec<String>| {
            (!items.is_empty()).then(|| format!("{name} = [{}]", items.join(", ")))
        };
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| format!("{path:?}")).collect();
        [
            (self.network == Network::Direct).then(|| "network = \"direct\"".to_owned()),
            list("read", paths(&self.read)),
            list("write", paths(&self.write)),
            list("env", self.env.iter().map(|name| format!("{name:?}")).collect()),
            self.exec.then(|| "exec = true".to_owned()),
            self.jit.then(|| "jit = true".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The setting that grants the permission which manifests call `name`. None if this host doesn't know it.
/// `path` is the directory that the setting names, if one is known that fits.
pub fn setting(name: &str, path: Option<&str>) -> Option<String> {
    let path = path.unwrap_or("/PATH");
    Some(match name {
        "network" => "network = \"direct\"".to_owned(),
        "read" | "write" => format!("{name} = [{path:?}]"),
        "env" => "env = [\"NAME\"]".to_owned(),
        "exec" => "exec = true".to_owned(),
        "jit" => "jit = true".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_must_be_granted_by_its_name() {
        let manifest: Manifest = serde_json::from_str(
            r#"{"name": "x", "permissions": [
                {"permission": "write", "what": "a", "why": "b"},
                {"permission": "exec", "what": "a", "why": "b"},
                {"permission": "teleport", "what": "a", "why": "b"}]}"#,
        )
        .unwrap();
        let lacking = |permissions: &Permissions| {
            let lacking = permissions.lacking(&manifest);
            lacking.iter().map(|p| p.permission.clone()).collect::<Vec<_>>()
        };
        let mut permissions = Permissions::default();
        assert_eq!(lacking(&permissions), ["write", "exec", "teleport"]);
        permissions.read.push("/a".into());
        assert_eq!(lacking(&permissions), ["write", "exec", "teleport"]);
        permissions.write.push("/a".into());
        permissions.exec = true;
        assert_eq!(lacking(&permissions), ["teleport"], "no setting grants this");
        assert_eq!(permissions.granted(), ["read = [\"/a\"]", "write = [\"/a\"]", "exec = true"]);
    }

    #[test]
    fn code_may_be_made_with_jit_or_exec() {
        let plain = Permissions::default();
        assert!(!plain.grants("jit"));
        assert!(Permissions { jit: true, ..plain.clone() }.grants("jit"));
        assert!(Permissions { exec: true, ..plain.clone() }.grants("jit"));
        assert_eq!(Permissions { jit: true, ..plain }.granted(), ["jit = true"]);
    }
}
