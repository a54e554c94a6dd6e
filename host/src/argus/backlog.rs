//! Which incidents are filed that were open before this Argus was watched for the first time.

use crate::config::{ArgusConfig, Backlog};

/// So many are filed without a question.
const FEW: usize = 50;

/// The name of the note that holds for whichever Argus the config names: a store that had tickets before it had such notes
/// has it, so that nothing is skipped which was filed until then.
pub(super) const OF_ANY: &str = "argus.backlog";

/// What was decided at the first time. It is kept in the store as a note, and holds for incidents by their numbers: also for
/// those that are opened again, or come into the filter, later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decided {
    /// All are filed.
    All,
    /// Those with a larger number are filed: Argus counts its incidents in the order in which it heard of them.
    After(i64),
}

/// The open incidents that nobody has asked a ticket of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Waiting {
    pub count: usize,
    /// The largest number among them.
    pub newest: i64,
}

/// The name of the note for this Argus. It has the URL's host and port alone: the same Argus over https, or below another
/// path, is no other one.
pub(super) fn name(config: &ArgusConfig) -> String {
    let host = config.url.host_str().unwrap_or_default();
    let port = config.url.port().map(|port| format!(":{port}"));
    format!("{OF_ANY} {host}{}", port.unwrap_or_default())
}

/// What was decided before, by the notes for this Argus and for any.
pub(super) fn before(of_this: Option<&str>, of_any: Option<&str>) -> Option<Decided> {
    [of_this, of_any].into_iter().flatten().find_map(Decided::of_note)
}

impl Decided {
    pub(super) fn of_note(note: &str) -> Option<Decided> {
        match note.strip_prefix("after ") {
            Some(number) => number.parse().ok().map(Decided::After),
            None => (note == "all").then_some(Decided::All),
        }
    }

    pub(super) fn note(self) -> String {
        match self {
            Decided::All => "all".to_owned(),
            Decided::After(number) => format!("after {number}"),
        }
    }

    pub(super) fn files(self, pk: i64) -> bool {
        match self {
            Decided::All => true,
            Decided::After(number) => pk > number,
        }
    }
}

/// What needs no look at Argus: what was decided before, or what the config says now.
pub(super) fn decided(setting: Backlog, before: Option<Decided>) -> Option<Decided> {
    match setting {
        Backlog::File => Some(Decided::All),
        Backlog::Skip | Backlog::Ask => before,
    }
}

/// What is decided at the first time.
pub(super) fn decide(setting: Backlog, waiting: Waiting) -> Decided {
    match setting {
        Backlog::File => Decided::All,
        Backlog::Ask if waiting.count <= FEW => Decided::All,
        Backlog::Ask | Backlog::Skip => Decided::After(waiting.newest),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    #[test]
    fn an_argus_stays_the_same_over_https_and_with_another_path() {
        for (url, expected) in [
            ("http://argus.example.org/", "argus.backlog argus.example.org"),
            ("https://argus.example.org/", "argus.backlog argus.example.org"),
            ("https://Argus.example.org:443/sub/", "argus.backlog argus.example.org"),
            ("http://argus.example.org:8000/", "argus.backlog argus.example.org:8000"),
            ("http://[::1]:8000/", "argus.backlog [::1]:8000"),
        ] {
            assert_eq!(name(&config(url, url)), expected, "{url}");
        }
    }

    #[test]
    fn the_note_for_this_argus_comes_before_the_one_for_any() {
        for (of_this, of_any, expected) in [
            (None, None, None),
            (None, Some("all"), Some(Decided::All)),
            (Some("after 9"), Some("all"), Some(Decided::After(9))),
            (Some("after 9"), None, Some(Decided::After(9))),
            (Some("odd"), Some("all"), Some(Decided::All)),
        ] {
            assert_eq!(before(of_this, of_any), expected, "{of_this:?} {of_any:?}");
        }
    }

    #[test]
    fn many_that_were_there_before_are_not_filed_unless_the_config_says_so() {
        use Backlog::{Ask, File, Skip};
        for (setting, count, expected) in [
            (File, 51, Decided::All),
            (Ask, 0, Decided::All),
            (Ask, 50, Decided::All),
            (Ask, 51, Decided::After(9)),
            (Skip, 51, Decided::After(9)),
            (Skip, 1, Decided::After(9)),
        ] {
            let waiting = Waiting { count, newest: 9 };
            assert_eq!(decide(setting, waiting), expected, "{setting:?} {count}");
        }
    }

    #[test]
    fn what_was_decided_stays_until_the_config_says_that_all_are_filed() {
        use Backlog::{Ask, File, Skip};
        let some = Some(Decided::After(9));
        for (setting, before, expected) in [
            (Ask, None, None),
            (Skip, None, None),
            (File, None, Some(Decided::All)),
            (File, some, Some(Decided::All)),
            (Ask, some, some),
            (Skip, some, some),
            (Skip, Some(Decided::All), Some(Decided::All)),
        ] {
            assert_eq!(decided(setting, before), expected, "{setting:?} {before:?}");
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        for decided in [Decided::All, Decided::After(0), Decided::After(17)] {
            assert_eq!(Decided::of_note(&decided.note()), Some(decided));
        }
        for odd in ["", "after", "after x", "17"] {
            assert_eq!(Decided::of_note(odd), None, "{odd}");
        }
        assert!(Decided::After(9).files(10) && !Decided::After(9).files(9));
        assert!(Decided::All.files(1));
    }
}
