//! Which files and directories can't be granted to a plugin: those by which it could get at more than it was granted.
//!
//! A plugin that may write a directory can put something else, or a symbolic link, in the place of whatever lies in
//! it. So nothing that the host goes by may lie there, nor what is granted to another plugin.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::backends::{BackendConfig, Isolation};
use super::settings::Config;
use crate::error::{Error, Errors, Result};

/// What belongs to the system as a whole. Directories below can be granted.
const SYSTEM: [&str; 10] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/sbin", "/sys", "/usr", "/usr/local/lib"];
/// Paths that may be granted to one backend: each takes a descriptor of each of its workers.
const MOST: usize = 32;

/// Looks whether what a backend is granted can stand beside the host's own files, the directories in which plugins
/// are looked for, and what other backends are granted.
///
/// # Errors
/// A settings error for each path that can't be granted, which names both paths.
pub fn check<'a>(
    config: &Config,
    backend: &BackendConfig,
    plugin_directories: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    if backend.isolation == Isolation::InProcess {
        return Ok(());
    }
    let (read, write) = (&backend.permissions.read, &backend.permissions.write);
    if read.is_empty() && write.is_empty() {
        return Ok(());
    }
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
    let mut errors = Errors::default();
    for path in read {
        if let Some(held) = secrets.iter().find(|(_, file)| file.starts_with(path)) {
            errors.add(refused("read", path, held));
        }
    }
    let directories = plugin_directories.into_iter();
    let mut guarded = secrets;
    guarded.extend(directories.flat_map(|path| each_place("a plugin directory", path)));
    guarded.extend(authorities(config));
    guarded.extend(SYSTEM.map(|path| ("the system".to_owned(), PathBuf::from(path))));
    for path in write {
        let others = others(config, path);
        if let Some(held) = guarded.iter().chain(&others).find(|(_, file)| file.starts_with(path)) {
            errors.add(refused("write", path, held));
        }
    }
    errors.together()
}

/// The files that hold secrets, or incidents of all backends, and what each is.
fn secrets(config: &Config) -> Vec<(String, PathBuf)> {
    let queue = &config.queue.path;
    // SQLite's own files beside the store.
    let beside = ["-wal", "-shm", "-journal"].map(|end| {
        let mut name = queue.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    });
    let queue = std::iter::once(queue.clone()).chain(beside);
    let mut secrets: Vec<_> = queue.flat_map(|file| each_place("the queue", &file)).collect();
    secrets.extend(config.file.iter().flat_map(|file| each_place("the config file", file)));
    for backend in config.backends.values() {
        let what = format!("the secret of the backend {}", backend.name);
        secrets.extend(backend.secret.files().flat_map(|file| each_place(&what, &file)));
    }
    for source in config.tokens() {
        secrets.extend(source.files().flat_map(|file| each_place("a token", &file)));
    }
    secrets
}

/// The files of the certificates that backends trust.
fn authorities(config: &Config) -> impl Iterator<Item = (String, PathBuf)> {
    config.backends.values().flat_map(|backend| {
        let what = format!("the ca_file of the backend {}", backend.name);
        backend.ca_file.as_deref().map(|file| each_place(&what, file)).unwrap_or_default()
    })
}

fn each_place(what: &str, file: &Path) -> Vec<(String, PathBuf)> {
    places(file).into_iter().map(|place| (what.to_owned(), place)).collect()
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

/// The places on the way to `path`, from each of which it could be led elsewhere: the path itself without symbolic links
/// as far as it exists, and each link that leads there.
fn places(path: &Path) -> Vec<PathBuf> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut places = Vec::new();
    let mut here = PathBuf::new();
    let mut rest: VecDeque<OsString> =
        whole.components().map(|part| part.as_os_str().to_owned()).collect();
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        here.push(part);
        let Ok(target) = fs::read_link(&here) else { continue };
        places.push(here.clone());
        // The loader of no file follows more either (path_resolution(7)).
        if places.len() > 40 {
            break;
        }
        here.pop();
        for part in target.components().rev() {
            rest.push_front(part.as_os_str().to_owned());
        }
    }
    places.push(here);
    places
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::file::parse;
    use super::*;

    /// Why the first backend, granted these permissions, is refused: all reasons. The queue is below /srv/state, the config file
    /// /srv/host/config.toml, a plugin directory /srv/plugins; a second backend may read /srv/b/in and write
    /// /srv/b/out.
    fn refusals(permissions: &str) -> Vec<String> {
        let backend = "plugin = \"x\"\nendpoint = \"https://x.org\"\n";
        let text = format!(
            "[queue]\npath = \"/srv/state/queue.db\"\n[backends.a]\n{backend}permissions = {{ {permissions} }}\n\
             ca_file = \"/srv/tls/ca.pem\"\nsecret = {{ token = {{ file = \"/srv/secret/a\" }} }}\n\
             [backends.b]\n{backend}permissions = {{ read = [\"/srv/b/in\"], write = [\"/srv/b/out\"] }}\n"
        );
        let config = parse(Path::new("/srv/host/config.toml"), &text).unwrap().config;
        let checked = check(&config, &config.backends["a"], [Path::new("/srv/plugins")]);
        let errors = checked.err().into_iter();
        errors.flat_map(Error::apart).map(|error| error.message).collect()
    }

    /// As [`refusals`], where there is one at most.
    fn refusal(permissions: &str) -> Option<String> {
        let refusals = refusals(permissions);
        assert!(refusals.len() <= 1, "{refusals:#?}");
        refusals.into_iter().next()
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
            ("write = [\"/etc\"]", "the system lies there"),
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
    fn a_link_on_the_way_to_a_file_is_a_place_where_it_can_be_led_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["real", "links"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("../real", root.join("links/relative")).unwrap();
        std::os::unix::fs::symlink(root.join("links/relative"), root.join("first")).unwrap();
        std::os::unix::fs::symlink("circle", root.join("circle")).unwrap();
        let found = places(&root.join("first/file"));
        let expected = ["first", "links/relative", "real/file"].map(|name| root.join(name));
        assert_eq!(found, expected);
        assert!(places(&root.join("circle/file")).len() < 50, "ends");
    }

    #[test]
    fn all_paths_that_cannot_be_granted_are_told() {
        let all = refusals(
            "read = [\"/srv/secret\", \"/srv/x\", \"/\"], write = [\"/srv/tls\", \"/etc\"]",
        );
        for (told, path) in
            all.iter().zip(["read: /srv/secret", "read: / ", "write: /srv/tls", "write: /etc"])
        {
            assert!(told.contains(path), "{told}");
        }
        assert_eq!(all.len(), 4, "{all:#?}");
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
