//! A search for many tickets at once: what becomes of each of the claims that it is for.
//!
//! It makes nothing. What it finds none of waits for its turn, and is then certainly not there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ticket_plugin_api::abi::MAX_KEY_BYTES;
use ticket_plugin_api::message::{FindMany, FoundMany, TicketName, WantedKey};
use ticket_plugin_api::{Retry, Ticket};
use tokio::task::JoinSet;

use super::lane::Place;
use super::runner::{self, STORE_PAUSE, Tried, UnderWay, failed, keyed, not_alone, stopped};
use super::{Phase, Queue, reached};
use crate::backend::{Answer, Backend, KeyedIncident, wanted_key};
use crate::config::LookFirst;
use crate::error::{Error, Kind};
use crate::store::{Claim, Failure, Outcome, Timestamp};
use crate::tickets;

/// Calls that one search may take, as the header of the ABI says.
const MOST_CALLS: usize = 1000;

/// What a search found out of a ticket.
enum Looked {
    Found(TicketName),
    None,
    /// Nothing, since it came to no end: it is looked for again after that time.
    Unsaid(Duration),
}

/// What came of a search.
struct Searched {
    keys: HashMap<String, Looked>,
    /// Why it went no further, if something failed.
    error: Option<Error>,
}

/// Whether the tickets of a backend are looked for together: where others make them, too, each is looked for right before it is made.
pub(super) fn is_for(backend: &Backend) -> bool {
    backend.finds_many() && backend.look_first == LookFirst::WhenInDoubt
}

/// Looks for the tickets of these claims, and records what came of that.
pub(super) async fn run(
    queue: Arc<Queue>,
    backend: Arc<Backend>,
    claims: Vec<Claim>,
    stamp: u64,
    place: Place,
) {
    let started = Timestamp::now();
    let mut ends = Vec::new();
    let mut open = Vec::new();
    for claim in claims {
        let under_way = UnderWay::begin(&queue, claim.job.id);
        match (under_way, keyed(&claim)) {
            (None, _) => ends.push((not_alone(&queue, &backend, &claim), claim, None)),
            (under_way, Err(tried)) => ends.push((tried, claim, under_way)),
            (under_way, Ok(wanted)) => match tickets::carried(&wanted) {
                Some(ticket) if !claim.unknown => {
                    let outcome = Outcome::Created { ticket, made: false };
                    ends.push((Tried::Apart(outcome), claim, under_way));
                }
                _ => open.push((wanted, claim, under_way)),
            },
        }
    }
    let mut phase = queue.phase();
    let searched = tokio::select! {
        searched = search(&queue, &backend, &open) => Some(searched),
        () = reached(&mut phase, Phase::Killed) => None,
    };
    drop(place);
    for (wanted, claim, under_way) in open {
        let tried = match &searched {
            Some(searched) => told(&queue, &backend, &claim, searched, &wanted.key).await,
            None => stopped(&queue, &backend),
        };
        ends.push((tried, claim, under_way));
    }
    // Together, so that they share a commit.
    let mut records = JoinSet::new();
    for (tried, claim, under_way) in ends {
        let (queue, backend) = (Arc::clone(&queue), Arc::clone(&backend));
        records.spawn(async move {
            let _under_way = under_way;
            runner::finish(&queue, &backend, claim, started, stamp, tried).await;
        });
    }
    records.join_all().await;
    queue.wake();
}

/// Asks the plugin, again and again where it says that its search goes on.
async fn search(
    queue: &Queue,
    backend: &Backend,
    open: &[(KeyedIncident, Claim, Option<UnderWay>)],
) -> Searched {
    let mut keys: Vec<WantedKey> =
        open.iter().map(|(wanted, claim, _)| wanted_key(wanted, not_after(queue, claim))).collect();
    // Those without a time first. They are in UTC, and so texts in their order.
    keys.sort_by(|a, b| a.not_before.cmp(&b.not_before));
    let mut bytes = 0;
    let fits = keys.iter().take_while(|wanted| {
        bytes += wanted.key.len();
        bytes <= MAX_KEY_BYTES
    });
    let later = keys.split_off(fits.count());
    let mut asked = FindMany { keys, cursor: None };
    let mut searched = Searched { keys: HashMap::new(), error: None };
    // A claim lasts for two searches at least: so there is time for one more call, as long as one has not passed.
    let began = Instant::now();
    let last = began + backend.longest_search();
    let mut rest = STORE_PAUSE;
    for _ in 0..MOST_CALLS {
        if asked.keys.is_empty() || Instant::now() > last {
            break;
        }
        let FoundMany { found, none, cursor, retry_after_ms } =
            match backend.find_many(&asked).await {
                Ok(Answer::Given(found)) => found,
                Ok(Answer::Unsupported) => {
                    // They are looked for one by one from now on, and at once.
                    backend.cannot_find_many();
                    rest = Duration::ZERO;
                    break;
                }
                Ok(Answer::NotFound) => {
                    let why = "find_many returned NOT_FOUND, which says nothing of any ticket";
                    searched.error =
                        Some(Error::plugin(format!("backend {}: {why}", backend.name)));
                    break;
                }
                Err(error) => {
                    searched.error = Some(error);
                    break;
                }
            };
        for found in found {
            searched.keys.insert(found.key, Looked::Found(found.ticket));
        }
        searched.keys.extend(none.into_iter().map(|key| (key, Looked::None)));
        asked.keys.retain(|wanted| !searched.keys.contains_key(&wanted.key));
        let pause = Duration::from_millis(retry_after_ms.unwrap_or(0));
        rest = rest.max(pause);
        if cursor.is_none() || Instant::now() + pause > last {
            break;
        }
        tokio::time::sleep(pause).await;
        asked.cursor = cursor;
    }
    if searched.error.is_none() {
        let unsaid = |wanted: WantedKey| (wanted.key, Looked::Unsaid(rest));
        searched.keys.extend(asked.keys.into_iter().map(unsaid));
    }
    // There was no room to ask for these.
    let next = |wanted: WantedKey| (wanted.key, Looked::Unsaid(Duration::ZERO));
    searched.keys.extend(later.into_iter().map(next));
    searched
}

/// The latest time at which a ticket can have been made, so that a list that was read later has it.
fn not_after(queue: &Queue, claim: &Claim) -> Option<Timestamp> {
    match claim {
        // The other backend may make it at any time.
        Claim { elsewhere: true, .. } => None,
        Claim { unknown: true, .. } => Some(claim.settled),
        _ => Some(queue.opened.1),
    }
}

/// What the search comes to for one of its claims.
async fn told(
    queue: &Queue,
    backend: &Arc<Backend>,
    claim: &Claim,
    searched: &Searched,
    key: &str,
) -> Tried {
    match (searched.keys.get(key), &searched.error) {
        (Some(Looked::Found(name)), _) => {
            let TicketName { url, id } = name.clone();
            let ticket = Ticket { url, id, ..Ticket::default() };
            let outcome = Outcome::Created { ticket, made: claim.unknown };
            Tried::Told { outcome, made: false }
        }
        (Some(Looked::None), _) => Tried::Told { outcome: Outcome::NoTicket, made: false },
        (_, Some(error)) => {
            // A search that failed tells nothing: where there may be a ticket, that is as unknown as before.
            let retry = if claim.unknown { Retry::Unknown } else { error.retry };
            failed(queue, backend, claim, error, retry).await
        }
        (Some(Looked::Unsaid(rest)), None) => unsaid(claim, *rest),
        (None, None) => unsaid(claim, STORE_PAUSE),
    }
}

/// It is as it was before.
fn unsaid(claim: &Claim, rest: Duration) -> Tried {
    let why = "the search for its ticket came to no end yet, and goes on";
    let failure = claim.job.failure.clone();
    let failure = failure.unwrap_or_else(|| Failure::new(Kind::Client, why, None));
    Tried::Apart(Outcome::Postponed { after: rest, failure })
}
