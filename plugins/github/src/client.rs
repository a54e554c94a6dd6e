//! GitHub's REST API over the host's HTTP: requests with the token, answers and refusals as types.
//!
//! Source: <https://docs.github.com/rest>, version 2022-11-28.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ticket_plugin_api::{
    Call, Endpoint, Error, ErrorKind, HttpError, Request, Response, Result, Retry, Url,
};

const VERSION: &str = "2022-11-28";
/// The most that GitHub gives on one page.
const PAGE: usize = 100;

pub(crate) struct Client {
    api: Endpoint,
    authorization: String,
    owner: String,
    repository: String,
}

#[derive(Deserialize)]
pub(crate) struct Repository {
    pub(crate) has_issues: bool,
    #[serde(default)]
    pub(crate) archived: bool,
    /// What the token may do; absent for an app.
    pub(crate) permissions: Option<Permissions>,
}

#[derive(Deserialize)]
pub(crate) struct Permissions {
    #[serde(default)]
    pub(crate) triage: bool,
    #[serde(default)]
    pub(crate) push: bool,
}

#[derive(Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) login: String,
}

#[derive(Deserialize)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
}

#[derive(Deserialize)]
pub(crate) struct Issue {
    pub(crate) number: u64,
    pub(crate) html_url: String,
    pub(crate) body: Option<String>,
    #[serde(default)]
    pub(crate) labels: Vec<Named>,
    #[serde(default)]
    pub(crate) assignees: Vec<User>,
    pub(crate) milestone: Option<Numbered>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<Named>,
    /// GitHub lists pull requests among the issues.
    pull_request: Option<Value>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    errors: Vec<Value>,
}

impl Client {
    /// # Errors
    /// Where `name` is not `owner/name`, or the token is empty.
    pub(crate) fn new(endpoint: &str, token: &str, name: &str) -> Result<Client> {
        let name = name.trim_matches('/');
        let parts = name
            .split_once('/')
            .filter(|(owner, name)| !owner.is_empty() && !name.is_empty() && !name.contains('/'));
        let (owner, repository) = parts.ok_or_else(|| {
            Error::settings("information: project_namespace_and_name must be owner/name")
        })?;
        if token.trim().is_empty() {
            return Err(Error::settings(
                "secret: token is empty; GitHub makes one under Settings, Developer settings",
            ));
        }
        Ok(Client {
            api: Endpoint::new(&api(endpoint)),
            authorization: format!("Bearer {}", token.trim()),
            owner: owner.to_owned(),
            repository: repository.to_owned(),
        })
    }

    /// Whether GitHub accepts the token; costs nothing of its rate limit.
    pub(crate) fn login(&self, call: &Call) -> Result<()> {
        let answer = self.send(call, Request::get(self.api.join("rate_limit")))?;
        // A server without rate limits says 404, and 401 before that.
        match answer.status {
            404 if answer.json::<Refusal>().is_ok() => Ok(()),
            _ => self.read::<Value>(&answer, 200, "the rate limit").map(drop),
        }
    }

    pub(crate) fn repository(&self, call: &Call) -> Result<Repository> {
        let url = self.api.join("repos").segment(&self.owner).segment(&self.repository);
        self.read(&self.send(call, Request::get(url))?, 200, "the repository")
    }

    /// The names of all labels; None in a dry run.
    pub(crate) fn labels(&self, call: &Call) -> Result<Option<Vec<String>>> {
        let mut names = Vec::new();
        for page in 1.. {
            let url = self.below("labels").query("per_page", &PAGE.to_string());
            let url = url.query("page", &page.to_string());
            let answer = match self.send(call, Request::get(url)) {
                Err(HttpError::DryRun) => return Ok(None),
                answer => answer?,
            };
            let labels: Vec<Named> = self.read(&answer, 200, "the labels")?;
            names.extend(labels.into_iter().map(|label| label.name));
            if !answer.has_next_page() {
                break;
            }
        }
        Ok(Some(names))
    }

    /// Makes a label, of a colour of GitHub's.
    pub(crate) fn create_label(&self, call: &Call, name: &str) -> Result<()> {
        let request = Request::post(self.below("labels")).json(&json!({"name": name}));
        let answer = self.send(call, request)?;
        if answer.status == 422 && String::from_utf8_lossy(&answer.body).contains("already_exists")
        {
            return Ok(());
        }
        self.read::<Named>(&answer, 201, "the label").map(drop)
    }

    pub(crate) fn create(&self, call: &Call, issue: &Value) -> Result<Issue> {
        let answer = self.send(call, Request::post(self.below("issues")).json(issue))?;
        let created = self.read(&answer, 201, "the issue");
        // Whatever else a 2xx says: it may have made the issue.
        let done = (200..300).contains(&answer.status);
        created.map_err(|error| if done { error.retry(Retry::Unknown) } else { error })
    }

    /// The oldest issue whose body has `marker`, of those that were touched since `since`.
    ///
    /// GitHub's search is no help: it hears of an issue minutes after its creation.
    pub(crate) fn with_marker(
        &self,
        call: &Call,
        marker: &str,
        since: Option<&str>,
    ) -> Result<Option<Issue>> {
        for page in 1.. {
            let mut url = self.below("issues").query("state", "all").query("sort", "created");
            url = url.query("direction", "asc").query("per_page", &PAGE.to_string());
            if let Some(since) = since {
                url = url.query("since", since);
            }
            let answer = self.send(call, Request::get(url.query("page", &page.to_string())))?;
            let issues: Vec<Issue> = self.read(&answer, 200, "the issues")?;
            let has = |issue: &Issue| issue.body.as_ref().is_some_and(|body| body.contains(marker));
            let found = issues.into_iter().find(|i| i.pull_request.is_none() && has(i));
            if found.is_some() || !answer.has_next_page() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn below(&self, what: &str) -> Url {
        let repository = self.api.join("repos").segment(&self.owner).segment(&self.repository);
        repository.segment(what)
    }

    fn send(&self, call: &Call, request: Request) -> std::result::Result<Response, HttpError> {
        let request = request
            .header("Accept", "application/vnd.github+json")
            .header("X-GitHub-Api-Version", VERSION)
            .header("Authorization", &self.authorization);
        call.http(request)
    }

    fn read<T: DeserializeOwned>(&self, answer: &Response, wanted: u16, what: &str) -> Result<T> {
        answer.read(wanted, &format!("{what}: GitHub"), || self.refusal(answer, what))
    }

    /// The error that an answer other than the wanted one is, with GitHub's own reason.
    fn refusal(&self, answer: &Response, what: &str) -> Error {
        let status = answer.status;
        let said = answer.json::<Refusal>().ok().map(|refusal| refusal.text());
        let name = format!("{}/{}", self.owner, self.repository);
        match (status, said) {
            (401, said) => Error::settings(format!(
                "GitHub refuses the token (401 {}): is it right, and not expired?",
                said.unwrap_or_default()
            )),
            (301 | 302 | 307 | 308, Some(said)) => Error::settings(format!(
                "{what}: {said} ({status}); {name} was renamed or moved: correct \
                 project_namespace_and_name"
            )),
            (404, Some(said)) => Error::settings(format!(
                "{what}: {said} (404); is {name} right, and may the token see it?"
            )),
            (200..=399 | 404, None) => Error::settings(format!(
                "{what}: answered {status} with {}, so this isn't GitHub's API: the endpoint \
                 must be https://github.com, or the URL of your GitHub server",
                answer.kind_of_body()
            )),
            // A limit on bursts, which comes without a header at times.
            (403 | 429, Some(said)) if said.contains("rate limit") => {
                let error = answer.error(format!("{what}: {said} ({status})"));
                Error { kind: ErrorKind::Client, retry: Retry::Later, ..error }
            }
            (_, Some(said)) => answer.error(format!("{what}: {said} ({status})")),
            (_, None) => answer.error(format!(
                "{what}: answered {status} with {} and no reason of GitHub's",
                answer.kind_of_body()
            )),
        }
    }
}

impl Refusal {
    /// GitHub's message, and what it says of each field.
    fn text(&self) -> String {
        let mut text = self.message.trim_end_matches('.').to_owned();
        for error in &self.errors {
            let part = |name: &str| error[name].as_str().unwrap_or_default();
            let said = match error {
                Value::String(said) => said.clone(),
                _ if !part("message").is_empty() => part("message").to_owned(),
                _ => format!("{} {} {}", part("field"), part("code"), part("value")),
            };
            text.push_str(&format!("; {}", said.trim_end()));
        }
        text
    }
}

/// The URL of the API that belongs to the URL that people use.
fn api(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    match host.as_str() {
        "github.com" | "www.github.com" => format!("{scheme}://api.github.com"),
        api if api == "api.github.com" || api.starts_with("api.") && api.ends_with(".ghe.com") => {
            format!("{scheme}://{api}")
        }
        tenant if tenant.ends_with(".ghe.com") => format!("{scheme}://api.{tenant}"),
        _ if endpoint.ends_with("/api/v3") => endpoint.to_owned(),
        _ => format!("{endpoint}/api/v3"),
    }
}
