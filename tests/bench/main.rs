//! What the host costs, beside its rivals, in interleaved runs: see README.md beside this file.
//!
//! Not a test: machines are noisy.
#![allow(clippy::unwrap_used, unreachable_pub, missing_debug_implementations)]

mod bare;
mod boundary;
mod cold;
mod growth;
mod grpc;
mod hosts;
mod process;
mod report;
mod samples;
mod statistics;
mod storm;
mod system;
mod tickets;

use std::process::ExitCode;

use report::Report;

/// A part of the measurement, by its name on the command line.
type Part = (&'static str, fn(&mut Report));

const PARTS: [Part; 6] = [
    ("tickets", tickets::measure),
    ("cold", cold::measure),
    ("boundary", boundary::measure),
    ("storm", storm::measure),
    ("growth", growth::measure),
    ("hosts", hosts::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // This program is also the other processes of a measurement. Their first argument says which one.
    match arguments.first().map(String::as_str) {
        Some(ticket_host_worker::ARGUMENT) => return boundary::worker(),
        Some(bare::ARGUMENT) => return bare::serve(),
        Some(grpc::ARGUMENT) => return grpc::serve(&arguments[1]),
        Some(system::ARGUMENT) => return system::serve(&arguments[1..]),
        Some(tickets::ARGUMENT) => return tickets::bare_client(&arguments[1..]),
        _ => {}
    }
    // Cargo adds the argument --bench.
    let asked: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let mut report = Report::load();
    for (name, measure) in PARTS {
        if asked.is_empty() || asked.iter().any(|asked| *asked == name) {
            report.begin(name);
            measure(&mut report);
            if let Err(error) = report.save(&PARTS.map(|(name, _)| name)) {
                eprintln!("the results can't be written: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
