//! A ticket as RT is asked to store it, and as it stored it: RT answers 201 and leaves things out
//! without a word.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Value, json};
use ticket_plugin_api::{Incident, fingerprint, utc};

use crate::client::{CustomField, Link};

/// RT cuts a subject off after so many bytes, even in the middle of a character.
pub(crate) const SUBJECT: usize = 200;
/// RT cuts a link off after so many bytes.
const LINK: usize = 240;

/// How the markers of all keys begin.
const MARKER: &str = "urn:ticket-host:sha256:";

/// Custom fields by their names, with their values.
pub(crate) type CustomFields = BTreeMap<String, Vec<String>>;

/// The link that only the ticket with this key has. RT's search finds a new link immediately and
/// exactly, and the link doesn't bother people who read the ticket.
pub(crate) fn marker(key: &str) -> String {
    format!("{MARKER}{}", fingerprint(key))
}

/// The values of a custom field as RT takes them: RT 5.0 stores a time as midnight unless its offset is written as +00:00.
pub(crate) fn as_rt_takes(values: Vec<String>) -> Vec<String> {
    values.into_iter().map(|value| utc(&value).unwrap_or(value)).collect()
}

/// Custom fields as a request has them.
pub(crate) fn fields_json(fields: &CustomFields) -> Value {
    let fields = fields.iter().map(|(name, values)| match &values[..] {
        [one] => (name.clone(), json!(one)),
        several => (name.clone(), json!(several)),
    });
    Value::Object(fields.collect())
}

/// What a ticket is asked to have, beside its body.
pub(crate) struct Asked {
    pub(crate) queue: String,
    pub(crate) subject: String,
    pub(crate) links: Vec<String>,
    pub(crate) requestors: Vec<String>,
    pub(crate) custom_fields: CustomFields,
}

impl Asked {
    /// The body of RT's request.
    pub(crate) fn json(&self, html: &str) -> Value {
        json!({
            "Queue": self.queue,
            "Subject": self.subject,
            "Content": html,
            "ContentType": "text/html",
            "RefersTo": self.links,
            "Requestor": self.requestors,
            "CustomFields": fields_json(&self.custom_fields),
        })
    }

    /// What RT may leave out. What it stored once, it stores the next time as well.
    pub(crate) fn doubtful(&self) -> Vec<String> {
        let fields = self.custom_fields.iter().map(|(name, values)| {
            let alike: Vec<&str> =
                values.iter().map(|v| if utc(v).is_some() { "a time" } else { v }).collect();
            format!("{name}: {alike:?}")
        });
        fields.chain([format!("{:?}", self.requestors), "links".to_owned()]).collect()
    }
}

/// The links of an incident and its marker. RT would drop one that is not absolute.
pub(crate) fn links(incident: &Incident, key: &str, warnings: &mut Vec<String>) -> Vec<String> {
    let mut links: Vec<String> = Vec::new();
    for url in [&incident.details_url, &incident.argus_url] {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("http" | "https")) || links.contains(url) {
            continue;
        }
        if url.len() > LINK {
            warnings.push(format!("a link is longer than RT's {LINK} bytes, and not set: {url}"));
        } else {
            links.push(url.clone());
        }
    }
    links.push(marker(key));
    links
}

/// A ticket as it is in RT.
#[derive(Deserialize)]
pub(crate) struct Stored {
    #[serde(rename = "Subject", default)]
    subject: String,
    #[serde(rename = "Requestor", default)]
    requestors: Vec<Value>,
    #[serde(rename = "CustomFields", default)]
    custom_fields: Vec<CustomField>,
    #[serde(rename = "_hyperlinks", default)]
    links: Vec<Link>,
}

impl Stored {
    /// What is not as it was asked for, a sentence each.
    pub(crate) fn differences(&self, asked: &Asked) -> Vec<String> {
        let mut out = Vec::new();
        if self.subject != asked.subject {
            out.push(format!("RT changed the subject to {:?}", self.subject));
        }
        for link in &asked.links {
            if !self.refers_to(link) {
                out.push(format!("RT did not store the link {link}"));
            }
        }
        if self.requestors.len() < asked.requestors.len() {
            out.push(format!(
                "RT took {} of the requestors {:?}: are they email addresses or its users?",
                self.requestors.len(),
                asked.requestors
            ));
        }
        out.extend(self.field_differences(&asked.custom_fields));
        out
    }

    /// Which custom fields are not as they were asked for, a sentence each.
    pub(crate) fn field_differences(&self, asked: &CustomFields) -> Vec<String> {
        let mut out = Vec::new();
        for (name, values) in asked {
            let field = self.custom_fields.iter().find(|field| field.is(name));
            let has = field.map(CustomField::texts).unwrap_or_default();
            // RT has them in an order of its own, and may add a default.
            if !values.iter().all(|value| has.iter().any(|stored| means(value, stored))) {
                out.push(format!(
                    "custom field {name}: RT stored {has:?} and not {values:?}; does the queue \
                     have the field, does it take such a value, may this user set it?"
                ));
            }
        }
        out
    }

    pub(crate) fn refers_to(&self, link: &str) -> bool {
        self.links.iter().any(|has| has.refers_to(link))
    }

    /// Whether it is another key's ticket, too. RT gives the links of a ticket that is merged into another one to that.
    pub(crate) fn is_also_anothers(&self, key: &str) -> bool {
        let ours = marker(key);
        let mut references = self.links.iter().filter_map(Link::reference);
        references.any(|link| link.starts_with(MARKER) && link != ours)
    }
}

/// Whether the value that RT stored is the one that was asked for, in RT's own way to write it. A
/// time comes back as `...Z`, or as its date in a field for dates; an IPv6 address with all its zeros;
/// a text without the spaces around it.
fn means(asked: &str, stored: &str) -> bool {
    let (asked, stored) = (asked.trim(), stored.trim());
    let time = utc(asked);
    let address = asked.parse::<IpAddr>();
    asked == stored
        || time.is_some_and(|time| {
            utc(stored).as_ref() == Some(&time) || time.split('T').next() == Some(stored)
        })
        || address.is_ok_and(|address| stored.parse() == Ok(address))
}
