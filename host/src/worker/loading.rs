//! How long a worker may take to load its library: its constructors and its entry function.
//!
//! On a busy machine a worker waits for a processor, which isn't the library's fault. So a library that works is judged
//! by the processor time that it used, and only one that sleeps by the clock, which is given a lot of time.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::watch::PAUSE;

/// Processor time that loading may take. Libraries take milliseconds.
const PROCESSOR: Duration = Duration::from_secs(5);
/// How long loading may take by the clock, where nothing else bounds it. Where the platform doesn't tell how much
/// processor time a process used (only Linux does), this is all that bounds one that works.
pub(crate) const LOADING: Duration =
    Duration::from_secs(if cfg!(target_os = "linux") { 30 } else { 5 });

/// What loading may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    processor: Duration,
    clock: Duration,
}

impl Bounds {
    /// The bounds of a library for which there is so much time by the clock.
    pub(super) fn within(clock: Duration) -> Bounds {
        Bounds { processor: PROCESSOR, clock }
    }
}

/// Which bound was met. Displays complete a sentence about the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    #[error("it took more than {:.0} s of processor time to be loaded, and was killed", .0.as_secs_f64())]
    Processor(Duration),
    #[error("it was not loaded after {} s, and was killed", (.0.as_secs_f64() * 10.0).round() / 10.0)]
    Clock(Duration),
}

/// What `loading` gives. `used` tells how much processor time the worker used; None: that can't be seen.
///
/// # Errors
/// Loading meets one of the bounds before its end.
pub(super) async fn bounded<T>(
    loading: impl Future<Output = T>,
    used: impl Fn() -> Option<Duration>,
    bounds: Bounds,
) -> Result<T, Exceeded> {
    let mut loading = pin!(loading);
    let started = Instant::now();
    loop {
        let left = bounds.clock.saturating_sub(started.elapsed());
        tokio::select! {
            biased;
            loaded = &mut loading => return Ok(loaded),
            () = sleep(left.min(PAUSE)) => {}
        }
        if used().is_some_and(|used| used > bounds.processor) {
            return Err(Exceeded::Processor(bounds.processor));
        }
        if started.elapsed() >= bounds.clock {
            return Err(Exceeded::Clock(bounds.clock));
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::future::pending;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::Arc;

    use super::super::group::Group;
    use super::*;

    const HALF: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_secs(3600);
    const SPINS: &str = "while :; do :; done";

    /// A process that stands for a worker. It is killed when it is dropped.
    fn process(script: &str) -> Arc<Group> {
        let mut command = Command::new("sh");
        Group::new(command.args(["-c", script]).process_group(0).spawn().unwrap(), 0)
    }

    #[tokio::test]
    async fn who_works_too_long_is_refused_by_its_processor_time() {
        let group = process(SPINS);
        let bounds = Bounds { processor: HALF, clock: LONG };
        let loaded = bounded(pending::<()>(), || group.processor_time(), bounds).await;
        assert_eq!(loaded, Err(Exceeded::Processor(HALF)));
    }

    #[tokio::test]
    async fn who_sleeps_is_refused_by_the_clock() {
        let group = process("exec sleep 3600");
        let bounds = Bounds { processor: HALF, clock: HALF };
        let loaded = bounded(pending::<()>(), || group.processor_time(), bounds).await;
        assert_eq!(loaded, Err(Exceeded::Clock(HALF)));
        assert_eq!(bounded(pending::<()>(), || None, bounds).await, loaded, "unseen");
    }

    /// A stopped process gets no processor, as one on a busy machine, only that no luck helps it.
    #[tokio::test]
    async fn who_waits_for_a_processor_may_take_longer_than_its_processor_time() {
        let group = process(SPINS);
        group.pause();
        let bounds = Bounds { processor: HALF, clock: LONG };
        let takes_long = bounded(sleep(3 * HALF), || group.processor_time(), bounds).await;
        assert_eq!(takes_long, Ok(()));
        group.resume();
        let works_again = bounded(pending::<()>(), || group.processor_time(), bounds).await;
        assert_eq!(works_again, Err(Exceeded::Processor(HALF)));
    }

    #[test]
    fn an_error_says_which_bound_was_met() {
        for (exceeded, text) in [
            (
                Exceeded::Processor(PROCESSOR),
                "it took more than 5 s of processor time to be loaded, and was killed",
            ),
            (Exceeded::Clock(LOADING), "it was not loaded after 30 s, and was killed"),
        ] {
            assert_eq!(exceeded.to_string(), text);
        }
    }
}
