//! For the validator: opens, calls and closes many instances of a plugin in one process, at the same time or
//! one after the other.

use std::thread;
use std::time::Duration;

use serde_json::json;
use ticket_plugin_api::abi::host_side::{
    Host, HttpAnswer, HttpRequest, Operation, Returned, Table,
};
use ticket_plugin_api::abi::status;

/// A host that answers everything in the same way.
struct Canned;

impl Host for Canned {
    fn http(&mut self, _: HttpRequest) -> HttpAnswer {
        HttpAnswer::Answered {
            status: 503,
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: b"come back later".to_vec(),
        }
    }

    fn render(&mut self, part: &str, _: &str, _: &str) -> Result<String, String> {
        Ok(format!("the {part} of a ticket"))
    }

    fn log(&mut self, _: u32, _: &str) {}

    fn remaining(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Opens, calls and closes an instance `times` times on each of `threads` threads. The reply's `odd` has a
/// sentence for each thread on which a call did not give the same as the first one.
pub(crate) fn run(table: &Table, settings: &str, threads: usize, times: usize) -> Returned {
    let odd: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| one_after_the_other(table, settings, times)))
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    Returned { status: status::OK, reply: Ok(Some(json!({"odd": odd}).to_string())) }
}

/// What one thread does. Gives a sentence about what went wrong, or nothing.
fn one_after_the_other(table: &Table, settings: &str, times: usize) -> Vec<String> {
    let request = json!({
        "incident": {"description": "gw1 is down", "pk": 1, "source": {"name": "nav"}},
        "key": "nav#1",
        "dry_run": false,
    });
    let request = request.to_string();
    let operations = [Operation::Check, Operation::Create, Operation::Find];
    let mut first = None;
    for time in 0..times {
        let mut instance = match table.open(settings, &mut Canned) {
            Ok(instance) => instance,
            Err(returned) => {
                return vec![format!("open() returned {} at time {time}", returned.status)];
            }
        };
        let results = operations.map(|operation| instance.call(operation, &request, &mut Canned));
        match &first {
            None => first = Some(results),
            Some(first) if *first == results => {}
            Some(first) => {
                let statuses = results.map(|returned| returned.status);
                let before = first.each_ref().map(|returned| returned.status);
                return vec![format!(
                    "check, create and find returned {statuses:?} at time {time}, {before:?} the first \
                     time, or replied something else"
                )];
            }
        }
    }
    Vec::new()
}
