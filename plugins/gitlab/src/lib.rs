//! Tickets as issues on GitLab: gitlab.com and self-managed.
//!
//! An issue carries its key as a comment in its description, which no reader sees. Once the labels
//! are known, a ticket takes one request.

mod client;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::json;
use ticket_plugin_api::mapping::{check_labels, no_such_label, part_labels};
use ticket_plugin_api::{
    About, Cached, Call, Check, Extra, Format, Incident, Result, Settings, Ticket, TicketPlugin,
    TicketRequest, export_plugin, text, utc_before,
};

use client::{Client, Issue};
use settings::{Information, Secret};

/// GitLab takes so many characters in a title,
const TITLE: usize = 255;
/// and at least so many bytes in a description (its limit is in characters).
const DESCRIPTION: usize = 1_048_576;
/// What GitLab reads as a mention or a reference,
const REFERENCES: &str = "@#!%&~$^";
/// and in a description as an emoji or a reference to a vulnerability as well.
const SIGNS: &str = "@#!%&~$^:[";
/// By how much the clocks of those who see incidents and of GitLab may differ.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);
/// Who may set labels and assignees, and see others' confidential issues.
const REPORTER: u32 = 15;

struct GitLab {
    client: Client,
    information: Information,
    labels: Cached<Vec<String>>,
}

impl TicketPlugin for GitLab {
    const ABOUT: About = About {
        name: "gitlab",
        license: "MIT OR Apache-2.0",
        description: "GitLab issues: gitlab.com and self-managed",
        aliases: &["argus_ticket_gitlab.GitlabPlugin"],
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<GitLab> {
        let Settings { endpoint, secret, information } = settings;
        let project = information.project_namespace_and_name.text();
        let client = Client::new(&endpoint, &secret.token, project)?;
        Ok(GitLab { client, information, labels: Cached::default() })
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        let name = self.information.project_namespace_and_name.text();
        let mut lines = match self.client.login(call) {
            Ok(user) => {
                vec![Check::passed("login", format!("GitLab knows us as {}", user.username))]
            }
            Err(error) => return Ok(vec![Check::error("login", &error)]),
        };
        let project = match self.client.project(call) {
            Ok(project) => project,
            Err(error) => {
                lines.push(Check::error("project", &error));
                return Ok(lines);
            }
        };
        lines.push(Check::passed("project", format!("the token may see {name}")));
        lines.push(if !project.issues_enabled {
            Check::failed("issues", format!("{name} has no issues"), "turn them on in its settings")
        } else if project.archived {
            Check::failed("issues", format!("{name} is archived"), "name another project")
        } else {
            Check::passed("issues", format!("{name} takes issues"))
        });
        lines.push(if project.role() >= REPORTER {
            Check::passed("permission", "issues may be made, with labels and the like")
        } else {
            Check::failed(
                "permission",
                "the token's user is a guest or no member: GitLab drops labels and the like, and \
                 confidential issues of others can't be seen",
                "give it the role Planner or Reporter in the project",
            )
        });
        let set = &self.information.labels.labels_set;
        if !self.information.create_missing_labels && !set.is_empty() {
            lines.extend(match self.client.labels(call) {
                Ok(known) => check_labels(set, &known.unwrap_or_default()),
                Err(error) => vec![Check::error("labels", &error)],
            });
        }
        Ok(lines)
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let mut warnings = Vec::new();
        let wanted = self.information.labels.resolve(&request.incident);
        let labels = self.existing(call, wanted.labels, &mut warnings)?;
        // GitLab looks for references in titles as well.
        let title = text::plain_without_references(&call.title()?, REFERENCES);
        let title = text::title(&title, TITLE, |_| 1, &request.incident.description, &mut warnings);
        let extra = Extra { missing_fields: &wanted.missing, warnings: &warnings };
        let body = text::without_references(&call.body(Format::Markdown, &extra)?, SIGNS);
        let marker = text::marker(&request.key);
        let body = text::body(body, DESCRIPTION - marker.len() - 1, &mut warnings);
        let mut issue =
            json!({"title": title, "description": format!("{body}\n{marker}"), "labels": labels});
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
        let created = self.client.create(call, &issue);
        let created = created.inspect_err(|_| self.labels.clear())?;
        let dropped = self.dropped(&labels, &created);
        if !dropped.is_empty() {
            self.labels.clear();
        }
        warnings.extend(dropped);
        Ok(Ticket { missing_fields: wanted.missing, warnings, ..ticket(&created) })
    }

    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        // A ticket is never older than its incident.
        let since = utc_before(&request.incident.start_time, CLOCKS);
        let since = since.map(|time| time.replace("+00:00", "Z"));
        let found = self.client.with_marker(call, &text::marker(&request.key), since.as_deref())?;
        Ok(found.as_ref().map(ticket))
    }
}

export_plugin!(GitLab);

impl GitLab {
    /// The labels to send: those that there are, in GitLab's own spelling. The others are sent as
    /// well if GitLab shall make them; else each is a warning.
    fn existing(
        &mut self,
        call: &Call,
        wanted: Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let client = &self.client;
        let looked_up = self.labels.get(|| client.labels(call).map_err(Some)?.ok_or(None));
        let known = match looked_up {
            Ok(known) => known,
            // A dry run: nobody knows.
            Err(None) => return Ok(wanted),
            Err(Some(error)) => return Err(error),
        };
        let (mut labels, absent) = part_labels(wanted, known);
        for label in absent {
            if !self.information.create_missing_labels {
                warnings.push(no_such_label(&label));
            } else if label.contains(',') || label.chars().count() > 255 {
                warnings.push(format!(
                    "{}; GitLab takes no comma in a label, and 255 characters",
                    no_such_label(&label)
                ));
            } else {
                labels.push(label);
            }
        }
        Ok(labels)
    }

    /// What GitLab left out of the issue: it says 201 to a token that may not set it.
    fn dropped(&self, labels: &[String], created: &Issue) -> Vec<String> {
        let information = &self.information;
        let lacking = labels.iter().filter(|label| !created.labels.contains(label));
        let mut out: Vec<String> = lacking.map(|label| format!("label {label}")).collect();
        for id in &information.assignee_ids {
            if !created.assignees.iter().any(|assignee| assignee.id == *id) {
                out.push(format!("assignee {id}"));
            }
        }
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
        let why = "GitLab did not set it; has the token's user the role Planner or Reporter?";
        out.into_iter().map(|what| format!("{what}: {why}")).collect()
    }
}

fn ticket(issue: &Issue) -> Ticket {
    Ticket { url: issue.web_url.clone(), id: issue.iid.to_string(), ..Ticket::default() }
}
