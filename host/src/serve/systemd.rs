//! What systemd, or a terminal, tells the service, and what it tells systemd (sd_notify(3)).

use std::time::Duration;

#[cfg(unix)]
use crate::error::Error;
use crate::error::Result;
use crate::tasks::Pulses;

/// A task may keep its thread for so long, before it counts as one that hangs: a busy machine is no defect.
const HANGS: Duration = Duration::from_secs(10);

/// What the service is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Stop,
    #[cfg_attr(not(unix), expect(dead_code, reason = "Windows has no SIGHUP"))]
    Reload,
}

/// SIGTERM and SIGINT, and SIGHUP.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Signals {
    term: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|cause| Error::settings("signals can't be heard").cause(cause))
        };
        Ok(Signals {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> Result<Signals> {
        Ok(Signals)
    }

    pub(super) async fn next(&mut self) -> Signal {
        // An error means that Ctrl-C can't be heard; then the process has to be ended in another way.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Stop
    }
}

/// Without systemd these do nothing.
#[cfg(unix)]
mod notify {
    use sd_notify::NotifyState;

    fn tell(state: &[NotifyState<'_>]) {
        if let Err(cause) = sd_notify::notify(state) {
            tracing::debug!("systemd can't be told: {cause}");
        }
    }

    pub(in super::super) fn ready() {
        tell(&[NotifyState::Ready]);
    }

    pub(in super::super) fn reloading() {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    pub(in super::super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    pub(super) fn alive() {
        tell(&[NotifyState::Watchdog]);
    }

    pub(super) use sd_notify::watchdog_enabled;
}

#[cfg(not(unix))]
mod notify {
    pub(in super::super) fn ready() {}
    pub(in super::super) fn reloading() {}
    pub(in super::super) fn stopping() {}
    pub(super) fn alive() {}
    pub(super) fn watchdog_enabled() -> Option<super::Duration> {
        None
    }
}

pub(super) use notify::{ready, reloading, stopping};

/// Tells systemd that the service is alive for as long as its own tasks are: the runtime has a turn for this one, and none
/// of the others hangs. What the store does is not looked at: neither a full disk nor another program's lock is mended by
/// a restart.
pub(super) async fn watchdog(pulses: Pulses) -> Result<()> {
    let Some(every) = notify::watchdog_enabled() else { std::future::pending().await };
    loop {
        let late = pulses.late(HANGS);
        if late.is_empty() {
            notify::alive();
        } else {
            tracing::error!(
                "systemd is not told that the service lives, since this hangs: {}",
                late.join(", ")
            );
        }
        tokio::time::sleep(every / 3).await;
    }
}
