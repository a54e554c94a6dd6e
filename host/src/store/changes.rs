//! What is written to the tables. How a ticket's state changes is for the machine to say: here a row is read, given to it, and
//! written back.

use std::time::Duration;

use super::rows::{self, doubt, job_columns, step_columns};
use super::sql::{Columns, Db, Fallible, Hold, SqlError, Value, values};
use super::stored::{Of, Stored, either, stored, stored_either};
use super::writer::Undone;
use super::{FULL, FULL_HELP, audit, broken, holds, pasted, text, updates};
use crate::error::Kind;
use crate::incident::{Identity, may_have_begun_together};
use crate::machine::{Doubt, Moment, Policy, State, Step, millis};
use crate::sent::Noted;
use crate::store::{
    Accepted, By, Claim, Decision, Failed, Failure, Job, Lease, New, Order, Outcome, StoreError,
    Term, Timestamp, Until, Which,
};

/// Bytes of the failure that is kept with a ticket when the store is so full that it takes no new incident.
const SHORT: usize = 256;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of the incidents that are claimed to be looked for together, but for the last of them: so many are kept in memory until the
/// search has ended.
const TOGETHER: usize = 8 << 20;
/// The slot of the ticket that every incident gets.
const MAIN: &str = "";

type Done<T> = std::result::Result<T, Undone>;

/// An incident as it lies in the tables.
pub(super) struct Known {
    pub(super) id: i64,
    source: String,
    key: String,
    began: String,
    /// Whether what is known of it was so while hosts followed it.
    pub(super) followed: bool,
    /// Since when it has ended.
    pub(super) ended: Option<Moment>,
    pub(super) body: String,
    /// It is a new one, and no ticket has its key.
    is_alone: bool,
}

impl Known {
    pub(super) fn read(columns: &mut Columns<'_>) -> Fallible<Known> {
        Ok(Known {
            id: columns.take()?,
            source: columns.take()?,
            key: columns.take()?,
            began: columns.take()?,
            followed: columns.take::<i64>()? != 0,
            ended: columns.take::<Option<i64>>()?.map(Moment::from_millis),
            body: columns.take()?,
            is_alone: false,
        })
    }

    /// The incident that this one is: the one that the store has, or a new one.
    pub(super) fn of(db: &Db<'_>, new: &New) -> Fallible<Known> {
        const HAS_TICKET: &str = "SELECT EXISTS (SELECT 1 FROM tickets WHERE key = ?1)";
        let has_ticket = db.tells(HAS_TICKET, values![&new.key])?;
        match Known::find(db, new, has_ticket)? {
            Some(known) => {
                known.add(db, new)?;
                pasted::look(db, &known, new)?;
                if new.reports {
                    updates::hear(db, &known, &new.incident, new.open)?;
                }
                Ok(known)
            }
            None => Known::insert(db, new, has_ticket),
        }
    }

    /// By what plugins know it.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The one that the store has, without another one in its place.
    pub(super) fn existing(db: &Db<'_>, new: &New) -> Fallible<Option<Known>> {
        Known::find(db, new, true)
    }

    /// The one that the store has. `has_ticket`: some ticket has its key.
    fn find(db: &Db<'_>, new: &New, has_ticket: bool) -> Fallible<Option<Known>> {
        const BY_NUMBER: &str = "SELECT id, source, key, began, followed, ended, body FROM incidents WHERE source = ?1 AND number = ?2";
        // All tickets of an incident have its key, and it has one.
        const BY_KEY: &str = "SELECT i.id, i.source, i.key, i.began, i.followed, i.ended, i.body FROM tickets AS t JOIN assignments AS a ON a.ticket = t.id \
            JOIN incidents AS i ON i.id = a.incident \
            WHERE t.key = ?1 AND (i.source = '' OR ?2 = '' AND i.source <> 'former') ORDER BY i.id LIMIT 1";
        let Identity { source, id } = &new.identity;
        if let Some(known) = db.first(BY_NUMBER, values![source, id], Hold::No, Known::read)? {
            if source.is_empty() || may_have_begun_together(&known.began, &new.began) {
                return Ok(Some(known));
            }
            // The source has another incident by this number now: it was made anew, or the config names another one.
            const FORMER: &str = "UPDATE incidents SET source = 'former', number = CAST(id AS TEXT), tell = 0 WHERE id = ?1";
            db.execute(FORMER, values![known.id])?;
            return Ok(None);
        }
        if !has_ticket {
            return Ok(None);
        }
        db.first(BY_KEY, values![&new.key, source], Hold::No, Known::read)
    }

    fn insert(db: &Db<'_>, new: &New, has_ticket: bool) -> Fallible<Known> {
        const INSERT: &str = "INSERT INTO incidents (source, number, key, began, body, wanted, tell, ended, followed) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1)";
        const FORMER: &str = "SELECT EXISTS (SELECT 1 FROM tickets AS t JOIN assignments AS a ON a.ticket = t.id \
            JOIN incidents AS i ON i.id = a.incident WHERE t.key = ?1 AND i.source = 'former')";
        let Identity { source, id } = &new.identity;
        let (wanted, tell) = (new.wanted, i64::from(new.tell));
        // A source that was made anew gives its pages' addresses again: the ticket of the former incident is not this one's.
        let is_former = has_ticket && !source.is_empty() && db.tells(FORMER, values![&new.key])?;
        let key = match is_former {
            true => format!("{} of {}", new.key, new.began),
            false => new.key.clone(),
        };
        let ended = if new.open { None } else { Some(db.now) };
        let since = ended.map(Moment::millis);
        let values = values![source, id, &key, &new.began, &new.incident, wanted, tell, since];
        let id = db.insert(INSERT, values)?;
        let (source, began) = (source.clone(), new.began.clone());
        let is_alone = !has_ticket;
        // What it says is what this request says, and asked for no further.
        let body = String::new();
        Ok(Known { id, source, key, began, followed: true, ended, body, is_alone })
    }

    /// Notes what another request for it says.
    fn add(&self, db: &Db<'_>, new: &New) -> Fallible<()> {
        if self.source.is_empty() && !new.identity.source.is_empty() {
            const IS: &str = "UPDATE incidents SET source = ?1, number = ?2 WHERE id = ?3";
            db.execute(IS, values![&new.identity.source, &new.identity.id, self.id])?;
        }
        if self.began.is_empty() && !new.began.is_empty() {
            const BEGAN: &str = "UPDATE incidents SET began = ?1 WHERE id = ?2";
            db.execute(BEGAN, values![&new.began, self.id])?;
        }
        if new.tell {
            const TELL: &str = "UPDATE incidents SET tell = 1 WHERE id = ?1 AND tell = 0";
            db.execute(TELL, values![self.id])?;
        }
        if new.wanted {
            const WANTED: &str = "UPDATE incidents SET wanted = TRUE WHERE id = ?1 AND NOT wanted";
            db.execute(WANTED, values![self.id])?;
        }
        Ok(())
    }

    /// The ticket that it has, or is to have, for this reason.
    fn ticket(&self, db: &Db<'_>, new: &New) -> Fallible<Option<i64>> {
        const OF_SLOT: &str = "SELECT ticket FROM assignments WHERE incident = ?1 AND slot = ?2";
        // The newest: an incident that began again may have had another one there before.
        const IN_BACKEND: &str = "SELECT a.ticket FROM assignments AS a JOIN tickets AS t ON t.id = a.ticket \
            WHERE a.incident = ?1 AND t.backend = ?2 AND a.slot NOT LIKE 'former:%' ORDER BY a.ticket DESC LIMIT 1";
        const OF_KEY: &str = "SELECT id FROM tickets WHERE key = ?1 AND backend = ?2";
        if self.is_alone {
            return Ok(None);
        }
        let slot = slot(new);
        let first = |sql: &str, values: &[Value<'_>]| -> Fallible<Option<i64>> {
            db.first(sql, values, Hold::No, |columns| columns.take())
        };
        if let Some(ticket) = first(OF_SLOT, values![self.id, slot])? {
            return Ok(Some(ticket));
        }
        // Else the one that another incident of the same key has there.
        let ticket = match first(IN_BACKEND, values![self.id, &new.backend])? {
            Some(ticket) => Some(ticket),
            None => first(OF_KEY, values![&self.key, &new.backend])?,
        };
        if let Some(ticket) = ticket {
            updates::joins(db, ticket)?;
            self.assign(db, slot, ticket)?;
        }
        Ok(ticket)
    }

    fn assign(&self, db: &Db<'_>, slot: &str, ticket: i64) -> Fallible<()> {
        const ASSIGN: &str = "INSERT INTO assignments (incident, slot, ticket) VALUES (?1, ?2, ?3)";
        db.execute(ASSIGN, values![self.id, slot, ticket]).map(drop)
    }
}

/// Why an incident gets a ticket.
fn slot(new: &New) -> &str {
    if new.is_named { &new.backend } else { MAIN }
}

/// Refuses what comes newly where only what becomes of the rest has room.
pub(super) fn has_room(db: &Db<'_>) -> Done<()> {
    if db.sql.room()? < 0 {
        return Err(Undone::Refused(broken(db.name, FULL, FULL_HELP.to_owned(), None)));
    }
    Ok(())
}

pub(super) fn accept(
    db: &Db<'_>,
    new: &New,
    policy: Policy,
    claimed: Option<Term>,
) -> Done<Accepted> {
    db.sql.hold(&new.key)?;
    has_room(db)?;
    db.sql.takes(new.incident.len())?;
    let incident = Known::of(db, new)?;
    if let Some(ticket) = incident.ticket(db, new)?
        && let Some(stored) = Stored::of_ticket(db, ticket)?
    {
        // Who asks for a backend by its name has its ticket there; another host is just giving this one to another backend.
        if new.is_named && stored.backend != new.backend {
            return Err(SqlError::Raced.into());
        }
        return Ok(accept_again(db, new, &incident, stored, policy)?);
    }
    Ok(begin(db, new, &incident, policy, claimed)?)
}

/// A ticket that is to be made for an incident.
fn begin(
    db: &Db<'_>,
    new: &New,
    incident: &Known,
    policy: Policy,
    claimed: Option<Term>,
) -> Fallible<Accepted> {
    const TICKET: &str = "INSERT INTO tickets (backend, key) VALUES (?1, ?2)";
    const ELSEWHERE: &str = "SELECT EXISTS (SELECT 1 FROM tickets WHERE key = ?1 AND id <> ?2)";
    let ticket = db.insert(TICKET, values![&new.backend, &incident.key])?;
    incident.assign(db, slot(new), ticket)?;
    let mut step = Step::accepted(db.now, policy, db.sql.knows(new)?);
    let claimed = claimed.filter(|term| step.certain || !term.only_certain);
    if let Some(term) = claimed {
        step.claim(db.now, term.lease, term.policy);
    }
    let id = insert(db, ticket, incident.id, &new.backend, new.level, &step)?;
    if claimed.is_none() {
        db.sql.has_more();
    }
    let job = Job {
        id: ticket,
        backend: new.backend.clone(),
        key: incident.key.clone(),
        state: step.state,
        level: new.level,
        accepted_at: db.at,
        changed_at: db.at,
        due_at: Some(claimed.map_or(Timestamp::EPOCH, |term| db.at + term.lease)),
        expires_at: db.at + policy.retry_for,
        attempts: step.tries,
        ticket: None,
        made: false,
        failure: None,
    };
    let claim = match claimed {
        None => None,
        Some(term) => Some(Claim {
            job: job.clone(),
            step: id,
            lease: step.lease,
            until: Until::new(db.began + term.lease),
            unknown: false,
            settled: db.at,
            certain: step.certain,
            elsewhere: !incident.is_alone && db.tells(ELSEWHERE, values![&incident.key, ticket])?,
            known_since: db.sql.known_since(),
            identity: new.identity.clone(),
            wanted: new.wanted,
            waited: Duration::ZERO,
            rested: Duration::ZERO,
            is_main: !new.is_named,
            incident: new.incident.clone(),
            ended: !new.open,
            former: None,
            changed: false,
            update: None,
            requests: Noted::default(),
        }),
    };
    Ok(Accepted { job, new: true, claim })
}

/// The making of a ticket.
pub(super) fn insert(
    db: &Db<'_>,
    ticket: i64,
    incident: i64,
    backend: &str,
    level: i64,
    step: &Step,
) -> Fallible<i64> {
    const STEP: &str = "INSERT INTO steps (ticket, incident, backend, level, state, doubt, certain, settled, due, expires, \
        lease, tries, tried_before, settle, accepted, seen, accepted_at, changed_at) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, ?13, ?14, ?14, ?15, ?15)";
    let values = values![
        ticket,
        incident,
        backend,
        level,
        step.state.name(),
        doubt(step.doubt),
        db.certain(step),
        step.settled.millis(),
        step.due.map(Moment::millis),
        step.expires.millis(),
        step.lease,
        step.tries,
        millis(step.settle),
        db.now.millis(),
        db.at.millis(),
    ];
    db.insert(STEP, values)
}

/// An incident came in that has a ticket, or is to have one, for the same reason.
fn accept_again(
    db: &Db<'_>,
    new: &New,
    incident: &Known,
    mut stored: Stored,
    policy: Policy,
) -> Fallible<Accepted> {
    if !new.is_named && stored.backend != new.backend && is_main_only(db, stored.ticket)? {
        move_to(db, &mut stored, &new.backend, policy)?;
    }
    let again = stored.step.accepted_again(new.reopen, db.now, policy);
    if again {
        db.sql.has_more();
        stored.save(db)?;
        const NEWER: &str = "UPDATE incidents SET body = ?1 WHERE id = ?2";
        db.execute(NEWER, values![&new.incident, incident.id])?;
        const LEVEL: &str = "UPDATE steps SET level = ?1, incident = ?2 WHERE id = ?3";
        db.execute(LEVEL, values![new.level, incident.id, stored.id])?;
    } else if new.tell && stored.step.state == State::Created {
        // Its source doesn't know the ticket, or has forgotten it.
        const TELL: &str = "UPDATE incidents SET tell = 2 WHERE id = ?1";
        db.execute(TELL, values![incident.id])?;
    }
    if !again && stored.step.state.is_final() && db.now.since(stored.seen) > DAY {
        // Pruning counts in days: it is enough to note once a day that somebody asked for the row.
        const SEEN: &str = "UPDATE steps SET seen = ?1 WHERE id = ?2";
        db.execute(SEEN, values![db.now.millis(), stored.id])?;
    }
    Ok(Accepted { job: stored.job(db)?, new: again, claim: None })
}

/// Sources are to hear of the ticket that their incidents have.
pub(super) fn tell_of(db: &Db<'_>, ticket: i64) -> Fallible<()> {
    const TELL: &str = "UPDATE incidents SET tell = 2 WHERE tell = 1 \
        AND id IN (SELECT incident FROM assignments WHERE ticket = ?1 AND slot = '')";
    db.execute(TELL, values![ticket]).map(drop)
}

/// Whether nobody has asked for a ticket in that backend by its name.
fn is_main_only(db: &Db<'_>, ticket: i64) -> Fallible<bool> {
    const NAMED: &str =
        "SELECT EXISTS (SELECT 1 FROM assignments WHERE ticket = ?1 AND slot <> '')";
    Ok(!db.tells(NAMED, values![ticket])?)
}

/// Gives the ticket to another backend, if that is still possible. Returns whether it is.
fn give_to(stored: &mut Stored, db: &Db<'_>, backend: &str, policy: Policy) -> Fallible<bool> {
    if !stored.step.change_backend(db.now, policy) {
        return Ok(false);
    }
    stored.backend = backend.to_owned();
    stored.failure = None;
    stored.save(db)?;
    const TICKET: &str = "UPDATE tickets SET backend = ?1 WHERE id = ?2";
    db.execute(TICKET, values![backend, stored.ticket])?;
    Ok(true)
}

/// Gives a ticket that every incident gets to another backend, if that is still possible. Where that backend has a ticket of the
/// same key already, that one is it, and this one isn't made. Returns whether it moved.
fn move_to(db: &Db<'_>, stored: &mut Stored, backend: &str, policy: Policy) -> Fallible<bool> {
    const THERE: &str = "SELECT other.id FROM tickets AS other JOIN tickets AS this ON this.key = other.key \
        WHERE this.id = ?1 AND other.backend = ?2";
    let there: Option<i64> =
        db.first(THERE, values![stored.ticket, backend], Hold::No, |columns| columns.take())?;
    let Some(there) = there else { return give_to(stored, db, backend, policy) };
    let mut gone = stored.step.clone();
    if !gone.change_backend(db.now, policy) {
        return Ok(false);
    }
    let Some(other) = Stored::of_ticket(db, there)? else { return Ok(false) };
    // What was cancelled, refused or not needed there would take this one with it.
    if other.step.state.is_given_up() {
        return Ok(false);
    }
    updates::joins(db, there)?;
    db.execute(
        "UPDATE assignments SET ticket = ?1 WHERE ticket = ?2",
        values![there, stored.ticket],
    )?;
    if other.step.state == State::Created {
        tell_of(db, there)?;
    }
    db.execute("DELETE FROM tickets WHERE id = ?1", values![stored.ticket])?;
    *stored = other;
    Ok(true)
}

/// Selects what [`ready_row`] reads.
macro_rules! ready {
    ($which:literal) => {
        concat!(
            "SELECT ",
            step_columns!(),
            ", ",
            job_columns!(),
            ", s.id, EXISTS (SELECT 1 FROM tickets AS other WHERE other.key = t.key AND other.id <> t.id), \
             i.source, i.number, i.wanted, s.accepted, s.seen, \
             EXISTS (SELECT 1 FROM assignments AS a WHERE a.ticket = t.id AND a.slot = ''), i.body, \
             i.ended IS NOT NULL, (SELECT f.ticket FROM tickets AS f WHERE f.id = t.former), \
             (SELECT b.url FROM assignments AS b WHERE b.incident = i.id AND b.slot = 'former:' || t.former), t.told IS NOT NULL \
             FROM steps AS s INDEXED BY steps_ready JOIN tickets AS t ON t.id = s.ticket \
              JOIN incidents AS i ON i.id = s.incident \
              WHERE s.due = 0 AND s.backend = ?1 AND ",
            $which,
            " LIMIT ?3"
        )
    };
}

pub(super) fn claim(
    db: &Db<'_>,
    backend: &str,
    which: Which,
    most: usize,
    term: Term,
) -> Fallible<Vec<Claim>> {
    const CERTAIN: &str = ready!("s.certain = ?2 ORDER BY s.level, s.id");
    const UNCERTAIN: &str = ready!("s.certain < ?2 ORDER BY s.certain, s.level, s.id");
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let values: &[Value<'_>] = values![backend, db.opening, limit];
    let of = |sql| db.all(sql, values, Hold::Skip, |columns| ready_row(db, columns));
    let ready = || {
        Ok(match which {
            Which::Certain => of(CERTAIN)?,
            Which::Uncertain => {
                let mut bytes = 0;
                db.all_while(UNCERTAIN, values, Hold::Skip, |columns| {
                    let ready = ready_row(db, columns)?;
                    bytes += ready.1.incident.len();
                    Ok((ready, bytes < TOGETHER))
                })?
            }
            Which::All => {
                let mut both = of(CERTAIN)?;
                both.extend(of(UNCERTAIN)?);
                both.sort_by_key(|(_, claim)| (claim.job.level, claim.step));
                both.truncate(most);
                both
            }
        })
    };
    let mut claims = holds::in_turn(db, backend, term.tries, ready)?;
    for (step, claim) in &mut claims {
        take(db, step, claim, term)?;
        updates::making(db, claim)?;
    }
    Ok(claims.into_iter().map(|(_, claim)| claim).collect())
}

/// Somebody takes it.
pub(super) fn take(db: &Db<'_>, step: &mut Step, claim: &mut Claim, term: Term) -> Fallible<()> {
    const TAKE: [&str; 2] = either!(
        "UPDATE ",
        " SET state = ?1, due = ?2, lease = ?3, tries = ?4, settle = ?5, changed_at = ?6 WHERE id = ?7"
    );
    step.claim(db.now, term.lease, term.policy);
    let (job, due) = (&mut claim.job, step.due.map(Moment::millis));
    (job.state, job.attempts, job.due_at) = (step.state, step.tries, Some(db.at + term.lease));
    (claim.lease, claim.until) = (step.lease, Until::new(db.began + term.lease));
    let (state, settle) = (step.state.name(), millis(step.settle));
    let values = values![state, due, step.lease, step.tries, settle, db.at.millis(), claim.step];
    db.execute(claim.of().pick(TAKE), values).map(drop)
}

/// What can be claimed.
pub(super) fn ready_row(db: &Db<'_>, columns: &mut Columns<'_>) -> Fallible<(Step, Claim)> {
    let step = rows::step(columns, db.opening)?;
    let job = rows::job(columns, db)?;
    let accepted_at = job.accepted_at;
    let claim = Claim {
        job,
        step: columns.take()?,
        lease: step.lease,
        until: Until::new(db.began),
        unknown: step.doubt == Doubt::Look,
        settled: db.at - db.now.since(step.settled),
        certain: step.certain,
        elsewhere: columns.take()?,
        known_since: db.sql.known_since(),
        identity: Identity { source: columns.take()?, id: columns.take()? },
        wanted: columns.take()?,
        // By the store's own time, or by the clock if a host was away meanwhile.
        waited: db.now.since(columns.moment()?).max(db.at.since(accepted_at)),
        rested: db.now.since(columns.moment()?),
        is_main: columns.take()?,
        incident: columns.take()?,
        ended: columns.take()?,
        former: rows::former(columns)?,
        changed: columns.take()?,
        update: None,
        requests: Noted::default(),
    };
    Ok((step, claim))
}

/// Lengthens leases. Gives the steps that these still are of.
pub(super) fn renew(db: &Db<'_>, leases: &[Lease], time: Duration) -> Fallible<Vec<(Of, i64)>> {
    const RENEW: [&str; 2] =
        either!("UPDATE ", " SET due = ?1 WHERE id = ?2 AND lease = ?3 AND state = 'creating'");
    let due = (db.now + time).millis();
    let mut renewed = Vec::new();
    for lease in leases {
        if db.execute(lease.of.pick(RENEW), values![due, lease.step, lease.number])? > 0 {
            renewed.push((lease.of, lease.step));
        }
    }
    Ok(renewed)
}

/// Ends a claim.
pub(super) fn settle(
    db: &Db<'_>,
    claim: &Claim,
    started_at: Timestamp,
    outcome: &Outcome,
    policy: Policy,
) -> Fallible<Option<Job>> {
    let Some(mut stored) = Stored::of_step(db, claim.of(), claim.step)? else { return Ok(None) };
    let tries = stored.step.tries;
    if !stored.step.settle(claim.lease, outcome.result(), db.now, policy) {
        return Ok(None);
    }
    let failure = outcome.failure();
    // Where nothing more is taken in, only the beginning of a failure is kept, and nothing in the list of tries.
    let is_short = failure.is_some() && db.sql.room()? < 0;
    let given_up = stored.step.state == State::Failed && outcome.would_go_on();
    let said = match failure {
        Some(last) if given_up => Some(Failure::given_up(stored.of, &stored.step, last)),
        failure => failure.cloned(),
    };
    stored.failure = if is_short { said.map(|said| said.cut(SHORT)) } else { said };
    stored.save(db)?;
    let mut job = claim.job.clone();
    if let Outcome::Created { ticket, made } = outcome {
        updates::made(db, stored.ticket, ticket, *made)?;
        tell_of(db, stored.ticket)?;
        (job.ticket, job.made) = (Some(ticket.clone()), *made);
    }
    if let Outcome::Pasted { ticket, state } = outcome {
        pasted::given(db, &stored, stored.incident, ticket, *state)?;
        tell_of(db, stored.ticket)?;
        (job.ticket, job.made) = (Some(ticket.clone()), false);
    }
    if let Some(update) = &claim.update {
        updates::settled(db, &stored, update, outcome)?;
    }
    if is_short {
        stored.forget_old_tries(db)?;
    } else if stored.step.tries == tries {
        stored.note_try(db, started_at, failure, claim.requests.requests().as_ref())?;
    }
    stored.describe(db, &mut job);
    Ok(Some(job))
}

/// When the next row is due.
pub(super) const NEXT_DUE: &str = "SELECT min(due) FROM (SELECT min(due) AS due FROM steps WHERE due > 0 \
    UNION ALL SELECT min(due) AS due FROM updates WHERE due > 0) AS both_kinds";

/// Does some of what time has made due. With `all_leases` every lease ends, also one that would last longer. Returns how many rows that
/// changed: none if nothing is left.
pub(super) fn advance(db: &Db<'_>, all_leases: bool) -> Fallible<usize> {
    const DUE: [&str; 2] = [
        stored!("steps", "INDEXED BY steps_due WHERE s.due > 0 AND s.due <= ?1 LIMIT ?2"),
        stored!("updates", "INDEXED BY updates_due WHERE s.due > 0 AND s.due <= ?1 LIMIT ?2"),
    ];
    const CLAIMED: [&str; 2] = stored_either!("WHERE s.state = 'creating' LIMIT ?1");
    let mut due = Vec::new();
    for of in Of::ALL {
        let read = |columns: &mut Columns<'_>| Stored::read(of, db, columns);
        due.extend(match all_leases {
            true => db.all(of.pick(CLAIMED), values![db.sql.at_once()], Hold::Wait, read)?,
            false => {
                let values = values![db.now.millis(), db.sql.at_once()];
                db.all(of.pick(DUE), values, Hold::Skip, read)?
            }
        });
    }
    let changed = due.len();
    if changed > 0 {
        db.sql.has_more();
    }
    for mut stored in due {
        if stored.step.state == State::Creating {
            stored.step.lease_over(db.now);
            stored.failure = Some(Failure::left(stored.of));
            stored.note_try(db, db.at, stored.failure.as_ref(), None)?;
            stored.save(db)?;
        } else {
            stored.step.time_came(db.now);
            stored.save_due(db)?;
        }
    }
    Ok(changed)
}

/// A person asks for the ticket.
const WANTED: &str = "UPDATE incidents SET wanted = TRUE WHERE id = ?1";

pub(super) fn order(db: &Db<'_>, id: i64, order: Order, policy: Policy, by: &By) -> Done<Job> {
    let Some(mut stored) = Stored::of_ticket(db, id)? else {
        return Err(Undone::Refused(StoreError::NoSuch(id)));
    };
    let before = stored.step.state;
    if before == State::Created && updates::order_all(db, id, order, policy)? {
        audit::done(db, by, order.name(), id, "its steps")?;
        return Ok(stored.job(db)?);
    }
    let (wanted, done) = match order {
        Order::Retry => ("retried", stored.step.retry(db.now, policy)),
        Order::Cancel => ("cancelled", stored.step.cancel()),
    };
    if let Err(state) = done {
        return Err(Undone::Refused(StoreError::Conflict { id, wanted, state }));
    }
    if order == Order::Retry {
        db.sql.has_more();
        db.execute(WANTED, values![stored.incident])?;
    }
    stored.save(db)?;
    audit::done(db, by, order.name(), id, &format!("it was {}", before.name()))?;
    Ok(stored.job(db)?)
}

/// As [`super::Store::retry_failed`].
pub(super) fn retry_failed(
    db: &Db<'_>,
    failed: &[Failed],
    policy: Policy,
    by: &By,
) -> Fallible<u64> {
    let mut retried = 0;
    for Failed { ticket, step, action, .. } in failed {
        let of = if action.is_some() { Of::Update } else { Of::Creation };
        let Some(mut stored) = Stored::of_step(db, of, *step)? else { continue };
        // What was retried, or cancelled, meanwhile is as somebody wants it.
        if stored.step.state != State::Failed {
            continue;
        }
        updates::retry(db, &mut stored, policy)?;
        if of == Of::Creation {
            db.execute(WANTED, values![stored.incident])?;
        }
        audit::done(db, by, Order::Retry.name(), *ticket, "it was failed")?;
        retried += 1;
    }
    if retried > 0 {
        db.sql.has_more();
    }
    Ok(retried)
}

/// Which rows of a backend an order is about: those that failed for one of these kinds, behind a place in a table.
#[derive(Debug, Clone)]
pub(super) struct Kinds {
    pub of: Of,
    pub backend: String,
    pub kinds: Vec<Kind>,
    pub after: i64,
}

impl Kinds {
    /// SQL for that a step (as s) failed for one of them.
    fn condition(&self, db: &Db<'_>) -> String {
        // As serde writes them in a failure: plain words.
        let names: Vec<String> =
            self.kinds.iter().map(|kind| text(kind).replace('"', "'")).collect();
        format!("{} IN ({})", db.sql.kind_of_failure(), names.join(", "))
    }
}

/// What an order changed, and where to go on with it.
pub(super) struct Part {
    pub changed: u64,
    pub next: Option<i64>,
}

/// Tries again some of what failed for one of the kinds in a backend.
pub(super) fn reopen(db: &Db<'_>, of: &Kinds, policy: Policy) -> Fallible<Part> {
    const FAILED: [&str; 2] =
        stored_either!("WHERE s.state = 'failed' AND s.backend = ?1 AND s.doubt < 2 AND s.id > ?2");
    let sql = format!("{} AND {} ORDER BY s.id LIMIT ?3", of.of.pick(FAILED), of.condition(db));
    let values = values![&of.backend, of.after, db.sql.at_once()];
    let failed = db.all(&sql, values, Hold::Wait, |columns| Stored::read(of.of, db, columns))?;
    each(db, failed, |stored| {
        if stored.of == Of::Update && updates::decide_anew(db, stored)? {
            return Ok(true);
        }
        let changes = stored.step.reopen(db.now, policy);
        if changes {
            stored.save(db)?;
        }
        Ok(changes)
    })
}

/// Makes due some of what waits since a try failed for one of the kinds after a moment.
pub(super) fn hasten(db: &Db<'_>, of: &Kinds, since: Moment) -> Fallible<Part> {
    const WAITING: [&str; 2] = stored_either!(
        "WHERE s.due > 0 AND s.state IN ('queued', 'unknown') AND s.backend = ?1 AND s.id > ?2 AND s.seen >= ?3"
    );
    let sql = format!("{} AND {} ORDER BY s.id LIMIT ?4", of.of.pick(WAITING), of.condition(db));
    let values = values![&of.backend, of.after, since.millis(), db.sql.at_once()];
    let waiting = db.all(&sql, values, Hold::Wait, |columns| Stored::read(of.of, db, columns))?;
    each(db, waiting, |stored| {
        let changes = stored.step.hasten(db.now);
        if changes {
            stored.save_due(db)?;
        }
        Ok(changes)
    })
}

fn each(
    db: &Db<'_>,
    rows: Vec<Stored>,
    mut change: impl FnMut(&mut Stored) -> Fallible<bool>,
) -> Fallible<Part> {
    let next = next(db, &rows);
    let mut changed = 0;
    for mut stored in rows {
        changed += u64::from(change(&mut stored)?);
    }
    if changed > 0 {
        db.sql.has_more();
    }
    Ok(Part { changed, next })
}

/// Where to go on behind rows of which as many were read as are read at once. None: these are all.
fn next(db: &Db<'_>, rows: &[Stored]) -> Option<i64> {
    rows.last().map(|stored| stored.id).filter(|_| rows.len() as i64 == db.sql.at_once())
}

/// Gives some tickets behind `after` to the backends that are to make them. Returns what backends they left, and where
/// to go on.
pub(super) fn reassign(
    db: &Db<'_>,
    decision: &Decision,
    after: i64,
    policy: Policy,
) -> Fallible<(Vec<String>, Option<i64>)> {
    const WAITING: &str = stored!(
        "steps",
        "WHERE s.state IN ('queued', 'failed') AND s.doubt = 0 AND s.id > ?1 ORDER BY s.id LIMIT ?2"
    );
    const SOURCE: &str = "SELECT source FROM incidents WHERE id = ?1";
    let values = values![after, db.sql.at_once()];
    let read = |columns: &mut Columns<'_>| Stored::read(Of::Creation, db, columns);
    let waiting = db.all(WAITING, values, Hold::Wait, read)?;
    let next = next(db, &waiting);
    let mut left = Vec::new();
    for mut stored in waiting {
        let source: Option<String> =
            db.first(SOURCE, values![stored.incident], Hold::No, |columns| columns.take())?;
        let source = source.unwrap_or_default();
        let Some(backend) = decision.backend(&source) else { continue };
        let from = stored.backend.clone();
        if from != backend
            && is_main_only(db, stored.ticket)?
            && move_to(db, &mut stored, backend, policy)?
        {
            db.sql.has_more();
            left.push(from);
        }
    }
    Ok((left, next))
}

/// Removes what is finished and was not asked for in that time, of some rows behind a place in the table. Returns where to go on, if there are older
/// rows behind these.
pub(super) fn prune(db: &Db<'_>, unseen: Duration, after: i64) -> Fallible<Option<i64>> {
    // What failed stays until a person has seen it and says that it needs no ticket.
    const OLD: &str = "SELECT s.id, s.accepted, s.ticket, \
        s.state IN ('created', 'cancelled', 'suppressed') AND s.seen < ?1 AND NOT EXISTS (\
            SELECT 1 FROM assignments AS a JOIN incidents AS i ON i.id = a.incident \
            WHERE a.ticket = s.ticket AND a.slot = '' AND i.tell = 2) AS old \
        FROM steps AS s WHERE s.id > ?2 ORDER BY s.id LIMIT ?3";
    const UNUSED: &str = "DELETE FROM incidents WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM assignments WHERE incident = ?1)";
    const STILL: &str = "SELECT s.id FROM steps AS s WHERE s.id = ?1 \
        AND s.state IN ('created', 'cancelled', 'suppressed') AND s.seen < ?2";
    // Who tells it something holds it.
    const AT_REST: &str = "SELECT s.id FROM tickets AS s WHERE s.id = ?1 AND s.look IS NULL \
        AND NOT EXISTS (SELECT 1 FROM updates AS u WHERE u.ticket = s.id AND u.state NOT IN ('created', 'cancelled', 'suppressed')) \
        AND NOT EXISTS (SELECT 1 FROM tickets AS later WHERE later.former = s.id)";
    // Whoever gives it another ticket meanwhile is waited for.
    const HOLD: &str = "SELECT s.id FROM incidents AS s WHERE s.id = ?1";
    let before = db.now - unseen;
    // In the order in which they were accepted: behind one that was accepted later there is nothing old.
    let values = values![before.millis(), after, db.sql.at_once()];
    let rows: Vec<(i64, Moment, i64, bool)> = db.all(OLD, values, Hold::No, |columns| {
        Ok((columns.take()?, columns.moment()?, columns.take()?, columns.take()?))
    })?;
    let is_whole = rows.len() as i64 == db.sql.at_once();
    let next = rows.last().filter(|(_, accepted, ..)| is_whole && *accepted < before);
    let next = next.map(|(id, ..)| *id);
    let mut removed = false;
    for (step, _, ticket, _) in rows.iter().filter(|(.., old)| *old) {
        const INCIDENTS: &str = "SELECT incident FROM assignments WHERE ticket = ?1";
        // Another host may have opened it again since it was read, or do so now.
        let still = values![*step, before.millis()];
        let still: Option<i64> = db.first(STILL, still, Hold::Skip, |columns| columns.take())?;
        let at_rest: Option<i64> =
            db.first(AT_REST, values![*ticket], Hold::Skip, |columns| columns.take())?;
        if still.is_none() || at_rest.is_none() {
            continue;
        }
        let incidents: Vec<i64> =
            db.all(INCIDENTS, values![*ticket], Hold::No, |columns| columns.take())?;
        db.execute("DELETE FROM tickets WHERE id = ?1", values![*ticket])?;
        for incident in incidents {
            db.all(HOLD, values![incident], Hold::Wait, |_| Ok(()))?;
            db.execute(UNUSED, values![incident])?;
        }
        removed = true;
    }
    if removed {
        db.sql.forgets(unseen)?;
    }
    Ok(next)
}
