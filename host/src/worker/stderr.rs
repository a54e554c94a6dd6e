//! What a worker writes to standard error: the end of it is kept for the error message, and a flood ends
//! the worker.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr};
use tokio::time::{Instant, sleep};

/// Bytes that are kept of what was written last.
const KEPT: usize = 2048;
/// Bytes that are read as fast as they come: more than a library prints that is only talkative, also within the
/// seconds in which it must be loaded. They are refilled by [`RATE`] bytes a second.
const BURST: usize = 2 << 20;
const RATE: usize = 64 << 10;
/// A worker that was slowed down for so long without a pause is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The end of what was written, and whether there was far too much of it.
#[derive(Debug, Default)]
struct Heard {
    end: Vec<u8>,
    flood: bool,
}

/// What was heard of one worker; shared with the task that listens.
#[derive(Debug, Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<Heard>>);

impl LastWords {
    /// What was written since it was taken last, or the end of that.
    pub(super) fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.heard().end)).into_owned()
    }

    /// Whether the worker was killed since it wrote without end.
    pub(super) fn flooded(&self) -> bool {
        self.heard().flood
    }

    fn add(&self, bytes: &[u8]) {
        let end = &mut self.heard().end;
        end.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
        let over = end.len().saturating_sub(KEPT);
        end.drain(..over);
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        // What is behind the lock is whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until the end, so that a worker that writes a little never blocks. One that writes much is slowed
/// down: it waits for its pipe. One that goes on is killed.
pub(super) async fn listen(
    mut stderr: ChildStderr,
    heard: LastWords,
    child: Weak<tokio::sync::Mutex<Child>>,
) {
    let mut allowance = Allowance::new(Instant::now());
    let mut piece = vec![0; 16 << 10];
    loop {
        match stderr.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                heard.add(&piece[..read]);
                match allowance.spend(read, Instant::now()) {
                    Verdict::GoOn => {}
                    Verdict::Wait(pause) => sleep(pause).await,
                    Verdict::Flood => break,
                }
            }
        }
    }
    heard.heard().flood = true;
    if let Some(child) = child.upgrade() {
        // An error means that it is gone already.
        let _ = child.lock().await.start_kill();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    Wait(Duration),
    Flood,
}

/// A token bucket, and since when it has been empty.
#[derive(Debug)]
struct Allowance {
    bytes: f64,
    at: Instant,
    /// Since when the worker has been slowed down without a pause.
    slowed: Option<Instant>,
}

impl Allowance {
    fn new(now: Instant) -> Allowance {
        Allowance { bytes: BURST as f64, at: now, slowed: None }
    }

    fn spend(&mut self, bytes: usize, now: Instant) -> Verdict {
        let earned = (now - self.at).as_secs_f64() * RATE as f64;
        self.bytes = (self.bytes + earned).min(BURST as f64) - bytes as f64;
        self.at = now;
        // Who left some of it unused for a second has paused.
        if self.bytes > RATE as f64 {
            self.slowed = None;
        }
        if self.bytes >= 0.0 {
            return Verdict::GoOn;
        }
        let since = *self.slowed.get_or_insert(now);
        if now - since >= PATIENCE {
            return Verdict::Flood;
        }
        Verdict::Wait(Duration::from_secs_f64(-self.bytes / RATE as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_line_is_kept() {
        let heard = LastWords::default();
        heard.add(&[b'x'; 5000]);
        heard.add(b" assertion failed\n");
        let words = heard.take();
        assert_eq!(words.len(), KEPT);
        assert!(words.ends_with("x assertion failed\n"));
        assert_eq!(heard.take(), "", "taken once");
    }

    /// Writes `bytes` at once, `every` so often, for a minute at most: when that was taken for a flood.
    fn flood_after(bytes: usize, every: Duration) -> Option<u64> {
        let start = Instant::now();
        let (mut allowance, mut now) = (Allowance::new(start), start);
        while now - start < Duration::from_secs(60) {
            match allowance.spend(bytes, now) {
                Verdict::GoOn => now += every,
                Verdict::Wait(pause) => now += pause.max(every),
                Verdict::Flood => return Some((now - start).as_secs()),
            }
        }
        None
    }

    #[test]
    fn who_writes_a_little_or_much_at_once_is_heard_and_a_flood_is_not() {
        assert_eq!(flood_after(4 << 10, Duration::from_millis(100)), None);
        assert_eq!(flood_after(1 << 20, Duration::from_secs(17)), None);
        assert_eq!(flood_after(16 << 10, Duration::ZERO), Some(10));
    }
}
