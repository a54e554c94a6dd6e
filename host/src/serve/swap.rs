//! Another backend in the place of one that the config says, as a person said in the console: kept in the store until somebody says
//! otherwise, and seen by all hosts that share it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::store::{self, By, Deed, Store};

/// The name of the note.
const NOTE: &str = "swaps";
/// How often a host looks whether another one was told.
const LOOK: Duration = Duration::from_secs(2);

/// Which backend makes the tickets of which.
pub(super) type Swaps = BTreeMap<String, String>;

/// What the store has noted. What can't be read is nothing: the config counts.
pub(super) async fn noted(store: &dyn Store) -> Swaps {
    read(store).await.unwrap_or_default()
}

async fn read(store: &dyn Store) -> store::Result<Swaps> {
    let note = store.note(NOTE).await?;
    Ok(note.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default())
}

/// Puts the backends in each other's place. A sentence for each that can't be.
pub(super) fn apply(swaps: &Swaps, config: &mut Config) -> Vec<String> {
    let mut lacking = Vec::new();
    let default = config.backend(None).ok().map(|backend| backend.name.clone());
    let argus = config.argus.as_ref().and_then(|argus| argus.backend.clone());
    let mut instead = |name: Option<String>| {
        let to = swaps.get(&name?)?;
        if config.backends.contains_key(to) {
            return Some(to.clone());
        }
        lacking.push(format!(
            "{to} was to make the tickets of another backend, and the config doesn't have it: that makes them itself"
        ));
        None
    };
    let (default, argus) = (instead(default), instead(argus));
    if default.is_some() {
        config.default_backend = default;
    }
    if let (Some(argus), Some(to)) = (&mut config.argus, argus) {
        argus.backend = Some(to);
    }
    lacking
}

/// Notes that `to` makes the tickets of `from` from now on; None: that makes them itself again.
///
/// # Errors
/// There are no such backends, or the store can't note it.
pub(super) async fn note(
    store: &dyn Store,
    config: &Config,
    from: &str,
    to: Option<&str>,
    by: By,
) -> Result<()> {
    for name in [Some(from), to].into_iter().flatten() {
        if !config.backends.contains_key(name) {
            return Err(Error::usage(format!("there is no backend {name:?}")));
        }
    }
    let mut swaps = noted(store).await;
    // Who makes the tickets of another one isn't replaced itself: back first, then to the next.
    swaps.retain(|other, instead| other != from && instead != from);
    let detail = match to.filter(|to| *to != from) {
        Some(to) => {
            swaps.insert(from.to_owned(), to.to_owned());
            format!("{to} makes the tickets of {from}")
        }
        None => format!("{from} makes its tickets itself"),
    };
    let text = serde_json::to_string(&swaps).expect("names are JSON");
    store.set_note(NOTE, &text).await?;
    store.keep_deed(Deed { by, what: "swap", ticket: None, detail }).await?;
    Ok(())
}

/// Returns when the store has other swaps than these, as another host was told.
pub(super) async fn changed(store: &dyn Store, swaps: &Swaps) {
    loop {
        tokio::time::sleep(LOOK).await;
        // One that doesn't answer has no news.
        if read(store).await.is_ok_and(|now| now != *swaps) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(rest: &str) -> Config {
        let backend = |name: &str| {
            format!("[backends.{name}]\nplugin = \"rt\"\nendpoint = \"https://{name}.org\"\n")
        };
        let text = format!("{rest}{}{}", backend("a"), backend("b"));
        Config::parse(Path::new("/c.toml"), &text).unwrap()
    }

    fn swaps(from: &str, to: &str) -> Swaps {
        Swaps::from([(from.to_owned(), to.to_owned())])
    }

    /// The default backend and Argus's after a swap.
    fn after(swaps: &Swaps, rest: &str) -> (Option<String>, Option<String>, usize) {
        let mut config = config(rest);
        let lacking = apply(swaps, &mut config);
        let argus = config.argus.and_then(|argus| argus.backend);
        (config.default_backend, argus, lacking.len())
    }

    #[test]
    fn another_backend_takes_the_place_of_one_that_makes_the_tickets_and_no_other_does() {
        let own = |name: &str| Some(name.to_owned());
        let default = "default_backend = \"a\"\n";
        let argus = format!("{default}[argus]\nurl = \"https://argus.org\"\ntoken = \"t\"\n");
        let of_argus = format!("{argus}backend = \"b\"\n");
        for (swaps, config, expected) in [
            (Swaps::new(), default, (own("a"), None, 0)),
            (swaps("a", "b"), default, (own("b"), None, 0)),
            (swaps("b", "a"), default, (own("a"), None, 0)),
            (swaps("a", "gone"), default, (own("a"), None, 1)),
            // Argus's are the default one's.
            (swaps("a", "b"), &argus, (own("b"), None, 0)),
            (swaps("b", "a"), &of_argus, (own("a"), own("a"), 0)),
            (swaps("a", "b"), &of_argus, (own("b"), own("b"), 0)),
            (swaps("a", "b"), "", (None, None, 0)),
        ] {
            assert_eq!(after(&swaps, config), expected, "{swaps:?} {config}");
        }
    }
}
