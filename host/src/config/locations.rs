//! Where the config file and the store of `serve` are if nobody says where.

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

/// Whether the file lies where the config of the whole machine does, which the service reads by its group.
pub(super) fn is_of_system(file: &Path) -> bool {
    Path::new(SYSTEM_CONFIG).parent().is_some_and(|directory| file.starts_with(directory))
}

/// The usual config files that are there and are not read, since `used` comes before them.
pub fn shadowed(used: &Path) -> Vec<PathBuf> {
    behind(config_files(), used).filter(|file| file.exists()).collect()
}

/// What comes after `used` in the list.
fn behind(files: Vec<PathBuf>, used: &Path) -> impl Iterator<Item = PathBuf> {
    files.into_iter().skip_while(move |file| file != used).skip(1)
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
    fn a_config_file_shadows_those_that_come_after_it() {
        let files = || ["/home/a/c.toml", "/etc/c.toml"].map(PathBuf::from).to_vec();
        let behind = |used| behind(files(), Path::new(used)).collect::<Vec<_>>();
        assert_eq!(behind("/home/a/c.toml"), [PathBuf::from("/etc/c.toml")]);
        assert_eq!(behind("/etc/c.toml"), Vec::<PathBuf>::new());
        assert_eq!(behind("/elsewhere/c.toml"), Vec::<PathBuf>::new());
    }
}
