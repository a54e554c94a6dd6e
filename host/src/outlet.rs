//! A service's standard error: it is written to without waiting for whoever reads it.
//!
//! Invariant: who writes never waits. What is written waits in a bounded buffer for the one thread that hands it on. Where
//! the buffer is full, events are dropped and counted, and that is told as soon as there is room again; what tells it always
//! finds room.

use std::collections::VecDeque;
use std::io::{Result, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::lock::lock;

/// Bytes that wait for their reader at most.
const ROOM: usize = 1 << 20;

/// How long after an event the next one waits at most.
const NAP: Duration = Duration::from_millis(5);

/// The outlet of this process's log, if it is a service's.
static OF_LOG: OnceLock<Outlet> = OnceLock::new();

/// Events of the log that this process has dropped so far, since nobody read them in time.
pub(crate) fn dropped() -> u64 {
    OF_LOG.get().map_or(0, Outlet::dropped)
}

/// Where events are written to; each is one call of `write`.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Is raised when an event has come, and when all have been handed on.
    changed: Condvar,
    /// The thread that hands events on. What it writes itself tells how many were dropped.
    teller: OnceLock<ThreadId>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether an event is being handed on.
    is_writing: bool,
    /// Events that were dropped since that was last told. While there are any, all that comes is dropped, so that it is
    /// told at the place of the log where they are missing.
    untold: u64,
    /// Events that were dropped so far, told or not.
    dropped: u64,
}

impl Outlet {
    /// An outlet to `out`. `tell` logs, through this outlet, how many events were dropped at that place.
    ///
    /// # Errors
    /// There can't be another thread.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> Result<Outlet> {
        let outlet = Outlet(Arc::default());
        let shared = Arc::clone(&outlet.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            shared.teller.get_or_init(|| thread::current().id());
            shared.hand_on(out, tell);
        })?;
        Ok(outlet)
    }

    /// Makes this one the outlet of the process's log, whose drops [`dropped`] tells, unless there is one already.
    pub(crate) fn into_log(self) -> Outlet {
        OF_LOG.get_or_init(|| self.clone());
        self
    }

    /// Events that were dropped so far.
    fn dropped(&self) -> u64 {
        lock(&self.0.waiting).dropped
    }

    /// Waits until all that was written has been handed on, but not longer than that.
    pub(crate) fn flush(&self, longest: Duration) {
        let waiting = lock(&self.0.waiting);
        let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.events.is_empty();
        // Whether it was in time changes nothing: what still waits is lost with this process.
        let _ = self.0.changed.wait_timeout_while(waiting, longest, is_busy);
    }
}

impl Write for Outlet {
    fn write(&mut self, event: &[u8]) -> Result<usize> {
        let mut waiting = lock(&self.0.waiting);
        let is_full = waiting.untold > 0 || waiting.bytes + event.len() > ROOM;
        let tells = self.0.teller.get() == Some(&thread::current().id());
        if is_full && !tells {
            waiting.untold += 1;
            waiting.dropped += 1;
        } else {
            waiting.bytes += event.len();
            waiting.events.push_back(event.to_owned());
            self.0.changed.notify_all();
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Shared {
    fn hand_on(&self, mut out: impl Write, tell: impl Fn(u64)) {
        loop {
            let event = self.next();
            // What can't be written (a full disk, a reader that ended) is lost. To tell of that would be to write to the same
            // place.
            let _ = out.write_all(&event);
            let dropped = self.to_be_told();
            if dropped > 0 {
                tell(dropped);
            }
        }
    }

    /// Waits for the next event and takes it.
    fn next(&self) -> Vec<u8> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(event) = waiting.events.pop_front() {
                waiting.bytes -= event.len();
                waiting.is_writing = true;
                return event;
            }
            waiting.is_writing = false;
            self.changed.notify_all();
            drop(waiting);
            // Many events that come one by one need not wake this thread one by one.
            thread::sleep(NAP);
            waiting = lock(&self.waiting);
            if waiting.events.is_empty() {
                waiting = self.wait(waiting);
            }
        }
    }

    fn wait<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner)
    }

    /// How many events were dropped, once half of the buffer is free again: a reader that is merely slow shall not be told
    /// after each event that it reads.
    fn to_be_told(&self) -> u64 {
        let mut waiting = lock(&self.waiting);
        if waiting.bytes > ROOM / 2 { 0 } else { std::mem::take(&mut waiting.untold) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// Hands on an event only when somebody lets it through.
    struct Gate {
        open: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, event: &[u8]) -> Result<usize> {
            // An error: the test is over.
            let _ = self.open.recv();
            let _ = self.written.send(event.to_owned());
            Ok(event.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_told_where_it_is_missing() {
        let (opens, open) = mpsc::channel();
        let (written, events) = mpsc::channel();
        let (told, tells) = mpsc::channel();
        let tell = move |dropped| told.send(dropped).unwrap();
        let mut outlet = Outlet::start(Gate { open, written }, tell).unwrap();
        let event = vec![b'x'; ROOM / 4];
        // The first is taken from the buffer sooner or later; four more fill it.
        outlet.write_all(b"first").unwrap();
        opens.send(()).unwrap();
        assert_eq!(events.recv().unwrap(), b"first");
        outlet.flush(Duration::from_secs(60));
        for _ in 0..4 {
            outlet.write_all(&event).unwrap();
        }
        let full = |outlet: &Outlet| lock(&outlet.0.waiting).bytes;
        while full(&outlet) > 3 * ROOM / 4 {
            std::thread::yield_now();
        }
        for _ in 0..7 {
            outlet.write_all(&[b'y'; ROOM]).unwrap();
        }
        // Too small to need more room than there is; but it comes after those that are missing.
        outlet.write_all(b"late").unwrap();
        outlet.flush(Duration::from_millis(1));
        assert_eq!(outlet.dropped(), 8);
        opens.send(()).unwrap();
        events.recv().unwrap();
        assert!(tells.try_recv().is_err(), "there is no room yet");
        opens.send(()).unwrap();
        assert_eq!(tells.recv().unwrap(), 8);
        outlet.write_all(b"again").unwrap();
        (0..3).for_each(|_| opens.send(()).unwrap());
        let rest: Vec<usize> = (0..4).map(|_| events.recv().unwrap().len()).collect();
        assert_eq!(rest, [ROOM / 4, ROOM / 4, ROOM / 4, 5]);
    }

    #[test]
    fn how_many_were_dropped_is_told_though_others_took_the_room_meanwhile() {
        let (opens, open) = mpsc::channel();
        let (written, events) = mpsc::channel();
        let itself = Arc::new(OnceLock::<Outlet>::new());
        let of_tell = Arc::clone(&itself);
        let tell = move |dropped: u64| {
            let outlet = of_tell.get().unwrap();
            let mut other = outlet.clone();
            thread::spawn(move || other.write_all(&[b'z'; ROOM]).unwrap()).join().unwrap();
            outlet.clone().write_all(format!("{dropped} dropped").as_bytes()).unwrap();
        };
        let mut outlet = Outlet::start(Gate { open, written }, tell).unwrap();
        itself.set(outlet.clone()).unwrap();
        outlet.write_all(&[b'x'; ROOM]).unwrap();
        for _ in 0..3 {
            // Too large, whether or not the first was taken already.
            outlet.write_all(&[b'y'; ROOM + 1]).unwrap();
        }
        (0..3).for_each(|_| opens.send(()).unwrap());
        let all: Vec<Vec<u8>> = (0..3).map(|_| events.recv().unwrap()).collect();
        assert_eq!((all[0][0], all[1][0]), (b'x', b'z'));
        assert_eq!(all[2], b"3 dropped");
    }
}
