//! A whole ticket plugin: ACME Desk, with `POST /tickets` and a search by `external_id`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use ticket_plugin_api::*;

#[derive(Deserialize, JsonSchema)]
struct Secret {
    /// An API token that may create and list tickets
    token: String,
}

#[derive(Deserialize, JsonSchema)]
struct Information {
    /// The desk that tickets go to
    desk: String,
}

struct Acme(Settings<Secret, Information>);

#[derive(Deserialize)]
struct AcmeTicket {
    number: String,
    link: String,
    external_id: String,
}

impl TicketPlugin for Acme {
    const ABOUT: About = About { name: "acme", description: "ACME Desk", ..About::new("1.0.0") };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<Acme> {
        Ok(Acme(settings))
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        let desk = self.url("desks").segment(&self.0.information.desk);
        let _: serde_json::Value = self.ask(call, Request::get(desk))?;
        Ok(vec![Check::passed("desk", "reachable, authenticated, and the desk exists")])
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let (title, body) = (call.title()?, call.body(Format::Markdown, &Extra::default())?);
        let desk = &self.0.information.desk;
        let ticket =
            json!({"desk": desk, "subject": title, "text": body, "external_id": request.key});
        let made: AcmeTicket = self.ask(call, Request::post(self.url("tickets")).json(&ticket))?;
        Ok(Ticket { url: made.link, id: made.number, ..Ticket::default() })
    }

    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let mut search = self.url("tickets").query("external_id", &request.key);
        // Without a time nobody knows how old the ticket may be. A day is room for clocks that differ.
        if let Some(time) = request.since(Duration::from_secs(24 * 60 * 60)) {
            search = search.query("created_since", &time);
        }
        let found: Vec<AcmeTicket> = self.ask(call, Request::get(search))?;
        // A search may give more than was asked for.
        let ours = found.into_iter().find(|ticket| ticket.external_id == request.key);
        Ok(ours.map(|t| Ticket { url: t.link, id: t.number, ..Ticket::default() }))
    }
}

impl Acme {
    fn url(&self, path: &str) -> Url {
        Endpoint::new(&self.0.endpoint).join(path)
    }

    fn ask<T: DeserializeOwned>(&self, call: &Call, request: Request) -> Result<T> {
        let token = format!("Bearer {}", self.0.secret.token);
        let answer = call.http(request.header("Authorization", &token))?;
        match answer.status {
            200..=299 => answer.json(),
            status => Err(answer.error(format!("ACME answered {status}"))),
        }
    }
}

export_plugin!(Acme);
