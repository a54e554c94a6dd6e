//! The running service, and requests to it over HTTP.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Installation;

/// How long a test waits for something before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The OpenAPI document of the program, which is the same whatever its config is.
static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// A running `ticket-host serve`. Dropping it kills the process.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// The URL that it listens on, without a slash at the end.
    pub url: String,
    _stdout: BufReader<ChildStdout>,
}

/// An answer from the service.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|cause| panic!("{cause}: {self:?}"))
    }

    /// Asserts that the reply has this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Installation {
    /// Starts the service on a free port and waits until it listens.
    pub fn serve(&self) -> Service {
        self.serve_with(&[])
    }

    /// As [`Installation::serve`], with these variables in the service's environment.
    pub fn serve_with(&self, environment: &[(&str, &str)]) -> Service {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.envs(environment.iter().copied());
        self.serve_by(command)
    }

    /// As [`Installation::serve`], by this command.
    pub fn serve_by(&self, mut command: Command) -> Service {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ");
        let url = url.unwrap_or_else(|| panic!("it does not start:\n{}", self.log())).to_owned();
        DOCUMENT.get_or_init(|| {
            let mut answer = agent().get(format!("{url}/openapi.json")).call().unwrap();
            serde_json::from_reader(answer.body_mut().as_reader()).unwrap()
        });
        Service { child, url, _stdout: stdout }
    }

    /// What the installation's services have written to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until `text` stands in the log so many times.
    #[track_caller]
    pub fn logged(&self, text: &str, times: usize) {
        wait_for(&format!("{text:?} in the log"), || self.log().matches(text).count() >= times);
    }
}

impl Service {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.try_get(path).unwrap()
    }

    pub fn try_get(&self, path: &str) -> Result<Reply, ureq::Error> {
        reply("get", path, agent().get(format!("{}{path}", self.url)).call()?)
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).unwrap()
    }

    pub fn try_post(&self, path: &str, body: &Value) -> Result<Reply, ureq::Error> {
        post(&self.url, path, body)
    }

    /// Posts these bytes as they are, with these headers.
    pub fn post_as_is(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let request = agent().post(format!("{}{path}", self.url));
        let with = |request: ureq::RequestBuilder<_>, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        reply("post", path, headers.iter().fold(request, with).send(body).unwrap()).unwrap()
    }

    /// The start time of an incident that began after this service was started, so that no earlier service can
    /// have heard of it. The time is a minute ahead, as if a clock that is fast had told it.
    pub fn just_now(&self) -> String {
        let second = || time::OffsetDateTime::now_utc().unix_timestamp();
        let started = second();
        wait_for("the second after this one", || second() > started);
        let ahead = time::OffsetDateTime::from_unix_timestamp(second() + 60).unwrap();
        ahead.format(&time::format_description::well_known::Rfc3339).unwrap()
    }

    /// Files an incident, and waits at most `wait_ms` milliseconds for its ticket.
    pub fn file(&self, incident: &Value, wait_ms: u64) -> Reply {
        self.post("/v1/tickets", &serde_json::json!({"incident": incident, "wait_ms": wait_ms}))
    }

    /// Kilobytes of memory that the service has resident (VmRSS).
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        assert!(
            kill.arg(format!("-{name}")).arg(self.id().to_string()).status().unwrap().success()
        );
    }

    /// Kills the service, as kill -9 does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the service to stop, as systemd does (SIGTERM), and waits for its exit code.
    pub fn stop(self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until the service has ended, and gives its exit code.
    pub fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An error means that the process had ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request to a service that may have ended.
pub fn post(url: &str, path: &str, body: &Value) -> Result<Reply, ureq::Error> {
    reply("post", path, agent().post(format!("{url}{path}")).send_json(body)?)
}

/// An HTTP client that uses no proxy, and for which no status is an error.
pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE));
    ureq::Agent::new_with_config(config.build())
}

fn reply(
    method: &str,
    path: &str,
    mut response: ureq::http::Response<ureq::Body>,
) -> Result<Reply, ureq::Error> {
    let headers = response.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let headers = headers.collect();
    let status = response.status().as_u16();
    let reply = Reply { status, headers, text: response.body_mut().read_to_string()? };
    if let Some(document) = DOCUMENT.get() {
        is_listed(document, method, path, &reply);
    }
    Ok(reply)
}

/// Asserts that the document lists what was answered, if it has the path: the status, and the type of the body.
fn is_listed(document: &Value, method: &str, path: &str, reply: &Reply) {
    let path = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let mut parts = template.split('/').zip(path.split('/'));
        template.split('/').count() == path.split('/').count()
            && parts.all(|(listed, asked)| listed == asked || listed.starts_with('{'))
    };
    let paths = document["paths"].as_object().unwrap();
    let Some((template, methods)) = paths.iter().find(|(template, _)| fits(template)) else {
        return;
    };
    let Some(operation) = methods.get(method) else { return };
    let listed = &operation["responses"][reply.status.to_string()];
    assert!(listed.is_object(), "/openapi.json doesn't list this: {method} {template}: {reply:?}");
    let essence = |kind: &str| kind.split(';').next().unwrap().to_owned();
    let kind = reply.header("content-type").map(essence);
    let kinds = listed["content"].as_object().into_iter().flatten();
    let mut kinds = kinds.map(|(kind, _)| Some(essence(kind)));
    assert!(
        kinds.any(|listed| listed == kind) || listed["content"].is_null() && kind.is_none(),
        "another type than {listed}: {method} {template}: {reply:?}"
    );
}

/// Waits until `done` returns true. `what` is what the test waits for, for the message if it waits in vain.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
