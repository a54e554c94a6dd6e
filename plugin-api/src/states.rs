//! Gathers what a plugin's `state` finds out, ticket by ticket.

use crate::{Call, Error, Result, States, TicketState, TicketStatus};

/// What was found out of tickets so far, and the first error that is about one of them alone.
#[derive(Debug, Default)]
pub struct ToldStates {
    states: States,
    missed: Option<Error>,
}

impl ToldStates {
    /// A ticket's state was found out, or why it can't be. The others are told all the same.
    pub fn tell(&mut self, call: &Call, status: Result<TicketStatus>) {
        match status {
            Ok(status) => self.states.tickets.push(status),
            Err(error) => self.miss(call, error),
        }
    }

    /// One ticket's state can't be found out. The log says why, at the level debug.
    pub fn miss(&mut self, call: &Call, error: Error) {
        call.debug(&error.message);
        self.missed.get_or_insert(error);
    }

    /// The reply, once nothing more is asked: since all was, or for an error that the other tickets would meet, too.
    ///
    /// # Errors
    /// Nothing was found out, and this is why.
    pub fn ended(self, call: &Call, how: Result<()>) -> Result<States> {
        let ToldStates { mut states, missed } = self;
        match how.err().or(missed.filter(|_| states.tickets.is_empty())) {
            Some(error) if states.tickets.is_empty() => return Err(error),
            Some(error) => {
                call.warn(&format!("not all states could be read: {error}"));
                states.retry_after_ms = error.retry_after_ms();
            }
            None => {}
        }
        Ok(states)
    }
}

impl TicketStatus {
    /// That the ticket of this URL is in that state, and nothing else.
    pub fn of(url: &str, state: TicketState) -> TicketStatus {
        TicketStatus { url: url.to_owned(), state, ..TicketStatus::default() }
    }
}
