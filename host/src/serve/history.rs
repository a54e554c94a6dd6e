//! What changed when in config and plugins: kept in the audit, also over restarts.

use similar::TextDiff;

use crate::error::Error;
use crate::setup::Setup;
use crate::store::{By, Deed, Failure, Store, Way};

/// Lines that are shown around each change.
const AROUND: usize = 2;

/// Keeps what of a setup is otherwise than this host's last one was, as the store remembers that one.
pub(super) async fn keep(store: &dyn Store, setup: &Setup) {
    let name = format!("config of {}", host_and_file(setup));
    let now = described(setup);
    // What goes wrong with the store is logged where all of that is; the config is used all the same.
    let Ok(before) = store.note(&name).await else { return };
    let Some(detail) = changes(before.as_deref(), &now) else { return };
    if store.keep_deed(deed(setup, "config", detail)).await.is_ok() {
        let _ = store.set_note(&name, &now).await;
    }
}

/// Keeps that a changed config can't be used. `setup` is the one that stays.
pub(super) async fn keep_refusal(store: &dyn Store, setup: &Setup, error: &Error) {
    // Without the lines of the file, in which comments stand.
    let Failure { message, help, .. } = Failure::from(error);
    let detail = [Some(message), help].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let _ = store.keep_deed(deed(setup, "config refused", detail)).await;
}

fn deed(setup: &Setup, what: &'static str, detail: String) -> Deed {
    let by = By { who: host_and_file(setup), way: Way::Config };
    Deed { by, what, ticket: None, detail }
}

/// The name of this machine, since several may share a store, and the config file.
fn host_and_file(setup: &Setup) -> String {
    let source = setup.config.source();
    #[cfg(unix)]
    let source = format!("{}:{source}", rustix::system::uname().nodename().to_string_lossy());
    source
}

/// The settings without secrets, and which libraries make tickets by them.
fn described(setup: &Setup) -> String {
    let mut text = format!("{}\n", setup.config.shown);
    for (name, backend) in &setup.backends {
        if let Ok(backend) = backend {
            let manifest = &backend.manifest;
            text.push_str(&format!("# {name}: plugin {} {}\n", manifest.name, manifest.version));
        }
    }
    text
}

/// The lines that are gone and those that are new; None if that is nothing. What there was before may not be known.
fn changes(before: Option<&str>, now: &str) -> Option<String> {
    let Some(before) = before else { return Some("read for the first time".to_owned()) };
    let diff = TextDiff::from_lines(before, now);
    let text = diff.unified_diff().context_radius(AROUND).to_string();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_by_its_lines_and_what_stayed_is_not() {
        let before = "a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\n";
        assert_eq!(changes(None, before).unwrap(), "read for the first time");
        assert_eq!(changes(Some(before), before), None);
        let told = changes(Some(before), &before.replace("f = 6", "f = 7")).unwrap();
        assert_eq!(told, "@@ -4,3 +4,3 @@\n d = 4\n e = 5\n-f = 6\n+f = 7\n");
    }
}
