//! The store in tables, whichever engine keeps them: what is asked of it becomes what is written to them and read from them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ticket_plugin_api::{Action, Ticket, TicketState};

use super::changes::{self, Kinds, Part};
use super::sql::{Db, Fallible, values};
use super::stored::Of;
use super::writer::{Undone, Writer};
use super::{
    Accepted, Adoption, Advanced, Attempt, By, Claim, Count, Decision, Deed, Entries, Entry,
    Failed, Filter, GoingOn, Job, Lease, Life, Minute, New, OpenTickets, Order, Outcome, Place,
    Result, Search, Searched, SharedHold, Sighting, Store, Term, Timestamp, ToTell, ToTellBack,
    Which, audit, back, backends, closed, copy, holds, pasted, reads, updates,
};
use crate::error::Kind;
use crate::life;
use crate::machine::Policy;

/// The tables of one store, in an engine.
#[async_trait]
pub(super) trait Tables: std::fmt::Debug + Send + Sync {
    /// What people call the store.
    fn name(&self) -> &str;

    fn writer(&self) -> &Writer;

    /// Reads what is committed.
    async fn reading<T: Send + 'static>(
        &self,
        does: impl for<'a, 'b> FnOnce(&'a Db<'b>) -> Fallible<T> + Send + 'static,
    ) -> Result<T>;

    /// As [`Store::advance`].
    async fn do_what_is_due(&self) -> Result<Advanced>;

    /// As [`Store::probe`].
    async fn try_to_write(&self) -> Result<()>;

    /// As [`Store::look`].
    async fn is_in_place(&self) -> Result<()>;

    /// As [`Store::shared`].
    fn is_shared(&self) -> Option<Duration>;

    /// As [`Store::woken`].
    async fn told_by_others(&self);

    /// As [`Store::lead`].
    async fn take_lead(&self, host: &str, time: Duration) -> Result<bool>;

    /// As [`Store::close`].
    async fn end(&self);

    async fn write<T: Send + 'static>(
        &self,
        does: impl for<'a, 'b> Fn(&'a Db<'b>) -> std::result::Result<T, Undone> + Send + 'static,
    ) -> Result<T> {
        self.writer().write(does).await.unwrap_or_else(|| Err(closed(self.name())))
    }

    /// Reads what there is, and what was asked to be written before.
    async fn read<T: Send + 'static>(
        &self,
        does: impl for<'a, 'b> FnOnce(&'a Db<'b>) -> Fallible<T> + Send + 'static,
    ) -> Result<T> {
        self.writer().catch_up().await;
        self.reading(does).await
    }

    /// Does something with what failed for one of the kinds in a backend, part by part, so that other writes have their turn in between.
    /// How many rows that changed.
    async fn in_parts(
        &self,
        backend: &str,
        kinds: &[Kind],
        does: impl for<'a, 'b, 'c> Fn(&'a Db<'b>, &'c Kinds) -> Fallible<Part> + Copy + Send + 'static,
    ) -> Result<u64> {
        let mut changed = 0;
        for of in Of::ALL {
            let mut next = Some(0);
            while let Some(after) = next {
                let of = Kinds { of, backend: backend.to_owned(), kinds: kinds.to_vec(), after };
                let part = self.write(move |db| Ok(does(db, &of)?)).await?;
                changed += part.changed;
                next = part.next;
            }
        }
        Ok(changed)
    }
}

#[async_trait]
impl<T: Tables> Store for T {
    async fn accept(&self, new: New, policy: Policy, claimed: Option<Term>) -> Result<Accepted> {
        self.write(move |db| changes::accept(db, &new, policy, claimed)).await
    }

    async fn claim(
        &self,
        backend: &str,
        which: Which,
        most: usize,
        term: Term,
    ) -> Result<Vec<Claim>> {
        let backend = backend.to_owned();
        self.write(move |db| Ok(changes::claim(db, &backend, which, most, term)?)).await
    }

    async fn settle(
        &self,
        claim: Arc<Claim>,
        started_at: Timestamp,
        outcome: Outcome,
        policy: Policy,
    ) -> Result<Option<Job>> {
        let does =
            move |db: &Db<'_>| Ok(changes::settle(db, &claim, started_at, &outcome, policy)?);
        self.writer().write_later(does).await.unwrap_or_else(|| Err(closed(self.name())))
    }

    async fn report(&self, new: New, policy: Policy) -> Result<Option<i64>> {
        self.write(move |db| updates::report(db, &new, policy)).await
    }

    async fn incident_ended(&self, incident: i64) -> Result<()> {
        self.write(move |db| Ok(updates::incident_ended(db, incident)?)).await
    }

    async fn tickets_of(&self, incident: i64) -> Result<Vec<Job>> {
        self.read(move |db| reads::tickets_of(db, incident)).await
    }

    async fn claim_updates(
        &self,
        backend: &str,
        most: usize,
        term: Term,
        life: Arc<life::Terms>,
    ) -> Result<Vec<Claim>> {
        let backend = backend.to_owned();
        self.write(move |db| Ok(updates::claim(db, &backend, most, term, &life)?)).await
    }

    async fn add_update(
        &self,
        ticket: i64,
        action: Action,
        said: String,
        policy: Policy,
        by: &By,
    ) -> Result<i64> {
        let by = by.clone();
        self.write(move |db| updates::add(db, ticket, action, &said, policy, &by)).await
    }

    async fn adopt(&self, id: i64, ticket: Ticket, by: &By) -> Result<Job> {
        let by = by.clone();
        self.write(move |db| updates::adopt(db, id, &ticket, &by)).await
    }

    async fn adopt_pasted(
        &self,
        new: New,
        ticket: Ticket,
        state: TicketState,
        policy: Policy,
    ) -> Result<Adoption> {
        self.write(move |db| pasted::adopt(db, &new, &ticket, state, policy)).await
    }

    async fn update_attempts(&self, update: i64) -> Result<Vec<Attempt>> {
        self.read(move |db| reads::update_attempts(db, update)).await
    }

    async fn life(&self, ticket: i64) -> Result<Life> {
        self.read(move |db| reads::life(db, ticket)).await
    }

    async fn going_on(&self, source: &str, after: i64, most: i64) -> Result<Vec<GoingOn>> {
        let source = source.to_owned();
        self.read(move |db| reads::going_on(db, &source, after, most)).await
    }

    async fn open_tickets(&self, backend: &str, after: &Place, most: i64) -> Result<OpenTickets> {
        let (backend, after) = (backend.to_owned(), after.clone());
        self.read(move |db| back::open_tickets(db, &backend, &after, most)).await
    }

    async fn sighted(&self, sighting: Sighting) -> Result<bool> {
        self.write(move |db| Ok(back::sighted(db, &sighting)?)).await
    }

    async fn to_tell_back(&self, after: i64, most: i64) -> Result<Vec<ToTellBack>> {
        self.read(move |db| back::to_tell_back(db, after, most)).await
    }

    async fn told_back(&self, to_tell: ToTellBack) -> Result<()> {
        self.write(move |db| Ok(back::told_back(db, &to_tell)?)).await
    }

    async fn room(&self) -> Result<Option<i64>> {
        let room = self.write(|db| Ok(db.sql.room()?)).await?;
        Ok((room != i64::MAX).then_some(room.max(0)))
    }

    async fn unfinished(&self) -> Result<[Vec<Count>; 2]> {
        self.read(reads::unfinished).await
    }

    async fn update_counts(&self) -> Result<Vec<Count>> {
        self.read(reads::update_counts).await
    }

    async fn renew(&self, leases: Arc<[Lease]>, time: Duration) -> Result<()> {
        let renewed = Arc::clone(&leases);
        let renew = move |db: &Db<'_>| Ok((changes::renew(db, &renewed, time)?, db.began + time));
        let (renewed, until) = self.write(renew).await?;
        let of_these = leases.iter().filter(|lease| renewed.contains(&(lease.of, lease.step)));
        of_these.for_each(|lease| lease.until.renewed(until));
        Ok(())
    }

    async fn advance(&self) -> Result<Advanced> {
        self.do_what_is_due().await
    }

    async fn order(&self, id: i64, order: Order, policy: Policy, by: &By) -> Result<Job> {
        let by = by.clone();
        self.write(move |db| changes::order(db, id, order, policy, &by)).await
    }

    async fn keep_deed(&self, deed: Deed) -> Result<()> {
        self.write(move |db| Ok(audit::add(db, &deed)?)).await
    }

    async fn deeds(&self, which: &Entries) -> Result<Vec<Entry>> {
        let which = which.clone();
        self.read(move |db| audit::entries(db, &which)).await
    }

    async fn reopen(&self, backend: &str, kinds: &[Kind], policy: Policy) -> Result<u64> {
        self.in_parts(backend, kinds, move |db, of| changes::reopen(db, of, policy)).await
    }

    async fn hasten(&self, backend: &str, kinds: &[Kind], within: Duration) -> Result<u64> {
        self.in_parts(backend, kinds, move |db, of| changes::hasten(db, of, db.now - within)).await
    }

    async fn reassign(&self, decision: &Decision, policy: Policy) -> Result<Vec<(String, u64)>> {
        let mut left: Vec<(String, u64)> = Vec::new();
        let mut after = Some(0);
        while let Some(from) = after {
            let decision = decision.clone();
            let (moved, next) =
                self.write(move |db| Ok(changes::reassign(db, &decision, from, policy)?)).await?;
            for backend in moved {
                match left.iter_mut().find(|(name, _)| *name == backend) {
                    Some((_, count)) => *count += 1,
                    None => left.push((backend, 1)),
                }
            }
            after = next;
        }
        Ok(left)
    }

    async fn get(&self, id: i64) -> Result<Option<Job>> {
        self.read(move |db| reads::get(db, id)).await
    }

    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>> {
        self.read(move |db| reads::attempts(db, id)).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        let filter = filter.clone();
        self.read(move |db| reads::list(db, &filter)).await
    }

    async fn failed(&self, backend: &str, most: i64) -> Result<Vec<Failed>> {
        let backend = backend.to_owned();
        self.read(move |db| reads::failed(db, &backend, most)).await
    }

    async fn minutes(&self, since: Timestamp) -> Result<Vec<Minute>> {
        self.read(move |db| reads::minutes(db, since)).await
    }

    async fn incident(&self, ticket: i64) -> Result<Option<String>> {
        self.read(move |db| reads::incident(db, ticket)).await
    }

    async fn incidents(&self, tickets: &[i64]) -> Result<Vec<(i64, String)>> {
        let tickets = tickets.to_vec();
        self.read(move |db| reads::incidents(db, &tickets)).await
    }

    async fn search(&self, search: &Search) -> Result<Searched> {
        let search = search.clone();
        self.read(move |db| reads::search(db, &search)).await
    }

    async fn retry_failed(&self, failed: &[Failed], policy: Policy, by: &By) -> Result<u64> {
        let (failed, by) = (failed.to_vec(), by.clone());
        self.write(move |db| Ok(changes::retry_failed(db, &failed, policy, &by)?)).await
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        self.read(reads::counts).await
    }

    async fn to_tell(&self, source: &str, after: i64, most: i64) -> Result<Vec<ToTell>> {
        let source = source.to_owned();
        self.read(move |db| reads::to_tell(db, &source, after, most)).await
    }

    async fn told(&self, incident: i64) -> Result<()> {
        const TOLD: &str = "UPDATE incidents SET tell = 0 WHERE id = ?1";
        self.write(move |db| Ok(db.execute(TOLD, values![incident]).map(drop)?)).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.reading(move |db| reads::note(db, &name)).await
    }

    async fn set_note(&self, name: &str, value: &str) -> Result<()> {
        const SET: &str = "INSERT INTO notes (name, value) VALUES (?1, ?2) \
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write(move |db| Ok(db.execute(SET, values![&name, &value]).map(drop)?)).await
    }

    async fn prune(&self, unseen: Duration, after: i64) -> Result<Option<i64>> {
        self.write(move |db| Ok(changes::prune(db, unseen, after)?)).await
    }

    async fn probe(&self) -> Result<()> {
        self.try_to_write().await
    }

    async fn look(&self) -> Result<()> {
        self.is_in_place().await
    }

    async fn take_turns(
        &self,
        backend: &str,
        interval: Duration,
        turns: u32,
        most: Duration,
    ) -> Result<Option<Duration>> {
        if self.is_shared().is_none() {
            return Ok(Some(Duration::ZERO));
        }
        let backend = backend.to_owned();
        let take =
            move |db: &Db<'_>| Ok(backends::take_turns(db, &backend, interval, turns, most)?);
        self.write(take).await
    }

    async fn set_pause(&self, backend: &str, time: Duration) -> Result<()> {
        if self.is_shared().is_none() {
            return Ok(());
        }
        let backend = backend.to_owned();
        self.write(move |db| Ok(backends::set_pause(db, &backend, time)?)).await
    }

    async fn pauses(&self) -> Result<Vec<(String, Duration)>> {
        if self.is_shared().is_none() {
            return Ok(Vec::new());
        }
        self.reading(backends::pauses).await
    }

    async fn hold(
        &self,
        backend: &str,
        cause: &'static str,
        time: Duration,
        ends: bool,
    ) -> Result<()> {
        if self.is_shared().is_none() {
            return Ok(());
        }
        let backend = backend.to_owned();
        self.write(move |db| Ok(holds::hold(db, &backend, cause, time, ends)?)).await
    }

    async fn release(&self, backend: &str, cause: &'static str) -> Result<i64> {
        if self.is_shared().is_none() {
            return Ok(0);
        }
        let backend = backend.to_owned();
        self.write(move |db| Ok(holds::release(db, &backend, cause)?)).await
    }

    async fn holds(&self) -> Result<Vec<SharedHold>> {
        if self.is_shared().is_none() {
            return Ok(Vec::new());
        }
        self.reading(holds::all).await
    }

    fn called(&self) -> &str {
        self.name()
    }

    async fn is_empty(&self) -> Result<bool> {
        self.read(copy::is_empty).await
    }

    async fn notes(&self) -> Result<Vec<String>> {
        self.read(copy::notes).await
    }

    async fn export(
        &self,
        table: &'static copy::Table,
        after: i64,
    ) -> Result<Option<(copy::Rows, i64)>> {
        self.read(move |db| copy::export(db, table, after)).await
    }

    async fn import(&self, rows: copy::Rows) -> Result<()> {
        self.write(move |db| Ok(copy::import(db, &rows)?)).await
    }

    fn shared(&self) -> Option<Duration> {
        self.is_shared()
    }

    async fn woken(&self) {
        self.told_by_others().await;
    }

    async fn lead(&self, host: &str, time: Duration) -> Result<bool> {
        self.take_lead(host, time).await
    }

    async fn close(&self) {
        self.end().await;
    }
}
