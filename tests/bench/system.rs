//! The ticket system that all rivals send to: a stub of RT, Jira, GitHub and GitLab in a process of
//! its own. It keeps what was created, so that looking for a ticket finds what a real one would.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use ticket_host_tests::agent;

/// The first argument, by which this program becomes the ticket systems.
pub const ARGUMENT: &str = "ticket-system";

/// How a ticket system behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    /// How long it takes to answer.
    pub latency: Duration,
    /// How many requests it takes in a second. It answers 429 to the others.
    pub limit: Option<f64>,
}

/// A running ticket system. Dropping it kills its process.
#[derive(Debug)]
pub struct System {
    child: Child,
    /// Its URL, with a slash at the end.
    pub url: String,
}

/// What a ticket system counted.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    pub requests: usize,
    pub refused: usize,
    /// The titles of the tickets, in the order in which they were created.
    pub titles: Vec<String>,
}

impl System {
    pub fn start(behaviour: Behaviour) -> System {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(ARGUMENT).arg(behaviour.latency.as_millis().to_string());
        command.args(behaviour.limit.map(|limit| limit.to_string()));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        System { child, url: line.trim().to_owned() }
    }

    pub fn counted(&self) -> Counted {
        let mut answer = agent().get(format!("{}counted", self.url)).call().unwrap();
        let counted: Value = answer.body_mut().read_json().unwrap();
        let number = |name: &str| counted[name].as_u64().unwrap() as usize;
        Counted {
            requests: number("requests"),
            refused: number("refused"),
            titles: serde_json::from_value(counted["titles"].clone()).unwrap(),
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The main function of the ticket systems' process: it serves on a free port, whose URL it prints, until it is
/// killed.
pub fn serve(arguments: &[String]) -> ExitCode {
    let latency = Duration::from_millis(arguments[0].parse().unwrap());
    let limit = arguments.get(1).map(|limit| limit.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}/", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        let desk = Arc::new(Desk {
            behaviour: Behaviour { latency, limit },
            kept: Mutex::new(Kept::new()),
        });
        let router = Router::new().fallback(answer).with_state(desk);
        axum::serve(listener, router).await.unwrap();
    });
    ExitCode::SUCCESS
}

struct Desk {
    behaviour: Behaviour,
    kept: Mutex<Kept>,
}

struct Kept {
    counted: Counted,
    tickets: Vec<Ticket>,
    /// In RT, the ticket that each link leads to.
    links: HashMap<String, usize>,
    /// When the next request may come without being over the limit.
    allowance: Instant,
}

struct Ticket {
    /// The JSON by which the system lists the ticket.
    listed: String,
    /// The JSON by which the ticket was asked for.
    asked: Value,
}

impl Kept {
    fn new() -> Kept {
        Kept {
            counted: Counted::default(),
            tickets: Vec::new(),
            links: HashMap::new(),
            allowance: Instant::now(),
        }
    }

    /// A token bucket that holds as many requests as may come in a second.
    fn refuses(&mut self, limit: f64) -> Option<Duration> {
        let (now, interval) = (Instant::now(), Duration::from_secs_f64(1.0 / limit));
        let next = self.allowance.max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
        if next > now {
            self.counted.refused += 1;
            return Some(next - now);
        }
        self.allowance = next + interval;
        None
    }
}

type Answer = (StatusCode, String, Option<(&'static str, String)>);

async fn answer(
    State(desk): State<Arc<Desk>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path() == "/counted" {
        let counted = &desk.kept.lock().unwrap().counted;
        return axum::Json(json!({"requests": counted.requests, "refused": counted.refused,
            "titles": counted.titles}))
        .into_response();
    }
    let refused = {
        let mut kept = desk.kept.lock().unwrap();
        kept.counted.requests += 1;
        desk.behaviour.limit.and_then(|limit| kept.refuses(limit))
    };
    if let Some(wait) = refused {
        // The header Retry-After has whole seconds.
        let wait = wait.as_secs_f64().ceil().max(1.0).to_string();
        let answer = (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, wait)], "{}");
        return answer.into_response();
    }
    if !desk.behaviour.latency.is_zero() {
        tokio::time::sleep(desk.behaviour.latency).await;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let asked = serde_json::from_slice(&body).unwrap_or_default();
    let request = Request { method, uri: &uri, base: format!("http://{host}"), asked };
    let kept = &mut desk.kept.lock().unwrap();
    let path = uri.path();
    let (status, body, header) = if let Some(rest) = path.strip_prefix("/REST/2.0/") {
        request.rt(rest, kept)
    } else if let Some(rest) = path.strip_prefix("/rest/api/2/") {
        request.jira(rest, kept)
    } else if let Some(rest) = path.strip_prefix("/api/v3/repos/noc/tickets") {
        request.github(rest, kept)
    } else if let Some(rest) = path
        .strip_prefix("/api/v4/projects/noc%2Ftickets")
        .or_else(|| path.strip_prefix("/api/v4/projects/1"))
    {
        request.gitlab(rest, kept)
    } else {
        none()
    };
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

struct Request<'a> {
    method: Method,
    uri: &'a Uri,
    base: String,
    asked: Value,
}

fn ok(body: &Value) -> Answer {
    (StatusCode::OK, body.to_string(), None)
}

fn none() -> Answer {
    let message = json!({"message": "Not Found", "errorMessages": ["There is none."]});
    (StatusCode::NOT_FOUND, message.to_string(), None)
}

impl Request<'_> {
    fn parameter(&self, name: &str) -> Option<String> {
        let url = url_of(&format!("http://x{}", self.uri));
        url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.parameter(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    fn keep(&self, kept: &mut Kept, title: &Value, listed: &Value) {
        kept.counted.titles.push(title.as_str().unwrap_or_default().to_owned());
        kept.tickets.push(Ticket { listed: listed.to_string(), asked: self.asked.clone() });
    }

    /// The page of tickets that GitHub's and GitLab's parameters ask for, and the number of the next page if
    /// there is one. `order` is the name of the parameter that says `asc` or `desc`.
    fn numbered_page(
        &self,
        tickets: &[Ticket],
        default_size: usize,
        order: &str,
    ) -> (String, Option<usize>) {
        let (size, number) = (self.number("per_page", default_size), self.number("page", 1));
        let newest_first = self.parameter(order).is_none_or(|order| order == "desc");
        let start = size * (number - 1);
        let next = (start + size < tickets.len()).then_some(number + 1);
        (page(tickets, start, size, newest_first), next)
    }

    fn rt(&self, rest: &str, kept: &mut Kept) -> Answer {
        match (&self.method, rest) {
            (&Method::POST, "ticket") => {
                let id = kept.tickets.len() + 1;
                for link in self.asked["RefersTo"].as_array().into_iter().flatten() {
                    let link = link.as_str().unwrap_or_default().to_owned();
                    kept.links.entry(link).or_insert(id);
                }
                self.keep(kept, &self.asked["Subject"], &Value::Null);
                let made = json!({"id": id.to_string(), "type": "ticket",
                    "_url": format!("{}/REST/2.0/ticket/{id}", self.base)});
                (StatusCode::CREATED, made.to_string(), None)
            }
            (&Method::GET, "tickets") => {
                let query = self.parameter("query").unwrap_or_default();
                let link = query.split('\'').nth(1).unwrap_or_default();
                let items: Vec<Value> = kept
                    .links
                    .get(link)
                    .map(
                        |id| json!({"id": id.to_string(), "_hyperlinks": links_of(&[link.into()])}),
                    )
                    .into_iter()
                    .collect();
                ok(&json!({"items": items, "count": items.len(), "page": 1, "total": items.len()}))
            }
            (&Method::GET, queue) if queue.starts_with("queue/") => {
                ok(&json!({"id": "1", "Name": "General", "Disabled": "0", "TicketCustomFields": [],
                    "_hyperlinks": [{"ref": "create", "type": "ticket"}]}))
            }
            (&Method::GET, ticket) => {
                let id = ticket.strip_prefix("ticket/").and_then(|id| id.parse::<usize>().ok());
                let Some(ticket) = id.and_then(|id| kept.tickets.get(id - 1)) else {
                    return none();
                };
                let links = ticket.asked["RefersTo"].as_array().cloned().unwrap_or_default();
                ok(&json!({"Subject": ticket.asked["Subject"], "Requestor": [],
                    "CustomFields": [], "_hyperlinks": links_of(&links)}))
            }
            _ => none(),
        }
    }

    fn jira(&self, rest: &str, kept: &mut Kept) -> Answer {
        let kinds = json!([{"id": "10004", "name": "Task"}]);
        match (&self.method, rest) {
            (&Method::GET, "serverInfo") => {
                ok(&json!({"version": "9.12.0", "versionNumbers": [9, 12, 0],
                    "deploymentType": "Server", "baseUrl": self.base}))
            }
            (&Method::GET, "field") => ok(&json!([{"id": "summary", "name": "Summary",
                "custom": false, "clauseNames": ["summary"], "schema": {"type": "string"}}])),
            (&Method::POST, "issue") => {
                let number = kept.tickets.len() + 1;
                let key = format!("AT-{number}");
                let listed = json!({"id": number.to_string(), "key": key,
                    "self": format!("{}/rest/api/2/issue/{number}", self.base),
                    "fields": {"summary": self.asked["fields"]["summary"],
                        "description": self.asked["fields"]["description"]}});
                self.keep(kept, &self.asked["fields"]["summary"], &listed);
                let made = json!({"id": number.to_string(), "key": key, "self": listed["self"]});
                (StatusCode::CREATED, made.to_string(), None)
            }
            (&Method::GET, "search") => {
                let (start, size) = (self.number("startAt", 0), self.number("maxResults", 50));
                let newest_first = self.parameter("jql").is_some_and(|jql| jql.ends_with("DESC"));
                let total = kept.tickets.len();
                let issues = page(&kept.tickets, start, size, newest_first);
                let body = format!("{{\"startAt\":{start},\"total\":{total},\"issues\":{issues}}}");
                (StatusCode::OK, body, None)
            }
            (&Method::GET, project) if project.starts_with("project/") => {
                ok(&json!({"id": "10100", "key": "AT", "name": "AT", "issueTypes": kinds,
                    "self": format!("{}/rest/api/2/project/10100", self.base)}))
            }
            (&Method::GET, issue) => {
                let number = issue.strip_prefix("issue/AT-").and_then(|n| n.parse::<usize>().ok());
                let found = number.and_then(|number| kept.tickets.get(number.checked_sub(1)?));
                found.map_or_else(none, |ticket| (StatusCode::OK, ticket.listed.clone(), None))
            }
            _ => none(),
        }
    }

    fn github(&self, rest: &str, kept: &mut Kept) -> Answer {
        let api = format!("{}/api/v3/repos/noc/tickets", self.base);
        match (&self.method, rest) {
            (&Method::GET, "") => {
                ok(&json!({"id": 1, "name": "tickets", "full_name": "noc/tickets",
                "url": api, "has_issues": true}))
            }
            (&Method::GET, "/labels") => ok(&json!([{"name": "argus", "color": "ffffff",
                "url": format!("{api}/labels/argus")}])),
            (&Method::POST, "/issues") => {
                let number = kept.tickets.len() + 1;
                let made = json!({"number": number, "id": number, "state": "open",
                    "url": format!("{api}/issues/{number}"),
                    "html_url": format!("{}/noc/tickets/issues/{number}", self.base),
                    "title": self.asked["title"], "body": self.asked["body"],
                    "labels": [{"name": "argus"}], "assignees": [], "milestone": null});
                self.keep(kept, &self.asked["title"], &made);
                (StatusCode::CREATED, made.to_string(), None)
            }
            (&Method::GET, "/issues") => {
                let (body, next) = self.numbered_page(&kept.tickets, 30, "direction");
                let link = next.map(|_| ("link", format!("<{api}/issues?x>; rel=\"next\"")));
                (StatusCode::OK, body, link)
            }
            _ => none(),
        }
    }

    fn gitlab(&self, rest: &str, kept: &mut Kept) -> Answer {
        match (&self.method, rest) {
            (&Method::GET, "") => ok(&json!({"id": 1, "path_with_namespace": "noc/tickets"})),
            (&Method::GET, "/labels") => ok(&json!([{"id": 1, "name": "argus"}])),
            (&Method::POST, "/issues") => {
                let number = kept.tickets.len() + 1;
                let made = json!({"iid": number, "id": number, "state": "opened",
                    "web_url": format!("{}/noc/tickets/-/issues/{number}", self.base),
                    "title": self.asked["title"], "description": self.asked["description"],
                    "labels": ["argus"], "assignees": []});
                self.keep(kept, &self.asked["title"], &made);
                (StatusCode::CREATED, made.to_string(), None)
            }
            (&Method::GET, "/issues") => {
                let (body, next) = self.numbered_page(&kept.tickets, 20, "sort");
                let next = next.map_or_else(String::new, |number| number.to_string());
                (StatusCode::OK, body, Some(("x-next-page", next)))
            }
            _ => none(),
        }
    }
}

fn links_of(urls: &[Value]) -> Vec<Value> {
    urls.iter().map(|url| json!({"ref": "refers-to", "_url": url})).collect()
}

/// A JSON list of `size` tickets, from the one with the index `start` on.
fn page(tickets: &[Ticket], start: usize, size: usize, newest_first: bool) -> String {
    let total = tickets.len();
    let indexes = (0..total).skip(start).take(size);
    let indexes = indexes.map(|index| if newest_first { total - 1 - index } else { index });
    let items: Vec<&str> = indexes.map(|index| tickets[index].listed.as_str()).collect();
    format!("[{}]", items.join(","))
}

fn url_of(text: &str) -> reqwest::Url {
    text.parse().unwrap()
}
