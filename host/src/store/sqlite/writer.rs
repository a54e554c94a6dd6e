//! The one thread that writes to a store: it takes what waits, does it in one transaction, and answers when that is on disk.

use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, Params};
use tokio::sync::{mpsc, oneshot};

use super::lock::{Files, Lock};
use super::rows::Clock;
use super::{Undone, busy, describe, gone, is_busy};
use crate::lock::lock;
use crate::machine::{Moment, Step};
use crate::store::{Result, StoreError, Timestamp};

/// At most so many writes share a commit.
const GROUP: usize = 256;
/// At most so many writes wait for their turn; who comes with another one waits until there is room.
const WAITING: usize = 1024;
/// The store's own time is written down when it has gone on for so long, in milliseconds.
const KEPT_EVERY: i64 = 1000;
/// One part in so many of the store takes no new incident: it is kept for what becomes of those in it.
const RESERVE: i64 = 10;

/// For how long a commit waits for more writes, where the one before had several, and for how many it doesn't.
const COMPANY: Duration = Duration::from_micros(100);
const ENOUGH: usize = 16;
/// For how long a write that is in no hurry waits for one that is, to be committed with it.
const PATIENCE: Duration = Duration::from_millis(2);

/// How the writer is asked.
#[derive(Clone)]
pub(super) struct Writer {
    asked: mpsc::Sender<Asked>,
    patient: Arc<Patient>,
    /// How many of the patient writes are not answered yet.
    unanswered: Arc<AtomicUsize>,
    /// The moment that was last written down.
    kept: Arc<AtomicI64>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("kept", &self.kept).finish_non_exhaustive()
    }
}

/// Writes that are in no hurry. None when the thread has ended.
type Patient = Mutex<Option<Vec<Box<dyn Write>>>>;

enum Asked {
    Write(Box<dyn Write>),
    /// Nothing but what is patient.
    Patient,
    Close(oneshot::Sender<()>),
}

/// Something to be done in the writer's transaction.
trait Write: Send {
    /// Does it, or says that SQLite failed: then nothing of its group is done.
    fn attempt(&mut self, db: &Db<'_>) -> rusqlite::Result<()>;

    /// Tells who asked what came of it.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

struct Pending<T, Does> {
    does: Does,
    done: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, Does> Write for Pending<T, Does>
where
    T: Send,
    Does: Fn(&Db<'_>) -> std::result::Result<T, Undone> + Send,
{
    fn attempt(&mut self, db: &Db<'_>) -> rusqlite::Result<()> {
        self.done = Some(match (self.does)(db) {
            Ok(done) => Ok(done),
            Err(Undone::Refused(why)) => Err(why),
            Err(Undone::Failed(cause)) => return Err(cause),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let done = match (failed, self.done) {
            (Some(failed), _) => Err(failed),
            (None, Some(done)) => done,
            (None, None) => unreachable!("what didn't fail was done"),
        };
        // An error means that nobody waits for the answer any more.
        let _ = self.reply.send(done);
    }
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        path: PathBuf,
        clock: Clock,
        files: Arc<Mutex<Files>>,
        lock: Option<Arc<Lock>>,
    ) -> std::io::Result<Writer> {
        let (asked, queue) = mpsc::channel(WAITING);
        // The first write keeps the store's time, and how often it was opened.
        let kept = Arc::new(AtomicI64::new(Moment::NOW.millis()));
        let patient = Arc::new(Mutex::new(Some(Vec::new())));
        let thread = Thread {
            connection,
            path,
            clock,
            kept: Arc::clone(&kept),
            patient: Arc::clone(&patient),
            files,
            lock,
        };
        std::thread::Builder::new().name("store".to_owned()).spawn(move || thread.run(queue))?;
        Ok(Writer { asked, patient, unanswered: Arc::default(), kept })
    }

    /// Has something written. `None` means that the writer has ended.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        does: impl Fn(&Db<'_>) -> std::result::Result<T, Undone> + Send + 'static,
    ) -> Option<Result<T>> {
        let (reply, answer) = oneshot::channel();
        let pending = Box::new(Pending { does, done: None, reply });
        self.asked.send(Asked::Write(pending)).await.ok()?;
        answer.await.ok()
    }

    /// Has something written together with what is in a hurry, or some milliseconds later. `None` means that the writer has ended.
    pub(super) async fn write_later<T: Send + 'static>(
        &self,
        does: impl Fn(&Db<'_>) -> std::result::Result<T, Undone> + Send + 'static,
    ) -> Option<Result<T>> {
        let (reply, answer) = oneshot::channel();
        let pending = Box::new(Pending { does, done: None, reply });
        let is_first = {
            let mut patient = lock(&self.patient);
            let patient = patient.as_mut()?;
            patient.push(pending);
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            patient.len() == 1
        };
        if is_first {
            let asked = self.asked.clone();
            tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                // An error means that the writer has ended, and has done what was patient before.
                let _ = asked.send(Asked::Patient).await;
            });
        }
        let answered = answer.await.ok();
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        answered
    }

    /// Returns when what was asked for before is done, also what is in no hurry.
    pub(super) async fn catch_up(&self) {
        if self.unanswered.load(Ordering::Relaxed) > 0 {
            // Who reads finds out by itself what is wrong with the store.
            let _ = self.write(|_| Ok(())).await;
        }
    }

    /// The moment that was last written down.
    pub(super) fn kept(&self) -> Moment {
        Moment::from_millis(self.kept.load(Ordering::Relaxed))
    }

    /// Ends the thread, when it has done what was asked of it before.
    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.asked.send(Asked::Close(reply)).await.is_ok() {
            // An error means that it ended for another reason.
            let _ = answer.await;
        }
    }
}

/// A transaction, which is rolled back when it is dropped, unless it was committed. The statements are prepared once, unlike
/// those of rusqlite's own.
struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    fn begin(connection: &'a Connection) -> rusqlite::Result<Transaction<'a>> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Transaction(connection))
    }

    fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // When the disk is full, SQLite rolls back by itself.
        if !self.0.is_autocommit() {
            // An error means that it has done so in this moment.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

struct Thread {
    connection: Connection,
    path: PathBuf,
    clock: Clock,
    kept: Arc<AtomicI64>,
    patient: Arc<Patient>,
    files: Arc<Mutex<Files>>,
    /// None for who works beside the host. It is the last field, so that it is dropped when SQLite has closed the file.
    lock: Option<Arc<Lock>>,
}

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Asked>) {
        let mut group = Vec::new();
        let mut before = 0;
        while queue.blocking_recv_many(&mut group, GROUP) > 0 {
            // Where several wait for one commit, more are on the way.
            if before > 1 && group.len() < ENOUGH {
                std::thread::sleep(COMPANY);
                while group.len() < GROUP
                    && let Ok(asked) = queue.try_recv()
                {
                    group.push(asked);
                }
            }
            before = group.len();
            let mut writes = Vec::with_capacity(group.len());
            let mut closes = None;
            for asked in group.drain(..) {
                match asked {
                    Asked::Write(write) => writes.push(write),
                    Asked::Patient => {}
                    Asked::Close(reply) => closes = Some(reply),
                }
            }
            // Before the others, which may ask what became of these.
            let patient = match closes {
                Some(_) => lock(&self.patient).take(),
                None => lock(&self.patient).as_mut().map(std::mem::take),
            };
            let mut all = patient.unwrap_or_default();
            all.append(&mut writes);
            self.do_all(all);
            if let Some(reply) = closes {
                self.close();
                // An error means that nobody waits for it.
                let _ = reply.send(());
                return;
            }
        }
        let patient = lock(&self.patient).take();
        self.do_all(patient.unwrap_or_default());
        self.close();
    }

    /// Does a group of writes, and answers each.
    fn do_all(&mut self, mut writes: Vec<Box<dyn Write>>) {
        let Err(cause) = self.together(&mut writes) else {
            return self.answer(writes);
        };
        if is_busy(&cause) {
            // To wait for the other program once more for each of them would take too long.
            for write in writes {
                write.answer(Some(busy(&self.path, cause.to_string())));
            }
            return;
        }
        // A write that fails must not keep the others of its group from being done: each is tried alone.
        for write in writes {
            let mut alone = vec![write];
            match self.together(&mut alone) {
                Ok(()) => self.answer(alone),
                Err(cause) => {
                    let failed = describe(&self.path, cause);
                    if let Some(write) = alone.pop() {
                        write.answer(Some(failed));
                    }
                }
            }
        }
    }

    /// All of `writes` in one transaction, or none.
    fn together(&mut self, writes: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
        let transaction = Transaction::begin(&self.connection)?;
        let now = self.clock.now();
        let left = Cell::new(None);
        let db = Db {
            connection: &self.connection,
            now,
            opening: self.clock.opening,
            at: Timestamp::now(),
            path: &self.path,
            left,
        };
        for write in &mut *writes {
            write.attempt(&db)?;
        }
        let kept = self.kept.load(Ordering::Relaxed);
        let keeps = self.lock.is_some()
            && (kept == Moment::NOW.millis() || now.millis() - kept >= KEPT_EVERY);
        if keeps {
            const KEEP: &str = "UPDATE clock SET now = ?, opening = ?";
            db.execute(KEEP, (now.millis(), db.opening))?;
        }
        transaction.commit()?;
        if keeps {
            self.kept.store(now.millis(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Tells what was done, unless it was done to files that nobody will find any more.
    fn answer(&mut self, writes: Vec<Box<dyn Write>>) {
        let in_place = lock(&self.files).are_in_place();
        for write in writes {
            write.answer((!in_place).then(|| gone(&self.path)));
        }
    }

    /// Leaves all in the one file.
    fn close(self) {
        if self.lock.is_some() {
            // An error, for instance since somebody else reads from the store, leaves it in the log, where it is found.
            let now = self.clock.now().millis();
            let _ = self.connection.execute("UPDATE clock SET now = ?", [now]);
            let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }
}

/// What a write works with.
pub(super) struct Db<'a> {
    connection: &'a Connection,
    /// The moment at which it is done.
    pub now: Moment,
    /// How often the store was opened.
    pub opening: i64,
    /// The same moment for people.
    pub at: Timestamp,
    path: &'a std::path::Path,
    /// How many bytes may still come in, once somebody in the group has asked for that.
    left: Cell<Option<i64>>,
}

impl Db<'_> {
    pub(super) fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql)
    }

    pub(super) fn execute(&self, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
        self.prepare(sql)?.execute(values)
    }

    /// The number of the row that an INSERT makes.
    pub(super) fn insert(&self, sql: &str, values: impl Params) -> rusqlite::Result<i64> {
        self.prepare(sql)?.insert(values)
    }

    /// Inserts a row by the first statement, an INSERT OR IGNORE, or changes the one that is there by the other. Both have the same
    /// values. Not by INSERT OR REPLACE: SQLite copies each page before such a statement changes it.
    pub(super) fn put(
        &self,
        insert: &str,
        instead: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> rusqlite::Result<()> {
        if self.execute(insert, values)? == 0 {
            self.execute(instead, values)?;
        }
        Ok(())
    }

    /// What a query for one truth tells.
    pub(super) fn tells(&self, sql: &str, values: impl Params) -> rusqlite::Result<bool> {
        self.prepare(sql)?.query_row(values, |row| row.get(0))
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        use rusqlite::OptionalExtension;
        self.prepare(sql)?.query_row(values, read).optional()
    }

    /// All rows.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.prepare(sql)?.query_map(values, read)?.collect()
    }

    /// The rows up to the first after which no more are wanted.
    pub(super) fn all_while<T>(
        &self,
        sql: &str,
        values: impl Params,
        mut read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<(T, bool)>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(values)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let (read, goes_on) = read(row)?;
            all.push(read);
            if !goes_on {
                break;
            }
        }
        Ok(all)
    }

    /// What is kept of whether it is certain that there is no ticket.
    pub(super) fn certain(&self, step: &Step) -> i64 {
        if step.certain { self.opening } else { 0 }
    }

    pub(super) fn path(&self) -> &std::path::Path {
        self.path
    }

    /// How many bytes of new incidents there is room for. It is negative when the part of the store is in use that is kept
    /// for what becomes of the incidents in it.
    pub(super) fn room(&self) -> rusqlite::Result<i64> {
        if let Some(left) = self.left.get() {
            return Ok(left);
        }
        // As statements of their own: a query that has a pragma for a table prepares it each time.
        let number = |sql| self.prepare(sql)?.query_row([], |row| row.get::<_, i64>(0));
        let used = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        let most = number("PRAGMA max_page_count")?;
        let size = number("PRAGMA page_size")?;
        let left = (most - most / RESERVE - used).saturating_mul(size);
        self.left.set(Some(left));
        Ok(left)
    }

    /// Notes that an incident of so many bytes comes in.
    pub(super) fn takes(&self, bytes: usize) -> rusqlite::Result<()> {
        // A row takes no more than that: it fills pages of its own, and its indexes may need new ones.
        let left = self.room()? - 2 * bytes as i64 - 4096;
        self.left.set(Some(left));
        Ok(())
    }
}
