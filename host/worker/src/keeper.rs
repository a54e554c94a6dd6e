//! A keeper ends what a plugin has started once the host is gone.
//!
//! A worker ends with its host, but the programs that its plugin started don't. So the host starts a keeper beside
//! each worker that may start programs: this program once more, with the argument `worker keep GROUP`. It waits for
//! the end of its standard input, a pipe of which nobody but the host has the other end. That end comes when the host
//! ends, whatever ended it.

use std::io;

use rustix::process::{self, Pid, Signal};

/// The argument after [`crate::ARGUMENT`] by which the program becomes a keeper. The number of a process group stands
/// after it.
pub const KEEP: &str = "keep";

/// Waits until the host is gone, and kills the process group.
///
/// # Errors
/// `group` isn't the number of a group, or standard input can't be read.
pub(crate) fn keep(group: &str) -> io::Result<()> {
    // 1 isn't a worker's group: to kill it would mean to kill everything.
    let number = group.parse().ok().filter(|number| *number > 1);
    let group = number.and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    // On Linux the worker has ended together with the host. If it left nothing, its number is free by now; the system hands
    // out all other numbers before it gives this one away again.
    match process::kill_process_group(group, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        done => Ok(done?),
    }
}
