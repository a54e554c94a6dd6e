//! What a worker process does: loads one library, opens one instance, answers one call at a time.
//!
//! Invariant: it knows no network, no templates and no config; whatever a call asks for, it asks
//! the host.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ticket_plugin_api::abi::host_side::{
    Host, HttpAnswer, HttpRequest, Instance, Operation, Returned,
};
use ticket_plugin_api::abi::status;

use super::exercise;
use super::frame::{self, FromWorker, ToWorker};
use super::stdio;
use crate::library::{self, Library};
use crate::permissions::Permissions;
use crate::sandbox;

/// Gives up what a plugin in the file of that name doesn't need. What could not be enforced.
pub type Confine = fn(&Permissions, &Path) -> io::Result<Vec<String>>;

/// Runs until the host closes the pipe.
pub fn main() -> ExitCode {
    main_with(confine)
}

/// As [`main`], with another sandbox, so that what the sandbox costs can be measured.
pub fn main_with(confine: Confine) -> ExitCode {
    #[cfg(windows)]
    sandbox::end_quietly();
    let mut pipe = match stdio::take() {
        Ok((input, output)) => {
            Pipe { input: BufReader::new(input), output, deadline: Instant::now() }
        }
        Err(cause) => {
            eprintln!("worker: the pipes to the host can't be used: {cause}");
            return ExitCode::FAILURE;
        }
    };
    match serve(&mut pipe, confine) {
        Ok(()) => ExitCode::SUCCESS,
        // The host went away.
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("worker: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn serve(pipe: &mut Pipe, confine: Confine) -> io::Result<()> {
    let mut loaded: Option<Library> = None;
    let mut opened: Option<Instance> = None;
    loop {
        let (message, body) = pipe.receive()?;
        match message {
            ToWorker::Load { path, sha256, permissions, host } => {
                pipe.tidy(host)?;
                // Before the sandbox, in which nobody makes memory that can be loaded.
                let prepared = library::prepare(&path, sha256.as_deref());
                let unconfined = confine(&permissions, &path)?;
                match prepared.and_then(|prepared| library::load(&prepared)) {
                    Ok(library) => {
                        let sdk = library.sdk.clone();
                        let manifest = library.table.manifest.as_bytes();
                        pipe.send(&FromWorker::Loaded { sdk, unconfined }, manifest)?;
                        loaded = Some(library);
                    }
                    Err(error) => {
                        pipe.send(&FromWorker::NotLoaded, error.to_string().as_bytes())?
                    }
                }
            }
            ToWorker::Open { remaining_ms } => {
                let library = loaded.as_ref().ok_or_else(out_of_turn)?;
                let settings = text(body)?;
                pipe.deadline = Instant::now() + Duration::from_millis(remaining_ms);
                let returned = match library.table.open(&settings, pipe) {
                    Ok(instance) => {
                        opened = Some(instance);
                        Returned { status: status::OK, reply: Ok(None) }
                    }
                    Err(returned) => returned,
                };
                pipe.send_frame(frame::returned_frame(returned))?;
            }
            ToWorker::Call { operation, remaining_ms } => {
                let instance = opened.as_mut().ok_or_else(out_of_turn)?;
                let request = text(body)?;
                pipe.deadline = Instant::now() + Duration::from_millis(remaining_ms);
                let returned = instance.call(Operation::from(operation), &request, pipe);
                pipe.send_frame(frame::returned_frame(returned))?;
            }
            ToWorker::Exercise { threads, times } => {
                let library = loaded.as_ref().ok_or_else(out_of_turn)?;
                let returned = exercise::run(&library.table, &text(body)?, threads, times);
                pipe.send_frame(frame::returned_frame(returned))?;
            }
            ToWorker::Http(_) | ToWorker::Rendered { .. } => return Err(out_of_turn()),
        }
    }
}

#[cfg(target_os = "linux")]
fn confine(permissions: &Permissions, library: &Path) -> io::Result<Vec<String>> {
    sandbox::enter(permissions, library)
}

#[cfg(not(target_os = "linux"))]
fn confine(_: &Permissions, _: &Path) -> io::Result<Vec<String>> {
    Ok(sandbox::missing())
}

fn out_of_turn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the host sent a frame out of turn")
}

fn text(body: Vec<u8>) -> io::Result<String> {
    String::from_utf8(body).map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause))
}

/// The pipe to the host, and through it what a call may ask for.
struct Pipe {
    input: BufReader<File>,
    output: File,
    /// When the call that is under way is over.
    deadline: Instant,
}

impl Pipe {
    #[cfg(target_os = "linux")]
    fn tidy(&self, host: u32) -> io::Result<()> {
        use std::os::fd::AsFd;
        sandbox::tidy([self.input.get_ref().as_fd(), self.output.as_fd()], host)
    }

    #[cfg(not(target_os = "linux"))]
    fn tidy(&self, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self) -> io::Result<(ToWorker, Vec<u8>)> {
        let mut start = [0; 8];
        self.input.read_exact(&mut start)?;
        let (head, body) = frame::lengths(start)?;
        let mut bytes = vec![0; head + body];
        self.input.read_exact(&mut bytes)?;
        frame::decode(bytes, head)
    }

    fn send(&mut self, head: &FromWorker, body: &[u8]) -> io::Result<()> {
        self.output.write_all(&frame::encode(head, body)?)
    }

    fn send_frame(&mut self, (head, body): (FromWorker, Vec<u8>)) -> io::Result<()> {
        self.send(&head, &body)
    }

    /// Asks the host and waits for its answer.
    fn ask(&mut self, head: &FromWorker, body: &[u8]) -> io::Result<(ToWorker, Vec<u8>)> {
        self.send(head, body)?;
        self.receive()
    }
}

impl Host for Pipe {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        let (head, body) = frame::request_frame(request);
        match self.ask(&head, &body) {
            Ok((ToWorker::Http(head), body)) => frame::http_answer(head, body),
            Ok(_) => HttpAnswer::Unknown("the host answered something else".to_owned()),
            Err(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                HttpAnswer::Denied(format!("the request can't be passed to the host: {cause}"))
            }
            Err(cause) => HttpAnswer::Unknown(format!("the host is gone: {cause}")),
        }
    }

    fn render(&mut self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        let head = FromWorker::Render { part: part.to_owned(), format: format.to_owned() };
        let text = |body: Vec<u8>| String::from_utf8_lossy(&body).into_owned();
        match self.ask(&head, extra.as_bytes()) {
            Ok((ToWorker::Rendered { ok: true }, body)) => Ok(text(body)),
            Ok((ToWorker::Rendered { ok: false }, body)) => Err(text(body)),
            Ok(_) => Err("the host answered something else".to_owned()),
            Err(cause) => Err(format!("the host can't be asked: {cause}")),
        }
    }

    fn log(&mut self, level: u32, message: &str) {
        // A host that is gone ends the worker at its next read.
        let _ = self.send(&FromWorker::Log { level }, message.as_bytes());
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
