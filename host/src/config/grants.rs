//! Which files and directories can't be granted to a plugin: those by which it could get at more than it was granted.
//!
//! A plugin that may write a directory can put something else, or a symbolic link, in the place of whatever lies in
//! it. So nothing that the host goes by may lie there, nor what is granted to another plugin.

use std::path::{Path, PathBuf};

use super::backends::{BackendConfig, Isolation};
use super::serve::TokenSource;
use super::settings::Config;
use crate::error::{Error, Result};

/// Paths that may be granted to one backend: each takes a descriptor of each of its workers.
const MOST: usize = 32;

/// Looks whether what a backend is granted can stand beside the host's own files, the directories in which plugins
/// are looked for, and what other backends are granted.
///
/// # Errors
/// A settings error that names both paths.
pub fn check<'a>(
    config: &Config,
    backend: &BackendConfig,
    plugin_directories: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    if backend.isolation == Isolation::InProcess {
        return Ok(());
    }
    let (read, write) = (&backend.permissions.read, &backend.permissions.write);
    if read.len() + write.len() > MOST {
        return Err(Error::settings(format!("permissions name more than {MOST} paths"))
            .help("name a directory that holds several of them"));
    }
    let secrets = secrets(config);
    let refused = |setting: &str, path: &Path, (what, inside): &(String, PathBuf)| {
        let (path, inside) = (path.display(), inside.display());
        Error::settings(format!(
            "permissions.{setting}: {path} can't be granted, since {what} lies there: {inside}"
        ))
        .help("grant directories in which there is nothing but what this plugin needs")
    };
    for path in read {
        if let Some(held) = secrets.iter().find(|(_, file)| file.starts_with(path)) {
            return Err(refused("read", path, held));
        }
    }
    let directories = plugin_directories.into_iter();
    let mut guarded = secrets;
    guarded.extend(directories.map(|path| ("a plugin directory".to_owned(), real(path))));
    guarded.extend(authorities(config));
    for path in write {
        let others = others(config, path);
        if let Some(held) = guarded.iter().chain(&others).find(|(_, file)| file.starts_with(path)) {
            return Err(refused("write", path, held));
        }
    }
    Ok(())
}

/// The files that hold secrets, or incidents of all backends, and what each is.
fn secrets(config: &Config) -> Vec<(String, PathBuf)> {
    let mut secrets = vec![("the queue".to_owned(), real(&config.queue.path))];
    secrets.extend(config.file.iter().map(|file| ("the config file".to_owned(), real(file))));
    for backend in config.backends.values() {
        let what = format!("the secret of the backend {}", backend.name);
        secrets.extend(backend.secret.files().map(|file| (what.clone(), real(&file))));
    }
    let tokens = config.serve.tokens.iter().filter_map(|token| match &token.token {
        TokenSource::Text(source) => Some(source),
        TokenSource::Sha256(_) => None,
    });
    for source in tokens.chain(config.argus.iter().map(|argus| &argus.token)) {
        secrets.extend(source.files().map(|file| ("a token".to_owned(), real(&file))));
    }
    secrets
}

/// The files of the certificates that backends trust.
fn authorities(config: &Config) -> impl Iterator<Item = (String, PathBuf)> {
    config.backends.values().filter_map(|backend| {
        let file = backend.ca_file.as_deref()?;
        Some((format!("the ca_file of the backend {}", backend.name), real(file)))
    })
}

/// What is granted to any backend strictly below `path`.
fn others(config: &Config, path: &Path) -> Vec<(String, PathBuf)> {
    let granted = config.backends.values().flat_map(|backend| {
        let paths = backend.permissions.read.iter().chain(&backend.permissions.write);
        paths.map(|granted| {
            (format!("what the backend {} is granted", backend.name), granted.clone())
        })
    });
    granted.filter(|(_, granted)| granted != path).collect()
}

/// The absolute path, without symbolic links as far as it exists.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in whole.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), whole.strip_prefix(above)) {
            return real.join(rest);
        }
    }
    whole
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::file::parse;
    use super::*;

    /// Why the first backend, granted these permissions, is refused. The queue is below /srv/state, the config file
    /// /srv/host/config.toml, a plugin directory /srv/plugins; a second backend may read /srv/b/in and write
    /// /srv/b/out.
    fn refusal(permissions: &str) -> Option<String> {
        let backend = "plugin = \"x\"\nendpoint = \"https://x.org\"\n";
        let text = format!(
            "[queue]\npath = \"/srv/state/queue.db\"\n[backends.a]\n{backend}permissions = {{ {permissions} }}\n\
             ca_file = \"/srv/tls/ca.pem\"\nsecret = {{ token = {{ file = \"/srv/secret/a\" }} }}\n\
             [backends.b]\n{backend}permissions = {{ read = [\"/srv/b/in\"], write = [\"/srv/b/out\"] }}\n"
        );
        let config = parse(Path::new("/srv/host/config.toml"), &text).unwrap();
        let checked = check(&config, &config.backends["a"], [Path::new("/srv/plugins")]);
        checked.err().map(|error| error.message)
    }

    #[test]
    fn what_the_host_goes_by_and_what_others_are_granted_is_not_granted() {
        for (permissions, why) in [
            ("write = [\"/srv/host\"]", "the config file lies there: /srv/host/config.toml"),
            ("read = [\"/srv/host\"]", "the config file lies there"),
            ("read = [\"/\"]", "lies there"),
            ("write = [\"/srv/state\"]", "the queue lies there"),
            ("read = [\"/srv/state/queue.db\"]", "the queue lies there"),
            ("read = [\"/srv/secret\"]", "the secret of the backend a lies there"),
            ("write = [\"/srv/plugins\"]", "a plugin directory lies there"),
            ("write = [\"/srv/tls\"]", "the ca_file of the backend a lies there"),
            ("write = [\"/srv/b\"]", "what the backend b is granted lies there: /srv/b/in"),
            (
                "write = [\"/srv/x\"], read = [\"/srv/x/y\"]",
                "what the backend a is granted lies there",
            ),
        ] {
            let refusal = refusal(permissions).unwrap_or_default();
            assert!(refusal.contains(why), "{permissions}: {refusal}");
        }
        let many: Vec<String> = (0..33).map(|number| format!("\"/srv/r/{number}\"")).collect();
        let many = refusal(&format!("read = [{}]", many.join(", "))).unwrap();
        assert!(many.contains("more than 32 paths"), "{many}");
    }

    #[test]
    fn directories_beside_each_other_and_shared_ones_are_granted() {
        for permissions in [
            "write = [\"/srv/a\"], read = [\"/srv/b/in\"]",
            "write = [\"/srv/b/out\"]",
            "read = [\"/srv/tls\", \"/srv/plugins\"]",
            "write = [\"/srv/hostess\"]",
            "write = [\"/srv/x/y\"], read = [\"/srv/x\"]",
        ] {
            assert_eq!(refusal(permissions), None, "{permissions}");
        }
    }
}
