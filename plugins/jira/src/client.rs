//! Jira's REST API over the host's HTTP: requests with the login, answers and refusals as types.
//!
//! Source: <https://developer.atlassian.com/cloud/jira/platform/rest/v3/> and
//! <https://developer.atlassian.com/server/jira/platform/rest/>.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ticket_plugin_api::{Call, Endpoint, Error, HttpError, Request, Response, Result, Retry, Url};

use crate::fields::Field;
use crate::settings::Secret;

/// The property of an issue that holds its key.
pub(crate) const PROPERTY: &str = "ticket-host";
/// The most that Jira gives on one page. Where that is longer than the host takes, fewer are asked for.
pub(crate) const PAGE: usize = 100;
/// What stands before the fingerprint or the mark in an anchor.
const ANCHOR: &str = "{anchor:ticket-host-";

pub(crate) struct Client {
    endpoint: Endpoint,
    authorization: String,
    pub(crate) cloud: bool,
    pub(crate) version: u8,
}

#[derive(Deserialize)]
pub(crate) struct Myself {
    #[serde(rename = "displayName")]
    pub(crate) name: String,
}

#[derive(Deserialize)]
pub(crate) struct Project {
    pub(crate) key: String,
    #[serde(rename = "issueTypes", default)]
    pub(crate) kinds: Vec<Kind>,
}

#[derive(Deserialize)]
pub(crate) struct Kind {
    pub(crate) name: String,
}

#[derive(Deserialize)]
pub(crate) struct Issue {
    pub(crate) key: String,
    #[serde(default)]
    fields: Fields,
    #[serde(default)]
    properties: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default)]
struct Fields {
    #[serde(default)]
    description: Value,
}

#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) issues: Vec<Issue>,
    #[serde(flatten)]
    pub(crate) rest: Rest,
}

/// What a page says of the list that it is one of.
#[derive(Deserialize)]
pub(crate) struct Rest {
    /// Data Center: how many issues the query finds in all.
    total: Option<usize>,
    /// Cloud: the token to ask for the next page with; absent on the last page.
    #[serde(rename = "nextPageToken")]
    pub(crate) next: Option<String>,
    /// Cloud: whether there is no next page.
    #[serde(rename = "isLast")]
    last: Option<bool>,
}

/// Why a page did not come.
pub(crate) enum PageError {
    Http(HttpError),
    Refused(Error),
    /// Jira doesn't know, or no longer, the token by which the list was to go on.
    Token,
}

impl From<PageError> for Error {
    fn from(error: PageError) -> Error {
        match error {
            PageError::Http(cause) => cause.into(),
            PageError::Refused(error) => error,
            PageError::Token => Error::client(
                "the search for the issue: Jira refuses its own token of the next page (400)",
            ),
        }
    }
}

impl Rest {
    /// Whether there are issues behind the first `end` ones, with which this page ends.
    pub(crate) fn has_more(&self, cloud: bool, end: usize) -> bool {
        match cloud {
            true => self.next.is_some() || self.last == Some(false),
            false => self.total.is_none_or(|total| end < total),
        }
    }

    /// Whether the next page can be asked for, of a page with `got` issues that `token` asked for.
    ///
    /// Issues that are deleted between two pages leave fewer than the total, and a server that repeats a page would do so for ever. In
    /// both cases some issues weren't seen.
    pub(crate) fn can_go_on(&self, cloud: bool, got: usize, token: &str) -> Result<()> {
        let goes_on = match cloud {
            true => self.next.as_ref().is_some_and(|next| next != token),
            false => self.total.is_some() && got > 0,
        };
        goes_on.then_some(()).ok_or_else(|| {
            Error::client("the search for the issue: Jira's pages don't add up to the whole list")
        })
    }
}

#[derive(Deserialize)]
struct Permissions {
    permissions: BTreeMap<String, Permission>,
}

#[derive(Deserialize)]
struct Permission {
    #[serde(rename = "havePermission", default)]
    have: bool,
}

/// What Jira says when it refuses.
#[derive(Deserialize, Default)]
struct Reason {
    #[serde(rename = "errorMessages", default)]
    messages: Vec<String>,
    #[serde(default)]
    errors: BTreeMap<String, String>,
    /// What a server in front of the API, such as a gateway, says instead of both.
    #[serde(default)]
    message: String,
}

/// A creation that Jira refused.
pub(crate) struct Refused {
    pub(crate) error: Error,
    /// Jira's reason for each refused field, by the field's id. Empty unless it is certain that
    /// nothing was created, and that nothing but these fields is wrong.
    pub(crate) fields: BTreeMap<String, String>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { error, fields: BTreeMap::new() }
    }
}

impl Issue {
    /// Whether the issue carries this fingerprint: as its property, or in its description.
    pub(crate) fn carries(&self, fingerprint: &str) -> bool {
        let property = self.properties.get(PROPERTY).and_then(|value| value["key"].as_str());
        let in_text = || {
            let text = self.fields.description.as_str().unwrap_or_default();
            text.contains(&anchor(fingerprint))
        };
        property == Some(fingerprint) || in_text()
    }

    /// The fingerprints that the issue carries, where [`Issue::carries`] looks.
    pub(crate) fn fingerprints(&self) -> Vec<String> {
        let property = self.properties.get(PROPERTY).and_then(|value| value["key"].as_str());
        let text = self.fields.description.as_str().unwrap_or_default();
        let anchors = text.split(ANCHOR).skip(1).filter_map(|behind| behind.split_once('}'));
        property
            .into_iter()
            .chain(anchors.map(|(fingerprint, _)| fingerprint))
            .map(str::to_owned)
            .collect()
    }

    /// The number in the key of an issue of this project.
    pub(crate) fn number(&self, project: &str) -> Option<u64> {
        self.key.strip_prefix(project)?.strip_prefix('-')?.parse().ok()
    }
}

/// An anchor in wiki markup that carries a fingerprint, or what tells a step from others; no reader sees it.
pub(crate) fn anchor(mark: &str) -> String {
    format!("{ANCHOR}{mark}}}")
}

impl Client {
    pub(crate) fn new(endpoint: &str, secret: &Secret, version: Option<u8>) -> Result<Client> {
        let cloud = secret.is_cloud();
        let version = version.unwrap_or(if cloud { 3 } else { 2 });
        if !(2..=3).contains(&version) {
            return Err(Error::settings("information: api_version must be 2 or 3"));
        }
        if version == 3 && !cloud {
            return Err(Error::settings(
                "information: api_version 3 is Cloud's, and the secret has no email",
            ));
        }
        let authorization = secret.authorization()?;
        Ok(Client { endpoint: Endpoint::new(endpoint), authorization, cloud, version })
    }

    /// The URL of the page that shows an issue to people.
    pub(crate) fn page_of(&self, key: &str) -> String {
        self.endpoint.join("browse").segment(key).into()
    }

    /// The key of the issue that a URL shows to people, if it is one of this Jira's.
    pub(crate) fn key_in<'a>(&self, url: &'a str) -> Option<&'a str> {
        let page = String::from(self.endpoint.join("browse/"));
        let url = url.split(['?', '#']).next()?.trim_end_matches('/');
        let (before, key) = url.split_at_checked(page.len())?;
        before.eq_ignore_ascii_case(&page).then_some(key)
    }

    pub(crate) fn myself(&self, call: &Call) -> Result<Myself> {
        self.get(call, self.rest("myself"), "the login")
    }

    pub(crate) fn project(&self, call: &Call, project: &str) -> Result<Project> {
        self.get(call, self.rest("project").segment(project), &format!("project {project}"))
    }

    /// Whether issues can be created in the project of this key.
    pub(crate) fn may_create(&self, call: &Call, key: &str) -> Result<bool> {
        let url = self.rest("mypermissions").query("projectKey", key);
        let url = url.query("permissions", "CREATE_ISSUES");
        let mine: Permissions = self.get(call, url, "the permissions")?;
        Ok(mine.permissions.get("CREATE_ISSUES").is_some_and(|permission| permission.have))
    }

    /// All fields that Jira has; None in a dry run, which doesn't send the request.
    pub(crate) fn fields(&self, call: &Call) -> Result<Option<Vec<Field>>> {
        match self.send(call, Request::get(self.rest("field"))) {
            Err(HttpError::DryRun) => Ok(None),
            answer => self.read(&answer?, "the fields").map(Some),
        }
    }

    /// Creates an issue and returns its key. `names` has the names of the custom fields in the
    /// request, by their ids.
    pub(crate) fn create(
        &self,
        call: &Call,
        issue: &Value,
        names: &BTreeMap<String, String>,
    ) -> std::result::Result<String, Refused> {
        let answer = self.send(call, Request::post(self.rest("issue")).json(issue));
        let answer = answer.map_err(Error::from)?;
        if answer.status == 201 {
            let refusal = || self.refusal(&answer, "the issue", names).retry(Retry::Unknown);
            let created: Issue = answer.read(201, "the issue: Jira", refusal)?;
            return Ok(created.key);
        }
        let mut error = self.refusal(&answer, "the issue", names);
        if (200..300).contains(&answer.status) {
            // Jira answers 201. Whatever else said "done": the issue may exist.
            error = error.retry(Retry::Unknown);
        }
        let reason: Reason = answer.json().unwrap_or_default();
        let settings = ["project", "issuetype"];
        if answer.status == 400 && reason.errors.keys().any(|f| settings.contains(&f.as_str())) {
            error = Error::settings(error.message);
        }
        let ours = reason.errors.keys().all(|field| names.contains_key(field));
        let only = answer.status == 400 && reason.messages.is_empty() && ours;
        Err(Refused { error, fields: if only { reason.errors } else { BTreeMap::new() } })
    }

    /// The issues that a query finds, in the query's order: all of them, or the first `limit`.
    pub(crate) fn search(
        &self,
        call: &Call,
        jql: &str,
        limit: Option<usize>,
    ) -> Result<Vec<Issue>> {
        let mut issues = Vec::new();
        let mut next: Option<String> = None;
        let mut size = limit.unwrap_or(PAGE);
        loop {
            let token = next.as_deref().unwrap_or_default();
            let page = match self.page(call, jql, size, issues.len(), token) {
                Err(PageError::Http(cause)) if cause.is_too_large() && size > 1 => {
                    size /= 2;
                    continue;
                }
                Err(PageError::Http(cause)) => {
                    return Err(call.unfinished("the issues", issues.len(), cause));
                }
                page => page?.0,
            };
            let got = page.issues.len();
            issues.extend(page.issues);
            if !page.rest.has_more(self.cloud, issues.len()) || limit.is_some() {
                return Ok(issues);
            }
            page.rest.can_go_on(self.cloud, got, token)?;
            next = page.rest.next;
        }
    }

    /// The page of at most `size` issues that a query finds at a place of its list: behind the first `start` ones, or on Cloud at a
    /// token; and how many bytes it had.
    pub(crate) fn page(
        &self,
        call: &Call,
        jql: &str,
        size: usize,
        start: usize,
        token: &str,
    ) -> std::result::Result<(Page, usize), PageError> {
        let resource = if self.cloud { "search/jql" } else { "search" };
        let url = self.rest(resource).query("jql", jql).query("fields", "description");
        let mut url = url.query("maxResults", &size.to_string());
        if self.cloud {
            url = url.query("properties", PROPERTY);
            if !token.is_empty() {
                url = url.query("nextPageToken", token);
            }
        } else {
            url = url.query("startAt", &start.to_string());
        }
        let answer = self.send(call, Request::get(url)).map_err(PageError::Http)?;
        let page = self.read(&answer, "the search for the issue").map_err(|error| {
            match answer.status {
                400 if !token.is_empty() => PageError::Token,
                // Only the project in the query comes from the settings, so it is what is wrong.
                400 => PageError::Refused(Error::settings(error.message)),
                _ => PageError::Refused(error),
            }
        })?;
        Ok((page, answer.body.len()))
    }

    /// The issue with this key; None if it doesn't exist or the login may not see it.
    pub(crate) fn issue(&self, call: &Call, key: &str) -> Result<Option<Issue>> {
        let url = self.rest("issue").segment(key).query("fields", "description");
        let answer = self.send(call, Request::get(url.query("properties", PROPERTY)))?;
        if has_no_issue(&answer) {
            return Ok(None);
        }
        self.read(&answer, &format!("issue {key}")).map(Some)
    }

    pub(crate) fn rest(&self, resource: &str) -> Url {
        self.endpoint.join(&format!("rest/api/{}/{resource}", self.version))
    }

    fn get<T: DeserializeOwned>(&self, call: &Call, url: Url, what: &str) -> Result<T> {
        self.read(&self.send(call, Request::get(url))?, what)
    }

    pub(crate) fn send(
        &self,
        call: &Call,
        request: Request,
    ) -> std::result::Result<Response, HttpError> {
        let request = request
            .header("Accept", "application/json")
            // Jira refuses a POST that a browser could have been tricked into.
            .header("X-Atlassian-Token", "no-check")
            .header("Authorization", &self.authorization);
        call.http(request)
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, answer: &Response, what: &str) -> Result<T> {
        let refusal = || self.refusal(answer, what, &BTreeMap::new());
        if is_anonymous(answer) {
            return Err(refusal());
        }
        answer.read(200, &format!("{what}: Jira"), refusal)
    }

    /// The error for an answer that isn't the wanted one, with Jira's own reason.
    pub(crate) fn refusal(
        &self,
        answer: &Response,
        what: &str,
        names: &BTreeMap<String, String>,
    ) -> Error {
        let status = answer.status;
        let said = answer.json::<Reason>().ok().map(|reason| reason.text(names));
        let said = said.filter(|said| !said.is_empty());
        let captcha = answer.header("x-authentication-denied-reason");
        match (status, said) {
            (401 | 403, _) if captcha.is_some() => Error::settings(
                "Jira refuses the login until somebody logs in with a browser and solves its \
                 CAPTCHA; a token instead of a password never needs that",
            ),
            (_, said) if status == 401 || status < 429 && is_anonymous(answer) => {
                Error::settings(format!(
                    "Jira refuses the login ({status}{}): check {} in the secret",
                    said.map(|said| format!(" {said}")).unwrap_or_default(),
                    if self.cloud { "email and token" } else { "the token" }
                ))
            }
            (200..=399 | 404, None) => Error::settings(format!(
                "{what}: answered {status} with {}, so this isn't Jira's REST API: the endpoint \
                 must be Jira's base URL, as https://jira.example.org or https://NAME.atlassian.net",
                answer.kind_of_body()
            )),
            (_, Some(said)) => answer.error(format!("{what}: {said} ({status})")),
            (_, None) => answer.error(format!(
                "{what}: answered {status} with {} and no reason of Jira's",
                answer.kind_of_body()
            )),
        }
    }
}

/// Whether an answer says that the issue doesn't exist, or that the login may not see it.
pub(crate) fn has_no_issue(answer: &Response) -> bool {
    // Jira's own 404 has messages; a proxy's says nothing about the issue.
    let said = || answer.json::<Reason>().is_ok_and(|reason| !reason.messages.is_empty());
    answer.status == 404 && !is_anonymous(answer) && said()
}

/// Whether the login failed and Jira answered as it answers an anonymous visitor: Cloud does so,
/// with 200 and what is public, or with 404.
fn is_anonymous(answer: &Response) -> bool {
    let reason = answer.header("x-seraph-loginreason").unwrap_or_default();
    ["AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED"].iter().any(|failed| reason.contains(failed))
}

impl Reason {
    /// All that Jira says as one text, in which fields have the names that people know.
    fn text(&self, names: &BTreeMap<String, String>) -> String {
        let fields = self.errors.iter().map(|(id, why)| {
            let name = names.get(id).unwrap_or(id);
            format!("{name}: {}", why.trim_end_matches('.'))
        });
        let messages = self.messages.iter().chain([&self.message]).filter(|m| !m.is_empty());
        let messages = messages.map(|message| message.trim_end_matches('.').to_owned());
        messages.chain(fields).collect::<Vec<_>>().join("; ")
    }
}
