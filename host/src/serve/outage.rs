//! Whether the store does what it is asked: logged once when it begins to fail and once when it goes on, whoever meets it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ticket_plugin_api::{Action, Ticket, TicketState};
use tokio::sync::Notify;

use crate::error::{Kind, Result as Ended};
use crate::life;
use crate::lock::lock;
use crate::machine::Policy;
use crate::store::{
    self, Accepted, Adoption, Advanced, Attempt, By, Claim, Count, Decision, Deed, Entries, Entry,
    Failed, Filter, GoingOn, Job, Lease, Life, Minute, New, OpenTickets, Order, Outcome, Place,
    Result, Search, Searched, SharedHold, Sighting, Store, StoreError, Term, Timestamp, ToTell,
    ToTellBack, Which,
};
use crate::terminal::{counted, safe};

/// How often a store that fails is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A store whose failures are logged here, and by nobody else.
#[derive(Debug)]
pub(super) struct Observed {
    store: Arc<dyn Store>,
    outage: Mutex<Option<Outage>>,
    begun: Notify,
}

/// The store fails, since its first failure that was logged.
#[derive(Debug)]
struct Outage {
    /// What was logged of it: "is full", "is busy".
    said: Vec<&'static str>,
    /// Incidents that were not accepted.
    refused: u64,
    /// Whether anything failed since it was last looked at.
    fails: bool,
}

impl Observed {
    pub(super) fn new(store: Arc<dyn Store>) -> Observed {
        Observed { store, outage: Mutex::default(), begun: Notify::new() }
    }

    /// Sees to it that the end of each outage is noticed and logged, and that the store is gone, also while nobody asks the store for
    /// anything.
    ///
    /// # Errors
    /// None: it goes on for ever.
    pub(super) async fn watch(self: Arc<Self>) -> Ended<()> {
        loop {
            tokio::select! {
                () = self.begun.notified() => {}
                () = tokio::time::sleep(LOOK) => {
                    // What goes wrong is heard.
                    let _ = self.look().await;
                    continue;
                }
            }
            while !self.is_over().await {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Looks whether the store does again what it is asked.
    async fn is_over(&self) -> bool {
        if self.store.probe().await.is_err() {
            return false;
        }
        let mut outage = lock(&self.outage);
        // What was probed works. What else is asked of it may fail all the same.
        if outage.as_mut().is_some_and(|outage| std::mem::take(&mut outage.fails)) {
            return false;
        }
        if let Some(Outage { refused, .. }) = outage.take() {
            let refused = counted(refused, "incident");
            tracing::info!("the store goes on; {refused} were refused meanwhile");
        }
        true
    }

    /// Passes on what a call came to, and logs if that is news.
    fn heard<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error @ StoreError::Broken { what, .. }) = &result {
            let mut outage = lock(&self.outage);
            let outage = outage.get_or_insert_with(|| {
                self.begun.notify_one();
                Outage { said: Vec::new(), refused: 0, fails: false }
            });
            outage.fails = true;
            if !outage.said.contains(what) {
                outage.said.push(what);
                tracing::error!("{}", text(error));
            }
        }
        result
    }

    fn refused(&self) {
        if let Some(outage) = lock(&self.outage).as_mut() {
            outage.refused += 1;
        }
    }
}

/// What failed, why, and what to do.
fn text(error: &StoreError) -> String {
    let mut text = error.said();
    if let StoreError::Broken { help, .. } = error {
        text.push_str(&format!("\nhelp: {help}"));
    }
    safe(&text)
}

#[async_trait]
impl Store for Observed {
    async fn accept(&self, new: New, policy: Policy, claimed: Option<Term>) -> Result<Accepted> {
        let accepted = self.heard(self.store.accept(new, policy, claimed).await);
        if matches!(accepted, Err(StoreError::Broken { .. })) {
            self.refused();
        }
        accepted
    }

    async fn claim(
        &self,
        backend: &str,
        which: Which,
        most: usize,
        term: Term,
    ) -> Result<Vec<Claim>> {
        self.heard(self.store.claim(backend, which, most, term).await)
    }

    async fn settle(
        &self,
        claim: Arc<Claim>,
        started_at: Timestamp,
        outcome: Outcome,
        policy: Policy,
    ) -> Result<Option<Job>> {
        self.heard(self.store.settle(claim, started_at, outcome, policy).await)
    }

    async fn report(&self, new: New, policy: Policy) -> Result<Option<i64>> {
        self.heard(self.store.report(new, policy).await)
    }

    async fn incident_ended(&self, incident: i64) -> Result<()> {
        self.heard(self.store.incident_ended(incident).await)
    }

    async fn tickets_of(&self, incident: i64) -> Result<Vec<Job>> {
        self.heard(self.store.tickets_of(incident).await)
    }

    async fn claim_updates(
        &self,
        backend: &str,
        most: usize,
        term: Term,
        life: Arc<life::Terms>,
    ) -> Result<Vec<Claim>> {
        self.heard(self.store.claim_updates(backend, most, term, life).await)
    }

    async fn add_update(
        &self,
        ticket: i64,
        action: Action,
        said: String,
        policy: Policy,
        by: &By,
    ) -> Result<i64> {
        self.heard(self.store.add_update(ticket, action, said, policy, by).await)
    }

    async fn adopt(&self, id: i64, ticket: Ticket, by: &By) -> Result<Job> {
        self.heard(self.store.adopt(id, ticket, by).await)
    }

    async fn adopt_pasted(
        &self,
        new: New,
        ticket: Ticket,
        state: TicketState,
        policy: Policy,
    ) -> Result<Adoption> {
        self.heard(self.store.adopt_pasted(new, ticket, state, policy).await)
    }

    async fn update_attempts(&self, update: i64) -> Result<Vec<Attempt>> {
        self.heard(self.store.update_attempts(update).await)
    }

    async fn life(&self, ticket: i64) -> Result<Life> {
        self.heard(self.store.life(ticket).await)
    }

    async fn going_on(&self, source: &str, after: i64, most: i64) -> Result<Vec<GoingOn>> {
        self.heard(self.store.going_on(source, after, most).await)
    }

    async fn open_tickets(&self, backend: &str, after: &Place, most: i64) -> Result<OpenTickets> {
        self.heard(self.store.open_tickets(backend, after, most).await)
    }

    async fn sighted(&self, sighting: Sighting) -> Result<bool> {
        self.heard(self.store.sighted(sighting).await)
    }

    async fn to_tell_back(&self, after: i64, most: i64) -> Result<Vec<ToTellBack>> {
        self.heard(self.store.to_tell_back(after, most).await)
    }

    async fn told_back(&self, to_tell: ToTellBack) -> Result<()> {
        self.heard(self.store.told_back(to_tell).await)
    }

    async fn room(&self) -> Result<Option<i64>> {
        self.heard(self.store.room().await)
    }

    async fn unfinished(&self) -> Result<[Vec<Count>; 2]> {
        self.heard(self.store.unfinished().await)
    }

    async fn update_counts(&self) -> Result<Vec<Count>> {
        self.heard(self.store.update_counts().await)
    }

    async fn renew(&self, leases: Arc<[Lease]>, time: Duration) -> Result<()> {
        self.heard(self.store.renew(leases, time).await)
    }

    async fn advance(&self) -> Result<Advanced> {
        self.heard(self.store.advance().await)
    }

    async fn order(&self, id: i64, order: Order, policy: Policy, by: &By) -> Result<Job> {
        self.heard(self.store.order(id, order, policy, by).await)
    }

    async fn keep_deed(&self, deed: Deed) -> Result<()> {
        self.heard(self.store.keep_deed(deed).await)
    }

    async fn deeds(&self, which: &Entries) -> Result<Vec<Entry>> {
        self.heard(self.store.deeds(which).await)
    }

    async fn reopen(&self, backend: &str, kinds: &[Kind], policy: Policy) -> Result<u64> {
        self.heard(self.store.reopen(backend, kinds, policy).await)
    }

    async fn hasten(&self, backend: &str, kinds: &[Kind], within: Duration) -> Result<u64> {
        self.heard(self.store.hasten(backend, kinds, within).await)
    }

    async fn reassign(&self, decision: &Decision, policy: Policy) -> Result<Vec<(String, u64)>> {
        self.heard(self.store.reassign(decision, policy).await)
    }

    async fn get(&self, id: i64) -> Result<Option<Job>> {
        self.heard(self.store.get(id).await)
    }

    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>> {
        self.heard(self.store.attempts(id).await)
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        self.heard(self.store.list(filter).await)
    }

    async fn failed(&self, backend: &str, most: i64) -> Result<Vec<Failed>> {
        self.heard(self.store.failed(backend, most).await)
    }

    async fn minutes(&self, since: Timestamp) -> Result<Vec<Minute>> {
        self.heard(self.store.minutes(since).await)
    }

    async fn incident(&self, ticket: i64) -> Result<Option<String>> {
        self.heard(self.store.incident(ticket).await)
    }

    async fn incidents(&self, tickets: &[i64]) -> Result<Vec<(i64, String)>> {
        self.heard(self.store.incidents(tickets).await)
    }

    async fn search(&self, search: &Search) -> Result<Searched> {
        self.heard(self.store.search(search).await)
    }

    async fn retry_failed(&self, failed: &[Failed], policy: Policy, by: &By) -> Result<u64> {
        self.heard(self.store.retry_failed(failed, policy, by).await)
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        self.heard(self.store.counts().await)
    }

    async fn to_tell(&self, source: &str, after: i64, most: i64) -> Result<Vec<ToTell>> {
        self.heard(self.store.to_tell(source, after, most).await)
    }

    async fn told(&self, incident: i64) -> Result<()> {
        self.heard(self.store.told(incident).await)
    }

    async fn note(&self, name: &str) -> Result<Option<String>> {
        self.heard(self.store.note(name).await)
    }

    async fn set_note(&self, name: &str, value: &str) -> Result<()> {
        self.heard(self.store.set_note(name, value).await)
    }

    async fn prune(&self, unseen: Duration, after: i64) -> Result<Option<i64>> {
        self.heard(self.store.prune(unseen, after).await)
    }

    async fn probe(&self) -> Result<()> {
        self.heard(self.store.probe().await)
    }

    async fn look(&self) -> Result<()> {
        self.heard(self.store.look().await)
    }

    fn shared(&self) -> Option<Duration> {
        self.store.shared()
    }

    async fn woken(&self) {
        self.store.woken().await;
    }

    async fn lead(&self, host: &str, time: Duration) -> Result<bool> {
        self.heard(self.store.lead(host, time).await)
    }

    async fn take_turns(
        &self,
        backend: &str,
        interval: Duration,
        turns: u32,
        most: Duration,
    ) -> Result<Option<Duration>> {
        self.heard(self.store.take_turns(backend, interval, turns, most).await)
    }

    async fn set_pause(&self, backend: &str, time: Duration) -> Result<()> {
        self.heard(self.store.set_pause(backend, time).await)
    }

    async fn pauses(&self) -> Result<Vec<(String, Duration)>> {
        self.heard(self.store.pauses().await)
    }

    async fn hold(
        &self,
        backend: &str,
        cause: &'static str,
        time: Duration,
        ends: bool,
    ) -> Result<()> {
        self.heard(self.store.hold(backend, cause, time, ends).await)
    }

    async fn release(&self, backend: &str, cause: &'static str) -> Result<i64> {
        self.heard(self.store.release(backend, cause).await)
    }

    async fn holds(&self) -> Result<Vec<SharedHold>> {
        self.heard(self.store.holds().await)
    }

    fn called(&self) -> &str {
        self.store.called()
    }

    async fn is_empty(&self) -> Result<bool> {
        self.heard(self.store.is_empty().await)
    }

    async fn notes(&self) -> Result<Vec<String>> {
        self.heard(self.store.notes().await)
    }

    async fn export(
        &self,
        table: &'static store::Table,
        after: i64,
    ) -> Result<Option<(store::Rows, i64)>> {
        self.heard(self.store.export(table, after).await)
    }

    async fn import(&self, rows: store::Rows) -> Result<()> {
        self.heard(self.store.import(rows).await)
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
