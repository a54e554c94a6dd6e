//! The host's half of the ABI: calls a plugin's table, and gives each call a [`Host`].
//!
//! For hosts and for the test kit. Nothing that a plugin hands over is trusted: sizes, NULLs,
//! UTF-8 and bounds are checked on arrival. What can't be checked (a pointer that points nowhere,
//! a function that never returns) is why hosts run plugins in worker processes.

use std::cell::RefCell;
use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    self as abi, MAX_EXTRA, MAX_HEADERS, MAX_HELD, MAX_LOG, MAX_MANIFEST, MAX_REQUEST_BODY,
};
use super::{MAX_REPLY, MAX_REQUEST_HEAD, Str};
use super::{http_flag, http_status, status};
use crate::error::{Error, Retry};
use crate::http::is_safe;
use crate::json;
use crate::message::parse_error;

/// The ABI's header, `ticket_plugin.h`.
pub const HEADER: &str = include_str!("../../include/ticket_plugin.h");
/// The helpers for plugins in C, `ticket_plugin_helpers.h`.
pub const HELPERS: &str = include_str!("../../include/ticket_plugin_helpers.h");

/// The line that a host's log gets when a plugin's function has returned that used its call on another thread.
pub const OTHER_THREAD: &str = "the plugin used its call on another thread than the one that received it, which is \
    denied (rule R4): tell its makers";

/// What a running call may ask of its host.
pub trait Host {
    /// One HTTP exchange.
    fn http(&mut self, request: HttpRequest) -> HttpAnswer;
    /// The operator's template `part` in `format`; Err says why not.
    fn render(&mut self, part: &str, format: &str, extra: &str) -> Result<String, String>;
    /// A line for the operator; `level` as in [`abi::log_level`].
    fn log(&mut self, level: u32, message: &str);
    /// How long the call may still take.
    fn remaining(&self) -> Duration;
    /// A copy of what the plugin may look at until its function returns: a text of an answer (rule R1), the call itself
    /// (rule R4). None, as nearly every host says: the original will do. The validator gives a copy behind which nothing
    /// can be read, nor anything of it once it is dropped.
    fn apart(&mut self, _bytes: &[u8]) -> Option<Box<dyn AsRef<[u8]>>> {
        None
    }
}

/// A request as it came from the plugin, copied; method, URL and headers are UTF-8.
#[derive(Clone)]
pub struct HttpRequest {
    /// `GET`, `POST` and so on, as the plugin wrote it.
    pub method: String,
    /// The URL as the plugin wrote it: whether it is one, and whether it is allowed, is the host's to decide.
    pub url: String,
    /// Names and values, in the plugin's order and spelling.
    pub headers: Vec<(String, String)>,
    /// The body, at most [`MAX_REQUEST_BODY`] bytes.
    pub body: Vec<u8>,
    /// Whether the plugin says that it changes nothing, whatever its method.
    pub changes_nothing: bool,
}

impl HttpRequest {
    /// Whether it can create or change something in the ticket system, by its method and the plugin's word.
    pub fn can_change(&self) -> bool {
        !is_safe(&self.method) && !self.changes_nothing
    }
}

impl std::fmt::Debug for HttpRequest {
    /// Without header values and body: they may hold the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAnswer {
    /// An answer came, whatever its status. Header names are in lower case.
    Answered {
        /// The status: 200, 404 and so on.
        status: u16,
        /// Names, in lower case, and values.
        headers: Vec<(String, String)>,
        /// The whole body.
        body: Vec<u8>,
    },
    /// Nothing reached the server. The text says why.
    NotSent(String),
    /// It was sent, and no whole answer came. The text says why.
    Unknown(String),
    /// The host's policy forbids it. The text says why.
    Denied(String),
    /// Shown to the operator instead of sent.
    DryRun,
}

/// Why a library's table is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The entry function returned NULL to this ABI version.
    #[error("its entry function returned NULL: it doesn't serve a host of ABI version {0}")]
    NoTable(u32),
    /// The entry function returned a pointer to where no table can be.
    #[error("its entry function returned a pointer that no table can have")]
    Misaligned,
    /// The plugin was compiled for another version of the ABI.
    #[error("it was compiled for ABI version {plugin}, this host speaks {host}")]
    Version {
        /// The version that the table says.
        plugin: u32,
        /// The version of this host.
        host: u32,
    },
    /// The table has this many bytes, and not the functions that every plugin has.
    #[error("its table has {0} bytes, too few for the functions that every plugin has")]
    TooSmall(u32),
    /// A function that every plugin has is NULL; this is its name.
    #[error("its table has no function {0}()")]
    NoFunction(&'static str),
    /// The manifest has this many bytes.
    #[error("its manifest has {0} bytes, more than the {MAX_MANIFEST} that a manifest may have")]
    ManifestTooLarge(usize),
    /// The manifest is not UTF-8.
    #[error("its manifest is not UTF-8")]
    ManifestNotText,
}

/// What a plugin replied that no reply may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BadReply {
    /// It has this many bytes, more than [`MAX_REPLY`].
    #[error("a reply of {0} bytes, more than the {MAX_REPLY} that a reply may have")]
    TooLarge(usize),
    /// It is not UTF-8.
    #[error("a reply that is not UTF-8")]
    NotText,
}

/// A plugin function's status, and its last reply if there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// What the function returned: a value of [`abi::status`], or one that doesn't exist.
    pub status: i32,
    /// The last reply, copied; None if the plugin gave none.
    pub reply: Result<Option<String>, BadReply>,
}

impl Returned {
    /// What the status and the reply mean; None is "certainly no such ticket".
    ///
    /// # Errors
    /// The plugin's own error, or a plugin error where it broke the rules. A function that
    /// returned OK with a useless reply may have done its work: that is [`Retry::Unknown`].
    pub fn parse<T: DeserializeOwned>(self) -> Result<Option<T>, Error> {
        let reply = match self.reply {
            Ok(reply) => reply,
            Err(bad) => return Err(useless(self.status, &bad.to_string())),
        };
        match (self.status, reply) {
            (status::NOT_FOUND, _) => Ok(None),
            (status::OK, Some(reply)) => json::read_text(&reply)
                .map(Some)
                .map_err(|cause| useless(status::OK, &format!("a reply that it may not: {cause}"))),
            (status::OK, None) => Err(useless(status::OK, "no reply")),
            (code, reply) => Err(parse_error(code, reply.as_deref())),
        }
    }
}

fn useless(code: i32, what: &str) -> Error {
    let error = Error::plugin(format!("the plugin gave {what}"));
    if code == status::OK { error.retry(Retry::Unknown) } else { error }
}

/// What an instance can be asked. A webhook is beside it: [`Instance::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Whether tickets can be made with these settings.
    Check,
    /// A ticket of an incident.
    Create,
    /// The ticket that was made with a key.
    Find,
    /// The tickets that were made with many keys.
    FindMany,
    /// A step of a ticket.
    Update,
    /// In which state tickets are.
    State,
    /// Which tickets have changed.
    Changes,
}

impl Operation {
    /// The name of the table's function: `check`, `create` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Check => "check",
            Operation::Create => "create",
            Operation::Find => "find",
            Operation::FindMany => "find_many",
            Operation::Update => "update",
            Operation::State => "state",
            Operation::Changes => "changes",
        }
    }

    /// Whether it may change something in the ticket system, so that a lost answer leaves open what it did.
    pub const fn writes(self) -> bool {
        matches!(self, Operation::Create | Operation::Update)
    }
}

/// The names of the functions that a table may be without.
pub const OPTIONAL: [&str; 6] = ["find", "find_many", "update", "state", "receive", "changes"];

/// A plugin's table, checked, and its manifest, copied.
#[derive(Debug, Clone)]
pub struct Table {
    functions: Functions,
    /// The manifest's JSON as the plugin gave it.
    pub manifest: String,
}

/// A function that takes a request in JSON.
type Asked = unsafe extern "C" fn(*mut c_void, *const abi::Call, Str) -> i32;

/// The functions of a checked table: the required ones are there.
#[derive(Debug, Clone, Copy)]
struct Functions {
    open: unsafe extern "C" fn(*const abi::Call, Str, *mut *mut c_void) -> i32,
    close: unsafe extern "C" fn(*mut c_void),
    check: unsafe extern "C" fn(*mut c_void, *const abi::Call) -> i32,
    create: Asked,
    find: Option<Asked>,
    find_many: Option<Asked>,
    update: Option<Asked>,
    state: Option<Asked>,
    receive: Option<unsafe extern "C" fn(*mut c_void, *const abi::Call, Str, Str) -> i32>,
    changes: Option<Asked>,
}

/// How many bytes of a table of this `size` hold whole fields that this crate knows. A pointer that the table has only half of is
/// none.
fn known(size: u32) -> usize {
    let size = (size as usize).min(size_of::<abi::Plugin>());
    size - (size - offset_of!(abi::Plugin, open)) % size_of::<usize>()
}

impl Table {
    /// Asks a library's entry function for its table.
    ///
    /// # Safety
    /// `entry` is a `ticket_plugin_entry` as the header describes it, of a library that is never
    /// unloaded.
    ///
    /// # Errors
    /// What the function returned is no table of this ABI version, or its manifest can't be one.
    pub unsafe fn from_entry(entry: abi::Entry) -> Result<Table, TableError> {
        // SAFETY: the caller's word.
        let raw = unsafe { entry(abi::ABI_VERSION) };
        if raw.is_null() {
            return Err(TableError::NoTable(abi::ABI_VERSION));
        }
        if !raw.is_aligned() {
            return Err(TableError::Misaligned);
        }
        // SAFETY: not NULL, aligned; every table begins with its size and its version, whatever
        // follows in it, and by the caller's word it is a table.
        let (size, version) = unsafe { ((*raw).size, (*raw).abi_version) };
        if version != abi::ABI_VERSION {
            return Err(TableError::Version { plugin: version, host: abi::ABI_VERSION });
        }
        if (size as usize) < offset_of!(abi::Plugin, find) {
            return Err(TableError::TooSmall(size));
        }
        let mut table = abi::Plugin {
            size,
            abi_version: version,
            manifest: Str::EMPTY,
            open: None,
            close: None,
            check: None,
            create: None,
            find: None,
            find_many: None,
            update: None,
            state: None,
            receive: None,
            changes: None,
        };
        // SAFETY: the table has `size` bytes by its own word; of them at most the bytes that
        // this crate knows are copied, over fields for which any bytes of a C table are valid
        // (None is NULL, pointers are raw).
        unsafe {
            std::ptr::copy_nonoverlapping(
                raw.cast::<u8>(),
                (&raw mut table).cast::<u8>(),
                known(size),
            );
        }
        if table.manifest.len > MAX_MANIFEST {
            return Err(TableError::ManifestTooLarge(table.manifest.len));
        }
        // SAFETY: the manifest lives as long as the library, which is never unloaded; copied here.
        let manifest = unsafe { table.manifest.text() }.ok_or(TableError::ManifestNotText)?;
        Ok(Table {
            manifest: manifest.to_owned(),
            functions: Functions {
                open: table.open.ok_or(TableError::NoFunction("open"))?,
                close: table.close.ok_or(TableError::NoFunction("close"))?,
                check: table.check.ok_or(TableError::NoFunction("check"))?,
                create: table.create.ok_or(TableError::NoFunction("create"))?,
                find: table.find,
                find_many: table.find_many,
                update: table.update,
                state: table.state,
                receive: table.receive,
                changes: table.changes,
            },
        })
    }

    /// Which of the [`OPTIONAL`] functions it has. A function can be there and return UNSUPPORTED all the same.
    pub fn offers(&self) -> Vec<&'static str> {
        let has = |name: &&str| match *name {
            "find" => self.functions.find.is_some(),
            "find_many" => self.functions.find_many.is_some(),
            "update" => self.functions.update.is_some(),
            "state" => self.functions.state.is_some(),
            "receive" => self.functions.receive.is_some(),
            "changes" => self.functions.changes.is_some(),
            _ => false,
        };
        OPTIONAL.into_iter().filter(has).collect()
    }

    /// As [`Table::from_entry`], for a plugin that is compiled into this program.
    #[cfg(feature = "testkit")]
    pub(crate) fn of_this_program(
        entry: extern "C" fn(u32) -> *const abi::Plugin,
    ) -> Result<Table, TableError> {
        // SAFETY: only the test kit calls this, with an SDK table that lives for ever.
        unsafe { Table::from_entry(entry) }
    }

    /// Makes an instance. `settings` is the JSON of [`RawSettings`](crate::message::RawSettings).
    ///
    /// # Errors
    /// What the plugin returned instead of an instance; [`Returned::parse`] says what it means.
    pub fn open(&self, settings: &str, host: &mut dyn Host) -> Result<Instance, Returned> {
        let mut handle = std::ptr::null_mut();
        let returned = with_call(host, |call| {
            // SAFETY: the call and the texts outlive the function, `handle` is a place to write
            // a pointer to, and the function is the table's own (from_entry's caller's word).
            unsafe { (self.functions.open)(call, Str::of(settings.as_bytes()), &mut handle) }
        });
        if returned.status == status::OK {
            Ok(Instance { functions: self.functions, handle })
        } else {
            Err(returned)
        }
    }
}

/// A plugin opened with a backend's settings. Dropping it closes it.
#[derive(Debug)]
pub struct Instance {
    functions: Functions,
    handle: *mut c_void,
}

// SAFETY: rule R4: calls on one instance may come from different threads if they don't overlap,
// and calling takes `&mut`.
unsafe impl Send for Instance {}

impl Instance {
    /// Calls the plugin. `request` is the JSON of the operation's request, such as a `TicketRequest`; a check takes none.
    pub fn call(&mut self, operation: Operation, request: &str, host: &mut dyn Host) -> Returned {
        let request = Str::of(request.as_bytes());
        let (functions, handle) = (self.functions, self.handle);
        let asked = match operation {
            Operation::Check => {
                return with_call(host, |call| {
                    // SAFETY: the handle is open()'s and not closed, the call outlives the function, `&mut self` keeps other
                    // calls out, and the function is the table's own (from_entry's caller's word).
                    unsafe { (functions.check)(handle, call) }
                });
            }
            Operation::Create => Some(functions.create),
            Operation::Find => functions.find,
            Operation::FindMany => functions.find_many,
            Operation::Update => functions.update,
            Operation::State => functions.state,
            Operation::Changes => functions.changes,
        };
        match asked {
            // SAFETY: as above; the request outlives the function, too.
            Some(asked) => with_call(host, |call| unsafe { asked(handle, call, request) }),
            None => Returned { status: status::UNSUPPORTED, reply: Ok(None) },
        }
    }

    /// Gives a webhook to the plugin. `head` is the JSON of a [`WebhookHead`](crate::message::WebhookHead).
    pub fn receive(&mut self, head: &str, body: &[u8], host: &mut dyn Host) -> Returned {
        let (head, body) = (Str::of(head.as_bytes()), Str::of(body));
        let handle = self.handle;
        match self.functions.receive {
            // SAFETY: as in call().
            Some(receive) => with_call(host, |call| unsafe { receive(handle, call, head, body) }),
            None => Returned { status: status::UNSUPPORTED, reply: Ok(None) },
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the handle is open()'s, and this is the one place that closes it.
        unsafe { (self.functions.close)(self.handle) }
    }
}

/// What the callbacks find behind `abi::Call::host`, while one plugin function runs.
struct Frame<'a> {
    thread: ThreadId,
    /// Whether the plugin used the call on another thread.
    used_elsewhere: AtomicBool,
    inner: RefCell<Inner<'a>>,
}

struct Inner<'a> {
    host: &'a mut dyn Host,
    reply: Result<Option<String>, BadReply>,
    /// Answers and texts that the plugin may still look at (rule R1).
    held: Vec<Held>,
    held_bytes: usize,
}

/// A copy that a host gave by [`Host::apart`].
type Apart = Box<dyn AsRef<[u8]>>;

/// Boxed and never changed, so that pointers into it stay valid while it is held.
struct Held {
    /// `_raw` points into these.
    _headers: Vec<(String, String)>,
    _body: Vec<u8>,
    _copies: Vec<Apart>,
    _raw: Vec<abi::Header>,
}

fn with_call(host: &mut dyn Host, function: impl FnOnce(*const abi::Call) -> i32) -> Returned {
    let frame = Frame {
        thread: std::thread::current().id(),
        used_elsewhere: AtomicBool::new(false),
        inner: RefCell::new(Inner { host, reply: Ok(None), held: Vec::new(), held_bytes: 0 }),
    };
    let call = abi::Call {
        size: size_of::<abi::Call>() as u32,
        reserved: 0,
        host: (&raw const frame).cast_mut().cast::<c_void>(),
        reply: Some(reply),
        log: Some(log),
        remaining_ms: Some(remaining_ms),
        http: Some(http),
        render: Some(render),
    };
    // SAFETY: a call has no padding.
    let copy = unsafe { apart(&mut *frame.inner.borrow_mut().host, std::slice::from_ref(&call)) };
    let status = function(copy.as_ref().map_or(&raw const call, |(_, place)| *place));
    drop(copy);
    let inner = frame.inner.into_inner();
    if frame.used_elsewhere.into_inner() {
        inner.host.log(abi::log_level::ERROR, OTHER_THREAD);
    }
    Returned { status, reply: inner.reply }
}

/// The host's copy of these, if it gives one, and where it lies: where a `T` may lie.
///
/// # Safety
/// A `T` has no padding.
unsafe fn apart<T>(host: &mut dyn Host, values: &[T]) -> Option<(Apart, *const T)> {
    // SAFETY: so many bytes lie there, and by the caller's word each of them has a value.
    let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
    let copy = host.apart(bytes)?;
    let place = (*copy).as_ref().as_ptr().cast::<T>();
    place.is_aligned().then_some((copy, place))
}

/// Runs `body` for the frame behind `call`. None where there is none to use: a NULL, another thread
/// than the one that received the call (rule R4), a callback within a callback, a panic of the host.
///
/// # Safety
/// `call` is NULL or the one that `with_call` made, whose function has not returned.
unsafe fn with_frame<T>(
    call: *const abi::Call,
    body: impl FnOnce(&mut Inner<'_>) -> T,
) -> Option<T> {
    if call.is_null() {
        return None;
    }
    // SAFETY: the caller's word: `call` and the frame that it points to are alive. Only shared
    // references are made of the frame; RefCell guards what changes.
    let frame = unsafe { &*(*call).host.cast::<Frame<'_>>() };
    if frame.thread != std::thread::current().id() {
        frame.used_elsewhere.store(true, Ordering::Relaxed);
        return None;
    }
    let mut inner = frame.inner.try_borrow_mut().ok()?;
    // A panic must not unwind into the plugin (rule R5).
    catch_unwind(AssertUnwindSafe(|| body(&mut inner))).ok()
}

unsafe extern "C" fn reply(call: *const abi::Call, json: Str) {
    // SAFETY: rule R4: a plugin passes back the call that it received, while its function runs.
    unsafe {
        with_frame(call, |inner| {
            inner.reply = if json.len > MAX_REPLY {
                Err(BadReply::TooLarge(json.len))
            } else {
                // SAFETY: rule R1: the plugin's text is valid until reply() returns.
                let text = json.text();
                text.map(|t| Some(t.to_owned())).ok_or(BadReply::NotText)
            };
        })
    };
}

unsafe extern "C" fn log(call: *const abi::Call, level: u32, message: Str) {
    let cut = Str { len: message.len.min(MAX_LOG), ..message };
    // SAFETY: rules R4 and R1, as in reply().
    unsafe {
        with_frame(call, |inner| {
            if let Some(bytes) = cut.bytes() {
                inner.host.log(level, &String::from_utf8_lossy(bytes));
            }
        })
    };
}

unsafe extern "C" fn remaining_ms(call: *const abi::Call) -> u64 {
    // SAFETY: rule R4, as in reply().
    let left = unsafe { with_frame(call, |inner| inner.host.remaining()) };
    left.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

unsafe extern "C" fn http(
    call: *const abi::Call,
    request: *const abi::HttpRequest,
    response: *mut abi::HttpResponse,
) -> i32 {
    // SAFETY: rules R4 and R1: the call as in reply(), both structures are the plugin's and
    // valid until http() returns.
    let done = unsafe {
        with_frame(call, |inner| {
            // A response that is too small for this version can't be filled in.
            if response.is_null() || ((*response).size as usize) < size_of::<abi::HttpResponse>() {
                return http_status::DENIED;
            }
            let answer = match read_request(request) {
                Ok(request) => inner.exchange(request),
                Err(reason) => HttpAnswer::Denied(reason.to_owned()),
            };
            let (code, status, headers, body) = match answer {
                HttpAnswer::Answered { status, headers, body } => {
                    (http_status::OK, status, headers, body)
                }
                HttpAnswer::NotSent(why) => (http_status::NOT_SENT, 0, vec![], why.into_bytes()),
                HttpAnswer::Unknown(why) => (http_status::UNKNOWN, 0, vec![], why.into_bytes()),
                HttpAnswer::Denied(why) => (http_status::DENIED, 0, vec![], why.into_bytes()),
                HttpAnswer::DryRun => {
                    let why = "a dry run: the request was not sent";
                    (http_status::DRY_RUN, 0, vec![], why.as_bytes().to_vec())
                }
            };
            let count = headers.len() as u32;
            let (headers, body) = inner.hold(headers, body);
            (*response).header_count = count;
            (*response).status = u32::from(status);
            (*response).reserved = 0;
            (*response).headers = headers;
            (*response).body = body;
            code
        })
    };
    done.unwrap_or(http_status::DENIED)
}

/// # Safety
/// `request` is NULL or a plugin's request, valid as rule R1 says.
unsafe fn read_request(request: *const abi::HttpRequest) -> Result<HttpRequest, &'static str> {
    if request.is_null() {
        return Err("http() was called without a request");
    }
    let mut known = abi::HttpRequest {
        size: 0,
        header_count: 0,
        method: Str::EMPTY,
        url: Str::EMPTY,
        headers: std::ptr::null(),
        body: Str::EMPTY,
        flags: 0,
        reserved: 0,
    };
    // SAFETY: not NULL; every request begins with its size. Of what the size says that is there at most the bytes that this crate
    // knows are copied, over fields for which any bytes are valid.
    unsafe {
        let size = *request.cast::<u32>() as usize;
        if size < offset_of!(abi::HttpRequest, flags) {
            return Err("http() was called with a request that is too small");
        }
        // Half of what was added is nothing.
        let known_bytes = match size < size_of::<abi::HttpRequest>() {
            true => offset_of!(abi::HttpRequest, flags),
            false => size_of::<abi::HttpRequest>(),
        };
        std::ptr::copy_nonoverlapping(
            request.cast::<u8>(),
            (&raw mut known).cast::<u8>(),
            known_bytes,
        );
    }
    let request = known;
    let count = request.header_count as usize;
    if count > MAX_HEADERS || (count > 0 && request.headers.is_null()) {
        return Err("http() was called with too many headers, or with none where some were said");
    }
    let text = |s: Str| {
        // SAFETY: rule R1: valid until http() returns; copied here.
        let text = unsafe { s.text() };
        text.map(str::to_owned)
            .ok_or("http() was called with a method, URL or header that is not UTF-8")
    };
    let mut headers = Vec::with_capacity(count);
    for i in 0..count {
        // SAFETY: `headers` points to `header_count` of them by the plugin's word.
        let header = unsafe { *request.headers.add(i) };
        headers.push((text(header.name)?, text(header.value)?));
    }
    let (method, url) = (text(request.method)?, text(request.url)?);
    let texts = headers.iter().map(|(name, value)| name.len() + value.len());
    if method.len() + url.len() + texts.sum::<usize>() > MAX_REQUEST_HEAD {
        return Err("http() was called with a method, URL and headers of more than 256 KiB");
    }
    if request.body.len > MAX_REQUEST_BODY {
        return Err("http() was called with a body of more than 16 MiB");
    }
    Ok(HttpRequest {
        method,
        url,
        headers,
        // SAFETY: rule R1, as for the texts.
        body: unsafe { request.body.bytes() }
            .ok_or("http() was called with a body that can't be one")?
            .to_vec(),
        changes_nothing: request.flags & http_flag::CHANGES_NOTHING != 0,
    })
}

unsafe extern "C" fn render(
    call: *const abi::Call,
    part: Str,
    format: Str,
    extra: Str,
    out: *mut Str,
) -> i32 {
    // SAFETY: rules R4 and R1, as in http(); `out` is the plugin's place for a ticket_str.
    let done = unsafe {
        with_frame(call, |inner| {
            let texts = (part.text(), format.text(), extra.text());
            let rendered = match texts {
                (_, _, Some(extra)) if extra.len() > MAX_EXTRA => Err(format!(
                    "render() was called with an extra of {} bytes, more than the {MAX_EXTRA} that it may have",
                    extra.len()
                )),
                (Some(part), Some(format), Some(extra)) => inner.host.render(part, format, extra),
                _ => Err("render() was called with text that is not UTF-8".to_owned()),
            };
            let (mut code, mut text) = match rendered {
                Ok(text) => (status::OK, text),
                Err(reason) => (status::SETTINGS_ERROR, reason),
            };
            if inner.held_bytes.saturating_add(text.len()) > MAX_HELD {
                (code, text) = (status::PLUGIN_ERROR, over_held());
            }
            let (_, text) = inner.hold(Vec::new(), text.into_bytes());
            if !out.is_null() {
                *out = text;
            }
            code
        })
    };
    done.unwrap_or(status::PLUGIN_ERROR)
}

fn over_held() -> String {
    format!("one call may hold {MAX_HELD} bytes of answers and rendered text, and this is more")
}

impl Inner<'_> {
    /// The host's answer, unless this call already holds all that it may.
    fn exchange(&mut self, request: HttpRequest) -> HttpAnswer {
        if self.held_bytes >= MAX_HELD {
            return HttpAnswer::Denied(over_held());
        }
        self.host.http(request)
    }

    /// Keeps an answer until the plugin's function returns, and points into it.
    fn hold(&mut self, headers: Vec<(String, String)>, body: Vec<u8>) -> (*const abi::Header, Str) {
        let mut copies = Vec::new();
        let mut point = |text: &[u8]| match self.host.apart(text) {
            None => Str::of(text),
            Some(copy) => {
                let place = Str::of((*copy).as_ref());
                copies.push(copy);
                place
            }
        };
        let raw: Vec<_> = headers
            .iter()
            .map(|(name, value)| abi::Header {
                name: point(name.as_bytes()),
                value: point(value.as_bytes()),
            })
            .collect();
        let text = point(&body);
        let mut place = raw.as_ptr();
        // SAFETY: a header has no padding.
        if let Some((copy, its)) = unsafe { apart(self.host, &raw) } {
            copies.push(copy);
            place = its;
        }
        self.held_bytes +=
            body.len() + headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
        // Moving a Vec, String or Box moves no bytes on the heap: the pointers stay valid.
        self.held.push(Held { _headers: headers, _body: body, _copies: copies, _raw: raw });
        (place, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_that_a_table_has_only_half_of_is_none() {
        let pointer = size_of::<usize>();
        let (find, whole) = (offset_of!(abi::Plugin, find), size_of::<abi::Plugin>());
        for (size, bytes) in [
            (find, find),
            (find + pointer - 1, find),
            (find + pointer, find + pointer),
            (find + pointer + 1, find + pointer),
            (whole, whole),
            (whole + 100, whole),
        ] {
            assert_eq!(known(size as u32), bytes, "{size}");
        }
    }
}
