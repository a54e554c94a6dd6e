//! The frames between host and worker: a JSON head and a body of bytes, both with their lengths
//! before them, both bounded.

use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ticket_plugin_api::abi::MAX_REPLY;
use ticket_plugin_api::abi::host_side::{BadReply, HttpAnswer, HttpRequest, Operation, Returned};

use crate::permissions::Permissions;

/// Bytes of a head: the headers of an HTTP exchange are the largest.
const MAX_HEAD: usize = 2 << 20;
/// Bytes of a body, whatever the settings allow.
const MAX_BODY: usize = 64 << 20;

/// What the host says to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// Load this library, of which the digest is known if somebody vouches for it, confined to these
    /// permissions. `host` is the host's process. Answered
    /// with `Loaded` or `NotLoaded`.
    Load { path: PathBuf, sha256: Option<String>, permissions: Permissions, host: u32 },
    /// Open an instance; the body is its settings. Answered with `Returned`.
    Open { remaining_ms: u64 },
    /// Call the instance; the body is the request. Answered with `Returned`.
    Call { operation: Call, remaining_ms: u64 },
    /// Open instances on as many threads at once, call and close them; the body is their
    /// settings. Answered with `Returned`: its reply is a list of what was odd.
    Exercise { threads: usize, times: usize },
    /// The answer to `Http`; the body is the answer's, or why there is none.
    Http(HttpHead),
    /// The answer to `Render`; the body is the text, or why there is none.
    Rendered { ok: bool },
}

/// What a worker says to the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// The body is the manifest; `unconfined` is what the sandbox could not enforce.
    Loaded { sdk: Option<String>, unconfined: Vec<String> },
    /// The body says why.
    NotLoaded,
    /// The plugin's function returned; the body is its reply.
    Returned { status: i32, replied: bool, bad: Option<BadReply> },
    /// The body is the request's.
    Http { method: String, url: String, headers: Vec<(String, String)> },
    /// The body is `extra`.
    Render { part: String, format: String },
    /// The body is the line.
    Log { level: u32 },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Call {
    Check,
    Create,
    Find,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum HttpHead {
    Answered { status: u16, headers: Vec<(String, String)> },
    NotSent,
    Unknown,
    Denied,
    DryRun,
}

/// The bytes of one frame.
pub(super) fn encode(head: &impl Serialize, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = vec![0; 8];
    serde_json::to_writer(&mut out, head)?;
    let head_length = out.len() - 8;
    if head_length > MAX_HEAD || body.len() > MAX_BODY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame over its bound"));
    }
    out[..4].copy_from_slice(&(head_length as u32).to_le_bytes());
    out[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    Ok(out)
}

/// The lengths of head and body that the first eight bytes of a frame say.
pub(super) fn lengths(start: [u8; 8]) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = start;
    let head = u32::from_le_bytes([a, b, c, d]) as usize;
    let body = u32::from_le_bytes([e, f, g, h]) as usize;
    if head > MAX_HEAD || body > MAX_BODY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame over its bound"));
    }
    Ok((head, body))
}

/// Takes the head off the bytes after the lengths; what is left is the body.
pub(super) fn decode<T: DeserializeOwned>(
    mut bytes: Vec<u8>,
    head: usize,
) -> io::Result<(T, Vec<u8>)> {
    let value = serde_json::from_slice(&bytes[..head])?;
    bytes.drain(..head);
    Ok((value, bytes))
}

impl From<Operation> for Call {
    fn from(operation: Operation) -> Call {
        match operation {
            Operation::Check => Call::Check,
            Operation::Create => Call::Create,
            Operation::Find => Call::Find,
        }
    }
}

impl From<Call> for Operation {
    fn from(call: Call) -> Operation {
        match call {
            Call::Check => Operation::Check,
            Call::Create => Operation::Create,
            Call::Find => Operation::Find,
        }
    }
}

/// An answer as head and body.
pub(super) fn http_frame(answer: HttpAnswer) -> (HttpHead, Vec<u8>) {
    match answer {
        HttpAnswer::Answered { status, headers, body } => {
            (HttpHead::Answered { status, headers }, body)
        }
        HttpAnswer::NotSent(why) => (HttpHead::NotSent, why.into_bytes()),
        HttpAnswer::Unknown(why) => (HttpHead::Unknown, why.into_bytes()),
        HttpAnswer::Denied(why) => (HttpHead::Denied, why.into_bytes()),
        HttpAnswer::DryRun => (HttpHead::DryRun, Vec::new()),
    }
}

/// The answer that head and body stand for.
pub(super) fn http_answer(head: HttpHead, body: Vec<u8>) -> HttpAnswer {
    let text = |body: Vec<u8>| String::from_utf8_lossy(&body).into_owned();
    match head {
        HttpHead::Answered { status, headers } => HttpAnswer::Answered { status, headers, body },
        HttpHead::NotSent => HttpAnswer::NotSent(text(body)),
        HttpHead::Unknown => HttpAnswer::Unknown(text(body)),
        HttpHead::Denied => HttpAnswer::Denied(text(body)),
        HttpHead::DryRun => HttpAnswer::DryRun,
    }
}

/// A request as head and body.
pub(super) fn request_frame(request: HttpRequest) -> (FromWorker, Vec<u8>) {
    let HttpRequest { method, url, headers, body } = request;
    (FromWorker::Http { method, url, headers }, body)
}

/// What a plugin's function returned, as head and body.
pub(super) fn returned_frame(returned: Returned) -> (FromWorker, Vec<u8>) {
    let Returned { status, reply } = returned;
    match reply {
        Ok(Some(text)) => {
            (FromWorker::Returned { status, replied: true, bad: None }, text.into_bytes())
        }
        Ok(None) => (FromWorker::Returned { status, replied: false, bad: None }, Vec::new()),
        Err(bad) => (FromWorker::Returned { status, replied: false, bad: Some(bad) }, Vec::new()),
    }
}

/// What a plugin's function returned, by the head's members and the body. The worker may be in the
/// plugin's hands: its text is checked again.
pub(super) fn returned(
    status: i32,
    replied: bool,
    bad: Option<BadReply>,
    body: Vec<u8>,
) -> Returned {
    let reply = match (bad, replied) {
        (Some(bad), _) => Err(bad),
        (None, false) => Ok(None),
        (None, true) if body.len() > MAX_REPLY => Err(BadReply::TooLarge(body.len())),
        (None, true) => String::from_utf8(body).map(Some).map_err(|_| BadReply::NotText),
    };
    Returned { status, reply }
}
