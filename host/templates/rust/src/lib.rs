// SPDX-License-Identifier: MIT-0
//! {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use ticket_plugin_api::*;

/// Who asks to be left alone for longer is asked again after a day.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How much of an answer an error shows.
const SHOWN_CHARACTERS: usize = 200;

#[derive(Deserialize, JsonSchema)]
struct Secret {
    /// An API token that may create and list tickets
    #[schemars(regex(pattern = "^[!-~]+$"))]
    token: String,
}

#[derive(Deserialize, JsonSchema)]
struct Information {
    /// The project that tickets go to
    #[schemars(length(min = 1))]
    project: String,
}

struct Backend {
    endpoint: Endpoint,
    token: String,
    project: String,
}

/// A JSON object. A struct would do, but serde takes a list for one too.
type Object = Map<String, Value>;

/// A ticket as the API shows it.
#[derive(Deserialize)]
struct ApiTicket {
    id: String,
    url: String,
    /// What the ticket was created with.
    key: Option<String>,
}

impl TicketPlugin for Backend {
    const ABOUT: About = About {
        name: "{{name}}",
        description: "Tickets in {{name}}",
        license: env!("CARGO_PKG_LICENSE"),
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<Backend> {
        let (token, project) = (settings.secret.token, settings.information.project);
        if token.is_empty() || project.is_empty() {
            return Err(Error::settings(
                "secret.token or information.project is empty",
            ));
        }
        Ok(Backend {
            endpoint: Endpoint::new(&settings.endpoint),
            token,
            project,
        })
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        let project = self.endpoint.join("projects").segment(&self.project);
        let answer = self.send(call, Request::get(project))?;
        let help = match answer.status {
            200 if answer.json::<Object>().is_ok() => {
                let message = "reachable, authenticated, and the project exists";
                return Ok(vec![Check::passed("project", message)]);
            }
            200 => "this is no project: is the endpoint the URL of the API?",
            401 => "correct secret.token",
            403 => "give the token's user access to the project",
            404 => "correct information.project, or the endpoint",
            _ => return Err(self.error(&answer)),
        };
        Ok(vec![Check::failed("project", self.says(&answer), help)])
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let ticket = json!({
            "project": self.project,
            "title": call.title()?,
            "body": call.body(Format::Markdown, &Extra::default())?,
            "key": request.key,
        });
        let request = Request::post(self.endpoint.join("tickets")).json(&ticket);
        let answer = self.send(call, request)?;
        let made = match answer.status {
            200 | 201 => self.read(&answer).and_then(ticket_of),
            _ => Err(self.error(&answer)),
        };
        made.map(|(_, ticket)| ticket)
            .map_err(|error| match error.kind {
                // An answer that nobody documents: the ticket may exist.
                ErrorKind::Plugin => error.retry(Retry::Unknown),
                _ => error,
            })
    }

    /// The API's search may find more than the key, so each ticket's key is compared.
    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let search = self.endpoint.join("tickets").query("key", &request.key);
        let answer = self.send(call, Request::get(search))?;
        let found: Vec<Object> = match answer.status {
            200 => self.read(&answer)?,
            _ => return Err(self.error(&answer)),
        };
        for object in found {
            let (key, ticket) = ticket_of(object)?;
            match key {
                Some(key) if key == request.key => return Ok(Some(ticket)),
                Some(_) => {}
                None => return Err(Error::plugin("the search found a ticket without its key")),
            }
        }
        Ok(None)
    }
}

impl Backend {
    fn send(&self, call: &Call, request: Request) -> Result<Response> {
        Ok(call.http(request.header("Authorization", &format!("Bearer {}", self.token)))?)
    }

    /// The answer's JSON.
    fn read<T: DeserializeOwned>(&self, answer: &Response) -> Result<T> {
        answer.json().map_err(|error| Error {
            message: self.hide(error.message),
            ..error
        })
    }

    /// The error that an answer stands for, its kind by the status.
    fn error(&self, answer: &Response) -> Error {
        let error = answer.error(self.says(answer));
        Error {
            retry_after: error.retry_after.map(|wait| wait.min(LONGEST_WAIT)),
            ..error
        }
    }

    fn says(&self, answer: &Response) -> String {
        let said = self.hide(String::from_utf8_lossy(&answer.body).into_owned());
        let begin: String = said.chars().take(SHOWN_CHARACTERS).collect();
        format!("the ticket system answered {}: {begin}", answer.status)
    }

    /// `text`, unless it has the token in it.
    fn hide(&self, text: String) -> String {
        if text.contains(&self.token) {
            "(an answer with the token in it)".into()
        } else {
            text
        }
    }
}

/// The key and the ticket that the API's `object` stands for.
fn ticket_of(object: Object) -> Result<(Option<String>, Ticket)> {
    match serde_json::from_value(Value::Object(object)) {
        Ok(ApiTicket { id, url, key }) if !url.is_empty() => Ok((
            key,
            Ticket {
                id,
                url,
                ..Ticket::default()
            },
        )),
        _ => Err(Error::plugin(
            "the ticket system answered with a ticket without id or url",
        )),
    }
}

export_plugin!(Backend);

#[cfg(test)]
mod tests;
