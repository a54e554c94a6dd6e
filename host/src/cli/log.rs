//! The log on standard error. A line that begins with a level is an event of the host's, and no other line is; a service's
//! has the time before the level, or what a journal wants. In JSON each line is an event.
//!
//! What is logged may hold text from outside. Whatever that says, the lines that it begins are indented; in JSON it begins
//! none.

use std::fmt;
use std::io::{Result, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::Error;
use crate::outlet::Outlet;
use crate::report::{self, colour};
use crate::terminal::{counted, safe_json};

/// What the second and each later line of an event begins with.
const INDENT: &str = "      | ";
/// How long a service that ends waits for who reads the rest of its log.
const LAST: Duration = Duration::from_secs(1);

/// What a service's log is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people; with times, unless the log goes to systemd's journal, which adds them
    Text,
    /// An object a line, with time, level, message and, if there are any, fields
    Json,
}

/// What a line of the log is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Level and message, for who waits for a command.
    Plain,
    /// The time before them.
    Timed,
    /// A priority before them: see sd-daemon(3).
    Journal,
    Json,
}

impl Layout {
    /// The layout of a service's log.
    pub(super) fn of_service(format: Format) -> Layout {
        match format {
            Format::Json => Layout::Json,
            Format::Text if goes_to_journal() => Layout::Journal,
            Format::Text => Layout::Timed,
        }
    }
}

/// Where events are written to.
#[derive(Debug, Clone)]
pub(super) enum Stderr {
    /// A command writes what it has to say itself, so that its warnings stand before its errors.
    Direct,
    /// A service goes on though nobody reads its log.
    Outlet(Outlet),
}

impl Stderr {
    /// A service's standard error.
    pub(super) fn of_service() -> Stderr {
        let tell = |dropped| {
            tracing::warn!(
                "standard error was not read in time: {} of the log were dropped here",
                counted(dropped, "event")
            );
        };
        // Where no thread can be started now, the runtime will say so.
        let outlet = Outlet::start(std::io::stderr(), tell);
        outlet.map_or(Stderr::Direct, |outlet| Stderr::Outlet(outlet.into_log()))
    }

    /// Waits a moment for what was logged to be read. Nothing is logged after that.
    pub(super) fn finish(&self) {
        if let Stderr::Outlet(outlet) = self {
            outlet.flush(LAST);
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, event: &[u8]) -> Result<usize> {
        match self {
            Stderr::Direct => std::io::stderr().write(event),
            Stderr::Outlet(outlet) => outlet.write(event),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Starts the log, to `stderr`; panics are logged as well.
pub(super) fn start(level: LevelFilter, layout: Layout, stderr: Stderr) {
    let log = tracing_subscriber::fmt().with_max_level(level).with_ansi(colour());
    // What can't be written (a full disk, a reader that ended) is lost. To tell of that would be to write to the same place,
    // and there to panic.
    let log = log.with_target(false).log_internal_errors(false);
    let make = move || stderr.clone();
    let lines = Indented { make: make.clone(), priorities: layout == Layout::Journal };
    // What an event is about is a text's own to say.
    let without_spans = filter_fn(|metadata| !metadata.is_span());
    // What libraries trace, such as those for HTTP, may hold secrets.
    let own = Targets::new()
        .with_default(level.min(LevelFilter::DEBUG))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    match layout {
        Layout::Plain | Layout::Journal => {
            let log = log.with_writer(lines).without_time().finish();
            log.with(own).with(without_spans).init();
        }
        Layout::Timed => {
            let log = log.with_writer(lines).with_timer(Clock).finish();
            log.with(own).with(without_spans).init();
        }
        Layout::Json => {
            log.with_writer(make).fmt_fields(Members).event_format(Json).finish().with(own).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        match trace.status() {
            std::backtrace::BacktraceStatus::Captured => tracing::error!("{panic}\n{trace}"),
            _ => tracing::error!("{panic}"),
        }
    }));
}

/// Logs why the service ends.
pub(super) fn last_words(error: &Error) {
    let text = report::text(error);
    tracing::error!("{}", text.strip_prefix("error: ").unwrap_or(&text));
}

/// Whether standard error is connected to systemd's journal: see `JOURNAL_STREAM` in systemd.exec(5). The variable alone
/// doesn't tell, since it is inherited by whatever a service starts.
fn goes_to_journal() -> bool {
    #[cfg(unix)]
    if let (Ok(stream), Ok(stat)) =
        (std::env::var("JOURNAL_STREAM"), rustix::fs::fstat(std::io::stderr()))
    {
        return stream == format!("{}:{}", stat.st_dev, stat.st_ino);
    }
    false
}

/// Writes the time of an event: in UTC, as RFC 3339 has it.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_str(&rfc3339(OffsetDateTime::now_utc()))
    }
}

/// A time in UTC with milliseconds, so that all have the same length.
fn rfc3339(time: OffsetDateTime) -> String {
    let (date, second) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        second.hour(),
        second.minute(),
        second.second(),
        second.millisecond()
    )
}

/// Writes events, each of which it is given as a whole, to what `make` makes.
struct Indented<M> {
    make: M,
    /// Whether each line begins with its event's priority, for the journal.
    priorities: bool,
}

impl<'a, W: Write, M: MakeWriter<'a, Writer = W>> MakeWriter<'a> for Indented<M> {
    type Writer = Event<W>;

    fn make_writer(&'a self) -> Event<W> {
        Event { out: self.make.make_writer(), start: "" }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Event<W> {
        let start = if self.priorities { priority(*event.level()) } else { "" };
        Event { out: self.make.make_writer_for(event), start }
    }
}

/// What a line of this level begins with in a text for the journal: the priority of syslog(3) in angle brackets.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// The writer of one event.
struct Event<W> {
    out: W,
    /// What each of its lines begins with.
    start: &'static str,
}

impl<W: Write> Write for Event<W> {
    fn write(&mut self, event: &[u8]) -> Result<usize> {
        self.out.write_all(&indented(event, self.start))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }
}

/// An event whose lines but the first are indented, each after `start`. What only looks like the end of a line is shown.
fn indented(event: &[u8], start: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(start.len() + event.len() + 1);
    out.extend_from_slice(start.as_bytes());
    let text = event.trim_ascii_end();
    for byte in text {
        match byte {
            b'\n' => {
                out.push(b'\n');
                out.extend_from_slice(start.as_bytes());
                out.extend_from_slice(INDENT.as_bytes());
            }
            b'\r' => out.extend_from_slice(b"\\r"),
            other => out.push(*other),
        }
    }
    out.push(b'\n');
    out
}

/// Keeps what a span says as a JSON object.
struct Members;

impl<'w> FormatFields<'w> for Members {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'w>, fields: R) -> fmt::Result {
        let mut said = Line::default();
        fields.record(&mut said);
        let json = serde_json::to_string(&said.fields).map_err(|_| fmt::Error)?;
        out.write_str(&json)
    }
}

/// Writes an event as a JSON object on one line, with what the spans say in which it is.
struct Json;

#[derive(Default, Serialize)]
struct Line {
    time: String,
    level: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
}

impl<S> FormatEvent<S, Members> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Members>,
        mut out: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let mut line = Line {
            time: rfc3339(OffsetDateTime::now_utc()),
            level: event.metadata().level().as_str(),
            message: String::new(),
            fields: Map::new(),
        };
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let said = extensions.get::<FormattedFields<Members>>();
            let said = said.and_then(|said| serde_json::from_str::<Map<_, _>>(&said.fields).ok());
            line.fields.extend(said.unwrap_or_default());
        }
        event.record(&mut line);
        let json = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(out, "{}", safe_json(&json))
    }
}

impl Line {
    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    /// What is written of these two events.
    fn written(log: impl FnOnce(Written) -> tracing::Dispatch) -> String {
        let written = Written::default();
        tracing::dispatcher::with_default(&log(written.clone()), || {
            tracing::warn!("it said: no\n INFO ticket 99: created\r INFO x\n\n");
            tracing::info!(
                key = "a\n INFO b",
                number = 7,
                "a report\n  of two lines\u{2028}\u{85}x"
            );
        });
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    fn text(priorities: bool) -> String {
        written(|written| {
            let make = move || written.clone();
            let log = tracing_subscriber::fmt().with_writer(Indented { make, priorities });
            log.with_ansi(false).without_time().with_target(false).finish().into()
        })
    }

    #[test]
    fn a_text_from_outside_begins_no_line_of_the_log() {
        assert_eq!(
            text(false),
            " WARN it said: no\n      |  INFO ticket 99: created\\r INFO x\n \
             INFO a report\n      |   of two lines\u{2028}\\u{85}x key=\"a\\n INFO b\" number=7\n"
        );
    }

    #[test]
    fn each_line_for_the_journal_begins_with_its_events_priority() {
        assert_eq!(
            text(true),
            "<4> WARN it said: no\n<4>      |  INFO ticket 99: created\\r INFO x\n<6> \
             INFO a report\n<6>      |   of two lines\u{2028}\\u{85}x key=\"a\\n INFO b\" number=7\n"
        );
        let of = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(priority);
        assert_eq!(of, ["<3>", "<4>", "<6>", "<7>", "<7>"]);
    }

    #[test]
    fn in_json_an_event_is_one_line_whatever_a_text_from_outside_says() {
        let text = written(|written| {
            let log = tracing_subscriber::fmt().with_writer(move || written.clone());
            let log = log.with_ansi(true).fmt_fields(Members).event_format(Json);
            log.finish().into()
        });
        let harmful = text.contains(['\r', '\u{2028}', '\u{85}']);
        assert_eq!((text.matches('\n').count(), harmful), (2, false), "{text}");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[0]["message"], "it said: no\n INFO ticket 99: created\r INFO x\n\n");
        assert_eq!(lines[0].get("fields"), None);
        assert_eq!(lines[1]["message"], "a report\n  of two lines\u{2028}\u{85}x");
        assert_eq!(lines[1]["fields"], serde_json::json!({"key": "a\n INFO b", "number": 7}));
        let order = ["{\"time\":\"", "\"level\":", "\"message\":"];
        let places = order.map(|name| text.find(name).unwrap());
        assert!(places.is_sorted() && places[0] == 0, "{text}");
    }

    #[test]
    fn in_json_an_event_says_what_the_spans_say_in_which_it_is() {
        let out = Written::default();
        let make = out.clone();
        let log = tracing_subscriber::fmt().with_writer(move || make.clone());
        let log = log.fmt_fields(Members).event_format(Json).finish();
        tracing::subscriber::with_default(log, || {
            tracing::info_span!("try", ticket = 17, backend = "a\nb").in_scope(|| {
                tracing::info!(attempt = 2, "x");
            });
        });
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        let fields = serde_json::json!({"ticket": 17, "backend": "a\nb", "attempt": 2});
        assert_eq!(line["fields"], fields);
    }

    #[test]
    fn times_are_those_of_rfc_3339_and_all_of_one_length() {
        for (nanoseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_690_925_020_999_999, "2026-11-26T11:02:05.020Z"),
        ] {
            let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap();
            assert_eq!(rfc3339(time), text);
        }
    }
}
