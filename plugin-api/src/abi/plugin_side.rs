//! The plugin's half of the ABI: a [`TicketPlugin`] behind the C table, and [`Call`], what a call
//! may ask of its host.
//!
//! Invariant: no panic crosses (rule R5); each becomes a plugin error.

use std::any::Any;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::size_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{self as abi, Str, http_flag, http_status, log_level, status};
use crate::error::{Error, Result};
use crate::http::{HttpError, Request, Response};
use crate::json;
use crate::message::{Action, Checks, RawSettings, UpdateRequest, Webhook, error_reply};
use crate::plugin::{Offer, Settings, TicketPlugin, manifest};

/// The host's side of the call that is under way. Neither Send nor Sync: it is only for the thread
/// that received it (rule R4).
pub struct Call<'a> {
    /// Not NULL, and valid for `'a`: the length of the plugin function that received it.
    raw: *const abi::Call,
    lifetime: PhantomData<&'a abi::Call>,
}

/// In which form a ticket system wants a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CommonMark with tables. What stands in the incident has a backslash before each sign that
    /// could mean something, to Markdown or to a forge: see [`crate::text::without_references`].
    Markdown,
    /// A fragment of HTML, without `<html>` or `<body>`. What stands in the incident is escaped.
    Html,
    /// Text without any markup, for people to read.
    Text,
}

impl Format {
    /// The word that the ABI has for it: `markdown`, `html` or `text`.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Markdown => "markdown",
            Format::Html => "html",
            Format::Text => "text",
        }
    }
}

/// What the template of a body sees beside the incident, so that the ticket can say what it lacks. A plugin that has nothing
/// to add passes `&Extra::default()`.
#[derive(Debug, Default, Serialize)]
pub struct Extra<'a> {
    /// What mappings name and the incident doesn't have, such as [`Fields::missing`](crate::mapping::Fields::missing).
    pub missing_fields: &'a [String],
    /// What won't be on the ticket as the settings want it, a sentence each.
    pub warnings: &'a [String],
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Call")
    }
}

impl Call<'_> {
    /// One HTTP exchange over the host, which has the connections, TLS, proxies and time limits. Blocks until the answer is
    /// there. Redirects are not followed, and nothing is sent twice: a 3xx or a 503 is an answer as any other.
    ///
    /// # Errors
    /// [`HttpError`] where no answer came; every answer, whatever its status, is Ok. `?` makes an [`Error`] of it that says
    /// whether the ticket may exist.
    pub fn http(&self, request: Request) -> std::result::Result<Response, HttpError> {
        let headers: Vec<abi::Header> = request
            .headers
            .iter()
            .map(|(name, value)| abi::Header {
                name: Str::of(name.as_bytes()),
                value: Str::of(value.as_bytes()),
            })
            .collect();
        let raw_request = abi::HttpRequest {
            size: size_of::<abi::HttpRequest>() as u32,
            header_count: headers.len() as u32,
            method: Str::of(request.method.as_bytes()),
            url: Str::of(request.url.as_bytes()),
            headers: headers.as_ptr(),
            body: Str::of(&request.body),
            flags: if request.changes_nothing { http_flag::CHANGES_NOTHING } else { 0 },
            reserved: 0,
        };
        let mut raw = abi::HttpResponse {
            size: size_of::<abi::HttpResponse>() as u32,
            header_count: 0,
            status: 0,
            reserved: 0,
            headers: std::ptr::null(),
            body: Str::EMPTY,
        };
        let Some(http) = self.table().http else {
            return Err(HttpError::Denied("this host does no HTTP".to_owned()));
        };
        // SAFETY: both tables live until http() returns, and say their size; what they point to
        // (headers, request) is borrowed above and outlives the call too.
        let code = unsafe { http(self.raw, &raw_request, &mut raw) };
        // SAFETY: rule R1: what the host set is valid until this plugin function returns, and
        // a Call doesn't outlive that. It is copied here.
        let body = unsafe { raw.body.bytes() }.unwrap_or_default().to_vec();
        let reason = || match body.as_slice() {
            [] => "the host doesn't say why".to_owned(),
            text => String::from_utf8_lossy(text).into_owned(),
        };
        match code {
            http_status::OK => {}
            http_status::NOT_SENT => return Err(HttpError::NotSent(reason())),
            http_status::DENIED => return Err(HttpError::Denied(reason())),
            http_status::DRY_RUN => return Err(HttpError::DryRun),
            _ => {
                return Err(HttpError::Unknown { reason: reason(), safe: request.is_safe() });
            }
        }
        let mut headers = Vec::new();
        for i in 0..raw.header_count as usize {
            // SAFETY: http() returned OK, so `headers` points to `header_count` of them.
            let header = unsafe { *raw.headers.add(i) };
            // SAFETY: as for the body above.
            let (name, value) = unsafe { (header.name.bytes(), header.value.bytes()) };
            let text = |bytes: Option<&[u8]>| {
                String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
            };
            headers.push((text(name), text(value)));
        }
        Ok(Response { status: raw.status as u16, headers, body, safe: request.is_safe() })
    }

    /// The ticket's title by the operator's template: one line of plain text. [`crate::text::title`] cuts it to what a system
    /// takes. Only `create`, `find` and `update` have an incident to make it of.
    ///
    /// # Errors
    /// A settings error that says what is wrong with the template.
    pub fn title(&self) -> Result<String> {
        self.render("title", Format::Text, &Extra::default())
    }

    /// The ticket's body by the operator's template, in the form that the ticket system wants. It has up to 8 MiB:
    /// [`crate::text::body`] cuts it to what a system takes. Only `create`, `find` and `update` have an incident to make it of.
    ///
    /// # Errors
    /// A settings error that says what is wrong with the template.
    pub fn body(&self, format: Format, extra: &Extra) -> Result<String> {
        self.render("body", format, extra)
    }

    /// What a step writes onto the ticket: of [`Action::Close`](crate::message::Action) the operator's template `closing`, of any
    /// other `comment`, in the form that the ticket system wants. Only `update` has an incident to make it of.
    ///
    /// # Errors
    /// A settings error that says what is wrong with the template.
    pub fn comment(&self, action: Action, format: Format) -> Result<String> {
        let part = if action == Action::Close { "closing" } else { "comment" };
        self.render(part, format, &Extra::default())
    }

    fn render(&self, part: &str, format: Format, extra: &Extra) -> Result<String> {
        let Some(render) = self.table().render else {
            return Err(Error::plugin("this host renders no templates"));
        };
        let extra = serde_json::to_string(extra).expect("lists of text are always JSON");
        let mut out = Str::EMPTY;
        // SAFETY: the texts outlive the call, and `out` is a valid place to write to.
        let code = unsafe {
            render(
                self.raw,
                Str::of(part.as_bytes()),
                Str::of(format.name().as_bytes()),
                Str::of(extra.as_bytes()),
                &mut out,
            )
        };
        // SAFETY: rule R1: valid until this plugin function returns; copied here.
        let text = unsafe { out.text() }.unwrap_or_default().to_owned();
        if code == status::OK { Ok(text) } else { Err(Error::settings(text)) }
    }

    /// Logs a line for the operator, who sees it by default. The host strikes out the secret's values.
    pub fn warn(&self, message: &str) {
        self.log(log_level::WARN, message);
    }

    /// Logs a line for who looks for a fault: shown with `-vv`, and as [`Call::warn`] in everything else.
    pub fn debug(&self, message: &str) {
        self.log(log_level::DEBUG, message);
    }

    fn log(&self, level: u32, message: &str) {
        if let Some(log) = self.table().log {
            // SAFETY: the message outlives the call.
            unsafe { log(self.raw, level, Str::of(message.as_bytes())) }
        }
    }

    /// The error for a page of a list that did not come, after `so_far` of the list's items. Where the call's time was over before
    /// the last page it says that, and what the operator can do. `what` is what was read: `the issues`.
    pub fn unfinished(&self, what: &str, so_far: usize, cause: HttpError) -> Error {
        let error = Error::from(cause);
        if so_far == 0 || !self.remaining().is_zero() {
            return error;
        }
        let message = format!(
            "{what}: there are too many to be read in the time that the call has: {so_far} were read, and there are more ({}); \
             raise call_timeout_seconds of this backend",
            error.message
        );
        Error { message, ..error }
    }

    /// How long this call may still take. A plugin returns before that is zero: a second later its process is ended, and what
    /// became of the ticket is unknown. In `find` it can be longer after an answer than before it, since a search that reads page
    /// after page gets more time. It is [`Duration::MAX`] under a host that tells no time.
    pub fn remaining(&self) -> Duration {
        match self.table().remaining_ms {
            // SAFETY: the pointer is the one that the host gave.
            Some(remaining_ms) => Duration::from_millis(unsafe { remaining_ms(self.raw) }),
            None => Duration::MAX,
        }
    }

    fn reply(&self, json: &str) {
        if let Some(reply) = self.table().reply {
            // SAFETY: the text outlives the call.
            unsafe { reply(self.raw, Str::of(json.as_bytes())) }
        }
    }

    /// The host's table; fields that an older host lacks are None.
    fn table(&self) -> abi::Call {
        let mut table = abi::Call {
            size: 0,
            reserved: 0,
            host: std::ptr::null_mut(),
            reply: None,
            log: None,
            remaining_ms: None,
            http: None,
            render: None,
        };
        // SAFETY: `raw` is valid (see the field). Every table begins with its size, of which at
        // most the bytes that both sides know are copied, into a value for which all-zero
        // fields (None, NULL) are valid.
        unsafe {
            let size = (*self.raw.cast::<u32>() as usize).min(size_of::<abi::Call>());
            std::ptr::copy_nonoverlapping(
                self.raw.cast::<u8>(),
                (&raw mut table).cast::<u8>(),
                size,
            );
        }
        table
    }
}

/// A plugin's table and what it points to; `export_plugin!` keeps it in a static.
pub struct Table<P> {
    made: OnceLock<(abi::Plugin, String)>,
    plugin: PhantomData<fn() -> P>,
}

// SAFETY: the table's only pointer goes to the manifest beside it, which never changes.
unsafe impl<P> Sync for Table<P> {}
// SAFETY: as for Sync: nothing in it belongs to a thread.
unsafe impl<P> Send for Table<P> {}

impl<P> std::fmt::Debug for Table<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Table")
    }
}

impl<P> Default for Table<P> {
    fn default() -> Self {
        Table::new()
    }
}

impl<P> Table<P> {
    /// A table that is made when the host first asks for it. It can be the value of a static.
    pub const fn new() -> Table<P> {
        Table { made: OnceLock::new(), plugin: PhantomData }
    }
}

impl<P: TicketPlugin> Table<P> {
    /// What `ticket_plugin_entry` returns: NULL for a host of another ABI version.
    pub fn entry(&'static self, host_abi_version: u32) -> *const abi::Plugin {
        if host_abi_version != abi::ABI_VERSION {
            return std::ptr::null();
        }
        let made = catch_unwind(|| {
            self.made.get_or_init(|| {
                let manifest =
                    serde_json::to_string(&manifest::<P>()).expect("text and schemas are JSON");
                let offers = |offer| P::ABOUT.offers.contains(&offer);
                let table = abi::Plugin {
                    size: size_of::<abi::Plugin>() as u32,
                    abi_version: abi::ABI_VERSION,
                    // The bytes stay where they are when the String moves into the static.
                    manifest: Str::of(manifest.as_bytes()),
                    open: Some(open::<P>),
                    close: Some(close::<P>),
                    check: Some(check::<P>),
                    create: Some(create::<P>),
                    find: Some(find::<P>),
                    find_many: offers(Offer::FindMany).then_some(find_many::<P>),
                    update: (!P::ABOUT.actions.is_empty()).then_some(update::<P>),
                    state: offers(Offer::State).then_some(state::<P>),
                    receive: offers(Offer::Receive).then_some(receive::<P>),
                    changes: offers(Offer::Changes).then_some(changes::<P>),
                };
                (table, manifest)
            })
        });
        made.map_or(std::ptr::null(), |(table, _)| table)
    }
}

unsafe extern "C" fn open<P: TicketPlugin>(
    call: *const abi::Call,
    settings: Str,
    instance: *mut *mut c_void,
) -> i32 {
    // SAFETY: the host's word by rules R1 and R4.
    unsafe { answer(call, settings) }.run(|_, settings| {
        let raw: RawSettings = from_json("settings", settings)?;
        let plugin = P::open(Settings {
            endpoint: raw.endpoint,
            secret: from_value("secret", raw.secret)?,
            information: from_value("information", raw.information)?,
            host: raw.host,
        })?;
        let handle = Box::into_raw(Box::new(plugin)).cast::<c_void>();
        // SAFETY: the host gave a place to store the instance in.
        unsafe { *instance = handle };
        Ok(Reply::Nothing)
    })
}

unsafe extern "C" fn close<P: TicketPlugin>(instance: *mut c_void) {
    // SAFETY: the pointer is open()'s, and the host closes an instance once and then forgets it.
    let plugin = unsafe { Box::from_raw(instance.cast::<P>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(plugin))).map_err(describe);
}

unsafe extern "C" fn check<P: TicketPlugin>(instance: *mut c_void, call: *const abi::Call) -> i32 {
    // SAFETY: the host's word by rules R1 and R4; the instance is open()'s and not in use.
    let (answer, plugin) = unsafe { (answer(call, Str::EMPTY), plugin::<P>(instance)) };
    answer.run(|call, _| {
        let checks = plugin.check(call)?;
        Ok(Reply::of(&Checks { checks }))
    })
}

/// Defines a function of the table that takes a request in JSON: what it does with the plugin, its call and the request.
macro_rules! asked {
    ($name:ident, $do:expr) => {
        unsafe extern "C" fn $name<P: TicketPlugin>(
            instance: *mut c_void,
            call: *const abi::Call,
            request: Str,
        ) -> i32 {
            // SAFETY: as in check().
            let (answer, plugin) = unsafe { (answer(call, request), plugin::<P>(instance)) };
            answer.run(|call, request| $do(plugin, call, &from_json("request", request)?))
        }
    };
}

asked!(create, |plugin: &mut P, call: &Call, request: &_| Ok(Reply::of(
    &plugin.create(call, request)?
)));
asked!(find, |plugin: &mut P, call: &Call, request: &_| Ok(Reply::of_found(
    plugin.find(call, request)?.as_ref()
)));
asked!(find_many, |plugin: &mut P, call: &Call, request: &_| Ok(Reply::of(
    &plugin.find_many(call, request)?
)));
asked!(state, |plugin: &mut P, call: &Call, request: &_| Ok(Reply::of(
    &plugin.state(call, request)?
)));
asked!(changes, |plugin: &mut P, call: &Call, request: &_| Ok(Reply::of(
    &plugin.changes(call, request)?
)));
asked!(update, |plugin: &mut P, call: &Call, request: &UpdateRequest<_>| {
    if !P::ABOUT.actions.contains(&request.step.action) {
        return Err(Error::unsupported());
    }
    Ok(Reply::of_found(plugin.update(call, request)?.as_ref()))
});

unsafe extern "C" fn receive<P: TicketPlugin>(
    instance: *mut c_void,
    call: *const abi::Call,
    request: Str,
    body: Str,
) -> i32 {
    // SAFETY: as in check(); the body is valid until this function returns, too.
    let (answer, plugin, body) =
        unsafe { (answer(call, request), plugin::<P>(instance), body.bytes()) };
    answer.run(|call, request| {
        let body = body.ok_or_else(|| Error::plugin("the host sent a body that can't be one"))?;
        let webhook = Webhook { head: from_json("request", request)?, body };
        Ok(Reply::of(&plugin.receive(call, &webhook)?))
    })
}

/// # Safety
/// `instance` is a pointer that `open::<P>` stored, not closed, and nobody else uses it for `'a`.
unsafe fn plugin<'a, P>(instance: *mut c_void) -> &'a mut P {
    // SAFETY: the caller's word.
    unsafe { &mut *instance.cast::<P>() }
}

/// # Safety
/// `call` is the host's and valid, as is `input`, until the plugin function returns: `'a`.
unsafe fn answer<'a>(call: *const abi::Call, input: Str) -> Answer<'a> {
    Answer {
        call: Call { raw: call, lifetime: PhantomData },
        // SAFETY: the caller's word.
        input: unsafe { input.text() },
    }
}

enum Reply {
    Nothing,
    Json(String),
    NotFound,
}

impl Reply {
    fn of(value: &impl Serialize) -> Reply {
        Reply::Json(serde_json::to_string(value).expect("replies are made of text and flags"))
    }

    fn of_found(found: Option<&impl Serialize>) -> Reply {
        found.map_or(Reply::NotFound, Reply::of)
    }
}

/// One call: runs the plugin's function, replies what it returned, and stops its panics.
struct Answer<'a> {
    call: Call<'a>,
    /// None if it is not UTF-8.
    input: Option<&'a str>,
}

impl Answer<'_> {
    fn run(&self, function: impl FnOnce(&Call, &str) -> Result<Reply>) -> i32 {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let input =
                self.input.ok_or_else(|| Error::plugin("the host sent text that is not UTF-8"))?;
            function(&self.call, input)
        }))
        .unwrap_or_else(|payload| {
            Err(Error::plugin(format!("the plugin panicked: {}", describe(payload))))
        });
        match result {
            Ok(Reply::Nothing) => status::OK,
            Ok(Reply::NotFound) => status::NOT_FOUND,
            Ok(Reply::Json(json)) => {
                self.call.reply(&json);
                status::OK
            }
            Err(error) => {
                let (code, json) = error_reply(&error);
                self.call.reply(&json);
                code
            }
        }
    }
}

fn describe(payload: Box<dyn Any + Send>) -> String {
    let text = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    };
    // A payload's own drop may panic; what that throws is forgotten, for nothing would stop it.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload))).map_err(std::mem::forget);
    text
}

fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    json::read_text(text)
        .map_err(|cause| Error::plugin(format!("the host's {what} can't be read: {cause}")))
}

/// The message has no value in it: it may be the secret.
fn from_value<T: DeserializeOwned>(what: &str, value: serde_json::Value) -> Result<T> {
    json::of_value(value).map_err(|_| {
        Error::settings(format!("{what} doesn't have the members that the plugin needs"))
    })
}

/// Exports a [`TicketPlugin`] as this library's plugin: the entry symbol, and with the feature `layout` the layout
/// symbol.
///
/// Doesn't compile with `panic = "abort"`: a panic must become a plugin error.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "a ticket plugin must be built with panic = \"unwind\": \
             its panics become errors, they don't end the host"
        );

        static TICKET_PLUGIN_TABLE: $crate::abi::plugin_side::Table<$plugin> =
            $crate::abi::plugin_side::Table::new();

        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn ticket_plugin_entry(host_abi_version: u32) -> *const $crate::abi::Plugin {
            TICKET_PLUGIN_TABLE.entry(host_abi_version)
        }

        $crate::export_layout!();
    };
}

/// Exports the layout symbol, if this crate has the feature `layout`: what [`export_plugin!`] writes into a plugin's
/// crate can't ask that there.
#[cfg(feature = "layout")]
#[doc(hidden)]
#[macro_export]
macro_rules! export_layout {
    () => {
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn ticket_plugin_layout() -> &'static $crate::abi::layout::Layout {
            $crate::abi::layout::own()
        }
    };
}

/// Exports nothing: this crate has not the feature `layout`.
#[cfg(not(feature = "layout"))]
#[doc(hidden)]
#[macro_export]
macro_rules! export_layout {
    () => {};
}
