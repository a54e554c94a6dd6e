//! A whole ticket plugin: ACME Desk, whose API takes `POST /tickets` and searches by `external_id`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
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

struct Acme(Endpoint, Secret, Information);

impl TicketPlugin for Acme {
    const ABOUT: About = About { name: "acme", description: "ACME Desk", ..About::new("1.0.0") };
    type Secret = Secret;
    type Information = Information;

    fn open(s: Settings<Secret, Information>) -> Result<Acme> {
        Ok(Acme(Endpoint::new(&s.endpoint), s.secret, s.information))
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        self.ask(call, Request::get(self.0.join("desks").segment(&self.2.desk)))?;
        Ok(vec![Check { name: "desk".into(), ok: true, message: "exists".into(), help: "".into() }])
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let body = call.body(Format::Markdown, &Extra::default())?;
        let ticket = json!({ "desk": self.2.desk, "subject": call.title()?, "text": body, "external_id": request.key });
        Ok(ticket_of(&self.ask(call, Request::post(self.0.join("tickets")).json(&ticket))?))
    }

    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let found = self
            .ask(call, Request::get(self.0.join("tickets").query("external_id", &request.key)))?;
        Ok(found[0].is_object().then(|| ticket_of(&found[0])))
    }
}

impl Acme {
    fn ask(&self, call: &Call, request: Request) -> Result<Value> {
        let answer =
            call.http(request.header("Authorization", &format!("Bearer {}", self.1.token)))?;
        if answer.status < 300 {
            answer.json()
        } else {
            Err(answer.error(format!("ACME answered {}", answer.status)))
        }
    }
}

fn ticket_of(json: &Value) -> Ticket {
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    Ticket { url: text("link"), id: text("number"), ..Ticket::default() }
}

export_plugin!(Acme);
