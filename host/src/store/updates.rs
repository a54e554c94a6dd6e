//! What is written of incidents that change, and of what their tickets are told: [`crate::life`] decides what that is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use ticket_plugin_api::{Action, Ticket, TicketState};

use super::changes::{Known, has_room, ready_row, take};
use super::rows::{job_columns, step_columns};
use super::sql::{Columns, Db, Fallible, Hold, SqlError, values};
use super::stored::{Of, Stored, stored};
use super::writer::Undone;
use super::{KnownBy, audit, back, holds, pasted, text};
use crate::incident::{ARGUS, NO_LEVEL};
use crate::life::{self, Plan, Snapshot, Terms};
use crate::machine::{Doubt, Moment, Policy, Step, millis};
use crate::store::{By, Claim, Job, New, Order, Outcome, StoreError, Term, Update};

/// How many tickets are looked at in one write, so that others have their turn in between.
const LOOKS: i64 = 32;
/// How often, if there was nothing to do for those that were looked at before.
const PASSES: usize = 4;
/// How many incidents of one ticket are read to tell how it is with them.
const TOGETHER: i64 = 50;
/// How many updates of a ticket are kept that are finished.
const KEPT: i64 = 100;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What the slot begins with of a ticket that the incident had before. No backend's name has a colon.
const FORMER: &str = "former:";

/// Notes how an incident is now that the store has, and that its tickets are to hear what is new of it: its steps first, then its tickets, then
/// itself, as everybody who writes to several of these does.
pub(super) fn hear(db: &Db<'_>, known: &Known, body: &str, open: bool) -> Fallible<()> {
    const LEVEL: &str = "UPDATE steps SET level = ?1 WHERE ticket IN (SELECT ticket FROM assignments WHERE incident = ?2) \
        AND state IN ('queued', 'unknown', 'failed')";
    // Pruning counts in days.
    const SEEN: &str = "UPDATE steps SET seen = ?1 WHERE seen < ?2 AND ticket IN \
        (SELECT ticket FROM assignments WHERE incident = ?3 AND slot NOT LIKE 'former:%')";
    // With each whether it is known to be closed or gone, and whether another of its incidents goes on.
    const TICKETS: &str = "SELECT s.id, s.status IN ('closed', 'cancelled', 'gone', 'foreign'), s.status_at, EXISTS ( \
            SELECT 1 FROM assignments AS b JOIN incidents AS i ON i.id = b.incident \
            WHERE b.ticket = s.id AND b.incident <> ?1 AND b.slot NOT LIKE 'former:%' AND i.ended IS NULL) \
        FROM assignments AS a JOIN tickets AS s ON s.id = a.ticket WHERE a.incident = ?1 AND a.slot NOT LIKE 'former:%'";
    // What its source wasn't told of its ticket is about what was before.
    const NOTE: &str = "UPDATE incidents SET body = ?1, back = CASE WHEN (ended IS NULL) = (?2 IS NULL) THEN back END, ended = ?2, followed = 1 \
        WHERE id = ?3";
    let before = Snapshot::of(&known.body, known.ended.is_none());
    let now = Snapshot::of(body, open);
    let is_news = !known.followed || before != now;
    db.execute(SEEN, values![db.now.millis(), (db.now - DAY).millis(), known.id])?;
    if !is_news {
        return Ok(());
    }
    db.execute(LEVEL, values![now.level.unwrap_or(NO_LEVEL), known.id])?;
    // Of one that no host followed nobody knows what its ticket was told: from now on it is followed.
    if known.followed {
        let tickets: Vec<(i64, Option<bool>, Option<i64>, bool)> =
            db.all(TICKETS, values![known.id], Hold::Wait, |columns| {
                Ok((columns.take()?, columns.take()?, columns.take()?, columns.take()?))
            })?;
        for (ticket, is_closed, since, others_go_on) in tickets {
            let since = since.map_or(Moment::NOW, Moment::from_millis);
            let is_closed = is_closed == Some(true) && db.now.since(since) < life::TRUST;
            // It isn't told of the end, which must be known when the incident begins again, however soon that is.
            if is_closed && !open && !others_go_on {
                is_told(db, ticket, &now)?;
                continue;
            }
            let told = Together::of(db, ticket)?.map_or_else(|| before.clone(), |all| all.now);
            has_news(db, ticket, &told)?;
            if open && !before.open {
                // A person may have closed it when it was over.
                const BEFORE: &str = "UPDATE tickets SET known_by = ?1 WHERE id = ?2";
                db.execute(BEFORE, values![KnownBy::Before.number(), ticket])?;
            }
        }
        db.sql.has_more();
    }
    let ended = if open { None } else { Some(known.ended.unwrap_or(db.now).millis()) };
    db.execute(NOTE, values![body, ended, known.id]).map(drop)
}

/// An incident is about to be another one of a ticket's, which is told of that.
pub(super) fn joins(db: &Db<'_>, ticket: i64) -> Fallible<()> {
    // One that no incident has any more was left, since it is closed or gone: for who joins it that begins again.
    let told = Together::of(db, ticket)?.map_or_else(Snapshot::default, |all| all.now);
    has_news(db, ticket, &told)
}

/// There may be news for a ticket that was told, or made with, this until now, if nothing else is known of it. One that isn't made yet is made
/// with what is known then.
fn has_news(db: &Db<'_>, ticket: i64, told: &Snapshot) -> Fallible<()> {
    const LOOK: &str = "UPDATE tickets SET told = COALESCE(told, ?1), look = CASE WHEN ticket IS NULL THEN look ELSE 0 END WHERE id = ?2";
    db.execute(LOOK, values![&text(told), ticket]).map(drop)
}

/// What a ticket was told last, or made with.
fn is_told(db: &Db<'_>, ticket: i64, told: &Snapshot) -> Fallible<()> {
    const TOLD: &str = "UPDATE tickets SET told = ?1 WHERE id = ?2";
    db.execute(TOLD, values![&text(told), ticket]).map(drop)
}

/// As [`super::Store::report`].
pub(super) fn report(db: &Db<'_>, new: &New, policy: Policy) -> Result<Option<i64>, Undone> {
    db.sql.hold(&new.key)?;
    has_room(db)?;
    let Some(known) = Known::existing(db, new)? else { return Ok(None) };
    pasted::look(db, &known, new)?;
    if new.open {
        needed_again(db, known.id, policy)?;
    }
    hear(db, &known, &new.incident, new.open)?;
    Ok(Some(known.id))
}

/// An incident goes on: what it needed no more it needs again.
fn needed_again(db: &Db<'_>, incident: i64, policy: Policy) -> Fallible<()> {
    const SUPPRESSED: &str = stored!(
        "steps",
        "WHERE s.state = 'suppressed' AND s.ticket IN \
            (SELECT ticket FROM assignments WHERE incident = ?1 AND slot NOT LIKE 'former:%')"
    );
    let read = |columns: &mut Columns<'_>| Stored::read(Of::Creation, db, columns);
    for mut stored in db.all(SUPPRESSED, values![incident], Hold::Wait, read)? {
        if stored.step.accepted_again(false, db.now, policy) {
            stored.save(db)?;
            db.sql.has_more();
        }
    }
    Ok(())
}

/// As [`super::Store::incident_ended`].
pub(super) fn incident_ended(db: &Db<'_>, incident: i64) -> Fallible<()> {
    const KNOWN: &str =
        "SELECT id, source, key, began, followed, ended, body FROM incidents WHERE id = ?1";
    let known = || db.first(KNOWN, values![incident], Hold::No, Known::read);
    let Some(before) = known()? else { return Ok(()) };
    // Another host may be told of it at this moment.
    db.sql.hold(before.key())?;
    let Some(known) = known()? else { return Ok(()) };
    hear(db, &known, &known.body, false)
}

/// A ticket that may be made now is told by that what is known of its incident now, whatever becomes of the claim: should it be found later,
/// it is the one that the last such claim made.
pub(super) fn making(db: &Db<'_>, claim: &Claim) -> Fallible<()> {
    // Else the incident is as it was when it was accepted.
    if !claim.changed || claim.unknown {
        return Ok(());
    }
    // One that ended meanwhile is wanted all the same: its end is told to the ticket.
    is_told(db, claim.job.id, &Snapshot::of(&claim.incident, true))
}

/// By what a ticket is found again: what its ticket system calls it, else its URL.
pub(super) fn remote(ticket: &Ticket) -> &str {
    if ticket.id.is_empty() { &ticket.url } else { &ticket.id }
}

/// A ticket was made or found. What is new of its incident since it was made is told to it.
pub(super) fn made(db: &Db<'_>, id: i64, ticket: &Ticket, made: bool) -> Fallible<()> {
    const MADE: &str = "UPDATE tickets SET ticket = ?1, made = ?2, remote = ?3, look = CASE WHEN told IS NULL THEN look ELSE 0 END \
        WHERE id = ?4";
    db.execute(MADE, values![&text(ticket), made, remote(ticket), id]).map(drop)
}

/// Selects what [`ready_row`] reads, and [`update`] behind that: another backend's ticket, who wants it, what was before, and whether it is the
/// ticket that every incident gets say nothing of an update.
const READY: &str = concat!(
    "SELECT ",
    step_columns!(),
    ", ",
    job_columns!(),
    ", s.id, FALSE, COALESCE(i.source, ''), COALESCE(i.number, ''), TRUE, s.accepted, s.seen, TRUE, s.body, \
     NOT EXISTS (SELECT 1 FROM assignments AS a JOIN incidents AS o ON o.id = a.incident \
        WHERE a.ticket = t.id AND a.slot NOT LIKE 'former:%' AND o.ended IS NULL), \
     NULL, NULL, FALSE, s.action, s.mark, s.diff, s.said, s.told \
     FROM updates AS s INDEXED BY updates_ready JOIN tickets AS t ON t.id = s.ticket \
     LEFT JOIN incidents AS i ON i.id = s.incident \
     WHERE s.due = 0 AND s.backend = ?1 AND NOT EXISTS (SELECT 1 FROM updates AS other WHERE other.ticket = s.ticket \
        AND (other.state = 'creating' OR other.id < s.id AND other.state IN ('queued', 'unknown'))) \
     ORDER BY s.level, s.id LIMIT ?2"
);

/// As [`super::Store::claim_updates`].
pub(super) fn claim(
    db: &Db<'_>,
    backend: &str,
    most: usize,
    term: Term,
    life: &Terms,
) -> Fallible<Vec<Claim>> {
    holds::in_turn(db, backend, term.tries, || {
        let mut claims = ready(db, backend, most, term)?;
        if claims.len() < most && look(db, backend, most - claims.len(), term, life)? > 0 {
            claims.extend(ready(db, backend, most - claims.len(), term)?);
        }
        Ok(claims)
    })
}

fn ready(db: &Db<'_>, backend: &str, most: usize, term: Term) -> Fallible<Vec<Claim>> {
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let mut ready = db.all(READY, values![backend, limit], Hold::Skip, |columns| {
        let (step, claim) = ready_row(db, columns)?;
        let update = Some(Box::new(update(columns)?));
        Ok((Step { looks_and_writes: true, ..step }, Claim { update, ..claim }))
    })?;
    for (step, claim) in &mut ready {
        take(db, step, claim, term)?;
    }
    Ok(ready.into_iter().map(|(_, claim)| claim).collect())
}

/// Reads action, mark, diff, said and told.
pub(super) fn update(columns: &mut Columns<'_>) -> Fallible<Update> {
    Ok(Update {
        action: columns.word()?,
        mark: columns.take()?,
        diff: columns.parsed()?.unwrap_or_default(),
        said: columns.take()?,
        told: columns.parsed()?,
    })
}

/// A ticket of which it is to be decided whether it is told something.
struct Looked {
    id: i64,
    known: life::Known,
}

/// The incidents of a ticket, as one.
struct Together {
    /// The one whose words count: of those that go on the worst, else the one that ended last.
    incident: i64,
    body: String,
    now: Snapshot,
    /// When the last of them ended.
    ended: Moment,
}

/// Selects what [`looked_at`] reads, of tickets to be looked at.
macro_rules! look {
    ($which:literal) => {
        concat!(
            "SELECT s.id, s.told, s.told_at, s.turned_at, s.status, s.status_at, s.pasted \
             FROM tickets AS s INDEXED BY tickets_to_look_at WHERE s.backend = ?1 AND ",
            $which,
            " AND s.ticket IS NOT NULL AND NOT EXISTS (SELECT 1 FROM updates AS u WHERE u.ticket = s.id \
             AND u.state IN ('queued', 'creating', 'unknown')) ORDER BY s.look, s.id LIMIT ?3"
        )
    };
}

fn looked_at(columns: &mut Columns<'_>) -> Fallible<Looked> {
    let id = columns.take()?;
    let told: Option<Snapshot> = columns.parsed()?;
    let moment = |columns: &mut Columns<'_>| -> Fallible<Option<Moment>> {
        Ok(columns.take::<Option<i64>>()?.map(Moment::from_millis))
    };
    let known = life::Known {
        told: told.unwrap_or_default(),
        told_at: moment(columns)?,
        turned_at: moment(columns)?,
        state: columns.word_if_any()?.unwrap_or_default(),
        since: moment(columns)?.unwrap_or(Moment::NOW),
        is_pasted: columns.take()?,
    };
    Ok(Looked { id, known })
}

/// Decides of some tickets what they are told, and notes at most `most` things to do. How many these are.
fn look(db: &Db<'_>, backend: &str, most: usize, term: Term, life: &Terms) -> Fallible<usize> {
    // What waited for its time, such as a closing, before what is only to be told.
    const LOOK: [&str; 2] = [look!("s.look > 0 AND s.look <= ?2"), look!("s.look = 0 AND ?2 > 0")];
    // Nothing is sealed in the part of the store that is kept for what becomes of what is in it.
    if db.sql.room()? < 0 {
        return Ok(0);
    }
    let mut steps = Vec::new();
    for _ in 0..PASSES {
        let mut looked = Vec::new();
        for sql in LOOK {
            let left = LOOKS - looked.len() as i64;
            let values = values![backend, db.now.millis(), left];
            looked.extend(db.all(sql, values, Hold::Skip, looked_at)?);
        }
        let is_whole = (looked.len() as i64) < LOOKS;
        for ticket in looked {
            let Some(together) = Together::of(db, ticket.id)? else {
                put_off(db, ticket.id, None)?;
                continue;
            };
            match life::plan(&ticket.known, &together.now, together.ended, life, db.now) {
                Plan::Rest => put_off(db, ticket.id, None)?,
                Plan::Wait(until) => put_off(db, ticket.id, Some(until))?,
                Plan::Note => {
                    is_told(db, ticket.id, &together.now)?;
                    put_off(db, ticket.id, None)?;
                }
                Plan::Successor => {
                    succeed(db, ticket.id, &together, term.policy)?;
                    // Another of its incidents may have begun again, too.
                    put_off(db, ticket.id, Some(Moment::NOW))?;
                }
                Plan::Do(action) => steps.push((action, ticket, together)),
            }
        }
        // What is to be done is read again by the next pass.
        if is_whole || !steps.is_empty() {
            break;
        }
    }
    // Of those that are alike the one that was looked at first.
    steps.sort_by_key(|(action, ..)| rank(*action));
    steps.truncate(most);
    for (action, ticket, together) in &steps {
        // Another host may have noted something to do since this statement of ours began.
        const UNFINISHED: &str = "SELECT EXISTS (SELECT 1 FROM updates WHERE ticket = ?1 AND state IN ('queued', 'creating', 'unknown'))";
        if db.tells(UNFINISHED, values![ticket.id])? {
            continue;
        }
        put_off(db, ticket.id, None)?;
        let update = Update {
            action: *action,
            mark: mark(),
            diff: together.now.diff(&ticket.known.told),
            said: None,
            told: Some(together.now.clone()),
        };
        let Together { incident, body, .. } = together;
        db.sql.takes(body.len())?;
        insert(db, ticket.id, *incident, backend, body, &update, term.policy)?;
    }
    Ok(steps.len())
}

impl Together {
    fn of(db: &Db<'_>, ticket: i64) -> Fallible<Option<Together>> {
        const INCIDENTS: &str = "SELECT i.id, i.body, i.ended FROM assignments AS a JOIN incidents AS i ON i.id = a.incident \
            WHERE a.ticket = ?1 AND a.slot NOT LIKE 'former:%' \
            ORDER BY CASE WHEN i.ended IS NULL THEN 0 ELSE 1 END, i.ended DESC, i.id LIMIT ?2";
        let incidents = db.all(INCIDENTS, values![ticket, TOGETHER], Hold::No, |columns| {
            let (incident, body): (i64, String) = (columns.take()?, columns.take()?);
            let ended = columns.take::<Option<i64>>()?.map(Moment::from_millis);
            let now = Snapshot::of(&body, ended.is_none());
            Ok(Together { incident, body, now, ended: ended.unwrap_or(Moment::NOW) })
        })?;
        let last = incidents.iter().map(|it| it.ended).max();
        // Of those that are alike the one that was accepted first.
        let counts = incidents.into_iter().min_by_key(|it| {
            (!it.now.open, Reverse(it.ended), it.now.level.unwrap_or(i64::MAX), it.incident)
        });
        Ok(counts.zip(last).map(|(counts, ended)| Together { ended, ..counts }))
    }
}

/// In which order updates have their turn.
fn rank(action: Action) -> i64 {
    match action {
        Action::Close | Action::Reopen => 1,
        Action::Comment | Action::Other => 2,
    }
}

/// When it is to be decided again what a ticket is told.
fn put_off(db: &Db<'_>, ticket: i64, until: Option<Moment>) -> Fallible<()> {
    const PUT_OFF: &str = "UPDATE tickets SET look = ?1 WHERE id = ?2";
    db.execute(PUT_OFF, values![until.map(Moment::millis), ticket]).map(drop)
}

/// What nobody can guess who hasn't read the ticket.
fn mark() -> String {
    let mut bytes = [0; 16];
    // Without the system's randomness the host's own has to do: the mark tells steps apart, and guards nothing of the host's.
    if getrandom::fill(&mut bytes).is_err() {
        fastrand::fill(&mut bytes);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn insert(
    db: &Db<'_>,
    ticket: i64,
    incident: i64,
    backend: &str,
    body: &str,
    update: &Update,
    policy: Policy,
) -> Fallible<i64> {
    const INSERT: &str = "INSERT INTO updates (ticket, incident, backend, level, state, doubt, settled, due, expires, lease, tries, \
        tried_before, settle, accepted, seen, accepted_at, changed_at, action, mark, body, told, diff, said, certain) \
        VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 0, ?7, 0, 0, 0, ?8, ?6, ?6, ?9, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    const FORGET: &str = "DELETE FROM updates WHERE ticket = ?1 AND state IN ('created', 'cancelled', 'suppressed') \
        AND id <= (SELECT id FROM updates WHERE ticket = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    db.execute(FORGET, values![ticket, KEPT])?;
    let step = Step::of_update(db.now, policy);
    let (told, diff) = (update.told.as_ref().map(text), text(&update.diff));
    let values = values![
        ticket,
        incident,
        backend,
        rank(update.action),
        step.state.name(),
        db.now.millis(),
        step.expires.millis(),
        millis(step.settle),
        db.at.millis(),
        update.action.name(),
        &update.mark,
        body,
        told.as_deref(),
        &diff,
        update.said.as_deref(),
        db.certain(&step),
    ];
    db.insert(INSERT, values)
}

/// The claim of an update has ended: what its ticket is known to say by that.
pub(super) fn settled(
    db: &Db<'_>,
    stored: &Stored,
    update: &Update,
    outcome: &Outcome,
) -> Fallible<()> {
    const STATE: &str = "UPDATE tickets SET status = ?1, known_by = ?4, \
        status_at = CASE WHEN status = ?1 AND status_at IS NOT NULL THEN status_at ELSE ?2 END WHERE id = ?3";
    // It may have been one that failed long ago, and was retried: what is to be told then is decided anew.
    const TOLD: &str = "UPDATE tickets SET told = ?1, told_at = COALESCE(?2, told_at), turned_at = COALESCE(?3, turned_at), look = 0 \
        WHERE id = ?4";
    const SEEN: &str = "UPDATE steps SET seen = ?1 WHERE ticket = ?2";
    let now = db.now.millis();
    let (state, done) = match outcome {
        Outcome::Done { state, warnings } => {
            const WARNINGS: &str = "UPDATE updates SET warnings = ?1 WHERE id = ?2";
            if !warnings.is_empty() {
                db.execute(WARNINGS, values![&text(warnings), stored.id])?;
            }
            (*state, true)
        }
        Outcome::Needless { state } => (*state, false),
        Outcome::Overtaken => return put_off(db, stored.ticket, Some(Moment::NOW)),
        _ => return Ok(()),
    };
    // The incident of what is finished is needed no more.
    const BODY: &str = "UPDATE updates SET body = '' WHERE id = ?1";
    db.execute(BODY, values![stored.id])?;
    db.execute(SEEN, values![now, stored.ticket])?;
    if state != TicketState::Unknown {
        // What this step didn't bring about somebody else did.
        let brought = state == TicketState::Open || done && update.action == Action::Close;
        let known_by = if brought { KnownBy::Belief } else { KnownBy::Step };
        db.execute(STATE, values![state.name(), now, stored.ticket, known_by.number()])?;
        if state == TicketState::Open {
            back::is_open(db, stored.ticket)?;
        }
    }
    let Some(told) = &update.told else { return Ok(()) };
    let turns = update.diff.contains_key("open");
    // An incident that began again and whose ticket is closed, or gone, is not told by this: what is done then is decided anew.
    if !done && turns && told.open && state != TicketState::Open {
        return put_off(db, stored.ticket, Some(Moment::NOW));
    }
    let (told_at, turned_at) = (done.then_some(now), (done && turns).then_some(now));
    db.execute(TOLD, values![&text(told), told_at, turned_at, stored.ticket]).map(drop)
}

/// An incident that has a ticket gets a new one.
fn succeed(db: &Db<'_>, former: i64, together: &Together, policy: Policy) -> Fallible<()> {
    const KEY: &str =
        "SELECT i.key, t.backend FROM incidents AS i, tickets AS t WHERE i.id = ?1 AND t.id = ?2";
    const TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM tickets WHERE key = ?1 AND backend = ?2)";
    const SLOTS: &str = "SELECT slot FROM assignments WHERE incident = ?1 AND ticket = ?2 AND slot NOT LIKE 'former:%' ORDER BY slot";
    const TICKET: &str = "INSERT INTO tickets (backend, key, former) VALUES (?1, ?2, ?3)";
    const URL: &str = "SELECT url FROM assignments WHERE incident = ?1 AND ticket = ?2 AND slot = '' AND url IS NOT NULL";
    const LEAVE: &str = "DELETE FROM assignments WHERE incident = ?1 AND ticket = ?2";
    const ASSIGN: &str =
        "INSERT INTO assignments (incident, slot, ticket, url) VALUES (?1, ?2, ?3, ?4)";
    // Its source knows the former one.
    const TELL: &str = "UPDATE incidents SET tell = 1, back = NULL WHERE id = ?1 AND source = ?2";
    let incident = together.incident;
    let read = |columns: &mut Columns<'_>| Ok((columns.take()?, columns.take()?));
    let of: Option<(String, String)> = db.first(KEY, values![incident, former], Hold::No, read)?;
    let (own, backend) = of.ok_or(SqlError::Gone)?;
    let slots: Vec<String> =
        db.all(SLOTS, values![incident, former], Hold::No, |columns| columns.take())?;
    // With its incident's key it would be found as the former one. Others of that key may have had new ones, too.
    let mut number = 2;
    let key = loop {
        let key = format!("{own}#again-{number}");
        if !db.tells(TAKEN, values![&key, &backend])? {
            break key;
        }
        number += 1;
    };
    let ticket = db.insert(TICKET, values![&backend, &key, former])?;
    let url: Option<String> =
        db.first(URL, values![incident, former], Hold::No, |columns| columns.take())?;
    db.execute(LEAVE, values![incident, former])?;
    for slot in &slots {
        db.execute(ASSIGN, values![incident, slot, ticket, None::<&str>])?;
    }
    let slot = format!("{FORMER}{former}");
    db.execute(ASSIGN, values![incident, &slot, former, url.as_deref()])?;
    if slots.iter().any(String::is_empty) {
        db.execute(TELL, values![incident, ARGUS])?;
    }
    let level = together.now.level.unwrap_or(NO_LEVEL);
    // What a backup doesn't know may have made it.
    let step = Step::accepted(db.now, policy, false);
    super::changes::insert(db, ticket, incident, &backend, level, &step)?;
    db.sql.has_more();
    Ok(())
}

/// What a person orders of a ticket that is made is for its updates that failed; to cancel, where none did, for those that wait. Whether there
/// are such.
pub(super) fn order_all(db: &Db<'_>, ticket: i64, order: Order, policy: Policy) -> Fallible<bool> {
    const FAILED: &str =
        stored!("updates", "WHERE s.ticket = ?1 AND s.state = 'failed' ORDER BY s.id");
    const WAITING: &str = stored!(
        "updates",
        "WHERE s.ticket = ?1 AND s.state IN ('queued', 'unknown') ORDER BY s.id"
    );
    let of = |which: &str| {
        let read = |columns: &mut Columns<'_>| Stored::read(Of::Update, db, columns);
        db.all(which, values![ticket], Hold::Wait, read)
    };
    let mut all = of(FAILED)?;
    if all.is_empty() && order == Order::Cancel {
        all = of(WAITING)?;
    }
    for stored in &mut all {
        match order {
            Order::Retry => retry(db, stored, policy)?,
            Order::Cancel => {
                let _ = stored.step.cancel();
                stored.save(db)?;
                counts_as_told(db, stored)?;
            }
        }
    }
    db.sql.has_more();
    Ok(!all.is_empty())
}

/// Tries a step again that has failed, as it was just read.
pub(super) fn retry(db: &Db<'_>, stored: &mut Stored, policy: Policy) -> Fallible<()> {
    if stored.of == Of::Update && decide_anew(db, stored)? {
        return Ok(());
    }
    // An error means that it is in no such state.
    let _ = stored.step.retry(db.now, policy);
    stored.save(db)
}

/// An update that failed, and of which nothing was written, is not done as it was: what its ticket is to be told is decided anew. Whether that
/// can be; what a person wants is done as it was.
pub(super) fn decide_anew(db: &Db<'_>, stored: &mut Stored) -> Fallible<bool> {
    const TOLD: &str = "SELECT told FROM updates WHERE id = ?1 AND told IS NOT NULL";
    let told: Option<String> =
        db.first(TOLD, values![stored.id], Hold::No, |columns| columns.take())?;
    // Who retries what only a person can look for has looked.
    if stored.step.doubt == Doubt::Look || told.is_none() {
        return Ok(false);
    }
    stored.step.overtake();
    stored.save(db)?;
    put_off(db, stored.ticket, Some(Moment::NOW))?;
    Ok(true)
}

/// What a person doesn't want to be told isn't told by the next step either, if it is still so.
fn counts_as_told(db: &Db<'_>, stored: &Stored) -> Fallible<()> {
    const SEALED: &str = "SELECT told FROM updates WHERE id = ?1";
    let sealed: Option<Option<Snapshot>> =
        db.first(SEALED, values![stored.id], Hold::No, |columns| columns.parsed())?;
    let Some(sealed) = sealed.flatten() else { return Ok(()) };
    if Together::of(db, stored.ticket)?.is_some_and(|all| all.now == sealed) {
        is_told(db, stored.ticket, &sealed)?;
    }
    Ok(())
}

/// As [`super::Store::add_update`].
pub(super) fn add(
    db: &Db<'_>,
    ticket: i64,
    action: Action,
    said: &str,
    policy: Policy,
    by: &By,
) -> Result<i64, Undone> {
    const MADE: &str = "SELECT s.backend, t.ticket IS NOT NULL, s.incident, i.body FROM steps AS s JOIN tickets AS t ON t.id = s.ticket \
        JOIN incidents AS i ON i.id = s.incident WHERE t.id = ?1";
    let read = |columns: &mut Columns<'_>| {
        Ok((columns.take()?, columns.take()?, columns.take()?, columns.take()?))
    };
    let made: Option<(String, bool, i64, String)> =
        db.first(MADE, values![ticket], Hold::No, read)?;
    let Some((backend, is_made, incident, body)) = made else {
        return Err(Undone::Refused(StoreError::NoSuch(ticket)));
    };
    if !is_made {
        return Err(Undone::Refused(StoreError::NotMade(ticket)));
    }
    let update = Update {
        action,
        mark: mark(),
        diff: BTreeMap::new(),
        said: Some(said.to_owned()),
        told: None,
    };
    db.sql.has_more();
    audit::done(db, by, action.name(), ticket, said)?;
    Ok(insert(db, ticket, incident, &backend, &body, &update, policy)?)
}

/// As [`super::Store::adopt`].
pub(super) fn adopt(db: &Db<'_>, id: i64, ticket: &Ticket, by: &By) -> Result<Job, Undone> {
    let Some(mut stored) = Stored::of_ticket(db, id)? else {
        return Err(Undone::Refused(StoreError::NoSuch(id)));
    };
    let wanted = "adopted";
    stored
        .step
        .adopt()
        .map_err(|state| Undone::Refused(StoreError::Conflict { id, wanted, state }))?;
    stored.failure = None;
    stored.save(db)?;
    made(db, id, ticket, false)?;
    super::changes::tell_of(db, id)?;
    audit::done(db, by, "adopt", id, &ticket.url)?;
    Ok(stored.job(db)?)
}
