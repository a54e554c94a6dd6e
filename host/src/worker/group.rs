//! A worker's process and whatever it starts, as one: a process group. It is watched while it works, stopped while it
//! is idle, and ended as a whole.
//!
//! Invariant: a signal is sent to the group only as long as its leader, the worker, isn't reaped. Until then its number
//! is its own. On Windows the leader is all that there is.

use std::io;
use std::pin::pin;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::{Pid, Signal};
use ticket_host_worker::frame::FrameError;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::cgroup::{self, Cgroup};
use super::watch::{self, Usage};
use super::{GRACE, describe};
use crate::lock::lock;

/// How long after a worker's end the host still reads what it wrote before that. Nothing more comes: whoever held the
/// pipe is killed.
const REST: Duration = Duration::from_millis(200);
/// How often the host looks whether a worker has ended of which it knows that it is about to. A descriptor that becomes
/// readable then (pidfd) would need `unsafe` with tokio, and is Linux's alone.
const LOOK: Duration = Duration::from_millis(2);
/// How long a worker is idle before it is stopped. To stop and to wake it takes as long as a short call itself, which
/// the workers of a busy backend need not pay for each call.
const IDLE: Duration = Duration::from_millis(50);

/// The process group of one worker.
#[derive(Debug)]
pub(super) struct Group {
    /// The leader's number, which is the group's.
    pub(super) id: u32,
    leader: Mutex<Leader>,
    /// Bytes of the plugin's library, which all its workers share.
    library: u64,
    /// Whether its plugin can start programs.
    starts_programs: AtomicBool,
    /// Ends what the plugin started if the host ends without having done so: see `host/worker/src/keeper.rs`.
    keeper: Mutex<Option<Child>>,
    cgroup: Option<Cgroup>,
    rest: Mutex<Rest>,
    /// Why the host killed it, after the words "its process".
    condemned: OnceLock<String>,
    /// Whether somebody is about to look at it.
    look_is_due: AtomicBool,
    /// Bytes of memory that it had when the host looked last.
    pub(super) memory: AtomicU64,
}

#[derive(Debug)]
struct Leader {
    child: Child,
    /// How it ended, once it is reaped.
    status: Option<ExitStatus>,
}

/// What a worker does between two calls.
#[derive(Debug, Default)]
struct Rest {
    /// Since when it is idle. None while it is called.
    since: Option<Instant>,
    stopped: bool,
    /// Whether somebody is about to stop it.
    stop_is_due: bool,
}

impl Group {
    /// The group that `child` leads, which was just started, and is to load a library of so many bytes.
    pub(super) fn new(child: Child, library: u64) -> Arc<Group> {
        let id = child.id();
        let group = Arc::new(Group {
            id,
            leader: Mutex::new(Leader { child, status: None }),
            library,
            starts_programs: AtomicBool::new(false),
            keeper: Mutex::default(),
            cgroup: cgroup::of_worker(id),
            rest: Mutex::default(),
            condemned: OnceLock::new(),
            look_is_due: AtomicBool::new(false),
            memory: AtomicU64::new(0),
        });
        watch::add(&group);
        group
    }

    /// To be called before its library is loaded, if that can start programs: from then on they are watched too, and
    /// end with the host.
    ///
    /// # Errors
    /// The keeper can't be started.
    pub(super) fn starts_programs(&self) -> io::Result<()> {
        self.starts_programs.store(true, Ordering::Relaxed);
        #[cfg(unix)]
        lock(&self.keeper).replace(keeper(self.id)?);
        Ok(())
    }

    /// Lets `conversation` come to its end, unless the worker ends before, or is killed since it takes too much.
    pub(super) async fn attended<T>(
        &self,
        conversation: impl Future<Output = Result<T, FrameError>>,
    ) -> Result<T, FrameError> {
        let mut conversation = pin!(conversation);
        tokio::select! {
            biased;
            done = &mut conversation => return done,
            () = self.watched() => {}
        }
        // What it started may hold the pipe open: it would never end.
        self.kill();
        let rest = timeout(REST, conversation).await;
        rest.unwrap_or(Err(FrameError::Pipe(io::ErrorKind::UnexpectedEof.into())))
    }

    /// To be called when a call begins: lets it go on if it was stopped.
    pub(super) fn resume(&self) {
        let mut rest = lock(&self.rest);
        rest.since = None;
        if std::mem::take(&mut rest.stopped) {
            #[cfg(unix)]
            self.signal(Signal::CONT);
        }
    }

    /// To be called when a call has ended: unless another one begins soon, it is stopped, so that it gets no processor
    /// time until it is called again.
    ///
    /// Only on Linux: there a stopped worker ends with its host too. Elsewhere a worker sees that its host is gone by
    /// the end of its pipe, for which it must run.
    pub(super) fn pause(self: &Arc<Self>) {
        if cfg!(target_os = "linux") {
            self.stop_later();
        }
        self.look_later();
    }

    /// Has it stopped once it is idle for [`IDLE`]. One task sees to that for all calls that end meanwhile.
    fn stop_later(self: &Arc<Self>) {
        let mut rest = lock(&self.rest);
        rest.since = Some(Instant::now());
        if std::mem::replace(&mut rest.stop_is_due, true) {
            return;
        }
        let group = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut left = IDLE;
            loop {
                sleep(left).await;
                let Some(group) = group.upgrade() else { return };
                let mut rest = lock(&group.rest);
                left =
                    rest.since.map_or(Duration::ZERO, |since| IDLE.saturating_sub(since.elapsed()));
                if left.is_zero() {
                    rest.stop_is_due = false;
                    // Else it is in a call, at whose end this begins anew.
                    if rest.since.is_some() {
                        rest.stopped = true;
                        #[cfg(unix)]
                        group.signal(Signal::STOP);
                    }
                    return;
                }
            }
        });
    }

    /// Has it looked at in a while, unless that is due already. Looking takes longer than a short call, and on a machine with many
    /// processes much longer; so it is done once for all calls that end meanwhile.
    fn look_later(self: &Arc<Self>) {
        if self.is_bounded() || self.look_is_due.swap(true, Ordering::Relaxed) {
            return;
        }
        let group = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(watch::PAUSE).await;
            let Some(group) = group.upgrade() else { return };
            // Before it is looked at, so that a call that ends during the look has one of its own.
            group.look_is_due.store(false, Ordering::Relaxed);
            group.look().await;
        });
    }

    /// Whether Linux bounds all that it takes, so that nobody need look.
    fn is_bounded(&self) -> bool {
        self.cgroup.as_ref().is_some_and(|cgroup| cgroup.bounds_all)
    }

    /// Waits until the worker has ended. It isn't reaped by that.
    pub(super) async fn ended(&self) {
        while !self.has_ended() {
            sleep(LOOK).await;
        }
    }

    #[cfg(unix)]
    fn has_ended(&self) -> bool {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let leader = lock(&self.leader);
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let runs = |pid| matches!(waitid(WaitId::Pid(pid), look), Ok(None));
        leader.status.is_some() || !self.pid().is_some_and(runs)
    }

    #[cfg(not(unix))]
    fn has_ended(&self) -> bool {
        lock(&self.leader).reap().is_some()
    }

    /// What became of it if it has ended or is about to, after the words "its process".
    pub(super) fn gone(&self) -> Option<String> {
        (self.condemned.get().is_some() || self.has_ended()).then(|| self.how_it_ended())
    }

    /// How it ended, after the words "its process". Whatever it started is killed, if it isn't dead already.
    pub(super) fn how_it_ended(&self) -> String {
        let status = self.reap();
        if let Some(why) = self.condemned.get() {
            return why.clone();
        }
        if let Some(why) = self.cgroup.as_ref().and_then(Cgroup::out_of_memory) {
            return why;
        }
        status.map_or_else(|| "is about to end".to_owned(), describe)
    }

    /// Kills it for the reason `why`, which stands after the words "its process" in the error.
    pub(super) fn condemn(&self, why: String) {
        // If it was condemned already, the first reason stands.
        let _ = self.condemned.set(why);
        self.kill();
    }

    pub(super) fn kill(&self) {
        // Its memory is about to be free, and counts no more.
        self.memory.store(0, Ordering::Relaxed);
        #[cfg(unix)]
        self.signal(Signal::KILL);
        #[cfg(not(unix))]
        // An error means that it has ended already.
        let _ = lock(&self.leader).child.kill();
    }

    /// Kills it, and waits until the worker has ended, which takes long only if the system holds it.
    pub(super) async fn end(&self) {
        self.kill();
        let _ = timeout(GRACE, self.ended()).await;
    }

    /// Ends it, and removes what is left of it, when nobody needs it any more.
    pub(super) fn bury(self: &Arc<Self>) {
        self.kill();
        // Without a runtime the host itself is about to end.
        let Ok(runtime) = Handle::try_current() else { return };
        let group = Arc::clone(self);
        runtime.spawn(async move {
            group.ended().await;
            group.reap();
            let keeper = lock(&group.keeper).take();
            if let Some(mut keeper) = keeper {
                // It is killed already: see `reap`.
                let _ = tokio::task::spawn_blocking(move || keeper.wait()).await;
            }
            if let Some(cgroup) = &group.cgroup {
                cgroup.removed().await;
            }
        });
    }

    /// Processor time that it has used so far. None where that can't be seen.
    pub(super) fn processor_time(&self) -> Option<Duration> {
        let told = self.cgroup.as_ref().and_then(Cgroup::processor_time);
        told.or_else(|| watch::processor_time(self.id))
    }

    /// Looks at the worker every now and then, until it has ended or is killed for what it takes.
    async fn watched(&self) {
        let mut pause = watch::PAUSE;
        loop {
            sleep(pause).await;
            if self.has_ended() {
                return;
            }
            let started = Instant::now();
            self.look().await;
            pause = watch::pause_after(started.elapsed());
        }
    }

    /// Kills it if it takes too much, or the largest worker if all together do.
    async fn look(&self) {
        if self.is_bounded() {
            return;
        }
        let (id, library) = (self.id, self.library);
        let usage = match self.starts_programs.load(Ordering::Relaxed) {
            false => Usage::of_process(id, library),
            true => {
                let looking = tokio::task::spawn_blocking(move || Usage::of_group(id, library));
                looking.await.unwrap_or_default()
            }
        };
        let Some(usage) = usage else {
            if !self.has_ended() {
                watch::is_blind();
            }
            return;
        };
        if let Some(why) = usage.excess() {
            return self.condemn(why);
        }
        if self.condemned.get().is_none() {
            self.memory.store(usage.memory, Ordering::Relaxed);
        }
        watch::weigh_all();
    }

    /// Kills what is left of the group, and reaps the leader if it has ended.
    fn reap(&self) -> Option<ExitStatus> {
        self.kill();
        // The keeper must be dead before the group's number can be another's.
        if let Some(keeper) = &mut *lock(&self.keeper) {
            // An error means that it has ended already.
            let _ = keeper.kill();
        }
        lock(&self.leader).reap()
    }

    #[cfg(unix)]
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.id.cast_signed())
    }

    /// Sends a signal to each process of the group.
    #[cfg(unix)]
    fn signal(&self, signal: Signal) {
        // The lock is held so that nobody reaps the leader meanwhile.
        let leader = lock(&self.leader);
        if let (None, Some(pid)) = (leader.status, self.pid()) {
            // A worker on Linux that has just been started leads no group yet, nor has it started anything. Any other error
            // means that all have ended already.
            if rustix::process::kill_process_group(pid, signal) == Err(rustix::io::Errno::SRCH) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

impl Leader {
    fn reap(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Who drops it without `bury` is about to end, together with the host.
        self.reap();
    }
}

/// Starts the keeper of a group. It is in a group of its own, which nobody stops.
#[cfg(unix)]
fn keeper(group: u32) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    Command::new(super::own_program()?)
        .args([ticket_host_worker::ARGUMENT, ticket_host_worker::KEEP, &group.to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_worker_of_many_short_calls_is_looked_at_once_in_a_while_and_after_the_last_of_them()
    {
        let child = Command::new("sleep").arg("3600").process_group(0).spawn().unwrap();
        let group = Group::new(child, 0);
        if group.is_bounded() {
            return;
        }
        for _ in 0..2 {
            let started = Instant::now();
            for _ in 0..1000 {
                group.resume();
                group.pause();
                yield_now().await;
                let memory = group.memory.load(Ordering::Relaxed);
                assert!(memory == 0 || started.elapsed() >= watch::PAUSE, "not for each call");
            }
            while group.memory.load(Ordering::Relaxed) == 0 {
                sleep(LOOK).await;
            }
            group.memory.store(0, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_worker_is_stopped_when_it_is_idle_and_not_between_calls_that_follow_each_other() {
        let child = Command::new("sleep").arg("3600").process_group(0).spawn().unwrap();
        let group = Group::new(child, 0);
        let is_stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", group.id)).unwrap();
            stat.rsplit_once(')').unwrap().1.starts_with(" T")
        };
        let started = Instant::now();
        let mut ended = started;
        while started.elapsed() < 4 * IDLE {
            let stopped = is_stopped();
            assert!(!stopped || ended.elapsed() >= IDLE, "after {:?}", ended.elapsed());
            group.resume();
            assert!(!is_stopped(), "while it is called");
            group.pause();
            ended = Instant::now();
            sleep(LOOK).await;
        }
        while !is_stopped() {
            sleep(LOOK).await;
        }
        group.resume();
        while is_stopped() {
            sleep(LOOK).await;
        }
        sleep(2 * IDLE).await;
        assert!(!is_stopped(), "while it is called");
    }
}
