//! Answers the system calls that the sandbox refuses a worker, counts them and tells the operator of them.
//!
//! Invariant: each gets EPERM, and a worker that makes many has to wait for its answers: it can make its host work
//! at [`RATE`] and no faster.
// The sandboxes of other platforms have no listener. The type is there so that whoever starts a worker needn't ask.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ticket_host_worker::permissions::{self, Permissions};

use crate::lock::lock;
use crate::metrics::Metrics;

/// Refused calls that a worker may make at once without being slowed down, as a language's runtime does when it starts.
#[cfg(target_os = "linux")]
const BURST: f64 = 64.0;
/// Refused calls a second that are answered in the long run, for each worker.
#[cfg(target_os = "linux")]
const RATE: f64 = 1000.0;
/// Different calls that are named to the operator.
const MOST_NAMED: usize = 32;

/// The system calls that were refused to one plugin, in all its workers.
#[derive(Debug)]
pub(crate) struct Denials {
    whose: Whose,
    /// The numbers of the calls, each once.
    calls: Mutex<BTreeSet<i64>>,
    /// Whether the kernel tells of them.
    heard: AtomicBool,
    /// Who takes note of them instead: a backend goes on with the worker of a library that was asked what it is.
    heir: OnceLock<Arc<Denials>>,
}

/// Whose calls they are, and so who is told.
#[derive(Debug)]
enum Whose {
    /// The operator, by the log and by a metric.
    Backend { name: String, label: String, permissions: Permissions, metrics: Arc<Metrics> },
    /// The operator, by the log: a library that is asked for its manifest.
    Library(PathBuf),
    /// Nobody, unless somebody asks for them: the validator's.
    Untold,
}

impl Denials {
    /// For the backend `name` with these permissions; `label` is what its lines in the log begin with.
    pub(crate) fn of_backend(
        name: &str,
        label: &str,
        permissions: &Permissions,
        metrics: &Arc<Metrics>,
    ) -> Arc<Denials> {
        Denials::of(Whose::Backend {
            name: name.to_owned(),
            label: label.to_owned(),
            permissions: permissions.clone(),
            metrics: Arc::clone(metrics),
        })
    }

    /// For a library that is only asked for its manifest.
    pub(crate) fn of_library(path: PathBuf) -> Arc<Denials> {
        Denials::of(Whose::Library(path))
    }

    /// For whoever asks for [`Denials::names`], or for nobody.
    pub(crate) fn untold() -> Arc<Denials> {
        Denials::of(Whose::Untold)
    }

    fn of(whose: Whose) -> Arc<Denials> {
        Arc::new(Denials {
            whose,
            calls: Mutex::default(),
            heard: AtomicBool::new(false),
            heir: OnceLock::new(),
        })
    }

    /// Lets `heir` take note of the calls that were refused so far, and of those that will be.
    pub(super) fn pass_on(&self, heir: &Arc<Denials>) {
        let calls = lock(&self.calls);
        heir.heard.fetch_or(self.heard.load(Ordering::Relaxed), Ordering::Relaxed);
        calls.iter().for_each(|call| heir.note(*call));
        // It has one already: then that one goes on.
        let _ = self.heir.set(Arc::clone(heir));
    }

    /// The names of the calls that were refused so far. None where the kernel doesn't tell.
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        let heard = self.heard.load(Ordering::Relaxed);
        heard.then(|| lock(&self.calls).iter().map(|call| name(*call)).collect())
    }

    /// To be called once the kernel tells of refused calls.
    #[cfg(target_os = "linux")]
    pub(super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Takes note of a refused call: counts it, and tells the operator of it if it is the first of its kind.
    fn note(&self, call: i64) {
        if let Some(heir) = self.heir.get() {
            return heir.note(call);
        }
        if let Whose::Backend { name, metrics, .. } = &self.whose {
            metrics.sandbox_denial(name);
        }
        let news = News::of(&mut lock(&self.calls), call);
        if let Some(line) = news.and_then(|news| self.line(call, news)) {
            tracing::warn!("{line}");
        }
    }

    /// What the operator is told of a refused call, if anything.
    fn line(&self, call: i64, news: News) -> Option<String> {
        let (whose, granted) = match &self.whose {
            Whose::Backend { label, permissions, .. } => {
                (format!("{label}: the sandbox refused its plugin"), Some(permissions))
            }
            Whose::Library(path) => {
                let path = path.display();
                (format!("{path}: when it was asked what it is, the sandbox refused it"), None)
            }
            Whose::Untold => return None,
        };
        let name = name(call);
        let permission = permission_for(&name);
        // Where the permission is granted already it is the call's arguments that were refused.
        let lacking =
            permission.filter(|permission| granted.is_some_and(|g| !g.grants(permission)));
        let grant = lacking.and_then(|permission| permissions::setting(permission, None));
        match (news, grant) {
            (News::First, None) => Some(format!("{whose} {name}")),
            (News::First, Some(grant)) => Some(format!(
                "{whose} {name}; if you trust it with that, permissions = {{ {grant} }} grants it"
            )),
            (News::OneTooMany, _) => Some(format!(
                "{whose} more than {MOST_NAMED} different system calls; those after that are not named here"
            )),
        }
    }
}

/// Why the operator is told of a refused call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// The first of its name.
    First,
    /// The first of its name, and as many have been named as are.
    OneTooMany,
}

impl News {
    fn of(calls: &mut BTreeSet<i64>, call: i64) -> Option<News> {
        if calls.len() > MOST_NAMED || !calls.insert(call) {
            return None;
        }
        Some(if calls.len() > MOST_NAMED { News::OneTooMany } else { News::First })
    }
}

/// A call's name and the section of its manual, for example `socket(2)`.
fn name(call: i64) -> String {
    #[cfg(target_os = "linux")]
    if let Some(known) = usize::try_from(call).ok().and_then(syscalls::Sysno::new) {
        return format!("{}(2)", known.name());
    }
    format!("the system call {call}")
}

/// The permission that grants a call of that name. None if no permission does.
fn permission_for(name: &str) -> Option<&'static str> {
    match name.trim_end_matches("(2)") {
        "socket" | "socketpair" | "connect" | "bind" | "listen" | "accept" | "accept4"
        | "sendto" | "sendmsg" | "sendmmsg" | "recvfrom" | "recvmsg" | "recvmmsg"
        | "setsockopt" | "getsockopt" | "getsockname" | "getpeername" | "shutdown" => {
            Some("network")
        }
        "execve" | "execveat" | "fork" | "vfork" | "clone" | "wait4" | "waitid" => Some("exec"),
        "mmap" | "mprotect" => Some("jit"),
        "creat" | "mkdir" | "mkdirat" | "rmdir" | "unlink" | "unlinkat" | "rename" | "renameat"
        | "renameat2" | "link" | "linkat" | "symlink" | "symlinkat" | "fallocate" | "ftruncate"
        | "flock" | "fsync" | "fdatasync" => Some("write"),
        _ => None,
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::listen;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::sync::Arc;
    use std::time::Instant;

    use ticket_host_worker::sandbox::Listener;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::time::sleep;

    use super::{BURST, Denials, RATE};
    use crate::token_bucket::TokenBucket;

    /// Answers what one worker and the programs that it starts are refused, until they have all ended. If this is
    /// given up before, what they are refused fails all the same, with another error (ENOSYS).
    pub(in crate::worker) async fn listen(listener: Listener, denials: Arc<Denials>) {
        if let Err(cause) = answer(listener, &denials).await {
            tracing::warn!("a worker's refused system calls can't be told any more: {cause}");
        }
    }

    async fn answer(mut listener: Listener, denials: &Denials) -> io::Result<()> {
        let mut bucket = TokenBucket::new(BURST, RATE, Instant::now());
        loop {
            // While the worker has to wait it isn't watched either: a call that is interrupted and made again wakes up
            // who watches, each time.
            #[expect(
                deprecated,
                reason = "what replaces it is unsafe, for types that don't own their descriptor; this one does"
            )]
            let watched = AsyncFd::with_interest(listener, Interest::READABLE)?;
            let pause = loop {
                let mut ready = watched.readable().await?;
                match watched.get_ref().receive() {
                    Ok(Some(refused)) => {
                        // Noted before it is answered, so that who waits for the worker finds it noted.
                        denials.note(refused.call);
                        watched.get_ref().refuse(refused)?;
                    }
                    Ok(None) => ready.clear_ready(),
                    Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(cause) => return Err(cause),
                }
                let pause = bucket.take(1.0, Instant::now());
                if !pause.is_zero() {
                    break pause;
                }
            };
            listener = watched.into_inner();
            sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Gauges;

    #[test]
    fn each_call_is_named_once_and_of_many_the_first_thirty_two() {
        let mut calls = BTreeSet::new();
        let mut told = |call| News::of(&mut calls, call);
        assert_eq!(told(1), Some(News::First));
        assert_eq!(told(1), None);
        for call in 2..=32 {
            assert_eq!(told(call), Some(News::First), "{call}");
        }
        assert_eq!(told(33), Some(News::OneTooMany));
        for call in 1..1000 {
            assert_eq!(told(call), None, "{call}");
        }
        assert_eq!(calls.len(), 33, "it does not grow");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_operator_reads_one_line_of_each_kind() {
        use ticket_host_worker::permissions::Network;
        let socket = syscalls::Sysno::socket as i64;
        let ptrace = syscalls::Sysno::ptrace as i64;
        let metrics = Arc::default();
        let of_backend = |permissions: &Permissions| {
            Denials::of_backend("desk", "backend desk (webhook)", permissions, &metrics)
        };
        let backend = of_backend(&Permissions::default());
        let granted =
            of_backend(&Permissions { network: Network::Direct, ..Permissions::default() });
        let library = Denials::of_library("/p/libticket_plugin_x.so".into());
        for (denials, call, news, line) in [
            (
                &backend,
                socket,
                News::First,
                "backend desk (webhook): the sandbox refused its plugin socket(2); if you trust it with that, \
                 permissions = { network = \"direct\" } grants it",
            ),
            (
                &backend,
                ptrace,
                News::First,
                "backend desk (webhook): the sandbox refused its plugin ptrace(2)",
            ),
            (
                &granted,
                socket,
                News::First,
                "backend desk (webhook): the sandbox refused its plugin socket(2)",
            ),
            (
                &backend,
                70_000,
                News::First,
                "backend desk (webhook): the sandbox refused its plugin the system call 70000",
            ),
            (
                &backend,
                ptrace,
                News::OneTooMany,
                "backend desk (webhook): the sandbox refused its plugin more than 32 different system calls; \
                 those after that are not named here",
            ),
            // No permission is granted to a library that is only asked what it is.
            (
                &library,
                socket,
                News::First,
                "/p/libticket_plugin_x.so: when it was asked what it is, the sandbox refused it socket(2)",
            ),
        ] {
            assert_eq!(denials.line(call, news).as_deref(), Some(line));
        }
        backend.note(socket);
        backend.note(socket);
        assert_eq!(backend.names(), None, "the kernel told nothing");
        assert!(lock(&backend.calls).contains(&socket));
        let gauges = Gauges {
            counts: &[],
            steps: &[],
            backends: &[],
            ready: true,
            store: None,
            orphans: &Default::default(),
            argus: None,
            dropped: 0,
            now: crate::store::Timestamp::now(),
        };
        let text = metrics.text(&gauges, crate::metrics::Format::OpenMetrics);
        assert!(text.contains("ticket_host_sandbox_denials_total{backend=\"desk\"} 2"), "{text}");
    }
}
