//! The tasks that the service is made of, none of which should end by itself: one that does ends the service. One that
//! doesn't let go of its thread is seen by its pulse.

use std::any::Any;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::error::{Error, Result};
use crate::lock::lock;

/// How often each task's pulse beats.
const BEAT: Duration = Duration::from_secs(1);

/// Tasks that have names.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: JoinSet<Result<()>>,
    names: HashMap<Id, String>,
    pulses: Pulses,
}

/// The pulses of tasks. A task's pulse beats while the task lets go of its thread again and again: also while it waits for
/// the store, however long that takes, but not while it goes round in a circle or waits for a lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulses(Arc<Mutex<Vec<Weak<Pulse>>>>);

#[derive(Debug)]
struct Pulse {
    name: String,
    last: Mutex<Instant>,
}

impl Pulses {
    /// The names of the tasks whose pulses have not beaten for so long.
    pub(crate) fn late(&self, longest: Duration) -> Vec<String> {
        let mut pulses = lock(&self.0);
        pulses.retain(|pulse| pulse.strong_count() > 0);
        let running = pulses.iter().filter_map(Weak::upgrade);
        let late = running.filter(|pulse| lock(&pulse.last).elapsed() > longest);
        late.map(|pulse| pulse.name.clone()).collect()
    }

    fn begin(&self, name: String) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse { name, last: Mutex::new(Instant::now()) });
        lock(&self.0).push(Arc::downgrade(&pulse));
        pulse
    }
}

impl Pulse {
    /// Beats until the task has ended.
    async fn during<T>(self: Arc<Self>, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        loop {
            tokio::select! {
                biased;
                ended = &mut task => return ended,
                () = tokio::time::sleep(BEAT) => *lock(&self.last) = Instant::now(),
            }
        }
    }
}

/// A task that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    name: String,
    how: How,
}

#[derive(Debug)]
enum How {
    Returned(Result<()>),
    /// With what it said.
    Panicked(String),
    Cancelled,
}

impl Tasks {
    /// No tasks yet; their pulses will be among these.
    pub(crate) fn with(pulses: Pulses) -> Tasks {
        Tasks { pulses, ..Tasks::default() }
    }

    pub(crate) fn start(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) -> AbortHandle {
        let name = name.into();
        let handle = self.running.spawn(self.pulses.begin(name.clone()).during(task));
        self.names.insert(handle.id(), name);
        handle
    }

    /// The next one that ends, or None if there are no tasks.
    pub(crate) async fn next(&mut self) -> Option<Ended> {
        let (id, how) = match self.running.join_next_with_id().await? {
            Ok((id, result)) => (id, How::Returned(result)),
            Err(error) => (error.id(), How::from(error)),
        };
        Some(Ended { name: self.names.remove(&id).unwrap_or_default(), how })
    }
}

impl From<JoinError> for How {
    fn from(error: JoinError) -> How {
        match error.try_into_panic() {
            Ok(panic) => How::Panicked(said(panic.as_ref()).to_owned()),
            Err(_) => How::Cancelled,
        }
    }
}

impl Ended {
    /// The error that it is for a task to end though nobody asked it to.
    pub(crate) fn unasked(self) -> Error {
        let Ended { name, how } = self;
        match how {
            How::Returned(Ok(())) => defect(format!("{name} ended, though nobody asked it to")),
            How::Returned(Err(error)) => error.at(&name),
            How::Panicked(said) => defect(format!("{name} panicked: {said}")),
            How::Cancelled => defect(format!("{name} was cancelled")),
        }
    }

    /// What a task ended with that was asked to end.
    ///
    /// # Errors
    /// The task's own, or that it panicked.
    pub(crate) fn asked(self) -> Result<()> {
        match self.how {
            How::Returned(Ok(())) | How::Cancelled => Ok(()),
            How::Returned(Err(_)) | How::Panicked(_) => Err(self.unasked()),
        }
    }
}

fn defect(what: String) -> Error {
    Error::plugin(what).help(
        "this is a defect of ticket-host: report it with the log. When it is started again, it looks for the \
         tickets of all calls that were under way",
    )
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn first_end(task: impl Future<Output = Result<()>> + Send + 'static) -> Ended {
        let mut tasks = Tasks::default();
        tasks.start("the other one", std::future::pending());
        tasks.start("the queue", task);
        tasks.next().await.unwrap()
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_is_an_error_that_names_it() {
        let panics = first_end(async { panic!("row {} is odd", 7) }).await.unasked();
        assert_eq!(panics.message, "the queue panicked: row 7 is odd");
        assert!(panics.help.unwrap().contains("a defect of ticket-host"));
        let ends = first_end(async { Ok(()) }).await.unasked();
        assert_eq!(ends.message, "the queue ended, though nobody asked it to");
        let fails = first_end(async { Err(Error::usage("the reason")) }).await.unasked();
        assert_eq!(fails.message, "the queue: the reason");
    }

    #[tokio::test]
    async fn a_task_that_was_asked_to_end_is_an_error_only_if_it_broke() {
        assert!(first_end(async { Ok(()) }).await.asked().is_ok());
        assert!(first_end(async { panic!("no") }).await.asked().is_err());
        let mut tasks = Tasks::default();
        tasks.start("the queue", std::future::pending()).abort();
        assert!(tasks.next().await.unwrap().asked().is_ok());
        assert!(tasks.next().await.is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_that_keeps_its_thread_is_late_and_one_that_waits_is_not() {
        let pulses = Pulses::default();
        let mut tasks = Tasks::with(pulses.clone());
        tasks.start("waits", std::future::pending());
        let (release, held) = std::sync::mpsc::channel::<()>();
        tasks.start("hangs", async move {
            let _ = held.recv();
            std::future::pending().await
        });
        let longest = 3 * BEAT;
        while pulses.late(longest).is_empty() {
            tokio::time::sleep(BEAT / 10).await;
        }
        assert_eq!(pulses.late(longest), ["hangs"]);
        release.send(()).unwrap();
        while !pulses.late(longest).is_empty() {
            tokio::time::sleep(BEAT / 10).await;
        }
    }
}
