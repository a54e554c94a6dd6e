//! Tickets as issues on GitHub: github.com, data residency (ghe.com) and GitHub Enterprise Server.
//!
//! An issue carries its key as a comment in its body, which no reader sees. Once the labels are
//! known, a ticket takes one request.

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

/// GitHub takes so many characters in a title,
const TITLE: usize = 256;
/// and at least so many bytes in a body (its limit is in characters).
const BODY: usize = 65_536;
/// What GitHub reads as a mention, a reference or an emoji.
const SIGNS: &str = "@#:";
/// By how much the clocks of those who see incidents and of GitHub may differ.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);

struct GitHub {
    client: Client,
    information: Information,
    labels: Cached<Vec<String>>,
}

impl TicketPlugin for GitHub {
    const ABOUT: About = About {
        name: "github",
        license: "MIT OR Apache-2.0",
        description: "GitHub issues: github.com, ghe.com, GitHub Enterprise Server",
        aliases: &["argus_ticket_github.GithubPlugin"],
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<GitHub> {
        let Settings { endpoint, secret, information } = settings;
        let name = &information.project_namespace_and_name;
        let client = Client::new(&endpoint, &secret.token, name)?;
        Ok(GitHub { client, information, labels: Cached::default() })
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        let name = &self.information.project_namespace_and_name;
        if let Err(error) = self.client.login(call) {
            return Ok(vec![Check::error("login", &error)]);
        }
        let login = Check::passed("login", "GitHub accepts the token");
        let repository = match self.client.repository(call) {
            Ok(repository) => repository,
            Err(error) => return Ok(vec![login, Check::error("repository", &error)]),
        };
        let mut lines = vec![
            login,
            Check::passed("repository", format!("the token may see {name}")),
            if !repository.has_issues {
                Check::failed(
                    "issues",
                    format!("{name} has no issues"),
                    "turn them on in its settings",
                )
            } else if repository.archived {
                Check::failed("issues", format!("{name} is archived"), "name another repository")
            } else {
                Check::passed("issues", format!("{name} takes issues"))
            },
        ];
        if self.sets_what_needs_triage() {
            lines.push(match &repository.permissions {
                Some(may) if !may.triage && !may.push => Check::failed(
                    "permission",
                    "the token may not set labels, assignees, a milestone or a type",
                    "give its user the role triage or write; GitHub drops them without a word",
                ),
                _ => Check::passed("permission", "labels and the like may be set"),
            });
        }
        if !self.information.create_missing_labels && !self.information.labels.labels_set.is_empty()
        {
            lines.extend(match self.client.labels(call) {
                Ok(known) => {
                    check_labels(&self.information.labels.labels_set, &known.unwrap_or_default())
                }
                Err(error) => vec![Check::error("labels", &error)],
            });
        }
        Ok(lines)
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let mut warnings = Vec::new();
        let wanted = self.information.labels.resolve(&request.incident);
        let labels = self.existing(call, wanted.labels, &mut warnings)?;
        let title =
            text::title(&call.title()?, TITLE, |_| 1, &request.incident.description, &mut warnings);
        let extra = Extra { missing_fields: &wanted.missing, warnings: &warnings };
        let body = text::without_references(&call.body(Format::Markdown, &extra)?, SIGNS);
        let marker = text::marker(&request.key);
        let body = text::body(body, BODY - marker.len() - 1, &mut warnings);
        let mut issue =
            json!({"title": title, "body": format!("{body}\n{marker}"), "labels": labels});
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

export_plugin!(GitHub);

impl GitHub {
    fn sets_what_needs_triage(&self) -> bool {
        let i = &self.information;
        let labels = !i.labels.labels_set.is_empty() || !i.labels.labels_mapping.is_empty();
        labels || !i.assignees.is_empty() || i.milestone.is_some() || i.kind.is_some()
    }

    /// The labels of `wanted` that the repository has, in its own spelling; the others are made,
    /// or a warning each.
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
                continue;
            }
            match client.create_label(call, &label) {
                Ok(()) => {
                    known.push(label.clone());
                    labels.push(label);
                }
                Err(error) => warnings.push(format!("label {label} can't be made: {error}")),
            }
        }
        Ok(labels)
    }

    /// What GitHub left out of the issue: it says 201 to a token that may not set it.
    fn dropped(&self, labels: &[String], created: &Issue) -> Vec<String> {
        let mut out = Vec::new();
        let lacks = |has: Vec<&str>, name: &str| {
            !has.iter().any(|h| h.to_lowercase() == name.to_lowercase())
        };
        for label in labels {
            if lacks(created.labels.iter().map(|l| l.name.as_str()).collect(), label) {
                out.push(format!("label {label}"));
            }
        }
        for login in &self.information.assignees {
            if lacks(created.assignees.iter().map(|a| a.login.as_str()).collect(), login) {
                out.push(format!("assignee {login}"));
            }
        }
        if let Some(number) = self.information.milestone
            && created.milestone.as_ref().is_none_or(|milestone| milestone.number != number)
        {
            out.push(format!("milestone {number}"));
        }
        if let Some(kind) = &self.information.kind
            && lacks(created.kind.iter().map(|k| k.name.as_str()).collect(), kind)
        {
            out.push(format!("type {kind}"));
        }
        let why = "GitHub did not set it; the token's user needs the role triage or write";
        out.into_iter().map(|what| format!("{what}: {why}")).collect()
    }
}

fn ticket(issue: &Issue) -> Ticket {
    Ticket { url: issue.html_url.clone(), id: issue.number.to_string(), ..Ticket::default() }
}
