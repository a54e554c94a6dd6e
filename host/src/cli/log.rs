//! The log on standard error. A line that begins with a level is an event of the host's, and no other line is.
//!
//! What is logged may hold text from outside. Whatever that says, the lines that it begins are indented.

use std::io::{Result, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::report::colour;

/// What the second and each later line of an event begins with.
const INDENT: &str = "      | ";

/// Starts the log; panics are logged as well.
pub(super) fn start(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(Indented(std::io::stderr))
        .with_ansi(colour())
        .without_time()
        .with_target(false)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        match trace.status() {
            std::backtrace::BacktraceStatus::Captured => tracing::error!("{panic}\n{trace}"),
            _ => tracing::error!("{panic}"),
        }
    }));
}

/// Writes events, each of which it is given as a whole, to what this makes.
struct Indented<M>(M);

impl<'a, W: Write, M: MakeWriter<'a, Writer = W>> MakeWriter<'a> for Indented<M> {
    type Writer = Event<W>;

    fn make_writer(&'a self) -> Event<W> {
        Event(self.0.make_writer())
    }
}

/// The writer of one event.
struct Event<W>(W);

impl<W: Write> Write for Event<W> {
    fn write(&mut self, event: &[u8]) -> Result<usize> {
        self.0.write_all(&indented(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// An event whose lines but the first are indented. What only looks like the end of a line is shown.
fn indented(event: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.len() + 1);
    let text = event.trim_ascii_end();
    for byte in text {
        match byte {
            b'\n' => {
                out.push(b'\n');
                out.extend_from_slice(INDENT.as_bytes());
            }
            b'\r' => out.extend_from_slice(b"\\r"),
            other => out.push(*other),
        }
    }
    out.push(b'\n');
    out
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

    #[test]
    fn a_text_from_outside_begins_no_line_of_the_log() {
        let written = Written::default();
        let make = {
            let written = written.clone();
            move || written.clone()
        };
        let log = tracing_subscriber::fmt().with_writer(Indented(make)).with_ansi(false);
        let log = log.without_time().with_target(false).finish();
        tracing::subscriber::with_default(log, || {
            tracing::warn!("it said: no\n INFO ticket 99: created\r INFO x\n\n");
            tracing::info!(key = "a\n INFO b", "a report\n  of two lines\n");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            " WARN it said: no\n      |  INFO ticket 99: created\\r INFO x\n \
             INFO a report\n      |   of two lines\n      |  key=\"a\\n INFO b\"\n"
        );
    }
}
