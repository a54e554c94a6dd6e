//! Measures a storm: many incidents come at once, for a ticket system that takes few requests a second.

use std::time::{Duration, Instant};

use crate::growth::{filing, rate};
use crate::process;
use crate::report::{Goal, Report};
use crate::statistics::figure;
use crate::system::{Behaviour, System};
use crate::tickets::{KINDS, begun};

const INCIDENTS: usize = 10_000;
/// How many calls the backend may have under way at once.
const WORKERS: usize = 4;
/// Requests per second that the ticket system takes.
const LIMIT: f64 = 50.0;

pub fn measure(report: &mut Report) {
    let rt = KINDS[0];
    let system = System::start(Behaviour { latency: Duration::ZERO, limit: Some(LIMIT) });
    let host = rt.host(&system, "", WORKERS);
    let service = host.serve();
    let began = service.just_now();
    // Before the measurement: the plugin is loaded in every worker, and has looked up what it looks up only once.
    std::thread::scope(|scope| {
        for number in INCIDENTS..INCIDENTS + WORKERS {
            let (service, incident) = (&service, begun(number, &began));
            scope.spawn(move || drop(service.file(&incident, 60_000).is(201)));
        }
    });
    let before = process::memory(service.id());
    let asked = system.counted();
    let started = Instant::now();
    rate(&service, INCIDENTS, 202, |number| filing(&begun(number, &began)));
    let accepting = started.elapsed().as_secs_f64();
    let mut most = 0;
    let counted = loop {
        most = most.max(process::memory(service.id()));
        let counted = system.counted();
        if counted.titles.len() >= INCIDENTS + WORKERS {
            break counted;
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    let delivering = started.elapsed().as_secs_f64();
    let after = process::memory(service.id());

    let requests = counted.requests - asked.requests;
    let refused = counted.refused - asked.refused;
    let numbers = counted.titles[WORKERS..].iter().map(|title| {
        let digits = title.rsplit(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
        digits.and_then(|digits| digits.parse::<usize>().ok()).unwrap()
    });
    let displaced = numbers.enumerate().map(|(place, number)| place.abs_diff(number)).max();
    let megabytes = |kilobytes: u64| kilobytes as f64 / 1024.0;
    let title = format!("Storm: {INCIDENTS} incidents at once, rt that takes {LIMIT} requests/s");
    let part = report.part(&title, &["", ""]);
    for (what, value) in [
        ("seconds until all were accepted", accepting),
        ("seconds until all had their ticket", delivering),
        ("seconds that the limit alone asks for", requests as f64 / LIMIT),
        ("requests", requests as f64),
        ("of them answered 429", refused as f64),
        ("MB before", megabytes(before)),
        ("MB at most", megabytes(most)),
        ("MB after", megabytes(after)),
    ] {
        part.row(&[what.to_owned(), figure(value)]);
    }
    let wasted = refused as f64 / requests as f64 * 100.0;
    part.goal(Goal::at_most("% of the requests answered 429", wasted, 2.0));
    let tickets = (counted.titles.len() - WORKERS) as f64 / INCIDENTS as f64;
    part.goal(Goal::at_most("tickets for each incident", tickets, 1.0));
    // Several clients file at once, and several calls deliver at once, so that the order isn't strict.
    let displaced = displaced.unwrap_or(0) as f64;
    part.goal(Goal::at_most("places that a ticket is off its incident's", displaced, 100.0));
    part.goal(Goal::at_most("memory after / before", after as f64 / before as f64, 1.1));
}
