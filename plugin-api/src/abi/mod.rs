//! The Rust mirror of `include/ticket_plugin.h`, field for field.
//!
//! The header is the contract and says what each field means; `tests/layout.rs` compares every
//! size and offset here with what the C compiler says. All `unsafe` of this crate is below this
//! module: [`host_side`] calls a plugin, [`plugin_side`] answers a host.
#![allow(unsafe_code)]

pub mod host_side;
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

/// What a plugin's function returns (`TICKET_OK` and so on).
pub mod status {
    pub const OK: i32 = 0;
    pub const SETTINGS_ERROR: i32 = 1;
    pub const CLIENT_ERROR: i32 = 2;
    pub const CREATION_ERROR: i32 = 3;
    pub const PLUGIN_ERROR: i32 = 4;
    pub const NOT_FOUND: i32 = 5;
    pub const UNSUPPORTED: i32 = 6;
}

/// What `http()` returns (`TICKET_HTTP_OK` and so on).
pub mod http_status {
    pub const OK: i32 = 0;
    pub const NOT_SENT: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const DENIED: i32 = 3;
    pub const DRY_RUN: i32 = 4;
}

/// The levels of `log()` (`TICKET_LOG_ERROR` and so on).
pub mod log_level {
    pub const ERROR: u32 = 1;
    pub const WARN: u32 = 2;
    pub const INFO: u32 = 3;
    pub const DEBUG: u32 = 4;
    pub const TRACE: u32 = 5;
}

/// `ticket_str`: UTF-8 text or bytes, borrowed. `ptr` may be anything if `len` is 0.
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct Str {
    pub ptr: *const u8,
    pub len: usize,
}

/// `ticket_header`
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub name: Str,
    pub value: Str,
}

/// `ticket_http_request`
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest {
    pub size: u32,
    pub header_count: u32,
    pub method: Str,
    pub url: Str,
    pub headers: *const Header,
    pub body: Str,
}

/// `ticket_http_response`
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct HttpResponse {
    pub size: u32,
    pub header_count: u32,
    pub status: u32,
    pub reserved: u32,
    pub headers: *const Header,
    pub body: Str,
}

/// `ticket_call`
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub size: u32,
    pub reserved: u32,
    pub host: *mut c_void,
    pub reply: Option<unsafe extern "C" fn(call: *const Call, json: Str)>,
    pub log: Option<unsafe extern "C" fn(call: *const Call, level: u32, message: Str)>,
    pub remaining_ms: Option<unsafe extern "C" fn(call: *const Call) -> u64>,
    pub http: Option<
        unsafe extern "C" fn(
            call: *const Call,
            request: *const HttpRequest,
            response: *mut HttpResponse,
        ) -> i32,
    >,
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

/// `ticket_plugin`
#[repr(C)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    pub size: u32,
    pub abi_version: u32,
    pub manifest: Str,
    pub open: Option<
        unsafe extern "C" fn(call: *const Call, settings: Str, instance: *mut *mut c_void) -> i32,
    >,
    pub close: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    pub check: Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call) -> i32>,
    pub create:
        Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32>,
    pub find:
        Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32>,
}

/// `ticket_plugin_entry`
pub type Entry = unsafe extern "C" fn(host_abi_version: u32) -> *const Plugin;

impl Str {
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

/// abi_stable's description of a type.
#[cfg(feature = "layout")]
pub type Layout = abi_stable::type_layout::TypeLayout;

/// The layout of [`Plugin`] as this crate compiled it; a Rust plugin's [`LAYOUT_SYMBOL`] gives its own.
#[cfg(feature = "layout")]
pub fn layout() -> &'static Layout {
    <Plugin as StableAbi>::LAYOUT
}
