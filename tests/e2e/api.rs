//! What the service says of its own API: it is true, it is all, and its page needs nothing from anywhere.
//!
//! That every answer in the other tests is one that the document lists is seen to where they ask: tests/src/service.rs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use ticket_host_tests::{Installation, Reply, Service, c_plugin, rust_plugin};

use crate::serve_limits::raise_open_files;

const QUEUE: &str = "[queue]\npath = \"queue.db\"\n";

/// A host whose tickets are files.
fn local(more: &str) -> Installation {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    host.config(&format!("default_backend = \"b\"\n{QUEUE}{more}\n{}", host.local("b")));
    host
}

/// An operation of the document, as it writes them.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    said: Value,
}

fn operations(document: &Value) -> Vec<Operation> {
    let of_path = |(path, methods): (&String, &Value)| {
        let of_method = |(method, said): (&String, &Value)| Operation {
            method: method.clone(),
            path: path.clone(),
            said: said.clone(),
        };
        methods.as_object().unwrap().iter().map(of_method).collect::<Vec<_>>()
    };
    document["paths"].as_object().unwrap().iter().flat_map(of_path).collect()
}

impl Operation {
    fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    /// Whether it is answered also when there are too many connections.
    fn is_probe(&self) -> bool {
        self.said["tags"] == json!(["health"])
    }

    /// The scope that it needs.
    fn scope(&self) -> Option<&str> {
        let ways = self.said["security"].as_array()?;
        let scopes: Option<Vec<&String>> =
            ways.iter().map(|way| way.as_object()?.keys().next()).collect();
        scopes?.first().map(|scope| scope.as_str())
    }

    fn errors(&self) -> BTreeSet<String> {
        let statuses = self.said["responses"].as_object().unwrap().keys();
        let errors = statuses.filter(|status| status.as_str() >= "400");
        errors.map(|status| self.called(status)).collect()
    }

    fn called(&self, status: &str) -> String {
        format!("{} {} {status}", self.method, self.path)
    }
}

/// The errors that were met: method, path as the document has it, and status.
struct Met {
    operations: Vec<Operation>,
    errors: BTreeSet<String>,
}

impl Met {
    /// Asks, over a connection of its own, and notes the error that is answered.
    fn ask(&mut self, service: &Service, operation: &Operation, request: &Request) -> String {
        let mut stream = connect(service);
        stream.write_all(request.text(operation).as_bytes()).unwrap();
        self.answered(operation, stream)
    }

    fn answered(&mut self, operation: &Operation, mut stream: TcpStream) -> String {
        let mut answer = String::new();
        // The service may close the connection before it has read everything.
        let _ = stream.read_to_string(&mut answer);
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{operation:?}: {answer}"));
        if status >= "400" {
            self.errors.insert(operation.called(status));
        }
        answer
    }

    fn operation(&self, method: &str, path: &str) -> Operation {
        self.operations.iter().find(|operation| operation.is(method, path)).unwrap().clone()
    }
}

#[derive(Default)]
struct Request<'a> {
    id: i64,
    query: &'a str,
    token: &'a str,
    /// More headers.
    head: &'a str,
    body: String,
    /// Bytes of the body that are announced and never sent.
    missing: usize,
}

impl Request<'_> {
    fn text(&self, operation: &Operation) -> String {
        let path = operation.path.replace("{id}", &self.id.to_string()).replace("{backend}", "b");
        let token = match self.token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        format!(
            "{} {path}{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{token}{}\r\n{}",
            operation.method.to_uppercase(),
            self.query,
            self.body.len() + self.missing,
            self.head,
            self.body
        )
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.url.trim_start_matches("http://")).unwrap()
}

/// The errors of who has not the right token, and of heads that are too large.
fn refused_before_it_is_done(met: &mut Met) {
    let mut tokens = String::new();
    for scope in ["create", "read", "admin"] {
        tokens.push_str(&format!(
            "[serve.tokens.{scope}]\ntoken = {{ file = \"{scope}\" }}\nscopes = [\"{scope}\"]\n"
        ));
    }
    let host = local(&tokens);
    for scope in ["create", "read", "admin"] {
        fs::write(host.path(scope), format!("token-{scope}")).unwrap();
    }
    let service = host.serve();
    let large = "X-Many: x\r\n".repeat(150);
    for operation in met.operations.clone() {
        met.ask(&service, &operation, &Request { head: &large, ..Request::default() });
        let Some(scope) = operation.scope() else { continue };
        met.ask(&service, &operation, &Request::default());
        for other in ["create", "read", "admin"].into_iter().filter(|other| *other != scope) {
            let token = format!("token-{other}");
            let refused =
                met.ask(&service, &operation, &Request { token: &token, ..Request::default() });
            assert!(refused.contains(&format!("lacks the scope {scope}")), "{refused}");
        }
        let token = format!("token-{scope}");
        let answer =
            met.ask(&service, &operation, &Request { token: &token, ..Request::default() });
        assert!(!["401", "403"].contains(&answer.split(' ').nth(1).unwrap()), "{answer}");
    }
}

/// The errors of requests that can't be done as they are.
fn refused_for_what_is_asked(met: &mut Met) {
    let host =
        local("[backends.absent]\nplugin = \"none\"\nendpoint = \"https://x.example.org\"\n");
    let service = host.serve();
    let create = met.operation("post", "/v1/tickets");
    let incident = |key: &str, backend: &str| {
        json!({"incident": {"description": "d"}, "key": key, "backend": backend}).to_string()
    };
    let slow = Request { head: JSON, body: "{".to_owned(), missing: 10, ..Request::default() };
    let mut never_ends = connect(&service);
    never_ends.write_all(slow.text(&create).as_bytes()).unwrap();
    for body in ["nonsense".to_owned(), " ".repeat(2 << 20), incident("1", "absent")] {
        met.ask(&service, &create, &Request { head: JSON, body, ..Request::default() });
    }
    met.ask(&service, &create, &Request { body: incident("2", "b"), ..Request::default() });
    // The first was kept for the backend that isn't ready.
    service.post("/v1/tickets/1/cancel", &json!({})).is(200);
    met.ask(
        &service,
        &create,
        &Request { head: JSON, body: incident("1", "absent"), ..Request::default() },
    );
    let made = Request { head: JSON, body: incident("3", "b"), ..Request::default() };
    let made = met.ask(&service, &create, &made);
    let (_, place) = made.split_once("location: /v1/tickets/").unwrap();
    let made = place.lines().next().unwrap().parse().unwrap();
    met.ask(
        &service,
        &met.operation("get", "/v1/tickets"),
        &Request { query: "?limit=0", ..Request::default() },
    );
    met.ask(
        &service,
        &met.operation("get", "/v1/tickets/{id}"),
        &Request { id: 99, ..Request::default() },
    );
    for path in ["/v1/tickets/{id}/retry", "/v1/tickets/{id}/cancel"] {
        for id in [99, made] {
            met.ask(&service, &met.operation("post", path), &Request { id, ..Request::default() });
        }
    }
    met.answered(&create, never_ends);
    let report = met.operation("post", "/v1/incidents");
    let mut never_ends = connect(&service);
    never_ends.write_all(slow.text(&report).as_bytes()).unwrap();
    for body in ["nonsense".to_owned(), " ".repeat(2 << 20)] {
        met.ask(&service, &report, &Request { head: JSON, body, ..Request::default() });
    }
    met.answered(&report, never_ends);
    refused_webhooks(met);
}

/// The errors of who sends webhooks.
fn refused_webhooks(met: &mut Met) {
    let receive = met.operation("post", "/v1/hooks/{backend}");
    met.ask(&local("").serve(), &receive, &Request::default());
    let secret = "secret = { token = \"t\", webhook_secret = \"a-secret-of-the-desk\" }\n";
    let host = Installation::with(
        &c_plugin("webhook"),
        "http://127.0.0.1:1/",
        &format!("{secret}{QUEUE}"),
    );
    let service = host.serve();
    let mut never_ends = connect(&service);
    let slow = Request { body: "{".to_owned(), missing: 10, ..Request::default() };
    never_ends.write_all(slow.text(&receive).as_bytes()).unwrap();
    met.ask(&service, &receive, &Request::default());
    met.ask(&service, &receive, &Request { body: " ".repeat(300_000), ..Request::default() });
    let head = "X-Webhook-Secret: a-secret-of-the-desk\r\n";
    met.ask(&service, &receive, &Request { head, body: "nonsense".into(), ..Request::default() });
    let limited = (0..30).map(|_| met.ask(&service, &receive, &Request::default()));
    let limited = limited.filter(|answer| answer.contains("retry-after: 1"));
    assert!(limited.count() > 0);
    met.answered(&receive, never_ends);
}

/// The errors of a service that is too busy, or can't do its work.
fn refused_for_what_the_service_lacks(met: &mut Met) {
    raise_open_files();
    let host = local("");
    let service = host.serve();
    let idle: Vec<TcpStream> = (0..1400).map(|_| connect(&service)).collect();
    for operation in met.operations.clone().iter().filter(|operation| !operation.is_probe()) {
        let busy = met.ask(&service, operation, &Request::default());
        assert!(busy.contains("retry-after: 1"), "{busy}");
    }
    drop(idle);

    let host = local("");
    let service = host.serve();
    fs::remove_file(host.path("queue.db")).unwrap();
    let metrics = service.get("/metrics").is(200).text;
    assert!(metrics.contains("ticket_host_ready 0\n"), "{metrics}");

    let host = Installation::new();
    host.config(QUEUE);
    met.ask(&host.serve(), &met.operation("get", "/readyz"), &Request::default());
}

#[test]
fn the_openapi_document_lists_the_errors_that_are_answered_and_no_others() {
    let document = local("").serve().get("/openapi.json").is(200).json();
    let operations = operations(&document);
    let listed: BTreeSet<String> = operations.iter().flat_map(Operation::errors).collect();
    let mut met = Met { operations, errors: BTreeSet::new() };
    refused_before_it_is_done(&mut met);
    refused_for_what_is_asked(&mut met);
    refused_for_what_the_service_lacks(&mut met);
    let missing: Vec<_> = met.errors.difference(&listed).collect();
    let never: Vec<_> = listed.difference(&met.errors).collect();
    assert!(missing.is_empty() && never.is_empty(), "not listed: {missing:?}\nnot met: {never:?}");
}

#[test]
fn a_path_that_is_not_there_is_a_404_and_a_method_that_it_does_not_take_a_405_with_those_that_it_takes()
 {
    let host = local("");
    let service = host.serve();
    let nowhere = service.get("/v1/nowhere").is(404);
    assert_eq!(nowhere.header("content-type"), Some("application/problem+json"));
    let wrong = service.post("/v1/backends", &json!({})).is(405);
    assert_eq!(wrong.header("content-type"), Some("application/problem+json"));
    assert_eq!(wrong.header("allow"), Some("GET,HEAD"));
}

/// The values of an attribute in HTML whose attributes are in double quotes.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    let (mut values, mut rest) = (Vec::new(), html);
    while let Some((_, after)) = rest.split_once(&start) {
        let (value, others) = after.split_once('"').unwrap();
        values.push(value);
        rest = others;
    }
    values
}

#[test]
fn the_page_of_the_api_says_what_the_document_says_and_needs_nothing_else() {
    let host = local("");
    let service = host.serve();
    let document = service.get("/openapi.json").is(200).json();
    let page: Reply = service.get("/docs").is(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    // A slash is escaped, too.
    let html = &page.text.replace("&#x2f;", "/");
    for operation in operations(&document) {
        let name = operation.said["operationId"].as_str().unwrap();
        let (_, rest) = html.split_once(&format!("<article id=\"{name}\">")).unwrap();
        let (article, _) = rest.split_once("</article>").unwrap();
        assert!(article.contains(&format!("<code>{}</code>", operation.path)), "{article}");
        for status in operation.said["responses"].as_object().unwrap().keys() {
            assert!(article.contains(&format!(">{status}</span>")), "{status}: {article}");
        }
        if let Some(scope) = operation.scope() {
            assert!(article.contains(&format!("with the scope <code>{scope}</code>")), "{article}");
        }
    }
    let ids: BTreeSet<&str> = values(html, "id").into_iter().collect();
    for schema in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(ids.contains(format!("schema-{schema}").as_str()), "{schema}");
    }
    for link in values(html, "href") {
        let is_here = link.strip_prefix('#').is_some_and(|id| ids.contains(id));
        assert!(is_here || link == "/openapi.json", "{link}");
    }
    for foreign in [" src=", "<script", "<link", "<img", "@import", "url(", " style="] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
}
