//! What update() does: each action, again after a try that was lost, and to tickets that a person closed or deleted.

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::message::{Action, TicketState, Updated};
use ticket_plugin_api::{Error as PluginError, ErrorKind, Retry, Ticket};

use super::answered;
use super::calls::created;
use super::retries::{self, Judged, refused};
use super::states::{gone_statuses, named, unclear_looks};
use crate::validate::answer::Said;
use crate::validate::bench::{Ask, Bench, KEY, STEP};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, Exchange, Role, Seen, When, arrives, texts};
use crate::validate::{Done, Verdict, fail, skip, warn};

cases! {
    "update-offered" update_offered "has update() and names its actions in the manifest, or has neither";
    "update" update_works "update() carries out each action: one comment with the step's id, then the state";
    "update-text" update_text "update() puts the text of render() onto the ticket: \"closing\" when it closes it, else \"comment\"";
    "update-again" update_again "update() writes no second comment where the first one is there, and does what is missing";
    "update-person" update_person "update() writes nothing to a ticket that a person has closed, or opened again";
    "update-gone" update_gone "update() writes nothing to a ticket that it can't read, and says NOT_FOUND only of one that is deleted";
    "update-unknown" update_unknown "update() says UNSUPPORTED of an action that it doesn't know, and sends nothing";
    "update-lost" update_lost "update() sends a comment once, and says what of the step was written: nothing, it may have been, or the comment";
    "update-retry" update_retry "update() says \"later\" where a later try can help, and \"never\" where it can't";
    "update-dry-run" update_dry_run "update() does nothing in a dry run";
}

/// A word that the comments have, since the incident has it.
const WORD: &str = "validatorword7";

type Answered = (Said<Updated>, Seen);

/// What of a step is written, and when: the role of the request that does it.
fn role_of(action: Action) -> Role {
    match action {
        Action::Close => Role::Close,
        Action::Reopen => Role::Reopen,
        _ => Role::Comment,
    }
}

/// The state in which a ticket is when the action is asked for.
fn begin(action: Action) -> When {
    if action == Action::Reopen { When::Closed } else { When::Made }
}

/// The same with the step's comment, and the state not changed yet.
fn half_done(action: Action) -> When {
    if action == Action::Reopen { When::DoneClosed } else { When::Done }
}

/// The state in which it is a person's, so that nothing is written.
fn by_a_person(action: Action) -> When {
    if action == Action::Reopen { When::Made } else { When::Closed }
}

fn is_scripted(bench: &Bench, when: When) -> bool {
    when == When::Made || bench.settings.http.iter().any(|rule| rule.when == Some(when))
}

/// The actions that the manifest names and that can be tried, and the ticket to try them with.
async fn ready(bench: &mut Bench) -> Result<(Vec<Action>, Ticket), Verdict> {
    bench.offers("update")?;
    let named = &bench.manifest()?.actions;
    if named.is_empty() {
        return Err(skip("its manifest names no actions"));
    }
    let has_rule =
        |action: Action| bench.settings.http.iter().any(|rule| rule.role() == role_of(action));
    let all = [Action::Comment, Action::Close, Action::Reopen].into_iter();
    let actions: Vec<Action> = all
        .filter(|action| named.iter().any(|name| name == action.name()))
        .filter(|action| has_rule(*action) && is_scripted(bench, begin(*action)))
        .collect();
    if actions.is_empty() {
        return Err(skip(
            "needs a scripted ticket: [[http]] with role = \"comment\", \"close\" or \"reopen\"",
        ));
    }
    let (ticket, _) = created(bench, KEY).await?;
    Ok((actions, ticket))
}

fn told() -> Value {
    let mut told = incident();
    told["description"] = format!("{WORD}: the \"gateway\" \\ gw1 <is> down & out, æ").into();
    told
}

fn request(ticket: &Ticket, action: &str, again: bool) -> Value {
    json!({
        "ticket": named(ticket), "key": KEY, "incident": told(), "again": again, "dry_run": false, "later": 1,
        "step": {"id": STEP, "action": action, "diff": {"level": {"from": 3, "to": 1}}, "later": {}},
    })
}

async fn send(
    bench: &mut Bench,
    request: Value,
    behaviour: Behaviour,
) -> Result<Answered, Verdict> {
    let operation = Operation::Update;
    bench.ask(Ask { operation, request, key: KEY, tickets: None, behaviour, time: None }).await
}

/// Has a step carried out.
async fn step(
    bench: &mut Bench,
    ticket: &Ticket,
    action: Action,
    again: bool,
    behaviour: Behaviour,
) -> Result<Answered, Verdict> {
    let sent = send(bench, request(ticket, action.name(), again), behaviour).await;
    sent.map_err(|verdict| verdict.when(action.name()))
}

/// Whether a request has the text in it, as it is read where it arrives.
fn says(exchange: &Exchange, text: &str) -> bool {
    texts(&exchange.request).is_ok_and(|texts| arrives(&texts, text))
}

/// Whether a request writes a comment, alone or with the state.
fn speaks(exchange: &&Exchange) -> bool {
    let carries = matches!(exchange.role, Role::Close | Role::Reopen) && says(exchange, WORD);
    exchange.role == Role::Comment || carries
}

/// Whether a request changes something of a ticket.
fn writes(exchange: &&Exchange) -> bool {
    let adds = exchange.role == Role::ReadBack && exchange.request.can_change();
    Role::STEPS.contains(&exchange.role) || adds
}

/// Whether the request reached nothing, so that it may be sent again.
fn was_sent(exchange: &&Exchange) -> bool {
    use HttpAnswer::{Denied, DryRun, NotSent};
    !matches!(exchange.answer, NotSent(_) | Denied(_) | DryRun)
}

fn comments(seen: &Seen) -> usize {
    seen.exchanges.iter().filter(speaks).filter(was_sent).count()
}

async fn update_offered(bench: &mut Bench) -> Done {
    let manifest = bench.manifest()?;
    let (actions, marks) = (manifest.actions.clone(), manifest.marks);
    let offered = bench.offers("update").is_ok();
    match (offered, actions.is_empty()) {
        (false, false) => {
            return Err(fail("its manifest names actions, and there is no update()"));
        }
        (false, true) if marks => {
            return Err(warn("its manifest says \"marks\", and there is no update()"));
        }
        (false, true) => return Err(skip("it has no update()")),
        (true, true) => {
            let ticket = Ticket { url: bench.settings.endpoint.clone(), ..Ticket::default() };
            let behaviour = Behaviour::Always(answered(503, r#"{"message": "the validator"}"#));
            let (said, _) = step(bench, &ticket, Action::Comment, false, behaviour).await?;
            return match said {
                Said::Unsupported => Err(skip("its update() does nothing")),
                _ => Err(warn(
                    "it has update(), which is never called: its manifest names no actions",
                )),
            };
        }
        (true, false) => {}
    }
    let known = [Action::Comment, Action::Close, Action::Reopen].map(Action::name);
    match actions.iter().find(|action| !known.contains(&action.as_str())) {
        Some(action) => {
            Err(warn(format!("its manifest names the action {action:?}, which no host knows")))
        }
        None => Ok(()),
    }
}

async fn update_works(bench: &mut Bench) -> Done {
    let (actions, ticket) = ready(bench).await?;
    let marks = bench.manifest()?.marks;
    for action in actions {
        let behaviour = Behaviour::Script(begin(action));
        let (said, seen) = step(bench, &ticket, action, false, behaviour).await?;
        is_carried_out(action, marks, &said, &seen)
            .map_err(|verdict| verdict.when(action.name()))?;
    }
    Ok(())
}

/// Whether update() said that the step is carried out, in a state that fits.
fn is_done(action: Action, said: &Said<Updated>, seen: &Seen) -> Done {
    let Said::Reply(updated) = said else {
        return Err(fail(format!("update() gives {said}{}", seen.unscripted())));
    };
    updated.answers(action).map_err(|why| fail(format!("its reply {why}")))?;
    if updated.done {
        Ok(())
    } else {
        Err(fail("the step was to be carried out, and its reply says that it isn't"))
    }
}

/// Whether a step was carried out of which nothing was there.
fn is_carried_out(action: Action, marks: bool, said: &Said<Updated>, seen: &Seen) -> Done {
    is_done(action, said, seen)?;
    let speaking = seen.exchanges.iter().position(|exchange| speaks(&exchange));
    let changes = |exchange: &Exchange| matches!(exchange.role, Role::Close | Role::Reopen);
    let changing = seen.exchanges.iter().position(changes);
    let wrong = match (comments(seen), changing) {
        (0, _) => "it writes no comment".to_owned(),
        (2.., _) => format!("it writes {} comments, and is asked for one", comments(seen)),
        (_, Some(_)) if action == Action::Comment => "it changes the ticket's state".to_owned(),
        (_, None) if action != Action::Comment => {
            "its reply tells of another state, and nothing was sent that changes it".to_owned()
        }
        (_, Some(changing)) if seen.exchanges[changing].role != role_of(action) => {
            "it sends what changes the state to another one".to_owned()
        }
        (_, Some(changing)) if speaking.is_some_and(|speaking| changing < speaking) => {
            "it changes the state before it writes the comment: if that fails then, the ticket is never told".to_owned()
        }
        _ if marks && !seen.exchanges.iter().filter(writes).any(|exchange| says(exchange, STEP)) => {
            "its manifest says \"marks\", and the step's id is in nothing that it writes".to_owned()
        }
        _ => return Ok(()),
    };
    Err(fail(wrong))
}

async fn update_text(bench: &mut Bench) -> Done {
    let (actions, ticket) = ready(bench).await?;
    for action in actions {
        let behaviour = Behaviour::Script(begin(action));
        let (_, seen) = step(bench, &ticket, action, false, behaviour).await?;
        // The words of the default templates.
        let words = if action == Action::Close { "has ended" } else { "has changed" };
        for exchange in seen.exchanges.iter().filter(speaks) {
            let body = texts(&exchange.request).map_err(|why| fail(why).when(action.name()))?;
            if !arrives(&body, WORD) {
                return Err(fail("the comment is not what render() gave").when(action.name()));
            }
            if !arrives(&body, words) {
                let part = if action == Action::Close { "closing" } else { "comment" };
                let wrong = format!("the comment is not what render() makes of {part:?}");
                return Err(fail(wrong).when(action.name()));
            }
        }
    }
    Ok(())
}

async fn update_again(bench: &mut Bench) -> Done {
    let (actions, ticket) = ready(bench).await?;
    if !bench.manifest()?.marks {
        return Err(skip("its manifest doesn't say \"marks\""));
    }
    let mut tried = false;
    for action in actions {
        let behaviour = Behaviour::Script(begin(action));
        let (said, seen) = step(bench, &ticket, action, true, behaviour).await?;
        let none = format!("{} again, of which nothing was written", action.name());
        is_carried_out(action, true, &said, &seen).map_err(|verdict| verdict.when(&none))?;
        if !is_scripted(bench, half_done(action)) {
            continue;
        }
        tried = true;
        let behaviour = Behaviour::Script(half_done(action));
        let (said, seen) = step(bench, &ticket, action, true, behaviour).await?;
        let there = format!("{} again, and its comment is on the ticket", action.name());
        is_completed(action, &said, &seen).map_err(|verdict| verdict.when(&there))?;
        let reads = |exchange: &&Exchange| Role::READS.contains(&exchange.role);
        let asked = seen.exchanges.iter().filter(reads).count();
        for nth in 0..asked.min(8) {
            no_second_comment(bench, &ticket, action, nth).await?;
        }
    }
    if tried { Ok(()) } else { Err(skip("needs a scripted ticket with when = \"done\"")) }
}

/// Whether what was missing was done of a step whose comment is there.
fn is_completed(action: Action, said: &Said<Updated>, seen: &Seen) -> Done {
    if comments(seen) > 0 {
        return Err(fail("it writes a second comment"));
    }
    is_done(action, said, seen)?;
    let changed = seen.exchanges.iter().any(|exchange| exchange.role == role_of(action));
    if action != Action::Comment && !changed {
        return Err(fail("the state isn't changed yet, and it sends nothing that changes it"));
    }
    Ok(())
}

/// Whether no comment is written to a ticket that has it, though the n-th answer is none that says so.
async fn no_second_comment(bench: &mut Bench, ticket: &Ticket, action: Action, nth: usize) -> Done {
    for (when, answer) in unclear_looks(bench, &[]) {
        let behaviour = Behaviour::Nth(half_done(action), nth, answer);
        let (_, seen) = step(bench, ticket, action, true, behaviour).await?;
        if comments(&seen) > 0 {
            let action = action.name();
            return Err(fail(format!(
                "{action} again, and its comment is on the ticket: it writes a second one when request {} {when}",
                nth + 1
            )));
        }
    }
    Ok(())
}

async fn update_person(bench: &mut Bench) -> Done {
    let (actions, ticket) = ready(bench).await?;
    let mut tried = false;
    for action in actions {
        if !is_scripted(bench, by_a_person(action)) {
            continue;
        }
        tried = true;
        for again in [false, true] {
            let behaviour = Behaviour::Script(by_a_person(action));
            let (said, seen) = step(bench, &ticket, action, again, behaviour).await?;
            let is = if action == Action::Reopen { "open" } else { "closed" };
            let when = format!("{} of a ticket that is {is} already", action.name());
            is_left_alone(action, &said, &seen).map_err(|verdict| verdict.when(&when))?;
        }
    }
    if tried { Ok(()) } else { Err(skip("needs a scripted ticket with when = \"closed\"")) }
}

/// Whether nothing was written to a ticket in which a person's state stands, and the reply says so.
fn is_left_alone(action: Action, said: &Said<Updated>, seen: &Seen) -> Done {
    if seen.exchanges.iter().filter(writes).any(|exchange| was_sent(&exchange)) {
        return Err(fail("it writes to the ticket, which is a person's then"));
    }
    let Said::Reply(updated) = said else {
        return Err(fail(format!("update() gives {said}{}", seen.unscripted())));
    };
    let stands = match action {
        Action::Reopen => updated.state == TicketState::Open,
        _ => matches!(updated.state, TicketState::Closed | TicketState::Cancelled),
    };
    if updated.done || !stands {
        let done = if updated.done { "done" } else { "not done" };
        return Err(fail(format!(
            "nothing was written, and its reply says that it is {done}, and the ticket {:?}",
            updated.state
        )));
    }
    Ok(())
}

async fn update_gone(bench: &mut Bench) -> Done {
    let (actions, ticket) = ready(bench).await?;
    let gone = gone_statuses(bench);
    for action in actions {
        let name = action.name();
        if is_scripted(bench, When::Gone) {
            for again in [false, true] {
                let behaviour = Behaviour::Script(When::Gone);
                let (said, seen) = step(bench, &ticket, action, again, behaviour).await?;
                let wrote = comments(&seen) > 0;
                if wrote || matches!(said, Said::Reply(Updated { done: true, .. })) {
                    return Err(fail(format!(
                        "{name} of a ticket that is gone: update() gives {said}"
                    )));
                }
            }
        }
        for (when, answer) in unclear_looks(bench, &gone) {
            let behaviour = Behaviour::Roles(begin(action), &Role::READS, answer);
            let (said, seen) = step(bench, &ticket, action, false, behaviour).await?;
            unreadable(&said, &seen).map_err(|verdict| {
                verdict.when(&format!("{name} when a request that reads {when}"))
            })?;
        }
        for code in [401, 403, 404].into_iter().filter(|code| !gone.contains(code)) {
            let answer = answered(code, r#"{"message": "the validator"}"#);
            let behaviour = Behaviour::Roles(begin(action), &Role::STEPS, answer);
            let (said, _) = step(bench, &ticket, action, false, behaviour).await?;
            if matches!(said, Said::NotFound) {
                return Err(fail(format!(
                    "{name}: NOT_FOUND of a request that writes and is answered {code}, which can mean a lost permission"
                )));
            }
        }
    }
    Ok(())
}

/// Whether nothing was written to a ticket that couldn't be read, and it isn't called gone.
fn unreadable(said: &Said<Updated>, seen: &Seen) -> Done {
    let about = |exchange: &&Exchange| {
        matches!(exchange.role, Role::State | Role::ReadBack | Role::Search) && !writes(exchange)
    };
    if !seen.exchanges.iter().any(|exchange| about(&exchange)) {
        return Ok(());
    }
    match said {
        Said::NotFound => {
            Err(fail("NOT_FOUND says that the ticket is certainly gone, which that doesn't mean"))
        }
        _ if seen.exchanges.iter().filter(writes).any(|exchange| was_sent(&exchange)) => Err(fail(
            "it writes to the ticket, of which it doesn't know whether a person has closed it",
        )),
        _ => Ok(()),
    }
}

async fn update_unknown(bench: &mut Bench) -> Done {
    bench.offers("update")?;
    bench.scripted()?;
    let (ticket, _) = created(bench, KEY).await?;
    let behaviour = Behaviour::Script(When::Made);
    let (said, seen) = send(bench, request(&ticket, "merge", false), behaviour).await?;
    if seen.exchanges.iter().any(|exchange| writes(&exchange)) {
        return Err(fail("it writes to the ticket, and doesn't know the action \"merge\""));
    }
    match said {
        Said::Unsupported => Ok(()),
        other => Err(fail(format!(
            "update() gives {other} for the action \"merge\", and not UNSUPPORTED"
        ))),
    }
}

/// The requests by which an action is carried out: the one that has the comment, and whether another one changes the state.
async fn requests(
    bench: &mut Bench,
    ticket: &Ticket,
    action: Action,
) -> Result<Option<(&'static [Role], bool)>, Verdict> {
    let behaviour = Behaviour::Script(begin(action));
    let (_, seen) = step(bench, ticket, action, false, behaviour).await?;
    let Some(first) = seen.exchanges.iter().find(speaks) else { return Ok(None) };
    let apart = first.role == Role::Comment && action != Action::Comment;
    let roles = Role::STEPS.iter().position(|role| *role == first.role);
    Ok(roles.map(|at| (&Role::STEPS[at..=at], apart)))
}

const STATE_CHANGES: &[Role] = &[Role::Close, Role::Reopen];

async fn update_lost(bench: &mut Bench) -> Done {
    let (actions, ticket) = ready(bench).await?;
    let why = || "the validator".to_owned();
    let unsent = || ("is NOT_SENT".to_owned(), HttpAnswer::NotSent(why()));
    let lost = || ("is UNKNOWN".to_owned(), HttpAnswer::Unknown(why()));
    let codes = |codes: &[u16]| -> Vec<(String, HttpAnswer)> {
        codes.iter().map(|code| (format!("is answered {code}"), refused(*code))).collect()
    };
    for action in actions {
        let Some((first, apart)) = requests(bench, &ticket, action).await? else { continue };
        let firsts = [codes(&[503, 500, 502, 429, 422]), vec![lost(), unsent()]].concat();
        for (when, answer) in firsts {
            let behaviour = Behaviour::Roles(begin(action), first, answer.clone());
            let (said, seen) = step(bench, &ticket, action, false, behaviour).await?;
            let when = format!("{} when the request with the comment {when}", action.name());
            judge_first(&answer, &said, &seen).map_err(|verdict| verdict.when(&when))?;
        }
        let seconds = [codes(&[422, 409, 429, 503]), vec![lost(), unsent()]].concat();
        for (when, answer) in seconds.into_iter().filter(|_| apart) {
            let behaviour = Behaviour::Roles(begin(action), STATE_CHANGES, answer);
            let (said, seen) = step(bench, &ticket, action, false, behaviour).await?;
            let when = format!("{} when the request after the comment {when}", action.name());
            judge_second(&said, &seen).map_err(|verdict| verdict.when(&when))?;
        }
    }
    Ok(())
}

/// Judges what is said after the request with the comment failed so.
fn judge_first(answer: &HttpAnswer, said: &Said<Updated>, seen: &Seen) -> Done {
    let sent = comments(seen);
    if sent > 1 {
        return Err(fail(format!("it sends the comment {sent} times: there may be as many")));
    }
    match said {
        Said::Reply(updated) if updated.done => Err(fail(
            "its reply says that the step is done, and nobody knows that the comment is there",
        )),
        Said::Error(PluginError { partial: true, .. }) => {
            Err(fail("\"partial\" says that the comment is written, which nobody knows"))
        }
        Said::Error(PluginError { retry: Retry::Unknown, .. }) => Ok(()),
        other if matches!(answer, HttpAnswer::Unknown(_)) => Err(fail(format!(
            "the comment may be written: retry must be \"unknown\"; update() gives {other}"
        ))),
        _ => Ok(()),
    }
}

/// Judges what is said after the comment was written and the state's change failed.
fn judge_second(said: &Said<Updated>, seen: &Seen) -> Done {
    let sent = comments(seen);
    if sent > 1 {
        return Err(fail(format!("it sends the comment {sent} times")));
    }
    match said {
        Said::Error(error) if error.partial || error.retry == Retry::Unknown => Ok(()),
        Said::Error(_) => Err(fail(format!(
            "the comment is written, and the error isn't \"partial\": the host has it written again; update() gives {said}"
        ))),
        _ => Err(fail(format!("the state wasn't changed, and update() gives {said}"))),
    }
}

async fn update_retry(bench: &mut Bench) -> Done {
    let (actions, ticket) = ready(bench).await?;
    let not_sent = || ("is NOT_SENT".to_owned(), HttpAnswer::NotSent("the validator".to_owned()));
    let statuses = |codes: &[u16]| -> Vec<(String, HttpAnswer)> {
        codes.iter().map(|code| (format!("is answered {code}"), refused(*code))).collect()
    };
    let mut warning = None;
    for action in actions {
        let Some((first, apart)) = requests(bench, &ticket, action).await? else { continue };
        for (when, answer) in [statuses(&[429]), vec![not_sent()]].concat() {
            let behaviour = Behaviour::Roles(begin(action), first, answer.clone());
            let (said, _) = step(bench, &ticket, action, false, behaviour).await?;
            let when = format!("{} when the request with the comment {when}", action.name());
            let Said::Error(error) = &said else { continue };
            if let Judged::Wrong(what) = retries::judge(&answer, error.retry) {
                return Err(fail(format!("{what}; update() gives {said}")).when(&when));
            }
            let behaviour = Behaviour::Roles(begin(action), STATE_CHANGES, answer);
            let (said, _) = step(bench, &ticket, action, false, behaviour).await?;
            let later = matches!(&said, Said::Error(error) if error.retry == Retry::Later);
            if apart && !later {
                let when = when.replace("with the comment", "after the comment");
                warning.get_or_insert(format!(
                    "{when}: retry should be \"later\"; update() gives {said}"
                ));
            }
        }
        for code in [400, 422] {
            let answer = answered(code, r#"{"message": "the validator"}"#);
            let behaviour = Behaviour::Roles(begin(action), first, answer.clone());
            let (said, _) = step(bench, &ticket, action, false, behaviour).await?;
            let Said::Error(error) = &said else { continue };
            if let Judged::Wrong(what) = retries::judge(&answer, error.retry) {
                let when = format!(
                    "{} when the request with the comment is answered {code}",
                    action.name()
                );
                return Err(fail(format!("{what}; update() gives {said}")).when(&when));
            }
        }
    }
    warning.map_or(Ok(()), |what| Err(warn(what)))
}

async fn update_dry_run(bench: &mut Bench) -> Done {
    let (actions, ticket) = ready(bench).await?;
    if !bench.manifest()?.permissions.is_empty() && !bench.manifest()?.dry_run {
        return Err(skip("it does more than HTTP, and offers no dry run"));
    }
    for action in actions {
        let mut request = request(&ticket, action.name(), false);
        request["dry_run"] = true.into();
        let (said, _) = send(bench, request, Behaviour::Always(HttpAnswer::DryRun)).await?;
        match said {
            Said::Error(PluginError { kind: ErrorKind::Client, partial: false, .. }) => {}
            Said::Reply(updated) if !updated.done || updated.preview.is_some() => {}
            Said::Error(_) => {
                return Err(warn(format!(
                    "{}: update() gives {said}, and no client error",
                    action.name()
                )));
            }
            other => {
                return Err(fail(format!(
                    "{}: nothing was sent, and update() gives {other}",
                    action.name()
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::Error;

    use super::*;

    /// What was sent: requests of these roles, whose bodies say this and which ended so.
    fn seen(sent: &[(Role, &str, HttpAnswer)]) -> Seen {
        let exchanges = sent
            .iter()
            .map(|(role, body, answer)| Exchange::posted(*role, "", body, answer.clone()));
        Seen { exchanges: exchanges.collect(), ..Seen::default() }
    }

    fn replied(done: bool, state: TicketState) -> Said<Updated> {
        Said::Reply(Updated { done, state, ..Updated::default() })
    }

    fn ok() -> HttpAnswer {
        answered(200, "")
    }

    #[test]
    fn a_step_is_one_comment_with_its_id_and_then_the_state() {
        use Role::{Close, Comment, Reopen, State};
        let (comment, both) = (format!("{WORD} {STEP}"), format!("{WORD} {STEP} closed"));
        let comment = comment.as_str();
        for (action, sent, right) in [
            (Action::Comment, vec![(State, ""), (Comment, comment)], true),
            (Action::Comment, vec![(Comment, WORD)], false),
            (Action::Comment, vec![], false),
            (Action::Comment, vec![(Comment, comment), (Comment, comment)], false),
            (Action::Comment, vec![(Comment, comment), (Close, "")], false),
            (Action::Close, vec![(Comment, comment), (Close, "")], true),
            (Action::Close, vec![(Close, &both)], true),
            (Action::Close, vec![(Close, STEP)], false),
            (Action::Close, vec![(Comment, comment)], false),
            (Action::Close, vec![(Close, ""), (Comment, comment)], false),
            (Action::Close, vec![(Comment, comment), (Close, &both)], false),
            (Action::Close, vec![(Comment, comment), (Reopen, "")], false),
        ] {
            let sent: Vec<_> = sent.into_iter().map(|(role, body)| (role, body, ok())).collect();
            let closed = action == Action::Close;
            let state = if closed { TicketState::Closed } else { TicketState::Open };
            let judged = is_carried_out(action, true, &replied(true, state), &seen(&sent));
            assert_eq!(judged.is_ok(), right, "{action:?} {sent:?}: {judged:?}");
        }
    }

    #[test]
    fn a_comment_that_may_be_written_is_unknown_and_one_that_is_written_partial() {
        let error = |retry, partial| {
            Said::Error(Error { partial, ..Error::client("the validator").retry(retry) })
        };
        let lost = HttpAnswer::Unknown(String::new());
        let refused = answered(422, "");
        for (answer, said, first, second) in [
            (&lost, error(Retry::Unknown, false), true, true),
            (&lost, error(Retry::Later, false), false, false),
            (&lost, error(Retry::Unknown, true), false, true),
            (&refused, error(Retry::Never, false), true, false),
            (&refused, error(Retry::Never, true), false, true),
            (&refused, replied(true, TicketState::Closed), false, false),
        ] {
            let once = seen(&[(Role::Comment, WORD, answer.clone())]);
            assert_eq!(judge_first(answer, &said, &once).is_ok(), first, "{answer:?} {said}");
            assert_eq!(judge_second(&said, &once).is_ok(), second, "{answer:?} {said}");
        }
        let twice = seen(&[(Role::Comment, WORD, lost.clone()), (Role::Comment, WORD, ok())]);
        assert!(judge_first(&lost, &error(Retry::Unknown, false), &twice).is_err());
        let unsent = HttpAnswer::NotSent(String::new());
        let again =
            seen(&[(Role::Comment, WORD, unsent.clone()), (Role::Comment, WORD, lost.clone())]);
        assert!(judge_first(&lost, &error(Retry::Unknown, false), &again).is_ok());
    }

    #[test]
    fn a_persons_state_stands() {
        use TicketState::{Closed, Open};
        for (action, done, state, right) in [
            (Action::Comment, false, Closed, true),
            (Action::Close, true, Closed, false),
            (Action::Close, false, Open, false),
            (Action::Reopen, false, Open, true),
            (Action::Reopen, true, Open, false),
        ] {
            let judged = is_left_alone(action, &replied(done, state), &seen(&[]));
            assert_eq!(judged.is_ok(), right, "{action:?} {done} {state:?}");
        }
        let wrote = seen(&[(Role::Comment, WORD, ok())]);
        assert!(is_left_alone(Action::Close, &replied(false, Closed), &wrote).is_err());
    }
}
