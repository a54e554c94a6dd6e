//! A worker: a child process that holds one plugin library, and the host's end of its pipe.
//!
//! Invariant: nothing that a worker sends is trusted. A worker that crashes, hangs or talks
//! nonsense costs the call that is under way and is killed; the host goes on.

pub mod child;
mod exercise;
mod frame;
mod stdio;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest, Operation, Returned};
use ticket_plugin_api::abi::log_level;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::call::CallContext;
use crate::permissions::Permissions;
use crate::terminal;
use frame::{FromWorker, ToWorker};

/// The argument that makes this program a worker.
pub const ARGUMENT: &str = "worker";
/// How long loading a library may take: its constructors and its entry function.
const LOADING: Duration = Duration::from_secs(5);
/// How long a plugin may take to notice that its time is over, before it is killed.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes that are kept of what a worker last wrote to standard error.
const LAST_WORDS: usize = 2048;

/// Why a worker is no more.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("a worker process can't be started")]
    Start(#[source] io::Error),
    #[error("its process {how}{last_words}")]
    Died { how: String, last_words: String },
    #[error("it did not return in time and was killed after {0:.1} s")]
    TimedOut(f64),
    #[error("its process sent what no worker sends, and was killed")]
    Nonsense(#[source] io::Error),
    #[error("{0}")]
    NotLoaded(String),
}

/// What a worker's plugin may ask for while its function runs.
pub trait Peer: Sync {
    fn http(&self, request: HttpRequest) -> impl Future<Output = HttpAnswer> + Send;
    /// The text; Err says why there is none.
    fn render(&self, part: &str, format: &str, extra: &str) -> Result<String, String>;
    fn log(&self, level: u32, message: &str);
    /// A line that the plugin wrote to standard output or standard error.
    fn printed(&self, line: &str);
    /// How long the call may still take.
    fn remaining(&self) -> Duration;
}

impl Peer for CallContext {
    async fn http(&self, request: HttpRequest) -> HttpAnswer {
        CallContext::http(self, request).await
    }

    fn render(&self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        CallContext::render(self, part, format, extra)
    }

    fn log(&self, level: u32, message: &str) {
        CallContext::log(self, level, message);
    }

    fn printed(&self, line: &str) {
        CallContext::log(self, log_level::INFO, line);
    }

    fn remaining(&self) -> Duration {
        CallContext::remaining(self)
    }
}

/// A worker process with a plugin loaded. Dropping it kills the process.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    listener: JoinHandle<()>,
    last_words: Arc<Mutex<String>>,
    /// The plugin's manifest, as it gave it.
    pub manifest: String,
    /// The plugin-api version of a Rust plugin.
    pub sdk: Option<String>,
    /// What the sandbox could not enforce, a sentence each.
    pub unconfined: Vec<String>,
}

impl Worker {
    /// Starts a worker and has it load `library`, whose bytes have the digest `sha256` if one is
    /// given, confined to `permissions`.
    pub async fn load(
        library: &Path,
        sha256: Option<&str>,
        permissions: &Permissions,
    ) -> Result<Worker, WorkerError> {
        let mut worker = Worker::start(permissions).map_err(WorkerError::Start)?;
        let load = ToWorker::Load {
            // The worker has a working directory of its own.
            path: std::path::absolute(library).map_err(WorkerError::Start)?,
            sha256: sha256.map(str::to_owned),
            permissions: permissions.clone(),
            host: std::process::id(),
        };
        let started = Instant::now();
        let loaded = timeout(LOADING, async {
            worker.send(&load, &[]).await?;
            worker.receive().await
        });
        match loaded.await {
            Err(_) => Err(worker.kill(started).await),
            Ok(Err(cause)) => Err(worker.post_mortem(cause).await),
            Ok(Ok((FromWorker::Loaded { sdk, unconfined }, body))) => {
                worker.sdk = sdk;
                worker.unconfined = unconfined;
                worker.manifest = String::from_utf8_lossy(&body).into_owned();
                Ok(worker)
            }
            Ok(Ok((FromWorker::NotLoaded, body))) => {
                Err(WorkerError::NotLoaded(String::from_utf8_lossy(&body).into_owned()))
            }
            Ok(Ok(_)) => Err(WorkerError::Nonsense(out_of_turn())),
        }
    }

    fn start(permissions: &Permissions) -> io::Result<Worker> {
        let mut command = Command::new(own_program()?);
        command
            .arg(ARGUMENT)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(windows)]
        crate::sandbox::end_together()?;
        // Windows programs don't start without it.
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        let granted = |name: &String| std::env::var_os(name).map(|value| (name.clone(), value));
        command.envs(permissions.env.iter().filter_map(granted));
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe to the worker is missing");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let last_words = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().ok_or_else(missing)?;
        Ok(Worker {
            input: input.ok_or_else(missing)?,
            output: BufReader::new(output.ok_or_else(missing)?),
            listener: tokio::spawn(listen(stderr, Arc::clone(&last_words))),
            last_words,
            child,
            manifest: String::new(),
            sdk: None,
            unconfined: Vec::new(),
        })
    }

    /// Opens the instance; Ok is what open() returned.
    pub async fn open(
        &mut self,
        settings: &str,
        peer: &impl Peer,
    ) -> Result<Returned, WorkerError> {
        let remaining_ms = peer.remaining().as_millis() as u64;
        self.converse(ToWorker::Open { remaining_ms }, settings.as_bytes(), peer).await
    }

    /// Calls the instance; Ok is what the plugin's function returned.
    pub async fn call(
        &mut self,
        operation: Operation,
        request: &str,
        peer: &impl Peer,
    ) -> Result<Returned, WorkerError> {
        let remaining_ms = peer.remaining().as_millis() as u64;
        let call = ToWorker::Call { operation: operation.into(), remaining_ms };
        self.converse(call, request.as_bytes(), peer).await
    }

    /// Opens instances in the worker, on as many threads at once, calls and closes them, `times`
    /// on each thread; every request gets the same answer. For the validator.
    pub async fn exercise(
        &mut self,
        threads: usize,
        times: usize,
        settings: &str,
        peer: &impl Peer,
    ) -> Result<Returned, WorkerError> {
        self.converse(ToWorker::Exercise { threads, times }, settings.as_bytes(), peer).await
    }

    /// Bytes of memory that the process has (Linux).
    pub fn memory(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()?)).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * 4096)
    }

    /// Sends `message` and does what the plugin asks for, until its function has returned.
    async fn converse(
        &mut self,
        message: ToWorker,
        body: &[u8],
        peer: &impl Peer,
    ) -> Result<Returned, WorkerError> {
        let started = Instant::now();
        let returned = timeout(peer.remaining() + GRACE, async {
            self.send(&message, body).await?;
            loop {
                let (message, body) = self.receive().await?;
                match message {
                    FromWorker::Returned { status, replied, bad } => {
                        return Ok(frame::returned(status, replied, bad, body));
                    }
                    FromWorker::Http { method, url, headers } => {
                        let request = HttpRequest { method, url, headers, body };
                        let (head, body) = frame::http_frame(peer.http(request).await);
                        self.send(&ToWorker::Http(head), &body).await?;
                    }
                    FromWorker::Render { part, format } => {
                        let extra = String::from_utf8_lossy(&body);
                        let rendered = peer.render(&part, &format, &extra);
                        let ok = rendered.is_ok();
                        let text = rendered.unwrap_or_else(|reason| reason);
                        self.send(&ToWorker::Rendered { ok }, text.as_bytes()).await?;
                    }
                    FromWorker::Log { level } => peer.log(level, &String::from_utf8_lossy(&body)),
                    FromWorker::Loaded { .. } | FromWorker::NotLoaded => return Err(out_of_turn()),
                }
            }
        });
        match returned.await {
            Ok(Ok(returned)) => {
                let written = self.last_words.lock().map(|mut words| std::mem::take(&mut *words));
                for line in written.unwrap_or_default().lines() {
                    peer.printed(line);
                }
                Ok(returned)
            }
            Ok(Err(cause)) => Err(self.post_mortem(cause).await),
            Err(_) => Err(self.kill(started).await),
        }
    }

    async fn send(&mut self, head: &ToWorker, body: &[u8]) -> io::Result<()> {
        self.input.write_all(&frame::encode(head, body)?).await
    }

    async fn receive(&mut self) -> io::Result<(FromWorker, Vec<u8>)> {
        let mut start = [0; 8];
        self.output.read_exact(&mut start).await?;
        let (head, body) = frame::lengths(start)?;
        // Grows as bytes come: a length alone costs the host no memory.
        let mut bytes = Vec::new();
        (&mut self.output).take((head + body) as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < head + body {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        frame::decode(bytes, head)
    }

    async fn kill(&mut self, started: Instant) -> WorkerError {
        let after = started.elapsed().as_secs_f64();
        // An error means that it is gone already.
        let _ = self.child.kill().await;
        WorkerError::TimedOut(after)
    }

    /// What became of a worker whose pipe failed with `cause`.
    async fn post_mortem(&mut self, cause: io::Error) -> WorkerError {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        if !matches!(cause.kind(), UnexpectedEof | BrokenPipe | ConnectionReset) {
            let _ = self.child.kill().await;
            return WorkerError::Nonsense(cause);
        }
        // It closed its pipe: it is gone or about to be, unless it closed it and lives on.
        let how = match timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) => describe(status),
            Ok(Err(cause)) => format!("is gone ({cause})"),
            Err(_) => {
                let _ = self.child.kill().await;
                "closed its pipe to the host, and was killed".to_owned()
            }
        };
        // Until the end of its standard error, which a child of its own may keep open.
        let _ = timeout(GRACE, &mut self.listener).await;
        let words = self.last_words.lock().map(|words| words.trim().to_owned()).unwrap_or_default();
        let last_words = if words.is_empty() {
            words
        } else {
            format!("; its last words: {}", terminal::safe(&words))
        };
        WorkerError::Died { how, last_words }
    }
}

fn out_of_turn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a frame out of turn")
}

/// This program's file: also where it was replaced by a newer one while it ran.
fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

/// Keeps the end of what a worker writes to standard error, and reads on so that it never blocks.
async fn listen(stderr: ChildStderr, last_words: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr.take(u64::MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut lines).take(LAST_WORDS as u64);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let Ok(mut words) = last_words.lock() else { return };
        words.push_str(&String::from_utf8_lossy(&line));
        while words.len() > LAST_WORDS {
            let cut = words.find('\n').map_or(words.len(), |at| at + 1);
            words.drain(..cut);
        }
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
