//! The tasks that the service is made of, none of which should end by itself: one that does ends the service.

use std::any::Any;
use std::collections::HashMap;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::error::{Error, Result};

/// Tasks that have names.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: JoinSet<Result<()>>,
    names: HashMap<Id, String>,
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
    pub(crate) fn start(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) -> AbortHandle {
        let handle = self.running.spawn(task);
        self.names.insert(handle.id(), name.into());
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
}
