//! One connection to PostgreSQL, on which a thread waits for each answer: a transaction, its statements, and how long all may take.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Decode, Executor, Row as _, TypeInfo, ValueRef,
};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_stream::StreamExt;

use super::super::sql::{Columns, Db, Fallible, Hold, Row, Sql, SqlError, Value};
use super::super::{New, Timestamp};
use super::listening::{CHANNEL, Listening};
use crate::lock::lock;
use crate::machine::Moment;
use crate::store::CLOCKS;

/// How long it is waited for an answer. Behind it the connection is given up, and nobody knows whether the statement was done.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// For how long nobody tries to connect after that failed: who asks meanwhile is told the same at once.
const REST: Duration = Duration::from_millis(500);

/// What begins each transaction. The bounds are the server's, for a host that is no longer heard of: its locks end with its transaction.
/// A server that may forget what it has committed would forget tickets. All of it holds for this transaction alone, as a pooler may give
/// the next one another connection.
const BEGIN: &str = "SET LOCAL search_path = ticket_host; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '9s'; \
    SET LOCAL idle_in_transaction_session_timeout = '15s'; \
    SELECT set_config('synchronous_commit', 'on', true) \
    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write'); ";
/// What tells this server process and these tables from others: those of a standby that took over, or of a backup that was put back.
const SERVER: &str = "concat_ws('/', extract(epoch FROM pg_postmaster_start_time()), pg_relation_filenode('ticket_host.clock'), \
    (SELECT oid FROM pg_database WHERE datname = current_database()))";
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Where the database is, and whether it was there a moment ago.
pub(super) struct Reach {
    options: PgConnectOptions,
    /// What people call it: without its password.
    pub name: String,
    is_pooled: bool,
    /// By what this host tells its own notifications from those of others.
    pub own: String,
    failed: Mutex<Option<(Instant, String)>>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reach").field(&self.name).finish()
    }
}

impl Reach {
    pub(super) fn new(options: PgConnectOptions, is_pooled: bool) -> Reach {
        let place = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        let name = format!("postgres://{place}/{database}");
        // A pooler refuses parameters that it doesn't know.
        let options = options.application_name("ticket-host").extra_float_digits(None);
        let options = options.disable_statement_logging();
        let own = format!("{:016x}", fastrand::u64(..));
        Reach { options, name, is_pooled, own, failed: Mutex::default() }
    }

    /// Hears from other hosts, if that is possible.
    pub(super) fn listen(&self) -> Option<Listening> {
        (!self.is_pooled).then(|| Listening::start(self.options.clone(), self.own.clone()))
    }

    /// # Errors
    /// There is no connection, or there was none a moment ago.
    pub(super) fn connect(&self, runtime: &Runtime) -> Fallible<Session> {
        if let Some((at, said)) = &*lock(&self.failed)
            && at.elapsed() < REST
        {
            return Err(SqlError::Down(said.clone()));
        }
        let connected = runtime.wait(CONNECT, self.options.connect());
        let mut failed = lock(&self.failed);
        match connected {
            Ok(connection) => {
                *failed = None;
                Ok(Session {
                    connection: RefCell::new(connection),
                    runtime: runtime.clone(),
                    is_broken: Cell::new(false),
                    is_pooled: self.is_pooled,
                    translated: RefCell::default(),
                })
            }
            Err(cause) => {
                *failed = Some((Instant::now(), cause.to_string()));
                Err(cause)
            }
        }
    }
}

/// On what a thread waits for the network.
#[derive(Clone)]
pub(super) enum Runtime {
    /// The thread's own.
    Own(Arc<tokio::runtime::Runtime>),
    /// The host's. The thread is not one of those that it runs its tasks on.
    Host(Handle),
}

impl Runtime {
    /// One for this thread alone.
    pub(super) fn of_thread() -> std::io::Result<Runtime> {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
        built.map(|runtime| Runtime::Own(Arc::new(runtime)))
    }

    /// Waits for an answer, for a while.
    fn wait<T>(
        &self,
        most: Duration,
        answer: impl Future<Output = sqlx::Result<T>>,
    ) -> Fallible<T> {
        let within = async { timeout(most, answer).await };
        let answered = match self {
            Runtime::Own(runtime) => runtime.block_on(within),
            Runtime::Host(runtime) => runtime.block_on(within),
        };
        match answered {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(SqlError::Silent(most.as_secs())),
        }
    }
}

/// A connection.
pub(super) struct Session {
    connection: RefCell<PgConnection>,
    runtime: Runtime,
    /// Whether an answer did not come: what comes now may be that of another statement.
    is_broken: Cell<bool>,
    /// Whether the next transaction may get another connection of the server's: then no statement has a name there.
    is_pooled: bool,
    /// The statements as PostgreSQL writes them, with each [`Hold`].
    translated: RefCell<[HashMap<String, Arc<str>>; 3]>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("is_broken", &self.is_broken).finish_non_exhaustive()
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// Only to read, all as of one moment.
    Read,
    /// To write several things, of which those are left out for which another host must be waited for.
    WriteMany,
    WriteOne,
}

/// Does something in a transaction on a connection, which is made if there is none, or if it has ended meanwhile.
///
/// # Errors
/// Nothing was done; or, if the answer to the commit didn't come, nobody knows whether all was done or nothing.
pub(super) fn transaction(
    place: &mut Option<Session>,
    reach: &Reach,
    runtime: &Runtime,
    asking: Asking,
    does: &mut dyn FnMut(&Db<'_>) -> Fallible<()>,
) -> Fallible<()> {
    let begun = match place.take() {
        None => None,
        // A connection that was idle may have ended since: that is no failure yet.
        Some(session) => session.begin(asking).ok().map(|known| (session, known)),
    };
    let (session, known) = match begun {
        Some(begun) => begun,
        None => {
            let session = reach.connect(runtime)?;
            let known = session.begin(asking)?;
            (session, known)
        }
    };
    let done = session.within(&known, reach, asking, does);
    // Any other failure may be about what the connection remembers, such as a statement's plan for tables that have changed.
    let may_stay = done.as_ref().err().is_none_or(super::is_of_others);
    if done.is_ok() || may_stay && session.rolled_back() {
        *place = Some(session);
    }
    done
}

impl Session {
    /// Begins a transaction; the moment at which it is done, and since when the store knows all.
    fn begin(&self, asking: Asking) -> Fallible<Known> {
        let begin = match asking {
            Asking::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Asking::WriteMany | Asking::WriteOne => "BEGIN",
        };
        let look = format!(
            "{begin}; {BEGIN} SELECT {NOW}, now, opening, since, pruned, server = {SERVER} FROM clock"
        );
        let began = Instant::now();
        // In one go: each is a way through the network.
        let row = self.last_row(look)?;
        let number = |column| -> Fallible<i64> { Ok(row.try_get(column)?) };
        let at = number(0)?;
        let known = Known {
            began,
            at: Timestamp::from_millis(at),
            now: Moment::from_millis(at.max(number(1)?)),
            opening: number(2)?,
            since: Timestamp::from_millis(number(3)?),
            pruned: Timestamp::from_millis(number(4)?),
        };
        if row.try_get(5)? || asking == Asking::Read {
            return Ok(known);
        }
        // Another server process than the one that was known, or other tables: what was certain in those is certain no more.
        let again = format!(
            "UPDATE clock SET opening = opening + 1, server = {SERVER}, since = {NOW} WHERE server <> {SERVER}; \
             SELECT opening, since FROM clock"
        );
        let row = self.last_row(again)?;
        let since = Timestamp::from_millis(row.try_get(1)?);
        Ok(Known { opening: row.try_get(0)?, since, ..known })
    }

    fn within(
        &self,
        known: &Known,
        reach: &Reach,
        asking: Asking,
        does: &mut dyn FnMut(&Db<'_>) -> Fallible<()>,
    ) -> Fallible<()> {
        let statements = Statements { session: self, known, asking, has_more: Cell::new(false) };
        let Known { began, now, at, opening, .. } = *known;
        let Reach { name, own, .. } = reach;
        does(&Db { sql: &statements, began, now, at, opening, name })?;
        match statements.has_more.get() {
            true => self.run(&format!("NOTIFY {CHANNEL}, '{own}'; COMMIT")),
            false => self.run("COMMIT"),
        }
    }

    /// Whether what was begun is undone, and the connection can be used again.
    fn rolled_back(&self) -> bool {
        !self.is_broken.get() && self.run("ROLLBACK").is_ok()
    }

    /// The last row that statements without values give.
    fn last_row(&self, sql: String) -> Fallible<PgRow> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        let mut rows = self.ask(async |connection| connection.fetch_all(sql).await)?;
        rows.pop().ok_or(SqlError::Gone)
    }

    /// Does statements that have no values.
    pub(super) fn run(&self, sql: &str) -> Fallible<()> {
        let sql = AssertSqlSafe(sql.to_owned());
        self.ask(async |connection| connection.execute(sqlx::raw_sql(sql)).await.map(drop))
    }

    /// What a query without values gives for one number; None if there is no row.
    pub(super) fn number(&self, sql: &str) -> Fallible<Option<i64>> {
        let sql = AssertSqlSafe(sql.to_owned());
        let row =
            self.ask(async |connection| connection.fetch_optional(sqlx::raw_sql(sql)).await)?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    fn ask<T>(&self, asks: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Fallible<T> {
        let mut connection = self.connection.borrow_mut();
        self.heard(self.runtime.wait(ANSWER, asks(&mut connection)))
    }

    /// Notes whether the connection can still be used after an answer.
    fn heard<T>(&self, answer: Fallible<T>) -> Fallible<T> {
        match &answer {
            Ok(_) | Err(SqlError::Postgres(sqlx::Error::Database(_))) => {}
            Err(_) => self.is_broken.set(true),
        }
        answer
    }

    /// A statement as PostgreSQL writes it.
    fn translated(&self, sql: &str, hold: Hold) -> Arc<str> {
        let end = match hold {
            Hold::No => "",
            Hold::Wait => " FOR UPDATE OF s",
            Hold::Skip => " FOR UPDATE OF s SKIP LOCKED",
        };
        let known = &mut self.translated.borrow_mut()[hold as usize];
        if let Some(translated) = known.get(sql) {
            return Arc::clone(translated);
        }
        let translated: Arc<str> = format!("{}{end}", translate(sql)).into();
        known.insert(sql.to_owned(), Arc::clone(&translated));
        translated
    }
}

/// Writes values as PostgreSQL does, and leaves out which index SQLite is to take: PostgreSQL finds one by itself.
fn translate(sql: &str) -> String {
    let mut words = sql.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "INDEXED" {
            // BY and the index.
            words.nth(1);
        } else {
            kept.push(word);
        }
    }
    kept.join(" ").replace('?', "$")
}

/// What a transaction knows of its store.
struct Known {
    began: Instant,
    now: Moment,
    at: Timestamp,
    opening: i64,
    /// Since when (of day) this server process has these tables.
    since: Timestamp,
    /// What was last asked for before may have been removed.
    pruned: Timestamp,
}

struct Statements<'a> {
    session: &'a Session,
    known: &'a Known,
    asking: Asking,
    has_more: Cell<bool>,
}

impl Statements<'_> {
    fn query_of(
        &self,
        sql: &str,
        values: &[Value<'_>],
        hold: Hold,
    ) -> Fallible<sqlx::query::Query<'static, sqlx::Postgres, PgArguments>> {
        let mut arguments = PgArguments::default();
        for value in values {
            match *value {
                Value::Integer(number) => arguments.add(number),
                Value::Text(text) => arguments.add(text),
                Value::Truth(truth) => arguments.add(truth),
                Value::NoInteger => arguments.add(None::<i64>),
                Value::Nothing => arguments.add(None::<String>),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        let sql = AssertSqlSafe(self.session.translated(sql, hold));
        Ok(sqlx::query_with(sql, arguments).persistent(!self.session.is_pooled))
    }
}

impl Sql for Statements<'_> {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Fallible<usize> {
        let query = self.query_of(sql, values, Hold::No)?;
        let done = self.session.ask(async |connection| connection.execute(query).await)?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }

    fn insert(&self, sql: &str, values: &[Value<'_>]) -> Fallible<i64> {
        let query = self.query_of(&format!("{sql} RETURNING id"), values, Hold::No)?;
        let row = self.session.ask(async |connection| connection.fetch_one(query).await)?;
        Ok(row.try_get(0)?)
    }

    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        hold: Hold,
        each: &mut dyn FnMut(&dyn Row) -> Fallible<bool>,
    ) -> Fallible<()> {
        let query = self.query_of(sql, values, hold)?;
        let mut connection = self.session.connection.borrow_mut();
        // One by one: together they may be large.
        let mut rows = connection.fetch(query);
        loop {
            let next = async { rows.next().await.transpose() };
            let row = self.session.heard(self.session.runtime.wait(ANSWER, next))?;
            let goes_on = match row {
                Some(row) => each(&row)?,
                None => false,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn hold(&self, key: &str) -> Fallible<()> {
        if self.waits() {
            const WAIT: &str = "SELECT pg_advisory_xact_lock(hashtextextended(?1, 0)) IS NULL";
            return self.query(WAIT, &[key.into()], Hold::No, &mut |_| Ok(true));
        }
        const TRY: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended(?1, 0))";
        let mut is_held = false;
        self.query(TRY, &[key.into()], Hold::No, &mut |row| {
            is_held = row.value(0)? == Value::Truth(true);
            Ok(true)
        })?;
        if is_held { Ok(()) } else { Err(SqlError::Elsewhere) }
    }

    fn waits(&self) -> bool {
        self.asking == Asking::WriteOne
    }

    fn kind_of_failure(&self) -> &'static str {
        // It begins with that. As JSON it could not be read where it holds what PostgreSQL can't, such as a NUL.
        r#"substring(s.failure FROM '^{"kind":"([a-z]*)"')"#
    }

    /// PostgreSQL says when its disk is full.
    fn room(&self) -> Fallible<i64> {
        Ok(i64::MAX)
    }

    fn takes(&self, _: usize) -> Fallible<()> {
        Ok(())
    }

    fn numbers_go_on(&self, table: &str) -> Fallible<()> {
        const NUMBERED: [&str; 5] = ["incidents", "tickets", "steps", "updates", "audit"];
        if !NUMBERED.contains(&table) {
            return Ok(());
        }
        let sql =
            format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}");
        self.query(&sql, &[], Hold::No, &mut |_| Ok(true))
    }

    fn has_more(&self) {
        self.has_more.set(true);
    }

    fn knows(&self, new: &New) -> Fallible<bool> {
        let knows = |known_since: Timestamp| {
            let known = known_since + CLOCKS..=self.known.at + CLOCKS;
            new.began_at.is_some_and(|began| known.contains(&began))
        };
        if !knows(self.known_since()) {
            return Ok(false);
        }
        // What was removed since this transaction began was not found by it. It is told here by then.
        const KNOWN: &str = "SELECT since, pruned FROM clock";
        let mut known_since = Timestamp::END;
        self.query(KNOWN, &[], Hold::No, &mut |row| {
            let mut columns = Columns::of(row);
            known_since = columns.time()?.max(columns.time()?);
            Ok(true)
        })?;
        Ok(knows(known_since))
    }

    fn known_since(&self) -> Timestamp {
        self.known.since.max(self.known.pruned)
    }

    /// Each takes some ways through the network.
    fn at_once(&self) -> i64 {
        100
    }

    fn forgets(&self, unseen: Duration) -> Fallible<()> {
        const PRUNED: &str = "UPDATE clock SET pruned = ?1 WHERE pruned < ?1";
        self.execute(PRUNED, &[(self.known.at - unseen).millis().into()]).map(drop)
    }
}

impl Row for PgRow {
    fn value(&self, column: usize) -> Fallible<Value<'_>> {
        let unreadable = |cause| SqlError::Unreadable { column, cause };
        let value = self.try_get_raw(column)?;
        if value.is_null() {
            return Ok(Value::Nothing);
        }
        let kind = value.type_info().name().to_owned();
        match kind.as_str() {
            "INT8" => i64::decode(value).map(Value::Integer),
            "BOOL" => bool::decode(value).map(Value::Truth),
            "TEXT" => <&str>::decode(value).map(Value::Text),
            _ => Err(format!("it is a {kind}").into()),
        }
        .map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_written_as_postgresql_writes_it() {
        for (sql, expected) in [
            ("SELECT a FROM b WHERE c = ?1 AND d = ?2", "SELECT a FROM b WHERE c = $1 AND d = $2"),
            (
                "SELECT a FROM b AS x INDEXED BY y WHERE c = ?12",
                "SELECT a FROM b AS x WHERE c = $12",
            ),
            ("SELECT a FROM b INDEXED BY y", "SELECT a FROM b"),
        ] {
            assert_eq!(translate(sql), expected);
        }
    }
}
