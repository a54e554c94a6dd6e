//! Tickets as Jira issues: Data Center (API version 2) and Cloud (version 3).
//!
//! An issue carries its key as a property, and in wiki markup as an anchor as well; no reader sees
//! either. Once the fields are known, a ticket takes one request.

mod adf;
mod client;
mod fields;
mod life;
mod list;
mod settings;
mod states;
#[cfg(test)]
mod tests;
mod transition;
mod webhooks;
mod wiki;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use ticket_plugin_api::listing::Listing;
use ticket_plugin_api::{
    About, Action, Cached, Call, Check, Error, Extra, FindMany, Format, FoundMany, Incident, Offer,
    Received, Result, Settings, StateRequest, States, Ticket, TicketPlugin, TicketRequest,
    UpdateRequest, Updated, Webhook, export_plugin, fingerprint, text, utc_before,
};

use client::{Client, Issue, PROPERTY, anchor};
use fields::{Dialect, Field};
use settings::{Information, Secret};

/// The most UTF-16 units that Jira takes in a summary.
const SUMMARY: usize = 255;
/// The most UTF-16 units that Jira takes in a description or a comment.
const TEXT: usize = 32_767;
/// How far the clocks and time zones of whoever saw the incident, of Jira and of Jira's user may be
/// apart.
const CLOCKS: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// After so many numbers in a row without an issue, no later issue is expected.
const GAP: u32 = 2;
/// How many issues are asked for by their numbers in one search. There can be more that Jira's index doesn't know: in a storm, or
/// while it stands still.
const PROBES: u32 = 20;
/// How long Jira's index is given to learn of them.
const INDEX_LAG: Duration = Duration::from_secs(10);

struct Jira {
    client: Client,
    webhook_secret: Option<String>,
    information: Information,
    fields: Cached<Vec<Field>>,
    /// What the last listing for many keys saw.
    listing: Listing,
}

/// Custom fields as Jira takes them.
#[derive(Default)]
struct Custom {
    /// By id.
    values: Map<String, Value>,
    /// The name of each, by its id.
    names: BTreeMap<String, String>,
}

impl TicketPlugin for Jira {
    const ABOUT: About = About {
        name: "jira",
        license: "MIT OR Apache-2.0",
        description: "Jira issues: Data Center and Cloud",
        aliases: &["argus_ticket_jira.JiraPlugin"],
        // Jira's index learns of an issue some seconds later, on a busy server many.
        settle_seconds: Some(30),
        offers: &[Offer::FindMany, Offer::State, Offer::Receive],
        actions: &[Action::Comment, Action::Close, Action::Reopen],
        marks: true,
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<Jira> {
        let Settings { endpoint, secret, information, .. } = settings;
        if information.project_key_or_id.text().is_empty() {
            return Err(Error::settings("information: project_key_or_id is empty"));
        }
        let client = Client::new(&endpoint, &secret, information.api_version)?;
        let webhook_secret = secret.webhook_secret().filter(|secret| !secret.is_empty());
        Ok(Jira {
            client,
            webhook_secret: webhook_secret.map(str::to_owned),
            information,
            fields: Cached::default(),
            listing: Listing::default(),
        })
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        let mut lines = match self.client.myself(call) {
            Ok(me) => vec![Check::passed("login", format!("Jira knows us as {}", me.name))],
            Err(error) => return Ok(vec![Check::error("login", &error)]),
        };
        lines.extend(self.check_project(call));
        lines.extend(self.check_fields(call));
        Ok(lines)
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let mut warnings = Vec::new();
        let mapped = self.information.fields.resolve(&request.incident);
        let mut custom = self.custom(call, mapped.fields, &mut warnings)?;
        let description = &request.incident.description;
        let title = call.title()?;
        let summary = text::title(&title, SUMMARY, char::len_utf16, description, &mut warnings);
        let created = loop {
            let extra = Extra { missing_fields: &mapped.missing, warnings: &warnings };
            let body = call.body(Format::Markdown, &extra)?;
            let mut cut = Vec::new();
            let issue = self.issue(&summary, &body, &custom, &request.key, &mut cut);
            match self.client.create(call, &issue, &custom.names) {
                Ok(key) => {
                    warnings.extend(cut);
                    break key;
                }
                // Jira created nothing because of some fields, and a ticket without them is better
                // than no ticket. Each round drops at least one field, so the loop ends.
                Err(refused) if !refused.fields.is_empty() => {
                    self.fields.clear();
                    for (id, why) in refused.fields {
                        let name = custom.names.remove(&id).unwrap_or_default();
                        custom.values.remove(&id);
                        warnings.push(format!("custom field {name} is not set: {why}"));
                    }
                }
                Err(refused) => {
                    self.fields.clear();
                    return Err(refused.error);
                }
            }
        };
        Ok(Ticket { missing_fields: mapped.missing, warnings, ..self.ticket(&created) })
    }

    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let fingerprint = fingerprint(&request.key);
        let since = request.since(CLOCKS);
        let (recent, found) = self.since(call, since.as_deref(), &fingerprint)?;
        let found = match found {
            Some(found) => Some(found),
            None => self.beyond_the_index(call, since.as_deref(), recent, &fingerprint)?,
        };
        Ok(found.map(|issue| self.ticket(&issue.key)))
    }

    fn update(
        &mut self,
        call: &Call,
        request: &UpdateRequest<Incident>,
    ) -> Result<Option<Updated>> {
        life::update(self, call, request).map(Some)
    }

    fn state(&mut self, call: &Call, request: &StateRequest) -> Result<States> {
        states::state(self, call, request)
    }

    fn receive(&mut self, _: &Call, webhook: &Webhook) -> Result<Received> {
        webhooks::receive(self, webhook)
    }

    fn find_many(&mut self, call: &Call, request: &FindMany) -> Result<FoundMany> {
        let (project, jql) = (self.project(), self.jql());
        let Jira { client, listing, .. } = self;
        listing.find_many(call, request, |since, place| {
            let since = created(since.and_then(|time| utc_before(time, CLOCKS)).as_deref());
            // By time and number, issues of the same moment have an order, too.
            let query = format!("{jql}{since} ORDER BY created ASC, key ASC");
            list::page(client, call, &project, &query, place)
        })
    }
}

export_plugin!(Jira);

/// The part of a query that leaves out what is older than a time in UTC; Jira takes no seconds.
fn created(since: Option<&str>) -> String {
    let since = since.and_then(|time| time.get(..16)).map(|time| time.replace('T', " "));
    since.map(|time| format!(" AND created >= \"{time}\"")).unwrap_or_default()
}

/// What an error says where Jira has more issues up to this one that its index doesn't know than are asked for one by one.
fn not_indexed(last: &str) -> String {
    format!(
        "could not find out whether there is a ticket: Jira's search doesn't know yet the issues up to {last}, and there are more; \
         wait until its index has caught up, or have it rebuilt"
    )
}

impl Jira {
    fn ticket(&self, key: &str) -> Ticket {
        Ticket { url: self.client.page_of(key), id: key.to_owned(), ..Ticket::default() }
    }

    fn dialect(&self) -> Dialect {
        Dialect { cloud: self.client.cloud, documents: self.client.version == 3 }
    }

    /// The body of the request that creates an issue.
    fn issue(
        &self,
        summary: &str,
        markdown: &str,
        custom: &Custom,
        key: &str,
        warnings: &mut Vec<String>,
    ) -> Value {
        let fingerprint = fingerprint(key);
        let project = &self.information.project_key_or_id;
        let named_by = if project.is_id() { "id" } else { "key" };
        let mut fields = custom.values.clone();
        fields.insert("project".into(), json!({named_by: project.text()}));
        fields.insert("issuetype".into(), json!({"name": self.information.kind}));
        fields.insert("summary".into(), json!(summary));
        let description = self.text(markdown, &anchor(&fingerprint), warnings);
        fields.insert("description".into(), description);
        json!({"fields": fields, "properties": [{"key": PROPERTY, "value": {"key": fingerprint}}]})
    }

    /// A description or comment in the markup that this Jira reads, cut to the length that it takes; in wiki markup with the anchor.
    fn text(&self, markdown: &str, anchor: &str, warnings: &mut Vec<String>) -> Value {
        let mut limit = TEXT;
        loop {
            let mut cut = Vec::new();
            let markdown = text::body(markdown.to_owned(), limit, &mut cut);
            let wiki = format!("{}\n\n{}", wiki::from_markdown(&markdown), anchor);
            // Escaping makes text longer, a few times at most: then less of it is tried. A document
            // is measured in the same way, since Jira counts its text.
            if wiki.encode_utf16().count() > TEXT && limit > TEXT / 16 {
                limit /= 2;
                continue;
            }
            warnings.extend(cut);
            return if self.dialect().documents {
                adf::from_markdown(&markdown)
            } else {
                json!(wiki)
            };
        }
    }

    /// The mapped fields that Jira has, with their values as Jira takes them. Each of the others
    /// becomes a warning.
    fn custom(
        &mut self,
        call: &Call,
        mapped: BTreeMap<String, Vec<String>>,
        warnings: &mut Vec<String>,
    ) -> Result<Custom> {
        let mut custom = Custom::default();
        if mapped.is_empty() {
            return Ok(custom);
        }
        let (client, dialect) = (&self.client, self.dialect());
        let known = match self.fields.get(|| client.fields(call).map_err(Some)?.ok_or(None)) {
            Ok(known) => known,
            Err(Some(error)) => return Err(error),
            // In a dry run the fields aren't looked up, so their ids and types aren't known.
            Err(None) => {
                let values = mapped.into_iter().map(|(name, values)| (name, json!(values)));
                return Ok(Custom { values: values.collect(), names: BTreeMap::new() });
            }
        };
        for (name, values) in mapped {
            let Some(field) = fields::named(known, &name)? else {
                warnings.push(format!(
                    "custom field {name}: Jira has none of that name, so it is not set"
                ));
                continue;
            };
            match field.schema.value(&values, dialect) {
                Ok((value, warning)) => {
                    warnings.extend(warning.map(|why| format!("custom field {name}: {why}")));
                    custom.values.insert(field.id.clone(), value);
                    custom.names.insert(field.id.clone(), name);
                }
                Err(why) => warnings.push(format!("custom field {name} is not set: {why}")),
            }
        }
        Ok(custom)
    }

    /// The project as a query can name it.
    fn project(&self) -> String {
        self.information.project_key_or_id.text().replace(['"', '\\'], "")
    }

    /// The query for the project's issues.
    fn jql(&self) -> String {
        format!("project = \"{}\"", self.project())
    }

    /// The issues since a time (in UTC) that Jira's index knows, in the order of their creation: all of them, or else the one that
    /// is looked for.
    fn since(
        &self,
        call: &Call,
        since: Option<&str>,
        fingerprint: &str,
    ) -> Result<(Vec<Issue>, Option<Issue>)> {
        let query = format!("{}{} ORDER BY created ASC", self.jql(), created(since));
        let mut issues = self.client.search(call, &query, None)?;
        let found = issues.iter().position(|issue| issue.carries(fingerprint));
        let found = found.map(|place| issues.swap_remove(place));
        Ok((issues, found))
    }

    /// The issue with the highest number, as far as Jira's index knows it. It needn't be the newest one: issues that are imported, or
    /// moved from another project, get new numbers and keep their time.
    fn highest(&self, call: &Call) -> Result<Option<Issue>> {
        let query = format!("{} ORDER BY key DESC", self.jql());
        Ok(self.client.search(call, &query, Some(1))?.pop())
    }

    /// The issue, if it is among those that Jira's index doesn't know yet, since it lags behind what
    /// is created. They are asked for by their numbers, which go on from those of the `known` ones.
    ///
    /// Wherever the numbers go on behind a higher one instead, the index may have learned of the issue meanwhile, and that one be
    /// behind it: then those `since` the time are read again.
    fn beyond_the_index(
        &self,
        call: &Call,
        since: Option<&str>,
        mut known: Vec<Issue>,
        fingerprint: &str,
    ) -> Result<Option<Issue>> {
        let meanwhile = || self.since(call, since, fingerprint).map(|(_, found)| found);
        if known.is_empty() {
            known.extend(self.highest(call)?);
            if !known.is_empty()
                && let Some(found) = meanwhile()?
            {
                return Ok(Some(found));
            }
        }
        let project = match known.last().and_then(|issue| issue.key.rsplit_once('-')) {
            Some((project, _)) => project.to_owned(),
            None => self.client.project(call, &self.information.project_key_or_id.text())?.key,
        };
        let mut number = known.iter().filter_map(|issue| issue.number(&project)).max().unwrap_or(0);
        let (mut missing, mut has_asked_for_highest) = (0, false);
        for _ in 0..PROBES {
            number += 1;
            match self.client.issue(call, &format!("{project}-{number}"))? {
                Some(issue) if issue.carries(fingerprint) => return Ok(Some(issue)),
                Some(_) => missing = 0,
                None => missing += 1,
            }
            if missing == GAP {
                return Ok(None);
            }
            // The index may know this one, as an older issue.
            if missing == 0 && !has_asked_for_highest {
                has_asked_for_highest = true;
                let highest = self.highest(call)?.and_then(|issue| issue.number(&project));
                if let Some(highest) = highest.filter(|highest| *highest > number) {
                    if let Some(found) = meanwhile()? {
                        return Ok(Some(found));
                    }
                    number = highest;
                }
            }
        }
        // Jira isn't down: it is asked again for this ticket, and for others meanwhile.
        Err(Error {
            retry_after: Some(INDEX_LAG),
            ..Error::client(not_indexed(&format!("{project}-{number}")))
        })
    }

    fn check_project(&self, call: &Call) -> Vec<Check> {
        let name = self.information.project_key_or_id.text();
        let project = match self.client.project(call, &name) {
            Ok(project) => project,
            Err(error) => return vec![Check::error("project", &error)],
        };
        let kind = &self.information.kind;
        let kinds: Vec<&str> = project.kinds.iter().map(|kind| kind.name.as_str()).collect();
        let has = kinds.iter().any(|has| has.to_lowercase() == kind.to_lowercase());
        vec![
            Check::passed("project", format!("{} can be seen", project.key)),
            if has {
                Check::passed("issue type", format!("{} has {kind}", project.key))
            } else {
                let has = kinds.join(", ");
                let message = format!("{} has no issue type {kind}", project.key);
                Check::failed("issue type", message, format!("set type to one of: {has}"))
            },
            match self.client.may_create(call, &project.key) {
                Ok(true) => Check::passed("permission", "issues may be created"),
                Ok(false) => Check::failed(
                    "permission",
                    format!("issues may not be created in {}", project.key),
                    "give the token's user Create Issues and Browse Projects there",
                ),
                Err(error) => Check::error("permission", &error),
            },
        ]
    }

    fn check_fields(&self, call: &Call) -> Vec<Check> {
        let names = self.information.fields.names();
        if names.is_empty() {
            return Vec::new();
        }
        let known = match self.client.fields(call) {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => return vec![Check::error("custom fields", &error)],
        };
        let line = |name: &str| {
            let line = format!("custom field {name}");
            match fields::named(&known, name) {
                Ok(Some(field)) => Check::passed(&line, format!("it is {}", field.id)),
                Ok(None) => Check::failed(
                    &line,
                    "Jira has none of that name",
                    "correct the name, or let the token's user see the field",
                ),
                Err(error) => Check::error(&line, &error),
            }
        };
        names.into_iter().map(line).collect()
    }
}
