//! The only way out to the network: a backend's HTTP exchanges, inside its fence and its bounds.

mod agreed;
mod fence;
mod pace;
mod place;
mod resolve;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Certificate, Client, ClientBuilder, Method, Proxy, Response, redirect};
use ticket_plugin_api::abi::MAX_HEADERS;
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest};
use ticket_plugin_api::http::{TOO_LARGE, retry_after};
use url::Url;

use crate::error::{Error, Result};
use crate::metrics::{Metrics, Status};
use agreed::Agreed;
pub(crate) use agreed::Agreement;
pub(crate) use fence::Fence;
pub(crate) use pace::LONGEST_PAUSE;
use pace::Pace;
use resolve::{Inward, Resolver};

/// Bytes that a URL may have.
const LONGEST_URL: usize = 64 << 10;
/// Bytes that its host may have, with user name and port.
const LONGEST_HOST: usize = 512;
/// How long it may take to connect to a server, TLS and proxy with it.
const CONNECT: Duration = Duration::from_secs(10);

/// Headers that a plugin may not set: the HTTP client sets them itself, or they could send a request elsewhere
/// than its URL says.
const FORBIDDEN_HEADERS: [&str; 10] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
];

/// Where a backend's requests may go, and how they are sent.
#[derive(Clone)]
pub(crate) struct Route {
    pub fence: Arc<Fence>,
    /// PEM file of certificate authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy to use instead of the one that the environment names (HTTPS_PROXY and so on).
    pub proxy: Option<Url>,
    /// Bytes that an answer's body may have.
    pub max_response: usize,
    /// The header User-Agent of requests that have none from the plugin.
    pub user_agent: String,
    /// Requests that may leave in a second.
    pub requests_per_second: Option<f64>,
    /// The backend's name: the metrics count its exchanges under it.
    pub backend: String,
    pub metrics: Arc<Metrics>,
}

/// Without the proxy, whose URL may hold a password.
impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the route of backend {}", self.backend)
    }
}

/// A backend's way out: a connection pool, made when it is first needed.
#[derive(Debug)]
pub(crate) struct Gateway {
    route: Route,
    pace: Pace,
    agreed: Agreed,
    client: OnceLock<Client>,
    /// For what isn't encrypted. The system's certificates, some 300 files, aren't read for it.
    unencrypted: OnceLock<Client>,
    /// Whether the way to a proxy is encrypted, whatever then goes through it.
    proxy_is_encrypted: bool,
}

impl Gateway {
    pub(crate) fn new(route: Route) -> Gateway {
        let pace = Pace::new(route.requests_per_second);
        let proxy_is_encrypted = proxies(route.proxy.as_ref()).iter().any(is_encrypted);
        let (client, unencrypted) = (OnceLock::new(), OnceLock::new());
        let agreed = Agreed::default();
        Gateway { route, pace, agreed, client, unencrypted, proxy_is_encrypted }
    }

    /// When the next request could leave. That is later than now during a pause, and where requests are spaced.
    pub(crate) fn next_turn(&self) -> Instant {
        self.pace.next()
    }

    /// From now on other hosts send requests to the same ticket system, too, and this is where they agree.
    pub(crate) fn agree(&self, agreement: Arc<dyn Agreement>) {
        self.agreed.with(agreement);
    }

    /// Another host was told that the ticket system wants to be left alone for that time.
    pub(crate) fn rest(&self, time: Duration) {
        self.pace.rest(time);
    }

    /// Whether a pause that the ticket system asked for lasts now.
    pub(crate) fn paused(&self) -> bool {
        self.pace.paused()
    }

    /// Whether the fence, and the rules for methods and headers, let `request` out.
    pub(crate) fn admit(&self, request: &HttpRequest) -> std::result::Result<Url, String> {
        check_length(&request.url)?;
        let url = Url::parse(&request.url).map_err(|cause| {
            let start: String = request.url.chars().take(200).collect();
            format!("the plugin asked for {start:?}, which is not a valid URL: {cause}")
        })?;
        self.route.fence.admit(&url)?;
        if !matches!(
            request.method.as_str(),
            "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" | "PATCH" | "DELETE"
        ) {
            return Err(format!("the method {:?} is not one that plugins may use", request.method));
        }
        if request.headers.len() > MAX_HEADERS {
            return Err(format!(
                "the plugin set {} headers, more than the {MAX_HEADERS} that a request may have",
                request.headers.len()
            ));
        }
        for (name, _) in &request.headers {
            if FORBIDDEN_HEADERS.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
                return Err(format!("plugins may not set the header {name}"));
            }
        }
        Ok(url)
    }

    /// Sends a request and waits for the whole answer. `time` bounds all of it: also the wait for the request's
    /// turn, which a rate limit or a pause can delay.
    pub(crate) async fn exchange(&self, request: HttpRequest, time: Duration) -> HttpAnswer {
        let answer = self.exchange_in_turn(request, time).await;
        let status = match &answer {
            HttpAnswer::Answered { status, .. } => Status::Code(*status),
            HttpAnswer::NotSent(_) => Status::None("not sent"),
            HttpAnswer::Unknown(_) => Status::None("unknown"),
            HttpAnswer::Denied(_) => Status::None("denied"),
            HttpAnswer::DryRun => Status::None("dry run"),
        };
        self.route.metrics.response(&self.route.backend, status);
        answer
    }

    async fn exchange_in_turn(&self, request: HttpRequest, time: Duration) -> HttpAnswer {
        let deadline = Instant::now() + time;
        let (client, url, headers) = match self.ready(&request) {
            Ok(ready) => ready,
            Err(reason) => return HttpAnswer::Denied(reason),
        };
        if !self.turn(deadline).await {
            return HttpAnswer::NotSent(
                "the call's time was over before the request's turn came (a rate limit, or a \
                 pause that the ticket system asked for)"
                    .to_owned(),
            );
        }
        let time = deadline.saturating_duration_since(Instant::now());
        if time.is_zero() {
            return HttpAnswer::NotSent("the call's time was over before the request".to_owned());
        }
        let origin = origin_of(&url);
        let left = Instant::now();
        let method = Method::from_bytes(request.method.as_bytes()).unwrap_or_default();
        let sent =
            client.request(method, url).headers(headers).body(request.body).timeout(time).send();
        let mut response = match sent.await {
            Ok(response) => response,
            Err(cause) => return unanswered(&origin, time, &cause),
        };
        let status = response.status().as_u16();
        let headers = texts_of(response.headers());
        match (status, retry_after(&headers)) {
            (429, asked) => self.pause(left, asked),
            (403 | 503, asked @ Some(_)) => self.pause(left, asked),
            _ => self.pace.taken(),
        }
        match self.body(&mut response, &origin, time).await {
            Ok(body) => HttpAnswer::Answered { status, headers, body },
            Err(reason) => HttpAnswer::Unknown(reason),
        }
    }

    /// What is needed to send a request; Err says why it may not go out.
    fn ready(
        &self,
        request: &HttpRequest,
    ) -> std::result::Result<(&Client, Url, HeaderMap), String> {
        let url = self.admit(request)?;
        let headers = self.headers(request)?;
        let client = self.client_for(&url).map_err(|error| describe(&error))?;
        Ok((client, url, headers))
    }

    /// Reads an answer's body; Err says why it is not whole.
    async fn body(
        &self,
        response: &mut Response,
        origin: &str,
        time: Duration,
    ) -> std::result::Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|cause| lost(origin, time, &cause))?
        {
            if body.len() + chunk.len() > self.route.max_response {
                return Err(format!(
                    "{origin} answered {} with more than the {} bytes that {TOO_LARGE} allows",
                    response.status().as_u16(),
                    self.route.max_response
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Begins a pause that the ticket system asked for in its answer to a request that left at `left`.
    fn pause(&self, left: Instant, asked: Option<Duration>) {
        let pause = self.pace.pause(left, asked);
        self.agreed.pause(&self.route.backend, pause);
    }

    /// Waits until a request may leave; false if that is after `deadline`.
    async fn turn(&self, deadline: Instant) -> bool {
        if !self.agreed.turn(&self.route.backend, self.pace.interval(), deadline).await {
            return false;
        }
        loop {
            let Some(turn) = self.pace.turn(deadline) else { return false };
            let wait = turn.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                self.route.metrics.rate_limit_wait(&self.route.backend, wait);
                tokio::time::sleep(wait).await;
            }
            if !self.pace.paused() {
                return true;
            }
        }
    }

    fn headers(&self, request: &HttpRequest) -> std::result::Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let bad = || {
                format!(
                    "the plugin set the header {name:?} to a text that can't be sent; is there a line \
                     break in the secret?"
                )
            };
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            // Bytes, not text: a header's value may be Latin-1 on the wire.
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
            headers.try_append(key, value).map_err(|_| bad())?;
        }
        if !headers.contains_key(USER_AGENT) {
            let agent = HeaderValue::from_str(&self.route.user_agent);
            headers.insert(USER_AGENT, agent.unwrap_or(HeaderValue::from_static("ticket-host")));
        }
        Ok(headers)
    }

    /// Reads the certificates that the settings name, if they name any, so that wrong ones are found before
    /// the first ticket needs them.
    pub(crate) fn check_settings(&self) -> Result<()> {
        if self.route.ca_file.is_some() {
            self.client()?;
        }
        Ok(())
    }

    /// The client of encrypted requests.
    fn client(&self) -> Result<&Client> {
        kept(&self.client, || finish(build(&self.route)?))
    }

    fn client_for(&self, url: &Url) -> Result<&Client> {
        if self.proxy_is_encrypted || is_encrypted(url) {
            return self.client();
        }
        kept(&self.unencrypted, || finish(build(&self.route)?.tls_certs_only([])))
    }
}

fn is_encrypted(url: &Url) -> bool {
    url.scheme() == "https"
}

/// The client in `place`, which is made if there is none yet.
fn kept(place: &OnceLock<Client>, make: impl FnOnce() -> Result<Client>) -> Result<&Client> {
    if let Some(client) = place.get() {
        return Ok(client);
    }
    let made = make()?;
    Ok(place.get_or_init(|| made))
}

/// The proxy of the config, or else those that environment variables name.
pub(super) fn proxies(configured: Option<&Url>) -> Vec<Url> {
    proxies_by(configured, |name| std::env::var(name).ok())
}

fn proxies_by(configured: Option<&Url>, variable: impl Fn(&str) -> Option<String>) -> Vec<Url> {
    const VARIABLES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];
    if let Some(url) = configured {
        return vec![url.clone()];
    }
    let names = VARIABLES.iter().flat_map(|name| [(*name).to_owned(), name.to_lowercase()]);
    let proxies = names.filter_map(|name| {
        let text = variable(&name)?;
        // One without a scheme is an HTTP proxy.
        let whole = if text.contains("://") { text } else { format!("http://{text}") };
        Url::parse(&whole).ok()
    });
    proxies.collect()
}

fn host(url: &Url) -> Option<String> {
    url.host_str().map(str::to_owned)
}

/// The client for the host's own requests, which go through the environment's proxy and trust the system's
/// certificates. It keeps connections from one request to the next, whoever makes them.
pub(crate) fn plain_client() -> Result<Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    kept(&CLIENT, || finish(builder())).cloned()
}

fn builder() -> ClientBuilder {
    // An error means that another client has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(Duration::from_secs(60))
}

fn finish(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|cause| {
        Error::settings("the HTTP client can't be made: are the system's certificates in place?")
            .help("install the package ca-certificates, or set ca_file")
            .cause(cause)
    })
}

fn build(route: &Route) -> Result<ClientBuilder> {
    let proxies = proxies(route.proxy.as_ref()).iter().filter_map(host).collect();
    let fence = Arc::clone(&route.fence);
    let mut builder = builder().dns_resolver(Resolver { fence, proxies });
    if let Some(file) = &route.ca_file {
        builder = builder.tls_certs_merge(authorities(file)?);
    }
    if let Some(url) = &route.proxy {
        let proxy = Proxy::all(url.clone())
            .map_err(|_| Error::settings("proxy: not a URL that a proxy can have"))?;
        builder = builder.proxy(proxy);
    }
    Ok(builder)
}

/// The certificate authorities in a PEM file.
///
/// # Errors
/// A settings error: the file can't be read, or has none.
pub(crate) fn authorities(file: &Path) -> Result<Vec<Certificate>> {
    let unusable = |cause: Box<dyn std::error::Error + Send + Sync>| Error {
        cause: Some(cause),
        ..Error::settings(format!("ca_file {}: can't be used", file.display()))
            .help("it must be a PEM file of certificates")
    };
    let pem = std::fs::read(file).map_err(|cause| unusable(Box::new(cause)))?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|cause| unusable(Box::new(cause)))?;
    if certificates.is_empty() {
        return Err(unusable("there is no certificate in it".into()));
    }
    Ok(certificates)
}

fn texts_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// What it means that a request got no answer from `origin` within `time`: it was not sent, was denied, or
/// nobody knows what became of it.
fn unanswered(origin: &str, time: Duration, cause: &reqwest::Error) -> HttpAnswer {
    if !cause.is_connect() && !cause.is_builder() {
        return HttpAnswer::Unknown(lost(origin, time, cause));
    }
    match inward(cause) {
        Some(inward) => HttpAnswer::Denied(format!("the plugin asked for {origin}, but {inward}")),
        None => HttpAnswer::NotSent(format!("{origin} can't be reached: {}", root(cause))),
    }
}

/// Whether a URL is short enough to be read at once: hosts in other scripts take long (IDNA).
fn check_length(url: &str) -> std::result::Result<(), String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if url.len() > LONGEST_URL || host.len() > LONGEST_HOST {
        return Err(format!(
            "the plugin asked for a URL of {} bytes, of which {} are its host; more than {LONGEST_URL} and \
             {LONGEST_HOST} are not allowed",
            url.len(),
            host.len()
        ));
    }
    Ok(())
}

fn lost(origin: &str, time: Duration, cause: &reqwest::Error) -> String {
    if cause.is_timeout() {
        format!("{origin} did not answer within {:.1} s", time.as_secs_f64())
    } else {
        format!("the connection to {origin} broke before the whole answer came: {}", root(cause))
    }
}

/// The innermost cause: "Connection refused", not "error sending request for url (...)".
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// The resolver's refusal among an error's causes, if there is one: the name leads inside.
fn inward(error: &reqwest::Error) -> Option<&Inward> {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        if let Some(inward) = error.downcast_ref() {
            return Some(inward);
        }
        next = error.source();
    }
    None
}

fn describe(error: &Error) -> String {
    match &error.cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn origin_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn gateway(endpoint: &str) -> Gateway {
        Gateway::new(Route {
            fence: Arc::new(Fence::new(&Url::parse(endpoint).unwrap(), Vec::new())),
            ca_file: None,
            proxy: None,
            max_response: 1000,
            user_agent: "ticket-host/test".to_owned(),
            requests_per_second: None,
            backend: "test".to_owned(),
            metrics: Arc::default(),
        })
    }

    fn request(method: &str, url: &str) -> HttpRequest {
        HttpRequest {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            changes_nothing: false,
        }
    }

    /// What becomes of a POST to a server that reads it, writes `answer` and closes.
    fn post_to_server_that_says(answer: &'static [u8]) -> HttpAnswer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = [0; 4096];
            let _ = stream.read(&mut seen).unwrap();
            stream.write_all(answer).unwrap();
        });
        let outcome = run(&gateway(&url), request("POST", &url));
        server.join().unwrap();
        outcome
    }

    fn run(gateway: &Gateway, request: HttpRequest) -> HttpAnswer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(gateway.exchange(request, Duration::from_secs(20)))
    }

    #[test]
    fn an_answer_comes_whole_with_lower_case_headers() {
        let answer = b"HTTP/1.1 422 No\r\nX-Reason: Why\r\nContent-Length: 2\r\n\r\nno";
        let HttpAnswer::Answered { status, headers, body } = post_to_server_that_says(answer)
        else {
            panic!("an answer came");
        };
        assert_eq!((status, body.as_slice()), (422, b"no".as_slice()));
        assert!(headers.contains(&("x-reason".to_owned(), "Why".to_owned())));
    }

    #[test]
    fn a_redirect_is_an_answer_and_is_not_followed() {
        let answer =
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(
            post_to_server_that_says(answer),
            HttpAnswer::Answered { status: 302, .. }
        ));
    }

    #[test]
    fn a_connection_that_breaks_after_the_request_leaves_unknown() {
        let broken = post_to_server_that_says(b"");
        assert!(matches!(&broken, HttpAnswer::Unknown(why) if why.contains("broke")), "{broken:?}");
        let half =
            post_to_server_that_says(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nhal");
        assert!(matches!(half, HttpAnswer::Unknown(_)), "{half:?}");
    }

    #[test]
    fn a_server_that_is_not_there_got_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let outcome = run(&gateway(&url), request("POST", &url));
        assert!(
            matches!(&outcome, HttpAnswer::NotSent(why) if why.contains("refused")),
            "{outcome:?}"
        );
    }

    #[test]
    fn the_proxies_of_the_environment_are_known_unless_the_config_has_its_own() {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://user:secret@proxy.corp.test:3128".to_owned()),
            "all_proxy" => Some("other.corp.test:8080".to_owned()),
            "HTTP_PROXY" => Some("no proxy".to_owned()),
            _ => None,
        };
        let hosts = |own| proxies_by(own, variable).iter().filter_map(host).collect::<Vec<_>>();
        assert_eq!(hosts(None), ["proxy.corp.test", "other.corp.test"]);
        let own = Url::parse("http://own.test:1").unwrap();
        assert_eq!(hosts(Some(&own)), ["own.test"]);
    }

    #[test]
    fn a_proxy_is_reached_by_a_name_that_leads_to_this_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        let route = gateway("http://x.invalid/").route;
        let gateway = Gateway::new(Route { proxy: Some(Url::parse(&proxy).unwrap()), ..route });
        let outcome = run(&gateway, request("POST", "http://x.invalid/"));
        assert!(matches!(outcome, HttpAnswer::Answered { status: 200, .. }), "{outcome:?}");
        server.join().unwrap();
    }

    #[test]
    fn an_answer_over_the_bound_is_no_answer() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n";
        let full: &'static [u8] =
            Box::leak([answer.as_slice(), &[b'x'; 2000], b"\r\n0\r\n\r\n"].concat().into());
        let outcome = post_to_server_that_says(full);
        assert!(
            matches!(&outcome, HttpAnswer::Unknown(why) if why.contains("1000 bytes")),
            "{outcome:?}"
        );
    }

    #[test]
    fn headers_and_methods_that_could_mislead_are_denied() {
        let gateway = gateway("https://x.org/");
        let mut host = request("GET", "https://x.org/");
        host.headers.push(("HOST".to_owned(), "other.org".to_owned()));
        assert!(gateway.admit(&host).unwrap_err().contains("header HOST"));
        assert!(
            gateway.admit(&request("CONNECT", "https://x.org/")).unwrap_err().contains("CONNECT")
        );
        assert!(
            gateway.admit(&request("GET", "nonsense")).unwrap_err().contains("not a valid URL")
        );
        for long in [
            format!("https://{}/", "網".repeat(300)),
            format!("https://x.org/{}", "a".repeat(65_536)),
        ] {
            assert!(gateway.admit(&request("GET", &long)).unwrap_err().contains("are not allowed"));
        }
        let mut many = request("GET", "https://x.org/");
        many.headers = (0..30_000).map(|n| (format!("x-{n}"), String::new())).collect();
        assert!(gateway.admit(&many).unwrap_err().contains("30000 headers, more than the 256"));
    }
}
