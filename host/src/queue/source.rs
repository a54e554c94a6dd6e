//! Whether an incident still needs the ticket that is about to be made: its Argus is asked, if that may have changed.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use ticket_plugin_api::Retry;

use super::Queue;
use crate::argus::{self, Argus, Current};
use crate::config::{ArgusConfig, Config, Ended};
use crate::error::{Error, Kind, Result};
use crate::lock::lock;
use crate::store::{Claim, Failure};
use crate::terminal::cut;

/// An incident that waited longer than that may have ended, or have got a ticket by hand.
const FRESH: Duration = Duration::from_secs(60);
/// How long Argus may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long an Argus that didn't answer isn't asked again: each ticket that is to be made would wait for it in turn.
const REST: Duration = Duration::from_secs(30);
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

/// An Argus that didn't answer, if it was one.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Option<Silent>>);

#[derive(Debug)]
struct Silent {
    since: Instant,
    why: String,
}

impl Silence {
    /// Why Argus isn't asked now.
    fn reason(&self, now: Instant) -> Option<String> {
        let silent = lock(&self.0);
        let lasting = silent.as_ref().filter(|silent| now < silent.since + REST)?;
        Some(lasting.why.clone())
    }

    /// Takes down what came of asking. An error that Argus itself answered with is no silence.
    fn heard<T>(&self, answer: &Result<T>, now: Instant) {
        *lock(&self.0) = match answer {
            Err(error) if error.retry == Retry::Later => {
                Some(Silent { since: now, why: error.message.clone() })
            }
            _ => None,
        };
    }
}

/// Finds out what a claimed incident needs of which there is certainly no ticket.
pub(super) async fn need(config: &Config, claim: &Claim, began: &str, silence: &Silence) -> Need {
    let plain = Need::Ticket { warning: None };
    let suppresses = config.argus.as_ref().is_none_or(|argus| argus.ended == Ended::Suppress);
    if claim.ended && !claim.wanted && (suppresses || claim.identity.argus_pk().is_none()) {
        return Need::Nothing;
    }
    let (Some(argus), Some(pk)) = (&config.argus, claim.identity.argus_pk()) else { return plain };
    // A ticket that was asked for by its backend's name is another one than the one that Argus knows.
    if claim.waited <= FRESH || !claim.is_main {
        return plain;
    }
    let current = match silence.reason(Instant::now()) {
        Some(why) => Err(why),
        None => {
            let answer = in_time(current(argus, pk, began, claim)).await;
            silence.heard(&answer, Instant::now());
            answer.map_err(|error| error.message)
        }
    };
    decide(current, claim.wanted, argus.ended)
}

async fn current(argus: &ArgusConfig, pk: i64, began: &str, claim: &Claim) -> Result<Current> {
    Argus::new(argus).await?.current(pk, began, claim.former.as_ref()).await
}

async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
        let what = format!("no answer within {} s", PATIENCE.as_secs());
        Err(Error::new(Kind::Client, what).retry(Retry::Later))
    })
}

/// Whether an incident is still ended.
#[derive(Debug)]
pub(super) enum Still {
    Ended,
    /// It has begun again, which the store knows now.
    GoesOn,
    /// Its Argus didn't say.
    Unsaid(Failure),
}

/// Looks whether an incident is still ended whose ticket is to be closed for that.
pub(super) async fn still(queue: &Queue, claim: &Claim, began: &str) -> Still {
    let setup = queue.setup();
    let (Some(config), Some(pk)) = (&setup.config.argus, claim.identity.argus_pk()) else {
        return Still::Ended;
    };
    let unsaid = |why: &str| {
        let why =
            format!("Argus didn't tell whether the incident is still ended: {}", cut(why, SHOWN));
        Still::Unsaid(Failure::new(Kind::Client, &why, None))
    };
    if let Some(why) = queue.silence.reason(Instant::now()) {
        return unsaid(&why);
    }
    let answer = in_time(async { Argus::new(config).await?.incident(pk).await }).await;
    queue.silence.heard(&answer, Instant::now());
    match answer {
        Ok(Some(theirs)) if argus::began_together(&theirs, began) && !argus::has_ended(&theirs) => {
            match argus::reported(queue, config, pk, theirs) {
                Ok(new) => match queue.report(new).await {
                    Ok(_) => Still::GoesOn,
                    Err(error) => unsaid(&error.said()),
                },
                Err(error) => unsaid(&error.message),
            }
        }
        Ok(_) => Still::Ended,
        Err(error) => unsaid(&error.message),
    }
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
    fn an_argus_that_did_not_answer_is_not_asked_for_half_a_minute() {
        let (silence, begin) = (Silence::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let later = || Err::<(), _>(Error::new(Kind::Client, "it hangs").retry(Retry::Later));
        let reason = || Some("it hangs".to_owned());
        for (answer, heard, asked, expected) in [
            (later(), 0, 0, reason()),
            (later(), 0, 29, reason()),
            (later(), 0, 30, None),
            (later(), 31, 60, reason()),
            // What Argus answers is an answer, also if it says no.
            (Ok(()), 31, 31, None),
            (Err(Error::settings("403")), 31, 31, None),
            (Err(Error::new(Kind::Client, "500")), 31, 31, None),
        ] {
            silence.heard(&answer, at(heard));
            assert_eq!(silence.reason(at(asked)), expected, "{answer:?} {heard} {asked}");
        }
    }

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
