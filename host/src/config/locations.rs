//! Where the config file and the store of `serve` are if nobody says where.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// The config file of the whole machine.
const SYSTEM_CONFIG: &str = "/etc/ticket-host/config.toml";
/// The store of a service that is set up for the whole machine.
const SYSTEM_STORE: &str = "/var/lib/ticket-host/queue.db";

/// The user's own config file: `~/.config/ticket-host/config.toml` on Linux and macOS,
/// `%APPDATA%\ticket-host\config.toml` on Windows. None where the user has no home directory.
pub fn user_file() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.config_dir().join("ticket-host").join("config.toml"))
}

/// The config files that are read if none is named: the first of these that exists.
pub(super) fn config_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = user_file().into_iter().collect();
    if cfg!(unix) {
        files.push(PathBuf::from(SYSTEM_CONFIG));
    }
    files
}

/// Whether this is the config file of the whole machine.
pub(super) fn is_system_config(file: Option<&Path>) -> bool {
    file == Some(Path::new(SYSTEM_CONFIG))
}

/// Whether a config file is there. One that nobody can tell of, since this user may not enter its directory, counts as
/// there: that it can't be read is an error then, where its settings would be ignored otherwise.
pub(super) fn is_there(file: &Path) -> bool {
    // A home that is no directory, such as /dev/null, holds no file.
    file.try_exists().unwrap_or_else(|cause| cause.kind() != ErrorKind::NotADirectory)
}

/// Whether the file lies where the config of the whole machine does, which the service reads by its group.
pub(super) fn is_of_system(file: &Path) -> bool {
    Path::new(SYSTEM_CONFIG).parent().is_some_and(|directory| file.starts_with(directory))
}

/// A sentence for each of these config files that is there and is not read, since `used` comes before it.
pub(super) fn shadowed(files: Vec<PathBuf>, used: &Path) -> Vec<String> {
    let behind = files.into_iter().skip_while(|file| file != used).skip(1);
    let told = behind.filter(|file| is_there(file)).map(|file| {
        let (file, used) = (file.display(), used.display());
        format!("{file} is not read, since {used} is there; --config names the one to read")
    });
    told.collect()
}

/// The store that goes with a config file: the machine's with the machine's file, else the user's own.
pub(super) fn store(config: Option<&Path>) -> PathBuf {
    let own = etcetera::choose_base_strategy()
        .ok()
        .and_then(|base| base.state_dir().or_else(|| Some(base.data_dir())))
        .map(|directory| directory.join("ticket-host").join("queue.db"));
    own.filter(|_| !is_system_config(config)).unwrap_or_else(|| PathBuf::from(SYSTEM_STORE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_file_shadows_those_that_come_after_it_and_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["a.toml", "b.toml", "c.toml"].map(|name| directory.path().join(name));
        std::fs::write(&files[2], "").unwrap();
        let told = |used: &Path| shadowed(files.to_vec(), used);
        let [ref a, _, ref c] = files;
        let (by, file) = (a.display(), c.display());
        let sentence =
            format!("{file} is not read, since {by} is there; --config names the one to read");
        assert_eq!(told(a), [sentence]);
        assert!(told(c).is_empty());
        assert!(told(Path::new("/elsewhere/c.toml")).is_empty());
    }

    #[test]
    fn a_config_file_of_which_nobody_can_tell_counts_as_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        assert!(!is_there(&file));
        std::fs::write(&file, "").unwrap();
        assert!(is_there(&file));
        assert!(!is_there(&file.join("c.toml")), "in a file, which is no directory");
        // The system refuses to look for such a name, for root too.
        assert!(is_there(&directory.path().join("x".repeat(5000))));
    }
}
