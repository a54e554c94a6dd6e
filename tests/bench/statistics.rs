//! Takes the time of what is measured, in turn or on many threads, and gives median and spread.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The measured values of one rival, sorted.
#[derive(Debug, Default, Clone)]
pub struct Sample {
    values: Vec<f64>,
}

impl Sample {
    /// The value below which `percent` of all lie.
    pub fn percentile(&self, percent: f64) -> f64 {
        let last = self.values.len() - 1;
        self.values[(last as f64 * percent / 100.0).round() as usize]
    }

    pub fn map(&self, change: impl Fn(f64) -> f64) -> Sample {
        self.values.iter().map(|value| change(*value)).collect()
    }

    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Sample {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Sample { values }
    }
}

/// The median, and where 80 % of the values lie.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, middle, high] =
            [10.0, 50.0, 90.0].map(|percent| figure(self.percentile(percent)));
        write!(f, "{middle} ({low} to {high})")
    }
}

/// A number with three significant digits.
pub fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

type Rival<'a> = &'a mut dyn FnMut();

/// How many times a rival is called in a row when its turn comes. A single call would find the processor's
/// caches filled with what the other rivals used.
const RUN: usize = 20;

/// How long a call of each rival takes, in microseconds. The rivals take turns, `rounds` times, after a tenth
/// as many rounds to warm up. In each turn a rival is called [`RUN`] times, and the mean is one value.
pub fn interleaved(rounds: usize, rivals: &mut [Rival<'_>]) -> Vec<Sample> {
    in_turn(rounds, RUN, rivals)
}

/// As [`interleaved`], with one call in each turn, for calls that take long.
pub fn interleaved_each(rounds: usize, rivals: &mut [Rival<'_>]) -> Vec<Sample> {
    in_turn(rounds, 1, rivals)
}

fn in_turn(rounds: usize, run: usize, rivals: &mut [Rival<'_>]) -> Vec<Sample> {
    let mut times = vec![Vec::with_capacity(rounds); rivals.len()];
    for round in 0..rounds + rounds.div_ceil(10) {
        for (rival, times) in rivals.iter_mut().zip(&mut times) {
            let started = Instant::now();
            for _ in 0..run {
                rival();
            }
            if round >= rounds.div_ceil(10) {
                times.push(started.elapsed().as_secs_f64() * 1e6 / run as f64);
            }
        }
    }
    times.into_iter().map(Sample::from_iter).collect()
}

/// How long each of `count` calls takes, in milliseconds. Each thread has a client of its own, which `client`
/// makes, and calls it with the next number that is left.
pub fn timed<C: FnMut(usize)>(
    count: usize,
    threads: usize,
    client: &(impl Fn() -> C + Sync),
) -> Sample {
    let next = AtomicUsize::new(0);
    let run = || {
        let (mut each, mut times) = (client(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return times;
            }
            let started = Instant::now();
            each(number);
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}
