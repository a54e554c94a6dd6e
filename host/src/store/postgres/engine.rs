//! The connection that writes: each group in one transaction.

use std::sync::Arc;

use super::session::{Asking, Reach, Runtime, Session, transaction};
use super::{code, describe, is_of_connection, is_of_others, is_of_server};
use crate::store::StoreError;
use crate::store::sql::{Db, Fallible, SqlError};
use crate::store::writer::{Blame, Engine};

pub(super) struct PgEngine {
    reach: Arc<Reach>,
    session: Option<Session>,
    /// The thread's own, made by it.
    runtime: Option<Runtime>,
}

impl PgEngine {
    pub(super) fn new(reach: Arc<Reach>) -> PgEngine {
        PgEngine { reach, session: None, runtime: None }
    }
}

impl Engine for PgEngine {
    fn together(
        &mut self,
        alone: bool,
        writes: &mut dyn FnMut(&Db<'_>) -> Fallible<()>,
    ) -> Fallible<()> {
        let runtime = match &self.runtime {
            Some(runtime) => runtime,
            None => {
                let made = Runtime::of_thread().map_err(sqlx::Error::Io)?;
                self.runtime.insert(made)
            }
        };
        let asking = if alone { Asking::WriteOne } else { Asking::WriteMany };
        transaction(&mut self.session, &self.reach, runtime, asking, writes)
    }

    fn blame(&self, cause: &SqlError) -> Blame {
        if is_of_others(cause) {
            return Blame::Others;
        }
        match code(cause).as_deref() {
            Some(code) if is_of_server(code) => Blame::Store,
            None if is_of_connection(cause) => Blame::Store,
            _ => Blame::Write,
        }
    }

    fn describe(&self, cause: SqlError) -> StoreError {
        describe(&self.reach.name, cause)
    }

    /// What PostgreSQL has committed is there.
    fn misplaced(&mut self) -> Option<StoreError> {
        None
    }

    /// The server notices that the connection ends.
    fn close(self) {}
}
