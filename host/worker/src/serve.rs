//! What a worker does once its library is loaded: it opens one instance, and makes one call at a time.
//!
//! Invariant: it knows no network, no templates and no config. Whatever a plugin asks for, it asks the host for.

use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use ticket_plugin_api::abi::host_side::{Host, HttpAnswer, HttpRequest, Instance, Returned, Table};
use ticket_plugin_api::abi::{MAX_LINES, status};

use crate::exercise::{Exerciser, Order};
use crate::frame::{self, FrameError, FromWorker, Head, LENGTHS, ToWorker};
use crate::pages::Pages;

/// Does what the host asks of the plugin, until the host closes the pipe.
///
/// # Errors
/// Always ends in one: the host closed the pipe, the pipe broke, or what came was not a frame that may come then.
pub fn serve(pipe: &mut Pipe<impl Read, impl Write>, table: &Table) -> Result<(), FrameError> {
    let mut opened: Option<Instance> = None;
    loop {
        let (message, body) = pipe.receive()?;
        let copy = pipe.apart(&body);
        let body = bytes(copy.as_deref(), &body);
        let text = |body| str::from_utf8(body).map_err(|_| FrameError::OutOfTurn);
        let returned = match message {
            ToWorker::Open { remaining_ms } => {
                pipe.begin(remaining_ms);
                match table.open(text(body)?, pipe) {
                    Ok(instance) => {
                        opened = Some(instance);
                        Returned { status: status::OK, reply: Ok(None) }
                    }
                    Err(returned) => returned,
                }
            }
            ToWorker::Filled { part, format, extra } => {
                pipe.filled.push(Filled { part, format, extra, text: text(body)?.to_owned() });
                continue;
            }
            ToWorker::Call { operation, remaining_ms } => {
                let instance = opened.as_mut().ok_or(FrameError::OutOfTurn)?;
                pipe.begin(remaining_ms);
                instance.call(operation, text(body)?, pipe)
            }
            ToWorker::Receive { head, remaining_ms } => {
                let instance = opened.as_mut().ok_or(FrameError::OutOfTurn)?;
                pipe.begin(remaining_ms);
                let copy = pipe.apart(head.as_bytes());
                instance.receive(text(bytes(copy.as_deref(), head.as_bytes()))?, body, pipe)
            }
            _ => return Err(FrameError::OutOfTurn),
        };
        pipe.filled.clear();
        pipe.send_frame(frame::returned_frame(returned))?;
    }
}

/// The bytes of the copy, if there is one.
fn bytes<'a>(copy: Option<&'a dyn AsRef<[u8]>>, original: &'a [u8]) -> &'a [u8] {
    copy.map_or(original, |copy| copy.as_ref())
}

/// Serves the validator: does what the [`Order`] in the body of each `Open` says, and replies its report.
///
/// # Errors
/// As [`serve`].
pub fn exercise(pipe: &mut Pipe<impl Read, impl Write>, table: &Table) -> Result<(), FrameError> {
    let mut exerciser = Exerciser::new(table.clone());
    loop {
        let (ToWorker::Open { remaining_ms }, order) = pipe.receive()? else {
            return Err(FrameError::OutOfTurn);
        };
        pipe.begin(remaining_ms);
        let order: Order = serde_json::from_slice(&order).map_err(FrameError::Head)?;
        let report = exerciser.obey(order, pipe);
        let reply = serde_json::to_string(&report).map_err(FrameError::Head)?;
        let returned = Returned { status: status::OK, reply: Ok(Some(reply)) };
        pipe.send_frame(frame::returned_frame(returned))?;
    }
}

/// The pipe to the host. For the plugin it is the host: whatever a call asks for goes over it.
#[derive(Debug)]
pub struct Pipe<R, W> {
    pub(crate) input: R,
    pub(crate) output: W,
    /// When the time of the call that is under way is over.
    deadline: Instant,
    /// How many lines the call that is under way has logged.
    lines: usize,
    /// Whether the plugin gets all in [`Pages`].
    guarded: bool,
    /// Texts that the call will most likely ask for.
    filled: Vec<Filled>,
}

/// A text that the host has filled in already, and what a call asks for it by.
#[derive(Debug)]
struct Filled {
    part: String,
    format: String,
    extra: String,
    text: String,
}

impl<R: Read, W: Write> Pipe<R, W> {
    pub fn new(input: R, output: W) -> Pipe<R, W> {
        let (deadline, filled) = (Instant::now(), Vec::new());
        Pipe { input, output, deadline, lines: 0, guarded: false, filled }
    }

    /// The same for the validator: a plugin that reads beyond what it is given, or after the call for which it was given,
    /// crashes.
    #[must_use]
    pub fn guarded(self) -> Pipe<R, W> {
        Pipe { guarded: true, ..self }
    }

    /// Notes that a call begins, which may take so many milliseconds.
    fn begin(&mut self, remaining_ms: u64) {
        self.has_left(remaining_ms);
        self.lines = 0;
    }

    fn has_left(&mut self, remaining_ms: u64) {
        self.deadline = Instant::now() + Duration::from_millis(remaining_ms);
    }

    pub(crate) fn receive(&mut self) -> Result<(ToWorker, Vec<u8>), FrameError> {
        let mut start = [0; LENGTHS];
        self.input.read_exact(&mut start)?;
        let (head, body) = frame::lengths(start)?;
        let mut bytes = vec![0; head];
        self.input.read_exact(&mut bytes)?;
        let head = frame::decode(&bytes, body)?;
        let mut body = vec![0; body];
        self.input.read_exact(&mut body)?;
        Ok((head, body))
    }

    pub(crate) fn send(&mut self, head: &impl Head, body: &[u8]) -> Result<(), FrameError> {
        let start = frame::encode(head, body.len())?;
        let mut parts = [IoSlice::new(&start), IoSlice::new(body)];
        let mut left = &mut parts[..];
        while !left.is_empty() {
            match self.output.write_vectored(left) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        Ok(self.output.flush()?)
    }

    fn send_frame(&mut self, (head, body): (FromWorker, Vec<u8>)) -> Result<(), FrameError> {
        self.send(&head, &body)
    }

    /// Asks the host and waits for its answer.
    fn ask(&mut self, head: &FromWorker, body: &[u8]) -> Result<(ToWorker, Vec<u8>), FrameError> {
        self.send(head, body)?;
        self.receive()
    }
}

impl<R: Read, W: Write> Host for Pipe<R, W> {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        let (head, body) = frame::request_frame(request);
        match self.ask(&head, &body) {
            Ok((ToWorker::Http { answer, remaining_ms }, body)) => {
                self.has_left(remaining_ms);
                frame::http_answer(answer, body)
            }
            Ok(_) => HttpAnswer::Unknown("the host answered something else".to_owned()),
            // The request is over a bound, so that nothing of it was written to the pipe.
            Err(cause @ FrameError::Bound(_)) => {
                HttpAnswer::Denied(format!("the request can't be passed to the host: {cause}"))
            }
            Err(cause) => HttpAnswer::Unknown(format!("the host is gone: {cause}")),
        }
    }

    fn render(&mut self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        let is_it = |filled: &Filled| {
            (&*filled.part, &*filled.format, &*filled.extra) == (part, format, extra)
        };
        if let Some(place) = self.filled.iter().position(is_it) {
            return Ok(self.filled.swap_remove(place).text);
        }
        let head = FromWorker::Render { part: part.to_owned(), format: format.to_owned() };
        let text = |body: Vec<u8>| String::from_utf8_lossy(&body).into_owned();
        match self.ask(&head, extra.as_bytes()) {
            Ok((ToWorker::Rendered { ok: true }, body)) => Ok(text(body)),
            Ok((ToWorker::Rendered { ok: false }, body)) => Err(text(body)),
            Ok(_) => Err("the host answered something else".to_owned()),
            Err(cause) => Err(format!("the host can't be asked: {cause}")),
        }
    }

    /// Sends at most one line more than the host passes on. By that one the host knows that there were more,
    /// and says so.
    fn log(&mut self, level: u32, message: &str) {
        self.lines += 1;
        if self.lines <= MAX_LINES + 1 {
            // If the pipe is closed, the next attempt to read from it ends the worker.
            let _ = self.send(&FromWorker::Log { level }, message.as_bytes());
        }
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn apart(&mut self, bytes: &[u8]) -> Option<Box<dyn AsRef<[u8]>>> {
        if self.guarded { Some(Box::new(Pages::of(bytes)?)) } else { None }
    }
}
