//! How the users of this machine are called.

use crate::store::{By, Way};

/// Who runs this program, for the audit: the user, and who became that by sudo, as far as sudo says it.
pub(super) fn operator() -> By {
    By { who: who(), way: Way::Cli }
}

#[cfg(unix)]
fn who() -> String {
    let user = user_name(rustix::process::getuid().as_raw());
    match std::env::var("SUDO_USER") {
        Ok(other) if !other.is_empty() && other != user => format!("{other} as {user}"),
        _ => user,
    }
}

#[cfg(not(unix))]
fn who() -> String {
    std::env::var("USERNAME").unwrap_or_else(|_| "somebody".to_owned())
}

/// The name of a user, or its number as sudo takes it, where this machine's files don't know the name.
#[cfg(unix)]
pub(super) fn user_name(user: u32) -> String {
    let users = std::fs::read("/etc/passwd").unwrap_or_default();
    let users = String::from_utf8_lossy(&users);
    let of_user = |line: &&str| line.split(':').nth(2) == Some(user.to_string().as_str());
    let name = users.lines().find(of_user).and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("#{user}"), str::to_owned)
}
