//! What create() says of trying again, and that it doesn't try again by itself.

use serde_json::Value;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::{Error as PluginError, Retry};

use super::answered;
use super::searches::says_none;
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, Exchange, Role, Seen, When};
use crate::validate::{Done, Verdict, fail, skip, warn};

cases! {
    "create-once" create_once "create() sends what makes the ticket once: the host tries again, when it is sure that there is none";
    "retry" retry "says \"later\" where a later try can help, and \"never\" where it can't";
    "retry-after" retry_after "passes on how long the ticket system asks to be left alone, in milliseconds";
    "after-create" after_create "create() tells of a ticket that it made also if what it asks for after that fails, and makes no other";
    "search-first" search_first "create() makes nothing if it searches first and that fails";
}

/// How long the ticket system asks to be left alone.
const SECONDS: u64 = 17;

/// Ways in which a request that creates can end, with words for each.
fn endings() -> Vec<(String, HttpAnswer)> {
    let mut endings: Vec<_> =
        lost().into_iter().map(|answer| ("is UNKNOWN".to_owned(), answer)).collect();
    endings.push(("is NOT_SENT".to_owned(), not_sent()));
    for code in [503, 429, 500, 201, 502, 504] {
        endings.push((format!("is answered {code}"), refused(code)));
    }
    endings
}

/// A lost answer in the words of the host's gateway, of which none tells that nothing was created.
fn lost() -> [HttpAnswer; 3] {
    let broke = "the connection to https://t.example.org broke before the whole answer came:";
    [
        "https://t.example.org did not answer within 30.0 s".to_owned(),
        format!("{broke} connection closed before message completed"),
        format!("{broke} Connection timed out (os error 110)"),
    ]
    .map(HttpAnswer::Unknown)
}

/// A request that was not sent, in the words of the host's gateway.
fn not_sent() -> HttpAnswer {
    let why = "https://t.example.org can't be reached: Connection refused (os error 111)";
    HttpAnswer::NotSent(why.to_owned())
}

/// Ways in which requests fail that create nothing, with words for each.
pub(super) fn failures() -> Vec<(String, HttpAnswer)> {
    let [lost, ..] = lost();
    let mut failures =
        vec![("is NOT_SENT".to_owned(), not_sent()), ("is UNKNOWN".to_owned(), lost)];
    for code in [500, 503, 429, 403, 404] {
        failures.push((format!("is answered {code}"), refused(code)));
    }
    for (what, body) in [("HTML", "<!DOCTYPE html><h1>Log in</h1>"), ("{}", "{}")] {
        failures.push((format!("is answered 200 and {what}"), answered(200, body)));
    }
    failures
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
    if bench.scripted().is_err() {
        return titles_once(bench).await;
    }
    let (_, seen) = create(bench, Behaviour::Script(When::Empty)).await?;
    sent_once(&seen).map_err(|verdict| verdict.when("in a working ticket system"))?;
    for (when, answer) in endings() {
        let (_, seen) = create(bench, Behaviour::Creations(answer)).await?;
        sent_once(&seen).map_err(|verdict| verdict.when(&format!("when a request {when}")))?;
    }
    Ok(())
}

/// The same without a script: a login by POST can't be told from a creation then, but no login has the incident's title.
async fn titles_once(bench: &mut Bench) -> Done {
    let word = "vo7q2zx";
    let mut incident = incident();
    incident["description"] = Value::from(word);
    let mut was_sent = false;
    for (when, answer) in endings() {
        let behaviour = Behaviour::Always(answer);
        let (_, seen) = bench.call(Operation::Create, &incident, KEY, behaviour).await?;
        let has_title = |exchange: &Exchange| {
            let Exchange { request, .. } = exchange;
            request.url.contains(word) || String::from_utf8_lossy(&request.body).contains(word)
        };
        let exchanges = seen.creations().filter(|creation| has_title(creation)).cloned().collect();
        let titled = Seen { exchanges, ..Seen::default() };
        was_sent |= titled.could_create();
        sent_once(&titled).map_err(|verdict| verdict.when(&format!("when a request {when}")))?;
    }
    let lacks = "needs a scripted ticket system: --settings FILE with [[http]]";
    if was_sent { Ok(()) } else { Err(skip(lacks)) }
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
    let mut warning = None;
    let denied = "plugins may not ask for https://t.example.org".to_owned();
    let unanswered = [
        ("is NOT_SENT".to_owned(), not_sent()),
        ("is DENIED".to_owned(), HttpAnswer::Denied(denied)),
    ];
    let statuses = [429, 503, 400, 401, 403, 404, 422, 405, 413, 415].map(|code| {
        let answer = match code {
            429 | 503 => refused(code),
            // Some systems have a 403 for a rate limit, which they tell by Retry-After.
            _ => answered(code, r#"{"message": "the validator"}"#),
        };
        (format!("is answered {code}"), answer)
    });
    for (when, answer) in unanswered.into_iter().chain(statuses) {
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
        (HttpAnswer::Answered { status: 503, .. }, Retry::Never) => {
            Judged::Wrong("trying again can help: retry must be \"later\", or \"unknown\"")
        }
        (HttpAnswer::Denied(_), Retry::Later) => {
            Judged::Wrong("the host denies it again: retry must be \"never\"")
        }
        (HttpAnswer::Denied(_), Retry::Unknown) => {
            Judged::Vague("nothing was sent, so there is no ticket: retry should be \"never\"")
        }
        (HttpAnswer::Answered { status: 400..=428, .. }, Retry::Later) => {
            Judged::Wrong("the same request is refused again: retry must be \"never\"")
        }
        (HttpAnswer::Answered { status: 400..=428, .. }, Retry::Unknown) => Judged::Wrong(
            "the ticket system refused, so there is no ticket, and refuses it again: retry must be \"never\", or no person is told",
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
    let grade = if retry_after.is_some() { fail } else { warn };
    Err(grade(format!(
        "the answer to create() was 429 with \"Retry-After: {SECONDS}\", and retry_after_ms is {said}"
    )))
}

async fn after_create(bench: &mut Bench) -> Done {
    bench.scripted()?;
    for (when, answer) in failures() {
        let (reply, seen) = create(bench, Behaviour::AfterCreation(answer)).await?;
        let when = format!("when a request after the one that creates {when}");
        sent_once(&seen).map_err(|verdict| verdict.when(&when))?;
        if loses_ticket(&reply, &seen) {
            return Err(fail(format!(
                "{when}: there is a ticket, so create() must reply it, or retry must be \"unknown\"; it gives {reply}"
            )));
        }
    }
    Ok(())
}

/// Whether create() says that there is no ticket though a request before the last made one.
fn loses_ticket(reply: &Answer, seen: &Seen) -> bool {
    let sure = matches!(reply, Answer::Error(error) if error.retry != Retry::Unknown);
    let made = seen.exchanges.iter().position(|exchange| {
        let answered = matches!(exchange.answer, HttpAnswer::Answered { status: 200..300, .. });
        exchange.role == Role::Create && answered
    });
    sure && made.is_some_and(|made| made + 1 < seen.exchanges.len())
}

async fn search_first(bench: &mut Bench) -> Done {
    bench.scripted()?;
    for (when, answer) in failures() {
        if says_none(&bench.settings.http, &answer) {
            continue;
        }
        let (_, seen) = create(bench, Behaviour::Searches(answer)).await?;
        if creates_after_search(&seen) {
            return Err(fail(format!(
                "create() makes a ticket when its search before that {when}: there may be one already"
            )));
        }
    }
    Ok(())
}

fn creates_after_search(seen: &Seen) -> bool {
    let first = |role| seen.exchanges.iter().position(|exchange| exchange.role == role);
    matches!((first(Role::Search), first(Role::Create)), (Some(search), Some(create)) if search < create)
}

#[cfg(test)]
mod tests {

    use ticket_plugin_api::Ticket;

    use super::*;

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
            (answer(404), Unknown, "wrong"),
            (answer(503), Later, "right"),
            (answer(503), Never, "wrong"),
            (HttpAnswer::Denied(String::new()), Never, "right"),
            (HttpAnswer::Denied(String::new()), Later, "wrong"),
            (HttpAnswer::Denied(String::new()), Unknown, "vague"),
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
            assert_eq!(sent_once(&seen(exchanges)).is_ok(), right, "{shown}");
        }
    }

    fn seen(exchanges: Vec<(Role, HttpAnswer)>) -> Seen {
        let exchanges =
            exchanges.into_iter().map(|(role, answer)| Exchange::posted(role, "", "", answer));
        Seen { exchanges: exchanges.collect(), ..Seen::default() }
    }

    #[test]
    fn a_ticket_that_was_made_is_not_lost_by_what_follows() {
        let error = |retry| Answer::Error(PluginError::client("the validator").retry(retry));
        let made = || (Role::Create, answered(201, ""));
        let later = || (Role::ReadBack, answered(500, ""));
        for (reply, exchanges, lost) in [
            (error(Retry::Later), vec![made(), later()], true),
            (error(Retry::Never), vec![made(), later()], true),
            (error(Retry::Unknown), vec![made(), later()], false),
            (Answer::Ticket(Ticket::default()), vec![made(), later()], false),
            (error(Retry::Never), vec![made()], false),
            (error(Retry::Never), vec![(Role::Create, answered(422, "")), later()], false),
        ] {
            let shown = format!("{reply} {exchanges:?}");
            assert_eq!(loses_ticket(&reply, &seen(exchanges)), lost, "{shown}");
        }
    }

    #[test]
    fn a_search_before_a_creation_must_have_gone_well() {
        let (search, create) =
            (|| (Role::Search, answered(500, "")), || (Role::Create, answered(201, "")));
        for (exchanges, wrong) in [
            (vec![search(), create()], true),
            (vec![create(), search()], false),
            (vec![search()], false),
            (vec![create()], false),
        ] {
            let shown = format!("{exchanges:?}");
            assert_eq!(creates_after_search(&seen(exchanges)), wrong, "{shown}");
        }
    }
}
