//! Tickets that people made, and gave to incidents at their source: asks the backends whose they are, and adopts them.
//!
//! Nobody waits for that: a ticket system that hangs holds up nothing but this.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ticket_plugin_api::abi::MAX_STATES;
use ticket_plugin_api::message::{AskedTicket, StateRequest, TicketStatus};
use ticket_plugin_api::{Retry, Ticket, TicketState};
use tokio::sync::Notify;
use url::Url;

use super::states::{self, REST};
use super::{Phase, Queue, reached};
use crate::backend::{Answer, Backend};
use crate::error::Result;
use crate::life::OnTicketPasted;
use crate::lock::lock;
use crate::setup::Setup;
use crate::store::New;
use crate::terminal::line;

/// How many offers may wait.
const KEPT: usize = 1000;
/// How long a backend that can't be asked is left alone.
const LATER: Duration = Duration::from_secs(10);
/// Bytes of the longest URL that is looked at.
const LONGEST: usize = 2048;

/// An incident that the store doesn't have, and the URL that a person gave it.
#[derive(Debug)]
struct Offer {
    new: New,
    url: String,
}

/// The offers that wait, by their incidents' keys.
#[derive(Debug, Default)]
pub(super) struct Offers {
    waiting: Mutex<HashMap<String, Offer>>,
    more: Notify,
}

impl Offers {
    fn put_back(&self, offers: Vec<Offer>) {
        let mut waiting = lock(&self.waiting);
        for offer in offers {
            // What was offered meanwhile is newer.
            waiting.entry(offer.new.key.clone()).or_insert(offer);
        }
    }
}

impl Queue {
    /// A person gave an incident, which the store doesn't have, a ticket with this URL. False if too many are to be looked at before: it is to be
    /// offered again.
    pub(crate) fn offer(&self, new: New, url: &str) -> bool {
        // What no ticket system can have made.
        if url.len() > LONGEST || Url::parse(url).is_err() {
            return true;
        }
        let mut waiting = lock(&self.offers.waiting);
        if waiting.len() >= KEPT && !waiting.contains_key(&new.key) {
            return false;
        }
        waiting.insert(new.key.clone(), Offer { new, url: url.to_owned() });
        drop(waiting);
        self.offers.more.notify_one();
        true
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
    let offers = std::mem::take(&mut *lock(&queue.offers.waiting));
    let Some(first) = offers.values().next().map(|offer| offer.new.backend.clone()) else { return };
    let setup = queue.setup();
    let mut names: Vec<&String> = setup.backends.keys().collect();
    // Where an incident's ticket would have been made.
    names.sort_by_key(|name| **name != first);
    let (mut left, mut later) = (offers.into_values().collect(), Vec::new());
    for name in names {
        left = asked(queue, &setup, name, left, &mut later).await;
    }
    if !later.is_empty() {
        queue.offers.put_back(later);
        tokio::time::sleep(LATER).await;
    }
}

/// Adopts those of the tickets that are this backend's. Gives the others; those that can't be asked for now are for `later`.
async fn asked(
    queue: &Queue,
    setup: &Setup,
    name: &str,
    offers: Vec<Offer>,
    later: &mut Vec<Offer>,
) -> Vec<Offer> {
    let Some(Ok(backend)) = setup.backends.get(name) else { return offers };
    let is_wanted = backend.life.policy.on_ticket_pasted != OnTicketPasted::Nothing;
    if !is_wanted || !backend.tells_states() {
        return offers;
    }
    let mut others = Vec::new();
    let mut parts = in_parts(offers, MAX_STATES);
    while let Some(part) = parts.pop() {
        let began = Instant::now();
        if states::cannot_be_asked(queue, backend, began) {
            later.extend(part);
            continue;
        }
        let request = part
            .iter()
            .map(|offer| AskedTicket { url: offer.url.clone(), ..AskedTicket::default() });
        match backend.state(&StateRequest { tickets: request.collect() }).await {
            Ok(Answer::Given(states)) => {
                if let Some(pause) = states.retry_after_ms {
                    backend.rest(Duration::from_millis(pause));
                }
                for offer in part {
                    let status = states.tickets.iter().find(|status| status.url == offer.url);
                    match status.filter(|status| is_here(status.state)) {
                        Some(status) => adopt(queue, backend, offer, status, later).await,
                        None => others.push(offer),
                    }
                }
            }
            Ok(_) => others.extend(part),
            Err(error) if error.retry == Retry::Later => later.extend(part),
            // It may be about one of them.
            Err(_) if part.len() > 1 => {
                let half = part.len().div_ceil(2);
                parts.extend(in_parts(part, half));
            }
            Err(error) => {
                tracing::warn!("{name}: a ticket is not adopted: {}", line(&error.message));
                others.extend(part);
            }
        }
        tokio::time::sleep(began.elapsed() * REST).await;
    }
    others
}

fn in_parts(mut offers: Vec<Offer>, most: usize) -> Vec<Vec<Offer>> {
    let mut parts = Vec::new();
    while offers.len() > most {
        parts.push(offers.split_off(offers.len() - most));
    }
    parts.push(offers);
    parts
}

/// Whether a ticket in that state is one of the backend's.
fn is_here(state: TicketState) -> bool {
    matches!(state, TicketState::Open | TicketState::Closed | TicketState::Cancelled)
}

async fn adopt(
    queue: &Queue,
    backend: &Backend,
    offer: Offer,
    status: &TicketStatus,
    later: &mut Vec<Offer>,
) {
    let new = New { backend: backend.name.clone(), is_named: false, ..offer.new.clone() };
    let ticket = named(offer.url.clone(), status);
    match queue.store.adopt_pasted(new, ticket, status.state, queue.setup().policy()).await {
        Ok(Some(job)) => {
            queue.metrics.ticket(&backend.name, "adopted");
            let (key, url) = (line(&offer.new.key), line(&offer.url));
            tracing::info!("ticket {} ({key}): adopted: a person gave it the ticket {url}", job.id);
        }
        Ok(None) => {}
        // Who made the store logs its failures.
        Err(_) => later.push(offer),
    }
}

fn named(url: String, status: &TicketStatus) -> Ticket {
    Ticket { url, id: status.id.clone(), ..Ticket::default() }
}

/// The ticket with that URL, with what its ticket system calls it if it is one of the backend's.
pub(super) async fn ticket(backend: &Backend, url: String) -> Ticket {
    let plain = Ticket { url: url.clone(), ..Ticket::default() };
    if !backend.tells_states() || url.len() > LONGEST {
        return plain;
    }
    let asked = AskedTicket { url: url.clone(), ..AskedTicket::default() };
    match backend.state(&StateRequest { tickets: vec![asked] }).await {
        Ok(Answer::Given(states)) => match states.tickets.first() {
            Some(status) if is_here(status.state) => named(url, status),
            _ => plain,
        },
        // That the incident has this ticket is known all the same.
        Ok(_) | Err(_) => plain,
    }
}
