//! What one running call may ask of the host: HTTP, templates, a log line, the time.
//!
//! Invariant: everything that a plugin can make large or numerous has a bound here, and work that takes long is
//! done where it can't hold up other calls.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ticket_plugin_api::Incident;
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest};
use ticket_plugin_api::abi::{MAX_LINES, MAX_LOG, log_level};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::dry_run::{Shown, Step};
use super::exchange;
use super::gateway::Gateway;
use super::redact::Redactor;
use super::template::{News, Templates};
use crate::sent::Noted;
use crate::terminal;
use crate::token_bucket::TokenBucket;
use crate::worker::Peer;

/// Bytes of log lines that are passed on from one call, all lines together.
const MOST_LOGGED: usize = 256 << 10;
/// Bytes that are logged of a request's method and URL, and of its outcome.
const MOST_OF_A_URL: usize = 1 << 10;

/// Why there is no text if filling in the template panicked.
pub(super) const PANICKED: &str = "the template could not be filled in";

/// What all calls of one backend share.
#[derive(Debug)]
pub(super) struct Services {
    /// What messages begin with, for example `backend noc-rt (rt)`.
    pub label: String,
    pub gateway: Gateway,
    pub templates: Templates,
    pub redactor: Redactor,
    /// The statuses of answers that promise that the request was not carried out.
    pub not_done: Vec<u16>,
    pub log_allowance: LogAllowance,
}

/// Bytes that all calls of a backend may log at once, and in each second after that: of lines, and as many of headers and
/// bodies.
const LOG_BURST: f64 = 1_048_576.0;
const LOG_RATE: f64 = 16_384.0;

/// What all calls of a backend may log together: each call alone is bounded, but a plugin may be called often.
#[derive(Debug, Default)]
pub(crate) struct LogAllowance {
    lines: Allowance,
    /// Apart from the plugin's lines, so that none of these is dropped since the operator wants to see headers and bodies.
    exchanges: Allowance,
}

#[derive(Debug)]
struct Allowance(Mutex<TokenBucket>);

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance(Mutex::new(TokenBucket::new(LOG_BURST, LOG_RATE, Instant::now())))
    }
}

impl Allowance {
    /// Whether so many bytes more may be logged now.
    fn spend(&self, bytes: usize) -> bool {
        self.spend_at(bytes, Instant::now())
    }

    fn spend_at(&self, bytes: usize, now: Instant) -> bool {
        self.0.lock().is_ok_and(|mut bucket| bucket.try_take(bytes as f64, now))
    }
}

/// What a call is for, and so what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// For open(), which may not use the network.
    Offline,
    /// For receive(), which may not either: anybody may send what it reads.
    Webhook,
    Normal,
    /// Requests are not sent, and are kept to be shown.
    DryRun,
}

/// How long a call may take.
#[derive(Debug)]
pub(super) struct Time {
    /// When its time is over, unless it goes on.
    over: Mutex<Instant>,
    /// How much time it has from each answer on, and when its time is over at the latest.
    each: Duration,
    latest: Instant,
}

impl Time {
    /// So much from now on, whatever it does.
    pub(super) fn of(all: Duration) -> Time {
        Time::while_it_goes_on(all, all)
    }

    /// So much from now on and again from each answer on that it gets from the ticket system, but no more than `most` altogether. So
    /// a search that reads page after page comes to its end.
    pub(super) fn while_it_goes_on(each: Duration, most: Duration) -> Time {
        let now = Instant::now();
        Time { over: Mutex::new(now + each), each, latest: now + most }
    }

    /// The time of another call, which is a part of this one: it is over when this one's is.
    pub(super) fn of_part(&self) -> Time {
        let over = self.over();
        Time { over: Mutex::new(over), each: Duration::ZERO, latest: over }
    }

    fn over(&self) -> Instant {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the ticket system answered.
    fn go_on(&self) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        *over = (*over).max(self.latest.min(Instant::now() + self.each));
    }
}

/// One call that is under way. The thread that the plugin runs on and the task that waits for it share it.
#[derive(Debug)]
pub(super) struct CallContext {
    pub services: Arc<Services>,
    /// The incident that templates are filled in from. None in open() and in a check.
    pub incident: Option<Arc<Incident>>,
    /// What a comment is about.
    news: News,
    pub time: Time,
    pub mode: Mode,
    /// Whether a request went out that can have created something.
    sent: AtomicBool,
    /// What came of the first such request of which it isn't known whether it was carried out: "was answered 503".
    unclear: OnceLock<String>,
    /// Log lines so far.
    lines: AtomicUsize,
    /// Bytes of log lines so far.
    logged: AtomicUsize,
    /// Whether no more headers and bodies of this call are logged, since all calls of the backend logged too much.
    hides_exchanges: AtomicBool,
    /// Whether a line of this call was dropped since all calls of the backend logged too much.
    dropped: AtomicBool,
    /// The requests of a dry run.
    shown: Mutex<Shown>,
    /// Where the requests of others are noted, if somebody wants to know them.
    requests: Option<Noted>,
}

impl CallContext {
    pub(super) fn new(
        services: Arc<Services>,
        incident: Option<Arc<Incident>>,
        time: Time,
        mode: Mode,
    ) -> CallContext {
        CallContext {
            services,
            incident,
            news: News::default(),
            time,
            mode,
            sent: AtomicBool::new(false),
            unclear: OnceLock::new(),
            lines: AtomicUsize::new(0),
            logged: AtomicUsize::new(0),
            hides_exchanges: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
            shown: Mutex::default(),
            requests: None,
        }
    }

    /// The same call, whose requests are noted.
    pub(super) fn noting(self, requests: Noted) -> CallContext {
        CallContext { requests: Some(requests), ..self }
    }

    /// The same call, whose comments are about these news.
    pub(super) fn with_news(self, news: News) -> CallContext {
        CallContext { news, ..self }
    }

    /// Whether a request went out that can have created something, and may have reached the ticket system.
    pub(super) fn may_have_created(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// What came of a request that can create, if that leaves open whether it was carried out: "was answered 503".
    pub(super) fn unclear(&self) -> Option<&str> {
        self.unclear.get().map(String::as_str)
    }

    /// The requests of a dry run, as they would have gone out, without secrets.
    pub(super) fn shown(&self) -> Vec<Step> {
        self.shown.lock().map(|shown| shown.steps.clone()).unwrap_or_default()
    }

    async fn exchange(&self, request: HttpRequest) -> HttpAnswer {
        let can_create = request.can_change();
        // What people are to see of it, before the request goes where it can't be looked at any more.
        let is_shown = self.requests.is_some() || tracing::enabled!(tracing::Level::DEBUG);
        let line = is_shown.then(|| {
            short(&format!("{} {}", request.method, request.url), &self.services.redactor)
        });
        let sent =
            self.shows_exchanges().then(|| exchange::request(&request, &self.services.redactor));
        // This is set before the request goes out: if the plugin is killed while it waits, the request may have
        // been sent already.
        let before = can_create && self.sent.swap(true, Ordering::Relaxed);
        let started = Instant::now();
        let answer = self.services.gateway.exchange(request, self.remaining()).await;
        if can_create && matches!(answer, HttpAnswer::NotSent(_) | HttpAnswer::Denied(_)) {
            self.sent.store(before, Ordering::Relaxed);
        }
        if matches!(answer, HttpAnswer::Answered { .. }) {
            self.time.go_on();
        }
        if let (true, Some(came)) = (can_create, unclear(&answer, &self.services.not_done)) {
            self.unclear.get_or_init(|| came);
        }
        if let Some(line) = line {
            self.tell(&line, sent, &answer, started.elapsed());
        }
        answer
    }

    /// Whether headers and bodies are logged, too.
    fn shows_exchanges(&self) -> bool {
        tracing::enabled!(tracing::Level::TRACE) && !self.hides_exchanges.load(Ordering::Relaxed)
    }

    /// Notes an exchange, and logs it: `line` is its method and URL, without secrets, `sent` what the request had beside them if that is shown.
    fn tell(&self, line: &str, sent: Option<String>, answer: &HttpAnswer, took: Duration) {
        let outcome = match answer {
            HttpAnswer::Answered { status, .. } => status.to_string(),
            HttpAnswer::NotSent(why) => format!("not sent: {why}"),
            HttpAnswer::Unknown(why) => format!("outcome unknown: {why}"),
            HttpAnswer::Denied(why) => format!("denied: {why}"),
            HttpAnswer::DryRun => "dry run".to_owned(),
        };
        let Services { label, redactor, .. } = &*self.services;
        let outcome = short(&outcome, redactor);
        if let Some(requests) = &self.requests {
            requests.add(line, &outcome, took);
        }
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let rest = sent.map(|sent| sent + &exchange::answer(answer, redactor));
        match rest.filter(|rest| self.may_show(rest.len())) {
            Some(rest) => tracing::trace!("{label}: {line} -> {outcome} ({took:?}){rest}"),
            None => tracing::debug!("{label}: {line} -> {outcome} ({took:?})"),
        }
    }

    /// Whether so many bytes of headers and bodies are logged. If not, a warning says that this call's others aren't
    /// either.
    fn may_show(&self, bytes: usize) -> bool {
        let Services { label, log_allowance, .. } = &*self.services;
        let may = log_allowance.exchanges.spend(bytes);
        if !may && !self.hides_exchanges.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{label}: too many headers and bodies in a short time; \
                 the rest of this call's are not shown"
            );
        }
        may
    }

    /// Whether one more log line, of so many bytes, is passed on. When a bound is reached a warning says that
    /// the rest is dropped.
    fn may_log(&self, line: usize, bytes: usize) -> bool {
        let Services { label, log_allowance, .. } = &*self.services;
        let logged = self.logged.fetch_add(bytes, Ordering::Relaxed);
        if line == MAX_LINES || logged <= MOST_LOGGED && logged + bytes > MOST_LOGGED {
            tracing::warn!(
                "{label}: more than {MAX_LINES} log lines or {MOST_LOGGED} bytes of them in one call; \
                 the rest is dropped"
            );
        }
        if line >= MAX_LINES || logged + bytes > MOST_LOGGED {
            return false;
        }
        let may = log_allowance.lines.spend(bytes);
        if !may && !self.dropped.swap(true, Ordering::Relaxed) {
            tracing::warn!("{label}: it logs too much in a short time; lines are dropped");
        }
        may
    }
}

impl Peer for CallContext {
    async fn http(&self, request: HttpRequest) -> HttpAnswer {
        match self.mode {
            Mode::Offline => HttpAnswer::Denied("open() may not use the network".to_owned()),
            Mode::Webhook => HttpAnswer::Denied("receive() may not use the network".to_owned()),
            Mode::DryRun => match self.services.gateway.admit(&request) {
                Ok(_) => {
                    if let Ok(mut shown) = self.shown.lock() {
                        shown.add(&request, &self.services.redactor);
                    }
                    HttpAnswer::DryRun
                }
                Err(reason) => HttpAnswer::Denied(reason),
            },
            Mode::Normal => self.exchange(request).await,
        }
    }

    /// Fills a template in on a thread of its own, and not on one of those that drive the runtime, since that
    /// may take long. If it isn't done in time it goes on for a while with nobody waiting, and ends by itself:
    /// its steps and its output have bounds.
    async fn render(&self, part: String, format: String, extra: String) -> Result<String, String> {
        let Some(incident) = self.incident.clone() else {
            return Err("there is no incident in this call to render".to_owned());
        };
        if self.services.templates.is_quick(&part, &extra, &incident) {
            let Services { templates, .. } = &*self.services;
            return templates.render(&part, &format, &extra, &incident, &self.news);
        }
        let (services, news) = (Arc::clone(&self.services), self.news.clone());
        let rendering = spawn_blocking(move || {
            services.templates.render(&part, &format, &extra, &incident, &news)
        });
        match timeout(self.remaining(), rendering).await {
            Ok(Ok(rendered)) => rendered,
            Ok(Err(_)) => Err(PANICKED.to_owned()),
            Err(_) => Err("the call's time was over before the template was filled in".to_owned()),
        }
    }

    fn filled(&self, part: &str, format: &str, extra: &str) -> Option<String> {
        let (incident, templates) = (self.incident.as_ref()?, &self.services.templates);
        let quick = templates.is_quick(part, extra, incident);
        let render = || templates.render(part, format, extra, incident, &self.news).ok();
        if quick { render() } else { None }
    }

    fn log(&self, level: u32, message: &str) {
        let line = self.lines.fetch_add(1, Ordering::Relaxed);
        // A line that is dropped anyway isn't worth looking for secrets in it.
        if line > MAX_LINES || self.logged.load(Ordering::Relaxed) > MOST_LOGGED {
            return;
        }
        let redactor = &self.services.redactor;
        // A character of 4 bytes may have been left out where the line was cut.
        let is_cut = message.len() + 4 > MAX_LOG;
        let struck = if is_cut { redactor.strike_cut(message) } else { redactor.strike(message) };
        // A line of which little is left took as long to read as any other.
        let bytes = message.len();
        let message = terminal::line(&struck);
        if !self.may_log(line, bytes.max(message.len())) {
            return;
        }
        let label = &self.services.label;
        match level {
            log_level::ERROR => tracing::error!("{label}: {message}"),
            log_level::WARN => tracing::warn!("{label}: {message}"),
            log_level::INFO => tracing::info!("{label}: {message}"),
            log_level::DEBUG => tracing::debug!("{label}: {message}"),
            _ => tracing::trace!("{label}: {message}"),
        }
    }

    fn printed(&self, line: &str) {
        self.log(log_level::INFO, line);
    }

    fn remaining(&self) -> Duration {
        self.time.over().saturating_duration_since(Instant::now())
    }
}

/// What came of a request, if the server may have carried it out all the same, or may still do so. A refusal (another 4xx) and a rate
/// limit (429) say that it hasn't, and so does a status of `not_done`.
fn unclear(answer: &HttpAnswer, not_done: &[u16]) -> Option<String> {
    match answer {
        HttpAnswer::Answered { status: status @ (408 | 500..), .. }
            if !not_done.contains(status) =>
        {
            Some(format!("was answered {status}"))
        }
        HttpAnswer::Unknown(_) => Some("got no whole answer".to_owned()),
        _ => None,
    }
}

/// Of a method and a URL, or of an outcome, what fits in a line, without secrets.
fn short(text: &str, redactor: &Redactor) -> String {
    let most_read = 2 * MOST_OF_A_URL;
    let line = terminal::line(&redactor.strike_content(text, most_read));
    if line.len() <= MOST_OF_A_URL && text.len() <= most_read {
        return line;
    }
    let start = &line[..line.floor_char_boundary(MOST_OF_A_URL)];
    format!("{start} ... (of {})", terminal::counted(text.len() as u64, "byte"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fuzz::services;

    #[test]
    fn a_backend_that_is_called_often_logs_a_bounded_number_of_bytes_in_an_hour() {
        let (allowance, start) = (Allowance::default(), Instant::now());
        let mut logged = 0;
        for call in 0..36_000 {
            let now = start + Duration::from_millis(100 * call);
            let calls_lines = (0..16).filter(|_| allowance.spend_at(16 << 10, now));
            logged += calls_lines.count() * (16 << 10);
        }
        assert!((50 << 20..70 << 20).contains(&logged), "{logged}");
    }

    #[test]
    fn a_server_that_broke_off_may_have_done_what_it_was_asked_for_unless_it_promises_otherwise() {
        let answered =
            |status| HttpAnswer::Answered { status, headers: Vec::new(), body: Vec::new() };
        for (answer, is_unclear) in [
            (answered(408), true),
            (answered(500), true),
            (answered(503), true),
            (answered(599), true),
            (answered(502), false),
            (answered(429), false),
            (answered(425), false),
            (answered(422), false),
            (answered(201), false),
            (HttpAnswer::Unknown(String::new()), true),
            (HttpAnswer::NotSent(String::new()), false),
            (HttpAnswer::Denied(String::new()), false),
            (HttpAnswer::DryRun, false),
        ] {
            assert_eq!(unclear(&answer, &[502, 429]).is_some(), is_unclear, "{answer:?}");
        }
    }

    #[test]
    fn only_a_search_gets_more_time_with_each_answer_and_that_within_a_bound() {
        let hour = Duration::from_secs(3600);
        let search = Time::while_it_goes_on(hour, 2 * hour);
        let first = search.over();
        search.go_on();
        assert!(search.over() > first);
        assert!(search.over() < first + hour);
        let bounded = Time::while_it_goes_on(hour, hour + Duration::from_nanos(1));
        let first = bounded.over();
        (0..3).for_each(|_| bounded.go_on());
        assert_eq!(bounded.over(), first + Duration::from_nanos(1));
        for whole in [Time::of(hour), search.of_part()] {
            let over = whole.over();
            whole.go_on();
            assert_eq!(whole.over(), over);
        }
    }

    /// What is logged meanwhile, at any level.
    fn logged(doing: impl FnOnce()) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(Arc::new(file.reopen().unwrap()))
            .finish();
        tracing::subscriber::with_default(subscriber, doing);
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn when_enough_of_exchanges_was_shown_each_call_says_once_that_the_rest_is_not() {
        let services = services();
        let call = || {
            CallContext::new(Arc::clone(&services), None, Time::of(Duration::ZERO), Mode::Normal)
        };
        let exchange = |call: &CallContext| {
            let sent = call.shows_exchanges().then(|| "\n> x".repeat(75_000));
            call.tell("GET https://x.org/", sent, &HttpAnswer::DryRun, Duration::ZERO);
        };
        let counts = |call: &CallContext| {
            let log = logged(|| (0..6).for_each(|_| exchange(call)));
            ["TRACE", "DEBUG", "the rest of this call's are not shown"]
                .map(|part| log.matches(part).count())
        };
        assert_eq!(counts(&call()), [3, 3, 1]);
        // The backend's next call finds little of what all calls may log together, and the plugin's lines all of theirs.
        let next = call();
        assert_eq!(counts(&next), [0, 6, 1]);
        let line = "x".repeat(16_000);
        let log = logged(|| (0..15).for_each(|_| next.log(log_level::INFO, &line)));
        assert_eq!(log.matches(&line).count(), 15);
    }

    #[test]
    fn no_more_of_a_calls_lines_is_read_than_its_bound_also_if_nothing_is_left_of_them() {
        let call = CallContext::new(services(), None, Time::of(Duration::ZERO), Mode::Normal);
        let line = "hunter2-the-secret".repeat(900);
        let log = logged(|| (0..500).for_each(|_| call.log(log_level::INFO, &line)));
        assert_eq!(log.matches("***").count() / 900, MOST_LOGGED / line.len());
        assert_eq!(log.matches("the rest is dropped").count(), 1, "{log}");
        assert_eq!(
            call.logged.load(Ordering::Relaxed),
            (MOST_LOGGED / line.len() + 1) * line.len()
        );
    }

    #[test]
    fn of_a_long_url_the_beginning_is_logged_and_no_more_of_it_is_read() {
        let url = "token:\\\"".repeat(32 << 10);
        let call = CallContext::new(services(), None, Time::of(Duration::ZERO), Mode::Normal);
        let started = Instant::now();
        let log = logged(|| {
            for _ in 0..20 {
                let line = short(&url, &call.services.redactor);
                call.tell(&line, None, &HttpAnswer::DryRun, Duration::ZERO);
            }
        });
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert!(log.len() < 30 << 10, "{}", log.len());
        assert!(log.contains("... (of 262144 bytes) -> dry run"), "{log}");
        // Nothing of a secret that begins where the line ends.
        for before in 1000..1024 {
            let url = format!("{}hunter2-the-secret/{}", "x".repeat(before), "y".repeat(10_000));
            let line = short(&url, &call.services.redactor);
            assert!(!line.contains("hunt"), "{line}");
        }
    }
}
