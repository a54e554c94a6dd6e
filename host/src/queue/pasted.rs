//! Tickets that people made, and gave to incidents at their source: asks the backends whose they are, and adopts them.
//!
//! Nobody waits for that: a ticket system that hangs holds up nothing but this.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ticket_plugin_api::abi::MAX_STATES;
use ticket_plugin_api::message::{AskedTicket, StateRequest, States, TicketStatus};
use ticket_plugin_api::{Retry, Ticket, TicketState};
use tokio::sync::Notify;
use url::Url;

use super::states::{self, REST};
use super::{Phase, Queue, reached};
use crate::backend::{Answer, Backend};
use crate::error::{Kind, Result};
use crate::life::OnTicketPasted;
use crate::lock::lock;
use crate::store::{Adoption, New, Outcome};
use crate::terminal::line;

/// How many offers may wait, beside as many that are looked at.
const KEPT: usize = 1000;
/// How long what couldn't be found out is left alone.
const LATER: Duration = Duration::from_secs(10);
/// How often it is tried to find out whose a ticket is, until its incident is reported again.
const TRIES: u32 = 6;
/// How many tickets may keep a backend's others from being told, each by itself.
const BAD: usize = 5;
/// Bytes of the longest URL that is looked at.
const LONGEST: usize = 2048;

/// An incident that has no ticket in the store, and the URL that a person gave it.
#[derive(Debug, Clone)]
struct Offer {
    new: New,
    url: String,
    /// How often it couldn't be found out whose the ticket is.
    tries: u32,
}

/// The offers that wait, by their incidents' numbers in Argus.
#[derive(Debug, Default)]
pub(super) struct Offers {
    waiting: Mutex<HashMap<i64, Offer>>,
    /// The incidents that are to be offered again as they are by then.
    again: Mutex<HashSet<i64>>,
    more: Notify,
}

impl Offers {
    /// These can't be adopted now.
    fn put_back(&self, offers: Vec<(i64, Offer)>) {
        let mut waiting = lock(&self.waiting);
        for (pk, offer) in offers {
            let tries = offer.tries + 1;
            if tries < TRIES && waiting.len() < KEPT {
                // What was offered meanwhile is newer.
                waiting.entry(pk).or_insert(Offer { tries, ..offer });
            }
        }
    }
}

impl Queue {
    /// A person gave an incident of Argus's, which has no ticket in the store, one with the URL that it has. False if too many are to be looked at
    /// before: it is to be offered again.
    pub(crate) fn offer(&self, new: New) -> bool {
        let (pk, url) = (new.identity.argus_pk(), new.ticket_url.clone().unwrap_or_default());
        let Some(pk) = pk.filter(|_| url.len() <= LONGEST && Url::parse(&url).is_ok()) else {
            // No ticket system can have made it.
            return true;
        };
        let mut waiting = lock(&self.offers.waiting);
        if waiting.len() >= KEPT && !waiting.contains_key(&pk) {
            return false;
        }
        waiting.insert(pk, Offer { new, url, tries: 0 });
        drop(waiting);
        self.offers.more.notify_one();
        true
    }

    /// The incidents that are to be offered as they are now. Of those that wait only these are kept that still have a URL.
    pub(crate) fn offers_to_be_made_again(&self, with_url: &HashSet<i64>) -> HashSet<i64> {
        lock(&self.offers.waiting).retain(|pk, _| with_url.contains(pk));
        std::mem::take(&mut *lock(&self.offers.again))
    }
}

/// Runs until the queue stops.
pub(super) async fn run(queue: Arc<Queue>) -> Result<()> {
    let mut phase = queue.phase();
    let stops = reached(&mut phase, Phase::Stopping);
    tokio::pin!(stops);
    loop {
        tokio::select! {
            () = &mut stops => return Ok(()),
            () = round(&queue) => {}
        }
    }
}

/// Waits for offers, and looks at all of them.
async fn round(queue: &Queue) {
    let is_empty = lock(&queue.offers.waiting).is_empty();
    if is_empty {
        queue.offers.more.notified().await;
    }
    let mut looked = Looked {
        queue,
        left: std::mem::take(&mut *lock(&queue.offers.waiting)),
        undecided: HashSet::new(),
    };
    let first = looked.left.values().next().map(|offer| offer.new.backend.clone());
    let setup = queue.setup();
    let mut names: Vec<&String> = setup.backends.keys().collect();
    // Where an incident's ticket would have been made.
    names.sort_by_key(|name| Some(*name) != first.as_ref());
    for name in names {
        match &setup.backends[name] {
            Ok(backend) => looked.ask(backend).await,
            // It may be prepared soon.
            Err(_) => looked.undecided.extend(looked.left.keys()),
        }
    }
    let Looked { left, undecided, .. } = looked;
    let later: Vec<_> = left.into_iter().filter(|(pk, _)| undecided.contains(pk)).collect();
    if !later.is_empty() {
        queue.offers.put_back(later);
        tokio::time::sleep(LATER).await;
    }
}

/// Offers that are looked at.
struct Looked<'a> {
    queue: &'a Queue,
    /// Those that nobody has claimed.
    left: HashMap<i64, Offer>,
    /// Those of which a backend couldn't say whether they are its own.
    undecided: HashSet<i64>,
}

impl Looked<'_> {
    /// Adopts those that are this backend's.
    async fn ask(&mut self, backend: &Arc<Backend>) {
        let is_wanted = backend.life.policy.on_ticket_pasted != OnTicketPasted::Nothing;
        if !is_wanted || !backend.tells_states() {
            return;
        }
        let mut of_url: HashMap<String, Vec<i64>> = HashMap::new();
        for (pk, offer) in &self.left {
            of_url.entry(offer.url.clone()).or_default().push(*pk);
        }
        let urls: Vec<String> = of_url.keys().cloned().collect();
        let mut parts: Vec<Vec<String>> = urls.chunks(MAX_STATES).map(<[_]>::to_vec).collect();
        let mut bad = 0;
        while let Some(part) = parts.pop() {
            let began = Instant::now();
            let told = match states::cannot_be_asked(self.queue, backend, began) {
                true => None,
                false => Some(state(backend, &part).await),
            };
            match told {
                Some(Ok(told)) => {
                    for url in &part {
                        let status = told.tickets.iter().find(|status| status.url == *url);
                        self.told(backend, &of_url[url], status).await;
                    }
                }
                // It may be about one of them.
                Some(Err(error))
                    if error.retry != Retry::Later
                        && error.kind != Kind::Settings
                        && bad < BAD
                        && part.len() > 1 =>
                {
                    parts.extend(part.chunks(part.len().div_ceil(2)).map(<[_]>::to_vec));
                }
                Some(Err(error))
                    if error.retry != Retry::Later && error.kind != Kind::Settings && bad < BAD =>
                {
                    bad += 1;
                    let why = line(&error.message);
                    tracing::debug!("{}: a ticket is not adopted: {why}", backend.name);
                }
                // So it is with the others.
                None | Some(Err(_)) => {
                    parts.push(part);
                    let not_told = parts.drain(..).flatten();
                    self.undecided.extend(not_told.flat_map(|url| of_url[&url].clone()));
                }
            }
            tokio::time::sleep(began.elapsed() * REST).await;
        }
    }

    /// A backend told in which state the ticket of these incidents is, if it told it.
    async fn told(&mut self, backend: &Arc<Backend>, pks: &[i64], status: Option<&TicketStatus>) {
        match status.map(|status| status.state) {
            Some(state) if is_here(state) => {
                for pk in pks {
                    if let (Some(offer), Some(status)) = (self.left.remove(pk), status) {
                        self.adopt(backend, *pk, offer, status).await;
                    }
                }
            }
            None | Some(TicketState::Unknown) => self.undecided.extend(pks),
            Some(_) => {}
        }
    }

    async fn adopt(&mut self, backend: &Backend, pk: i64, offer: Offer, status: &TicketStatus) {
        let new = New { backend: backend.name.clone(), is_named: false, ..offer.new.clone() };
        let ticket = named(offer.url.clone(), status);
        let policy = self.queue.setup().policy();
        match self.queue.store.adopt_pasted(new, ticket, status.state, policy).await {
            Ok(Adoption::Adopted(job)) => {
                self.queue.metrics.ticket(&backend.name, "adopted");
                let (key, url) = (line(&offer.new.key), line(&offer.url));
                tracing::info!(
                    "ticket {} ({key}): adopted: a person gave it the ticket {url}",
                    job.id
                );
            }
            Ok(Adoption::Refused) => {}
            // It was adopted, or filed, while this offer waited, and may be otherwise by now.
            Ok(Adoption::HasOther) => drop(lock(&self.queue.offers.again).insert(pk)),
            // Who made the store logs its failures.
            Err(_) => {
                self.undecided.insert(pk);
                self.left.insert(pk, offer);
            }
        }
    }
}

/// Whether a ticket in that state is one of the backend's.
fn is_here(state: TicketState) -> bool {
    matches!(state, TicketState::Open | TicketState::Closed | TicketState::Cancelled)
}

async fn state(backend: &Backend, urls: &[String]) -> Result<States> {
    let asked = |url: &String| AskedTicket { url: url.clone(), ..AskedTicket::default() };
    let request = StateRequest { tickets: urls.iter().map(asked).collect() };
    match backend.state(&request).await? {
        Answer::Given(states) => {
            if let Some(pause) = states.retry_after_ms {
                backend.rest(Duration::from_millis(pause));
            }
            Ok(states)
        }
        _ => Ok(States::default()),
    }
}

fn named(url: String, status: &TicketStatus) -> Ticket {
    Ticket { url, id: status.id.clone(), ..Ticket::default() }
}

/// What becomes of the ticket that is to be made in a backend for an incident that was given one with that URL.
pub(super) async fn given(backend: &Backend, url: String) -> Outcome {
    let told = match backend.tells_states() && url.len() <= LONGEST {
        true => state(backend, std::slice::from_ref(&url)).await.unwrap_or_default(),
        // That the incident has this ticket is known all the same.
        false => States::default(),
    };
    match told.tickets.first() {
        Some(status) => {
            let state = Some(status.state).filter(|state| *state != TicketState::Unknown);
            Outcome::Pasted { ticket: named(url, status), state }
        }
        None => Outcome::Pasted { ticket: Ticket { url, ..Ticket::default() }, state: None },
    }
}
