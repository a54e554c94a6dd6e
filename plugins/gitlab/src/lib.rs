//! Tickets as issues on GitLab: gitlab.com and self-managed.
//!
//! Source: <https://docs.gitlab.com/api/rest/>, version 4.

mod answers;
mod settings;
#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use ticket_plugin_api::mapping::no_such_label;
use ticket_plugin_api::{
    About, Action, Call, Check, Endpoint, Error, Offer, Request, Response, Result, Settings,
    Ticket, TicketState, TicketStatus, Url, Webhook, export_plugin, is_hmac_sha256,
};
use ticket_plugin_forge::{Dialect, Forge, LabelSettings, Plugin, Project, api, webhooks};

use answers::{Issue, Login, reason};
use settings::{Information, Secret};

/// Planner: the lowest role that may set labels and see other users' confidential issues.
const PLANNER: u32 = 15;
/// How many seconds ago a webhook may have been signed, or by how many GitLab's clock may be ahead.
const OLDEST_WEBHOOK: u64 = 5 * 60;

/// By what a webhook of GitLab's is known.
enum WebhookSecret {
    /// The secret token, which it has in a header.
    Token(String),
    /// The key of a signing token.
    Key(Vec<u8>),
}

struct GitLab {
    endpoint: Endpoint,
    token: String,
    webhook_secret: Option<WebhookSecret>,
    /// The project's path or number.
    project: String,
    information: Information,
}

export_plugin!(Plugin<GitLab>);

impl Forge for GitLab {
    const ABOUT: About = About {
        name: "gitlab",
        license: "MIT OR Apache-2.0",
        description: "GitLab issues: gitlab.com and self-managed",
        aliases: &["argus_ticket_gitlab.GitlabPlugin"],
        // GitLab promises nothing about when an issue is in its list, which replicas may answer.
        settle_seconds: Some(30),
        offers: &[Offer::FindMany, Offer::State, Offer::Receive, Offer::Changes],
        actions: &[Action::Comment, Action::Close, Action::Reopen],
        marks: true,
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    const DIALECT: Dialect = Dialect {
        name: "GitLab",
        endpoint: "https://gitlab.com, or the URL of your GitLab",
        project: "project",
        title_limit: 255,
        title_signs: "@#!%&~$^",
        body: "description",
        body_limit: 1_048_576,
        // As in a title, and emoji and references to vulnerabilities.
        body_signs: "@#!%&~$^:[",
        all_issues: &[
            ("scope", "all"),
            ("state", "all"),
            ("order_by", "created_at"),
            ("sort", "asc"),
        ],
        since: "created_after",
        numbers: Some("iids[]"),
        changed_issues: &[
            ("scope", "all"),
            ("state", "all"),
            ("order_by", "updated_at"),
            ("sort", "asc"),
        ],
        changed_since: "updated_after",
        webhook_url: "/object_attributes/url",
        issue_pages: &["/-/issues", "/-/issues/incident", "/-/work_items"],
        comments: "notes",
        comment_limit: 1_000_000,
        changes: "PUT",
        closes: &[("state_event", "close")],
        reopens: &[("state_event", "reopen")],
        rate_limit: "too many",
        rights: "has the token's user the role Planner or Reporter?",
    };
    type Secret = Secret;
    type Information = Information;
    type Issue = Issue;

    fn open(settings: Settings<Secret, Information>) -> Result<GitLab> {
        let Settings { endpoint, secret, information, .. } = settings;
        let project = information.project_namespace_and_name.text();
        if project.is_empty() {
            return Err(Error::settings("information: project_namespace_and_name is empty"));
        }
        let token = secret.token.trim().to_owned();
        if token.is_empty() {
            return Err(Error::settings(
                "secret: token is empty; GitLab makes one under Preferences, Access tokens",
            ));
        }
        let endpoint = Endpoint::new(endpoint.trim_end_matches('/').trim_end_matches("/api/v4"));
        let webhook_secret = webhook_secret(secret.webhook_secret)?;
        Ok(GitLab { endpoint, token, webhook_secret, project, information })
    }

    fn project_name(&self) -> &str {
        &self.project
    }

    fn project_url(&self) -> Url {
        // A path with slashes is one segment here, its slashes escaped.
        self.endpoint.join("api/v4/projects").segment(&self.project)
    }

    fn labels(&self) -> &LabelSettings {
        &self.information.labels
    }

    fn with_headers(&self, request: Request) -> Request {
        request.header("Accept", "application/json").header("PRIVATE-TOKEN", &self.token)
    }

    fn next_page(answer: &Response, page: usize, is_full: bool) -> Result<Option<usize>> {
        // The URLs in Link are no help where GitLab doesn't know by which name it is reached.
        match answer.header("x-next-page").map(str::trim) {
            Some("") => Ok(None),
            Some(next) => match next.parse() {
                Ok(next) if next > page => Ok(Some(next)),
                _ => Err(Error::client(format!(
                    "GitLab says that the page after page {page} is {next:?}"
                ))),
            },
            // A full page may have another one behind it.
            None => Ok(is_full.then(|| page + 1)),
        }
    }

    /// From the time at which the last issue was made: that one comes again, and others of the same moment.
    fn behind(_: &Response, last: &Issue) -> Option<(&'static str, String)> {
        last.created_at.clone().map(|time| (Self::DIALECT.since, time))
    }

    fn reason(answer: &Response) -> Option<String> {
        answer.json().ok().and_then(|json| reason(&json))
    }

    fn token_refused(reason: Option<&str>) -> String {
        let reason = reason.unwrap_or("401");
        format!("GitLab refuses the token ({reason}): is it right, and not expired or revoked?")
    }

    fn advice(&self, status: u16, reason: &str) -> Option<String> {
        match status {
            403 if reason.contains("insufficient_scope") => {
                Some("the token needs the scope api".to_owned())
            }
            404 => Some(format!(
                "is {} right, may the token see it, does it have issues?",
                self.project
            )),
            _ => None,
        }
    }

    fn log_in(&self, call: &Call) -> Result<String> {
        let user: Login = api::get(self, call, self.endpoint.join("api/v4/user"), "the user")?;
        Ok(format!("GitLab knows us as {}", user.username))
    }

    fn project(&self, call: &Call) -> Result<Project> {
        let project: answers::Project = api::get(self, call, self.project_url(), "the project")?;
        Ok(Project {
            has_issues: project.issues_enabled,
            archived: project.archived,
            permission: Some(if project.role() >= PLANNER {
                Check::passed("permission", "issues may be made, with labels and the like")
            } else {
                Check::failed(
                    "permission",
                    "the token's user is a guest or no member: GitLab drops labels and the like, \
                     and confidential issues of others can't be seen",
                    "give it the role Planner or Reporter in the project",
                )
            }),
        })
    }

    /// GitLab itself makes the labels that a new issue has and the project lacks.
    fn make_label(
        &self,
        _: &Call,
        label: &str,
        _: &mut Vec<String>,
    ) -> std::result::Result<(), String> {
        if label.contains(',') || label.chars().count() > 255 {
            let lacks = no_such_label(label);
            return Err(format!("{lacks}; GitLab takes no comma in a label, and 255 characters"));
        }
        Ok(())
    }

    fn add_settings(&self, issue: &mut Value) {
        let information = &self.information;
        if information.confidential {
            issue["confidential"] = json!(true);
        }
        if !information.assignee_ids.is_empty() {
            issue["assignee_ids"] = json!(information.assignee_ids);
        }
        if let Some(date) = &information.due_date {
            issue["due_date"] = json!(date);
        }
        if let Some(kind) = &information.issue_type {
            issue["issue_type"] = json!(kind);
        }
    }

    fn not_set(&self, labels: &[String], created: &Issue) -> Vec<String> {
        let information = &self.information;
        let lacking = labels.iter().filter(|label| !created.labels.contains(label));
        let mut out: Vec<String> = lacking.map(|label| format!("label {label}")).collect();
        let assigned = |id: &u64| created.assignees.iter().any(|assignee| assignee.id == *id);
        let lacking = information.assignee_ids.iter().filter(|id| !assigned(id));
        out.extend(lacking.map(|id| format!("assignee {id}")));
        if information.confidential && !created.confidential {
            out.push("confidential".to_owned());
        }
        if let Some(date) = &information.due_date
            && created.due_date.as_ref() != Some(date)
        {
            out.push(format!("due date {date}"));
        }
        if let (Some(kind), Some(has)) = (&information.issue_type, &created.issue_type)
            && kind != has
        {
            out.push(format!("type {kind}"));
        }
        out
    }

    fn ticket(issue: &Issue) -> Ticket {
        Ticket { url: issue.web_url.clone(), id: issue.iid.to_string(), ..Ticket::default() }
    }

    fn status(issue: &Issue) -> TicketStatus {
        let Ticket { url, id, .. } = Self::ticket(issue);
        let (state, detail) = match issue.state.as_str() {
            "opened" => (TicketState::Open, "opened"),
            // Where it is now GitLab says by a number that only administrators can ask for.
            "closed" if issue.moved_to_id.is_some() => (TicketState::Foreign, "moved"),
            "closed" if issue.links.closed_as_duplicate_of.is_some() => {
                (TicketState::Cancelled, "duplicate")
            }
            "closed" => (TicketState::Closed, "closed"),
            other => (TicketState::Unknown, other),
        };
        let by = issue.closed_by.as_ref().map(|user| user.username.clone()).unwrap_or_default();
        let at = issue.closed_at.clone().unwrap_or_default();
        TicketStatus { url, id, state, by, at, detail: detail.to_owned(), moved: None }
    }

    fn updated(issue: &Issue) -> Option<&str> {
        issue.updated_at.as_deref()
    }

    /// GitLab answers 404 for a deleted issue, and for one that the token may no longer see.
    fn is_deleted(_: &Response) -> bool {
        false
    }

    /// GitLab redirects whole projects alone.
    fn moved_to(&self, _: &Response) -> Option<Url> {
        None
    }

    /// Source: <https://docs.gitlab.com/user/project/integrations/webhooks/>; signing tokens are those of
    /// <https://www.standardwebhooks.com>.
    fn is_signed(&self, webhook: &Webhook) -> std::result::Result<(), String> {
        let header = |name: &str| {
            let value = webhook.head.header(name);
            value.ok_or_else(|| format!("{name} is missing: has GitLab's webhook the token that secret.webhook_secret is?"))
        };
        let is_signed = match &self.webhook_secret {
            None => return Err(webhooks::no_secret("GitLab")),
            Some(WebhookSecret::Token(token)) => {
                token.as_bytes().ct_eq(header("x-gitlab-token")?.as_bytes()).into()
            }
            Some(WebhookSecret::Key(key)) => {
                let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
                is_recent(time)?;
                let parts = [id.as_bytes(), b".", time.as_bytes(), b".", webhook.body];
                // While a key is changed there are several signatures.
                header("webhook-signature")?
                    .split(' ')
                    .filter_map(|signature| {
                        BASE64_STANDARD.decode(signature.strip_prefix("v1,")?).ok()
                    })
                    .any(|signature| is_hmac_sha256(key, &parts, &signature))
            }
        };
        let why = "its token or signature is another one: is secret.webhook_secret the webhook's?";
        is_signed.then_some(()).ok_or_else(|| why.to_owned())
    }

    fn body(issue: &Issue) -> Option<&str> {
        issue.description.as_deref()
    }
}

/// # Errors
/// It should be a signing token, and is none.
fn webhook_secret(secret: Option<String>) -> Result<Option<WebhookSecret>> {
    let Some(secret) = secret.filter(|secret| !secret.is_empty()) else { return Ok(None) };
    let Some(key) = secret.strip_prefix("whsec_") else {
        return Ok(Some(WebhookSecret::Token(secret)));
    };
    match BASE64_STANDARD.decode(key) {
        Ok(key) if !key.is_empty() => Ok(Some(WebhookSecret::Key(key))),
        _ => Err(Error::settings(
            "secret: webhook_secret begins with whsec_, and no base64 follows: copy the whole signing token from GitLab",
        )),
    }
}

/// A webhook that somebody kept isn't believed later.
fn is_recent(time: &str) -> std::result::Result<(), String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match time.parse::<u64>() {
        Ok(time) if now.abs_diff(time) <= OLDEST_WEBHOOK => Ok(()),
        _ => Err("webhook-timestamp isn't of the last 5 minutes: is this machine's clock right?"
            .to_owned()),
    }
}
