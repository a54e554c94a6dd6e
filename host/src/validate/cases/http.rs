//! What a plugin makes of requests that fail, and of answers that no good server gives.

use ticket_plugin_api::Retry;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};

use super::searches::empty_searches;
use super::{OPERATIONS, answered};
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, Role, Rule, Seen};
use crate::validate::source::is_founded;
use crate::validate::{Done, fail};

cases! {
    "http-results" http_results "takes every way that a request can fail for what it is: a lost answer is unknown, an unsent request is not";
    "http-statuses" http_statuses "survives every status from 100 to 599; a search that failed is not NOT_FOUND, and no ticket comes of a refusal";
    "http-bodies" http_bodies "survives bodies that are empty, huge, HTML, no UTF-8, of another shape; what may have made a ticket is unknown";
}

/// What a plugin made of a call in which requests got a prepared answer.
struct Reaction {
    operation: Operation,
    /// Whether every request but logins got that answer, or only those that the operation is about.
    to_all: bool,
    answer: Answer,
    seen: Seen,
    /// Whether the answer is a ticket whose URL nobody told the plugin.
    unfounded: bool,
}

impl Reaction {
    /// Whether there was a request that got the answer.
    fn was_met(&self) -> bool {
        let about = match self.operation {
            Operation::Create => Role::Create,
            Operation::Find => Role::Search,
            _ => Role::LookUp,
        };
        let got = |role: Role| if self.to_all { role != Role::Login } else { role == about };
        self.seen.exchanges.iter().any(|exchange| got(exchange.role))
    }
}

/// What is wrong with a reaction, if anything is.
type Judgement = Option<&'static str>;

const UNFOUNDED: &str = "nothing that it was told is in the ticket's URL";
const FINDS_LATER: &str = "another search can find the ticket: retry must be \"later\", or nobody learns whether there is one";
const MAY_EXIST: &str = "the ticket may exist: retry must be \"unknown\"";

/// Calls each operation twice: once all its requests get `answer`, and once only those that it is about, such as a search
/// of find(), while the others find an empty ticket system. Fails at the first reaction that `judge`
/// objects to; `when` are words for what happens to a request.
async fn each_reaction(
    bench: &mut Bench,
    answer: &HttpAnswer,
    when: &str,
    mut judge: impl FnMut(&Reaction) -> Judgement,
) -> Done {
    for operation in OPERATIONS {
        for to_all in [true, false] {
            let answer = answer.clone();
            let behaviour = match operation {
                _ if to_all => Behaviour::Always(answer),
                Operation::Create => Behaviour::Creations(answer),
                Operation::Find => Behaviour::Searches(answer),
                _ => Behaviour::LookUps(answer),
            };
            let when = format!("{} when a request {when}", operation.name());
            let called = bench.call(operation, &incident(), KEY, behaviour).await;
            let (answer, seen) = called.map_err(|verdict| verdict.when(&when))?;
            let settings = bench.settings.json();
            let unfounded = matches!(&answer, Answer::Ticket(ticket)
                if !seen.exchanges.is_empty() && !is_founded(&ticket.url, KEY, &settings, &seen));
            let reaction = Reaction { operation, to_all, answer, seen, unfounded };
            if let Some(wrong) = judge(&reaction) {
                return Err(fail(format!("{when}: {wrong}; it gives {}", reaction.answer)));
            }
        }
    }
    Ok(())
}

async fn http_results(bench: &mut Bench) -> Done {
    let text = || "the validator".to_owned();
    for (when, result) in [
        ("is NOT_SENT", HttpAnswer::NotSent(text())),
        ("is UNKNOWN", HttpAnswer::Unknown(text())),
        ("is DENIED", HttpAnswer::Denied(text())),
        ("is DRY_RUN", HttpAnswer::DryRun),
    ] {
        each_reaction(bench, &result, when, |reaction| judge_result(&result, reaction)).await?;
    }
    Ok(())
}

/// Judges a reaction to a request that got no answer.
fn judge_result(result: &HttpAnswer, reaction: &Reaction) -> Judgement {
    let Reaction { operation, to_all, answer, seen, .. } = reaction;
    let could_create = seen.could_create();
    match (operation, answer, result) {
        (Operation::Find, Answer::NotFound, _) if reaction.was_met() => {
            Some("a search that failed is not \"certainly none\"")
        }
        (
            Operation::Find,
            Answer::Error(error),
            HttpAnswer::NotSent(_) | HttpAnswer::Unknown(_),
        ) if reaction.was_met() && error.retry == Retry::Never => Some(FINDS_LATER),
        (Operation::Create, Answer::Ticket(_), _) if could_create => Some("there can be no ticket"),
        (Operation::Create, Answer::Error(error), HttpAnswer::Unknown(_))
            if could_create && error.retry != Retry::Unknown =>
        {
            Some(MAY_EXIST)
        }
        (Operation::Create, Answer::Error(error), HttpAnswer::NotSent(_))
            if (*to_all || could_create) && error.retry == Retry::Never =>
        {
            Some("nothing was created, and trying again can help: retry must be \"later\"")
        }
        _ => None,
    }
}

async fn http_statuses(bench: &mut Bench) -> Done {
    let not_done = bench.manifest()?.not_done.clone();
    let none = statuses_of_none(&bench.settings.http);
    let statuses = statuses();
    let tried = bench.budget(statuses.len(), 6).await;
    for code in statuses.into_iter().take(tried) {
        let answer = answered(code, r#"{"message": "the validator"}"#);
        each_reaction(bench, &answer, &format!("is answered {code}"), |reaction| {
            let sure = !not_done.contains(&code) && too_sure(code, reaction);
            judge_status(code, &none, reaction).or(sure.then_some(TOO_SURE))
        })
        .await?;
    }
    Ok(())
}

/// The statuses by which searches may say that there is no ticket: those of the script, or else the two that can mean it.
fn statuses_of_none(rules: &[Rule]) -> Vec<u16> {
    let none: Vec<u16> = empty_searches(rules).map(|rule| rule.status).collect();
    if none.is_empty() { vec![404, 410] } else { none }
}

/// Every status, those first that servers send the most.
fn statuses() -> Vec<u16> {
    let mut statuses = vec![
        503, 500, 401, 200, 404, 403, 429, 400, 502, 504, 302, 409, 422, 204, 408, 410, 413, 415,
        405, 301,
    ];
    let others: Vec<u16> = (100..600).filter(|status| !statuses.contains(status)).collect();
    statuses.extend(others);
    statuses
}

/// Judges a reaction to an answer of this status. By an answer of `none` the ticket system says that there is no ticket.
fn judge_status(code: u16, none: &[u16], reaction: &Reaction) -> Judgement {
    if !reaction.was_met() {
        return None;
    }
    let search_failed = (300..=599).contains(&code) && !none.contains(&code);
    let comes_back = matches!(code, 429 | 502..=504);
    match (reaction.operation, &reaction.answer) {
        (Operation::Find, Answer::NotFound) if search_failed => {
            Some("the search failed, and who takes that for \"none\" makes a second ticket")
        }
        (Operation::Find, Answer::Error(error)) if comes_back && error.retry == Retry::Never => {
            Some(FINDS_LATER)
        }
        (Operation::Create, Answer::Ticket(_)) if code >= 400 && reaction.to_all => {
            Some("there can be no ticket")
        }
        (_, Answer::Ticket(_)) if reaction.unfounded => Some(UNFOUNDED),
        _ => None,
    }
}

const TOO_SURE: &str = "a server that broke off, or its proxy, may have created the ticket: retry must be \"unknown\", or the \
                        manifest's not_done must list what the ticket system promises";

/// Whether create() excludes that there is a ticket after an answer of this status, which doesn't.
fn too_sure(code: u16, reaction: &Reaction) -> bool {
    matches!(code, 500 | 502 | 504)
        && reaction.operation == Operation::Create
        && reaction.seen.could_create()
        && matches!(&reaction.answer, Answer::Error(error) if error.retry != Retry::Unknown)
}

async fn http_bodies(bench: &mut Bench) -> Done {
    let bodies = bodies();
    let all = [200, 201, 404, 500].map(|code| bodies.iter().map(move |body| (code, body)));
    let all: Vec<_> = all.into_iter().flatten().collect();
    let tried = bench.budget(all.len(), 6).await;
    for (code, (name, body)) in all.into_iter().take(tried) {
        let (answer, when) =
            (answered(code, body.clone()), format!("is answered {code} and {name}"));
        each_reaction(bench, &answer, &when, |reaction| judge_body(code, reaction)).await?;
    }
    Ok(())
}

/// Bodies that no good server gives, and words for each, those first that are met the most.
fn bodies() -> [(&'static str, Vec<u8>); 14] {
    [
        ("nothing", vec![]),
        ("HTML", b"<!DOCTYPE html><html><body><h1>Log in</h1></body></html>".to_vec()),
        ("null", b"null".to_vec()),
        ("[]", b"[]".to_vec()),
        ("{}", b"{}".to_vec()),
        ("a text", b"\"text\"".to_vec()),
        ("a number", b"17".to_vec()),
        ("half of JSON", b"{\"id\": 17, \"url\": \"https://x.or".to_vec()),
        (
            "other types",
            br#"{"id": {"a": []}, "url": 17, "number": "x", "key": null, "items": {"a": 1}}"#
                .to_vec(),
        ),
        ("other types in a list", br#"[{"id": null}, [], "x", 17, {"url": {}}]"#.to_vec()),
        ("no UTF-8", b"{\"url\": \"https://x.org/\xff\xfe\", \"id\": \"\x80\"}".to_vec()),
        ("a deep nest", "[".repeat(100_000).into_bytes()),
        ("4 MiB", vec![b' '; 4 << 20]),
        ("NULs", vec![0; 1000]),
    ]
}

/// Judges a reaction to an answer of this status with a body that makes no sense: a success that can't be
/// read may have made a ticket.
fn judge_body(code: u16, reaction: &Reaction) -> Judgement {
    let error = match &reaction.answer {
        Answer::Error(error) => error,
        Answer::Ticket(_) if reaction.unfounded => return Some(UNFOUNDED),
        _ => return None,
    };
    let last = reaction.seen.exchanges.last();
    let could_create_last = last.is_some_and(|exchange| exchange.role == Role::Create);
    let unclear = reaction.operation == Operation::Create && code < 300 && could_create_last;
    (unclear && error.retry != Retry::Unknown).then_some(MAY_EXIST)
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::{Error, Ticket};

    use super::*;
    use crate::validate::script::Exchange;

    /// A reaction after one request of this role.
    fn after(role: Role, operation: Operation, answer: Answer) -> Reaction {
        let exchange = Exchange::posted(role, "", "", HttpAnswer::DryRun);
        let seen = Seen { exchanges: vec![exchange], ..Seen::default() };
        let unfounded = matches!(answer, Answer::Ticket(_));
        Reaction { operation, to_all: true, answer, seen, unfounded }
    }

    fn error(retry: Retry) -> Answer {
        Answer::Error(Error::client("the validator").retry(retry))
    }

    #[test]
    fn a_request_without_an_answer_excludes_a_ticket_only_if_it_was_not_sent() {
        let (lost, unsent) =
            (HttpAnswer::Unknown(String::new()), HttpAnswer::NotSent(String::new()));
        for (result, retry, wrong) in [
            (&lost, Retry::Unknown, false),
            (&lost, Retry::Later, true),
            (&lost, Retry::Never, true),
            (&unsent, Retry::Unknown, false),
            (&unsent, Retry::Later, false),
            (&unsent, Retry::Never, true),
        ] {
            let judged =
                judge_result(result, &after(Role::Create, Operation::Create, error(retry)));
            assert_eq!(judged.is_some(), wrong, "{result:?} {retry:?}");
        }
        for (operation, result, retry, wrong) in [
            (Operation::Find, &lost, Retry::Never, true),
            (Operation::Find, &unsent, Retry::Never, true),
            (Operation::Find, &unsent, Retry::Later, false),
            (Operation::Find, &lost, Retry::Unknown, false),
        ] {
            let judged = judge_result(result, &after(Role::Search, operation, error(retry)));
            assert_eq!(judged.is_some(), wrong, "{operation:?} {result:?} {retry:?}");
        }
        let ticket = Answer::Ticket(Ticket::default());
        assert!(judge_result(&lost, &after(Role::Create, Operation::Create, ticket)).is_some());
        assert!(
            judge_result(&lost, &after(Role::Search, Operation::Find, Answer::NotFound)).is_some()
        );
    }

    #[test]
    fn only_what_the_script_has_may_mean_that_there_is_no_ticket_and_without_one_404_and_410() {
        for (code, wrong) in
            [(200, false), (302, true), (400, true), (404, false), (410, false), (503, true)]
        {
            let reaction = after(Role::Search, Operation::Find, Answer::NotFound);
            let none = statuses_of_none(&[]);
            assert_eq!(judge_status(code, &none, &reaction).is_some(), wrong, "{code}");
            assert_eq!(judge_status(code, &[200], &reaction).is_some(), code >= 300, "{code}");
        }
    }

    #[test]
    fn a_search_that_a_later_one_can_mend_is_not_given_up() {
        for (code, retry, wrong) in [
            (429, Retry::Never, true),
            (503, Retry::Never, true),
            (503, Retry::Later, false),
            (403, Retry::Never, false),
        ] {
            let judged =
                judge_status(code, &[], &after(Role::Search, Operation::Find, error(retry)));
            assert_eq!(judged.is_some(), wrong, "{code} {retry:?}");
        }
    }

    #[test]
    fn a_ticket_of_which_no_answer_tells_is_none() {
        let ticket = || Answer::Ticket(Ticket::default());
        for code in [200, 202, 204, 302, 404, 500] {
            let reaction = after(Role::Create, Operation::Create, ticket());
            assert!(judge_status(code, &[], &reaction).is_some(), "{code}");
        }
        let mut reaction = after(Role::Create, Operation::Create, ticket());
        assert!(judge_body(201, &reaction).is_some());
        reaction.unfounded = false;
        assert!(
            judge_body(201, &reaction).is_none() && judge_status(201, &[], &reaction).is_none()
        );
    }

    #[test]
    fn only_what_certainly_made_nothing_may_be_said_to_have_made_nothing() {
        for (code, retry, sure) in [
            (500, Retry::Unknown, false),
            (500, Retry::Never, true),
            (502, Retry::Later, true),
            (503, Retry::Later, false),
            (422, Retry::Never, false),
        ] {
            let judged = too_sure(code, &after(Role::Create, Operation::Create, error(retry)));
            assert_eq!(judged, sure, "{code} {retry:?}");
        }
    }

    #[test]
    fn a_success_that_cannot_be_read_may_have_made_a_ticket() {
        for (role, code, retry, wrong) in [
            (Role::Create, 201, Retry::Never, true),
            (Role::Create, 201, Retry::Unknown, false),
            (Role::Create, 404, Retry::Never, false),
            (Role::Search, 200, Retry::Never, false),
        ] {
            let judged = judge_body(code, &after(role, Operation::Create, error(retry)));
            assert_eq!(judged.is_some(), wrong, "{role:?} {code} {retry:?}");
        }
    }
}
