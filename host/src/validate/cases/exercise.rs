//! How a plugin does in many calls: on many threads at once, one after the other for long, and with memory that is taken away.

use ticket_host_worker::exercise::{FEWEST, Report, Run};
use ticket_plugin_api::abi::status;

use crate::validate::bench::Bench;
use crate::validate::exerciser::{self, Exerciser};
use crate::validate::incidents::incident;
use crate::validate::{Done, Verdict, fail, skip};
use crate::worker::watch::Size;

cases! {
    "threads" threads "works with many instances of differing settings on many threads at once (rule R4)";
    "leak" leak "gives back what it took, call by call and when an instance is closed: memory, descriptors, threads";
    "after-call" after_call "reads no answer and no text after the call that it came in (rule R1)";
}

/// An exerciser that has recorded the ticket system's answers, and what each run of it has in common.
struct Exercise {
    exerciser: Exerciser,
    run: Run,
}

impl Exercise {
    async fn new(bench: &mut Bench) -> Result<Exercise, Verdict> {
        let mut other = exerciser::other(&bench.settings, bench.manifest()?);
        if let Some(settings) = &other {
            let settings = serde_json::from_str(&settings.settings).unwrap_or_default();
            let opened = bench.open(&settings).await;
            // A plugin may want more of its settings than its schema says.
            if !opened.is_ok_and(|(returned, _)| returned.status == status::OK) {
                other = None;
            }
        }
        bench.able().await?;
        let settings = bench.settings.json().to_string();
        let mut exerciser = bench.exerciser().await?;
        let (rules, templates) = (&bench.settings.http, &bench.templates);
        let (request, odd) = exerciser.record(rules, templates, &settings, &incident()).await?;
        bench.note = odd.map(|odd| format!("only failures are exercised: {odd}"));
        let run = Run {
            settings,
            other,
            request,
            threads: 1,
            visits: FEWEST,
            within_ms: 2000,
            taken_away: false,
        };
        Ok(Exercise { exerciser, run })
    }

    /// Exercises the plugin as `run` says. Fails if it did something odd.
    async fn run(&mut self, bench: &mut Bench, run: Run) -> Result<Report, Verdict> {
        let threads = run.threads;
        let report = self.exerciser.run(run).await?;
        if report.used_elsewhere {
            bench.used_elsewhere.get_or_insert("one of its functions");
        }
        match &report.odd {
            None => Ok(report),
            Some(odd) if threads == 1 => Err(fail(odd)),
            Some(odd) => Err(fail(format!("with instances on {threads} threads at once: {odd}"))),
        }
    }

    /// Opens, calls and closes so many instances one after the other, and looks what the process has then.
    async fn round(&mut self, bench: &mut Bench, visits: usize) -> Result<Round, Verdict> {
        // The time is a bound for who is slower than before: `visits` are chosen so that they take less.
        let within_ms = if visits > FEWEST { 6000 } else { self.run.within_ms };
        let report = self.run(bench, Run { visits, within_ms, ..self.run.clone() }).await?;
        if report.visits < FEWEST {
            return Err(slow());
        }
        Ok(Round { size: self.exerciser.size(), report })
    }
}

fn slow() -> Verdict {
    skip("its calls take so long that there is no time for enough of them")
}

async fn threads(bench: &mut Bench) -> Done {
    let mut exercise = Exercise::new(bench).await?;
    let run = Run { threads: 16, visits: 200, within_ms: 3000, ..exercise.run.clone() };
    let report = exercise.run(bench, run).await?;
    if report.visits < 16 { Err(slow()) } else { Ok(()) }
}

async fn after_call(bench: &mut Bench) -> Done {
    if !cfg!(target_os = "linux") {
        return Err(skip("only on Linux can memory be taken away"));
    }
    let mut exercise = Exercise::new(bench).await?;
    let run = Run { visits: 20, taken_away: true, ..exercise.run.clone() };
    let report = exercise.run(bench, run).await.map_err(|verdict| {
        // Without that the case `leak` makes the same calls.
        if verdict.message.contains("SIGSEGV") {
            verdict.when("it reads an answer or a text after the call that it came in")
        } else {
            verdict
        }
    })?;
    if report.visits < FEWEST { Err(slow()) } else { Ok(()) }
}

/// What there was after some instances were opened, called and closed.
#[derive(Debug, Clone)]
struct Round {
    report: Report,
    size: Option<Size>,
}

async fn leak(bench: &mut Bench) -> Done {
    /// The first fills pools and caches; what grows in all others is lost.
    const FEW: usize = 5;
    let mut exercise = Exercise::new(bench).await?;
    let mut few = Vec::new();
    for _ in 0..FEW {
        few.push(exercise.round(bench, FEWEST).await?);
    }
    let kept: Vec<String> =
        [lost_descriptors(&few), lost_threads(&few)].into_iter().flatten().collect();
    if !kept.is_empty() {
        return Err(fail(kept.join("; ")));
    }
    let milliseconds = few.iter().map(|round| round.report.milliseconds).sum();
    let Some(visits) = affordable(milliseconds, FEW * FEWEST) else {
        // So slow that only each byte of malloc()'s can tell.
        return match lost_bytes(&few) {
            _ if few[0].report.taken.bytes.is_none() => Err(slow()),
            _ if !exercise.exerciser.counts_exactly() => Err(slow()),
            None => Ok(()),
            Some(lost) => Err(fail(lost)),
        };
    };
    // What collects garbage may grow once, at any time; a leak grows with every instance. So what grew is exercised for
    // longer, and judged by the part in which it grew the least.
    let mut many = vec![exercise.round(bench, visits / 4).await?];
    for _ in 0..3 {
        many.push(exercise.round(bench, visits).await?);
        if lost_bytes(&many).or_else(|| lost_pages(&many)).is_none() {
            return can_be_told(&many);
        }
    }
    let lost = lost_bytes(&many).or_else(|| lost_pages(&many));
    lost.map_or(Ok(()), |lost| Err(fail(lost)))
}

/// How many instances there is time for, from the time that so many took. None if they are too few to be worth it.
fn affordable(milliseconds: u64, visits: usize) -> Option<usize> {
    /// For the quarter that comes first, and the round that is judged.
    const TIME: u64 = 8000;
    /// Instances that are opened, called six times and closed: some 20,000 calls.
    const MOST: usize = 3400;
    let each = milliseconds.max(1) as f64 / visits as f64;
    let affordable = (TIME as f64 / 1.25 / each) as usize;
    (affordable >= 8 * FEWEST).then_some(affordable.min(MOST))
}

/// What grew from each round to the next, and how many instances were opened meanwhile. None where it isn't told.
fn growth(rounds: &[Round], of: impl Fn(&Round) -> Option<u64>) -> Option<Vec<(u64, u64)>> {
    let pairs = rounds.windows(2).map(|pair| {
        Some((of(&pair[1])?.saturating_sub(of(&pair[0])?), pair[1].report.visits.max(1) as u64))
    });
    pairs.collect()
}

fn lost_bytes(rounds: &[Round]) -> Option<String> {
    /// Fewer bytes than malloc() takes for the smallest piece.
    const FEWEST_BYTES: u64 = 16;
    let grown = growth(rounds, |round| round.report.taken.bytes)?;
    let each = grown.iter().map(|(bytes, visits)| bytes / visits).min()?;
    (each >= FEWEST_BYTES).then(|| {
        format!("it has {each} bytes more after each instance that is opened, called three times and closed while another is called")
    })
}

/// Memory that isn't malloc()'s is only told by pages, for which many instances are needed.
fn lost_pages(rounds: &[Round]) -> Option<String> {
    /// Bytes that a process may grow by, since allocators don't give all back.
    const MOST: u64 = 1 << 20;
    let grown = growth(rounds, |round| Some(round.size?.resident))?;
    let (bytes, visits) = grown.into_iter().min()?;
    (bytes > MOST).then(|| {
        format!(
            "it has {} KiB more after each {visits} instances: {} bytes each",
            bytes >> 10,
            bytes / visits
        )
    })
}

/// Whether a leak would have been seen in these rounds.
fn can_be_told(rounds: &[Round]) -> Done {
    /// With fewer a leak is less than what allocators don't give back.
    const ENOUGH: usize = 1000;
    let last = &rounds[rounds.len() - 1];
    match (last.report.taken.bytes, last.size) {
        (Some(_), _) => Ok(()),
        (None, Some(_)) if last.report.visits >= ENOUGH => Ok(()),
        (None, Some(_)) => Err(slow()),
        (None, None) => Err(skip("this platform doesn't tell a process's memory")),
    }
}

/// Few of them are there to be lost, and nothing that a plugin keeps for good is opened again and again.
fn lost_descriptors(rounds: &[Round]) -> Option<String> {
    let grown = growth(rounds, |round| round.report.taken.descriptors)?;
    let (lost, visits) =
        grown.iter().fold((0, 0), |(lost, visits), (more, of)| (lost + more, visits + of));
    (2 * lost >= visits && visits > 0).then(|| {
        format!(
            "it has {lost} descriptors more after {visits} instances were opened, called and closed"
        )
    })
}

/// A runtime's own threads become more at first, and then not with every round.
fn lost_threads(rounds: &[Round]) -> Option<String> {
    let grown = growth(rounds, |round| Some(round.size?.threads))?;
    let (more, visits) = grown.into_iter().min()?;
    (more > 0).then(|| {
        format!("a thread goes on after close(): there are {more} threads more after each {visits} instances")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ticket_host_worker::exercise::Taken;

    fn rounds(visits: usize, bytes: &[u64], others: &[u64]) -> Vec<Round> {
        let round = |(bytes, others): (&u64, &u64)| {
            let taken = Taken { bytes: (*bytes > 0).then_some(*bytes), descriptors: Some(*others) };
            let size = Some(Size { threads: *others, resident: 1000 * others });
            Round { report: Report { visits, taken, ..Report::default() }, size }
        };
        bytes.iter().zip(others).map(round).collect()
    }

    #[test]
    fn what_grows_with_every_instance_is_lost_and_what_grows_once_is_not() {
        let same = [7; 5];
        for (visits, bytes, lost) in [
            (2, [5000, 5000, 5000, 5000, 5000], false),
            (2, [5000, 9000, 9000, 9000, 9000], false),
            (2, [5000, 5100, 5200, 5300, 5300], false),
            (2, [5000, 4000, 5200, 5300, 5400], false),
            (2, [5000, 5080, 5160, 5240, 5320], true),
            (1000, [5000, 5080, 5160, 5240, 5320], false),
            (2, [0; 5], false),
        ] {
            let rounds = rounds(visits, &bytes, &same);
            assert_eq!(lost_bytes(&rounds).is_some(), lost, "{bytes:?}");
        }
        for (others, descriptors, threads, pages) in [
            ([7, 7, 7, 7, 7], false, false, false),
            ([7, 9, 9, 9, 9], false, false, false),
            ([7, 7, 9, 11, 11], true, false, false),
            ([7, 8, 9, 10, 11], true, true, false),
            ([0, 1100, 2200, 3300, 4400], true, true, true),
            ([0, 1100, 2200, 3300, 3300], true, false, false),
        ] {
            let rounds = rounds(2, &[5000; 5], &others);
            let lost = (lost_descriptors(&rounds), lost_threads(&rounds), lost_pages(&rounds));
            let lost = (lost.0.is_some(), lost.1.is_some(), lost.2.is_some());
            assert_eq!(lost, (descriptors, threads, pages), "{others:?}");
        }
    }

    #[test]
    fn who_is_slow_is_exercised_less_and_who_is_very_slow_not_for_long() {
        for (milliseconds, expected) in
            [(0, Some(3400)), (10, Some(3400)), (1000, Some(64)), (60_000, None)]
        {
            assert_eq!(affordable(milliseconds, 10), expected, "{milliseconds}");
        }
    }
}
