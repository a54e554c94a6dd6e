//! The incident that all runs are about, and a host for plugins that ask it for nothing.

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use ticket_host_tests::incident;
use ticket_plugin_api::abi::host_side::{Host, HttpAnswer, HttpRequest};

/// The incident that all runs are about. Its file is read only once, since this is called during measurements.
pub fn sample() -> Value {
    static SAMPLE: LazyLock<Value> = LazyLock::new(|| {
        serde_json::from_slice(&fs::read(incident("plugin-open-infinity")).unwrap()).unwrap()
    });
    SAMPLE.clone()
}

/// The incident with a number of its own, so that it gets a ticket of its own.
pub fn numbered(number: usize) -> Value {
    let mut incident = sample();
    incident["pk"] = json!(number);
    incident["argus_url"] = json!(format!("https://argus.example.org/incidents/{number}"));
    incident["description"] = json!(format!("incident {number}"));
    incident
}

/// The JSON of an incident with so many bytes.
pub fn padded(bytes: usize) -> Value {
    let mut incident = sample();
    let rest = bytes - incident.to_string().len();
    incident["metadata"] = json!({"padding": "x".repeat(rest.saturating_sub(16))});
    incident
}

/// A host for plugins that ask for nothing.
pub struct Silent;

impl Host for Silent {
    fn http(&mut self, _: HttpRequest) -> HttpAnswer {
        HttpAnswer::DryRun
    }
    fn render(&mut self, _: &str, _: &str, _: &str) -> Result<String, String> {
        Err(String::new())
    }
    fn log(&mut self, _: u32, _: &str) {}
    fn remaining(&self) -> Duration {
        Duration::from_secs(30)
    }
}
