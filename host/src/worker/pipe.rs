//! The host's end of the pipe to a worker: it makes one call at a time, and answers what the plugin asks for
//! meanwhile.
//!
//! Invariant: nothing that comes out of the pipe is trusted. Each frame has a bound
//! ([`ticket_host_worker::frame`]), and so has all that one call sends. No input makes the host panic.

use std::io::{self, IoSlice};
use std::time::Duration;

use ticket_host_worker::frame::{self, FrameError, FromWorker, Head, LENGTHS, ToWorker};
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest, Returned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Frames that a worker may send in one call: requests, texts to render, log lines and the reply.
const MOST_FRAMES: usize = 16_384;
/// Bytes that the bodies of all frames of one call may have together.
const MOST_BYTES: usize = 256 << 20;
/// Texts that are filled in before a call asks for them: a title and a body.
pub(super) const MOST_FILLED: usize = 2;
/// Bytes of what a plugin may add to such a text.
const SHORT: usize = 1 << 10;
/// Bytes of memory that are taken before the first of those comes that a worker has announced.
const FIRST_PART: usize = 4 << 10;

/// What a worker's plugin may ask for while its function runs.
pub trait Peer: Send + Sync {
    fn http(&self, request: HttpRequest) -> impl Future<Output = HttpAnswer> + Send;
    /// Fills in the operator's template `part` (`title` or `body`) and gives it in `format`. Err says why it can't.
    fn render(
        &self,
        part: String,
        format: String,
        extra: String,
    ) -> impl Future<Output = Result<String, String>> + Send;
    /// The same at once, if that is quick, and if there is such a text.
    fn filled(&self, _part: &str, _format: &str, _extra: &str) -> Option<String> {
        None
    }
    fn log(&self, level: u32, message: &str);
    /// A line that the plugin wrote to standard output or standard error.
    fn printed(&self, line: &str);
    /// How long the call may still take.
    fn remaining(&self) -> Duration;
}

/// A text that a plugin asks for: a template's name, the form of the text, and what the plugin adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Render {
    pub part: String,
    pub format: String,
    pub extra: String,
}

/// The pipe in both directions.
#[derive(Debug)]
pub(super) struct Pipe<W, R> {
    pub(super) input: W,
    output: R,
    /// Bytes of the frames that came since the call began.
    received: usize,
    /// The short questions for texts that the call has asked so far, the first ones.
    pub(super) asked: Vec<Render>,
}

impl<W: AsyncWrite + Unpin, R: AsyncRead + Unpin> Pipe<W, R> {
    /// `input` is what the worker reads, `output` what it writes.
    pub(super) fn new(input: W, output: R) -> Pipe<W, R> {
        Pipe { input, output, received: 0, asked: Vec::new() }
    }

    /// Sends `message`, and before it texts that its call will most likely ask for, and does what the plugin asks for, until its function has returned. `resume` is called once as much is
    /// written as the pipe takes: a worker that is stopped then finds the message, and wakes once.
    pub(super) async fn converse(
        &mut self,
        filled: Vec<(Render, String)>,
        message: &ToWorker,
        body: &[u8],
        peer: &impl Peer,
        resume: impl FnOnce(),
    ) -> Result<Returned, FrameError> {
        let sending = async {
            for (Render { part, format, extra }, text) in filled {
                self.send(&ToWorker::Filled { part, format, extra }, text.as_bytes()).await?;
            }
            self.send(message, body).await
        };
        let (sent, ()) = tokio::join!(biased; sending, async { resume() });
        sent?;
        self.received = 0;
        self.asked.clear();
        for _ in 0..MOST_FRAMES {
            let (message, body) = self.receive().await?;
            match message {
                FromWorker::Returned { status, replied, bad } => {
                    return Ok(frame::returned(status, replied, bad, body));
                }
                FromWorker::Http { method, url, headers, changes_nothing } => {
                    let request = HttpRequest { method, url, headers, body, changes_nothing };
                    let (answer, body) = frame::http_frame(peer.http(request).await);
                    let remaining_ms = peer.remaining().as_millis() as u64;
                    self.send(&ToWorker::Http { answer, remaining_ms }, &body).await?;
                }
                FromWorker::Render { part, format } => {
                    let extra = lossy(body);
                    if self.asked.len() < MOST_FILLED && extra.len() <= SHORT {
                        let (part, format, extra) = (part.clone(), format.clone(), extra.clone());
                        self.asked.push(Render { part, format, extra });
                    }
                    let rendered = peer.render(part, format, extra).await;
                    let ok = rendered.is_ok();
                    let text = rendered.unwrap_or_else(|reason| reason);
                    self.send(&ToWorker::Rendered { ok }, text.as_bytes()).await?;
                }
                FromWorker::Log { level } => peer.log(level, &lossy(body)),
                FromWorker::Confined { .. }
                | FromWorker::NotConfined
                | FromWorker::NotGranted
                | FromWorker::Loaded { .. }
                | FromWorker::NotLoaded => return Err(FrameError::OutOfTurn),
            }
        }
        Err(FrameError::Bound("how often a call may ask"))
    }

    pub(super) async fn send(&mut self, head: &impl Head, body: &[u8]) -> Result<(), FrameError> {
        let start = frame::encode(head, body.len())?;
        let mut parts = [IoSlice::new(&start), IoSlice::new(body)];
        let mut left = &mut parts[..];
        while !left.is_empty() {
            match self.input.write_vectored(left).await? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                written => IoSlice::advance_slices(&mut left, written),
            }
        }
        Ok(())
    }

    pub(super) async fn receive(&mut self) -> Result<(FromWorker, Vec<u8>), FrameError> {
        let mut start = [0; LENGTHS];
        self.output.read_exact(&mut start).await?;
        let (head, body) = frame::lengths(start)?;
        let bytes = self.read(head).await?;
        let head = frame::decode(&bytes, body)?;
        Ok((head, self.read(body).await?))
    }

    /// Reads so many bytes. Memory beyond [`FIRST_PART`] is taken only as they come, so that announcing a length costs the host nothing.
    async fn read(&mut self, length: usize) -> Result<Vec<u8>, FrameError> {
        self.received += length;
        if self.received > MOST_BYTES {
            return Err(FrameError::Bound("what a call may send in all"));
        }
        let mut bytes = Vec::with_capacity(length.min(FIRST_PART));
        (&mut self.output).take(length as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < length {
            return Err(FrameError::Pipe(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }
}

pub(super) fn lossy(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use ticket_plugin_api::abi::host_side::Operation;
    use tokio::io::empty;

    use super::*;

    struct Nobody;

    impl Peer for Nobody {
        async fn http(&self, _: HttpRequest) -> HttpAnswer {
            HttpAnswer::DryRun
        }
        async fn render(&self, _: String, _: String, _: String) -> Result<String, String> {
            Err(String::new())
        }
        fn log(&self, _: u32, _: &str) {}
        fn printed(&self, _: &str) {}
        fn remaining(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[tokio::test]
    async fn a_stopped_worker_finds_as_much_of_a_message_as_the_pipe_takes_and_then_gets_the_rest()
    {
        for length in [10, 10 << 20] {
            let (here, mut worker) = UnixStream::pair().unwrap();
            here.set_nonblocking(true).unwrap();
            let here = tokio::net::UnixStream::from_std(here).unwrap();
            here.writable().await.unwrap();
            let mut pipe = Pipe::new(here, empty());
            let call = ToWorker::Call { operation: Operation::Create, remaining_ms: 0 };
            let mut reading = None;
            let resume = || {
                worker.set_nonblocking(true).unwrap();
                let found = worker.read(&mut [0; LENGTHS]).unwrap();
                worker.set_nonblocking(false).unwrap();
                let rest = thread::spawn(move || worker.read_to_end(&mut Vec::new()).unwrap());
                reading = Some((found, rest));
            };
            let ended =
                pipe.converse(Vec::new(), &call, &vec![b'x'; length], &Nobody, resume).await;
            assert!(matches!(ended, Err(FrameError::Pipe(_))), "it says nothing: {ended:?}");
            drop(pipe);
            let (found, rest) = reading.unwrap();
            assert!(found + rest.join().unwrap() > LENGTHS + length);
        }
    }
}
