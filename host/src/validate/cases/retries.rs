//! What create() says of trying again, and that it doesn't try again by itself.

use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::{Error as PluginError, Retry};

use super::answered;
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, Seen, When};
use crate::validate::{Done, Verdict, fail, warn};

cases! {
    "create-once" create_once "create() sends what makes the ticket once: the host tries again, when it is sure that there is none";
    "retry" retry "says \"later\" where a later try can help, and \"never\" where it can't";
    "retry-after" retry_after "passes on how long the ticket system asks to be left alone";
}

/// How long the ticket system asks to be left alone.
const SECONDS: u64 = 17;

/// Ways in which a request that creates can end, with words for each.
fn endings() -> Vec<(String, HttpAnswer)> {
    let why = || "the validator".to_owned();
    let mut endings = vec![
        ("is UNKNOWN".to_owned(), HttpAnswer::Unknown(why())),
        ("is NOT_SENT".to_owned(), HttpAnswer::NotSent(why())),
    ];
    for code in [503, 429, 500, 201, 502, 504] {
        endings.push((format!("is answered {code}"), refused(code)));
    }
    endings
}

/// An answer of this status that asks to be left alone.
pub(super) fn refused(code: u16) -> HttpAnswer {
    let headers = [("content-type", "application/json"), ("retry-after", &SECONDS.to_string())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = br#"{"message": "the validator"}"#.to_vec();
    HttpAnswer::Answered { status: code, headers: headers.into(), body }
}

async fn create(bench: &mut Bench, behaviour: Behaviour) -> Result<(Answer, Seen), Verdict> {
    bench.call(Operation::Create, &incident(), KEY, behaviour).await
}

async fn create_once(bench: &mut Bench) -> Done {
    // Without a script a login by POST can't be told from a creation.
    bench.scripted()?;
    let (_, seen) = create(bench, Behaviour::Script(When::Empty)).await?;
    sent_once(&seen).map_err(|verdict| verdict.when("in a working ticket system"))?;
    for (when, answer) in endings() {
        let (_, seen) = create(bench, Behaviour::Creations(answer)).await?;
        sent_once(&seen).map_err(|verdict| verdict.when(&format!("when a request {when}")))?;
    }
    Ok(())
}

/// Whether nothing that creates was sent after a request that may have created.
fn sent_once(seen: &Seen) -> Done {
    let answers: Vec<&HttpAnswer> = seen.creations().map(|creation| &creation.answer).collect();
    let earlier = answers.split_last().map_or(&[][..], |(_, earlier)| earlier);
    let nothing_done = |answer: &&HttpAnswer| {
        matches!(answer, HttpAnswer::NotSent(_) | HttpAnswer::Denied(_) | HttpAnswer::DryRun)
    };
    if earlier.iter().all(nothing_done) {
        return Ok(());
    }
    Err(fail(format!(
        "create() sends {} requests that create: there may be as many tickets",
        answers.len()
    )))
}

async fn retry(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let why = || "the validator".to_owned();
    let mut warning = None;
    let not_sent = ("is NOT_SENT".to_owned(), HttpAnswer::NotSent(why()));
    let statuses = [429, 400, 401, 403, 404, 422, 405, 413, 415].map(|code| {
        let answer = match code {
            429 => refused(code),
            // Some systems have a 403 for a rate limit, which they tell by Retry-After.
            _ => answered(code, r#"{"message": "the validator"}"#),
        };
        (format!("is answered {code}"), answer)
    });
    for (when, answer) in std::iter::once(not_sent).chain(statuses) {
        let (reply, seen) = create(bench, Behaviour::Creations(answer)).await?;
        let (Answer::Error(error), Some(last)) = (&reply, seen.creations().next_back()) else {
            continue;
        };
        let when = format!("when the request that creates {when}");
        match judge(&last.answer, error.retry) {
            Judged::Right => {}
            Judged::Vague(what) => warning = warning.or(Some(format!("{when}: {what}"))),
            Judged::Wrong(what) => return Err(fail(format!("{when}: {what}; it gives {reply}"))),
        }
    }
    warning.map_or(Ok(()), |what| Err(warn(what)))
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Right,
    Vague(&'static str),
    Wrong(&'static str),
}

/// Judges what is said of trying again after a request that creates had this answer.
pub(super) fn judge(answer: &HttpAnswer, retry: Retry) -> Judged {
    match (answer, retry) {
        (HttpAnswer::NotSent(_), Retry::Unknown | Retry::Never) => {
            Judged::Wrong("nothing was created, and trying again can help: retry must be \"later\"")
        }
        (HttpAnswer::Answered { status: 429, .. }, Retry::Unknown | Retry::Never) => {
            Judged::Wrong("the ticket system asks for a later try: retry must be \"later\"")
        }
        (HttpAnswer::Answered { status: 400..=428, .. }, Retry::Later) => {
            Judged::Wrong("the same request is refused again: retry must be \"never\"")
        }
        (HttpAnswer::Answered { status: 400..=428, .. }, Retry::Unknown) => Judged::Vague(
            "the ticket system refused, so there is no ticket: retry should be \"never\"",
        ),
        _ => Judged::Right,
    }
}

async fn retry_after(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let (reply, seen) = create(bench, Behaviour::Creations(refused(429))).await?;
    let Answer::Error(PluginError { retry_after, .. }) = &reply else { return Ok(()) };
    if !seen.could_create() || retry_after.is_some_and(|after| after.as_secs() == SECONDS) {
        return Ok(());
    }
    let said = retry_after.map_or("none".to_owned(), |after| after.as_millis().to_string());
    Err(warn(format!(
        "the answer to create() was 429 with \"Retry-After: {SECONDS}\", and retry_after_ms is {said}"
    )))
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::abi::host_side::HttpRequest;

    use super::*;
    use crate::validate::script::{Exchange, Role};

    #[test]
    fn what_is_said_of_trying_again_fits_the_answer() {
        use Retry::{Later, Never, Unknown};
        let not_sent = HttpAnswer::NotSent(String::new());
        let answer = |code| answered(code, "");
        for (answer, retry, word) in [
            (not_sent.clone(), Later, "right"),
            (not_sent.clone(), Unknown, "wrong"),
            (not_sent, Never, "wrong"),
            (answer(429), Later, "right"),
            (answer(429), Never, "wrong"),
            (answer(429), Unknown, "wrong"),
            (answer(400), Never, "right"),
            (answer(400), Later, "wrong"),
            (answer(422), Later, "wrong"),
            (answer(404), Unknown, "vague"),
            (answer(503), Later, "right"),
            (answer(500), Unknown, "right"),
        ] {
            let judged = match judge(&answer, retry) {
                Judged::Right => "right",
                Judged::Vague(_) => "vague",
                Judged::Wrong(_) => "wrong",
            };
            assert_eq!(judged, word, "{answer:?} {retry:?}");
        }
    }

    #[test]
    fn a_second_request_that_creates_follows_only_one_that_certainly_created_nothing() {
        let no = || HttpAnswer::NotSent(String::new());
        let lost = || HttpAnswer::Unknown(String::new());
        for (exchanges, right) in [
            (vec![], true),
            (vec![(Role::Create, lost())], true),
            (vec![(Role::Create, lost()), (Role::Search, answered(200, ""))], true),
            (vec![(Role::Create, no()), (Role::Create, no()), (Role::Create, lost())], true),
            (vec![(Role::Create, lost()), (Role::Create, no())], false),
            (vec![(Role::Create, answered(503, "")), (Role::Create, answered(201, ""))], false),
            (vec![(Role::Login, answered(200, "")), (Role::Create, answered(201, ""))], true),
        ] {
            let shown = format!("{exchanges:?}");
            let exchanges = exchanges.into_iter().map(|(role, answer)| {
                let request = HttpRequest {
                    method: "POST".to_owned(),
                    url: String::new(),
                    headers: Vec::new(),
                    body: Vec::new(),
                    changes_nothing: false,
                };
                Exchange { request, role, answer }
            });
            let seen = Seen { exchanges: exchanges.collect(), ..Seen::default() };
            assert_eq!(sent_once(&seen).is_ok(), right, "{shown}");
        }
    }
}
