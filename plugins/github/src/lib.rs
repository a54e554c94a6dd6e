//! Tickets as issues on GitHub: github.com, data residency (ghe.com) and GitHub Enterprise Server.
//!
//! Source: <https://docs.github.com/rest>, version 2022-11-28.

mod answers;
mod settings;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use ticket_plugin_api::{
    About, Action, Call, Check, Endpoint, Error, Offer, Request, Response, Result, Settings,
    Ticket, TicketState, TicketStatus, Url, Webhook, export_plugin,
};
use ticket_plugin_forge::{Dialect, Forge, LabelSettings, Plugin, Project, api, webhooks};

use answers::{Issue, Named, Refusal, Repository};
use settings::{Information, Secret};

struct GitHub {
    api: Endpoint,
    authorization: String,
    webhook_secret: Option<String>,
    /// `owner/name`
    name: String,
    repository: Url,
    information: Information,
}

export_plugin!(Plugin<GitHub>);

impl Forge for GitHub {
    const ABOUT: About = About {
        name: "github",
        license: "MIT OR Apache-2.0",
        description: "GitHub issues: github.com, ghe.com, GitHub Enterprise Server",
        aliases: &["argus_ticket_github.GithubPlugin"],
        // GitHub promises nothing about when an issue is in its list, which replicas may answer.
        settle_seconds: Some(30),
        offers: &[Offer::FindMany, Offer::State, Offer::Receive, Offer::Changes],
        actions: &[Action::Comment, Action::Close, Action::Reopen],
        marks: true,
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    const DIALECT: Dialect = Dialect {
        name: "GitHub",
        endpoint: "https://github.com, or the URL of your GitHub server",
        project: "repository",
        title_limit: 256,
        // GitHub reads nothing in a title.
        title_signs: "",
        body: "body",
        body_limit: 65_536,
        body_signs: "@#:",
        all_issues: &[("state", "all"), ("sort", "created"), ("direction", "asc")],
        since: "since",
        numbers: None,
        changed_issues: &[("state", "all"), ("sort", "updated"), ("direction", "asc")],
        changed_since: "since",
        webhook_url: "/issue/html_url",
        issue_pages: &["/issues"],
        comments: "comments",
        comment_limit: 65_536,
        changes: "PATCH",
        closes: &[("state", "closed"), ("state_reason", "completed")],
        reopens: &[("state", "open")],
        rate_limit: "rate limit",
        rights: "the token's user needs the role triage or write",
    };
    type Secret = Secret;
    type Information = Information;
    type Issue = Issue;

    fn open(settings: Settings<Secret, Information>) -> Result<GitHub> {
        let Settings { endpoint, secret, information, .. } = settings;
        let name = information.project_namespace_and_name.trim_matches('/').to_owned();
        let parts = name
            .split_once('/')
            .filter(|(owner, name)| !owner.is_empty() && !name.is_empty() && !name.contains('/'));
        let (owner, repository) = parts.ok_or_else(|| {
            Error::settings("information: project_namespace_and_name must be owner/name")
        })?;
        let token = secret.token.trim();
        if token.is_empty() {
            return Err(Error::settings(
                "secret: token is empty; GitHub makes one under Settings, Developer settings",
            ));
        }
        let api = Endpoint::new(&api_url(&endpoint));
        let repository = api.join("repos").segment(owner).segment(repository);
        let authorization = format!("Bearer {token}");
        let webhook_secret = secret.webhook_secret.filter(|secret| !secret.is_empty());
        Ok(GitHub { api, authorization, webhook_secret, name, repository, information })
    }

    fn project_name(&self) -> &str {
        &self.name
    }

    fn project_url(&self) -> Url {
        self.repository.clone()
    }

    fn labels(&self) -> &LabelSettings {
        &self.information.labels
    }

    fn with_headers(&self, request: Request) -> Request {
        request
            .header("Accept", "application/vnd.github+json")
            .header("X-GitHub-Api-Version", "2022-11-28")
            .header("Authorization", &self.authorization)
    }

    fn next_page(answer: &Response, page: usize, _: bool) -> Result<Option<usize>> {
        Ok(answer.has_next_page().then(|| page + 1))
    }

    /// Of many issues GitHub gives the first pages by their numbers alone, and names in Link how it goes on behind an issue.
    fn behind(answer: &Response, _: &Issue) -> Option<(&'static str, String)> {
        answer.next_page_parameter("after").map(|after| ("after", after))
    }

    fn reason(answer: &Response) -> Option<String> {
        answer.json::<Refusal>().ok().map(|refusal| refusal.text())
    }

    fn token_refused(reason: Option<&str>) -> String {
        let reason = reason.unwrap_or_default();
        format!("GitHub refuses the token (401 {reason}): is it right, and not expired?")
    }

    fn advice(&self, status: u16, _: &str) -> Option<String> {
        let name = &self.name;
        (status == 404).then(|| format!("is {name} right, and may the token see it?"))
    }

    fn log_in(&self, call: &Call) -> Result<String> {
        // This request doesn't count against the rate limit.
        let answer = api::send(self, call, Request::get(self.api.join("rate_limit")))?;
        // A server without rate limits says 404, but to a wrong token it says 401 before that.
        if answer.status != 404 || Self::reason(&answer).is_none() {
            api::read::<_, Value>(self, &answer, 200, "the rate limit")?;
        }
        Ok("GitHub accepts the token".to_owned())
    }

    fn project(&self, call: &Call) -> Result<Project> {
        let url = self.repository.clone();
        let repository: Repository = api::get(self, call, url, "the repository")?;
        Ok(Project {
            has_issues: repository.has_issues,
            archived: repository.archived,
            permission: self.information.needs_triage().then(|| match repository.permissions {
                Some(may) if !may.triage && !may.push => Check::failed(
                    "permission",
                    "the token may not set labels, assignees, a milestone or a type",
                    "give its user the role triage or write; GitHub drops them without a word",
                ),
                _ => Check::passed("permission", "labels and the like may be set"),
            }),
        })
    }

    fn make_label(
        &self,
        call: &Call,
        label: &str,
        known: &mut Vec<String>,
    ) -> std::result::Result<(), String> {
        let request = Request::post(self.repository.clone().segment("labels"));
        let request = request.json(&json!({"name": label}));
        let made = api::send(self, call, request).and_then(|answer| match answer.status {
            // Somebody else made it since the labels were looked up.
            422 if String::from_utf8_lossy(&answer.body).contains("already_exists") => Ok(()),
            _ => api::read::<_, Named>(self, &answer, 201, "the label").map(drop),
        });
        made.map_err(|error| format!("label {label} can't be made: {error}"))?;
        known.push(label.to_owned());
        Ok(())
    }

    fn add_settings(&self, issue: &mut Value) {
        let information = &self.information;
        if !information.assignees.is_empty() {
            issue["assignees"] = json!(information.assignees);
        }
        if let Some(milestone) = information.milestone {
            issue["milestone"] = json!(milestone);
        }
        if let Some(kind) = &information.kind {
            issue["type"] = json!(kind);
        }
    }

    fn not_set(&self, labels: &[String], created: &Issue) -> Vec<String> {
        let information = &self.information;
        let among = |has: &[&str], name: &str| {
            has.iter().any(|has| has.to_lowercase() == name.to_lowercase())
        };
        let has_labels: Vec<&str> = created.labels.iter().map(|l| l.name.as_str()).collect();
        let has_assignees: Vec<&str> = created.assignees.iter().map(|a| a.login.as_str()).collect();
        let labels = labels.iter().filter(|label| !among(&has_labels, label));
        let mut out: Vec<String> = labels.map(|label| format!("label {label}")).collect();
        let assignees = information.assignees.iter().filter(|login| !among(&has_assignees, login));
        out.extend(assignees.map(|login| format!("assignee {login}")));
        if let Some(number) = information.milestone
            && created.milestone.as_ref().is_none_or(|milestone| milestone.number != number)
        {
            out.push(format!("milestone {number}"));
        }
        if let Some(kind) = &information.kind
            && !created.kind.as_ref().is_some_and(|has| among(&[&has.name], kind))
        {
            out.push(format!("type {kind}"));
        }
        out
    }

    fn ticket(issue: &Issue) -> Ticket {
        Ticket { url: issue.html_url.clone(), id: issue.number.to_string(), ..Ticket::default() }
    }

    fn status(issue: &Issue) -> TicketStatus {
        let Ticket { url, id, .. } = Self::ticket(issue);
        let state = match (issue.state.as_str(), issue.state_reason.as_deref()) {
            _ if issue.pull_request.is_some() => TicketState::Foreign,
            ("open", _) => TicketState::Open,
            ("closed", Some("not_planned" | "duplicate")) => TicketState::Cancelled,
            ("closed", _) => TicketState::Closed,
            _ => TicketState::Unknown,
        };
        let by = issue.closed_by.as_ref().map(|user| user.login.clone()).unwrap_or_default();
        let at = issue.closed_at.clone().unwrap_or_default();
        let detail = issue.state_reason.as_ref().unwrap_or(&issue.state).clone();
        TicketStatus { url, id, state, by, at, detail, moved: None }
    }

    fn updated(issue: &Issue) -> Option<&str> {
        issue.updated_at.as_deref()
    }

    /// GitHub also answers 410 where a repository's issues are turned off.
    fn is_deleted(answer: &Response) -> bool {
        answer.status == 410 && Self::reason(answer).is_some_and(|why| why.contains("was deleted"))
    }

    /// Source: <https://docs.github.com/rest/issues/issues#get-an-issue>: 301 of one that was transferred.
    fn moved_to(&self, answer: &Response) -> Option<Url> {
        let place = answer.header("location")?;
        place.starts_with(&String::from(self.api.join(""))).then(|| Url::from(place))
    }

    /// Source: <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>.
    fn is_signed(&self, webhook: &Webhook) -> std::result::Result<(), String> {
        let secret = self.webhook_secret.as_ref().ok_or_else(|| webhooks::no_secret("GitHub"))?;
        webhook.is_signed("x-hub-signature-256", secret)
    }

    fn body(issue: &Issue) -> Option<&str> {
        // GitHub lists pull requests among the issues.
        issue.body.as_deref().filter(|_| issue.pull_request.is_none())
    }
}

/// The URL of the API that belongs to the URL that people use.
fn api_url(endpoint: &str) -> String {
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
