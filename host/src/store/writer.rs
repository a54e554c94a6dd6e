//! The one thread that writes to a store: it takes what waits, does it in one transaction, and answers when that is on disk.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::sql::{Db, Fallible, SqlError};
use crate::lock::lock;
use crate::store::{Result, StoreError};

/// At most so many writes share a commit.
const GROUP: usize = 256;
/// At most so many writes wait for their turn; who comes with another one waits until there is room.
const WAITING: usize = 1024;
/// How often a write is tried that another host's kept from being done.
const TRIES: usize = 5;

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
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
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

/// Why a write was not done.
pub(super) enum Undone {
    /// The engine failed: nothing of its group was done.
    Failed(SqlError),
    /// It makes no sense, or there is no room for it. That changed nothing, and the group goes on.
    Refused(StoreError),
}

impl From<SqlError> for Undone {
    fn from(cause: SqlError) -> Undone {
        Undone::Failed(cause)
    }
}

/// Who does a group of writes. It has a thread for that.
pub(super) trait Engine: Send + 'static {
    /// Does all of them in one transaction, or nothing. One that is `alone` may wait for other hosts.
    fn together(
        &mut self,
        alone: bool,
        writes: &mut dyn FnMut(&Db<'_>) -> Fallible<()>,
    ) -> Fallible<()>;

    /// What a failure means for the others of its group, and for itself.
    fn blame(&self, cause: &SqlError) -> Blame;

    /// What it means for the operator.
    fn describe(&self, cause: SqlError) -> StoreError;

    /// What was committed went where nobody finds it.
    fn misplaced(&mut self) -> Option<StoreError>;

    fn close(self);
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The write itself: others may be done.
    Write,
    /// What another host did at the same time: it may be done the next time.
    Others,
    /// The store: nothing is done now.
    Store,
}

/// Something to be done in the writer's transaction.
trait Write: Send {
    /// Does it, or says that the engine failed: then nothing of its group is done.
    fn attempt(&mut self, db: &Db<'_>) -> Fallible<()>;

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
    fn attempt(&mut self, db: &Db<'_>) -> Fallible<()> {
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
    pub(super) fn start(engine: impl Engine) -> std::io::Result<Writer> {
        let (asked, queue) = mpsc::channel(WAITING);
        let patient = Arc::new(Mutex::new(Some(Vec::new())));
        let thread = Thread { engine, patient: Arc::clone(&patient) };
        std::thread::Builder::new().name("store".to_owned()).spawn(move || thread.run(queue))?;
        Ok(Writer { asked, patient, unanswered: Arc::default() })
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

    /// Ends the thread, when it has done what was asked of it before.
    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.asked.send(Asked::Close(reply)).await.is_ok() {
            // An error means that it ended for another reason.
            let _ = answer.await;
        }
    }
}

struct Thread<E> {
    engine: E,
    patient: Arc<Patient>,
}

impl<E: Engine> Thread<E> {
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
                self.engine.close();
                // An error means that nobody waits for it.
                let _ = reply.send(());
                return;
            }
        }
        let patient = lock(&self.patient).take();
        self.do_all(patient.unwrap_or_default());
        self.engine.close();
    }

    /// Does a group of writes, and answers each.
    fn do_all(&mut self, mut writes: Vec<Box<dyn Write>>) {
        let mut others = Vec::new();
        match self.together(&mut writes, &mut others) {
            Ok(()) => self.answer(writes),
            Err(cause) if self.engine.blame(&cause) == Blame::Store => {
                // To wait for the same once more for each of them would take too long.
                writes.append(&mut others);
                return self.fail(writes, cause);
            }
            // A write that fails must not keep the others of its group from being done: each is tried alone.
            Err(_) => others.append(&mut writes),
        }
        let mut others = others.into_iter();
        while let Some(write) = others.next() {
            if let Err((write, cause)) = self.alone(write) {
                let is_over = self.engine.blame(&cause) == Blame::Store;
                let mut failed = vec![write];
                if is_over {
                    failed.extend(others.by_ref());
                }
                self.fail(failed, cause);
            }
        }
    }

    /// All of `writes` in one transaction, or none. Those for which another host is waited for are left to the `others`.
    fn together(
        &mut self,
        writes: &mut Vec<Box<dyn Write>>,
        others: &mut Vec<Box<dyn Write>>,
    ) -> Fallible<()> {
        let mut later = Vec::new();
        let done = self.engine.together(false, &mut |db| {
            later.clear();
            for (index, write) in writes.iter_mut().enumerate() {
                match write.attempt(db) {
                    Err(SqlError::Elsewhere) => later.push(index),
                    done => done?,
                }
            }
            Ok(())
        });
        for index in later.into_iter().rev() {
            others.push(writes.remove(index));
        }
        others.reverse();
        done
    }

    /// One write in a transaction of its own, as often as other hosts keep it from being done.
    fn alone(
        &mut self,
        mut write: Box<dyn Write>,
    ) -> std::result::Result<(), (Box<dyn Write>, SqlError)> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.engine.together(true, &mut |db| write.attempt(db)) {
                Ok(()) => {
                    self.answer(vec![write]);
                    return Ok(());
                }
                Err(cause) if tries < TRIES && self.engine.blame(&cause) == Blame::Others => {}
                Err(cause) => return Err((write, cause)),
            }
        }
    }

    fn fail(&self, writes: Vec<Box<dyn Write>>, cause: SqlError) {
        let said = self.engine.describe(cause);
        writes.into_iter().for_each(|write| write.answer(Some(said.again())));
    }

    /// Tells what was done, unless it was done to files that nobody will find any more.
    fn answer(&mut self, writes: Vec<Box<dyn Write>>) {
        let misplaced = self.engine.misplaced();
        for write in writes {
            write.answer(misplaced.as_ref().map(StoreError::again));
        }
    }
}
