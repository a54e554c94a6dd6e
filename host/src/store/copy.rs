//! Copies a store to another one, whichever engines these are: SQLite's file to PostgreSQL and back.
//!
//! Invariant: no moment is told by another store's time. What was due in an hour is due in an hour; and nothing is certain in the copy.

use std::collections::BTreeMap;

use super::sql::{Db, Fallible, Hold, Value};
use super::{Result, Store, broken};
use crate::machine::Moment;

/// Rows of which the numbers lie within so many are copied at once.
const AT_ONCE: i64 = 100;

/// What a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Number,
    /// A moment of the store's own time; 0 is now in each.
    Moment,
    Text,
    Truth,
    /// Which opening of the store something is certain in: none of the other store's.
    Opening,
}

use Column::{Moment as Time, Number, Opening, Text, Truth};

/// A table, in the order in which the tables refer to each other. Its first column numbers its rows, or those that they belong to.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Column)],
}

const TABLES: &[Table] = &[
    Table {
        name: "incidents",
        columns: &[
            ("id", Number),
            ("source", Text),
            ("number", Text),
            ("key", Text),
            ("began", Text),
            ("body", Text),
            ("wanted", Truth),
            ("tell", Number),
            ("followed", Number),
            ("ended", Time),
            ("back", Text),
        ],
    },
    Table {
        name: "tickets",
        columns: &[
            ("id", Number),
            ("backend", Text),
            ("key", Text),
            ("ticket", Text),
            ("made", Truth),
            ("told", Text),
            ("told_at", Time),
            ("turned_at", Time),
            ("status", Text),
            ("status_at", Time),
            ("look", Time),
            ("former", Number),
            ("known_by", Number),
            ("remote", Text),
            ("pasted", Truth),
        ],
    },
    Table {
        name: "assignments",
        columns: &[("incident", Number), ("slot", Text), ("ticket", Number), ("url", Text)],
    },
    Table {
        name: "steps",
        columns: &[
            ("id", Number),
            ("ticket", Number),
            ("incident", Number),
            ("backend", Text),
            ("level", Number),
            ("state", Text),
            ("doubt", Number),
            ("certain", Opening),
            ("settled", Time),
            ("due", Time),
            ("expires", Time),
            ("lease", Number),
            ("tries", Number),
            ("tried_before", Number),
            ("settle", Number),
            ("accepted", Time),
            ("seen", Time),
            ("accepted_at", Number),
            ("changed_at", Number),
            ("failure", Text),
        ],
    },
    Table {
        name: "attempts",
        columns: &[
            ("step", Number),
            ("number", Number),
            ("started_at", Number),
            ("ended_at", Number),
            ("outcome", Text),
            ("failure", Text),
            ("requests", Text),
        ],
    },
    Table {
        name: "updates",
        columns: &[
            ("id", Number),
            ("ticket", Number),
            ("incident", Number),
            ("backend", Text),
            ("level", Number),
            ("state", Text),
            ("doubt", Number),
            ("certain", Opening),
            ("settled", Time),
            ("due", Time),
            ("expires", Time),
            ("lease", Number),
            ("tries", Number),
            ("tried_before", Number),
            ("settle", Number),
            ("accepted", Time),
            ("seen", Time),
            ("accepted_at", Number),
            ("changed_at", Number),
            ("failure", Text),
            ("action", Text),
            ("mark", Text),
            ("body", Text),
            ("told", Text),
            ("diff", Text),
            ("said", Text),
            ("warnings", Text),
        ],
    },
    Table {
        name: "audit",
        columns: &[
            ("id", Number),
            ("at", Number),
            ("who", Text),
            ("way", Text),
            ("what", Text),
            ("ticket", Number),
            ("detail", Text),
        ],
    },
    Table {
        name: "update_attempts",
        columns: &[
            ("step", Number),
            ("number", Number),
            ("started_at", Number),
            ("ended_at", Number),
            ("outcome", Text),
            ("failure", Text),
            ("requests", Text),
        ],
    },
];

/// A value that belongs to no row any more.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Number(Option<i64>),
    Text(Option<String>),
    Truth(bool),
}

/// Some rows, as of the moment at which they were read.
#[derive(Debug, Clone)]
pub struct Rows {
    table: &'static Table,
    now: Moment,
    cells: Vec<Vec<Cell>>,
}

/// How much was copied.
#[derive(Debug, Default)]
pub struct Copied {
    pub incidents: usize,
    pub tickets: usize,
}

/// Copies everything to an empty store. Nobody may work on either.
///
/// # Errors
/// A store fails, or there is something in the other one. What was copied by then stays there.
pub async fn copy(from: &dyn Store, to: &dyn Store) -> Result<Copied> {
    if !to.is_empty().await? {
        let help = "name an empty database or a file that isn't there".to_owned();
        return Err(broken(to.called(), "has incidents already", help, None));
    }
    let mut copied = BTreeMap::new();
    for table in TABLES {
        let mut after = 0;
        while let Some((rows, next)) = from.export(table, after).await? {
            *copied.entry(table.name).or_insert(0) += rows.cells.len();
            to.import(rows).await?;
            after = next;
        }
    }
    for name in from.notes().await? {
        if let Some(value) = from.note(&name).await? {
            to.set_note(&name, &value).await?;
        }
    }
    let of = |name| copied.get(name).copied().unwrap_or(0);
    Ok(Copied { incidents: of("incidents"), tickets: of("tickets") })
}

pub(super) fn is_empty(db: &Db<'_>) -> Fallible<bool> {
    Ok(!db.tells("SELECT EXISTS (SELECT 1 FROM incidents)", &[])?)
}

pub(super) fn notes(db: &Db<'_>) -> Fallible<Vec<String>> {
    db.all("SELECT name FROM notes ORDER BY name", &[], Hold::No, |columns| columns.take())
}

/// Some rows behind the number `after`, and the number behind which there may be more. None if there are no more.
pub(super) fn export(
    db: &Db<'_>,
    table: &'static Table,
    after: i64,
) -> Fallible<Option<(Rows, i64)>> {
    let (first, _) = table.columns[0];
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let next = format!("SELECT min({first}) FROM {} WHERE {first} > ?1", table.name);
    let next = db.first(&next, &[after.into()], Hold::No, |columns| columns.take())?;
    let Some(next): Option<i64> = next.flatten() else { return Ok(None) };
    let last = next.saturating_add(AT_ONCE - 1);
    let sql = format!(
        "SELECT {} FROM {} WHERE {first} >= ?1 AND {first} <= ?2 ORDER BY {first}",
        names.join(", "),
        table.name
    );
    let cells = db.all(&sql, &[next.into(), last.into()], Hold::No, |columns| {
        let cell = |(_, kind): &(&str, Column)| {
            Ok(match kind {
                Number | Time | Opening => Cell::Number(columns.take()?),
                Text => Cell::Text(columns.take()?),
                Truth => Cell::Truth(columns.take()?),
            })
        };
        table.columns.iter().map(cell).collect()
    })?;
    Ok(Some((Rows { table, now: db.now, cells }, last)))
}

/// Writes rows of another store.
pub(super) fn import(db: &Db<'_>, rows: &Rows) -> Fallible<()> {
    let Rows { table, now: then, cells } = rows;
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let places: Vec<String> = (1..=names.len()).map(|number| format!("?{number}")).collect();
    let sql =
        format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), places.join(", "));
    for row in cells {
        let values: Vec<Value<'_>> = table
            .columns
            .iter()
            .zip(row)
            .map(|((_, kind), cell)| match (kind, cell) {
                (Opening, _) => Value::Integer(0),
                (Time, Cell::Number(Some(millis))) => {
                    Value::Integer(translated(*millis, *then, db.now))
                }
                (_, Cell::Number(number)) => (*number).into(),
                (_, Cell::Truth(truth)) => (*truth).into(),
                (_, Cell::Text(text)) => text.as_deref().into(),
            })
            .collect();
        db.execute(&sql, &values)?;
    }
    db.sql.numbers_go_on(table.name)
}

/// A moment of a store whose time is `then`, in one whose time is `now`.
fn translated(millis: i64, then: Moment, now: Moment) -> i64 {
    if millis <= 0 {
        return millis;
    }
    // Never 0, which is now.
    (millis - then.millis()).saturating_add(now.millis()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_in_an_hour_is_due_in_an_hour_in_the_other_store() {
        let (then, now) = (Moment::from_millis(5000), Moment::from_millis(1_700_000_000_000));
        let hour = 3_600_000;
        for (millis, expected) in
            [(5000 + hour, 1_700_000_000_000 + hour), (1, 1_700_000_000_000 - 4999), (0, 0)]
        {
            assert_eq!(translated(millis, then, now), expected);
        }
        assert_eq!(translated(4999, then, Moment::from_millis(1)), 1, "as old as it can be there");
    }
}
