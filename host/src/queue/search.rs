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
use super::{Phase, Queue, agree, reached};
use crate::backend::{Answer, Backend, KeyedIncident, wanted_key};
use crate::config::LookFirst;
use crate::error::{Error, Kind};
use crate::store::{CLOCKS, Claim, Failure, Outcome, Timestamp};
use crate::terminal::line;
use crate::tickets;

/// Calls that one search may take, as the header of the ABI says.
const MOST_CALLS: usize = 1000;

/// Times of find_many() are compared in whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// What a search found out of a ticket.
enum Looked {
    Found(TicketName),
    None,
    /// Nothing: it is to be asked for by itself.
    Open,
    /// Nothing, though it was asked for by itself.
    Failed(Error),
}

/// What came of a search. A key that isn't there was not found out.
struct Searched {
    keys: HashMap<String, Looked>,
    /// When to ask again for what was not found out.
    rest: Duration,
    /// Why it went no further, if something failed.
    error: Option<Error>,
}

impl Searched {
    /// These are to be asked for one by one.
    fn leaves_open(&mut self, keys: Vec<WantedKey>) {
        self.keys.extend(keys.into_iter().map(|wanted| (wanted.key, Looked::Open)));
    }
}

impl Default for Searched {
    fn default() -> Searched {
        Searched { keys: HashMap::new(), rest: STORE_PAUSE, error: None }
    }
}

/// A claim whose ticket is looked for.
struct Open {
    wanted: KeyedIncident,
    claim: Claim,
    under_way: Option<UnderWay>,
}

/// Whether the tickets of a backend are looked for together: where others make them, too, each is looked for right before it is made.
pub(super) fn is_for(backend: &Backend) -> bool {
    backend.finds() && backend.finds_many() && backend.look_first == LookFirst::WhenInDoubt
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
            (under_way, Err(tried)) => ends.push((*tried, claim, under_way)),
            (under_way, Ok(wanted)) => match tickets::carried(&wanted) {
                Some(ticket) if !claim.unknown => {
                    let outcome = Outcome::Created { ticket, made: false };
                    ends.push((Tried::Apart(outcome), claim, under_way));
                }
                _ => open.push(Open { wanted, claim, under_way }),
            },
        }
    }
    let mut phase = queue.phase();
    let searched = tokio::select! {
        searched = search(&queue, &backend, &open) => Some(searched),
        () = reached(&mut phase, Phase::Killed) => None,
        never = runner::renewing(&queue, &backend, open.iter().map(|it| &it.claim)) => match never {},
    };
    let turn = place.turn();
    let _record = place.free();
    for Open { wanted, claim, mut under_way } in open {
        if let Some(under_way) = &mut under_way {
            under_way.end_call();
        }
        let tried = match &searched {
            Some(searched) => told(&queue, &backend, &claim, searched, &wanted.key).await,
            // A search makes nothing: what was certainly not there before is not there now.
            None if claim.unknown => stopped(&queue, &backend, &claim),
            None => unsaid(&claim, Duration::ZERO),
        };
        ends.push((tried, claim, under_way));
    }
    // Together, so that they share a commit.
    let mut records = JoinSet::new();
    for (tried, claim, under_way) in ends {
        let (queue, backend) = (Arc::clone(&queue), Arc::clone(&backend));
        records.spawn(async move {
            runner::finish(&queue, &backend, claim, under_way, started, stamp, tried).await
        });
    }
    let pause = records.join_all().await.into_iter().max().unwrap_or_default();
    agree::end(&queue, &backend.name, turn, pause).await;
    queue.wake();
}

/// Asks the plugin for all of them, and then for each that this left open.
async fn search(queue: &Queue, backend: &Backend, open: &[Open]) -> Searched {
    let mut searched = Searched::default();
    // A claim lasts for two searches at least: so there is time for one more call, as long as one has not passed.
    let last = Instant::now() + backend.longest_search();
    let (mut bounded, mut unbounded, mut latest) = (Vec::new(), Vec::new(), None);
    for Open { wanted, claim, .. } in open {
        let not_after = not_after(queue, claim);
        latest = latest.max(not_after);
        // A list that was read before may not show what can have been made just now: who asks for both asks for that anew each time.
        let keys = if not_after.is_some() { &mut bounded } else { &mut unbounded };
        keys.push(wanted_key(wanted, not_after));
    }
    // A list that was read in the second in which a ticket can have been made doesn't show that there is none.
    let early = latest.map_or(Duration::ZERO, |latest| (latest + SECOND).since(Timestamp::now()));
    tokio::time::sleep(early.min(SECOND)).await;
    for keys in [bounded, unbounded] {
        ask(backend, keys, &mut searched, last).await;
    }
    for Open { wanted, .. } in open {
        if searched.error.is_some() || Instant::now() > last {
            break;
        }
        if matches!(searched.keys.get(&wanted.key), Some(Looked::Open)) {
            let looked = match backend.find(wanted).await {
                Ok(Answer::Given(Ticket { url, id, .. })) => Looked::Found(TicketName { url, id }),
                Ok(Answer::NotFound) => Looked::None,
                Ok(Answer::Unsupported) => continue,
                Err(error) if is_of_all(&error) => {
                    searched.error = Some(error);
                    break;
                }
                Err(error) => Looked::Failed(error),
            };
            searched.keys.insert(wanted.key.clone(), looked);
        }
    }
    searched
}

/// Whether an error is about the ticket system, the settings or this machine, and so about all tickets alike.
fn is_of_all(error: &Error) -> bool {
    error.is_of_machine || matches!(error.kind, Kind::Client | Kind::Settings)
}

/// Asks for some keys, again and again where the plugin says that its search goes on.
async fn ask(backend: &Backend, mut keys: Vec<WantedKey>, searched: &mut Searched, last: Instant) {
    // Those without a time first. They are in UTC, and so texts in their order.
    keys.sort_by(|a, b| a.not_before.cmp(&b.not_before));
    let mut bytes = 0;
    let fits = keys.iter().take_while(|wanted| {
        bytes += wanted.key.len();
        bytes <= MAX_KEY_BYTES
    });
    // For these there is no room in one call.
    keys.truncate(fits.count());
    let mut asked = FindMany { keys, cursor: None };
    for _ in 0..MOST_CALLS {
        if asked.keys.is_empty() || searched.error.is_some() || Instant::now() > last {
            return;
        }
        let FoundMany { found, none, cursor, retry_after_ms } = match backend
            .find_many(&asked)
            .await
        {
            Ok(Answer::Given(found)) => found,
            Ok(Answer::Unsupported) => {
                // They are looked for one by one from now on, and at once.
                backend.cannot_find_many();
                searched.rest = Duration::ZERO;
                return;
            }
            Err(error) if is_of_all(&error) => {
                searched.error = Some(error);
                return;
            }
            // That may be one ticket's fault, or the search's: each is asked for by itself.
            failed => {
                let why = failed.map_or_else(|error| error.to_string(), |_| "NOT_FOUND".to_owned());
                let name = &backend.name;
                tracing::warn!("{name}: many tickets can't be looked for together: {}", line(&why));
                searched.leaves_open(asked.keys);
                return;
            }
        };
        for found in found {
            searched.keys.insert(found.key, Looked::Found(found.ticket));
        }
        searched.keys.extend(none.into_iter().map(|key| (key, Looked::None)));
        asked.keys.retain(|wanted| !searched.keys.contains_key(&wanted.key));
        let pause = Duration::from_millis(retry_after_ms.unwrap_or(0));
        searched.rest = searched.rest.max(pause);
        if cursor.is_none() {
            // It came to its end, and couldn't tell of these.
            searched.leaves_open(asked.keys);
            return;
        }
        if Instant::now() + pause > last {
            return;
        }
        tokio::time::sleep(pause).await;
        asked.cursor = cursor;
    }
}

/// The latest time at which a ticket can have been made, so that a list that was read later has it.
fn not_after(queue: &Queue, claim: &Claim) -> Option<Timestamp> {
    match claim {
        // The other backend may make it at any time.
        Claim { elsewhere: true, .. } => None,
        Claim { unknown: true, .. } => Some(claim.settled),
        _ => Some(queue.knows_since().max(claim.known_since + CLOCKS)),
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
        (Some(Looked::Failed(error)), _) | (_, Some(error)) => {
            // A search that failed tells nothing: where there may be a ticket, that is as unknown as before.
            let retry = if claim.unknown { Retry::Unknown } else { error.retry };
            failed(queue, backend, claim, error, retry).await
        }
        (Some(Looked::Open) | None, None) => unsaid(claim, searched.rest),
    }
}

/// It is as it was before.
fn unsaid(claim: &Claim, rest: Duration) -> Tried {
    let why = "the search for its ticket came to no end yet, and goes on";
    let failure = claim.job.failure.clone();
    let failure = failure.unwrap_or_else(|| Failure::new(Kind::Client, why, None));
    Tried::Apart(Outcome::Postponed { after: rest, failure })
}
