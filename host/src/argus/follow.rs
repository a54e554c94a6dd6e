//! How Argus's incidents go on that have tickets: which of them changed, ended or began again.
//!
//! Argus tells nobody. Those that go on are listed; one that isn't listed any more has ended, or is another filter's.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use ticket_plugin_api::TicketState;

use super::client::{self, Argus};
use super::identity::as_filed;
use super::watcher::goes_on;
use crate::config::ArgusConfig;
use crate::error::{Error, Result};
use crate::incident::{self, ARGUS, Identified, Identity};
use crate::queue::{self, Queue};
use crate::store::{New, State, Timestamp};

/// How many incidents are read from the store at once.
const PAGE: i64 = 500;
/// How many incidents that are listed no more are asked for in one round, and for how long: what comes newly waits for that.
const ASKED: usize = 200;
const TIME: Duration = Duration::from_secs(10);
/// How many incidents may be gone at once. If more are, it is another Argus.
const GONE: usize = 20;
/// An incident that stays as it is is reported again after that time, so that the store, which may have been changed otherwise, knows that it
/// goes on.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// What was reported last of each incident, by its number in Argus.
#[derive(Debug, Default)]
pub(super) struct Followed {
    reported: HashMap<i64, (u64, Instant)>,
    /// Those that have no state, and so never end.
    stateless: HashSet<i64>,
    /// Behind which incident of the store the last round stopped to ask, since there were too many.
    after: i64,
    /// Those of this pass over the store's incidents that Argus doesn't have.
    gone: Vec<i64>,
    /// Whether it was said that too many are gone.
    said: bool,
}

/// An incident as Argus has it now, for the store.
///
/// # Errors
/// It can't be an incident, or no backend is for it.
pub(crate) fn reported(
    queue: &Queue,
    config: &ArgusConfig,
    pk: i64,
    attributes: Map<String, Value>,
) -> Result<New> {
    let incident = as_filed(config, pk, attributes)?;
    let identified = Identified {
        identity: Identity::of_argus(pk),
        key: incident::key(&incident, None)?,
        began: incident.start_time.clone(),
    };
    let new = queue::new(queue, &queue.setup(), &incident, identified, None)?;
    let ticket_url = Some(incident.ticket_url.trim().to_owned());
    // Nobody asked. A person has to look at what failed: Argus lists it again in each round, which changes nothing.
    Ok(New { wanted: false, reopen: false, reports: true, ticket_url, ..new })
}

impl Followed {
    /// Reports what changed of the incidents that have tickets; those that have none are `without`. What can't be reported is put in
    /// `errors`.
    ///
    /// # Errors
    /// Argus can't be asked, or the store can't be read.
    pub(super) async fn round(
        &mut self,
        queue: &Queue,
        argus: &Argus<'_>,
        without: HashSet<i64>,
        errors: &mut Vec<Error>,
    ) -> Result<()> {
        let (mut going_on, mut with) = (without, HashSet::new());
        let mut listing = argus.list_with_tickets()?;
        while let Some(page) = listing.next().await? {
            for attributes in page {
                let Some(pk) = client::pk(&attributes) else { continue };
                going_on.insert(pk);
                with.insert(pk);
                goes_on(self.report(queue, argus, pk, attributes).await, errors)?;
            }
        }
        self.reported.retain(|pk, _| going_on.contains(pk));
        for pk in queue.offers_to_be_made_again(&with) {
            self.reported.remove(&pk);
        }
        self.ask_for_the_others(queue, argus, &going_on, errors).await
    }

    /// Those that go on by the store and that Argus doesn't list are asked for one by one.
    async fn ask_for_the_others(
        &mut self,
        queue: &Queue,
        argus: &Argus<'_>,
        going_on: &HashSet<i64>,
        errors: &mut Vec<Error>,
    ) -> Result<()> {
        let began = Instant::now();
        let mut asked = 0;
        let mut is_whole = false;
        while !is_whole {
            let incidents = queue.store.going_on(ARGUS, self.after, PAGE).await?;
            is_whole = (incidents.len() as i64) < PAGE;
            for incident in &incidents {
                let pk = incident.number.parse::<i64>().ok();
                let Some(pk) =
                    pk.filter(|pk| !going_on.contains(pk) && !self.stateless.contains(pk))
                else {
                    self.after = incident.incident;
                    continue;
                };
                if asked == ASKED || began.elapsed() > TIME {
                    return Ok(());
                }
                asked += 1;
                // One that can't be asked for doesn't keep the others from it.
                self.after = incident.incident;
                match argus.incident(pk).await {
                    // It may have been set up anew: then this is another one.
                    Ok(Some(theirs)) if began_together(&theirs, &incident.began) => {
                        if incident::is_stateless(&theirs) {
                            self.stateless.insert(pk);
                        }
                        goes_on(self.report(queue, argus, pk, theirs).await, errors)?;
                    }
                    Ok(_) => self.gone.push(incident.incident),
                    Err(error) => goes_on(Err(error), errors)?,
                }
            }
        }
        self.after = 0;
        let gone = std::mem::take(&mut self.gone);
        self.are_gone(queue, &gone).await
    }

    /// Incidents that Argus doesn't have any more have ended, unless so many are gone that it must be another Argus.
    async fn are_gone(&mut self, queue: &Queue, gone: &[i64]) -> Result<()> {
        if gone.len() > GONE {
            if !std::mem::replace(&mut self.said, true) {
                tracing::warn!(
                    "Argus doesn't have {} incidents any more that were open: their tickets are told nothing of that\nhelp: does argus.url lead to \
                     another Argus? If they were deleted there, close their tickets: `ticket-host ticket close ID`",
                    gone.len()
                );
            }
            return Ok(());
        }
        self.said = false;
        for incident in gone {
            queue.store.incident_ended(*incident).await?;
        }
        Ok(())
    }

    async fn report(
        &mut self,
        queue: &Queue,
        argus: &Argus<'_>,
        pk: i64,
        attributes: Map<String, Value>,
    ) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        attributes.hash(&mut hasher);
        let digest = hasher.finish();
        let is_known = |(known, at): &(u64, Instant)| *known == digest && at.elapsed() < AGAIN;
        if self.reported.get(&pk).is_some_and(is_known) {
            return Ok(());
        }
        let new = reported(queue, argus.config, pk, attributes)?;
        let has = match queue.report(new.clone()).await? {
            Some(incident) => has_ticket(queue, incident, &new).await?,
            None => Some(false),
        };
        // Of one that waits for its ticket, or can't be looked at now, it is asked again in the next round.
        if has.is_none() || has == Some(false) && !queue.offer(new) {
            return Ok(());
        }
        self.reported.insert(pk, (digest, Instant::now()));
        Ok(())
    }
}

/// Whether an incident has a ticket. None: it is to get one, and nobody has given that up.
async fn has_ticket(queue: &Queue, incident: i64, new: &New) -> Result<Option<bool>> {
    let jobs = queue.store.tickets_of(incident).await?;
    for job in jobs.iter().filter(|job| job.state == State::Created) {
        let url = job.ticket.as_ref().map(|ticket| ticket.url.as_str());
        // One that was given while the incident waited for a ticket in a backend may be another backend's.
        let may_be_elsewhere = !job.made && url == new.ticket_url.as_deref();
        if !may_be_elsewhere {
            return Ok(Some(true));
        }
        let life = queue.store.life(job.id).await?;
        if !life.pasted || life.status != Some(TicketState::Foreign) {
            return Ok(Some(true));
        }
    }
    Ok(jobs.iter().all(|job| job.state.is_final()).then_some(false))
}

pub(crate) fn began_together(attributes: &Map<String, Value>, began: &str) -> bool {
    let start_time = attributes.get("start_time").and_then(Value::as_str).unwrap_or_default();
    incident::may_have_begun_together(began, start_time)
}

/// Whether an incident has ended, as Argus gives it.
pub(crate) fn has_ended(attributes: &Map<String, Value>) -> bool {
    incident::has_ended(&attributes.clone().into(), Timestamp::now())
}
