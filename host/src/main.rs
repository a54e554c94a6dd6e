//! The program: a worker if it was started as one, else the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use ticket_host::cli;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ticket_host_worker::ARGUMENT) {
        return ticket_host_worker::main(arguments);
    }
    cli::main()
}
