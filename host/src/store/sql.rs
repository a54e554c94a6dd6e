//! How the tables are asked, whichever engine keeps them: statements, their values, and the rows that they give.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::machine::{Moment, State, Step};
use crate::store::Timestamp;

/// Why a statement gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqlError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// The database, or the network before it, gave no answer in time.
    #[error("there was no answer within {0} s")]
    Silent(u64),
    /// There was no connection a moment ago, which isn't tried again for each who asks.
    #[error("{0}")]
    Down(String),
    #[error("the column {column} is not what was expected")]
    Unreadable {
        column: usize,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another host is at work on the same key. Nothing was changed yet.
    #[error("another host is at work on the same key")]
    Elsewhere,
    /// What was read a moment ago is not so any more, since another host changed it.
    #[error("another host changed the same row at the same time")]
    Raced,
    #[error("a row that was there a moment ago is gone")]
    Gone,
}

pub(super) type Fallible<T> = std::result::Result<T, SqlError>;

/// What a statement is given, or gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Integer(i64),
    Text(&'a str),
    Truth(bool),
    /// No number, in a statement.
    NoInteger,
    /// No text, in a statement; nothing at all, in a row.
    Nothing,
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Value::Truth(truth)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text)
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Value::NoInteger, Value::Integer)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Value::Nothing, Value::Text)
    }
}

/// The values of a statement, for its ?1, ?2 and so on.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::sql::Value::from($value)),*]
    };
}
pub(super) use values;

/// What can be taken from a row.
pub(super) trait Taken: Sized {
    /// None if the value is of another kind.
    fn taken(value: Value<'_>) -> Option<Self>;
}

impl Taken for i64 {
    fn taken(value: Value<'_>) -> Option<i64> {
        if let Value::Integer(number) = value { Some(number) } else { None }
    }
}

impl Taken for bool {
    /// SQLite has numbers for them.
    fn taken(value: Value<'_>) -> Option<bool> {
        match value {
            Value::Truth(truth) => Some(truth),
            Value::Integer(number) => Some(number != 0),
            _ => None,
        }
    }
}

impl Taken for String {
    fn taken(value: Value<'_>) -> Option<String> {
        if let Value::Text(text) = value { Some(text.to_owned()) } else { None }
    }
}

impl<T: Taken> Taken for Option<T> {
    fn taken(value: Value<'_>) -> Option<Option<T>> {
        if value == Value::Nothing { Some(None) } else { T::taken(value).map(Some) }
    }
}

/// One row that a query gave.
pub(super) trait Row {
    fn value(&self, column: usize) -> Fallible<Value<'_>>;
}

/// A row's columns, read one after the other in the order in which they were selected.
pub(super) struct Columns<'a> {
    row: &'a dyn Row,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a dyn Row) -> Columns<'a> {
        Columns { row, next: 0 }
    }

    pub(super) fn take<T: Taken>(&mut self) -> Fallible<T> {
        let value = self.value()?;
        T::taken(value).ok_or_else(|| self.unreadable(format!("it is {value:?}").into()))
    }

    pub(super) fn moment(&mut self) -> Fallible<Moment> {
        self.take().map(Moment::from_millis)
    }

    pub(super) fn time(&mut self) -> Fallible<Timestamp> {
        self.take().map(Timestamp::from_millis)
    }

    pub(super) fn state(&mut self) -> Fallible<State> {
        let Value::Text(name) = self.value()? else {
            return Err(self.unreadable("it is no text".into()));
        };
        State::of(name).ok_or_else(|| self.unreadable(format!("no state is {name:?}").into()))
    }

    /// What is kept as JSON, if there is any.
    pub(super) fn parsed<T: DeserializeOwned>(&mut self) -> Fallible<Option<T>> {
        let json = match self.value()? {
            Value::Nothing => return Ok(None),
            Value::Text(json) => json,
            _ => return Err(self.unreadable("it is no text".into())),
        };
        serde_json::from_str(json).map(Some).map_err(|cause| self.unreadable(Box::new(cause)))
    }

    /// A word that a type of serde's has.
    pub(super) fn word<T: DeserializeOwned>(&mut self) -> Fallible<T> {
        let Value::Text(word) = self.value()? else {
            return Err(self.unreadable("it is no text".into()));
        };
        serde_json::from_value(word.into()).map_err(|cause| self.unreadable(Box::new(cause)))
    }

    /// As [`Columns::word`], if there is one.
    pub(super) fn word_if_any<T: DeserializeOwned>(&mut self) -> Fallible<Option<T>> {
        if self.row.value(self.next)? == Value::Nothing {
            self.next += 1;
            return Ok(None);
        }
        self.word().map(Some)
    }

    fn value(&mut self) -> Fallible<Value<'a>> {
        self.next += 1;
        self.row.value(self.next - 1)
    }

    /// The column that was taken last is not what was expected there.
    fn unreadable(&self, cause: Box<dyn std::error::Error + Send + Sync>) -> SqlError {
        SqlError::Unreadable { column: self.next - 1, cause }
    }
}

/// What becomes of the steps (as s) that a query gives, where several hosts share the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// They are only looked at.
    No,
    /// They are this transaction's until it ends; who else has one of them is waited for.
    Wait,
    /// As [`Hold::Wait`], but for those that somebody else has.
    Skip,
}

/// Asks an engine. All are given statements with the values ?1, ?2 and so on.
pub(super) trait Sql {
    /// How many rows the statement changed.
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Fallible<usize>;

    /// The id of the row that an INSERT makes.
    fn insert(&self, sql: &str, values: &[Value<'_>]) -> Fallible<i64>;

    /// Gives each row, until one is the last that is wanted.
    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        hold: Hold,
        each: &mut dyn FnMut(&dyn Row) -> Fallible<bool>,
    ) -> Fallible<()>;

    /// Keeps other hosts from accepting incidents of that key, until the transaction ends.
    ///
    /// # Errors
    /// [`SqlError::Elsewhere`]: another one does so now, and this transaction has more to do than to wait for that.
    fn hold(&self, key: &str) -> Fallible<()>;

    /// Whether this transaction may wait for other hosts, since it has nothing else to do.
    fn waits(&self) -> bool;

    /// SQL for the kind in the failure (JSON) of a step (as s).
    fn kind_of_failure(&self) -> &'static str;

    /// How many bytes of new incidents there is room for. It is negative when the part of the store is in use that is kept
    /// for what becomes of the incidents in it.
    fn room(&self) -> Fallible<i64>;

    /// Notes that an incident of so many bytes comes in.
    fn takes(&self, bytes: usize) -> Fallible<()>;

    /// How many rows are changed or removed by one write at most, so that those behind it don't wait long.
    fn at_once(&self) -> i64;

    /// Whether the store knows of each ticket that this installation can have made for that incident, for which it has just found none.
    fn knows(&self, new: &super::New) -> Fallible<bool>;

    /// Since when (of day) it knows of each ticket, as far as this isn't known of the host who has it for himself.
    fn known_since(&self) -> Timestamp;

    /// Rows of that table that are made from now on have larger numbers than those that are there.
    fn numbers_go_on(&self, table: &str) -> Fallible<()>;

    /// Notes that there is more to claim, which other hosts are told when it is committed.
    fn has_more(&self);

    /// Notes that incidents for which nobody has asked for that time are about to be removed.
    fn forgets(&self, unseen: Duration) -> Fallible<()>;
}

/// What is done in one transaction, at one moment.
pub(super) struct Db<'a> {
    pub sql: &'a dyn Sql,
    /// When it began, before it was looked which moment it is.
    pub began: Instant,
    /// The moment at which it is done.
    pub now: Moment,
    /// The same moment for people.
    pub at: Timestamp,
    /// How often the store was opened.
    pub opening: i64,
    /// What people call the store.
    pub name: &'a str,
}

impl Db<'_> {
    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Fallible<usize> {
        self.sql.execute(sql, values)
    }

    pub(super) fn insert(&self, sql: &str, values: &[Value<'_>]) -> Fallible<i64> {
        self.sql.insert(sql, values)
    }

    /// Inserts a row by the first statement, which does nothing where there is one, or changes that by the other. Both have the same
    /// values. Not by one statement: SQLite copies each page before such a statement changes it.
    pub(super) fn put(&self, insert: &str, instead: &str, values: &[Value<'_>]) -> Fallible<()> {
        if self.execute(insert, values)? == 0 {
            self.execute(instead, values)?;
        }
        Ok(())
    }

    /// What a query for one truth tells.
    pub(super) fn tells(&self, sql: &str, values: &[Value<'_>]) -> Fallible<bool> {
        let told = self.first(sql, values, Hold::No, |columns| columns.take())?;
        told.ok_or(SqlError::Gone)
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        hold: Hold,
        mut read: impl FnMut(&mut Columns<'_>) -> Fallible<T>,
    ) -> Fallible<Option<T>> {
        let mut first = None;
        self.sql.query(sql, values, hold, &mut |row| {
            first = Some(read(&mut Columns::of(row))?);
            Ok(false)
        })?;
        Ok(first)
    }

    /// All rows.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        hold: Hold,
        mut read: impl FnMut(&mut Columns<'_>) -> Fallible<T>,
    ) -> Fallible<Vec<T>> {
        self.all_while(sql, values, hold, |columns| Ok((read(columns)?, true)))
    }

    /// The rows up to the first after which no more are wanted.
    pub(super) fn all_while<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        hold: Hold,
        mut read: impl FnMut(&mut Columns<'_>) -> Fallible<(T, bool)>,
    ) -> Fallible<Vec<T>> {
        let mut all = Vec::new();
        self.sql.query(sql, values, hold, &mut |row| {
            let (read, goes_on) = read(&mut Columns::of(row))?;
            all.push(read);
            Ok(goes_on)
        })?;
        Ok(all)
    }

    /// What is kept of whether it is certain that there is no ticket.
    pub(super) fn certain(&self, step: &Step) -> i64 {
        if step.certain { self.opening } else { 0 }
    }
}
