//! PostgreSQL's tables, and how those of an earlier version come to this one while hosts of both work on them.

use super::super::sql::Fallible;
use super::session::Session;
use super::{broken, describe};
use crate::store::Result;

/// What brings the tables from each version to the next. A step that a release has is never edited. Each names the oldest version whose hosts can
/// go on to work on the tables after it, so that hosts are brought to a new version one after the other.
const STEPS: &[(i64, &str)] = &[
    (1, include_str!("../migrations/postgres/0001_tickets.sql")),
    (1, include_str!("../migrations/postgres/0002_life.sql")),
    (1, include_str!("../migrations/postgres/0003_back.sql")),
    (1, include_str!("../migrations/postgres/0004_pasted.sql")),
    (1, include_str!("../migrations/postgres/0005_audit.sql")),
    (1, include_str!("../migrations/postgres/0006_requests.sql")),
];

/// The version of the tables that this program works on.
pub(super) const NEWEST: i64 = STEPS.len() as i64;

/// Which version the tables are of, and the oldest one whose hosts can work on them.
fn version(session: &Session) -> Fallible<Option<(i64, i64)>> {
    // From the catalog itself: to_regclass() may go on to say that there is none, since it remembers.
    const THERE: &str = "SELECT 1::bigint FROM pg_catalog.pg_tables \
        WHERE schemaname = 'ticket_host' AND tablename = 'version'";
    if session.number(THERE)?.is_none() {
        return Ok(None);
    }
    let version = session.number("SELECT version FROM ticket_host.version")?.unwrap_or(0);
    let oldest = session.number("SELECT readable_by FROM ticket_host.version")?.unwrap_or(0);
    Ok(Some((version, oldest)))
}

/// Makes the tables, or brings them to this version, if `migrates`; else looks whether this version can work on them.
pub(super) fn prepare(session: &Session, name: &str, migrates: bool) -> Result<()> {
    let failed = |cause| describe(name, cause);
    let mut found = version(session).map_err(failed)?;
    if migrates && found.is_none_or(|(version, _)| version < NEWEST) {
        migrate(session).map_err(failed)?;
        found = version(session).map_err(failed)?;
    }
    match found {
        Some((version, oldest)) if version >= NEWEST && oldest <= NEWEST => Ok(()),
        Some((version, _)) if version > NEWEST => {
            let help = "was it brought there by a newer ticket-host? run that one".to_owned();
            Err(broken(name, "has a form that this version doesn't know", help, None))
        }
        _ => {
            let help = "start the service once, which makes them, or have a database administrator run what \
                        `ticket-host queue migrate --print` prints"
                .to_owned();
            Err(broken(name, "has no tables of this version", help, None))
        }
    }
}

/// Does what is missing, in one transaction, and one host after the other.
fn migrate(session: &Session) -> Fallible<()> {
    // Any number that nobody else is likely to lock.
    session.run(
        "BEGIN; SET LOCAL client_min_messages = warning; SELECT pg_advisory_xact_lock(7460523391176583)",
    )?;
    let done = version(session).and_then(|found| {
        session.run(&steps(found.map_or(0, |(version, _)| version)))?;
        session.run("COMMIT")
    });
    if done.is_err() {
        // An error means that the connection has ended, and with it the transaction.
        let _ = session.run("ROLLBACK");
    }
    done
}

/// SQL that brings tables of a version to the newest one.
fn steps(from: i64) -> String {
    let missing = STEPS.iter().zip(1..).filter(|(_, version)| *version > from);
    let mut sql = String::new();
    for ((readable_by, step), version) in missing {
        if version == 1 {
            sql.push_str(
                "CREATE SCHEMA IF NOT EXISTS ticket_host;\nSET LOCAL search_path = ticket_host;\n\
                 CREATE TABLE version (version BIGINT NOT NULL, readable_by BIGINT NOT NULL);\n\
                 INSERT INTO version VALUES (0, 0);\n",
            );
        } else {
            sql.push_str("SET LOCAL search_path = ticket_host;\n");
        }
        sql.push_str(step);
        sql.push_str(&format!(
            "UPDATE version SET version = {version}, readable_by = {readable_by};\n"
        ));
    }
    sql
}

/// What a database administrator runs on tables of that version (0: there are none), so that the service's own user need not be let
/// make tables.
fn script_from(version: i64) -> String {
    if version >= NEWEST {
        return format!("-- The tables are of version {version} already: nothing is to be done.\n");
    }
    format!(
        "-- The tables of ticket-host {}, version {NEWEST}. Run it as their owner, then let the service's user work on them:\n\
         --   GRANT USAGE ON SCHEMA ticket_host TO \"ticket-host\";\n\
         --   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ticket_host TO \"ticket-host\";\n\
         BEGIN;\n{}COMMIT;\n",
        env!("CARGO_PKG_VERSION"),
        steps(version)
    )
}

/// SQL that brings the tables that there are to this version.
pub(super) fn missing(session: &Session, name: &str) -> Result<String> {
    let found = version(session).map_err(|cause| describe(name, cause))?;
    Ok(script_from(found.map_or(0, |(version, _)| version)))
}
