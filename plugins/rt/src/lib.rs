//! Tickets in Request Tracker 5, over REST 2.0.
//!
//! Once the queue is known, and RT has been seen to store such values, a ticket takes one request.

mod client;
mod life;
mod settings;
mod states;
#[cfg(test)]
mod tests;
mod ticket;
mod webhooks;

use std::collections::BTreeSet;
use std::time::Duration;

use ticket_plugin_api::{
    About, Action, Cached, Call, Check, Error, Extra, FindMany, Format, Found, FoundMany, Incident,
    Offer, Received, Result, Settings, StateRequest, States, Ticket, TicketName, TicketPlugin,
    TicketRequest, UpdateRequest, Updated, WantedKey, Webhook, export_plugin, text, utc_before,
};

use client::{Client, CustomField, Linked, MOST_LINKS, Seen};
use settings::{Information, Requestors, Secret};
use ticket::{Asked, CustomFields, SUBJECT, Stored, as_rt_takes, links, marker};

/// How far the clocks and time zones of the host, of RT and of RT's user may be apart.
const CLOCKS: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// With less time left, no other search is begun.
const TIME_FOR_A_SEARCH: Duration = Duration::from_secs(5);
/// The most values that are remembered as stored; those that come again and again are few.
const REMEMBERED: usize = 1000;

struct Rt {
    client: Client,
    webhook_secret: Option<String>,
    information: Information,
    known: Cached<Known>,
}

/// What is known of the queue and of what RT stores.
struct Known {
    /// The queue's custom fields; empty if this user can't see any.
    custom_fields: Vec<CustomField>,
    /// The values that RT has stored as it was asked to.
    stored: BTreeSet<String>,
}

impl TicketPlugin for Rt {
    const ABOUT: About = About {
        name: "rt",
        license: "MIT OR Apache-2.0",
        description: "Request Tracker 5 (REST 2.0)",
        aliases: &["argus_ticket_rt.RequestTrackerPlugin"],
        offers: &[Offer::FindMany, Offer::State, Offer::Receive],
        actions: &[Action::Comment, Action::Close, Action::Reopen],
        marks: true,
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<Rt> {
        let Settings { endpoint, secret, information, .. } = settings;
        information.verify()?;
        let client = Client::new(&endpoint, &secret)?;
        let webhook_secret = secret.into_webhook_secret();
        Ok(Rt { client, webhook_secret, information, known: Cached::default() })
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        let mut lines = match self.client.system(call) {
            Ok(rt) => vec![Check::passed("login", format!("RT {} accepts the login", rt.version))],
            Err(error) => return Ok(vec![Check::error("login", &error)]),
        };
        lines.extend(self.check_queue(call));
        lines.push(match self.client.with_link(call, &marker("")) {
            Ok(_) => Check::passed("search", "tickets can be searched by their links"),
            Err(error) => Check::error("search", &error),
        });
        Ok(lines)
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let mut warnings = Vec::new();
        let mapped = self.information.fields.resolve(&request.incident);
        let asked = Asked {
            queue: self.information.queue.text(),
            subject: text::title(
                &call.title()?,
                SUBJECT,
                char::len_utf8,
                &request.incident.description,
                &mut warnings,
            ),
            links: links(&request.incident, &request.key, &mut warnings),
            requestors: self
                .information
                .requestor
                .as_ref()
                .map(Requestors::list)
                .unwrap_or_default(),
            custom_fields: self.custom_fields(call, mapped.fields, &mut warnings)?,
        };
        let extra = Extra { missing_fields: &mapped.missing, warnings: &warnings };
        let body = call.body(Format::Html, &extra)?;
        let created = self.client.create(call, &asked.json(&body));
        // The reason may be that the queue has changed since it was looked up.
        let id = created.inspect_err(|_| self.known.clear())?;
        warnings.extend(self.verify(call, &id, &asked));
        Ok(Ticket { missing_fields: mapped.missing, warnings, ..self.ticket(id) })
    }

    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let id = self.client.with_link(call, &marker(&request.key))?;
        Ok(id.map(|id| self.ticket(id)))
    }

    fn update(
        &mut self,
        call: &Call,
        request: &UpdateRequest<Incident>,
    ) -> Result<Option<Updated>> {
        life::update(self, call, request)
    }

    fn state(&mut self, call: &Call, request: &StateRequest) -> Result<States> {
        states::state(self, call, request)
    }

    fn receive(&mut self, _: &Call, webhook: &Webhook) -> Result<Received> {
        webhooks::receive(self, webhook)
    }

    /// RT's search goes by the links of many keys as exactly as by one's, so the keys are searched for in groups.
    fn find_many(&mut self, call: &Call, request: &FindMany) -> Result<FoundMany> {
        let mut reply = FoundMany::default();
        for (group, keys) in request.keys.chunks(MOST_LINKS).enumerate() {
            let searched = match call.remaining() < TIME_FOR_A_SEARCH && group > 0 {
                true => Err(None),
                false => self.find_group(call, keys, &mut reply).map_err(Some),
            };
            match searched {
                Ok(()) => {}
                Err(Some(error)) if group == 0 => return Err(error),
                Err(error) => {
                    reply.retry_after_ms = error.and_then(|error| error.retry_after_ms());
                    // Who goes on asks for the keys that are left: only that it is another cursor matters.
                    let before: u64 =
                        request.cursor.as_ref().map_or(Ok(0), |c| c.parse()).unwrap_or(0);
                    reply.cursor = Some((before + 1).to_string());
                    break;
                }
            }
        }
        Ok(reply)
    }
}

export_plugin!(Rt);

impl Rt {
    /// Searches for the tickets of at most [`MOST_LINKS`] keys, and again for those that a first page had no room for.
    fn find_group(&self, call: &Call, keys: &[WantedKey], reply: &mut FoundMany) -> Result<()> {
        // One without a time comes first, and means that tickets of every age count.
        let oldest = keys.first().and_then(|key| key.not_before.as_deref());
        let since = oldest.and_then(|time| utc_before(time, CLOCKS));
        let mut left: Vec<(String, &str)> =
            keys.iter().map(|key| (marker(&key.key), key.key.as_str())).collect();
        while !left.is_empty() {
            let links: Vec<&str> = left.iter().map(|(link, _)| link.as_str()).collect();
            let (tickets, are_all) = self.client.with_links(call, &links, since.as_deref())?;
            let before = left.len();
            // A ticket into which another one was merged has the links of both, and is told for one key.
            for Linked { id, links } in tickets {
                // RT's search ignores upper and lower case, so the links themselves are compared.
                let ours = |(link, _): &(String, &str)| links.iter().any(|has| has.refers_to(link));
                let mut keys = left.extract_if(.., |wanted| ours(wanted)).map(|(_, key)| key);
                let ticket = self.ticket(id);
                if let Some(key) = keys.next() {
                    let ticket = TicketName { url: ticket.url, id: ticket.id };
                    reply.found.push(Found { key: key.to_owned(), ticket });
                }
                // Of the other keys it wasn't found out.
                keys.for_each(drop);
            }
            if are_all {
                reply.none.extend(left.drain(..).map(|(_, key)| key.to_owned()));
            } else if left.len() == before {
                break;
            }
        }
        Ok(())
    }

    fn ticket(&self, id: String) -> Ticket {
        Ticket { url: self.client.page(&id), id, ..Ticket::default() }
    }

    /// The mapped fields that the queue has, with their values as RT takes them. Each of the others
    /// becomes a warning.
    fn custom_fields(
        &mut self,
        call: &Call,
        mapped: CustomFields,
        warnings: &mut Vec<String>,
    ) -> Result<CustomFields> {
        let queue = self.information.queue.text();
        let known = self.known(call)?.map_or(&[][..], |known| &known.custom_fields);
        let mut fields = CustomFields::new();
        for (name, values) in mapped {
            if known.is_empty() || known.iter().any(|field| field.is(&name)) {
                fields.insert(name, as_rt_takes(values));
            } else {
                warnings.push(format!(
                    "custom field {name}: queue {queue} has none of that name that this user may \
                     see, so it is not set"
                ));
            }
        }
        Ok(fields)
    }

    /// What is known of the queue, looked up if need be; None in a dry run, which looks nothing up.
    fn known(&mut self, call: &Call) -> Result<Option<&Known>> {
        let (client, name) = (&self.client, self.information.queue.text());
        let looked_up = self.known.get(|| {
            let custom_fields = match client.queue(call, &name).map_err(Some)? {
                Seen::Queue(queue) if queue.is_disabled() => return Err(Some(disabled(&name))),
                Seen::Queue(queue) => queue.custom_fields,
                // Tickets may be created where the queue can't be seen.
                Seen::Forbidden => Vec::new(),
                Seen::NotAsked => return Err(None),
            };
            Ok(Known { custom_fields, stored: BTreeSet::new() })
        });
        match looked_up {
            Ok(known) => Ok(Some(known)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    /// A warning for each thing that RT didn't store as it was asked to.
    fn verify(&mut self, call: &Call, id: &str, asked: &Asked) -> Vec<String> {
        let Some(known) = self.known.last() else { return Vec::new() };
        let doubtful = asked.doubtful();
        if doubtful.iter().all(|what| known.stored.contains(what)) {
            return Vec::new();
        }
        match self.client.ticket::<Stored>(call, id) {
            Ok(Some(stored)) => {
                let differences = stored.differences(asked);
                if differences.is_empty() && known.stored.len() < REMEMBERED {
                    known.stored.extend(doubtful);
                }
                differences
            }
            Ok(None) => vec![
                "this user may not see the ticket that it created (right ShowTicket): what RT left \
                 out of it can't be told, and it won't be found again, so that a second create \
                 makes a second ticket"
                    .to_owned(),
            ],
            Err(error) => vec![format!("what RT left out of the ticket can't be told: {error}")],
        }
    }

    fn check_queue(&self, call: &Call) -> Vec<Check> {
        let name = self.information.queue.text();
        let queue = match self.client.queue(call, &name) {
            Ok(Seen::Queue(queue)) => queue,
            Ok(Seen::Forbidden | Seen::NotAsked) => {
                return vec![Check::failed(
                    "queue",
                    format!("{name} doesn't exist, or this user may not see it"),
                    "check its name and give the user the right SeeQueue; tickets may be \
                     created without it, but that can't be checked beforehand",
                )];
            }
            Err(error) => return vec![Check::error("queue", &error)],
        };
        if queue.is_disabled() {
            return vec![Check::error("queue", &disabled(&name))];
        }
        let mut lines = vec![if queue.may_create() {
            Check::passed("queue", format!("tickets can be created in {name}"))
        } else {
            Check::failed(
                "queue",
                format!("this user may not create tickets in {name}"),
                "give it the right CreateTicket there",
            )
        }];
        for field in self.information.fields.names() {
            let line = format!("custom field {field}");
            lines.push(if queue.custom_fields.iter().any(|known| known.is(field)) {
                Check::passed(&line, format!("{name} has it"))
            } else {
                Check::failed(
                    &line,
                    format!("{name} has none of that name that this user may see"),
                    "apply the field to the queue, and give the user SeeCustomField and \
                     ModifyCustomField",
                )
            });
        }
        lines
    }
}

fn disabled(queue: &str) -> Error {
    Error::settings(format!("information: RT's queue {queue:?} is disabled"))
}
