//! Panics in the function that `information.in` names; works otherwise.

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_api::{
    About, Call, Check, Incident, Result, Settings, Ticket, TicketPlugin, TicketRequest,
    export_plugin,
};

#[derive(Deserialize, JsonSchema)]
struct Secret {}

#[derive(Deserialize, JsonSchema)]
struct Information {
    /// The function that panics
    #[serde(rename = "in")]
    function: String,
}

struct Panics {
    function: String,
}

impl TicketPlugin for Panics {
    const ABOUT: About = About { name: "panics", ..About::new("1.0.0") };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<Panics> {
        let panics = Panics { function: settings.information.function };
        panics.enter("open");
        Ok(panics)
    }

    fn check(&mut self, _: &Call) -> Result<Vec<Check>> {
        self.enter("check");
        Ok(vec![])
    }

    fn create(&mut self, _: &Call, _: &TicketRequest<Incident>) -> Result<Ticket> {
        self.enter("create");
        Ok(Ticket { url: "https://tickets.example.org/1".into(), ..Ticket::default() })
    }

    fn find(&mut self, _: &Call, _: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        self.enter("find");
        Ok(None)
    }
}

impl Panics {
    fn enter(&self, function: &str) {
        assert!(self.function != function, "{function} was told to panic");
    }
}

export_plugin!(Panics);
