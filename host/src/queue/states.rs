//! In which state a backend's tickets are: asks the ticket system again and again, and notes what is believed of the answers.
//!
//! Only tickets whose incidents go on are asked for. Who makes tickets has the right of way: see [`REST`].

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ticket_plugin_api::abi::MAX_STATES;
use ticket_plugin_api::message::{AskedTicket, StateRequest, TicketStatus};
use ticket_plugin_api::{Retry, TicketState};

use super::inbox::{Inbox, Named};
use super::{Phase, Queue, reached};
use crate::backend::{Answer, Backend};
use crate::error::{Error, Kind, Result};
use crate::life::{Belief, MANY, OnTicketClosed, Seen, Sight, Witness};
use crate::store::{Back, Becomes, KnownBy, OpenTicket, Place, Sighting, Timestamp};
use crate::terminal::line;

/// After each call it rests for so many times as long as that took. So it has a fifth of the time at most, and of a limit of requests.
pub(super) const REST: u32 = 4;
/// How often to look whether a backend that can't be asked can be by now.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a state was told it counts if it is told again, unless the operator has it asked for more often.
const APART: Duration = Duration::from_secs(60);
/// For how long a person's word counts that so many tickets are closed.
const CONFIRMED: Duration = Duration::from_secs(10 * 60);
/// How long nothing is asked after an error.
const REPAIR: Duration = Duration::from_secs(10);
/// How many tickets are read from the store at once, to find those among them that changed.
const PAGE: i64 = 1000;
/// Where the plugin tells which tickets changed, all are asked for only so often.
const ALL_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often a ticket is asked for in vain in one round, or after a webhook.
const TRIES: u32 = 3;
const TRIES_OF_SIGNED: u32 = 30;
/// How many tickets may keep others from being told in one round.
const BAD: usize = 5;
/// How many pages of changes are read in one go.
const CHANGES: usize = 20;

/// Runs until the queue stops.
pub(super) async fn run(queue: Arc<Queue>, name: String) -> Result<()> {
    let mut phase = queue.phase();
    let mut states = States::new(&queue, name);
    let stops = reached(&mut phase, Phase::Stopping);
    tokio::pin!(stops);
    loop {
        tokio::select! {
            () = &mut stops => return Ok(()),
            () = states.turn() => {}
        }
    }
}

/// A ticket that is to be asked for.
struct Asked {
    ticket: OpenTicket,
    /// Who else says that it changed.
    witness: Witness,
    /// How often it was asked for in vain.
    tries: u32,
}

/// What is known, and to be found out, of a backend's tickets.
struct States {
    queue: Arc<Queue>,
    name: String,
    inbox: Arc<Inbox>,
    /// What the rest is about. Another one's answers, after a change of the config, are no second ones.
    of: Weak<Backend>,
    belief: Belief,
    todo: VecDeque<Asked>,
    /// How many are asked for next, if an answer left these out, or one of these keeps the others from being told.
    most: usize,
    /// How many tickets kept others from being told in this round.
    bad: usize,
    /// Behind which place the tickets are to be asked for, too, where all are.
    rest_of_all: Option<Place>,
    /// Those of all that came so far.
    came: HashSet<i64>,
    /// When it was last begun to ask for all.
    all_at: Option<Instant>,
    /// From where on the plugin tells which tickets changed; None: all are to be asked for first.
    cursor: Option<String>,
    /// When the last round began, and the last one of which the operator says how often.
    polled: Instant,
    polled_all: Instant,
    /// When to go on, and before when nothing is asked.
    next: Instant,
    rests_until: Instant,
    /// Whether this host asks for all that share the store.
    leads: bool,
    /// Since when a person is to say whether so many tickets are closed.
    held: Option<Timestamp>,
    /// What went wrong last, which was logged.
    said: Option<String>,
}

impl States {
    fn new(queue: &Arc<Queue>, name: String) -> States {
        let now = Instant::now();
        States {
            inbox: queue.inbox(&name),
            queue: Arc::clone(queue),
            name,
            of: Weak::new(),
            belief: Belief::default(),
            todo: VecDeque::new(),
            most: MAX_STATES,
            bad: 0,
            rest_of_all: None,
            came: HashSet::new(),
            all_at: None,
            cursor: None,
            polled: now,
            polled_all: now,
            next: now,
            rests_until: now,
            leads: true,
            held: None,
            said: None,
        }
    }

    /// Waits for what is to be done next, and does it.
    async fn turn(&mut self) {
        tokio::select! {
            () = self.inbox.more() => {}
            () = tokio::time::sleep_until(self.next.into()) => {}
        }
        // A webhook shortens no rest.
        tokio::time::sleep_until(self.rests_until.into()).await;
        let began = Instant::now();
        self.next = began + LOOK;
        let setup = self.queue.setup();
        let Some(Ok(backend)) = setup.backends.get(&self.name) else { return };
        if !backend.tells_states() {
            return;
        }
        if !std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(backend)) {
            self.begin_anew();
            self.of = Arc::downgrade(backend);
        }
        let leads = self.queue.leads();
        if self.leads != leads {
            // What another host was told meanwhile isn't known here.
            self.begin_anew();
            self.leads = leads;
        }
        if cannot_be_asked(&self.queue, backend, began) {
            return;
        }
        match self.go_on(backend, began).await {
            Ok(false) => {}
            Ok(true) => {
                self.said = None;
                self.rests_until = Instant::now() + began.elapsed() * REST;
            }
            Err(error) => {
                // What changed may have been lost with that.
                self.cursor = None;
                self.rests_until = Instant::now() + REPAIR;
                self.say(&error);
            }
        }
    }

    /// Forgets what was told. What webhooks named is asked for all the same.
    fn begin_anew(&mut self) {
        let new = States::new(&self.queue, std::mem::take(&mut self.name));
        let mut todo = std::mem::take(&mut self.todo);
        todo.retain(|asked| asked.witness == Witness::Signed);
        let of = std::mem::take(&mut self.of);
        self.queue.metrics.states_held(&new.name, false);
        let (next, leads) = (self.next, self.leads);
        *self = States { of, todo, next, leads, ..new };
    }

    /// Whether anything was asked.
    async fn go_on(&mut self, backend: &Arc<Backend>, began: Instant) -> Result<bool> {
        let looked = self.look_for_named().await?;
        if self.todo.is_empty() && self.rest_of_all.is_none() {
            // Of hosts that share a store one asks for all. What a webhook named is this one's to see to the end of.
            let every = backend.poll.filter(|_| self.leads);
            let is_first = self.all_at.is_none();
            let all_due = every
                .map(|every| self.polled_all + if is_first { every.min(APART) } else { every });
            let again_due = (!self.belief.is_sure()).then(|| self.polled + apart(backend));
            let Some(due) = all_due.into_iter().chain(again_due).min() else { return Ok(looked) };
            if due > began {
                self.next = due.min(began + LOOK);
                return Ok(looked);
            }
            let all = all_due.is_some_and(|due| due <= began);
            self.poll(backend, all).await?;
            self.polled = began;
            if all {
                self.polled_all = began;
            }
            if backend.next_turn() > Instant::now() {
                return Ok(true);
            }
        }
        if self.todo.is_empty() {
            self.next_of_all().await?;
        }
        self.ask(backend).await?;
        if !self.todo.is_empty() || self.rest_of_all.is_some() {
            self.next = Instant::now();
        }
        Ok(true)
    }

    /// Has those asked for first that webhooks named. Whether there were any.
    async fn look_for_named(&mut self) -> Result<bool> {
        let named = self.inbox.take();
        if named.is_empty() {
            return Ok(false);
        }
        match self.find(|ticket| named.names(ticket)).await {
            Ok(found) => {
                self.most = MAX_STATES;
                for ticket in found {
                    self.todo.push_front(Asked { ticket, witness: Witness::Signed, tries: 0 });
                }
                if named.all {
                    // Nobody vouches for these.
                    self.rest_of_all.get_or_insert_default();
                }
                Ok(true)
            }
            Err(error) => {
                self.inbox.put_back(named);
                Err(error)
            }
        }
    }

    /// Begins a round: of all tickets, or of those that changed; or, if all aren't `due`, of those that are doubted.
    async fn poll(&mut self, backend: &Backend, due: bool) -> Result<()> {
        let is_time = self.all_at.is_none_or(|at| at.elapsed() >= ALL_EVERY);
        let mut all = due && (is_time || self.cursor.is_none() || !backend.tells_changes());
        let mut changed = Named::default();
        self.bad = 0;
        if due && backend.tells_changes() {
            // Before all are asked for: what changes meanwhile is told by the next round.
            all |= self.changes(backend, &mut changed).await?;
        }
        if all || changed.all {
            self.all_at = Some(Instant::now());
            self.rest_of_all = Some(Place::default());
            self.came.clear();
            return Ok(());
        }
        if changed.is_empty() && self.belief.is_sure() {
            return Ok(());
        }
        let belief = std::mem::take(&mut self.belief);
        let found = self.find(|ticket| changed.names(ticket) || belief.doubts(ticket.id)).await;
        self.belief = belief;
        let found = found?;
        self.belief.retain(&found.iter().map(|ticket| ticket.id).collect());
        self.put_last(found);
        Ok(())
    }

    fn put_last(&mut self, tickets: impl IntoIterator<Item = OpenTicket>) {
        let asked = |ticket| Asked { ticket, witness: Witness::Nobody, tries: 0 };
        self.todo.extend(tickets.into_iter().map(asked));
    }

    /// Reads what changed since the last time. Whether some of it may have been missed.
    async fn changes(&mut self, backend: &Backend, changed: &mut Named) -> Result<bool> {
        let mut gap = self.cursor.is_none();
        for _ in 0..CHANGES {
            let Answer::Given(page) = backend.changes(self.cursor.as_deref()).await? else {
                self.cursor = None;
                return Ok(true);
            };
            changed.add(page.tickets);
            gap |= page.gap;
            self.cursor = Some(page.cursor);
            if let Some(pause) = page.retry_after_ms {
                backend.rest(Duration::from_millis(pause));
                return Ok(gap);
            }
            if !page.more {
                break;
            }
        }
        Ok(gap)
    }

    /// The tickets of incidents that go on of which this is so.
    async fn find(&self, is_it: impl Fn(&OpenTicket) -> bool) -> Result<Vec<OpenTicket>> {
        let (mut found, mut came) = (Vec::new(), HashSet::new());
        let mut place = Some(Place::default());
        while let Some(after) = place {
            let page = self.queue.store.open_tickets(&self.name, &after, PAGE).await?;
            place = page.next;
            found.extend(page.tickets.into_iter().filter(|it| is_it(it) && came.insert(it.id)));
        }
        Ok(found)
    }

    /// Has the next of all tickets asked for.
    async fn next_of_all(&mut self) -> Result<()> {
        let Some(after) = self.rest_of_all.take() else { return Ok(()) };
        let page = self.queue.store.open_tickets(&self.name, &after, MAX_STATES as i64).await?;
        self.rest_of_all = page.next;
        let mut new = page.tickets;
        new.retain(|ticket| self.came.insert(ticket.id));
        self.put_last(new);
        if self.rest_of_all.is_none() {
            self.belief.retain(&std::mem::take(&mut self.came));
        }
        Ok(())
    }

    /// Asks for some of the tickets, and notes what is believed of the answer.
    async fn ask(&mut self, backend: &Arc<Backend>) -> Result<()> {
        let Some(Asked { witness, .. }) = self.todo.front() else { return Ok(()) };
        let witness = *witness;
        let most = std::mem::replace(&mut self.most, MAX_STATES);
        let alike = self.todo.iter().take_while(|asked| asked.witness == witness).count();
        let part: Vec<Asked> = self.todo.drain(..alike.min(most)).collect();
        let mut urls = HashSet::new();
        let once = part.iter().map(|asked| &asked.ticket).filter(|it| urls.insert(&it.url));
        let request = once.map(|OpenTicket { url, remote, key, .. }| AskedTicket {
            url: url.clone(),
            id: remote.clone(),
            key: key.clone(),
        });
        let states = match backend.state(&StateRequest { tickets: request.collect() }).await {
            Ok(Answer::Given(states)) => states,
            Ok(_) => {
                return Err(Error::plugin(format!("{}: the plugin tells no states", self.name))
                    .help("poll = \"0s\" in the backend's settings stops asking"));
            }
            Err(error) => return self.failed(part, error),
        };
        let now = Instant::now();
        let began = if witness == Witness::Signed { now } else { self.polled };
        let (mut believed, mut others) = (Vec::new(), Vec::new());
        for asked in part {
            let Some(status) = states.tickets.iter().find(|it| it.url == asked.ticket.url) else {
                others.push(asked);
                continue;
            };
            let ticket = asked.ticket;
            let told = status.state;
            let known = match ticket.known_by {
                // Of these nobody was told.
                KnownBy::Step | KnownBy::Before if told != TicketState::Open => {
                    TicketState::Unknown
                }
                // It goes on together with its incident, from now on.
                KnownBy::Before => TicketState::Closed,
                KnownBy::Step | KnownBy::Belief => ticket.known,
            };
            let sight = Sight { known, told, witness, began, now };
            if self.belief.see(ticket.id, sight, apart(backend)) == Seen::So {
                believed.push((ticket, status.clone()));
            }
        }
        self.note(backend, believed, now).await?;
        if let Some(pause) = states.retry_after_ms {
            backend.rest(Duration::from_millis(pause));
        }
        // There may have been no time, or no leave, for the others. Where none was told there is nothing to be had.
        let went_on = !states.tickets.is_empty();
        if went_on || states.retry_after_ms.is_some() {
            self.again(others, u32::from(!went_on));
        }
        Ok(())
    }

    /// What becomes of tickets of which none was told.
    fn failed(&mut self, mut part: Vec<Asked>, error: Error) -> Result<()> {
        if error.retry == Retry::Later {
            self.again(part, 1);
            return Err(error);
        }
        // It may be about one of them: the others are asked for without that one.
        self.bad += usize::from(part.len() == 1);
        if error.kind == Kind::Settings || self.bad > BAD {
            return Err(error);
        }
        if part.len() > 1 {
            let half = part.len().div_ceil(2);
            let rest = part.split_off(half);
            self.again(rest, 0);
            self.again(part, 0);
            self.most = half;
        }
        Ok(())
    }

    /// These are to be asked for next, unless they were too often.
    fn again(&mut self, tickets: Vec<Asked>, more_tries: u32) {
        let mut kept = 0;
        for asked in tickets.into_iter().rev() {
            let tries = asked.tries + more_tries;
            let most = if asked.witness == Witness::Signed { TRIES_OF_SIGNED } else { TRIES };
            if tries < most {
                self.todo.push_front(Asked { tries, ..asked });
                kept += 1;
            }
        }
        if kept > 0 {
            self.most = kept;
        }
    }

    /// Notes the states of tickets that are believed, unless so many are closed that a person must say so.
    async fn note(
        &mut self,
        backend: &Backend,
        mut believed: Vec<(OpenTicket, TicketStatus)>,
        now: Instant,
    ) -> Result<()> {
        if self.belief.may_believe(apart(backend), now) {
            self.held = None;
        } else if !self.is_confirmed().await? {
            if self.held.is_none() {
                self.held = Some(Timestamp::now());
                tracing::warn!(
                    "{}: more than {MANY} tickets seem to be closed or gone at once: nothing is made of that until a person has looked\nhelp: if \
                     that is so, `ticket-host ticket believe {}`; if not, look at what the backend's user may see",
                    self.name,
                    self.name
                );
            }
            believed.retain(|(_, status)| status.state == TicketState::Open);
        }
        self.queue.metrics.states_held(&self.name, self.held.is_some());
        for (ticket, status) in believed {
            let is_news = ticket.known_by != KnownBy::Before;
            let back = if is_news { back(backend, &ticket, &status) } else { None };
            let is_told = back.is_some();
            let sighting = Sighting {
                ticket: ticket.id,
                known: ticket.known,
                known_by: ticket.known_by,
                state: status.state,
                back,
                settle: self.queue.settle(backend),
            };
            let is_changed = self.queue.store.sighted(sighting).await?;
            self.belief.is_known(ticket.id, is_changed && status.state != TicketState::Open, now);
            // That it goes on together with its incident is no news to people.
            if !is_changed
                || ticket.known_by == KnownBy::Before && status.state == TicketState::Open
            {
                continue;
            }
            self.queue.metrics.state(&self.name, status.state.name());
            tracing::info!("ticket {}: {}", ticket.id, line(&sentence(&ticket, &status)));
            if is_told {
                self.queue.has_news();
            }
        }
        Ok(())
    }

    /// Whether a person has said, since it was asked for and not long ago, that so many tickets are closed.
    async fn is_confirmed(&self) -> Result<bool> {
        let Some(held) = self.held else { return Ok(false) };
        let said = self.queue.store.note(&believe(&self.name)).await?;
        let at = said.and_then(|at| at.parse().ok()).map(Timestamp::from_millis);
        Ok(at.is_some_and(|at| at >= held && Timestamp::now().since(at) < CONFIRMED))
    }

    /// Logs what went wrong when it comes, and not again while it stays.
    fn say(&mut self, error: &Error) {
        let text = crate::report::text(error);
        if self.said.as_ref() != Some(&text) {
            tracing::warn!(
                "{}: the states of tickets can't be asked for now: {}",
                self.name,
                text.trim_start_matches("error: ").trim_end()
            );
            self.said = Some(text);
        }
    }
}

/// Whether a backend's ticket system is to be left alone now.
pub(super) fn cannot_be_asked(queue: &Queue, backend: &Backend, now: Instant) -> bool {
    // What holds the making of tickets for longer needs to be no reason not to look.
    let hold = queue.record(&backend.name, |record| record.breaker.until());
    hold.is_some_and(|until| until > now) || backend.next_turn() > now
}

/// How long after a state was told it must be told again.
fn apart(backend: &Backend) -> Duration {
    backend.poll.unwrap_or(APART).min(APART)
}

/// By which name it is noted in the store that a person believes what is told of a backend's tickets.
pub(crate) fn believe(backend: &str) -> String {
    format!("believe {backend}")
}

/// What the incident's source is told of a ticket that is in that state now.
fn back(backend: &Backend, ticket: &OpenTicket, status: &TicketStatus) -> Option<Back> {
    let becomes = match backend.life.policy.of_closed(status.state) {
        OnTicketClosed::Nothing => return None,
        OnTicketClosed::Ack => Becomes::Acknowledged,
        OnTicketClosed::End => Becomes::Ended,
    };
    Some(Back { becomes, why: sentence(ticket, status) })
}

/// What happened to a ticket, for people.
fn sentence(ticket: &OpenTicket, status: &TicketStatus) -> String {
    let is = match status.state {
        TicketState::Open => "is open again",
        TicketState::Closed => "was closed",
        TicketState::Cancelled => "was closed without being done",
        TicketState::Gone => "was deleted",
        TicketState::Foreign => "is no longer where this backend's tickets are",
        TicketState::Unknown => "is in a state that nobody knows",
    };
    let by = if status.by.is_empty() { String::new() } else { format!(" by {}", status.by) };
    let detail =
        if status.detail.is_empty() { String::new() } else { format!(" ({})", status.detail) };
    format!("the ticket {} {is}{by}{detail}", ticket.url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_to_a_ticket_is_said_with_who_and_how_if_that_is_known() {
        let at = OpenTicket {
            id: 1,
            url: "https://rt/1".to_owned(),
            remote: "1".to_owned(),
            key: String::new(),
            known: TicketState::Open,
            known_by: KnownBy::Belief,
        };
        let status = |state, by: &str, detail: &str| TicketStatus {
            state,
            by: by.to_owned(),
            detail: detail.to_owned(),
            ..TicketStatus::default()
        };
        for (status, expected) in [
            (status(TicketState::Closed, "", ""), "the ticket https://rt/1 was closed"),
            (
                status(TicketState::Cancelled, "ada", "rejected"),
                "the ticket https://rt/1 was closed without being done by ada (rejected)",
            ),
            (
                status(TicketState::Gone, "", "deleted"),
                "the ticket https://rt/1 was deleted (deleted)",
            ),
        ] {
            assert_eq!(sentence(&at, &status), expected);
        }
    }
}
