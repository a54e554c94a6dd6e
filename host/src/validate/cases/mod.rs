//! The cases, grouped by what they test: each group is a file, with the table of its cases at the top.

use std::pin::Pin;

use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};

use super::Done;
use super::bench::Bench;

/// One demand on a plugin, and the function that tests whether the plugin meets it.
pub(crate) struct Case {
    pub name: &'static str,
    /// One sentence whose subject is the plugin.
    pub demands: &'static str,
    pub(super) run: for<'a> fn(&'a mut Bench) -> Pin<Box<dyn Future<Output = Done> + 'a>>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A group's table: a line for each case with its name, the function that tests it, and what it demands.
macro_rules! cases {
    ($($name:literal $function:ident $demands:literal;)*) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            name: $name,
            demands: $demands,
            run: |bench| Box::pin($function(bench)),
        }),*];
    };
}

mod answers;
mod calls;
mod exercise;
mod extremes;
mod http;
mod limits;
mod load;
mod many;
mod odd;
mod open;
mod retries;
mod searches;
mod states;
mod steps;
mod texts;
mod webhooks;

/// All cases, in the order in which they run.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    [
        load::CASES,
        open::CASES,
        calls::CASES,
        texts::CASES,
        searches::CASES,
        answers::CASES,
        exercise::CASES,
        http::CASES,
        retries::CASES,
        many::CASES,
        steps::CASES,
        states::CASES,
        webhooks::CASES,
        odd::CASES,
        extremes::CASES,
        limits::CASES,
    ]
    .into_iter()
    .flatten()
}

const OPERATIONS: [Operation; 3] = [Operation::Check, Operation::Find, Operation::Create];

/// A ticket system's answer of this status, with a body that calls itself JSON.
fn answered(status: u16, body: impl Into<Vec<u8>>) -> HttpAnswer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    HttpAnswer::Answered { status, headers, body: body.into() }
}
