//! Who did what: rows that are added, with the change itself where it is one of the tables', and never changed.

use serde::Serialize;

use super::Timestamp;
use super::sql::{Columns, Db, Fallible, Hold, Value, values};
use crate::terminal::cut;

/// Rows that are kept.
const KEPT: i64 = 100_000;
/// Bytes of who did something.
const LONGEST_NAME: usize = 200;
/// Bytes of what else there is to say.
const LONGEST_DETAIL: usize = 8 << 10;

/// Who does something, and by which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The name of a token or of a user of the machine.
    pub who: String,
    pub way: Way,
}

/// The way by which somebody does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    Cli,
    Api,
    Console,
    /// The service read a config that somebody had changed.
    Config,
}

impl Way {
    pub const fn name(self) -> &'static str {
        match self {
            Way::Cli => "cli",
            Way::Api => "api",
            Way::Console => "console",
            Way::Config => "config",
        }
    }
}

/// Something that somebody did.
#[derive(Debug, Clone)]
pub struct Deed {
    pub by: By,
    /// In a word: `retry`.
    pub what: &'static str,
    /// The number of the ticket that it was done to.
    pub ticket: Option<i64>,
    /// What else there is to say. No secret.
    pub detail: String,
}

/// What was kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: i64,
    pub at: Timestamp,
    pub who: String,
    pub way: String,
    pub what: String,
    pub ticket: Option<i64>,
    pub detail: String,
}

/// Which entries are read: the newest first.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// Of this ticket alone.
    pub ticket: Option<i64>,
    /// What was done by this way alone.
    pub way: Option<Way>,
    /// Only those before this number.
    pub before: Option<i64>,
    pub most: i64,
}

/// Keeps an entry, and of older ones as many as are kept.
pub(super) fn add(db: &Db<'_>, deed: &Deed) -> Fallible<()> {
    const ADD: &str =
        "INSERT INTO audit (at, who, way, what, ticket, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    // PostgreSQL takes no NUL.
    let plain = |text: &str, most| cut(&text.replace('\0', ""), most);
    let (who, detail) = (plain(&deed.by.who, LONGEST_NAME), plain(&deed.detail, LONGEST_DETAIL));
    let values = values![db.at.millis(), &who, deed.by.way.name(), deed.what, deed.ticket, &detail];
    let id = db.insert(ADD, values)?;
    db.execute("DELETE FROM audit WHERE id <= ?1", values![id - KEPT]).map(drop)
}

/// Keeps that somebody did something to a ticket, which was so before.
pub(super) fn done(
    db: &Db<'_>,
    by: &By,
    what: &'static str,
    ticket: i64,
    detail: &str,
) -> Fallible<()> {
    let detail = detail.to_owned();
    add(db, &Deed { by: by.clone(), what, ticket: Some(ticket), detail })
}

pub(super) fn entries(db: &Db<'_>, which: &Entries) -> Fallible<Vec<Entry>> {
    let mut sql =
        "SELECT id, at, who, way, what, ticket, detail FROM audit WHERE id < ?1".to_owned();
    let mut values: Vec<Value<'_>> =
        vec![which.before.unwrap_or(i64::MAX).into(), which.most.into()];
    let mut narrow = |column: &str, value| {
        values.push(value);
        sql.push_str(&format!(" AND {column} = ?{}", values.len()));
    };
    which.ticket.iter().for_each(|ticket| narrow("ticket", (*ticket).into()));
    which.way.iter().for_each(|way| narrow("way", way.name().into()));
    sql.push_str(" ORDER BY id DESC LIMIT ?2");
    let entry = |columns: &mut Columns<'_>| {
        Ok(Entry {
            id: columns.take()?,
            at: columns.time()?,
            who: columns.take()?,
            way: columns.take()?,
            what: columns.take()?,
            ticket: columns.take()?,
            detail: columns.take()?,
        })
    };
    db.all(&sql, &values, Hold::No, entry)
}
