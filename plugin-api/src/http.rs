//! HTTP requests and answers as plugins see them. The exchange itself is the host's.

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Retry};
use crate::json;

/// The words by which the host says that an answer's body is over its bound: it names the setting that has the bound, in the text
/// of an exchange that the ABI has no code of its own for.
pub const TOO_LARGE: &str = "max_response_bytes";

/// What is percent-encoded: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A backend's endpoint, to which paths are joined. The operator may write it with or without a trailing
/// slash, with a sub-path and with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
}

impl Endpoint {
    /// `url` must be absolute, with a scheme. The host has checked that of the endpoint in the settings.
    pub fn new(url: &str) -> Endpoint {
        Endpoint { base: url.trim_end_matches('/').to_owned() }
    }

    /// The URL of `path` below the endpoint. `path` is taken as it is: it has no leading slash, and what
    /// must be escaped in it is.
    pub fn join(&self, path: &str) -> Url {
        Url(format!("{}/{path}", self.base))
    }
}

/// A URL to which a plugin adds segments of the path and parameters of the query, which are escaped here (RFC 3986). It is made by
/// [`Endpoint::join`], or of a text that is a URL already, and a [`Request`] takes it.
///
/// ```
/// # use ticket_plugin_api::{Endpoint, Url};
/// let url: Url = Endpoint::new("https://desk.example.org/noc/").join("queues").segment("R&D/ø");
/// assert_eq!(String::from(url.query("for[]", "a b")), "https://desk.example.org/noc/queues/R%26D%2F%C3%B8?for%5B%5D=a%20b");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// Adds a segment to the path. A slash in `segment` is escaped, and so doesn't begin another one.
    pub fn segment(mut self, segment: &str) -> Url {
        self.0.push('/');
        self.0.extend(utf8_percent_encode(segment, RESERVED));
        self
    }

    /// Adds `name=value` to the query; both are escaped.
    pub fn query(mut self, name: &str, value: &str) -> Url {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.extend(utf8_percent_encode(name, RESERVED));
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, RESERVED));
        self
    }
}

impl From<Url> for String {
    fn from(url: Url) -> String {
        url.0
    }
}

impl From<&str> for Url {
    fn from(url: &str) -> Url {
        Url(url.to_owned())
    }
}

/// `text` with all but RFC 3986's unreserved characters percent-encoded.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The value of an Authorization header (RFC 7617). User and password are bytes, since it depends on the
/// server in which charset it reads them.
pub fn basic_auth(user: &[u8], password: &[u8]) -> String {
    let pair = [user, b":", password].concat();
    format!("Basic {}", STANDARD.encode(pair))
}

/// One HTTP request, which [`Call::http`](crate::Call::http) sends. Its Debug output has neither header values nor the body.
///
/// ```
/// # use ticket_plugin_api::Request;
/// let request = Request::post("https://desk.example.org/tickets")
///     .header("Authorization", "Bearer s3cret")
///     .json(&serde_json::json!({"subject": "gw1 is down"}));
/// assert_eq!(format!("{request:?}"), "POST https://desk.example.org/tickets");
/// ```
#[derive(Clone)]
pub struct Request {
    /// `GET`, `POST` and so on, in upper case.
    pub method: String,
    /// An absolute URL. Its origin must be the endpoint's, or another that the operator allows; else the host denies the request.
    pub url: String,
    /// Names and values, in the order in which they are sent; at most 256. With Host, Content-Length or
    /// one that is about the connection the host denies the request, since those are its own to set.
    pub headers: Vec<(String, String)>,
    /// The body, at most 16 MiB; empty for none.
    pub body: Vec<u8>,
    /// Whether it changes nothing though its method isn't a safe one: [`Request::changes_nothing`].
    pub changes_nothing: bool,
}

impl Request {
    /// A request without headers and body. `method` is in upper case.
    pub fn new(method: &str, url: impl Into<String>) -> Request {
        Request {
            method: method.to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            changes_nothing: false,
        }
    }

    /// A GET request.
    pub fn get(url: impl Into<String>) -> Request {
        Request::new("GET", url)
    }

    /// A POST request, whose body [`Request::json`] sets.
    pub fn post(url: impl Into<String>) -> Request {
        Request::new("POST", url)
    }

    /// The same request, of which the plugin says that it creates and changes nothing that a ticket is made of, whatever its method: a
    /// login, or a search by POST. If it gets no answer, it isn't in doubt whether there is a ticket.
    pub fn changes_nothing(mut self) -> Request {
        self.changes_nothing = true;
        self
    }

    /// Adds a header. One of the same name that is there already stays.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body to this value as JSON, and Content-Type to match.
    ///
    /// # Panics
    /// If `body` can't be JSON, such as a map whose keys aren't texts. That is a bug in the plugin.
    pub fn json(mut self, body: &impl Serialize) -> Request {
        self.body = serde_json::to_vec(body).expect("a plugin's own body can be JSON");
        self.header("Content-Type", "application/json")
    }

    /// Whether sending it changes nothing on the server (RFC 9110, 9.2.1).
    pub fn is_safe(&self) -> bool {
        is_safe(&self.method) || self.changes_nothing
    }
}

/// Whether a method changes nothing on the server (RFC 9110, 9.2.1).
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

impl std::fmt::Debug for Request {
    /// Shows neither header values nor the body, since they may hold the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// One HTTP answer, of whatever status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status: 200, 404 and so on. A redirect is not followed, so it can be a 3xx.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body, at most 64 MiB. The host asks for none that is compressed.
    pub body: Vec<u8>,
    /// Whether the request was one that changes nothing on the server. After another, a 5xx leaves it
    /// unknown whether the ticket was created.
    pub(crate) safe: bool,
}

impl Response {
    /// The value of the first header of this name, in whatever case it is written.
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let found = self.headers.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// A plugin error that says what came instead: an HTML page, nothing, or JSON of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        json::read(&self.body).map_err(|cause| {
            let error = Error::plugin(format!(
                "answered {} with {} instead of the JSON it documents ({cause})",
                self.status,
                self.kind_of_body(),
            ));
            // The status says that the request was carried out, so what it was to create may exist, though
            // the answer doesn't tell which it is.
            if self.safe || self.status >= 300 { error } else { error.retry(Retry::Unknown) }
        })
    }

    /// The body as JSON, of an answer that must have the status `wanted`. `what` begins the message of an
    /// error about the body: `the issue: Jira`.
    ///
    /// # Errors
    /// The error that `refusal` makes, if the answer has another status or is an HTML page, which is a login
    /// page or a proxy's and never an API's. Else that of [`Response::json`].
    pub fn read<T: DeserializeOwned>(
        &self,
        wanted: u16,
        what: &str,
        refusal: impl FnOnce() -> Error,
    ) -> Result<T, Error> {
        if self.status != wanted || self.kind_of_body() == "an HTML page" {
            return Err(refusal());
        }
        self.json().map_err(|error| Error { message: format!("{what} {}", error.message), ..error })
    }

    /// What the body is, for messages: `an HTML page`, `an empty body` or `a body`.
    pub fn kind_of_body(&self) -> &'static str {
        let start = String::from_utf8_lossy(&self.body[..self.body.len().min(512)]);
        let start = start.trim_start().to_ascii_lowercase();
        if start.is_empty() {
            "an empty body"
        } else if start.starts_with("<!doctype html") || start.starts_with("<html") {
            "an HTML page"
        } else {
            "a body"
        }
    }

    /// How long the server asks to be left alone, if it does: see the function [`retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    /// Whether another page of a list follows: the Link header then has rel="next" (RFC 8288).
    pub fn has_next_page(&self) -> bool {
        self.header("link").is_some_and(|link| link.contains("rel=\"next\""))
    }

    /// The value that a parameter has in the URL of the list's next page, which the Link header names (RFC 8288); None if it hasn't one.
    /// By such a value, where there is one, the ticket system goes on behind the last item that it gave, and not at a page's number.
    pub fn next_page_parameter(&self, name: &str) -> Option<String> {
        let links = self.header("link")?.split(',');
        let mut links = links.filter_map(|link| link.trim().strip_prefix('<')?.split_once('>'));
        let (url, _) = links.find(|(_, kind)| kind.contains("rel=\"next\""))?;
        let mut parameters =
            url.split_once('?')?.1.split('&').filter_map(|one| one.split_once('='));
        let (_, value) = parameters.find(|(named, _)| *named == name)?;
        Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
    }

    /// The error that this answer stands for. Its message is `reason`; the rest depends on the status:
    ///
    /// | status | kind | may be tried again |
    /// |---|---|---|
    /// | 401, 403, 404, 410 | settings: it concerns every ticket, not this one | no |
    /// | 408, 425, 429, 503, and 403 for a rate limit | client | later |
    /// | other 5xx | client | later; unknown after a request that can create |
    /// | other 4xx | creation | no |
    /// | anything else | plugin | no |
    ///
    /// The host reads "later" and "no" as unknown once a request of `create` that can create was answered 408 or 5xx, 503 too, unless
    /// the manifest's `not_done` has the status.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        let (kind, retry) = match self.status {
            // GitHub answers 403 with this header when a rate limit is used up.
            403 if self.retry_after().is_some() => (ErrorKind::Client, Retry::Later),
            401 | 403 | 404 | 410 => (ErrorKind::Settings, Retry::Never),
            408 | 425 | 429 | 503 => (ErrorKind::Client, Retry::Later),
            500.. if self.safe => (ErrorKind::Client, Retry::Later),
            500.. => (ErrorKind::Client, Retry::Unknown),
            400.. => (ErrorKind::Creation, Retry::Never),
            _ => (ErrorKind::Plugin, Retry::Never),
        };
        Error { retry, retry_after: self.retry_after(), ..Error::new(kind, reason) }
    }
}

/// How long the server that answered with these headers asks to be left alone, if it does.
///
/// It says so with Retry-After (RFC 9110, 10.2.3). If that is absent and a rate limit is used up, it is the
/// time until the limit starts anew, which GitLab tells in RateLimit-Reset, and GitHub and Jira in
/// X-RateLimit-Reset: in seconds, as a Unix time or as RFC 3339. A time is one of the server's clock, which the header Date tells; this
/// machine's counts only where that header is absent. The names in `headers` must be in lower case.
pub fn retry_after(headers: &[(String, String)]) -> Option<Duration> {
    retry_after_at(headers, SystemTime::now())
}

fn retry_after_at(headers: &[(String, String)], now: SystemTime) -> Option<Duration> {
    /// A number from here on is a time in seconds since 1970, since nobody is asked to wait that long.
    const UNIX_TIME: u64 = 1_000_000_000;
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let time = |text: &str| {
        crate::incident::unix_time(text.trim()).and_then(|time| u64::try_from(time).ok())
    };
    let ours = || Some(now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs());
    let now = header("date").and_then(time).or_else(ours)?;
    let read = |text: &str| {
        Some(match text.trim().parse().ok().or_else(|| time(text))? {
            time @ UNIX_TIME.. => time.saturating_sub(now),
            seconds => seconds,
        })
    };
    let reset = || {
        let used_up = ["ratelimit-remaining", "x-ratelimit-remaining"]
            .iter()
            .any(|name| header(name).is_some_and(|left| left.trim() == "0"));
        let names = ["ratelimit-reset", "x-ratelimit-reset"];
        used_up.then(|| names.iter().find_map(|name| read(header(name)?)))?
    };
    header("retry-after").and_then(read).or_else(reset).map(Duration::from_secs)
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request never left. The text says why.
    #[error("{0}")]
    NotSent(String),
    /// The request left, and its whole answer never came, so nobody knows what the server did.
    #[error("{reason}")]
    Unknown {
        /// What happened to the connection.
        reason: String,
        /// Whether the request was one that changes nothing on the server ([`is_safe`]).
        safe: bool,
    },
    /// The host doesn't let the request out, because of what it is or where it would go. The text says why.
    #[error("{0}")]
    Denied(String),
    /// The host is in a dry run, and sends nothing.
    #[error("a dry run: the request was not sent")]
    DryRun,
}

impl HttpError {
    /// Whether the answer's body was longer than the host takes (the operator's `max_response_bytes`). A list can then be asked for in
    /// smaller pages.
    pub fn is_too_large(&self) -> bool {
        matches!(self, HttpError::Unknown { reason, .. } if reason.contains(TOO_LARGE))
    }
}

impl From<HttpError> for Error {
    fn from(cause: HttpError) -> Error {
        let message = cause.to_string();
        match cause {
            HttpError::NotSent(_) | HttpError::DryRun => Error::client(message),
            HttpError::Unknown { safe: true, .. } => Error::client(message),
            HttpError::Unknown { safe: false, .. } => Error::client(message).retry(Retry::Unknown),
            HttpError::Denied(_) => Error::settings(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, safe: bool, body: &str) -> Response {
        Response {
            status,
            headers: if status == 429 { vec![("retry-after".into(), "7".into())] } else { vec![] },
            body: body.into(),
            safe,
        }
    }

    #[test]
    fn paths_join_to_an_endpoint_with_or_without_slash_and_sub_path() {
        for (endpoint, url) in [
            ("https://rt.example.org", "https://rt.example.org/REST/2.0/queue/A%2FB%20%C3%B8"),
            ("https://rt.example.org/", "https://rt.example.org/REST/2.0/queue/A%2FB%20%C3%B8"),
            ("https://x.org:8/noc/rt", "https://x.org:8/noc/rt/REST/2.0/queue/A%2FB%20%C3%B8"),
            ("https://x.org:8/noc/rt/", "https://x.org:8/noc/rt/REST/2.0/queue/A%2FB%20%C3%B8"),
        ] {
            let joined = Endpoint::new(endpoint).join("REST/2.0/queue").segment("A/B ø");
            assert_eq!(String::from(joined), url);
        }
    }

    #[test]
    fn names_and_values_of_a_query_are_escaped() {
        let url = Url::from("https://x/t").query("q", "a='b' & c").query("page", "2");
        assert_eq!(String::from(url), "https://x/t?q=a%3D%27b%27%20%26%20c&page=2");
        let url = Url::from("https://x/t?a=1").query("cf[Incident & key]=", "7").query("ø", "");
        assert_eq!(String::from(url), "https://x/t?a=1&cf%5BIncident%20%26%20key%5D%3D=7&%C3%B8=");
    }

    #[test]
    fn a_server_error_leaves_unknown_only_what_could_create() {
        assert_eq!(answer(502, true, "").error("x").retry, Retry::Later);
        assert_eq!(answer(502, false, "").error("x").retry, Retry::Unknown);
        assert_eq!(answer(503, false, "").error("x").retry, Retry::Later);
        let limited = answer(429, false, "").error("x");
        assert_eq!(limited.kind, ErrorKind::Client);
        assert_eq!(limited.retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_next_pages_link_tells_where_the_list_goes_on() {
        let link = "<https://x/i?after=prev&page=1>; rel=\"prev\", <https://x/i?a=1&after=Y%3D%2B&page=3>; rel=\"next\"";
        for (link, after) in [
            (link, Some("Y=+")),
            ("<https://x/i?page=2>; rel=\"next\"", None),
            ("<https://x/i?after=1>; rel=\"last\"", None),
            ("<https://x/i>; rel=\"next\"", None),
            ("https://x/i?after=1; rel=\"next\"", None),
            ("", None),
        ] {
            let answer = limited(200, &[("link", link)]);
            assert_eq!(answer.next_page_parameter("after").as_deref(), after, "{link}");
        }
    }

    fn limited(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Response { status, headers, body: Vec::new(), safe: true }
    }

    #[test]
    fn rate_limits_are_client_errors_and_say_when() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let used_up = ("x-ratelimit-remaining", "0");
        let ahead = ("date", "Fri, 15 Jan 2027 08:10:00 GMT");
        let behind = ("date", "Fri, 15 Jan 2027 07:50:00 GMT");
        for (headers, seconds) in [
            (&[("retry-after", "60")][..], Some(60)),
            (&[("retry-after", "Fri, 15 Jan 2027 08:00:20 GMT")], Some(20)),
            (&[used_up, ("x-ratelimit-reset", "1800000090")], Some(90)),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "1800000030")], Some(30)),
            (&[used_up, ("x-ratelimit-reset", "2027-01-15T08:00:10Z")], Some(10)),
            (&[used_up, ("x-ratelimit-reset", "7")], Some(7)),
            (&[used_up, ("x-ratelimit-reset", "1700000000")], Some(0)),
            (&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "1800000090")], None),
            (&[("retry-after", "soon")], None),
            (&[], None),
            // The server's clock is ten minutes ahead of this machine's, or behind it.
            (&[ahead, ("retry-after", "Fri, 15 Jan 2027 08:10:01 GMT")], Some(1)),
            (&[ahead, used_up, ("x-ratelimit-reset", "1800000601")], Some(1)),
            (&[ahead, used_up, ("x-ratelimit-reset", "2027-01-15T08:10:02Z")], Some(2)),
            (&[behind, ("retry-after", "Fri, 15 Jan 2027 07:50:03 GMT")], Some(3)),
            (&[ahead, ("retry-after", "60")], Some(60)),
            (&[("date", "today"), used_up, ("x-ratelimit-reset", "1800000090")], Some(90)),
        ] {
            let wait = retry_after_at(&limited(429, headers).headers, now);
            assert_eq!(wait, seconds.map(Duration::from_secs), "{headers:?}");
        }
        assert_eq!(limited(403, &[("retry-after", "1")]).error("x").kind, ErrorKind::Client);
        assert_eq!(limited(403, &[]).error("x").kind, ErrorKind::Settings);
    }

    #[test]
    fn an_answer_over_the_hosts_bound_is_told_from_one_that_was_lost() {
        let lost = |reason: &str| HttpError::Unknown { reason: reason.to_owned(), safe: true };
        assert!(lost("more than the 9 bytes that max_response_bytes allows").is_too_large());
        assert!(!lost("the connection broke").is_too_large());
        assert!(!HttpError::Denied("max_response_bytes".to_owned()).is_too_large());
    }

    #[test]
    fn a_next_page_is_told_by_link() {
        let next = "<https://x/?page=2>; rel=\"next\", <https://x/?page=9>; rel=\"last\"";
        assert!(limited(200, &[("link", next)]).has_next_page());
        assert!(!limited(200, &[("link", "<https://x/>; rel=\"first\"")]).has_next_page());
        assert!(!limited(200, &[]).has_next_page());
    }

    #[test]
    fn statuses_have_argus_kinds() {
        for (status, kind) in [
            (401, ErrorKind::Settings),
            (403, ErrorKind::Settings),
            (404, ErrorKind::Settings),
            (422, ErrorKind::Creation),
            (500, ErrorKind::Client),
            (302, ErrorKind::Plugin),
        ] {
            assert_eq!(answer(status, false, "").error("x").kind, kind, "{status}");
        }
    }

    #[test]
    fn a_2xx_without_its_json_may_have_created() {
        let page = "\n<!DOCTYPE html><html>";
        let created = answer(201, false, page).json::<u8>().unwrap_err();
        assert_eq!(created.retry, Retry::Unknown);
        assert!(created.message.contains("an HTML page"), "{created}");
        assert_eq!(answer(200, true, page).json::<u8>().unwrap_err().retry, Retry::Never);
    }

    #[test]
    fn what_is_not_the_wanted_answer_is_a_refusal() {
        let refusal = || Error::settings("refused");
        assert_eq!(answer(200, true, "7").read(200, "the x: Y", refusal), Ok(7));
        for (status, body) in [(201, "7"), (200, "<html>")] {
            let error = answer(status, true, body).read::<u8>(200, "x", refusal).unwrap_err();
            assert_eq!(error.message, "refused");
        }
        let error = answer(200, true, "x").read::<u8>(200, "the x: Y", refusal).unwrap_err();
        assert!(error.message.starts_with("the x: Y answered 200 with a body"), "{error}");
    }

    #[test]
    fn debug_shows_no_header_and_no_body() {
        let request =
            Request::post("https://x/").header("Authorization", "hunter2").json(&"hunter2");
        assert_eq!(format!("{request:?}"), "POST https://x/");
    }
}
