//! The floor below the worker: a process that does the same over a bare socket, with neither frames, bounds, deadlines nor a
//! runtime. Whatever crosses between two processes takes as long.

use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode};

/// The first argument, by which this program becomes such a process.
pub const ARGUMENT: &str = "bare-socket";

/// The process's main function: replies to each request that comes over its standard input, until that is closed.
pub fn serve() -> ExitCode {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let (mut input, mut output) = (BufReader::new(&stream), &stream);
    while let Some(request) = receive(&mut input) {
        let reply = ticket_bench_root_module::reply(&request).unwrap();
        send(&mut output, &reply);
    }
    ExitCode::SUCCESS
}

/// Such a process, and the socket to it.
pub struct BareSocket {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl BareSocket {
    pub fn start() -> BareSocket {
        let (here, there) = UnixStream::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let child = command.arg(ARGUMENT).stdin(OwnedFd::from(there)).spawn().unwrap();
        BareSocket { child, stream: BufReader::new(here) }
    }

    pub fn create(&mut self, request: &str) -> String {
        send(self.stream.get_mut(), request);
        receive(&mut self.stream).unwrap()
    }
}

impl Drop for BareSocket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a text, and its length before it.
fn send(output: &mut impl Write, text: &str) {
    let bytes = [&text.len().to_le_bytes()[..], text.as_bytes()].concat();
    output.write_all(&bytes).unwrap();
}

/// Reads a text. None where there is no other.
fn receive(input: &mut impl Read) -> Option<String> {
    let mut length = [0; size_of::<usize>()];
    input.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::from_le_bytes(length)];
    input.read_exact(&mut bytes).ok()?;
    Some(String::from_utf8(bytes).unwrap())
}
