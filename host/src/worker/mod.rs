//! A worker as the host sees it: a child process with one plugin library in it.
//!
//! Invariant: a worker that crashes, hangs or sends what it may not send is killed, and the call that is under way
//! fails. The host and all other calls go on.

mod cgroup;
mod checking;
mod confinement;
mod denials;
mod group;
mod loading;
mod pipe;
mod stderr;
pub(crate) mod watch;

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ticket_host_worker::frame::{FrameError, FromWorker, ToWorker};
use ticket_host_worker::library::Image;
use ticket_host_worker::sandbox::Policy;
use ticket_host_worker::{ARGUMENT, EXERCISE, GUARDED};
use ticket_plugin_api::abi::host_side::{OPTIONAL, Operation, Returned};
use tokio::io::BufReader;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::terminal;
pub use confinement::{Confinement, Missing};
pub(crate) use denials::Denials;
use group::Group;
use loading::Bounds;
pub use loading::Exceeded;
pub(crate) use loading::LOADING;
pub use pipe::Peer;
use pipe::{MOST_FILLED, Pipe, Render, lossy};
use stderr::LastWords;

/// How long after the end of a call's time a plugin may still return, before it is given up.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// What `doing` comes to, or None if the time of the peer's call, which an answer can lengthen, was over before.
pub(crate) async fn in_time<T>(peer: &impl Peer, doing: impl Future<Output = T>) -> Option<T> {
    let mut doing = std::pin::pin!(doing);
    while !peer.remaining().is_zero() {
        if let Ok(done) = timeout(peer.remaining(), &mut doing).await {
            return Some(done);
        }
    }
    timeout(GRACE, doing).await.ok()
}

/// How long the rest of what a dead worker wrote may take: a full pipe is read slowly if it was a lot.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// What an operator can do where a plugin can't be confined.
pub const NOT_CONFINED_HELP: &str = "mend that; or set sandbox = \"best-effort\" at the top of the config: \
    then plugins are loaded, confined by what there is";
/// Bytes of a sentence that a worker says of itself or its library.
const LONGEST_SENTENCE: usize = 1 << 10;

/// Why a worker can't be used, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("a worker process can't be started")]
    Start(#[source] io::Error),
    #[error("its process {how}{last_words}")]
    Died { how: String, last_words: String },
    #[error("it did not return in time and was killed after {0:.0} s")]
    TimedOut(f64),
    #[error(transparent)]
    NotLoadedInTime(#[from] Exceeded),
    #[error("its process sent what no worker sends, and was killed")]
    Nonsense(#[source] FrameError),
    #[error("it is not loaded, since the sandbox is not whole: {0}")]
    NotConfined(String),
    #[error("{0}")]
    NotGranted(String),
    #[error("{0}")]
    NotLoaded(String),
}

impl WorkerError {
    /// Whether it could not be started since this machine has no room for another process, or for what the host needs for one.
    pub(crate) fn is_of_machine(&self) -> bool {
        matches!(self, WorkerError::Start(cause) if lacks_room(cause))
    }
}

/// Whether the system refused something for which it has no room now, of processes, memory, descriptors or disk.
#[cfg(unix)]
fn lacks_room(cause: &io::Error) -> bool {
    use rustix::io::Errno;
    let room = [
        Errno::AGAIN,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOSPC,
        Errno::DQUOT,
    ];
    Errno::from_io_error(cause).is_some_and(|errno| room.contains(&errno))
}

#[cfg(not(unix))]
fn lacks_room(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull)
}

/// What the host writes to a worker through. On Linux it is a socket, over which descriptors can be handed.
#[cfg(target_os = "linux")]
type Input = tokio::net::UnixStream;
#[cfg(not(target_os = "linux"))]
type Input = tokio::process::ChildStdin;

/// A worker process with a plugin loaded. Dropping it kills the process.
#[derive(Debug)]
pub struct Worker {
    /// Shared with the task that listens to standard error, which kills a process that floods it.
    group: Arc<Group>,
    pipe: Pipe<Input, BufReader<ChildStdout>>,
    /// The texts that its last creations asked for.
    habits: Vec<Render>,
    listener: JoinHandle<()>,
    /// The task that answers the system calls that the sandbox refuses, if the kernel tells of them.
    refusing: Option<JoinHandle<()>>,
    denials: Arc<Denials>,
    last_words: LastWords,
    /// The plugin's manifest: the JSON as the plugin gave it, not looked at yet.
    pub manifest: String,
    /// The version of plugin-api that a Rust plugin was compiled with; None for any other plugin.
    pub sdk: Option<String>,
    /// Which of the functions that a plugin may be without it has.
    pub offers: Vec<&'static str>,
    /// What the sandbox could not enforce, one sentence each.
    pub unconfined: Vec<String>,
}

impl Worker {
    /// Starts a worker and has it load a library, within so much `time` by the clock.
    ///
    /// # Errors
    /// The process can't be started or confined, or the library can't be loaded.
    pub async fn load(
        image: &Image,
        confinement: &Confinement,
        time: Duration,
    ) -> Result<Worker, WorkerError> {
        Worker::load_with(&[], Some(image), confinement, time).await
    }

    /// As [`Worker::load`], for the validator: in it a plugin crashes that reads beyond what it was given, or after the call
    /// for which it was given; and glibc looks after what it does with its memory.
    ///
    /// # Errors
    /// As [`Worker::load`].
    pub async fn guarded(image: &Image, confinement: &Confinement) -> Result<Worker, WorkerError> {
        let mode = [GUARDED.to_owned()];
        Worker::load_with(&mode, Some(image), confinement, LOADING).await
    }

    /// As [`Worker::load`], for the validator: it takes [orders](ticket_host_worker::exercise::Order) as the settings of
    /// [`Worker::open`], and replies reports.
    ///
    /// # Errors
    /// As [`Worker::load`].
    pub async fn exerciser(
        image: &Image,
        confinement: &Confinement,
    ) -> Result<Worker, WorkerError> {
        let mode = [EXERCISE.to_owned()];
        Worker::load_with(&mode, Some(image), confinement, LOADING).await
    }

    /// What the sandbox can't enforce on this machine, one sentence each. Nothing is loaded.
    ///
    /// # Errors
    /// The process can't be started.
    pub async fn unconfinable() -> Result<Vec<String>, WorkerError> {
        let confinement = Confinement::nothing(Policy::BestEffort);
        let worker = Worker::load_with(&[], None, &confinement, LOADING).await?;
        Ok(worker.unconfined.clone())
    }

    /// Starts a worker and has it confine itself, and then load the library if there is one.
    async fn load_with(
        mode: &[String],
        image: Option<&Image>,
        confinement: &Confinement,
        time: Duration,
    ) -> Result<Worker, WorkerError> {
        let started = Worker::start(mode, confinement, image);
        let mut worker = started.map_err(WorkerError::Start)?;
        let group = Arc::clone(&worker.group);
        let loading = async {
            match (worker.confine(confinement).await?, image) {
                (Ok(()), Some(image)) => worker.take_in(image).await,
                (confined, _) => Ok(confined),
            }
        };
        let used = || group.processor_time();
        match loading::bounded(group.attended(loading), used, Bounds::within(time)).await {
            Err(exceeded) => {
                worker.group.end().await;
                Err(exceeded.into())
            }
            Ok(Err(cause)) => Err(worker.post_mortem(cause).await),
            Ok(Ok(result)) => result.map(|()| worker),
        }
    }

    /// Has the worker confine itself. What it answers is its own word, since nothing of a plugin has run in it yet.
    async fn confine(
        &mut self,
        confinement: &Confinement,
    ) -> Result<Result<(), WorkerError>, FrameError> {
        let confine = ToWorker::Confine {
            policy: confinement.policy,
            permissions: confinement.permissions.clone(),
            host: std::process::id(),
        };
        self.pipe.send(&confine, &[]).await?;
        match self.pipe.receive().await? {
            (FromWorker::Confined { unconfined }, _) => {
                self.unconfined = unconfined.iter().map(|lack| shown(lack)).collect();
                #[cfg(target_os = "linux")]
                self.hear_of_refusals(&confinement.denials)?;
                // One that isn't confined can start programs, too.
                if confinement.permissions.exec || !self.unconfined.is_empty() {
                    return Ok(self.group.starts_programs().map_err(WorkerError::Start));
                }
                Ok(Ok(()))
            }
            (FromWorker::NotConfined, body) => {
                Ok(Err(WorkerError::NotConfined(shown(&lossy(body)))))
            }
            (FromWorker::NotGranted, body) => Ok(Err(WorkerError::NotGranted(shown(&lossy(body))))),
            _ => Err(FrameError::OutOfTurn),
        }
    }

    /// Takes the listener that the worker passed on before it said that it is confined, if it has one.
    #[cfg(target_os = "linux")]
    fn hear_of_refusals(&mut self, denials: &Arc<Denials>) -> io::Result<()> {
        use ticket_host_worker::{handover, sandbox::Listener};
        let passed = match handover::receive(&self.pipe.input) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Vec::new(),
            passed => passed?,
        };
        // Whatever is sent over it from here on would be the plugin's, and nobody would take it.
        rustix::net::shutdown(&self.pipe.input, rustix::net::Shutdown::Read)?;
        let listener = passed.into_iter().next().map(Listener::new);
        if listener.is_some() {
            denials.hear();
        }
        self.refusing = listener.map(|it| tokio::spawn(denials::listen(it, Arc::clone(denials))));
        Ok(())
    }

    /// Has the worker load the library. From here on whatever it says may be the library's word.
    async fn take_in(&mut self, image: &Image) -> Result<Result<(), WorkerError>, FrameError> {
        let load = ToWorker::Load { path: image.path.clone(), sha256: image.sha256 };
        self.pipe.send(&load, &[]).await?;
        match self.pipe.receive().await? {
            (FromWorker::Loaded { sdk, offers }, body) => {
                let has = |name: &&str| offers.iter().any(|offered| offered == name);
                self.offers = OPTIONAL.into_iter().filter(has).collect();
                self.sdk = sdk.map(|sdk| shown(&sdk));
                self.manifest = lossy(body);
                Ok(Ok(()))
            }
            (FromWorker::NotLoaded, body) => Ok(Err(WorkerError::NotLoaded(shown(&lossy(body))))),
            _ => Err(FrameError::OutOfTurn),
        }
    }

    /// Starts the process, and hands over what it needs to confine itself and to load the library.
    fn start(
        mode: &[String],
        confinement: &Confinement,
        image: Option<&Image>,
    ) -> io::Result<Worker> {
        // If there are none, workers are watched.
        let _ = cgroup::tree();
        let mut command = Command::new(own_program()?);
        command.arg(ARGUMENT).args(mode).env_clear();
        if mode == [EXERCISE] {
            // What is freed would else be kept for its thread at first, and counted as if it were in use (mallopt(3)).
            command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
        }
        if mode == [GUARDED] {
            checking::each_free(&mut command);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, by which it is ended together with what it starts. On Linux the worker makes one by itself.
        #[cfg(all(unix, not(target_os = "linux")))]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        #[cfg(windows)]
        ticket_host_worker::sandbox::end_together()?;
        // Programs on Windows don't start without this variable.
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        let granted = |name: &String| std::env::var_os(name).map(|value| (name.clone(), value));
        command.envs(confinement.permissions.env.iter().filter_map(granted));
        let (mut child, input) = spawn(command, confinement, image)?;
        let (output, stderr) = (child.stdout.take(), child.stderr.take());
        let group = Group::new(child, image.map_or(0, length));
        let missing = || io::Error::other("a pipe to the worker is missing");
        let pipes = || -> io::Result<_> {
            let output = ChildStdout::from_std(output.ok_or_else(missing)?)?;
            Ok((output, ChildStderr::from_std(stderr.ok_or_else(missing)?)?))
        };
        let (output, stderr) = pipes().inspect_err(|_| group.bury())?;
        let last_words = LastWords::default();
        let listener = stderr::listen(stderr, last_words.clone(), Arc::downgrade(&group));
        Ok(Worker {
            group,
            pipe: Pipe::new(input, BufReader::new(output)),
            habits: Vec::new(),
            listener: tokio::spawn(listener),
            refusing: None,
            denials: Arc::clone(&confinement.denials),
            last_words,
            manifest: String::new(),
            sdk: None,
            offers: Vec::new(),
            unconfined: Vec::new(),
        })
    }

    /// Opens the instance. Gives what the plugin's open() returned.
    ///
    /// # Errors
    /// The worker has ended or was killed.
    pub async fn open(
        &mut self,
        settings: &str,
        peer: &impl Peer,
    ) -> Result<Returned, WorkerError> {
        let remaining_ms = peer.remaining().as_millis() as u64;
        let open = ToWorker::Open { remaining_ms };
        self.converse(Vec::new(), &open, settings.as_bytes(), peer).await
    }

    /// Calls the instance. Gives what the plugin's function returned.
    ///
    /// # Errors
    /// The worker has ended or was killed.
    pub async fn call(
        &mut self,
        operation: Operation,
        request: &str,
        peer: &impl Peer,
    ) -> Result<Returned, WorkerError> {
        let remaining_ms = peer.remaining().as_millis() as u64;
        let call = ToWorker::Call { operation, remaining_ms };
        let mut filled = Vec::new();
        if operation == Operation::Create {
            let text = |asked: &Render| peer.filled(&asked.part, &asked.format, &asked.extra);
            filled
                .extend(self.habits.iter().filter_map(|asked| Some((asked.clone(), text(asked)?))));
        }
        let returned = self.converse(filled, &call, request.as_bytes(), peer).await?;
        if operation == Operation::Create {
            // What it asked for all the same it will ask for again, as plugins have their ways.
            self.habits.splice(0..0, self.pipe.asked.drain(..));
            self.habits.truncate(MOST_FILLED);
        }
        Ok(returned)
    }

    /// Gives a webhook to the instance. Gives what the plugin's receive() returned.
    ///
    /// # Errors
    /// The worker has ended or was killed.
    pub async fn receive(
        &mut self,
        head: &str,
        body: &[u8],
        peer: &impl Peer,
    ) -> Result<Returned, WorkerError> {
        let remaining_ms = peer.remaining().as_millis() as u64;
        let receive = ToWorker::Receive { head: head.to_owned(), remaining_ms };
        self.converse(Vec::new(), &receive, body, peer).await
    }

    /// Has `denials` tell of the system calls that it was refused and will be.
    pub(crate) fn is_refused_as(&self, denials: &Arc<Denials>) {
        self.denials.pass_on(denials);
    }

    /// What became of it if it has ended or was killed, which can happen between two calls too: after the words
    /// "its process".
    pub fn gone(&self) -> Option<String> {
        self.group.gone()
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.group.id
    }

    async fn converse(
        &mut self,
        filled: Vec<(Render, String)>,
        message: &ToWorker,
        body: &[u8],
        peer: &impl Peer,
    ) -> Result<Returned, WorkerError> {
        let started = Instant::now();
        let resume = || self.group.resume();
        let conversation =
            self.group.attended(self.pipe.converse(filled, message, body, peer, resume));
        match in_time(peer, conversation).await {
            Some(Ok(returned)) => {
                self.group.pause();
                self.last_words.take().lines().for_each(|line| peer.printed(line));
                Ok(returned)
            }
            Some(Err(cause)) => Err(self.post_mortem(cause).await),
            None => Err(self.kill(started).await),
        }
    }

    async fn kill(&mut self, started: Instant) -> WorkerError {
        let after = started.elapsed().as_secs_f64();
        self.group.end().await;
        WorkerError::TimedOut(after)
    }

    /// Finds out what became of a worker whose pipe failed with `cause`, and makes sure that its process ends.
    async fn post_mortem(&mut self, cause: FrameError) -> WorkerError {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match &cause {
            FrameError::Pipe(io)
                if matches!(io.kind(), UnexpectedEof | BrokenPipe | ConnectionReset) => {}
            _ => {
                self.group.end().await;
                return WorkerError::Nonsense(cause);
            }
        }
        // The pipe is closed: the process has ended or is about to, unless it closed its pipe itself and lives on.
        if timeout(GRACE, self.group.ended()).await.is_err() {
            self.group.condemn("closed its pipe to the host, and was killed".to_owned());
        }
        let how = self.group.how_it_ended();
        // Waits until all of its standard error has been read; not for ever, since the system may still hold a
        // process that is killed.
        let _ = timeout(LAST_WORDS, &mut self.listener).await;
        let words = self.last_words.take();
        let words = words.trim();
        let last_words = if words.is_empty() {
            String::new()
        } else {
            format!("; its last words: {}", terminal::line(words))
        };
        WorkerError::Died { how, last_words }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.group.bury();
        self.listener.abort();
        if let Some(refusing) = &self.refusing {
            refusing.abort();
        }
    }
}

/// A worker's sentence as a person gets to see it: on one line, and not too long.
fn shown(sentence: &str) -> String {
    terminal::short_line(sentence, LONGEST_SENTENCE)
}

/// Bytes of a library's copy in memory.
#[cfg(target_os = "linux")]
fn length(image: &Image) -> u64 {
    rustix::fs::fstat(&image.copy).map_or(0, |stat| stat.st_size.cast_unsigned())
}

/// There is no copy.
#[cfg(not(target_os = "linux"))]
fn length(_: &Image) -> u64 {
    0
}

/// Starts a worker's process, and gives what the host writes to it through. What is granted and the library are
/// handed over before anything is written.
#[cfg(target_os = "linux")]
fn spawn(
    mut command: Command,
    confinement: &Confinement,
    image: Option<&Image>,
) -> io::Result<(Child, Input)> {
    use std::os::fd::{AsFd, OwnedFd};
    let (here, there) = std::os::unix::net::UnixStream::pair()?;
    let granted = confinement.granted.iter().map(AsFd::as_fd);
    let handed: Vec<_> = granted.chain(image.map(|image| image.copy.as_fd())).collect();
    ticket_host_worker::handover::send(&here, &handed)?;
    here.set_nonblocking(true)?;
    let here = Input::from_std(here)?;
    Ok((command.stdin(OwnedFd::from(there)).spawn()?, here))
}

#[cfg(not(target_os = "linux"))]
fn spawn(mut command: Command, _: &Confinement, _: Option<&Image>) -> io::Result<(Child, Input)> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let input = child.stdin.take();
    let input = input.ok_or_else(|| io::Error::other("a pipe to the worker is missing"))?;
    Ok((child, Input::from_std(input)?))
}

/// A call to a worker that answers with these bytes, whatever the host sends.
#[cfg(test)]
pub(crate) async fn converse_with(bytes: &[u8], peer: &impl Peer) -> Result<Returned, FrameError> {
    let call = ToWorker::Call { operation: Operation::Create, remaining_ms: 0 };
    Pipe::new(tokio::io::sink(), bytes).converse(Vec::new(), &call, b"{}", peer, || ()).await
}

/// This program's file. On Linux that is the very file that runs, also after a newer one has taken its name:
/// workers always have their host's version.
fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

#[cfg(unix)]
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                4 => " (SIGILL)",
                6 => " (SIGABRT)",
                7 => " (SIGBUS)",
                8 => " (SIGFPE)",
                9 => " (SIGKILL)",
                11 => " (SIGSEGV)",
                15 => " (SIGTERM)",
                _ => "",
            };
            format!("was ended by signal {signal}{name}")
        }
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(not(unix))]
fn describe(status: ExitStatus) -> String {
    // NTSTATUS codes such as 0xC0000005 (access violation) are known by their hexadecimal form.
    match status.code() {
        Some(code) if code < 0 => format!("ended with {:#010X}", code as u32),
        Some(code) => format!("exited with code {code}"),
        None => "ended".to_owned(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_this_machine_has_no_room_for_is_told_from_one_that_cannot_be_started() {
        use rustix::io::Errno;
        for (errno, expected) in [
            (Errno::AGAIN, true),
            (Errno::NOMEM, true),
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOSPC, true),
            (Errno::NOENT, false),
            (Errno::ACCESS, false),
            (Errno::NOEXEC, false),
        ] {
            let cause = io::Error::from(errno);
            assert_eq!(WorkerError::Start(cause).is_of_machine(), expected, "{errno}");
        }
        let other = WorkerError::Start(io::Error::other("a pipe to the worker is missing"));
        assert!(!other.is_of_machine());
        assert!(!WorkerError::NotLoaded("no".to_owned()).is_of_machine());
    }
}
