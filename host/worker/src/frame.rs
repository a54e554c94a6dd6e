//! The frames between host and worker. A frame is the lengths of a head and of a body, then the head (JSON),
//! then the body (bytes).
//!
//! Invariant: a frame that was received keeps the bounds of its kind, whoever wrote it. The length of a body is
//! compared with what its head allows before a byte of the body is read.

use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ticket_plugin_api::abi::host_side::{
    BadReply, HttpAnswer, HttpRequest, OPTIONAL, Operation, Returned,
};
use ticket_plugin_api::abi::{
    MAX_BODY, MAX_EXTRA, MAX_HEADERS, MAX_LOG, MAX_MANIFEST, MAX_REPLY, MAX_REQUEST_BODY,
    MAX_REQUEST_HEAD,
};

use crate::digest::Digest;
use crate::permissions::Permissions;
use crate::sandbox::Policy;

/// Bytes that the two lengths take with which a frame begins: 4 bytes for the head's, then 4 for the body's, both
/// little-endian.
pub const LENGTHS: usize = 8;
/// Bytes that a head may have. The largest have the headers of an HTTP exchange: 256 KiB, and six times that if
/// JSON has to escape every character.
const MAX_HEAD: usize = 2 << 20;
/// Bytes that an error message may have, and each other short text that a worker sends.
const MAX_TEXT: usize = 8 << 10;
/// How many sentences a worker may send about what the sandbox could not enforce.
const MAX_SENTENCES: usize = 16;

/// Why the bytes on a pipe are not a frame that may come now.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the pipe broke")]
    Pipe(#[from] io::Error),
    #[error("the head of a frame is not what this version writes")]
    Head(#[source] serde_json::Error),
    #[error("a frame is over a bound: {0}")]
    Bound(&'static str),
    #[error("a frame came out of turn")]
    OutOfTurn,
}

/// What the host says to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Confine yourself to these permissions. `host` is the number of the host's process, with which the worker
    /// ends. On Linux the descriptors of what is granted, and of the library, came before this frame
    /// (`crate::handover`). The answer is `Confined`, `NotConfined` or
    /// `NotGranted`.
    Confine { policy: Policy, permissions: Permissions, host: u32 },
    /// Load this library. Where it wasn't handed over, its bytes must have that digest. The answer is `Loaded` or `NotLoaded`.
    Load { path: PathBuf, sha256: Digest },
    /// Open an instance with the settings in the body. It may take so many milliseconds. The answer is `Returned`.
    Open { remaining_ms: u64 },
    /// The next call will most likely ask for this text, which is the body: then it needn't ask. Nothing is answered.
    Filled { part: String, format: String, extra: String },
    /// Call the instance with the request in the body. It may take so many milliseconds. The answer is `Returned`.
    Call { operation: Operation, remaining_ms: u64 },
    /// Give the instance a webhook, whose method, URL and headers are the JSON `head`, and whose body is the frame's. It may take so many
    /// milliseconds. The answer is `Returned`.
    Receive { head: String, remaining_ms: u64 },
    /// The answer to `Http`. The body is the HTTP answer's, or says why no answer came. The call may now take so many milliseconds
    /// more: an answer can lengthen its time.
    Http { answer: HttpHead, remaining_ms: u64 },
    /// The answer to `Render`. The body is the text, or says why it can't be rendered.
    Rendered { ok: bool },
}

/// What a worker says to the host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FromWorker {
    /// The process is confined, and nothing of the library has run yet: this is the worker's own word, which no
    /// plugin can forge. `unconfined` says what the sandbox could not enforce, one sentence each.
    Confined { unconfined: Vec<String> },
    /// The process could not be confined as the policy requires. The body says why, and nothing was loaded.
    NotConfined,
    /// The process can't reach what is granted. The body says why, and nothing was loaded.
    NotGranted,
    /// The library is loaded. The body is its manifest. `offers` names those of the functions that a plugin may be without which it
    /// has.
    Loaded {
        sdk: Option<String>,
        #[serde(default)]
        offers: Vec<String>,
    },
    /// The library can't be loaded. The body says why.
    NotLoaded,
    /// The plugin's function returned. The body is its reply, if it `replied`. `bad` says what was wrong with a
    /// reply that was refused.
    Returned { status: i32, replied: bool, bad: Option<BadReply> },
    /// The plugin asks for an HTTP exchange. The body is the request's.
    Http {
        method: String,
        url: String,
        headers: Vec<(String, String)>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        changes_nothing: bool,
    },
    /// The plugin asks for a rendered template. The body is what it adds (`extra`).
    Render { part: String, format: String },
    /// The plugin logs the line in the body.
    Log { level: u32 },
}

/// How an HTTP exchange ended.
#[derive(Debug, Serialize, Deserialize)]
pub enum HttpHead {
    Answered { status: u16, headers: Vec<(String, String)> },
    NotSent,
    Unknown,
    Denied,
    DryRun,
}

/// The head of a frame, which tells how long the body after it may be.
pub trait Head: Serialize + DeserializeOwned {
    /// Bytes that the body may have. Err names the bound that the head itself breaks.
    fn body_bound(&self) -> Result<usize, &'static str>;
}

impl Head for FromWorker {
    fn body_bound(&self) -> Result<usize, &'static str> {
        let bounds = |kept: bool, bound: usize, broken: &'static str| {
            if kept { Ok(bound) } else { Err(broken) }
        };
        match self {
            FromWorker::Confined { unconfined } => bounds(
                unconfined.iter().all(|text| text.len() <= MAX_TEXT)
                    && unconfined.len() <= MAX_SENTENCES,
                0,
                "what a worker says of itself",
            ),
            FromWorker::Loaded { sdk, offers } => bounds(
                sdk.iter().chain(offers).all(|text| text.len() <= MAX_TEXT)
                    && offers.len() <= OPTIONAL.len(),
                MAX_MANIFEST,
                "what a worker says of itself",
            ),
            FromWorker::NotConfined | FromWorker::NotGranted | FromWorker::NotLoaded => {
                Ok(MAX_TEXT)
            }
            FromWorker::Returned { .. } => Ok(MAX_REPLY),
            FromWorker::Http { method, url, headers, .. } if headers.len() <= MAX_HEADERS => {
                let texts = headers.iter().map(|(name, value)| name.len() + value.len());
                let head = method.len() + url.len() + texts.sum::<usize>();
                bounds(head <= MAX_REQUEST_HEAD, MAX_REQUEST_BODY, "the head of an HTTP request")
            }
            FromWorker::Http { .. } => Err("the number of headers of an HTTP request"),
            FromWorker::Render { part, format } => {
                bounds(part.len().max(format.len()) <= 64, MAX_EXTRA, "a name in render()")
            }
            FromWorker::Log { .. } => Ok(MAX_LOG),
        }
    }
}

impl Head for ToWorker {
    /// The worker trusts the host, so one bound does for all frames.
    fn body_bound(&self) -> Result<usize, &'static str> {
        Ok(MAX_BODY)
    }
}

/// The bytes of one frame that come before its body, which has so many. The body itself is not copied: both are written
/// at once.
///
/// # Errors
/// The frame is over a bound.
pub fn encode(head: &impl Head, body: usize) -> Result<Vec<u8>, FrameError> {
    if body > head.body_bound().map_err(FrameError::Bound)? {
        return Err(FrameError::Bound("the length of a body"));
    }
    let mut out = vec![0; LENGTHS];
    serde_json::to_writer(&mut out, head).map_err(FrameError::Head)?;
    let head_length = out.len() - LENGTHS;
    if head_length > MAX_HEAD {
        return Err(FrameError::Bound("the length of a head"));
    }
    out[..4].copy_from_slice(&(head_length as u32).to_le_bytes());
    out[4..LENGTHS].copy_from_slice(&(body as u32).to_le_bytes());
    Ok(out)
}

/// Reads the lengths of head and body that a frame begins with.
///
/// # Errors
/// The head is longer than a head may be. Whether the body is too long, [`decode`] tells: that depends on the head.
pub fn lengths(start: [u8; LENGTHS]) -> Result<(usize, usize), FrameError> {
    let [a, b, c, d, e, f, g, h] = start;
    let head = u32::from_le_bytes([a, b, c, d]) as usize;
    let body = u32::from_le_bytes([e, f, g, h]) as usize;
    if head > MAX_HEAD {
        return Err(FrameError::Bound("the length of a head"));
    }
    Ok((head, body))
}

/// Reads a head. `body` is the length of the body that follows it.
///
/// # Errors
/// The bytes are not a head, or no body of that length may follow this head.
pub fn decode<T: Head>(bytes: &[u8], body: usize) -> Result<T, FrameError> {
    let head: T = serde_json::from_slice(bytes).map_err(FrameError::Head)?;
    if body > head.body_bound().map_err(FrameError::Bound)? {
        return Err(FrameError::Bound("the length of a body"));
    }
    Ok(head)
}

/// Writes an HTTP answer as head and body.
pub fn http_frame(answer: HttpAnswer) -> (HttpHead, Vec<u8>) {
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

/// Reads the HTTP answer in a head and its body.
pub(crate) fn http_answer(head: HttpHead, body: Vec<u8>) -> HttpAnswer {
    let text = |body: Vec<u8>| String::from_utf8_lossy(&body).into_owned();
    match head {
        HttpHead::Answered { status, headers } => HttpAnswer::Answered { status, headers, body },
        HttpHead::NotSent => HttpAnswer::NotSent(text(body)),
        HttpHead::Unknown => HttpAnswer::Unknown(text(body)),
        HttpHead::Denied => HttpAnswer::Denied(text(body)),
        HttpHead::DryRun => HttpAnswer::DryRun,
    }
}

/// Writes an HTTP request as head and body.
pub(crate) fn request_frame(request: HttpRequest) -> (FromWorker, Vec<u8>) {
    let HttpRequest { method, url, headers, body, changes_nothing } = request;
    (FromWorker::Http { method, url, headers, changes_nothing }, body)
}

/// Writes what a plugin's function returned as head and body.
pub(crate) fn returned_frame(returned: Returned) -> (FromWorker, Vec<u8>) {
    let Returned { status, reply } = returned;
    match reply {
        Ok(Some(text)) => {
            (FromWorker::Returned { status, replied: true, bad: None }, text.into_bytes())
        }
        Ok(None) => (FromWorker::Returned { status, replied: false, bad: None }, Vec::new()),
        Err(bad) => (FromWorker::Returned { status, replied: false, bad: Some(bad) }, Vec::new()),
    }
}

/// Reads what a plugin's function returned, from the members of the head and the body. The plugin may have
/// written the frame itself, so it is checked again here that the reply is UTF-8.
pub fn returned(status: i32, replied: bool, bad: Option<BadReply>, body: Vec<u8>) -> Returned {
    let reply = match (bad, replied) {
        (Some(bad), _) => Err(bad),
        (None, false) => Ok(None),
        (None, true) => String::from_utf8(body).map(Some).map_err(|_| BadReply::NotText),
    };
    Returned { status, reply }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(headers: usize, url: usize) -> FromWorker {
        let headers = vec![("x".to_owned(), "y".to_owned()); headers];
        let (method, url) = ("GET".to_owned(), "u".repeat(url));
        FromWorker::Http { method, url, headers, changes_nothing: false }
    }

    fn loaded(sdk: usize) -> FromWorker {
        FromWorker::Loaded { sdk: Some("1".repeat(sdk)), offers: vec!["find".to_owned(); 6] }
    }

    fn offering(functions: usize) -> FromWorker {
        FromWorker::Loaded { sdk: None, offers: vec!["find".to_owned(); functions] }
    }

    fn confined(sentences: usize, length: usize) -> FromWorker {
        FromWorker::Confined { unconfined: vec!["x".repeat(length); sentences] }
    }

    /// Decodes a head as a forged worker could have written it, and announces a body with it.
    fn refused(head: &FromWorker, body: usize) -> Option<String> {
        let bytes = serde_json::to_vec(head).unwrap();
        decode::<FromWorker>(&bytes, body).err().map(|error| error.to_string())
    }

    #[test]
    fn every_kind_of_frame_has_its_bounds_on_the_side_that_receives_it() {
        let render =
            |name: usize| FromWorker::Render { part: "x".repeat(name), format: String::new() };
        let returned = || FromWorker::Returned { status: 0, replied: true, bad: None };
        for (head, most) in [
            (confined(16, 10), 0),
            (FromWorker::NotConfined, MAX_TEXT),
            (FromWorker::NotGranted, MAX_TEXT),
            (loaded(10), MAX_MANIFEST),
            (FromWorker::NotLoaded, MAX_TEXT),
            (returned(), MAX_REPLY),
            (http(256, 1000), MAX_REQUEST_BODY),
            (render(64), MAX_EXTRA),
            (FromWorker::Log { level: 1 }, MAX_LOG),
        ] {
            assert_eq!(refused(&head, most), None, "{head:?}");
            let over = refused(&head, most + 1);
            assert_eq!(
                over.as_deref(),
                Some("a frame is over a bound: the length of a body"),
                "{head:?}"
            );
        }
        for (head, bound) in [
            (http(257, 1), "the number of headers"),
            (http(30_000, 1), "the number of headers"),
            (http(1, 256 << 10), "the head of an HTTP request"),
            (render(65), "a name in render()"),
            (confined(17, 10), "what a worker says of itself"),
            (confined(1, 8193), "what a worker says of itself"),
            (loaded(8193), "what a worker says of itself"),
            (offering(7), "what a worker says of itself"),
        ] {
            let why = refused(&head, 0).unwrap();
            assert!(why.contains(bound), "{why}");
        }
    }

    #[test]
    fn a_length_alone_is_refused_before_anything_is_read() {
        let [a, b, c, d] = (MAX_HEAD as u32 + 1).to_le_bytes();
        assert!(matches!(lengths([a, b, c, d, 0, 0, 0, 0]), Err(FrameError::Bound(_))));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes = encode(&FromWorker::Log { level: 3 }, 6).unwrap();
        let (head, body) = lengths(bytes[..LENGTHS].try_into().unwrap()).unwrap();
        let decoded = decode::<FromWorker>(&bytes[LENGTHS..LENGTHS + head], body).unwrap();
        assert!(matches!(decoded, FromWorker::Log { level: 3 }));
        assert_eq!((bytes.len(), body), (LENGTHS + head, 6));
    }
}
