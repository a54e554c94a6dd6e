//! What opens, calls and closes many instances of a plugin: in a worker, or in this process.

use std::time::Duration;

use serde_json::Value;
use ticket_host_worker::exercise::{self, Order, Other, Report};
use ticket_plugin_api::abi::host_side::{Operation, Table};
use ticket_plugin_api::message::Manifest;
use url::{Host as UrlHost, Url};

use super::bench::{KEY, request};
use super::script::{Behaviour, Rule, Scripted, Settings, When};
use super::secret;
use super::{Verdict, crash};
use crate::backend::Templates;
use crate::worker::Worker;
use crate::worker::watch::{self, Size};

/// How long a call that is recorded may take.
const RECORDED: Duration = Duration::from_secs(10);
/// How long a run may take before the plugin is taken to hang. It ends by itself after a minute if the plugin is only slow.
const HANGS: Duration = Duration::from_secs(90);
/// Bytes that a text of the secret must have so that it isn't found by chance where it doesn't belong.
const TELLING: usize = 8;

#[derive(Debug)]
pub(super) struct Exerciser(Place);

#[derive(Debug)]
enum Place {
    Worker(Box<Worker>),
    /// None while it is at work.
    InProcess(Option<Box<exercise::Exerciser>>),
}

impl Exerciser {
    pub(super) fn worker(worker: Worker) -> Exerciser {
        Exerciser(Place::Worker(Box::new(worker)))
    }

    pub(super) fn in_process(table: Table) -> Exerciser {
        Exerciser(Place::InProcess(Some(Box::new(exercise::Exerciser::new(table)))))
    }

    /// Whether each byte counts. In this process others take and give memory, too.
    pub(super) fn counts_exactly(&self) -> bool {
        matches!(self.0, Place::Worker(_))
    }

    /// How large the process is in which the plugin is. None where the platform doesn't tell.
    pub(super) fn size(&self) -> Option<Size> {
        watch::size(match &self.0 {
            Place::Worker(worker) => worker.id(),
            Place::InProcess(_) => std::process::id(),
        })
    }

    /// Has check(), create() and find() called once each about this incident, and remembers what the script answers. Gives the request
    /// that they got, and says if one of them did not succeed: then only failures are exercised.
    pub(super) async fn record(
        &mut self,
        rules: &[Rule],
        templates: &Templates,
        settings: &str,
        incident: &Value,
    ) -> Result<(String, Option<String>), Verdict> {
        let request = request(incident, KEY, false).to_string();
        let mut odd = None;
        for (operation, when) in [
            (Operation::Check, When::Empty),
            (Operation::Create, When::Empty),
            (Operation::Find, When::Made),
        ] {
            let peer = Scripted::new(rules, Behaviour::Script(when), KEY, RECORDED);
            let (peer, request) = match operation {
                Operation::Check => (peer, String::new()),
                _ => (peer.about(incident, templates), request.clone()),
            };
            let order = Order::Record { settings: settings.to_owned(), operation, request };
            let report = match &mut self.0 {
                Place::Worker(worker) => ordered(worker, &order, &peer).await?,
                Place::InProcess(exerciser) => {
                    let exerciser = exerciser.as_mut().ok_or_else(stopped)?;
                    exerciser.obey(order, &mut &peer)
                }
            };
            odd = odd.or(report.odd);
        }
        Ok((request, odd))
    }

    /// Exercises the plugin.
    pub(super) async fn run(&mut self, run: exercise::Run) -> Result<Report, Verdict> {
        match &mut self.0 {
            Place::Worker(worker) => {
                let peer = Scripted::new(&[], Behaviour::Slow, KEY, HANGS);
                ordered(worker, &Order::Run(run), &peer).await
            }
            Place::InProcess(place) => {
                let mut exerciser = place.take().ok_or_else(stopped)?;
                let running = tokio::task::spawn_blocking(move || {
                    let report = exerciser.run(&run);
                    (exerciser, report)
                });
                let (exerciser, report) = running.await.map_err(|_| stopped())?;
                *place = Some(exerciser);
                Ok(report)
            }
        }
    }
}

fn stopped() -> Verdict {
    crash("the exercise stopped")
}

async fn ordered(
    worker: &mut Worker,
    order: &Order,
    peer: &Scripted<'_>,
) -> Result<Report, Verdict> {
    let order = serde_json::to_string(order).map_err(|cause| crash(cause.to_string()))?;
    let returned = worker.open(&order, peer).await.map_err(|cause| crash(cause.to_string()))?;
    let reply = returned.reply.ok().flatten().unwrap_or_default();
    serde_json::from_str(&reply).map_err(|_| crash("its process wrote over the exercise's report"))
}

/// Settings that differ from `settings` in the endpoint's host and the secret's texts, as far as the schema lets them.
/// None if nothing can differ.
pub(super) fn other(settings: &Settings, manifest: &Manifest) -> Option<Other> {
    let mut swaps = secret::others(&settings.secret, &manifest.secret_schema, rotated);
    let mut json = settings.with_secrets(&swaps).json();
    swaps.retain(|(text, _)| text.len() >= TELLING);
    if let Some((first, its)) = origins(&settings.endpoint) {
        json["endpoint"] = settings.endpoint.replacen(&first, &its, 1).into();
        swaps.insert(0, (first, its));
    }
    (!swaps.is_empty()).then(|| Other { settings: json.to_string(), swaps })
}

/// The origin of an endpoint on the web, and one with a name below its host's. Neither is a part of the other.
fn origins(endpoint: &str) -> Option<(String, String)> {
    let url = Url::parse(endpoint).ok()?;
    let Some(UrlHost::Domain(host)) = url.host() else { return None };
    let first = url.origin().ascii_serialization();
    let its = first.replacen(host, &format!("other.{host}"), 1);
    (url.scheme().starts_with("http") && endpoint.starts_with(&first)).then_some((first, its))
}

/// A text of the same length and the same kinds of characters, whose beginning, which may say what kind of secret it is, is
/// the same.
fn rotated(text: &str) -> String {
    let count = text.chars().count();
    let next = |c: char| match c {
        'z' => 'a',
        'Z' => 'A',
        '9' => '0',
        'a'..='y' | 'A'..='Y' | '0'..='8' => char::from(c as u8 + 1),
        other => other,
    };
    text.chars().enumerate().map(|(at, c)| if at >= count / 2 { next(c) } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_endpoint_has_a_name_below_the_first_ones() {
        for (endpoint, expected) in [
            ("https://x.org/a", Some(("https://x.org", "https://other.x.org"))),
            ("http://x.org:8080", Some(("http://x.org:8080", "http://other.x.org:8080"))),
            ("https://192.0.2.1/", None),
            ("file:///tmp/", None),
            ("nonsense", None),
        ] {
            let expected = expected.map(|(first, its)| (first.to_owned(), its.to_owned()));
            assert_eq!(origins(endpoint), expected, "{endpoint}");
        }
    }

    #[test]
    fn the_other_secret_has_the_length_and_the_beginning_of_the_first() {
        for (text, expected) in
            [("glpat-abcz", "glpat-bcda"), ("Token99Z", "Toke\u{6f}00A"), ("", ""), ("æø", "æø")]
        {
            assert_eq!(rotated(text), expected, "{text}");
        }
    }
}
