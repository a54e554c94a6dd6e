//! What hosts that share the tables know together of each backend: when its next request may leave, and until when none may.

use std::time::Duration;

use super::sql::{Db, Fallible, Hold, SqlError, values};
use crate::machine::{Moment, millis};

/// Takes so many turns, one `interval` after the other: how long until the first. None: that would be later than in `most`.
pub(super) fn take_turns(
    db: &Db<'_>,
    backend: &str,
    interval: Duration,
    turns: u32,
    most: Duration,
) -> Fallible<Option<Duration>> {
    const NEXT: &str = "SELECT s.next FROM backends AS s WHERE s.name = ?1";
    const TAKE: &str = "UPDATE backends SET next = ?1 WHERE name = ?2";
    make(db, backend)?;
    // Other writes of this group are not to wait until another host's group is done, nor to hold the row for it.
    let hold = if db.sql.waits() { Hold::Wait } else { Hold::Skip };
    let next = db.first(NEXT, values![backend], hold, |columns| columns.take())?;
    let next: i64 = next.ok_or(SqlError::Elsewhere)?;
    let now = db.now.millis().saturating_mul(MICROS);
    let first = now.max(next);
    let until = Duration::from_micros((first - now).cast_unsigned());
    if until > most {
        return Ok(None);
    }
    let all = i64::try_from((interval * turns).as_micros()).unwrap_or(i64::MAX);
    db.execute(TAKE, values![first.saturating_add(all), backend])?;
    Ok(Some(until))
}

/// Microseconds, since a thousand requests may leave in a second, in one millisecond.
const MICROS: i64 = 1000;

/// Notes that no request is to leave for that time.
pub(super) fn set_pause(db: &Db<'_>, backend: &str, time: Duration) -> Fallible<()> {
    const PAUSE: &str = "UPDATE backends SET paused = ?1 WHERE name = ?2 AND paused < ?1";
    make(db, backend)?;
    let until = db.now.millis().saturating_add(millis(time));
    db.execute(PAUSE, values![until, backend]).map(drop)
}

/// The backends that are paused, and for how long.
pub(super) fn pauses(db: &Db<'_>) -> Fallible<Vec<(String, Duration)>> {
    const PAUSED: &str = "SELECT name, paused FROM backends WHERE paused > ?1";
    db.all(PAUSED, values![db.now.millis()], Hold::No, |columns| {
        let (name, until): (String, Moment) = (columns.take()?, columns.moment()?);
        Ok((name, until.since(db.now)))
    })
}

fn make(db: &Db<'_>, backend: &str) -> Fallible<()> {
    const MAKE: &str =
        "INSERT INTO backends (name, next, paused) VALUES (?1, 0, 0) ON CONFLICT DO NOTHING";
    const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM backends WHERE name = ?1)";
    // What is there stays; to look first takes no lock.
    if !db.tells(IS_THERE, values![backend])? {
        db.execute(MAKE, values![backend])?;
    }
    Ok(())
}
