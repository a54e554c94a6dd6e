//! A line on standard error that says what long work is at. It is written over, and nothing of it is left at the end.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// Goes to the beginning of the line and erases it (ECMA-48: EL).
const ERASE: &str = "\r\x1b[K";
/// How often it is looked whether another second is over, so that the line is to be written anew.
const TICK: Duration = Duration::from_millis(100);

/// The line, if somebody watches. Dropping it erases the line.
#[derive(Debug)]
pub(super) struct Progress(Option<Watched>);

#[derive(Debug)]
struct Watched {
    /// What is on the line now. Whoever writes to the terminal holds it meanwhile.
    shown: Arc<Mutex<Option<Shown>>>,
    /// Dropping it ends the thread.
    end: Option<Sender<()>>,
    /// Writes the line anew each second. A thread, since a plugin in this process keeps its own one from doing so.
    ticks: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shown {
    text: String,
    since: Instant,
    /// The whole seconds that the line says.
    seconds: u64,
}

impl Progress {
    /// Nobody watches if standard error isn't a terminal that can erase a line, or if `quiet` is set.
    pub(super) fn new(quiet: bool) -> Progress {
        let can_erase = std::env::var_os("TERM").is_none_or(|name| name != "dumb");
        let watched = !quiet && can_erase && std::io::stderr().is_terminal();
        Progress(watched.then(Watched::new))
    }

    /// Says that the `number`th of `all` steps is under way, and for how long.
    pub(super) fn is_at(&mut self, number: usize, all: usize, step: &str) {
        self.begin(|| format!("{number}/{all} {step}"));
    }

    /// Says that work without steps has begun, and for how long it is under way.
    pub(super) fn begin(&mut self, text: impl FnOnce() -> String) {
        if let Some(watched) = &self.0 {
            let mut shown = lock(&watched.shown);
            let new = shown.insert(Shown { text: text(), since: Instant::now(), seconds: 0 });
            write(&format!("{ERASE}{}", new.text));
        }
    }

    /// Says how far the work that has begun is; this is seen at the next second.
    pub(super) fn goes_on(&mut self, text: impl FnOnce() -> String) {
        if let Some(watched) = &self.0
            && let Some(shown) = &mut *lock(&watched.shown)
        {
            shown.text = text();
        }
    }

    /// Makes place for other output.
    pub(super) fn erase(&mut self) {
        if let Some(watched) = &self.0 {
            let mut shown = lock(&watched.shown);
            if shown.take().is_some() {
                write(ERASE);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.erase();
    }
}

impl Watched {
    fn new() -> Watched {
        let shown = Arc::new(Mutex::new(None::<Shown>));
        let (end, ended) = mpsc::channel();
        let seen = Arc::clone(&shown);
        let tick = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if let Some(shown) = &mut *lock(&seen) {
                    shown.tick();
                }
            }
        };
        // Without a thread the line is not written anew, and that is all.
        let ticks = thread::Builder::new().name("progress".to_owned()).spawn(tick).ok();
        Watched { shown, end: Some(end), ticks }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(ticks) = self.ticks.take() {
            // A thread that panicked writes nothing any more.
            let _ = ticks.join();
        }
    }
}

impl Shown {
    /// Writes the line anew if another second is over.
    fn tick(&mut self) {
        let seconds = self.since.elapsed().as_secs();
        if seconds > self.seconds {
            self.seconds = seconds;
            write(&format!("{ERASE}{} {seconds} s", self.text));
        }
    }
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // Who closed the terminal sees no progress.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
