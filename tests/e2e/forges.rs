//! Tickets on GitHub and GitLab, through the real host, against servers that behave as their REST
//! references say: authentication, paging, validation, rate limits, error bodies.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, ISOLATIONS, Installation, Seen, Stub, incident, library_name, rust_plugin, wait_for,
};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

const TOKEN: &str = "hunter2-token";

/// Their APIs differ in words, and not in what the host makes of them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Forge {
    GitHub,
    GitLab,
}
use Forge::{GitHub, GitLab};

const FORGES: [Forge; 2] = [GitHub, GitLab];

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    /// Makes the issue and closes the connection.
    LosesTheAnswer,
    /// Answers the creation with a used-up rate limit.
    Limits,
    /// The same, for a second, by a clock that is ten minutes ahead.
    LimitsByItsClock,
    /// Makes the issue, answers this status, and lists no issue before it is `LAG` old.
    Breaks(u16),
    /// Takes so many milliseconds for each page of issues.
    Slow(u64),
}

/// How long a list of issues lags.
const LAG: Duration = Duration::from_secs(2);

/// A server, and its issues.
struct Server {
    forge: Forge,
    stub: Stub,
    issues: Arc<Mutex<Vec<Value>>>,
}

impl Forge {
    fn name(self) -> &'static str {
        match self {
            GitHub => "github",
            GitLab => "gitlab",
        }
    }

    fn alias(self) -> &'static str {
        match self {
            GitHub => "argus_ticket_github.GithubPlugin",
            GitLab => "argus_ticket_gitlab.GitlabPlugin",
        }
    }

    /// Where issues are, below the project's page.
    fn pages(self) -> &'static str {
        if self == GitHub { "issues" } else { "-/issues" }
    }

    fn project(self) -> &'static str {
        match self {
            GitHub => "/api/v3/repos/noc/tickets",
            GitLab => "/api/v4/projects/noc%2Ftickets",
        }
    }

    fn is_ours(self, seen: &Seen) -> bool {
        match self {
            GitHub => {
                seen.header("authorization") == Some(&format!("Bearer {TOKEN}"))
                    && seen.header("x-github-api-version") == Some("2022-11-28")
            }
            GitLab => seen.header("private-token") == Some(TOKEN),
        }
    }

    fn body_of(self, issue: &Value) -> &str {
        let name = if self == GitHub { "body" } else { "description" };
        issue[name].as_str().unwrap()
    }
}

/// The labels of every server: more than a page of them.
fn labels() -> Vec<String> {
    let mut labels: Vec<String> = (0..130).map(|n| format!("label-{n}")).collect();
    labels.extend(["argus", "critical", "Trondheim"].map(str::to_owned));
    labels
}

impl Server {
    fn new(forge: Forge, mood: Mood) -> Server {
        let issues = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&issues);
        let url = Arc::new(Mutex::new(String::new()));
        let own_url = Arc::clone(&url);
        let stub = Stub::new(move |seen| {
            let url = own_url.lock().unwrap().clone();
            answer(forge, mood, &url, &mut kept.lock().unwrap(), seen)
        });
        url.lock().unwrap().push_str(&stub.url);
        Server { forge, stub, issues }
    }

    fn host_with(&self, isolation: &str, token: &str, information: &str) -> Installation {
        let rest = format!(
            "isolation = \"{isolation}\"\nsecret = {{ token = \"{token}\" }}\n\
             [backends.b.information]\nproject_namespace_and_name = \"noc/tickets\"\n{information}"
        );
        Installation::with(&rust_plugin(self.forge.name()), &self.stub.url, &rest)
    }

    fn host(&self, information: &str) -> Installation {
        self.host_with("worker", TOKEN, information)
    }

    /// Issues of other people with this body.
    fn fill(&self, count: usize, text: &str) {
        let issue = |n| match self.forge {
            GitHub => json!({"number": n, "html_url": "https://x.org", "body": text}),
            GitLab => json!({"iid": n, "web_url": "https://x.org", "description": text}),
        };
        self.issues.lock().unwrap().extend((0..count).map(issue));
    }

    /// A host with these settings in its backend, and with a service's.
    fn service_host(&self, settings: &str) -> Installation {
        let rest = format!(
            "secret = {{ token = \"{TOKEN}\" }}\n{settings}\n\
             information = {{ project_namespace_and_name = \"noc/tickets\" }}\n\
             [queue]\npath = \"queue.db\"\nsettle_seconds = 0\nlongest_wait_seconds = 1\n"
        );
        Installation::with(&rust_plugin(self.forge.name()), &self.stub.url, &rest)
    }

    fn issues(&self) -> Vec<Value> {
        self.issues.lock().unwrap().clone()
    }

    /// What is printed of the ticket that is an issue.
    fn page(&self, number: usize) -> String {
        format!("{}noc/tickets/{}/{number}\n", self.stub.url, self.forge.pages())
    }

    fn posts(&self) -> usize {
        self.stub.seen().iter().filter(|seen| seen.method == "POST").count()
    }
}

fn said(status: u16, message: &Value) -> Answer {
    Answer::status(status).body(&json!({"message": message}).to_string())
}

fn answer(forge: Forge, mood: Mood, url: &str, issues: &mut Vec<Value>, seen: &Seen) -> Answer {
    if !forge.is_ours(seen) {
        return match forge {
            GitHub => said(401, &json!("Bad credentials")),
            GitLab => said(401, &json!("401 Unauthorized")),
        };
    }
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let Some(below) = path.strip_prefix(forge.project()) else {
        if matches!(path, "/api/v3/rate_limit" | "/api/v4/user") {
            return Answer::status(200).body("{\"username\": \"argus\"}");
        }
        let message = if forge == GitHub { "Not Found" } else { "404 Project Not Found" };
        return said(404, &json!(message));
    };
    match (seen.method.as_str(), below) {
        ("GET", "") => {
            let project = json!({
                "has_issues": true, "issues_enabled": true, "archived": false,
                "permissions": {"push": true, "triage": true, "project_access": {"access_level": 20}},
            });
            Answer::status(200).body(&project.to_string())
        }
        ("GET", "/labels") => {
            let all: Vec<Value> = labels().iter().map(|name| json!({"name": name})).collect();
            page(forge, &all, query)
        }
        ("GET", "/issues") if query.contains("iids") => {
            let is_asked = |issue: &&Value| {
                let named = url::form_urlencoded::parse(query.as_bytes());
                named
                    .filter(|(name, _)| name == "iids[]")
                    .any(|(_, n)| issue["iid"] == json!(n.parse::<u64>().unwrap()))
            };
            page(forge, &issues.iter().filter(is_asked).cloned().collect::<Vec<_>>(), query)
        }
        ("GET", "/issues") if is_of_changes(query) => {
            let now = OffsetDateTime::now_utc().format(&Rfc2822).unwrap().replace("+0000", "GMT");
            page(forge, &changed(forge, issues, query), query).header("date", &now)
        }
        ("GET", "/issues") => {
            if let Mood::Slow(milliseconds) = mood {
                std::thread::sleep(Duration::from_millis(milliseconds));
            }
            page(forge, &listed(forge, mood, issues, query), query)
        }
        ("GET", one) if forge == GitHub && one.starts_with("/issues/") => {
            let number = json!(one["/issues/".len()..].parse::<u64>().unwrap());
            let found = issues.iter().find(|issue| issue["number"] == number);
            found.map_or(said(404, &json!("Not Found")), |issue| {
                Answer::status(200).body(&issue.to_string())
            })
        }
        ("POST", "/issues") if mood == Mood::Limits => match forge {
            GitHub => said(403, &json!("API rate limit exceeded"))
                .header("x-ratelimit-remaining", "0")
                .header("x-ratelimit-reset", "4102444800"),
            GitLab => Answer::status(429).header("retry-after", "60").body("Retry later\n"),
        },
        ("POST", "/issues") if mood == Mood::LimitsByItsClock => {
            let theirs = OffsetDateTime::from(SystemTime::now() + Duration::from_secs(600));
            let date = theirs.format(&Rfc2822).unwrap().replace("+0000", "GMT");
            let reset = (theirs.unix_timestamp() + 1).to_string();
            let limited = match forge {
                GitHub => said(403, &json!("API rate limit exceeded"))
                    .header("x-ratelimit-remaining", "0")
                    .header("x-ratelimit-reset", &reset),
                GitLab => Answer::status(429)
                    .header("ratelimit-remaining", "0")
                    .header("ratelimit-reset", &reset),
            };
            limited.header("date", &date)
        }
        ("POST", "/issues") => {
            let made = create(forge, url, issues, seen);
            match mood {
                Mood::LosesTheAnswer => Answer::HangUp,
                Mood::Breaks(status) => Answer::status(status),
                _ => made,
            }
        }
        _ => said(404, &json!("Not Found")),
    }
}

/// Whether it is asked which issues were changed.
fn is_of_changes(query: &str) -> bool {
    query.contains("sort=updated") || query.contains("order_by=updated_at")
}

/// Those that were changed since the time that is asked for, in that order.
fn changed(forge: Forge, issues: &[Value], query: &str) -> Vec<Value> {
    let since = if forge == GitHub { "since" } else { "updated_after" };
    let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == since);
    let since = OffsetDateTime::parse(&asked.unwrap().1, &Rfc3339).unwrap();
    let at = |issue: &Value| OffsetDateTime::parse(issue["updated_at"].as_str().unwrap(), &Rfc3339);
    let mut changed: Vec<Value> =
        issues.iter().filter(|issue| at(issue).unwrap() >= since).cloned().collect();
    changed.sort_by_key(|issue| at(issue).unwrap());
    changed
}

/// The issues that the server lists: none that was made before the time that is asked for, or too late to be known yet.
fn listed(forge: Forge, mood: Mood, issues: &[Value], query: &str) -> Vec<Value> {
    let since = if forge == GitHub { "since" } else { "created_after" };
    let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == since);
    let since = asked.map(|(_, since)| OffsetDateTime::parse(&since, &Rfc3339).unwrap());
    let lag = if matches!(mood, Mood::Breaks(_)) { LAG } else { Duration::ZERO };
    let is_listed = |issue: &&Value| match issue["created_at"].as_str() {
        Some(made) => {
            let made = OffsetDateTime::parse(made, &Rfc3339).unwrap();
            since.is_none_or(|since| made >= since) && made + lag <= OffsetDateTime::now_utc()
        }
        None => true,
    };
    issues.iter().filter(is_listed).cloned().collect()
}

/// One page of at most 100, and where the next one is.
fn page(forge: Forge, all: &[Value], query: &str) -> Answer {
    let number = |name: &str| {
        let found = query.split('&').find_map(|part| part.strip_prefix(&format!("{name}=")));
        found.map_or(1, |value| value.parse::<usize>().unwrap())
    };
    let (size, page) = (number("per_page"), number("page"));
    assert!(size <= 100, "no server gives more");
    let start = ((page - 1) * size).min(all.len());
    let end = (start + size).min(all.len());
    let answer = Answer::status(200).body(&json!(all[start..end]).to_string());
    let more = end < all.len();
    match forge {
        GitHub if more => answer
            .header("link", "<https://api.github.com/x>; rel=\"next\", <https://y>; rel=\"last\""),
        GitHub => answer,
        GitLab if more => answer.header("x-next-page", &(page + 1).to_string()),
        GitLab => answer.header("x-next-page", ""),
    }
}

fn create(forge: Forge, url: &str, issues: &mut Vec<Value>, seen: &Seen) -> Answer {
    let mut issue: Value = serde_json::from_str(&seen.body).unwrap();
    let title = issue["title"].as_str().unwrap_or_default().to_owned();
    let longest = if forge == GitHub { 256 } else { 255 };
    let problem = if title.trim().is_empty() {
        Some("can't be blank".to_owned())
    } else if title.chars().count() > longest || title.contains('\n') {
        Some(format!("is too long (maximum is {longest} characters)"))
    } else {
        None
    };
    if let Some(problem) = problem {
        return match forge {
            GitHub => Answer::status(422).body(
                &json!({"message": "Validation Failed", "errors": [{"message": format!("title {problem}")}]})
                    .to_string(),
            ),
            GitLab => said(400, &json!({"title": [problem]})),
        };
    }
    let number = issues.len() + 1;
    let page = format!("{url}noc/tickets/{}/{number}", forge.pages());
    let names = issue["labels"].as_array().cloned().unwrap_or_default();
    match forge {
        GitHub => {
            issue["number"] = json!(number);
            issue["html_url"] = json!(page);
            issue["labels"] = names.iter().map(|name| json!({"name": name})).collect();
            issue["assignees"] = json!([]);
            issue["state"] = json!("open");
        }
        GitLab => {
            issue["iid"] = json!(number);
            issue["web_url"] = json!(page);
            issue["state"] = json!("opened");
        }
    }
    issue["created_at"] = json!(OffsetDateTime::now_utc().format(&Rfc3339).unwrap());
    // Longer ago than what is named again for the sake of lists that lag.
    let earlier = OffsetDateTime::now_utc() - Duration::from_secs(3600);
    issue["updated_at"] = json!(earlier.format(&Rfc3339).unwrap());
    issues.push(issue.clone());
    Answer::status(201).body(&issue.to_string())
}

/// The settings and the labels that the Python plugins were recorded with.
const PYTHONS: &str = r#"
labels_set = ["argus", "does-not-exist"]
labels_mapping = ["level", "description", { tag = "severity" }, { tag = "location" }, { tag = "missing_tag" }, "no_such_field"]
"#;

#[test]
fn an_issue_has_what_the_python_plugins_gave_it() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        let host = server.host(PYTHONS);
        for (name, title, labels, missing) in [
            (
                "plugin-open-infinity",
                "trd-gw1 is down",
                &["argus", "critical", "Trondheim"][..],
                &["missing_tag", "no_such_field"][..],
            ),
            (
                "plugin-closed-micros",
                "closed, summer time, microseconds",
                &["argus"],
                &["severity", "location", "missing_tag", "no_such_field"],
            ),
            (
                "plugin-stateless",
                "stateless (end_time null), no details url",
                &["argus"],
                &["severity", "location", "missing_tag", "no_such_field"],
            ),
            (
                "plugin-newlines",
                "first line second line third line",
                &["argus"],
                &["severity", "location", "missing_tag", "no_such_field"],
            ),
        ] {
            let reply = host.create(name, &["--json"]).ended(0).json();
            assert_eq!(reply["missing_fields"], json!(missing), "{name}");
            let issue = server.issues().pop().unwrap();
            assert_eq!(issue["title"], title);
            let set: Vec<&str> = issue["labels"]
                .as_array()
                .unwrap()
                .iter()
                .map(|label| label["name"].as_str().or(label.as_str()).unwrap())
                .collect();
            assert_eq!(set, labels, "{name}");
            let body = forge.body_of(&issue);
            let mut sections = vec![
                "Description",
                "Start time",
                "Source",
                "Argus URL",
                "Tags",
                "Argus User",
                "Missing fields/tags",
            ];
            if name == "plugin-closed-micros" {
                sections.insert(2, "End time");
            }
            let headings: Vec<&str> = body.lines().filter_map(|l| l.strip_prefix("## ")).collect();
            let ours = ["Details URL", "Not as asked for"];
            assert_eq!(
                headings.into_iter().filter(|h| !ours.contains(h)).collect::<Vec<_>>(),
                sections
            );
            assert!(body.contains("label does-not-exist"), "{body}");
        }
    }
}

#[test]
fn a_ticket_is_found_again_on_whichever_page_and_by_its_whole_key() {
    for (forge, isolation) in FORGES.into_iter().flat_map(|f| ISOLATIONS.map(|i| (f, i))) {
        let server = Server::new(forge, Mood::Well);
        // On more than one page.
        server.fill(150, "<!-- ticket-host sha256:0000 --> https://argus.example.org/12");
        let host = server.host_with(isolation, TOKEN, "");
        let create =
            |key: &str| host.create("plugin-closed", &["--json", "--key", key]).ended(0).json();
        let first = create("https://argus.example.org/12");
        assert_eq!(first["created"], true);
        assert_eq!(create("https://argus.example.org/12")["url"], first["url"]);
        assert_ne!(create("https://argus.example.org/123")["url"], first["url"]);
        assert_eq!(server.posts(), 2);
    }
}

#[test]
fn text_of_the_incident_reads_as_written_and_does_nothing() {
    let description =
        "Netbox 11 <12345> down. @channel see #123 and !45\n/close\n<img src=x> **b**";
    let incident = json!({"description": description, "pk": 1, "source": {"name": "nav"}});
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        server.host("").create_from(incident.to_string().as_bytes(), &[]).ended(0);
        let issue = server.issues().pop().unwrap();
        let title = issue["title"].as_str().unwrap();
        assert_eq!(title.replace('\u{200b}', ""), description.replace('\n', " "), "plain text");
        assert_eq!(title.contains("@\u{200b}channel see #\u{200b}123"), forge == GitLab, "{title}");
        let body = forge.body_of(&issue);
        assert!(body.contains(r"Netbox 11 \<12345\> down."), "{body}");
        assert!(body.contains(r"\@&#8203;channel see \#&#8203;123"), "{body}");
        assert!(body.contains("\n\\/close\\\n") && body.contains(r"\<img"), "{body}");
        assert!(body.contains(r"\*\*b\*\*"), "{body}");
        assert_eq!(body.contains(r"\!&#8203;45"), forge == GitLab, "{body}");
    }
}

#[test]
fn the_python_class_is_a_name_of_the_plugin() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        let host = Installation::new();
        host.add(&rust_plugin(forge.name()));
        let file = incident("plugin-closed");
        // Without --config, in a home that has none: Argus's own variables.
        let mut command = Command::new(host.command(&[]).get_program());
        command.env_clear().env("HOME", host.path("tickets")).arg("create").arg(file);
        command.env("TICKET_HOST_PLUGIN_PATH", host.path("plugins"));
        command.env("TICKET_PLUGIN", forge.alias()).env("TICKET_ENDPOINT", &server.stub.url);
        command.env("TICKET_AUTHENTICATION_SECRET", json!({"token": TOKEN}).to_string());
        let information = json!({"project_namespace_and_name": "noc/tickets"});
        command.env("TICKET_INFORMATION", information.to_string());
        let run = ticket_host_tests::run(command, b"").ended(0);
        assert_eq!(run.stdout, server.page(1));
    }
}

#[test]
fn a_lost_answer_is_settled_by_looking() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::LosesTheAnswer);
        let run = server.host("").create("plugin-closed", &[]).ended(0);
        assert_eq!(run.stdout, server.page(1));
        assert_eq!(server.posts(), 1);
    }
}

#[test]
fn a_rate_limit_is_a_client_error_that_says_when_to_come_back() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::Limits);
        let run = server.host("").create("plugin-closed", &["--json"]).ended(4);
        let error = run.json();
        assert_eq!(error["error"]["retry"], "later", "{error}");
        assert!(error["error"]["retry_after_ms"].as_u64().unwrap() >= 60_000, "{error}");
        assert!(server.issues().is_empty());
    }
}

#[test]
fn refusals_have_their_exit_code_and_the_servers_reason_without_the_token() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        let unauthorized = match forge {
            GitHub => "GitHub refuses the token (401 Bad credentials)",
            GitLab => "GitLab refuses the token (401 Unauthorized)",
        };
        server
            .host_with("worker", "wrong-token", "")
            .create("plugin-closed", &[])
            .ended(3)
            .says(unauthorized);
        let rest = format!(
            "secret = {{ token = \"{TOKEN}\" }}\n\
             information = {{ project_namespace_and_name = \"noc/nope\" }}"
        );
        let plugin = rust_plugin(forge.name());
        let run = Installation::with(&plugin, &server.stub.url, &rest).create("plugin-closed", &[]);
        let run = run.ended(3).says("noc/nope right");
        assert!(!run.stderr.contains(TOKEN), "{}", run.stderr);
        // A login page in front of the server.
        let portal = Stub::new(|_| Answer::status(200).body("<!DOCTYPE html><html>Log in</html>"));
        let run = Installation::with(&plugin, &portal.url, &rest).create("plugin-closed", &[]);
        run.ended(3).says("200 with an HTML page");
        assert!(server.issues().is_empty());
    }
}

#[test]
fn check_prints_a_line_for_each_and_creates_nothing() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        let run = server.host("labels_set = [\"Argus\", \"nope\"]").run(&["check"]).ended(3);
        for line in [
            "ok      login",
            "ok      issues",
            "ok      permission",
            "ok      label argus",
            "FAILED  label nope",
        ] {
            assert!(run.stdout.contains(line), "no {line}: {}", run.stdout);
        }
        server.host("labels_set = [\"argus\"]").run(&["check"]).ended(0);
        assert_eq!(server.posts(), 0);
    }
}

#[test]
fn a_dry_run_shows_every_request_without_the_token_and_sends_none() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        let run = server.host(PYTHONS).create("plugin-closed", &["--dry-run"]).ended(0);
        assert!(server.stub.seen().is_empty());
        let shown: BTreeSet<&str> = run
            .stdout
            .lines()
            .filter(|line| line.starts_with("GET ") || line.starts_with("POST "))
            .filter_map(|l| l.split('?').next())
            .collect();
        let base = format!("{}{}", server.stub.url.trim_end_matches('/'), forge.project());
        let expected = [
            format!("GET {base}/issues"),
            format!("GET {base}/labels"),
            format!("POST {base}/issues"),
        ];
        assert_eq!(shown.into_iter().collect::<Vec<_>>(), expected);
        assert!(!run.stdout.contains(TOKEN), "{}", run.stdout);
    }
}

#[test]
fn a_ticket_that_was_made_before_its_creation_was_answered_5xx_or_408_gets_no_double() {
    for (forge, status) in [(GitHub, 503), (GitLab, 408)] {
        let server = Server::new(forge, Mood::Breaks(status));
        // Longer than the list lags.
        let host = server.service_host("settle_seconds = 3");
        let service = host.serve();
        for pk in 0..6 {
            let incident = json!({"description": "x", "pk": pk, "source": {"name": "nav"}});
            service.file(&incident, 0).is(202);
        }
        wait_for("six tickets", || {
            let listed = service.get("/v1/tickets?state=created").is(200).json();
            listed["tickets"].as_array().unwrap().len() == 6
        });
        assert_eq!(server.posts(), 6, "{forge:?} {status}");
    }
}

#[test]
fn an_incident_that_is_to_begin_in_three_days_gets_no_double_whatever_is_forgotten() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::LosesTheAnswer);
        let start = OffsetDateTime::now_utc() + Duration::from_secs(3 * 24 * 60 * 60);
        let start = start.format(&Rfc3339).unwrap();
        let incident = json!({"description": "x", "start_time": start, "pk": 1, "source": "nav"});
        let host = server.host("");
        for _ in 0..2 {
            host.create_from(incident.to_string().as_bytes(), &[]).ended(0);
        }
        assert_eq!(server.posts(), 1);
        // Nobody remembers that its ticket was made two days ago.
        let earlier = OffsetDateTime::now_utc() - Duration::from_secs(2 * 24 * 60 * 60);
        let earlier = earlier.format(&Rfc3339).unwrap();
        server.issues.lock().unwrap()[0]["created_at"] = earlier.into();
        host.create_from(incident.to_string().as_bytes(), &[]).ended(0);
        assert_eq!(server.posts(), 1, "it is found however old it is");
        let issue = server.issues().pop().unwrap();
        let day = start.split('T').next().unwrap();
        let body = forge.body_of(&issue).replace('\\', "");
        assert!(body.contains(day), "the ticket has the incident's own time: {body}");
    }
}

#[test]
fn the_time_at_which_a_limit_starts_anew_is_one_of_the_servers_clock() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::LimitsByItsClock);
        let error = server.host("").create("plugin-closed", &["--json"]).ended(4).json();
        let wait = error["error"]["retry_after_ms"].as_u64().unwrap();
        assert!(wait <= 2_000, "{error}");
    }
}

#[test]
fn a_list_that_takes_longer_than_a_call_is_read_to_its_end() {
    for (forge, isolation) in FORGES.into_iter().zip(ISOLATIONS) {
        let server = Server::new(forge, Mood::Slow(50));
        server.fill(3000, "theirs");
        let host =
            server.service_host(&format!("call_timeout_seconds = 1\nisolation = \"{isolation}\""));
        let create = || host.create("plugin-closed", &["--json"]).ended(0).json();
        let first = create();
        assert_eq!(create()["url"], first["url"]);
        assert_eq!(server.posts(), 1);
    }
}

#[test]
fn a_list_that_takes_longer_than_ten_calls_is_told_with_what_to_do() {
    let server = Server::new(GitHub, Mood::Slow(400));
    server.fill(3000, "theirs");
    let host = server.service_host("call_timeout_seconds = 1");
    let started = Instant::now();
    let run = host.create("plugin-closed", &[]).ended(4);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    run.says("there are too many to be read in the time that the call has")
        .says("were read, and there are more")
        .says("raise call_timeout_seconds of this backend");
    assert_eq!(server.posts(), 0);
}

#[test]
fn a_page_of_long_issues_is_read_in_smaller_ones() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        // A page of 100 has 4.5 MB, more than the 4 MiB that an answer may have.
        server.fill(105, &"x".repeat(45_000));
        let host = server.host("");
        let create = || host.create("plugin-closed", &["--json"]).ended(0).json();
        let first = create();
        assert_eq!(create()["url"], first["url"]);
        assert_eq!(server.posts(), 1);
    }
}

/// Waits until so many tickets are created.
#[track_caller]
fn all_created(host: &Installation, tickets: usize) {
    wait_for(&format!("{tickets} tickets"), || {
        let listed = host.run(&["queue", "list", "--json", "--all", "--state", "created"]).ended(0);
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        listed["tickets"].as_array().unwrap().len() == tickets
    });
}

#[test]
fn what_waited_for_a_start_is_looked_for_with_a_few_listings_and_made_once() {
    const WAITING: usize = 1000;
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        let host = server.service_host("");
        let incident = |pk: usize| json!({"description": "x", "pk": pk, "source": {"name": "nav"}});
        // These have their tickets, of which the store is lost.
        let service = host.serve();
        (0..30).for_each(|pk| drop(service.file(&incident(pk * 10), 30_000).is(201)));
        assert_eq!(service.stop(), 0);
        for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
            let _ = std::fs::remove_file(host.path(file));
        }
        // The plugin is away while all come in.
        let library = host.path("plugins").join(library_name(forge.name()));
        let aside = host.path("aside");
        std::fs::rename(&library, &aside).unwrap();
        let service = host.serve();
        (0..WAITING).for_each(|pk| drop(service.file(&incident(pk), 0).is(500)));
        assert_eq!(service.stop(), 0);
        std::fs::rename(&aside, &library).unwrap();
        let before = server.stub.seen().len();
        let service = host.serve();
        all_created(&host, WAITING);
        drop(service);
        let seen = server.stub.seen().split_off(before);
        let listings = seen.iter().filter(|seen| seen.method == "GET").count();
        assert!(listings < 20, "{forge:?}: {listings} listings");
        assert_eq!(server.issues().len(), WAITING, "{forge:?}: each has one");
    }
}

#[test]
fn many_lost_answers_are_settled_by_a_few_listings() {
    let server = Server::new(GitLab, Mood::Breaks(503));
    let host = server.service_host("settle_seconds = 4\nconcurrency = 8");
    let service = host.serve();
    let incident = |pk: usize| json!({"description": "x", "pk": pk, "source": {"name": "nav"}});
    // As many as are under way when it is noticed; the others are tried one by one.
    (0..12).for_each(|pk| drop(service.file(&incident(pk), 0).is(202)));
    all_created(&host, 12);
    assert_eq!(server.posts(), 12, "each was sent once");
    assert_eq!(server.issues().len(), 12);
}

/// Which issues' states were asked for, in this order.
fn asked_for(server: &Server) -> Vec<u64> {
    let numbers = |seen: &Seen| -> Vec<u64> {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let one =
            path.strip_prefix(GitHub.project()).and_then(|below| below.strip_prefix("/issues/"));
        let named = url::form_urlencoded::parse(query.as_bytes());
        let listed = named.filter(|(name, _)| name == "iids[]").map(|(_, n)| n.into_owned());
        let all = one.map(str::to_owned).into_iter().chain(listed);
        all.filter_map(|number| number.parse().ok()).collect()
    };
    server.stub.seen().iter().filter(|seen| seen.method == "GET").flat_map(numbers).collect()
}

#[test]
fn the_states_of_issues_that_the_forge_says_have_changed_are_asked_for_and_of_no_others() {
    for forge in FORGES {
        let server = Server::new(forge, Mood::Well);
        let host = server.service_host("poll = \"1s\"");
        let service = host.serve();
        for key in ["one", "two"] {
            let incident = json!({"description": "x", "argus_url": format!("https://a.org/{key}")});
            service.file(&incident, 30_000).is(201);
        }
        let looked = || {
            let seen = server.stub.seen();
            seen.iter().filter(|seen| is_of_changes(&seen.target)).count()
        };
        // The first round asks for all that there are by then: on a slow machine these two.
        let first = looked() + 2;
        wait_for("the first rounds", || looked() >= first);
        // Nothing has changed since they were made, which the forge says was an hour ago.
        let (before, rounds) = (asked_for(&server).len(), looked() + 3);
        wait_for("some rounds", || looked() >= rounds);
        assert_eq!(asked_for(&server).len(), before, "{forge:?}");
        {
            let mut issues = server.issues.lock().unwrap();
            issues[0]["state"] = json!("closed");
            issues[0]["updated_at"] = json!(OffsetDateTime::now_utc().format(&Rfc3339).unwrap());
        }
        let status =
            |id: i64| service.get(&format!("/v1/tickets/{id}")).is(200).json()["status"].clone();
        wait_for("it to be known", || status(1) == "closed");
        assert!(asked_for(&server)[before..].iter().all(|number| *number == 1), "{forge:?}");
        assert_ne!(status(2), "closed");
    }
}
