//! What changed when in config and plugins: kept in the audit, also over restarts.

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use super::SLOW;
use crate::error::Error;
use crate::setup::Setup;
use crate::store::{self, By, Deed, Failure, Store, Way};

/// Lines that are shown around each change.
const AROUND: usize = 2;

/// What is noted of a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    /// What may be shown of it.
    text: String,
    /// Of all of it: secrets and comments, too. Nobody is shown this.
    digest: String,
}

/// Keeps what of a setup is otherwise than this host's last one was, as the store remembers that one.
pub(super) async fn keep(store: &dyn Store, setup: &Setup) {
    // What goes wrong with the store is logged where all of that is; the config is used all the same.
    let _ = tokio::time::timeout(SLOW, note(store, setup)).await;
}

async fn note(store: &dyn Store, setup: &Setup) -> store::Result<()> {
    // A file has one host at a time, whatever its machine is called.
    let name = match store.shared() {
        None => "config".to_owned(),
        Some(_) => format!("config of {}", host_and_file(setup)),
    };
    let now = Noted {
        text: described(setup),
        digest: setup.config.digest.map_or_else(String::new, |digest| digest.to_string()),
    };
    let before = store.note(&name).await?.and_then(|note| serde_json::from_str(&note).ok());
    let Some(detail) = changes(before.as_ref(), &now) else { return Ok(()) };
    store.keep_deed(deed(setup, "config", detail)).await?;
    let text = serde_json::to_string(&now).expect("texts are JSON");
    store.set_note(&name, &text).await
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
    format!("{}:{source}", host_name())
}

#[cfg(unix)]
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// The settings without secrets, and which libraries make tickets by them.
fn described(setup: &Setup) -> String {
    let mut text = format!("{}\n", setup.config.shown);
    for (name, backend) in &setup.backends {
        if let Ok(backend) = backend {
            let (library, _) = backend.library();
            let plugin = setup.catalog.plugins().find(|plugin| plugin.path == library);
            let digest = plugin.map(|plugin| format!(", SHA-256 {}", plugin.image.sha256));
            let (manifest, digest) = (&backend.manifest, digest.unwrap_or_default());
            let plugin = format!("{} {}{digest}", manifest.name, manifest.version);
            text.push_str(&format!("# {name}: plugin {plugin}\n"));
        }
    }
    text
}

/// The lines that are gone and those that are new; None if that is nothing. What there was before may not be known.
fn changes(before: Option<&Noted>, now: &Noted) -> Option<String> {
    let Some(before) = before else { return Some("read for the first time".to_owned()) };
    let diff = TextDiff::from_lines(&before.text, &now.text);
    let text = diff.unified_diff().context_radius(AROUND).to_string();
    match text.is_empty() {
        true if before.digest == now.digest => None,
        true => Some("something that isn't shown: a secret, or a comment".to_owned()),
        false => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_by_its_lines_and_what_stayed_is_not() {
        let noted =
            |text: &str, digest: &str| Noted { text: text.to_owned(), digest: digest.to_owned() };
        let text = "a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\n";
        let before = noted(text, "1");
        assert_eq!(changes(None, &before).unwrap(), "read for the first time");
        assert_eq!(changes(Some(&before), &before), None);
        let told = changes(Some(&before), &noted(&text.replace("f = 6", "f = 7"), "2")).unwrap();
        assert_eq!(told, "@@ -4,3 +4,3 @@\n d = 4\n e = 5\n-f = 6\n+f = 7\n");
        let told = changes(Some(&before), &noted(text, "2")).unwrap();
        assert_eq!(told, "something that isn't shown: a secret, or a comment");
    }
}
