//! The program: a worker if it was started as one, else the command line.

use std::process::ExitCode;

use ticket_host::{cli, worker};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == worker::ARGUMENT) {
        return worker::child::main();
    }
    cli::main()
}
