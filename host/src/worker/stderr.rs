//! Reads what a worker writes to standard error. The end of it is kept for the error message if the worker
//! dies. A worker that writes without end is slowed down and then killed.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::time::sleep;

use crate::token_bucket::TokenBucket;

use super::group::Group;
use crate::lock::lock;

/// Bytes that are kept of what was written last.
const KEPT: usize = 2048;
/// Bytes that a worker may write at once without being slowed down: more than a library prints that is only
/// talkative, also within the seconds in which it must be loaded.
const BURST: f64 = 2_097_152.0;
/// Bytes a second that a worker may write in the long run without being slowed down.
const RATE: f64 = 65_536.0;
/// A worker that has been slowed down for so long, without having paused meanwhile, is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The last bytes that one worker wrote. The worker's owner shares them with the task that listens.
#[derive(Debug, Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    /// Takes what was written since the last time, or the end of that if it was much.
    pub(super) fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *lock(&self.0))).into_owned()
    }

    fn add(&self, bytes: &[u8]) {
        let mut end = lock(&self.0);
        end.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
        let over = end.len().saturating_sub(KEPT);
        end.drain(..over);
    }
}

/// Reads until the end, so that a worker which writes a little never has to wait. One that writes much has to: its
/// pipe is read more slowly than it writes. One that goes on all the same is killed.
pub(super) async fn listen(mut stderr: ChildStderr, heard: LastWords, group: Weak<Group>) {
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
    if let Some(group) = group.upgrade() {
        group.condemn("wrote to standard error without end, and was killed".to_owned());
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    Wait(Duration),
    Flood,
}

/// How much a worker may still write.
#[derive(Debug)]
struct Allowance {
    bytes: TokenBucket,
    /// Since when the worker has been slowed down without having paused.
    slowed: Option<Instant>,
}

impl Allowance {
    fn new(now: Instant) -> Allowance {
        Allowance { bytes: TokenBucket::new(BURST, RATE, now), slowed: None }
    }

    /// Takes so many bytes out of the bucket, and says what is to be done about the worker that wrote them.
    fn spend(&mut self, bytes: usize, now: Instant) -> Verdict {
        let pause = self.bytes.take(bytes as f64, now);
        // It has earned more than a second's worth, so it has paused: this is not a flood.
        if self.bytes.at(now) > RATE {
            self.slowed = None;
        }
        if pause.is_zero() {
            return Verdict::GoOn;
        }
        let since = *self.slowed.get_or_insert(now);
        if now - since >= PATIENCE {
            return Verdict::Flood;
        }
        Verdict::Wait(pause)
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
