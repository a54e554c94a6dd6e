//! `ticket-host queue show`: one ticket with all its tries, a line each.

use super::list::next_try;
use crate::config::Config;
use crate::store::{Attempt, Failure, Job};
use crate::terminal::line;

/// The ticket as a person reads it. What there is nothing to say of has no line.
pub(super) fn text(job: &Job, attempts: &[Attempt], config: &Config) -> String {
    let mut out = format!("ticket {}: {}\n", job.id, job.state.name());
    let mut say = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:8}  {}\n", line(value)));
        }
    };
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
    if let Some(Failure { message, help, .. }) = &job.failure {
        say("error", message);
        say("help", help.as_deref().unwrap_or_default());
    }
    say("tries", &job.attempts.to_string());
    for Attempt { number, started_at, outcome, failure, .. } in attempts {
        let why = failure.as_ref().map(|failure| format!(": {}", line(&failure.message)));
        let (started, why) = (started_at.second().rfc3339(), why.unwrap_or_default());
        out.push_str(&format!("  {number}  {started}  {}{why}\n", outcome.name()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::store::{State, Timestamp};

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
        let tried = Attempt { number: 1, started_at: at, ended_at: at, outcome, failure };
        assert_eq!(
            text(&job, &[tried], &Config::default()),
            "ticket 17: failed\n  backend   noc-rt\n  key       nav\\n#1\n  level     3\n  \
             accepted  2023-11-14T22:13:20Z\n  changed   2023-11-14T22:13:20Z\n  \
             error     no\\n  2  forged\n  help      mend it\n  tries     1\n  \
             1  2023-11-14T22:13:20Z  failed: no\\n  2  forged\n"
        );
    }
}
