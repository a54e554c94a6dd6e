//! GitLab's REST API over the host's HTTP: requests with the token, answers and refusals as types.
//!
//! Source: <https://docs.gitlab.com/api/rest/>, version 4.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ticket_plugin_api::{
    Call, Endpoint, Error, ErrorKind, HttpError, Request, Response, Result, Retry, Url,
};

/// The most that GitLab gives on one page.
const PAGE: usize = 100;

pub(crate) struct Client {
    endpoint: Endpoint,
    token: String,
    project: String,
}

#[derive(Deserialize)]
pub(crate) struct Project {
    pub(crate) issues_enabled: bool,
    #[serde(default)]
    pub(crate) archived: bool,
    permissions: Option<Permissions>,
}

#[derive(Deserialize)]
struct Permissions {
    project_access: Option<Access>,
    group_access: Option<Access>,
}

#[derive(Deserialize)]
struct Access {
    access_level: u32,
}

#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) id: u64,
}

#[derive(Deserialize)]
pub(crate) struct Login {
    pub(crate) username: String,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
pub(crate) struct Issue {
    pub(crate) iid: u64,
    pub(crate) web_url: String,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) labels: Vec<String>,
    #[serde(default)]
    pub(crate) assignees: Vec<User>,
    #[serde(default)]
    pub(crate) confidential: bool,
    pub(crate) due_date: Option<String>,
    pub(crate) issue_type: Option<String>,
}

impl Project {
    /// The role of the token's user: 10 guest, 15 planner, 20 reporter and so on; 0 for none.
    pub(crate) fn role(&self) -> u32 {
        let access = self.permissions.as_ref();
        let levels = access.into_iter().flat_map(|a| [&a.project_access, &a.group_access]);
        levels.flatten().map(|access| access.access_level).max().unwrap_or(0)
    }
}

impl Client {
    pub(crate) fn new(endpoint: &str, token: &str, project: String) -> Result<Client> {
        if project.is_empty() {
            return Err(Error::settings("information: project_namespace_and_name is empty"));
        }
        if token.trim().is_empty() {
            return Err(Error::settings(
                "secret: token is empty; GitLab makes one under Preferences, Access tokens",
            ));
        }
        let endpoint = Endpoint::new(endpoint.trim_end_matches('/').trim_end_matches("/api/v4"));
        Ok(Client { endpoint, token: token.trim().to_owned(), project })
    }

    pub(crate) fn login(&self, call: &Call) -> Result<Login> {
        self.read(
            &self.send(call, Request::get(self.endpoint.join("api/v4/user")))?,
            200,
            "the user",
        )
    }

    pub(crate) fn project(&self, call: &Call) -> Result<Project> {
        self.read(&self.send(call, Request::get(self.url()))?, 200, "the project")
    }

    /// The names of the labels of the project and of the groups that it is in; None in a dry run.
    pub(crate) fn labels(&self, call: &Call) -> Result<Option<Vec<String>>> {
        let mut names = Vec::new();
        let url = || self.url().segment("labels").query("per_page", &PAGE.to_string());
        let mut page = 1;
        loop {
            let answer = match self.send(call, Request::get(url().query("page", &page.to_string())))
            {
                Err(HttpError::DryRun) => return Ok(None),
                answer => answer?,
            };
            let labels: Vec<Label> = self.read(&answer, 200, "the labels")?;
            let count = labels.len();
            names.extend(labels.into_iter().map(|label| label.name));
            match next_page(&answer, page, count)? {
                Some(next) => page = next,
                None => return Ok(Some(names)),
            }
        }
    }

    pub(crate) fn create(&self, call: &Call, issue: &Value) -> Result<Issue> {
        let request = Request::post(self.url().segment("issues")).json(issue);
        let answer = self.send(call, request)?;
        let created = self.read(&answer, 201, "the issue");
        // Whatever else a 2xx says: it may have made the issue.
        let done = (200..300).contains(&answer.status);
        created.map_err(|error| if done { error.retry(Retry::Unknown) } else { error })
    }

    /// The oldest issue whose description has `marker`, of those made since `since`.
    ///
    /// GitLab's search is no help: it leaves long words and comments out of its index.
    pub(crate) fn with_marker(
        &self,
        call: &Call,
        marker: &str,
        since: Option<&str>,
    ) -> Result<Option<Issue>> {
        let mut page = 1;
        loop {
            let mut url = self.url().segment("issues").query("scope", "all").query("state", "all");
            url = url
                .query("order_by", "created_at")
                .query("sort", "asc")
                .query("per_page", &PAGE.to_string());
            if let Some(since) = since {
                url = url.query("created_after", since);
            }
            let answer = self.send(call, Request::get(url.query("page", &page.to_string())))?;
            let issues: Vec<Issue> = self.read(&answer, 200, "the issues")?;
            let count = issues.len();
            let has = |i: &Issue| i.description.as_ref().is_some_and(|text| text.contains(marker));
            let found = issues.into_iter().find(has);
            match next_page(&answer, page, count)? {
                Some(next) if found.is_none() => page = next,
                _ => return Ok(found),
            }
        }
    }

    /// The project's URL in the API; a path is one segment of it.
    fn url(&self) -> Url {
        self.endpoint.join("api/v4/projects").segment(&self.project)
    }

    fn send(&self, call: &Call, request: Request) -> std::result::Result<Response, HttpError> {
        let request = request.header("Accept", "application/json");
        call.http(request.header("PRIVATE-TOKEN", &self.token))
    }

    fn read<T: DeserializeOwned>(&self, answer: &Response, wanted: u16, what: &str) -> Result<T> {
        answer.read(wanted, &format!("{what}: GitLab"), || self.refusal(answer, what))
    }

    /// The error that an answer other than the wanted one is, with GitLab's own reason.
    fn refusal(&self, answer: &Response, what: &str) -> Error {
        let status = answer.status;
        let said = answer.json().ok().and_then(|json| reason(&json));
        let project = &self.project;
        match (status, said) {
            (401, said) => Error::settings(format!(
                "GitLab refuses the token ({}): is it right, and not expired or revoked?",
                said.as_deref().unwrap_or("401")
            )),
            (403, Some(said)) if said.contains("insufficient_scope") => {
                Error::settings(format!("{what}: {said} (403); the token needs the scope api"))
            }
            (404, Some(said)) => Error::settings(format!(
                "{what}: {said} (404); is {project} right, may the token see it, does it have issues?"
            )),
            (301 | 302 | 307 | 308, Some(said)) => Error::settings(format!(
                "{what}: {said} ({status}); {project} was renamed or moved: correct \
                 project_namespace_and_name"
            )),
            (200..=399 | 404, None) => Error::settings(format!(
                "{what}: answered {status} with {}, so this isn't GitLab's API: the endpoint \
                 must be https://gitlab.com, or the URL of your GitLab",
                answer.kind_of_body()
            )),
            (403 | 429, Some(said)) if said.to_lowercase().contains("too many") => {
                let error = answer.error(format!("{what}: {said} ({status})"));
                Error { kind: ErrorKind::Client, retry: Retry::Later, ..error }
            }
            (_, Some(said)) => answer.error(format!("{what}: {said} ({status})")),
            (_, None) => answer.error(format!(
                "{what}: answered {status} with {} and no reason of GitLab's",
                answer.kind_of_body()
            )),
        }
    }
}

/// The page behind `page`, which had `count` items: X-Next-Page, empty on the last one; without
/// it, a full page has another behind it. The URLs in Link are no help where GitLab doesn't know
/// by which name it is reached.
///
/// # Errors
/// Where it isn't told which page that is: then a list isn't known as a whole.
fn next_page(answer: &Response, page: u32, count: usize) -> Result<Option<u32>> {
    match answer.header("x-next-page").map(str::trim) {
        Some("") => Ok(None),
        Some(next) => match next.parse() {
            Ok(next) if next > page => Ok(Some(next)),
            _ => Err(Error::client(format!("GitLab says that page {next} follows page {page}"))),
        },
        None => Ok((count >= PAGE).then(|| page + 1)),
    }
}

/// GitLab's reason in each of its shapes: `message` as text, as a list or by field, or `error`.
fn reason(json: &Value) -> Option<String> {
    let flat = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    };
    match (&json["message"], &json["error"]) {
        (Value::Object(fields), _) => {
            let each = fields.iter().map(|(field, why)| format!("{field} {}", flat(why)));
            Some(each.collect::<Vec<_>>().join("; "))
        }
        (Value::Null, Value::Null) => None,
        (Value::Null, error) => match &json["error_description"] {
            Value::Null => Some(flat(error)),
            more => Some(format!("{}: {}", flat(error), flat(more))),
        },
        (message, _) => Some(flat(message)),
    }
}
