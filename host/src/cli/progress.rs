//! A line on standard error that says what long work is at. It is written over, and nothing of it is left at the end.

use std::io::{IsTerminal, Write};

/// Goes to the beginning of the line and erases it (ECMA-48: EL).
const ERASE: &str = "\r\x1b[K";

/// The line, if somebody watches. Dropping it erases the line.
#[derive(Debug)]
pub(super) struct Progress {
    watched: bool,
    /// Whether there is a line now.
    shown: bool,
}

impl Progress {
    /// Nobody watches if standard error isn't a terminal that can erase a line, or if `quiet` is set.
    pub(super) fn new(quiet: bool) -> Progress {
        let can_erase = std::env::var_os("TERM").is_none_or(|name| name != "dumb");
        let watched = !quiet && can_erase && std::io::stderr().is_terminal();
        Progress { watched, shown: false }
    }

    /// Says that the `number`th of `all` steps is under way.
    pub(super) fn is_at(&mut self, number: usize, all: usize, step: &str) {
        if self.watched {
            self.shown = true;
            write(&format!("{ERASE}{number}/{all} {step}"));
        }
    }

    /// Makes place for other output.
    pub(super) fn erase(&mut self) {
        if std::mem::take(&mut self.shown) {
            write(ERASE);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.erase();
    }
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // Who closed the terminal sees no progress.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
