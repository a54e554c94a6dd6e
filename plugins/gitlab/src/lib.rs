//! Tickets as issues on GitLab: gitlab.com and self-managed.
//!
//! Source: <https://docs.gitlab.com/api/rest/>, version 4.

mod answers;
mod settings;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use ticket_plugin_api::mapping::no_such_label;
use ticket_plugin_api::{
    About, Action, Call, Check, Endpoint, Error, Offer, Request, Response, Result, Settings,
    Ticket, TicketState, Url, export_plugin,
};
use ticket_plugin_forge::{Dialect, Forge, LabelSettings, Plugin, Project, api};

use answers::{Issue, Login, reason};
use settings::{Information, Secret};

/// Planner: the lowest role that may set labels and see other users' confidential issues.
const PLANNER: u32 = 15;

struct GitLab {
    endpoint: Endpoint,
    token: String,
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
        offers: &[Offer::FindMany],
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
        Ok(GitLab { endpoint, token, project, information })
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

    fn state(issue: &Issue) -> TicketState {
        match issue.state.as_str() {
            "opened" => TicketState::Open,
            "closed" => TicketState::Closed,
            _ => TicketState::Unknown,
        }
    }

    /// GitLab answers 404 for a deleted issue, and for one that the token may no longer see.
    fn is_deleted(_: &Response) -> bool {
        false
    }

    fn body(issue: &Issue) -> Option<&str> {
        issue.description.as_deref()
    }
}
