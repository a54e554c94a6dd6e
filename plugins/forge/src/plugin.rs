//! A forge as a ticket plugin: what happens in which order when it is checked, creates and finds, and who does the rest.

use std::time::Duration;

use serde_json::json;
use ticket_plugin_api::listing::{Listed, Listing, Next, Page};
use ticket_plugin_api::mapping::{check_labels, no_such_label, part_labels};
use ticket_plugin_api::{
    About, Cached, Call, Changed, ChangesRequest, Check, Extra, FindMany, Format, FoundMany,
    Incident, Received, Result, Settings, StateRequest, States, Ticket, TicketName, TicketPlugin,
    TicketRequest, UpdateRequest, Updated, Webhook, text, utc_before,
};

use crate::issues::{self, Place};
use crate::{Forge, api, changes, life, states, webhooks};

/// How far the clock of whoever saw the incident and the forge's clock may be apart.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);

/// A forge, and what was last looked up of its project.
#[derive(Debug)]
pub struct Plugin<F> {
    forge: F,
    labels: Cached<Vec<String>>,
    /// What the last listing for many keys saw.
    listing: Listing,
}

impl<F: Forge> TicketPlugin for Plugin<F> {
    const ABOUT: About = F::ABOUT;
    type Secret = F::Secret;
    type Information = F::Information;

    fn open(settings: Settings<F::Secret, F::Information>) -> Result<Plugin<F>> {
        let forge = F::open(settings)?;
        Ok(Plugin { forge, labels: Cached::default(), listing: Listing::default() })
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        let (name, kind) = (self.forge.project_name(), F::DIALECT.project);
        let mut lines = match self.forge.log_in(call) {
            Ok(login) => vec![Check::passed("login", login)],
            Err(error) => return Ok(vec![Check::error("login", &error)]),
        };
        let project = match self.forge.project(call) {
            Ok(project) => project,
            Err(error) => {
                lines.push(Check::error(kind, &error));
                return Ok(lines);
            }
        };
        lines.push(Check::passed(kind, format!("the token may see {name}")));
        lines.push(if !project.has_issues {
            Check::failed("issues", format!("{name} has no issues"), "turn them on in its settings")
        } else if project.archived {
            Check::failed("issues", format!("{name} is archived"), format!("name another {kind}"))
        } else {
            Check::passed("issues", format!("{name} takes issues"))
        });
        lines.extend(project.permission);
        let settings = self.forge.labels();
        let always = &settings.mappings.labels_set;
        if !settings.create_missing_labels && !always.is_empty() {
            lines.extend(match api::labels(&self.forge, call) {
                Ok(known) => check_labels(always, &known),
                Err(error) => vec![Check::error("labels", &error)],
            });
        }
        Ok(lines)
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let dialect = F::DIALECT;
        let mut warnings = Vec::new();
        let wanted = self.forge.labels().mappings.resolve(&request.incident);
        let labels = self.labels(call, request.dry_run, wanted.labels, &mut warnings)?;
        let title = text::plain_without_references(&call.title()?, dialect.title_signs);
        let description = &request.incident.description;
        let title = text::title(&title, dialect.title_limit, |_| 1, description, &mut warnings);
        let extra = Extra { missing_fields: &wanted.missing, warnings: &warnings };
        let body = call.body(Format::Markdown, &extra)?;
        let body = text::without_references(&body, dialect.body_signs);
        let marker = text::marker(&request.key);
        let body = text::body(body, dialect.body_limit - marker.len() - 1, &mut warnings);
        let body = format!("{body}\n{marker}");
        let mut issue = json!({"title": title, (dialect.body): body, "labels": labels});
        self.forge.add_settings(&mut issue);
        let created = api::create(&self.forge, call, &issue);
        // The reason may be a label that was deleted since the labels were looked up.
        let created = created.inspect_err(|_| self.labels.clear())?;
        let not_set = self.forge.not_set(&labels, &created);
        if !not_set.is_empty() {
            self.labels.clear();
        }
        warnings.extend(
            not_set
                .into_iter()
                .map(|what| format!("{what}: {} did not set it; {}", dialect.name, dialect.rights)),
        );
        Ok(Ticket { missing_fields: wanted.missing, warnings, ..F::ticket(&created) })
    }

    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        // A ticket is never older than its incident.
        let since = request.since(CLOCKS).map(as_forges_write);
        let marker = text::marker(&request.key);
        let found = api::with_marker(&self.forge, call, &marker, since.as_deref())?;
        Ok(found.as_ref().map(F::ticket))
    }

    fn update(
        &mut self,
        call: &Call,
        request: &UpdateRequest<Incident>,
    ) -> Result<Option<Updated>> {
        life::update(&self.forge, call, request)
    }

    fn state(&mut self, call: &Call, request: &StateRequest) -> Result<States> {
        states::state(&self.forge, call, request)
    }

    fn receive(&mut self, _: &Call, webhook: &Webhook) -> Result<Received> {
        webhooks::receive(&self.forge, webhook)
    }

    fn changes(&mut self, call: &Call, request: &ChangesRequest) -> Result<Changed> {
        changes::changes(&self.forge, call, request)
    }

    fn find_many(&mut self, call: &Call, request: &FindMany) -> Result<FoundMany> {
        let Plugin { forge, listing, .. } = self;
        listing.find_many(call, request, |since, place| {
            let since = since.and_then(|time| utc_before(time, CLOCKS)).map(as_forges_write);
            // A place that isn't one of ours is the list's beginning.
            let place: Place = serde_json::from_str(place).unwrap_or_default();
            let page = issues::page(forge, call, since.as_deref(), &place, 0)?;
            let next = match page.next {
                issues::Next::End => Next::End,
                issues::Next::Anew => Next::Anew,
                issues::Next::Place(place) => Next::Place(json!(place).to_string()),
            };
            let tickets = page.issues.iter().map(listed::<F>).collect();
            Ok(Page { tickets, bytes: page.bytes, next })
        })
    }
}

/// An issue, and the keys whose markers it has.
fn listed<F: Forge>(issue: &F::Issue) -> Listed {
    let Ticket { url, id, .. } = F::ticket(issue);
    let marked = F::body(issue).into_iter().flat_map(text::marked);
    Listed { fingerprints: marked.map(str::to_owned).collect(), ticket: TicketName { url, id } }
}

/// A time in UTC with a Z, since not every forge takes an offset.
fn as_forges_write(time: String) -> String {
    time.replace("+00:00", "Z")
}

impl<F: Forge> Plugin<F> {
    /// The labels to send: those of `wanted` that the project has, in the project's spelling, and
    /// those that can be made if the settings say so. Each of the others becomes a warning.
    fn labels(
        &mut self,
        call: &Call,
        dry_run: bool,
        wanted: Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let forge = &self.forge;
        let known = match self.labels.get(|| api::labels(forge, call)) {
            Ok(known) => known,
            // In a dry run the request is shown and not sent, so nothing is known of the labels.
            Err(_) if dry_run => return Ok(wanted),
            Err(error) => return Err(error),
        };
        let (mut labels, absent) = part_labels(wanted, known);
        for label in absent {
            if !forge.labels().create_missing_labels {
                warnings.push(no_such_label(&label));
                continue;
            }
            match forge.make_label(call, &label, known) {
                Ok(()) => labels.push(label),
                Err(warning) => warnings.push(warning),
            }
        }
        Ok(labels)
    }
}
