//! Which of the hosts that hold a backend, for the same cause, tries next whether it makes tickets again.
//!
//! Invariant: a host has its turn until its try has ended, and no longer than it said when it took it: it may be gone.

use std::time::Duration;

use super::sql::{Db, Fallible, Hold, SqlError, values};
use super::{SharedHold, Try};
use crate::machine::Moment;

/// Claims only if it is this host's turn, where the hosts that hold a backend take turns; what is claimed takes it. No row is held before that
/// is known, which the host whose turn it is would find taken, and until the transaction ends no other host takes the turn.
pub(super) fn in_turn<T>(
    db: &Db<'_>,
    backend: &str,
    tries: Option<Try>,
    claim: impl FnOnce() -> Fallible<Vec<T>>,
) -> Fallible<Vec<T>> {
    let Some(tries) = tries else { return claim() };
    if row(db, backend, tries.cause)?.is_none_or(|(at, _)| at > db.now) {
        return Ok(Vec::new());
    }
    let claims = claim()?;
    if !claims.is_empty() {
        set(db, backend, tries.cause, db.now + tries.time)?;
    }
    Ok(claims)
}

/// The turn of a host ends, or it has found that it holds the backend: the next one tries after that time. Without `ends` a moment that is
/// agreed upon, and still to come, stays: who finds it again and again would put others off for ever.
pub(super) fn hold(
    db: &Db<'_>,
    backend: &str,
    cause: &str,
    time: Duration,
    ends: bool,
) -> Fallible<()> {
    let (at, _) = row(db, backend, cause)?.ok_or(SqlError::Elsewhere)?;
    if ends || at <= db.now { set(db, backend, cause, db.now + time) } else { Ok(()) }
}

/// A host that held the backend has found that it makes tickets again. How often that was so by now.
pub(super) fn release(db: &Db<'_>, backend: &str, cause: &str) -> Fallible<i64> {
    const RELEASE: &str =
        "UPDATE holds SET try_at = 0, released = ?1 WHERE backend = ?2 AND cause = ?3";
    let (_, released) = row(db, backend, cause)?.ok_or(SqlError::Elsewhere)?;
    db.execute(RELEASE, values![released + 1, backend, cause])?;
    Ok(released + 1)
}

pub(super) fn all(db: &Db<'_>) -> Fallible<Vec<SharedHold>> {
    const ALL: &str = "SELECT backend, cause, try_at, released FROM holds";
    db.all(ALL, values![], Hold::No, |columns| {
        let (backend, cause) = (columns.take()?, columns.take()?);
        let left = columns.moment()?.since(db.now);
        Ok(SharedHold { backend, cause, left, released: columns.take()? })
    })
}

fn set(db: &Db<'_>, backend: &str, cause: &str, next: Moment) -> Fallible<()> {
    const SET: &str = "UPDATE holds SET try_at = ?1 WHERE backend = ?2 AND cause = ?3";
    db.execute(SET, values![next.millis(), backend, cause]).map(drop)
}

/// When the next try may be, and how many releases there were. None: another host has the row now, and this transaction has more to do
/// than to wait for that.
fn row(db: &Db<'_>, backend: &str, cause: &str) -> Fallible<Option<(Moment, i64)>> {
    const ROW: &str =
        "SELECT s.try_at, s.released FROM holds AS s WHERE s.backend = ?1 AND s.cause = ?2";
    const MAKE: &str = "INSERT INTO holds VALUES (?1, ?2, 0, 0) ON CONFLICT DO NOTHING";
    const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM holds WHERE backend = ?1 AND cause = ?2)";
    // What is there stays; to look first takes no lock.
    if !db.tells(IS_THERE, values![backend, cause])? {
        db.execute(MAKE, values![backend, cause])?;
    }
    let hold = if db.sql.waits() { Hold::Wait } else { Hold::Skip };
    db.first(ROW, values![backend, cause], hold, |columns| Ok((columns.moment()?, columns.take()?)))
}
