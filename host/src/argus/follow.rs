//! How Argus's incidents go on that have tickets: which of them changed, ended or began again.
//!
//! Argus tells nobody. Those that go on are listed; one that isn't listed any more has ended, or is another filter's.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

use super::client::{self, Argus};
use super::identity::as_filed;
use crate::config::ArgusConfig;
use crate::error::{Error, Result};
use crate::incident::{self, ARGUS, Identified, Identity};
use crate::queue::{self, Queue};
use crate::store::{New, Timestamp};

/// How many incidents are read from the store at once.
const PAGE: i64 = 500;
/// How many incidents that are listed no more are asked for in one round.
const ASKED: usize = 200;

/// What was reported last of each incident that goes on, by its number in Argus.
#[derive(Debug, Default)]
pub(super) struct Followed {
    reported: HashMap<i64, u64>,
    /// Behind which incident of the store the last round stopped to ask, since there were too many.
    after: i64,
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
    // Nobody asked. A person has to look at what failed: Argus lists it again in each round, which changes nothing.
    Ok(New { wanted: false, reopen: false, reports: true, ..new })
}

impl Followed {
    /// Reports what changed of the incidents that have tickets. What can't be reported is put in `errors`.
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
        let mut going_on = without;
        let mut listing = argus.list_with_tickets()?;
        while let Some(page) = listing.next().await? {
            for attributes in page {
                let Some(pk) = client::pk(&attributes) else { continue };
                going_on.insert(pk);
                self.report(queue, argus, pk, attributes, errors).await?;
            }
        }
        self.reported.retain(|pk, _| going_on.contains(pk));
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
        let mut asked = 0;
        let mut after = std::mem::take(&mut self.after);
        loop {
            let incidents = queue.store.going_on(ARGUS, after, PAGE).await?;
            for incident in &incidents {
                after = incident.incident;
                let Ok(pk) = incident.number.parse::<i64>() else { continue };
                if going_on.contains(&pk) {
                    continue;
                }
                if asked == ASKED {
                    self.after = after;
                    return Ok(());
                }
                asked += 1;
                match argus.incident(pk).await? {
                    // It may have been set up anew: then this is another one.
                    Some(attributes) if began_together(&attributes, &incident.began) => {
                        self.report(queue, argus, pk, attributes, errors).await?;
                    }
                    _ => queue.store.ended(incident.incident).await?,
                }
            }
            if (incidents.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }

    async fn report(
        &mut self,
        queue: &Queue,
        argus: &Argus<'_>,
        pk: i64,
        attributes: Map<String, Value>,
        errors: &mut Vec<Error>,
    ) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        Value::Object(attributes.clone()).to_string().hash(&mut hasher);
        let digest = hasher.finish();
        if self.reported.get(&pk) == Some(&digest) {
            return Ok(());
        }
        match reported(queue, argus.config, pk, attributes) {
            Ok(new) => {
                queue.report(new).await?;
                self.reported.insert(pk, digest);
            }
            Err(error) => errors.push(error),
        }
        Ok(())
    }
}

pub(crate) fn began_together(attributes: &Map<String, Value>, began: &str) -> bool {
    let start_time = attributes.get("start_time").and_then(Value::as_str).unwrap_or_default();
    incident::may_have_begun_together(began, start_time)
}

/// Whether an incident has ended, as Argus gives it.
pub(crate) fn has_ended(attributes: &Map<String, Value>) -> bool {
    incident::has_ended(&attributes.clone().into(), Timestamp::now())
}
