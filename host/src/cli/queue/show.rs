//! One ticket with all its tries and all that was done to it, a line each: `queue show` and `ticket show`.

use serde_json::json;
use ticket_plugin_api::TicketState;

use super::list::next_try;
use crate::cli::output::{print, print_json};
use crate::config::Config;
use crate::error::Result;
use crate::machine::StepState;
use crate::sent::{Requests, Sent};
use crate::serve::WholeJob;
use crate::store::{Attempt, Failure, Job, Life, State, Store, StoreError};
use crate::terminal::line;

/// Prints the ticket of that number.
///
/// # Errors
/// There is none, or the store can't be read.
pub(in crate::cli) async fn run(
    store: &dyn Store,
    config: &Config,
    id: i64,
    as_json: bool,
) -> Result<()> {
    let job = store.get(id).await?.ok_or(StoreError::NoSuch(id))?;
    let (attempts, life) = (store.attempts(id).await?, store.life(id).await?);
    match as_json {
        true => print_json(&json!(WholeJob::new(job, attempts, life))),
        false => print(&text(&job, &attempts, &life, config)),
    }
}

/// The ticket as a person reads it. What there is nothing to say of has no line.
fn text(job: &Job, attempts: &[Attempt], life: &Life, config: &Config) -> String {
    let mut out = format!("ticket {}: {}\n", job.id, job.state.name());
    let mut say = |name, value: &str| out.push_str(&row(name, value));
    say("backend", &job.backend);
    say("key", &job.key);
    say("level", &job.level.to_string());
    say("accepted", &job.accepted_at.second().rfc3339());
    say("changed", &job.changed_at.second().rfc3339());
    say("next try", &next_try(job, config).unwrap_or_default());
    if let Some(ticket) = &job.ticket {
        say("ticket", &ticket.url);
        say("lacks", &ticket.missing_fields.join(", "));
        ticket.warnings.iter().for_each(|warning| say("warning", warning));
    }
    say("status", life.status.map(TicketState::name).unwrap_or_default());
    let pasted = "a person gave it to its incident (on_ticket_pasted says what is done to it)";
    say("pasted", if life.pasted { pasted } else { "" });
    say("former", &life.former.map(|id| format!("ticket {id}")).unwrap_or_default());
    for incident in &life.incidents {
        let ended = if incident.now.open { "" } else { ", ended" };
        let level = incident.now.level.map(|level| format!(", level {level}"));
        let said = format!("{}{}{ended}", incident.now.description, level.unwrap_or_default());
        say("incident", &said);
    }
    if let Some(Failure { message, help, .. }) = &job.failure {
        say("error", message);
        say("help", help.as_deref().unwrap_or_default());
    }
    say("tries", &job.attempts.to_string());
    out.push_str(&tries(attempts, |state| state.name()));
    for step in &life.updates {
        let state = StepState::from(step.state).name();
        let when = step.accepted_at.second().rfc3339();
        out.push_str(&format!("{} {}: {state}\n", step.update.action.name(), step.id));
        let mut say = |name, value: &str| out.push_str(&row(name, value));
        say("accepted", &when);
        say("by", if step.update.said.is_some() { "a person" } else { "" });
        for (name, change) in &step.update.diff {
            say(name, &format!("{} -> {}", change.from, change.to));
        }
        step.warnings.iter().for_each(|warning| say("warning", warning));
        if let Some(help) = step.failure.as_ref().and_then(|failure| failure.help.as_deref()) {
            say("help", help);
        }
        out.push_str(&tries(&step.attempts, |state| StepState::from(state).name()));
    }
    out
}

/// The line of a fact, if there is something to say of it.
fn row(name: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!("  {name:8}  {}\n", line(value)) }
}

fn tries(attempts: &[Attempt], name: impl Fn(State) -> &'static str) -> String {
    let mut out = String::new();
    for Attempt { number, started_at, outcome, failure, requests, .. } in attempts {
        let why = failure.as_ref().map(|failure| format!(": {}", line(&failure.message)));
        let (started, why) = (started_at.second().rfc3339(), why.unwrap_or_default());
        out.push_str(&format!("  {number}  {started}  {}{why}\n", name(*outcome)));
        let Some(Requests { kept, left_out }) = requests else { continue };
        for (nth, Sent { request, came, took_ms }) in kept.iter().enumerate() {
            if nth == kept.len() / 2 && *left_out > 0 {
                out.push_str(&format!("     and {left_out} more\n"));
            }
            out.push_str(&format!("     {} -> {} ({took_ms} ms)\n", line(request), line(came)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::store::Timestamp;

    #[test]
    fn each_fact_and_each_try_has_a_line_and_text_from_outside_begins_none() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let failure = Some(Failure::new(Kind::Creation, "no\n  2  forged", Some("mend it")));
        let job = Job {
            id: 17,
            backend: "noc-rt".to_owned(),
            key: "nav\n#1".to_owned(),
            state: State::Failed,
            level: 3,
            accepted_at: at,
            changed_at: at,
            due_at: None,
            expires_at: Timestamp::END,
            attempts: 1,
            ticket: None,
            made: false,
            failure: failure.clone(),
        };
        let outcome = State::Failed;
        let tried =
            Attempt { number: 1, started_at: at, ended_at: at, outcome, failure, requests: None };
        assert_eq!(
            text(&job, &[tried], &Life::default(), &Config::default()),
            "ticket 17: failed\n  backend   noc-rt\n  key       nav\\n#1\n  level     3\n  \
             accepted  2023-11-14T22:13:20Z\n  changed   2023-11-14T22:13:20Z\n  \
             error     no\\n  2  forged\n  help      mend it\n  tries     1\n  \
             1  2023-11-14T22:13:20Z  failed: no\\n  2  forged\n"
        );
    }
}
