//! What the ticket systems' answers write: in which state tickets are, and what incidents are to hear of that.

use ticket_plugin_api::{Ticket, TicketState};

use super::sql::{Columns, Db, Fallible, Hold, values};
use super::{Back, KnownBy, OpenTicket, OpenTickets, Place, ToTellBack, text};
use crate::incident::ARGUS;
use crate::store::Sighting;

/// As [`super::Store::open_tickets`].
pub(super) fn open_tickets(
    db: &Db<'_>,
    backend: &str,
    after: &Place,
    most: i64,
) -> Fallible<OpenTickets> {
    const OPEN: &str = "SELECT i.source, i.id, t.id, t.ticket, t.key, t.status, t.known_by FROM incidents AS i INDEXED BY incidents_going_on \
        JOIN assignments AS a ON a.incident = i.id AND a.slot NOT LIKE 'former:%' JOIN tickets AS t ON t.id = a.ticket \
        WHERE i.ended IS NULL AND i.followed = 1 AND (i.source, i.id) >= (?1, ?2) AND (i.source, i.id, t.id) > (?1, ?2, ?3) \
        AND t.backend = ?4 AND t.ticket IS NOT NULL ORDER BY i.source, i.id, t.id LIMIT ?5";
    let values = values![&after.source, after.incident, after.ticket, backend, most];
    let rows = db.all(OPEN, values, Hold::No, |columns| {
        let (source, incident, id) = (columns.take()?, columns.take()?, columns.take()?);
        let Ticket { url, id: remote, .. } = columns.parsed()?.unwrap_or_default();
        let (key, known) = (columns.take()?, columns.word_if_any()?.unwrap_or_default());
        let known_by = KnownBy::of(columns.take()?);
        let ticket = OpenTicket { id, url, remote, key, known, known_by };
        Ok((Place { source, incident, ticket: id }, ticket))
    })?;
    let is_whole = (rows.len() as i64) < most;
    let next = rows.last().filter(|_| !is_whole).map(|(place, _)| place.clone());
    Ok(OpenTickets { tickets: rows.into_iter().map(|(_, ticket)| ticket).collect(), next })
}

/// As [`super::Store::sighted`].
pub(super) fn sighted(db: &Db<'_>, sighting: &Sighting) -> Fallible<bool> {
    // What this host does to it at the moment, or may have done, may be what was seen; and what is to be opened is no longer as it was seen.
    const UNDER_WAY: &str = "SELECT EXISTS (SELECT 1 FROM updates WHERE ticket = ?1 AND action IN ('close', 'reopen') \
        AND (state IN ('creating', 'unknown') OR state = 'failed' AND doubt <> 0 OR state = 'queued' AND action = 'reopen'))";
    // The ticket system's lists may lag behind what this host itself did last. There is nothing to tell to a ticket of which nothing was ever told.
    const STATE: &str = "UPDATE tickets SET status = ?1, status_at = ?2, known_by = 0, look = CASE WHEN told IS NULL THEN look ELSE 0 END \
        WHERE id = ?3 AND COALESCE(status, 'unknown') = ?4 AND known_by = ?5 AND COALESCE(status_at, 0) <= ?6";
    // A ticket that was asked for by its backend's name is another one than the one that the source knows.
    const BACK: &str = "UPDATE incidents SET back = ?1 WHERE source = ?2 AND ended IS NULL \
        AND id IN (SELECT incident FROM assignments WHERE ticket = ?3 AND slot = '')";
    let Sighting { ticket, known, known_by, state, back, settle } = sighting;
    if db.tells(UNDER_WAY, values![*ticket])? {
        return Ok(false);
    }
    // What is known from before tells nothing that lags.
    let settled = if *known_by == KnownBy::Before { db.now } else { db.now - *settle };
    let values = values![
        state.name(),
        db.now.millis(),
        *ticket,
        known.name(),
        known_by.number(),
        settled.millis(),
    ];
    if db.execute(STATE, values)? == 0 {
        return Ok(false);
    }
    if *state == TicketState::Open {
        is_open(db, *ticket)?;
    } else if let Some(back) = back {
        db.execute(BACK, values![&text(back), ARGUS, *ticket])?;
    }
    Ok(true)
}

/// A ticket is open: what its incidents' source wasn't told yet of its being closed it isn't told any more.
pub(super) fn is_open(db: &Db<'_>, ticket: i64) -> Fallible<()> {
    const OPEN: &str = "UPDATE incidents SET back = NULL WHERE back IS NOT NULL \
        AND id IN (SELECT incident FROM assignments WHERE ticket = ?1 AND slot = '')";
    db.execute(OPEN, values![ticket]).map(drop)
}

/// As [`super::Store::to_tell_back`].
pub(super) fn to_tell_back(db: &Db<'_>, after: i64, most: i64) -> Fallible<Vec<ToTellBack>> {
    const TO_TELL: &str = "SELECT id, number, began, back FROM incidents INDEXED BY incidents_to_tell_back \
        WHERE back IS NOT NULL AND source = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let read = |columns: &mut Columns<'_>| {
        let (incident, number, began) = (columns.take()?, columns.take()?, columns.take()?);
        let back: Option<Back> = columns.parsed()?;
        Ok(back.map(|back| ToTellBack { incident, number, began, back }))
    };
    let all = db.all(TO_TELL, values![ARGUS, after, most], Hold::No, read)?;
    Ok(all.into_iter().flatten().collect())
}

/// As [`super::Store::told_back`].
pub(super) fn told_back(
    db: &Db<'_>,
    ToTellBack { incident, back, .. }: &ToTellBack,
) -> Fallible<()> {
    const TOLD: &str = "UPDATE incidents SET back = NULL WHERE id = ?1 AND back = ?2";
    db.execute(TOLD, values![*incident, &text(back)]).map(drop)
}
