//! Tickets that people made, and gave to incidents: they are found by what their ticket system calls them.

use ticket_plugin_api::{Ticket, TicketState};

use super::changes::{self, Known, MAIN};
use super::sql::{Db, Fallible, Hold, values};
use super::stored::Stored;
use super::updates::{joins, made, remote};
use super::writer::Undone;
use super::{FULL, FULL_HELP, broken};
use crate::machine::{Policy, Step};
use crate::store::{Job, New};

/// As [`super::Store::adopt_pasted`].
pub(super) fn adopt(
    db: &Db<'_>,
    new: &New,
    ticket: &Ticket,
    state: TicketState,
    policy: Policy,
) -> Result<Option<Job>, Undone> {
    const TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM tickets WHERE key = ?1 AND backend = ?2)";
    db.sql.hold(&new.key)?;
    if db.sql.room()? < 0 {
        return Err(Undone::Refused(broken(db.name, FULL, FULL_HELP.to_owned(), None)));
    }
    db.sql.takes(new.incident.len())?;
    let backend = &new.backend;
    let known = find(db, backend, ticket, None)?;
    let has_other = match Known::existing(db, new)? {
        Some(incident) => incident.has_main(db)?,
        None => false,
    };
    // A row of that key that isn't found by the ticket's name is to get another ticket.
    if has_other || known.is_none() && db.tells(TAKEN, values![&new.key, backend])? {
        return Ok(None);
    }
    let incident = Known::of(db, new)?;
    let id = match known {
        Some(id) => {
            joins(db, id)?;
            id
        }
        None => insert(db, new, &incident, ticket, state, policy)?,
    };
    incident.assign(db, MAIN, id)?;
    let stored = Stored::of_ticket(db, id)?;
    Ok(stored.map(|stored| stored.job(db)).transpose()?)
}

fn insert(
    db: &Db<'_>,
    new: &New,
    incident: &Known,
    ticket: &Ticket,
    state: TicketState,
    policy: Policy,
) -> Fallible<i64> {
    const TICKET: &str =
        "INSERT INTO tickets (backend, key, status, status_at) VALUES (?1, ?2, ?3, ?4)";
    let values = values![&new.backend, incident.key(), state.name(), db.now.millis()];
    let id = db.insert(TICKET, values)?;
    is_pasted(db, id, ticket)?;
    let mut step = Step::accepted(db.now, policy, false);
    step.adopt().expect("what nobody works on can be adopted");
    changes::insert(db, id, incident.id, &new.backend, new.level, &step)?;
    Ok(id)
}

/// The claim of a ticket that was to be made ended since a person has given its incidents another one meanwhile. If a row has that one already,
/// they are its incidents from now on.
pub(super) fn given(db: &Db<'_>, stored: &Stored, ticket: &Ticket) -> Fallible<()> {
    const MOVE: &str =
        "UPDATE assignments SET ticket = ?1 WHERE ticket = ?2 AND slot NOT LIKE 'former:%'";
    is_pasted(db, stored.ticket, ticket)?;
    let Some(other) = find(db, &stored.backend, ticket, Some(stored.ticket))? else {
        return Ok(());
    };
    joins(db, other)?;
    db.execute(MOVE, values![other, stored.ticket]).map(drop)
}

fn is_pasted(db: &Db<'_>, id: i64, ticket: &Ticket) -> Fallible<()> {
    const PASTED: &str = "UPDATE tickets SET pasted = TRUE WHERE id = ?1";
    made(db, id, ticket, false)?;
    db.execute(PASTED, values![id]).map(drop)
}

/// The newest row of a backend that has this ticket, but for one. One that is known to be elsewhere was made when the backend made tickets there,
/// and may only be called the same.
fn find(
    db: &Db<'_>,
    backend: &str,
    ticket: &Ticket,
    but_for: Option<i64>,
) -> Fallible<Option<i64>> {
    const OF_REMOTE: &str = "SELECT id FROM tickets WHERE remote = ?1 AND backend = ?2 AND id <> ?3 \
        AND COALESCE(status, 'unknown') NOT IN ('foreign', 'gone') ORDER BY id DESC LIMIT 1";
    let values = values![remote(ticket), backend, but_for.unwrap_or(0)];
    db.first(OF_REMOTE, values, Hold::No, |columns| columns.take())
}
