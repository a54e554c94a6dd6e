//! Whether an incident still needs the ticket that is about to be made: its Argus is asked, if that may have changed.

use std::time::Duration;

use crate::argus::{Argus, Current};
use crate::config::{ArgusConfig, Config, Ended};
use crate::error::Result;
use crate::store::Claim;
use crate::terminal::cut;

/// An incident that waited longer than that may have ended, or have got a ticket by hand.
const FRESH: Duration = Duration::from_secs(60);
/// How long Argus may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of what went wrong that are kept with the ticket.
const SHOWN: usize = 300;

/// What an incident needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A ticket. What is odd about that goes with it.
    Ticket { warning: Option<String> },
    /// Nothing: it has a ticket with this URL, which somebody else made.
    Has(String),
    /// Nothing: it has ended, and nobody asked for its ticket.
    Nothing,
}

/// Finds out what a claimed incident needs of which there is certainly no ticket.
pub(super) async fn need(config: &Config, claim: &Claim, began: &str) -> Need {
    let plain = Need::Ticket { warning: None };
    let (Some(argus), Some(pk)) = (&config.argus, claim.identity.argus_pk()) else { return plain };
    // A ticket that was asked for by its backend's name is another one than the one that Argus knows.
    if claim.waited <= FRESH || !claim.is_main {
        return plain;
    }
    let asked = tokio::time::timeout(PATIENCE, ask(argus, pk, began)).await;
    let current = asked.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()));
    let current = current.and_then(|answer| answer.map_err(|error| error.message));
    decide(current, claim.wanted, argus.ended)
}

async fn ask(argus: &ArgusConfig, pk: i64, began: &str) -> Result<Current> {
    Argus::new(argus)?.current(pk, began).await
}

fn decide(current: std::result::Result<Current, String>, wanted: bool, ended: Ended) -> Need {
    match current {
        Ok(Current::HasTicket(url)) => Need::Has(url),
        Ok(Current::Ended | Current::Gone) if !wanted && ended == Ended::Suppress => Need::Nothing,
        Ok(Current::Open | Current::Ended | Current::Gone) => Need::Ticket { warning: None },
        // Better a ticket too many than none.
        Err(why) => {
            let warning = format!(
                "Argus could not be asked whether the incident still needs it: {}",
                cut(&why, SHOWN)
            );
            Need::Ticket { warning: Some(warning) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_needs_no_ticket_if_it_has_one_or_has_ended_and_nobody_asked() {
        use Ended::{Create, Suppress};
        let ticket = || Need::Ticket { warning: None };
        let url = || "https://rt.example.org/1".to_owned();
        for (current, wanted, ended, expected) in [
            (Current::Open, false, Suppress, ticket()),
            (Current::Ended, false, Suppress, Need::Nothing),
            (Current::Ended, true, Suppress, ticket()),
            (Current::Ended, false, Create, ticket()),
            (Current::Gone, false, Suppress, Need::Nothing),
            (Current::Gone, true, Suppress, ticket()),
            (Current::HasTicket(url()), false, Create, Need::Has(url())),
            (Current::HasTicket(url()), true, Suppress, Need::Has(url())),
        ] {
            let name = format!("{current:?} {wanted} {ended:?}");
            assert_eq!(decide(Ok(current), wanted, ended), expected, "{name}");
        }
        let unasked = decide(Err("it is down".to_owned()), false, Suppress);
        let Need::Ticket { warning: Some(warning) } = unasked else { panic!("{unasked:?}") };
        assert!(warning.ends_with("still needs it: it is down"), "{warning}");
    }
}
