//! Tickets that people made, and gave to incidents: they are found by what their ticket system calls them.

use ticket_plugin_api::{Ticket, TicketState};

use super::changes::{self, Known};
use super::sql::{Columns, Db, Fallible, Hold, values};
use super::stored::{Of, Stored, stored};
use super::updates::{joins, made, remote};
use super::writer::Undone;
use crate::machine::{Policy, State, Step};
use crate::store::{Adoption, New};

/// As [`super::Store::adopt_pasted`].
pub(super) fn adopt(
    db: &Db<'_>,
    new: &New,
    ticket: &Ticket,
    state: TicketState,
    policy: Policy,
) -> Result<Adoption, Undone> {
    db.sql.hold(&new.key)?;
    changes::has_room(db)?;
    db.sql.takes(new.incident.len())?;
    let backend = &new.backend;
    if let Some(incident) = Known::existing(db, new)?
        && let Some(id) = main_of(db, incident.id)?
    {
        return Ok(given_up(db, incident.id, id, backend, ticket, state)?);
    }
    let known = find(db, backend, ticket, None)?;
    // A row of that key that isn't found by the ticket's name is to get another ticket.
    if known.is_none() && is_taken(db, &new.key, backend)? {
        return Ok(Adoption::Refused);
    }
    let incident = Known::of(db, new)?;
    let id = match known {
        Some(id) => {
            joins(db, id)?;
            id
        }
        None => insert(db, new, &incident, ticket, state, policy)?,
    };
    assign(db, incident.id, id, ticket)?;
    Ok(adopted(db, id)?)
}

fn adopted(db: &Db<'_>, id: i64) -> Fallible<Adoption> {
    match Stored::of_ticket(db, id)? {
        Some(stored) => Ok(Adoption::Adopted(Box::new(stored.job(db)?))),
        None => Ok(Adoption::Refused),
    }
}

fn is_taken(db: &Db<'_>, key: &str, backend: &str) -> Fallible<bool> {
    const TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM tickets WHERE key = ?1 AND backend = ?2)";
    db.tells(TAKEN, values![key, backend])
}

/// The ticket that an incident has, or is to have, as every incident does.
fn main_of(db: &Db<'_>, incident: i64) -> Fallible<Option<i64>> {
    const MAIN: &str = "SELECT ticket FROM assignments WHERE incident = ?1 AND slot = ''";
    db.first(MAIN, values![incident], Hold::No, |columns| columns.take())
}

/// The incident's ticket failed, or isn't wanted any more: whoever saw that has made one by hand, in whichever backend, and given it to the
/// incident.
fn given_up(
    db: &Db<'_>,
    incident: i64,
    id: i64,
    backend: &str,
    ticket: &Ticket,
    state: TicketState,
) -> Fallible<Adoption> {
    const BACKEND: &str = "UPDATE tickets SET backend = ?1 WHERE id = ?2";
    // Who asks for a backend by its name doesn't find it in another one.
    const NAMED: &str =
        "DELETE FROM assignments WHERE ticket = ?1 AND slot <> '' AND slot NOT LIKE 'former:%'";
    // Its source may not have heard that the incident is to get another one than that.
    const FORMER: &str = "SELECT EXISTS (SELECT 1 FROM assignments AS a JOIN tickets AS t ON t.id = a.ticket \
        WHERE a.incident = ?1 AND a.slot LIKE 'former:%' AND (t.remote = ?2 AND t.backend = ?3 OR a.url = ?4))";
    const KEY: &str = "SELECT key FROM tickets WHERE id = ?1";
    // Where it was given while it waited for a ticket in a backend, of which that is none.
    const IS_NONE: &str =
        "SELECT EXISTS (SELECT 1 FROM tickets WHERE id = ?1 AND pasted AND status = 'foreign')";
    let Some(mut stored) = Stored::of_ticket(db, id)? else { return Ok(Adoption::Refused) };
    let is_none = stored.step.state == State::Created && db.tells(IS_NONE, values![id])?;
    if !stored.step.state.is_given_up() && !is_none {
        return Ok(Adoption::HasOther);
    }
    let former = values![incident, remote(ticket), backend, &ticket.url];
    if db.tells(FORMER, former)? || !is_none && stored.step.adopt().is_err() {
        return Ok(Adoption::Refused);
    }
    if stored.backend != backend {
        let key: Option<String> = db.first(KEY, values![id], Hold::No, |columns| columns.take())?;
        if is_taken(db, &key.unwrap_or_default(), backend)? {
            return Ok(Adoption::Refused);
        }
        backend.clone_into(&mut stored.backend);
        db.execute(BACKEND, values![backend, id])?;
        db.execute(NAMED, values![id])?;
    }
    stored.failure = None;
    stored.save(db)?;
    let id = given(db, &stored, incident, ticket, Some(state))?;
    adopted(db, id)
}

fn insert(
    db: &Db<'_>,
    new: &New,
    incident: &Known,
    ticket: &Ticket,
    state: TicketState,
    policy: Policy,
) -> Fallible<i64> {
    const TICKET: &str = "INSERT INTO tickets (backend, key) VALUES (?1, ?2)";
    let id = db.insert(TICKET, values![&new.backend, incident.key()])?;
    is_pasted(db, id, ticket, Some(state))?;
    let mut step = Step::accepted(db.now, policy, false);
    step.adopt().expect("what nobody works on can be adopted");
    changes::insert(db, id, incident.id, &new.backend, new.level, &step)?;
    Ok(id)
}

fn assign(db: &Db<'_>, incident: i64, id: i64, ticket: &Ticket) -> Fallible<()> {
    const ASSIGN: &str =
        "INSERT INTO assignments (incident, slot, ticket, url) VALUES (?1, '', ?2, ?3)";
    db.execute(ASSIGN, values![incident, id, &ticket.url]).map(drop)
}

/// A ticket that was to be made isn't, since a person has given its incident another one meanwhile. If a row has that one already, its incidents
/// share that from now on. Gives the row that has it.
pub(super) fn given(
    db: &Db<'_>,
    stored: &Stored,
    incident: i64,
    ticket: &Ticket,
    state: Option<TicketState>,
) -> Fallible<i64> {
    const URL: &str =
        "UPDATE assignments SET url = ?1 WHERE incident = ?2 AND slot = '' AND ticket = ?3";
    const MOVE: &str =
        "UPDATE assignments SET ticket = ?1 WHERE ticket = ?2 AND slot NOT LIKE 'former:%'";
    // Nobody is to find the row that is left, whether by its ticket or by its key.
    const LEFT: &str =
        "UPDATE tickets SET remote = NULL, key = key || '#left-' || id WHERE id = ?1";
    let other = find(db, &stored.backend, ticket, Some(stored.ticket))?;
    is_pasted(db, stored.ticket, ticket, state)?;
    db.execute(URL, values![&ticket.url, incident, stored.ticket])?;
    let Some(other) = other else { return Ok(stored.ticket) };
    joins(db, other)?;
    db.execute(LEFT, values![stored.ticket])?;
    db.execute(MOVE, values![other, stored.ticket])?;
    Ok(other)
}

/// The incident's source may know another ticket than the one that a person gave it, or none any more: then it hasn't that one.
pub(super) fn look(db: &Db<'_>, incident: &Known, new: &New) -> Fallible<()> {
    const OTHER: &str = "SELECT ticket FROM assignments WHERE incident = ?1 AND slot = '' AND url IS NOT NULL AND url <> ?2";
    const LEAVE: &str =
        "DELETE FROM assignments WHERE incident = ?1 AND ticket = ?2 AND slot NOT LIKE 'former:%'";
    // Its key is for the ticket that the incident gets now, also if another incident shares the one that it leaves.
    const LEFT: &str = "UPDATE tickets SET key = key || '#left-' || id WHERE key = ?1 AND pasted AND NOT EXISTS ( \
        SELECT 1 FROM assignments WHERE ticket = tickets.id AND incident = ?2)";
    const BACK: &str = "UPDATE incidents SET back = NULL WHERE id = ?1";
    // What a person wants to be done is done.
    const QUEUED: &str = stored!(
        "updates",
        "WHERE s.ticket = ?1 AND s.incident = ?2 AND s.state = 'queued' AND s.told IS NOT NULL"
    );
    let Some(url) = &new.ticket_url else { return Ok(()) };
    let given = values![incident.id, url];
    let left: Option<i64> = db.first(OTHER, given, Hold::No, |columns| columns.take())?;
    let Some(id) = left else { return Ok(()) };
    let read = |columns: &mut Columns<'_>| Stored::read(Of::Update, db, columns);
    for mut queued in db.all(QUEUED, values![id, incident.id], Hold::Wait, read)? {
        // An error means that it isn't queued: it was just read.
        let _ = queued.step.cancel();
        queued.save(db)?;
    }
    // What it was told of all its incidents, while this is still one of them.
    joins(db, id)?;
    db.execute(LEAVE, values![incident.id, id])?;
    db.execute(BACK, values![incident.id])?;
    db.execute(LEFT, values![incident.key(), incident.id]).map(drop)
}

fn is_pasted(db: &Db<'_>, id: i64, ticket: &Ticket, state: Option<TicketState>) -> Fallible<()> {
    const PASTED: &str = "UPDATE tickets SET pasted = TRUE WHERE id = ?1";
    const STATE: &str =
        "UPDATE tickets SET status = ?1, status_at = ?2, known_by = 0 WHERE id = ?3";
    made(db, id, ticket, false)?;
    db.execute(PASTED, values![id])?;
    if let Some(state) = state {
        db.execute(STATE, values![state.name(), db.now.millis(), id])?;
    }
    Ok(())
}

/// The newest row of a backend that has this ticket, but for one. One that is known to be elsewhere was made when the backend made tickets there,
/// and may only be called the same; so may one of which the URL says so.
fn find(
    db: &Db<'_>,
    backend: &str,
    ticket: &Ticket,
    but_for: Option<i64>,
) -> Fallible<Option<i64>> {
    const OF_REMOTE: &str = "SELECT id, ticket FROM tickets WHERE remote = ?1 AND backend = ?2 AND id <> ?3 \
        AND COALESCE(status, 'unknown') NOT IN ('foreign', 'gone') ORDER BY id DESC LIMIT 10";
    let name = remote(ticket);
    let values = values![name, backend, but_for.unwrap_or(0)];
    let rows: Vec<(i64, Option<Ticket>)> =
        db.all(OF_REMOTE, values, Hold::No, |columns| Ok((columns.take()?, columns.parsed()?)))?;
    let is_it = |(_, its): &&(i64, Option<Ticket>)| {
        its.as_ref().is_some_and(|its| is_same_place(&its.url, &ticket.url, name))
    };
    Ok(rows.iter().find(is_it).map(|(id, _)| *id))
}

/// Whether two URLs of tickets that are called so are of one project, as far as they say: one is the other with something behind the name, as a
/// browser has it (`&results=...`, `#txn-5`).
fn is_same_place(one: &str, other: &str, name: &str) -> bool {
    let [one, other, name] = [one, other, name].map(str::to_lowercase);
    let continues = |long: &str, short: &str| {
        let short = short.split('#').next().unwrap_or_default();
        let end = short.rfind(&name).map_or(short.len(), |at| at + name.len());
        let ends = |text: &str| !text.starts_with(char::is_alphanumeric);
        ends(&short[end..]) && long.strip_prefix(&short[..end]).is_some_and(ends)
    };
    continues(&one, &other) || continues(&other, &one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_of_one_name_are_the_same_if_their_urls_are_of_one_project() {
        const RT: &str = "https://rt.example.org/Ticket/Display.html?id=17";
        const GITHUB: &str = "https://github.com/o/r1/issues/1";
        for (one, other, name, expected) in [
            (RT, RT, "17", true),
            (RT, "https://RT.example.org/Ticket/Display.html?id=17#txn-171", "17", true),
            (RT, "https://rt.example.org/Ticket/Display.html?id=17&results=9a17#txn-3", "17", true),
            (RT, "https://rt.example.org/Ticket/Display.html?id=170", "17", false),
            (RT, "https://rt2.example.org/Ticket/Display.html?id=17", "17", false),
            (GITHUB, "https://github.com/o/r1/issues/1#issuecomment-11", "1", true),
            (GITHUB, "https://github.com/o/r1/issues/1/", "1", true),
            (GITHUB, "https://github.com/o/r2/issues/1", "1", false),
            ("https://d.org/a", "https://d.org/a", "https://d.org/a", true),
        ] {
            assert_eq!(is_same_place(one, other, name), expected, "{one} {other}");
        }
    }
}
