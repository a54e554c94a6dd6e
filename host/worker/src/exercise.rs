//! For the validator: opens, calls and closes many instances of a plugin in one process, at the same time or one after
//! the other. They are answered what the ticket system answered when it was asked once, or else by failures.

mod replay;
mod taken;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ticket_plugin_api::abi::host_side::{Host, Instance, Operation, Returned, Table};
use ticket_plugin_api::abi::status;

use replay::{Recorder, Replay, Tape};
pub use taken::Taken;

/// What an exerciser can be asked. It stands in the body of `Open`, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Call the one instance that is there for this, and remember what its host answers. The report's `odd` says if that is no
    /// success.
    Record { settings: String, operation: Operation, request: String },
    /// Exercise the plugin.
    Run(Run),
}

/// How a plugin is exercised: on each of `threads` threads instances are visited one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The settings that the recording was made with.
    pub settings: String,
    /// Other settings, which half of the instances get.
    pub other: Option<Other>,
    /// What create() and find() get.
    pub request: String,
    pub threads: usize,
    /// How many instances are opened on each thread.
    pub visits: usize,
    /// After so many milliseconds no further instance is opened, once there were [`FEWEST`] on each thread. After ten times
    /// that time no further call is made.
    pub within_ms: u64,
    /// Whether answers and texts are taken away from the plugin when its function returns.
    pub taken_away: bool,
}

/// Instances that each thread opens however long it takes: one that is answered by the ticket system, and one by failures.
pub const FEWEST: usize = 2;

/// Settings beside the first, of which they must differ in each text of `swaps`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Other {
    pub settings: String,
    /// Texts of the first settings and what stands in these in the place of each. No instance has a reason to show the
    /// other one's.
    pub swaps: Vec<(String, String)>,
}

/// What came of a [`Run`].
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// A sentence about what went wrong, if something did.
    pub odd: Option<String>,
    /// Whether the plugin used a call on another thread than the one that received it.
    pub used_elsewhere: bool,
    /// How many instances were visited on all threads.
    pub visits: usize,
    pub milliseconds: u64,
    /// What the process has after it.
    pub taken: Taken,
}

/// A plugin that is exercised.
#[derive(Debug)]
pub struct Exerciser {
    table: Table,
    recording: Option<Instance>,
    tapes: Vec<(Operation, Tape)>,
    /// An instance for each thread that stays open over all runs, so that it shows what is only given back by close().
    kept: Vec<Option<Instance>>,
}

impl Exerciser {
    pub fn new(table: Table) -> Exerciser {
        Exerciser { table, recording: None, tapes: Vec::new(), kept: Vec::new() }
    }

    /// Does what is asked. `host` answers what is recorded.
    pub fn obey(&mut self, order: Order, host: &mut dyn Host) -> Report {
        match order {
            Order::Record { settings, operation, request } => {
                let odd = self.record(&settings, operation, &request, host).err();
                Report { odd, ..Report::default() }
            }
            Order::Run(run) => self.run(&run),
        }
    }

    /// Err says that what is recorded is no success.
    fn record(
        &mut self,
        settings: &str,
        operation: Operation,
        request: &str,
        host: &mut dyn Host,
    ) -> Result<(), String> {
        if self.recording.is_none() {
            let opened = self.table.open(settings, host);
            let opened = opened.map_err(|returned| format!("open() returned {}", returned.status));
            self.recording = Some(opened?);
        }
        let instance = self.recording.as_mut().ok_or("there is no instance")?;
        let mut recorder = Recorder { host, tape: Tape::default() };
        let status = instance.call(operation, request, &mut recorder).status;
        self.tapes.push((operation, recorder.tape));
        match status {
            status::OK | status::UNSUPPORTED => Ok(()),
            other => Err(format!("{}() returned {other}", operation.name())),
        }
    }

    /// Exercises the plugin.
    pub fn run(&mut self, run: &Run) -> Report {
        // Closed, as it would be one instance more than `threads`.
        self.recording = None;
        self.kept.resize_with(run.threads, || None);
        let shared = Shared {
            table: &self.table,
            run,
            sides: sides(run, &self.tapes),
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            used_elsewhere: AtomicBool::new(false),
            visits: AtomicUsize::new(0),
        };
        let odd = match &mut self.kept[..] {
            // On this thread, so that nothing else of the process changes meanwhile.
            [kept] => visit_all(&shared, 0, kept).err(),
            all => thread::scope(|scope| {
                let each = all.iter_mut().enumerate();
                let shared = &shared;
                let running: Vec<_> = each
                    .map(|(thread, kept)| scope.spawn(move || visit_all(shared, thread, kept)))
                    .collect();
                let ended = running.into_iter().map(|thread| thread.join());
                let odd = ended.filter_map(|ended| match ended {
                    Ok(visited) => visited.err(),
                    Err(_) => Some("a thread of the exercise panicked".to_owned()),
                });
                // Each is joined, and the first oddity told.
                odd.fold(None, |first, odd| first.or(Some(odd)))
            }),
        };
        let used_elsewhere = shared.used_elsewhere.load(Ordering::Relaxed);
        let visits = shared.visits.load(Ordering::Relaxed);
        let milliseconds = shared.began.elapsed().as_millis() as u64;
        drop(shared);
        Report { odd, used_elsewhere, visits, milliseconds, taken: taken::now() }
    }
}

/// One of the two settings, with all that its instances get and may not show.
#[derive(Debug)]
struct Side {
    settings: String,
    request: String,
    tapes: Vec<(Operation, Tape)>,
    foreign: Vec<String>,
}

/// The settings' sides: one, or two that differ.
fn sides(run: &Run, tapes: &[(Operation, Tape)]) -> Vec<Side> {
    let swaps = run.other.as_ref().map_or(&[][..], |other| &other.swaps);
    let first = Side {
        settings: run.settings.clone(),
        request: run.request.clone(),
        tapes: tapes.to_vec(),
        foreign: swaps.iter().map(|(_, its)| its.clone()).collect(),
    };
    let second = run.other.as_ref().map(|other| {
        // What was recorded for the first settings has their texts in it: URLs of tickets, for example.
        let swapped = |text: &str| {
            swaps.iter().fold(text.to_owned(), |text, (first, its)| text.replace(first, its))
        };
        Side {
            settings: other.settings.clone(),
            request: swapped(&run.request),
            tapes: tapes.iter().map(|(of, tape)| (*of, tape.map(swapped))).collect(),
            foreign: swaps.iter().map(|(first, _)| first.clone()).collect(),
        }
    });
    [Some(first), second].into_iter().flatten().collect()
}

/// What all threads of a run look at.
struct Shared<'a> {
    table: &'a Table,
    run: &'a Run,
    sides: Vec<Side>,
    began: Instant,
    /// Whether something went wrong on some thread.
    is_over: AtomicBool,
    used_elsewhere: AtomicBool,
    visits: AtomicUsize,
}

impl Shared<'_> {
    /// Whether the `visit`th instance is still to be opened on a thread.
    fn goes_on(&self, visit: usize) -> bool {
        let in_time = self.began.elapsed() < Duration::from_millis(self.run.within_ms);
        self.may_call() && visit < self.run.visits && (in_time || visit < FEWEST)
    }

    fn may_call(&self) -> bool {
        let most = Duration::from_millis(self.run.within_ms.saturating_mul(10));
        !self.is_over.load(Ordering::Relaxed) && self.began.elapsed() < most
    }

    /// Calls an instance. Err is a sentence about what it did that it may not do.
    fn call(
        &self,
        instance: &mut Instance,
        operation: Operation,
        side: &Side,
        fails: bool,
    ) -> Result<Returned, String> {
        let tape = side.tapes.iter().find(|(of, _)| *of == operation && !fails);
        let mut host = Replay::new(tape.map(|(_, tape)| tape), &side.foreign, self.run.taken_away);
        let request = if operation == Operation::Check { "" } else { &side.request };
        let returned = instance.call(operation, request, &mut host);
        if host.used_elsewhere {
            self.used_elsewhere.store(true, Ordering::Relaxed);
        }
        if let Ok(Some(reply)) = &returned.reply {
            host.look("its reply", reply.as_bytes());
        }
        match host.seen {
            None => Ok(returned),
            Some(place) => Err(format!(
                "an instance used another instance's settings: {} has them in {place}",
                operation.name()
            )),
        }
    }
}

/// What the calls of an instance came to. Of calls that failed only the statuses are compared: what a plugin has in common
/// for all its instances, such as a session, can decide at which request it fails.
type Results = Vec<(i32, Option<Returned>)>;

/// What one thread does. Err is a sentence about what went wrong.
fn visit_all(
    shared: &Shared<'_>,
    thread: usize,
    kept: &mut Option<Instance>,
) -> Result<(), String> {
    let mut done = || {
        let mut first: [Option<Results>; 4] = [const { None }; 4];
        let mut visit = 0;
        while shared.goes_on(visit) {
            visit_one(shared, thread, visit, kept, &mut first)?;
            visit += 1;
            shared.visits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    done().inspect_err(|_| shared.is_over.store(true, Ordering::Relaxed))
}

/// Opens an instance, calls it and closes it. After each of its calls the thread's kept instance, which has the other
/// settings, is called in the same way: so that what belongs to one is there while the other is at work.
fn visit_one(
    shared: &Shared<'_>,
    thread: usize,
    visit: usize,
    kept: &mut Option<Instance>,
    first: &mut [Option<Results>; 4],
) -> Result<(), String> {
    let side_of = |number: usize| &shared.sides[number % shared.sides.len()];
    let fails = visit % 2 == 1;
    let number = thread + visit / 2;
    let (side, kept_side) = (side_of(number), side_of(thread + 1));
    let open = |side: &Side| {
        let opened = shared.table.open(&side.settings, &mut Replay::new(None, &[], false));
        opened.map_err(|returned| format!("open() returned {} at time {visit}", returned.status))
    };
    let mut instance = open(side)?;
    let kept = match kept {
        Some(kept) => kept,
        None => kept.insert(open(kept_side)?),
    };
    let mut results = Vec::new();
    for operation in [Operation::Check, Operation::Create, Operation::Find] {
        if !shared.may_call() {
            return Ok(());
        }
        let returned = shared.call(&mut instance, operation, side, fails)?;
        results.push((returned.status, (!fails).then_some(returned)));
        shared.call(kept, operation, kept_side, !fails)?;
    }
    let place = number % shared.sides.len() * 2 + usize::from(fails);
    match &first[place] {
        None => first[place] = Some(results),
        Some(first) if *first == results => {}
        Some(first) => {
            let statuses = |of: &Results| of.iter().map(|(status, _)| *status).collect::<Vec<_>>();
            return Err(format!(
                "check, create and find returned {:?} at time {visit}, {:?} the first time, or replied something else",
                statuses(&results),
                statuses(first)
            ));
        }
    }
    Ok(())
}
