//! The calls of the functions that a plugin may be without, beside find().

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ticket_plugin_api::abi::host_side::Operation;
use ticket_plugin_api::abi::status;
use ticket_plugin_api::message::Received;

use super::{Asked, Bench, TIME};
use crate::backend::redact::Redactor;
use crate::validate::answer::{Said, said};
use crate::validate::script::{Behaviour, Role, Rule, Scripted, Seen, Webhook};
use crate::validate::{Verdict, fail, skip};

/// The id of the step that update() is asked for.
pub(in crate::validate) const STEP: &str = "7b1c09e4-5d3a-4f60-9c2e-a81f6b0d7e35";

/// One call, and the ticket system that it meets.
#[derive(Debug)]
pub(in crate::validate) struct Ask<'a> {
    pub operation: Operation,
    pub request: Value,
    /// The key whose ticket the system has, where it has one.
    pub key: &'a str,
    /// The keys and numbers of the tickets that its listings have. None: that of `key`, where it has one.
    pub tickets: Option<&'a [(&'a str, u32)]>,
    pub behaviour: Behaviour,
    /// How long the call may take. None: as long as any call.
    pub time: Option<Duration>,
}

impl Bench {
    /// Whether the table has a function. Without it a case can't be tried.
    pub(in crate::validate) fn offers(&self, function: &str) -> Result<(), Verdict> {
        self.manifest()?;
        let offers = |loaded: &super::Loaded| loaded.offers.contains(&function);
        if self.loaded.as_ref().is_ok_and(offers) {
            return Ok(());
        }
        Err(skip(format!("it has no {function}()")))
    }

    /// Calls the open instance, or a new one with the bench's own settings if none is open.
    ///
    /// # Errors
    /// The verdict, if the call breaks a rule that holds for every call: only update() changes tickets, and none creates one.
    pub(in crate::validate) async fn ask<T: DeserializeOwned>(
        &mut self,
        ask: Ask<'_>,
    ) -> Result<(Said<T>, Seen), Verdict> {
        let name = ask.operation.name();
        self.last = super::LastCall::default();
        if self.opened.is_none() {
            self.able().await?;
        }
        let Some(opened) = self.opened.take() else { return Err(skip("it can't be opened")) };
        let rules: Vec<Rule> = self.settings.http.iter().map(|rule| rule.of_step(STEP)).collect();
        let rules = match ask.tickets {
            Some(tickets) => rules.iter().map(|rule| rule.of_tickets(tickets)).collect(),
            None => rules,
        };
        let time = ask.time.unwrap_or(TIME.max(self.pace.unwrap_or_default() * 10));
        let templates = Arc::clone(&self.templates);
        let peer = Scripted::new(&rules, ask.behaviour, ask.key, time);
        let peer = match ask.request.get("incident") {
            Some(incident) => peer.about(incident, &templates),
            None => peer,
        };
        let request = ask.request.to_string();
        let asked = Asked::Call(ask.operation, &request);
        let (returned, seen) = self.exchange(opened, asked, peer).await?;
        self.creates_nothing(name, &seen)?;
        let changes = |role| Role::STEPS.contains(&role);
        let changed = seen.exchanges.iter().find(|exchange| changes(exchange.role));
        if let Some(change) = changed.filter(|_| ask.operation != Operation::Update) {
            let request = &change.request;
            return Err(fail(format!(
                "{name}() sends what changes a ticket: {} {}",
                request.method, request.url
            )));
        }
        Ok((said(name, returned)?, seen))
    }

    /// The webhooks that the settings' file has.
    pub(in crate::validate) fn webhooks(&self) -> Vec<Webhook> {
        self.own.webhook.clone()
    }

    /// Gives a webhook to an instance with the file's own secret, which it is signed with; [`Bench::close`] ends that.
    ///
    /// # Errors
    /// The verdict, if the call breaks a rule that holds for every webhook.
    pub(in crate::validate) async fn receive(
        &mut self,
        head: &Value,
        body: &[u8],
    ) -> Result<Said<Received>, Verdict> {
        self.last = super::LastCall::default();
        if self.opened.is_none() {
            let own = self.own.json();
            if self.open(&own).await?.0.status != status::OK {
                return Err(skip("it can't be opened with the secret of the file"));
            }
        }
        let Some(opened) = self.opened.take() else { return Err(skip("it can't be opened")) };
        let peer = Scripted::new(&[], Behaviour::Denied, super::KEY, TIME);
        let head = head.to_string();
        let (returned, seen) = self.exchange(opened, Asked::Webhook(&head, body), peer).await?;
        let redactor = Redactor::new(&self.own.secret, &self.manifest()?.secret_schema);
        let reply = returned.reply.as_ref().ok().and_then(Option::as_ref);
        let mut texts = reply.into_iter().chain(&seen.logged);
        if texts.any(|text| redactor.strike(text) != *text) {
            return Err(fail("receive() has the secret in its reply or log"));
        }
        let said: Said<Received> = said("receive", returned)?;
        if let Said::Reply(received) = &said {
            received.is_sound().map_err(|why| fail(format!("receive(): its reply {why}")))?;
        }
        Ok(said)
    }

    /// Closes the instance that is open, so that the next call opens one with the bench's own settings.
    pub(in crate::validate) fn close(&mut self) {
        self.opened = None;
    }
}
