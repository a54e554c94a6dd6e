//! What a plugin makes of its ticket system's own answers with something missing in them, or something new.

use serde_json::Value;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};
use ticket_plugin_api::{Retry, Ticket};

use super::calls::{created, find, is_found};
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{
    Behaviour, Exchange, Role, Seen, When, lacking, of_others, with_another,
};
use crate::validate::source::{is_founded, is_in, names};
use crate::validate::{Done, fail, skip, warn};

cases! {
    "answer-lacks" answer_lacks "create() doesn't take an answer for a ticket that lacks what the ticket's URL is made of";
    "answer-differs" answer_differs "create() gives the URL of the ticket that the answer tells of, whatever its number is";
    "answer-grows" answer_grows "takes a ticket's URL from where it stands in an answer, and ignores members that it doesn't know, whatever is in them";
}

/// An answer whose body is JSON.
pub(super) struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    pub json: Value,
}

impl Answered {
    pub(super) fn of(answer: &HttpAnswer) -> Option<Answered> {
        let HttpAnswer::Answered { status, headers, body } = answer else { return None };
        let json = serde_json::from_slice(body).ok()?;
        Some(Answered { status: *status, headers: headers.clone(), json })
    }

    /// The same answer without its headers.
    fn body_alone(&self) -> HttpAnswer {
        let headers = Vec::new();
        HttpAnswer::Answered { status: self.status, headers, body: self.json.to_string().into() }
    }

    /// The same answer with another body.
    pub(super) fn with(&self, json: &Value) -> HttpAnswer {
        let (status, headers) = (self.status, self.headers.clone());
        HttpAnswer::Answered { status, headers, body: json.to_string().into_bytes() }
    }
}

/// The last answer in JSON to a request of this role.
fn last(seen: &Seen, role: Role) -> Option<Answered> {
    let of_role = |exchange: &&Exchange| exchange.role == role;
    seen.exchanges.iter().rev().filter(of_role).find_map(|exchange| Answered::of(&exchange.answer))
}

async fn answer_lacks(bench: &mut Bench) -> Done {
    let (made, seen) = created(bench, KEY).await?;
    let Some(answered) = last(&seen, Role::Create) else {
        return Err(skip("needs a scripted answer to create() in JSON"));
    };
    let settings = bench.settings.json();
    for (what, body) in lacking(&answered.json) {
        let behaviour = Behaviour::Creations(answered.with(&body));
        let (answer, seen) = bench.call(Operation::Create, &incident(), KEY, behaviour).await?;
        let told = |ticket: &Ticket| is_founded(&ticket.url, KEY, &settings, &seen);
        if let Some(wrong) = judge(&made, &answer, told) {
            return Err(fail(format!(
                "when the answer to create() has {what}: {wrong}; it gives {answer}"
            )));
        }
    }
    Ok(())
}

/// What is wrong with what create() makes of a success in which something is missing. `told` is whether a ticket's URL comes
/// from what the plugin was told.
fn judge(made: &Ticket, answer: &Answer, told: impl Fn(&Ticket) -> bool) -> Option<&'static str> {
    match answer {
        Answer::Ticket(ticket) if ticket.url != made.url && !told(ticket) => {
            Some("nothing that it was told is in the ticket's URL")
        }
        Answer::Error(error) if error.retry != Retry::Unknown => {
            Some("the ticket may exist: retry must be \"unknown\"")
        }
        _ => None,
    }
}

async fn answer_differs(bench: &mut Bench) -> Done {
    let (made, seen) = created(bench, KEY).await?;
    let Some((answered, name)) = naming(&made, &seen, Role::Create) else {
        return Err(skip(
            "needs a scripted answer to create() in JSON that has what ends the ticket's URL",
        ));
    };
    for (other, body) in of_others(&answered.json, &name) {
        let behaviour = Behaviour::Creations(answered.with(&body));
        let (answer, _) = bench.call(Operation::Create, &incident(), KEY, behaviour).await?;
        if let Answer::Ticket(ticket) = &answer
            && !names(&ticket.url).contains(&other)
        {
            return Err(fail(format!(
                "when create() is answered with {other} in the place of {name}, it gives {answer}"
            )));
        }
    }
    Ok(())
}

/// The last answer in JSON to a request of this role, and what in it names the ticket in its URL.
fn naming(made: &Ticket, seen: &Seen, role: Role) -> Option<(Answered, String)> {
    let answered = last(seen, role)?;
    let name = names(&made.url).into_iter().find(|name| is_in(&answered.body_alone(), name))?;
    Some((answered, name))
}

async fn answer_grows(bench: &mut Bench) -> Done {
    let (made, seen) = created(bench, KEY).await?;
    let grown = |seen: &Seen, role| {
        let (answered, name) = naming(&made, seen, role)?;
        Some(answered.with(&with_another(&answered.json, &name)))
    };
    if let Some(answer) = grown(&seen, Role::Create) {
        let behaviour = Behaviour::Creations(answer);
        let created = bench.call(Operation::Create, &incident(), KEY, behaviour).await?;
        is_same(&made, &created)
            .map_err(|verdict| verdict.when("when the answer to create() has more members"))?;
    }
    let (answer, seen) = find(bench, KEY, Behaviour::Script(When::Made)).await?;
    let finds = matches!(answer, Answer::Ticket(_));
    if let Some(answer) = grown(&seen, Role::Search).filter(|_| finds) {
        let found = find(bench, KEY, Behaviour::Found(answer)).await?;
        is_same(&made, &found)
            .map_err(|verdict| verdict.when("when a search's answer has more members"))?;
    }
    Ok(())
}

/// Whether this is the ticket that create() made. Of one that isn't recognized any more nothing wrong is said.
fn is_same(made: &Ticket, answer: &(Answer, Seen)) -> Done {
    match &answer.0 {
        Answer::Error(error) => {
            Err(warn(format!("there is a ticket, and it says: {}", error.message)))
        }
        _ => is_found(made, answer),
    }
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::Error;

    use super::*;

    #[test]
    fn a_success_without_what_the_url_is_made_of_may_have_made_a_ticket_of_no_url() {
        let ticket = |url: &str| Ticket { url: url.to_owned(), ..Ticket::default() };
        let error = |retry| Answer::Error(Error::client("the validator").retry(retry));
        let made = ticket("https://t.example.org/17");
        for (answer, told, wrong) in [
            (Answer::Ticket(ticket("https://t.example.org/17")), false, false),
            (Answer::Ticket(ticket("https://t.example.org/0")), false, true),
            (Answer::Ticket(ticket("https://t.example.org/by-key/17")), true, false),
            (error(Retry::Unknown), false, false),
            (error(Retry::Never), false, true),
            (error(Retry::Later), false, true),
        ] {
            assert_eq!(judge(&made, &answer, |_| told).is_some(), wrong, "{answer}");
        }
    }
}
