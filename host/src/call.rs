//! What one running call may ask of the host: HTTP, templates, a log line, the time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Map;
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest};
use ticket_plugin_api::abi::log_level;
use ticket_plugin_api::{Incident, http};

use crate::gateway::Gateway;
use crate::redact::Redactor;
use crate::template::Templates;
use crate::terminal;

/// Log lines of one call that are passed on; the rest is counted.
const MAX_LINES: usize = 1000;

/// What all calls of one backend share.
#[derive(Debug)]
pub struct Services {
    /// `backend noc-rt (rt)`, for messages.
    pub place: String,
    pub gateway: Gateway,
    pub templates: Templates,
    pub redactor: Redactor,
}

/// What a call is for, and so what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// open(): no network.
    Offline,
    Normal,
    /// Requests are kept to be shown, and not sent.
    DryRun,
}

/// One call under way. Shared by the call's own thread and who waits for it.
#[derive(Debug)]
pub struct CallContext {
    pub services: Arc<Services>,
    /// None in a check.
    pub incident: Option<Arc<Incident>>,
    pub deadline: Instant,
    pub mode: Mode,
    /// Whether a request went out that can have created something.
    sent: AtomicBool,
    lines: AtomicUsize,
    shown: Mutex<Vec<String>>,
}

impl CallContext {
    pub fn new(
        services: Arc<Services>,
        incident: Option<Arc<Incident>>,
        deadline: Instant,
        mode: Mode,
    ) -> CallContext {
        CallContext {
            services,
            incident,
            deadline,
            mode,
            sent: AtomicBool::new(false),
            lines: AtomicUsize::new(0),
            shown: Mutex::new(Vec::new()),
        }
    }

    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether a request that can create went out, and may have reached the ticket system.
    pub fn may_have_created(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// The requests of a dry run, as they would have gone out, without secrets.
    pub fn shown(&self) -> Vec<String> {
        self.shown.lock().map(|shown| shown.clone()).unwrap_or_default()
    }

    pub async fn http(&self, request: HttpRequest) -> HttpAnswer {
        match self.mode {
            Mode::Offline => HttpAnswer::Denied("open() may not use the network".to_owned()),
            Mode::DryRun => match self.services.gateway.admit(&request) {
                Ok(_) => {
                    if let Ok(mut shown) = self.shown.lock() {
                        shown.push(show(&request, &self.services.redactor));
                    }
                    HttpAnswer::DryRun
                }
                Err(reason) => HttpAnswer::Denied(reason),
            },
            Mode::Normal => {
                let can_create = !http::is_safe(&request.method);
                let line = format!("{} {}", request.method, request.url);
                // Set first: a plugin that is killed while it waits has sent it.
                let before = can_create && self.sent.swap(true, Ordering::Relaxed);
                let started = Instant::now();
                let answer = self.services.gateway.exchange(request, self.remaining()).await;
                if can_create && matches!(answer, HttpAnswer::NotSent(_) | HttpAnswer::Denied(_)) {
                    self.sent.store(before, Ordering::Relaxed);
                }
                let outcome = match &answer {
                    HttpAnswer::Answered { status, .. } => status.to_string(),
                    HttpAnswer::NotSent(why) => format!("not sent: {why}"),
                    HttpAnswer::Unknown(why) => format!("outcome unknown: {why}"),
                    HttpAnswer::Denied(why) => format!("denied: {why}"),
                    HttpAnswer::DryRun => "dry run".to_owned(),
                };
                let line = self.services.redactor.strike(&format!("{line} -> {outcome}"));
                tracing::debug!(
                    "{}: {} ({:?})",
                    self.services.place,
                    terminal::safe(&line),
                    started.elapsed()
                );
                answer
            }
        }
    }

    /// # Errors
    /// Why not, in words for the plugin's error.
    pub fn render(&self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        let incident =
            self.incident.as_deref().ok_or("there is no incident in this call to render")?;
        let templates = &self.services.templates;
        let rendered = match part {
            "title" => templates.title(incident),
            "body" => {
                let extra: Map<String, serde_json::Value> = match extra {
                    "" => Map::new(),
                    json => serde_json::from_str(json)
                        .map_err(|cause| format!("render()'s extra is no JSON object: {cause}"))?,
                };
                templates.body(incident, format, extra)
            }
            other => return Err(format!("there is no template {other:?}, only title and body")),
        };
        rendered.map_err(|error| match &error.cause {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }

    pub fn log(&self, level: u32, message: &str) {
        match self.lines.fetch_add(1, Ordering::Relaxed) {
            0..MAX_LINES => {}
            MAX_LINES => {
                tracing::warn!(
                    "{}: more than {MAX_LINES} log lines in one call; the rest is dropped",
                    self.services.place
                );
                return;
            }
            _ => return,
        }
        let message = self.services.redactor.strike(message);
        let message = terminal::safe(&message);
        let place = &self.services.place;
        match level {
            log_level::ERROR => tracing::error!("{place}: {message}"),
            log_level::WARN => tracing::warn!("{place}: {message}"),
            log_level::INFO => tracing::info!("{place}: {message}"),
            log_level::DEBUG => tracing::debug!("{place}: {message}"),
            _ => tracing::trace!("{place}: {message}"),
        }
    }
}

/// Headers whose values are credentials, whatever they are.
const CREDENTIALS: [&str; 5] =
    ["authorization", "cookie", "private-token", "job-token", "x-api-key"];

fn show(request: &HttpRequest, redactor: &Redactor) -> String {
    let mut out = format!("{} {}\n", request.method, request.url);
    for (name, value) in &request.headers {
        let value = if CREDENTIALS.iter().any(|c| name.eq_ignore_ascii_case(c)) {
            match value.split_once(' ') {
                Some((scheme, _)) => format!("{scheme} ***"),
                None => "***".to_owned(),
            }
        } else {
            value.clone()
        };
        out.push_str(&format!("{name}: {value}\n"));
    }
    if !request.body.is_empty() {
        out.push('\n');
        match serde_json::from_slice::<serde_json::Value>(&request.body) {
            Ok(json) => out.push_str(&format!("{json:#}")),
            Err(_) => out.push_str(&String::from_utf8_lossy(&request.body)),
        }
        out.push('\n');
    }
    redactor.strike(&out)
}
