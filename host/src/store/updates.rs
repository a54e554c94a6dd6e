//! What is written of incidents that change, and of what their tickets are told: [`crate::life`] decides what that is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ticket_plugin_api::{Action, Ticket, TicketState};

use super::changes::{Known, take};
use super::rows::{self, job_columns, step_columns};
use super::sql::{Columns, Db, Fallible, Hold, SqlError, values};
use super::stored::{Of, Stored, stored};
use super::writer::Undone;
use super::{holds, text};
use crate::incident::{ARGUS, Identity};
use crate::life::{self, Plan, Snapshot, Terms};
use crate::machine::{Doubt, Moment, Policy, Step, millis};
use crate::store::{Claim, Job, New, Order, Outcome, StoreError, Term, Until, Update};

/// How many tickets are looked at in one write, so that others have their turn in between.
const LOOKS: i64 = 64;
/// What the slot begins with of a ticket that the incident had before. No backend's name has a colon.
const FORMER: &str = "former:";

/// An incident that the store has comes in as its source has it now. Its tickets are to hear what is new of it.
pub(super) fn hear(db: &Db<'_>, known: &Known, new: &New) -> Fallible<()> {
    const LEVEL: &str = "UPDATE steps SET level = ?1 WHERE incident = ?2 AND state IN ('queued', 'unknown', 'failed')";
    if note(db, known, &new.incident, new.open)? {
        db.execute(LEVEL, values![new.level, known.id])?;
    }
    Ok(())
}

/// Notes how an incident is now. Whether its tickets have to be looked at.
fn note(db: &Db<'_>, known: &Known, body: &str, open: bool) -> Fallible<bool> {
    const NOTE: &str = "UPDATE incidents SET body = ?1, ended = ?2, followed = 1 WHERE id = ?3";
    // A ticket that isn't made yet is made with what is known then.
    const TICKETS: &str = "UPDATE tickets SET told = COALESCE(told, ?1), look = CASE WHEN ticket IS NULL THEN look ELSE 0 END \
        WHERE id IN (SELECT ticket FROM assignments WHERE incident = ?2 AND slot NOT LIKE 'former:%')";
    let before = Snapshot::of(&known.body, known.ended.is_none());
    if known.followed && before == Snapshot::of(body, open) {
        return Ok(false);
    }
    let ended = if open { None } else { Some(known.ended.unwrap_or(db.now).millis()) };
    db.execute(NOTE, values![body, ended, known.id])?;
    // Of one that no host followed nobody knows what its ticket was told: from now on it is followed.
    if known.followed {
        db.execute(TICKETS, values![&text(&before), known.id])?;
        db.sql.has_more();
    }
    Ok(known.followed)
}

/// As [`super::Store::report`].
pub(super) fn report(db: &Db<'_>, new: &New) -> Fallible<Option<i64>> {
    db.sql.hold(&new.key)?;
    let Some(known) = Known::existing(db, new)? else { return Ok(None) };
    hear(db, &known, new)?;
    Ok(Some(known.id))
}

/// As [`super::Store::ended`].
pub(super) fn vanish(db: &Db<'_>, incident: i64) -> Fallible<()> {
    const KNOWN: &str =
        "SELECT id, source, key, began, followed, ended, body FROM incidents WHERE id = ?1";
    match db.first(KNOWN, values![incident], Hold::No, Known::read)? {
        Some(known) => note(db, &known, &known.body, false).map(drop),
        None => Ok(()),
    }
}

/// A ticket that may be made now is told by that what is known of its incident now, whatever becomes of the claim: should it be found later,
/// it is the one that the last such claim made.
pub(super) fn making(db: &Db<'_>, claim: &Claim) -> Fallible<()> {
    const TOLD: &str = "UPDATE tickets SET told = ?1 WHERE id = ?2";
    // Else the incident is as it was when it was accepted.
    if claim.changed && !claim.unknown {
        let told = Snapshot::of(&claim.incident, !claim.ended);
        db.execute(TOLD, values![&text(&told), claim.job.id])?;
    }
    Ok(())
}

/// A ticket was made or found. What is new of its incident since it was made is told to it.
pub(super) fn made(db: &Db<'_>, id: i64, ticket: &Ticket, made: bool) -> Fallible<()> {
    const MADE: &str = "UPDATE tickets SET ticket = ?1, made = ?2, look = CASE WHEN told IS NULL THEN look ELSE 0 END WHERE id = ?3";
    db.execute(MADE, values![&text(ticket), made, id]).map(drop)
}

/// Selects what [`ready_row`] reads.
const READY: &str = concat!(
    "SELECT ",
    step_columns!(),
    ", ",
    job_columns!(),
    ", s.id, COALESCE(i.source, ''), COALESCE(i.number, ''), s.accepted, s.seen, s.body, i.ended IS NOT NULL, s.action, s.mark, s.diff, s.said, s.told \
     FROM updates AS s INDEXED BY updates_ready JOIN tickets AS t ON t.id = s.ticket \
     LEFT JOIN incidents AS i ON i.id = s.incident \
     WHERE s.due = 0 AND s.backend = ?1 AND NOT EXISTS (SELECT 1 FROM updates AS earlier \
        WHERE earlier.ticket = s.ticket AND earlier.id < s.id AND earlier.state IN ('queued', 'creating', 'unknown')) \
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
    if let Some(tries) = term.tries
        && !holds::has_turn(db, backend, tries)?
    {
        return Ok(Vec::new());
    }
    let mut claims = ready(db, backend, most, term)?;
    if claims.len() < most && look(db, backend, most - claims.len(), term, life)? > 0 {
        claims.extend(ready(db, backend, most - claims.len(), term)?);
    }
    if let Some(tries) = term.tries
        && !claims.is_empty()
    {
        holds::take(db, backend, tries)?;
    }
    Ok(claims)
}

fn ready(db: &Db<'_>, backend: &str, most: usize, term: Term) -> Fallible<Vec<Claim>> {
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let read = |columns: &mut Columns<'_>| ready_row(db, columns);
    let mut ready = db.all(READY, values![backend, limit], Hold::Skip, read)?;
    for (step, claim) in &mut ready {
        take(db, step, claim, term)?;
    }
    Ok(ready.into_iter().map(|(_, claim)| claim).collect())
}

fn ready_row(db: &Db<'_>, columns: &mut Columns<'_>) -> Fallible<(Step, Claim)> {
    let step = Step { looks_and_writes: true, ..rows::step(columns, db.opening)? };
    let job = rows::job(columns, db)?;
    let accepted_at = job.accepted_at;
    let claim = Claim {
        job,
        step: columns.take()?,
        lease: step.lease,
        until: Until::new(db.began),
        unknown: step.doubt == Doubt::Look,
        settled: db.at - db.now.since(step.settled),
        certain: false,
        elsewhere: false,
        known_since: db.sql.known_since(),
        identity: Identity { source: columns.take()?, id: columns.take()? },
        wanted: true,
        waited: db.now.since(columns.moment()?).max(db.at.since(accepted_at)),
        rested: db.now.since(columns.moment()?),
        is_main: true,
        incident: columns.take()?,
        ended: columns.take()?,
        former: None,
        changed: false,
        update: Some(Box::new(update(columns)?)),
    };
    Ok((step, claim))
}

/// Reads action, mark, diff, said and told.
pub(super) fn update(columns: &mut Columns<'_>) -> Fallible<Update> {
    Ok(Update {
        action: columns.word()?,
        mark: columns.take()?,
        diff: columns.parsed()?.unwrap_or_default(),
        said: columns.take()?,
        told: columns.parsed::<Option<Snapshot>>()?.flatten(),
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

/// Decides of some tickets what they are told, and notes at most `most` things to do. How many these are.
fn look(db: &Db<'_>, backend: &str, most: usize, term: Term, life: &Terms) -> Fallible<usize> {
    const LOOK: &str = "SELECT s.id, s.told, s.told_at, s.turned_at, s.status, s.status_at \
        FROM tickets AS s INDEXED BY tickets_to_look_at WHERE s.backend = ?1 AND s.look <= ?2 AND s.ticket IS NOT NULL \
        AND NOT EXISTS (SELECT 1 FROM updates AS u WHERE u.ticket = s.id AND u.state IN ('queued', 'creating', 'unknown')) \
        ORDER BY s.look, s.id LIMIT ?3";
    let values = values![backend, db.now.millis(), LOOKS];
    let looked = db.all(LOOK, values, Hold::Skip, |columns| {
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
        };
        Ok(Looked { id, known })
    })?;
    let mut steps = Vec::new();
    for ticket in looked {
        let Some(together) = Together::of(db, ticket.id)? else {
            put_off(db, ticket.id, None)?;
            continue;
        };
        match life::plan(&ticket.known, &together.now, together.ended, life, db.now) {
            Plan::Rest => put_off(db, ticket.id, None)?,
            Plan::Wait(until) => put_off(db, ticket.id, Some(until))?,
            Plan::Note => {
                const NOTE: &str = "UPDATE tickets SET told = ?1, look = NULL WHERE id = ?2";
                db.execute(NOTE, values![&text(&together.now), ticket.id])?;
            }
            Plan::Successor => {
                put_off(db, ticket.id, None)?;
                succeed(db, ticket.id, &together, term.policy)?;
            }
            Plan::Do(action) => steps.push((action, ticket, together)),
        }
    }
    steps.sort_by_key(|(action, ticket, _)| (rank(*action), Reverse(ticket.id)));
    steps.truncate(most);
    for (action, ticket, together) in &steps {
        put_off(db, ticket.id, None)?;
        let update = Update {
            action: *action,
            mark: mark(),
            diff: together.now.diff(&ticket.known.told),
            said: None,
            told: Some(together.now.clone()),
        };
        let Together { incident, body, .. } = together;
        insert(db, ticket.id, *incident, backend, body, &update, term.policy)?;
    }
    Ok(steps.len())
}

impl Together {
    fn of(db: &Db<'_>, ticket: i64) -> Fallible<Option<Together>> {
        const INCIDENTS: &str = "SELECT i.id, i.body, i.ended FROM assignments AS a JOIN incidents AS i ON i.id = a.incident \
            WHERE a.ticket = ?1 AND a.slot NOT LIKE 'former:%' ORDER BY i.id";
        let incidents = db.all(INCIDENTS, values![ticket], Hold::No, |columns| {
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
        tried_before, settle, accepted, seen, accepted_at, changed_at, action, mark, body, told, diff, said) \
        VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 0, ?7, 0, 0, 0, ?8, ?6, ?6, ?9, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    let step = Step::of_update(db.now, policy);
    let (told, diff) = (text(&update.told), text(&update.diff));
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
        &told,
        &diff,
        update.said.as_deref(),
    ];
    db.insert(INSERT, values)
}

/// The claim of an update has ended: what its ticket is known to say by that.
pub(super) fn ended(
    db: &Db<'_>,
    stored: &Stored,
    update: &Update,
    outcome: &Outcome,
) -> Fallible<()> {
    const STATE: &str = "UPDATE tickets SET status = ?1, \
        status_at = CASE WHEN status = ?1 AND status_at IS NOT NULL THEN status_at ELSE ?2 END WHERE id = ?3";
    const TOLD: &str = "UPDATE tickets SET told = ?1 WHERE id = ?2";
    const TOLD_AT: &str = "UPDATE tickets SET told_at = ?1 WHERE id = ?2";
    const TURNED_AT: &str = "UPDATE tickets SET turned_at = ?1 WHERE id = ?2";
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
    db.execute(SEEN, values![now, stored.ticket])?;
    if state != TicketState::Unknown {
        db.execute(STATE, values![&word(&state), now, stored.ticket])?;
    }
    let Some(told) = &update.told else { return Ok(()) };
    let turns = update.diff.contains_key("open");
    // An incident that began again and whose ticket is closed, or gone, is not told by this: what is done then is decided anew.
    if !done && turns && told.open && state != TicketState::Open {
        return put_off(db, stored.ticket, Some(Moment::NOW));
    }
    db.execute(TOLD, values![&text(told), stored.ticket])?;
    if done {
        db.execute(TOLD_AT, values![now, stored.ticket])?;
        if turns {
            db.execute(TURNED_AT, values![now, stored.ticket])?;
        }
    }
    Ok(())
}

/// A word of a plugin's or of the ABI, as it is kept.
pub(crate) fn word<T: serde::Serialize>(word: &T) -> String {
    text(word).trim_matches('"').to_owned()
}

/// An incident that has a ticket gets a new one.
fn succeed(db: &Db<'_>, former: i64, together: &Together, policy: Policy) -> Fallible<()> {
    const KEY: &str = "SELECT i.key, t.backend, (SELECT count(*) FROM assignments AS a WHERE a.incident = i.id AND a.slot LIKE 'former:%') \
        FROM incidents AS i, tickets AS t WHERE i.id = ?1 AND t.id = ?2";
    const SLOTS: &str =
        "SELECT slot FROM assignments WHERE incident = ?1 AND ticket = ?2 ORDER BY slot";
    const TICKET: &str = "INSERT INTO tickets (backend, key, former) VALUES (?1, ?2, ?3)";
    const LEAVE: &str = "DELETE FROM assignments WHERE incident = ?1 AND ticket = ?2";
    const ASSIGN: &str = "INSERT INTO assignments (incident, slot, ticket) VALUES (?1, ?2, ?3)";
    // Its source knows the former one.
    const TELL: &str = "UPDATE incidents SET tell = 1 WHERE id = ?1 AND source = ?2";
    let incident = together.incident;
    let read = |columns: &mut Columns<'_>| Ok((columns.take()?, columns.take()?, columns.take()?));
    let of: Option<(String, String, i64)> =
        db.first(KEY, values![incident, former], Hold::No, read)?;
    let (key, backend, before) = of.ok_or(SqlError::Gone)?;
    let slots: Vec<String> =
        db.all(SLOTS, values![incident, former], Hold::No, |columns| columns.take())?;
    // With its incident's key it would be found as the former one.
    let key = format!("{key}#again-{}", before + 2);
    let ticket = db.insert(TICKET, values![&backend, &key, former])?;
    db.execute(LEAVE, values![incident, former])?;
    for slot in &slots {
        db.execute(ASSIGN, values![incident, slot, ticket])?;
    }
    db.execute(ASSIGN, values![incident, &format!("{FORMER}{former}"), former])?;
    if slots.iter().any(String::is_empty) {
        db.execute(TELL, values![incident, ARGUS])?;
    }
    let level = together.now.level.unwrap_or(crate::queue::NO_LEVEL);
    // What a backup doesn't know may have made it.
    let step = Step::accepted(db.now, policy, false);
    super::changes::insert(db, ticket, incident, &backend, level, &step)?;
    db.sql.has_more();
    Ok(())
}

/// What a person orders of a ticket that is made is for the oldest of its updates that it can be for. Whether there is one.
pub(super) fn order(db: &Db<'_>, ticket: i64, order: Order, policy: Policy) -> Fallible<bool> {
    const FAILED: &str =
        stored!("updates", "WHERE s.ticket = ?1 AND s.state = 'failed' ORDER BY s.id LIMIT 1");
    const LEFT: &str = stored!(
        "updates",
        "WHERE s.ticket = ?1 AND s.state IN ('queued', 'unknown', 'failed') ORDER BY s.id LIMIT 1"
    );
    let which = match order {
        Order::Retry => FAILED,
        Order::Cancel => LEFT,
    };
    let read = |columns: &mut Columns<'_>| Stored::read(Of::Update, db, columns);
    let Some(mut stored) = db.first(which, values![ticket], Hold::Wait, read)? else {
        return Ok(false);
    };
    let done = match order {
        Order::Retry => stored.step.retry(db.now, policy),
        Order::Cancel => stored.step.cancel(),
    };
    if done.is_ok() {
        stored.save(db)?;
        db.sql.has_more();
    }
    Ok(done.is_ok())
}

/// As [`super::Store::add_update`].
pub(super) fn add(
    db: &Db<'_>,
    ticket: i64,
    action: Action,
    said: &str,
    policy: Policy,
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
    Ok(insert(db, ticket, incident, &backend, &body, &update, policy)?)
}

/// As [`super::Store::adopt`].
pub(super) fn adopt(db: &Db<'_>, id: i64, ticket: &Ticket) -> Result<Job, Undone> {
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
    const ADOPT: &str = "UPDATE tickets SET ticket = ?1, made = ?2 WHERE id = ?3";
    db.execute(ADOPT, values![&text(ticket), false, id])?;
    super::changes::tell_of(db, id)?;
    Ok(stored.job(db)?)
}
