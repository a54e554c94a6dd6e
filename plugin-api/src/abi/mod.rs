//! The Rust mirror of `include/ticket_plugin.h`, field for field.
//!
//! The header is the contract and says what each field means; `tests/layout.rs` compares every
//! size and offset here with what the C compiler says. All `unsafe` of this crate is below this
//! module: [`host_side`] calls a plugin, [`plugin_side`] answers a host.
#![allow(unsafe_code)]

pub mod host_side;
#[cfg(feature = "layout")]
pub mod layout;
pub mod plugin_side;

use std::ffi::c_void;

#[cfg(feature = "layout")]
use abi_stable::StableAbi;

/// The ABI version that this crate speaks.
pub const ABI_VERSION: u32 = 1;
/// The one symbol that a plugin exports.
pub const ENTRY_SYMBOL: &str = "ticket_plugin_entry";
/// A second symbol of Rust plugins with the feature `layout`: the layout of [`Plugin`] as the plugin was compiled.
pub const LAYOUT_SYMBOL: &str = "ticket_plugin_layout";

/// Bytes that a manifest may have.
pub const MAX_MANIFEST: usize = 1 << 20;
/// Bytes that a reply may have.
pub const MAX_REPLY: usize = 1 << 20;
/// Headers that a request may have.
pub const MAX_HEADERS: usize = 256;
/// Bytes that a request's method, URL and headers may have together.
pub const MAX_REQUEST_HEAD: usize = 256 << 10;
/// Bytes that the body of a request may have.
pub const MAX_REQUEST_BODY: usize = 16 << 20;
/// Bytes that the body of an answer may have.
pub const MAX_BODY: usize = 64 << 20;
/// Bytes of what a plugin gives to its templates (`extra` in `render()`).
pub const MAX_EXTRA: usize = 256 << 10;
/// Bytes of a log line; the rest is cut.
pub const MAX_LOG: usize = 16 << 10;
/// Lines that one call may log; the rest is dropped, which the host says.
pub const MAX_LINES: usize = 1000;
/// Bytes of HTTP answers and rendered text that are held for one call.
pub const MAX_HELD: usize = 64 << 20;
/// Keys that `find_many()` is asked for at once.
pub const MAX_KEYS: usize = 200;
/// Bytes that these keys may have together.
pub const MAX_KEY_BYTES: usize = 128 << 10;
/// Tickets that `state()` is asked for at once.
pub const MAX_STATES: usize = 100;
/// Tickets that one reply of `changes()` may name.
pub const MAX_CHANGED: usize = 500;
/// Tickets that one reply of `receive()` may name.
pub const MAX_RECEIVED: usize = 100;
/// Bytes of a ticket's id.
pub const MAX_ID: usize = 256;
/// Bytes of a plugin's own text that the host keeps for it: a cursor.
pub const MAX_CURSOR: usize = 4 << 10;
/// Bytes of what `receive()` has the host answer to a webhook's sender.
pub const MAX_ANSWER: usize = 4 << 10;
/// Bytes of a webhook's URL and headers together.
pub const MAX_WEBHOOK_HEAD: usize = 64 << 10;
/// Bytes of a webhook's body.
pub const MAX_WEBHOOK_BODY: usize = 256 << 10;

/// What a plugin's function returns (`TICKET_OK` and so on).
pub mod status {
    /// Done. What was asked for is in the reply.
    pub const OK: i32 = 0;
    /// The settings are wrong, and a person must change them.
    pub const SETTINGS_ERROR: i32 = 1;
    /// The ticket system can't be reached, or is overloaded.
    pub const CLIENT_ERROR: i32 = 2;
    /// The ticket system refused to make the ticket: a permission or a field is missing.
    pub const CREATION_ERROR: i32 = 3;
    /// Anything else: a bug in the plugin, or an answer that it doesn't understand.
    pub const PLUGIN_ERROR: i32 = 4;
    /// Of `find`: there certainly is no such ticket. Of `update`: it is gone. A search that failed is one of the errors.
    pub const NOT_FOUND: i32 = 5;
    /// The plugin doesn't do that; the same as a function that its table doesn't have.
    pub const UNSUPPORTED: i32 = 6;
}

/// What `http()` returns (`TICKET_HTTP_OK` and so on).
pub mod http_status {
    /// An answer came, whatever its status.
    pub const OK: i32 = 0;
    /// Nothing reached the server: no address, no connection, no TLS.
    pub const NOT_SENT: i32 = 1;
    /// It was sent, and no whole answer came: the server may have carried it out.
    pub const UNKNOWN: i32 = 2;
    /// The host's policy forbids it, and would the next time.
    pub const DENIED: i32 = 3;
    /// A dry run: the operator was shown the request, and it was not sent.
    pub const DRY_RUN: i32 = 4;
}

/// The levels of `log()` (`TICKET_LOG_ERROR` and so on).
pub mod log_level {
    /// Something failed, and the operator must know.
    pub const ERROR: u32 = 1;
    /// Something isn't as it should be. It is the last level that operators see by default from a command.
    pub const WARN: u32 = 2;
    /// What a service does as a matter of course.
    pub const INFO: u32 = 3;
    /// What helps who looks for a fault.
    pub const DEBUG: u32 = 4;
    /// Every step.
    pub const TRACE: u32 = 5;
}

/// `ticket_str`: UTF-8 text or bytes, borrowed. `ptr` may be anything if `len` is 0.
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct Str {
    /// Where the bytes begin. Whoever made the value keeps them alive as rule R1 of the header says.
    pub ptr: *const u8,
    /// How many bytes there are. They don't end with a NUL.
    pub len: usize,
}

/// A header of a request or an answer: the header's `ticket_header`.
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// The name, in UTF-8. In an answer it is in lower case.
    pub name: Str,
    /// The value, in UTF-8.
    pub value: Str,
}

/// What a plugin asks `http()` for: the header's `ticket_http_request`.
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest {
    /// Bytes of this struct as the plugin was compiled.
    pub size: u32,
    /// How many headers there are, at most [`MAX_HEADERS`].
    pub header_count: u32,
    /// `GET`, `POST` and so on.
    pub method: Str,
    /// An absolute URL, whose origin must be one that the operator allows.
    pub url: Str,
    /// The first header; NULL is allowed if there is none.
    pub headers: *const Header,
    /// The body: bytes, at most [`MAX_REQUEST_BODY`] of them.
    pub body: Str,
    /// Values of [`http_flag`], or 0. Requests of before 2026-11-26 end before this field.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

/// The flags of a request (`TICKET_HTTP_CHANGES_NOTHING`).
pub mod http_flag {
    /// Whatever its method, it creates and changes nothing that a ticket is made of: a login, or a search by POST.
    pub const CHANGES_NOTHING: u32 = 1;
}

/// What `http()` fills in: the header's `ticket_http_response`.
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct HttpResponse {
    /// Bytes of this struct as the plugin was compiled. The plugin sets it before it calls `http()`.
    pub size: u32,
    /// How many headers there are.
    pub header_count: u32,
    /// The status: 200, 404 and so on; 0 if no answer came.
    pub status: u32,
    /// 0.
    pub reserved: u32,
    /// The first header. It lives until the plugin's function returns.
    pub headers: *const Header,
    /// The body, whole: at most [`MAX_BODY`] bytes. If no answer came: why not, in UTF-8.
    pub body: Str,
}

/// The host's side of one call: the header's `ticket_call`.
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Bytes of this struct as the host was compiled: which of its functions there are (rule R3).
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// The host's own. A plugin passes on the `Call`, and never this.
    pub host: *mut c_void,
    /// Hands over the reply, a JSON object of at most [`MAX_REPLY`] bytes. The last one counts.
    pub reply: Option<unsafe extern "C" fn(call: *const Call, json: Str)>,
    /// Logs a line for the operator, of a level of [`log_level`]. The secret's values are struck out of it.
    pub log: Option<unsafe extern "C" fn(call: *const Call, level: u32, message: Str)>,
    /// How many milliseconds the call may still take; 0 when they are over, or the call was cancelled.
    pub remaining_ms: Option<unsafe extern "C" fn(call: *const Call) -> u64>,
    /// One HTTP exchange; blocks. Returns a value of [`http_status`]. It is denied within `open`.
    pub http: Option<
        unsafe extern "C" fn(
            call: *const Call,
            request: *const HttpRequest,
            response: *mut HttpResponse,
        ) -> i32,
    >,
    /// Renders the operator's template `part` (`title`, `body`, `comment` or `closing`) in `format` (`markdown`, `html` or `text`); the template sees
    /// the JSON object `extra` too. Returns a value of [`status`]; `out` is then the text, or else says why there is none.
    pub render: Option<
        unsafe extern "C" fn(
            call: *const Call,
            part: Str,
            format: Str,
            extra: Str,
            out: *mut Str,
        ) -> i32,
    >,
}

/// A plugin's table: the header's `ticket_plugin`.
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// Bytes of this struct as the plugin was compiled: which of its functions there are (rule R3).
    pub size: u32,
    /// The [`ABI_VERSION`] that the plugin was compiled with.
    pub abi_version: u32,
    /// What the plugin says of itself: the JSON of a [`Manifest`](crate::message::Manifest), of at most [`MAX_MANIFEST`] bytes.
    pub manifest: Str,
    /// Makes an instance of the settings, JSON of [`RawSettings`](crate::message::RawSettings), and stores it in `instance`.
    pub open: Option<
        unsafe extern "C" fn(call: *const Call, settings: Str, instance: *mut *mut c_void) -> i32,
    >,
    /// Ends an instance that `open` made. No other call of it comes after that.
    pub close: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// Finds out whether tickets can be made. The reply is [`Checks`](crate::message::Checks), also where one failed.
    pub check: Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call) -> i32>,
    /// Makes a ticket for a [`TicketRequest`](crate::message::TicketRequest); the reply is a [`Ticket`](crate::message::Ticket).
    pub create:
        Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32>,
    /// Looks for the ticket that was made with the request's key. A plugin may be without this function.
    pub find:
        Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32>,
    /// Looks for the tickets of many keys at once: [`FindMany`](crate::message::FindMany) to
    /// [`FoundMany`](crate::message::FoundMany). This function and those below it are optional.
    pub find_many:
        Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32>,
    /// Carries out one step of a ticket's life: [`UpdateRequest`](crate::message::UpdateRequest) to
    /// [`Updated`](crate::message::Updated).
    pub update:
        Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32>,
    /// Tells in which state tickets are: [`StateRequest`](crate::message::StateRequest) to [`States`](crate::message::States).
    pub state:
        Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32>,
    /// Reads a webhook: [`WebhookHead`](crate::message::WebhookHead) and the body's bytes to
    /// [`Received`](crate::message::Received).
    pub receive: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            call: *const Call,
            request: Str,
            body: Str,
        ) -> i32,
    >,
    /// Tells which tickets have changed: [`ChangesRequest`](crate::message::ChangesRequest) to
    /// [`Changed`](crate::message::Changed).
    pub changes:
        Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32>,
}

/// The type of the one symbol that a plugin exports, [`ENTRY_SYMBOL`]. It gives the plugin's table, which lives as long as the
/// process, or NULL to a host whose ABI version the plugin can't serve.
pub type Entry = unsafe extern "C" fn(host_abi_version: u32) -> *const Plugin;

impl Str {
    /// No bytes at all.
    pub const EMPTY: Str = Str { ptr: std::ptr::null(), len: 0 };

    /// Borrows `bytes`; the caller keeps them alive as rule R1 demands.
    pub const fn of(bytes: &[u8]) -> Str {
        Str { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes, or None where no object can be that long or `ptr` is NULL with a length.
    ///
    /// # Safety
    /// Unless `len` is 0, `ptr` points to `len` bytes that live, unchanged, for `'a`.
    pub unsafe fn bytes<'a>(self) -> Option<&'a [u8]> {
        if self.len == 0 {
            return Some(&[]);
        }
        if self.ptr.is_null() || self.len > isize::MAX as usize {
            return None;
        }
        // SAFETY: not NULL and not over isize::MAX, checked above; the rest is the caller's word.
        Some(unsafe { std::slice::from_raw_parts(self.ptr, self.len) })
    }

    /// The text, or None where [`Str::bytes`] is None or the bytes are not UTF-8.
    ///
    /// # Safety
    /// As [`Str::bytes`].
    pub unsafe fn text<'a>(self) -> Option<&'a str> {
        // SAFETY: the caller's word, passed on.
        unsafe { self.bytes() }.and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}
