//! Which of an issue's transitions closes it or opens it again, and the fields that go with it.
//!
//! Source: GET and POST issue/KEY/transitions in both REST references.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ticket_plugin_api::{Action, Call, Error, Request, Result, Step, TicketState, Url};

use crate::fields::{Dialect, Schema, called};
use crate::{Jira, life};

/// The fields that a step never sets, even where they are empty: they are people's, or other parts of the step.
const KEPT: [&str; 6] = ["summary", "description", "labels", "comment", "project", "issuetype"];

/// What is sent to change an issue's state.
pub(crate) struct Plan {
    pub(crate) body: Value,
    /// The name of each field of the transition's screen, by its id.
    pub(crate) names: BTreeMap<String, String>,
    /// What isn't set as the operator wants it: a sentence each.
    pub(crate) warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Transitions {
    transitions: Vec<Transition>,
}

#[derive(Deserialize)]
struct Transition {
    id: String,
    #[serde(default)]
    name: String,
    to: life::Status,
    /// What its screen has, by the fields' ids.
    #[serde(default)]
    fields: BTreeMap<String, Field>,
}

#[derive(Deserialize)]
struct Field {
    #[serde(default)]
    name: String,
    #[serde(default)]
    required: bool,
    #[serde(rename = "hasDefaultValue", default)]
    has_default: bool,
    #[serde(default)]
    schema: Schema,
}

/// An issue's fields by their ids, as far as they were asked for.
#[derive(Deserialize)]
struct Values {
    fields: BTreeMap<String, Value>,
}

/// What becomes of a screen's fields.
#[derive(Default)]
struct Filled {
    values: Map<String, Value>,
    /// What Jira demands and nobody gives.
    missing: Vec<String>,
    warnings: Vec<String>,
}

/// The transition that an action takes, as the operator names it in the settings.
pub(crate) fn named(jira: &Jira, action: Action) -> Option<&str> {
    let Jira { information, .. } = jira;
    let named = match action {
        Action::Reopen => &information.reopen_transition,
        _ => &information.close_transition,
    };
    named.as_deref().map(str::trim).filter(|name| !name.is_empty())
}

/// The fields that the operator gives: those for closing.
pub(crate) fn given(step: &Step) -> Map<String, Value> {
    if step.action == Action::Close { step.fields.clone() } else { Map::new() }
}

/// Whether a step never sets what is called so.
pub(crate) fn is_kept(name: &str) -> bool {
    KEPT.contains(&name.to_lowercase().as_str())
}

/// Where all transitions of an issue are, with their screens.
pub(crate) fn list(issue: &Url) -> Url {
    issue.clone().segment("transitions").query("expand", "transitions.fields")
}

/// Chooses the transition. Of several it is one whose screen demands nothing that nobody gives; then one that takes most of what
/// is given; when opening again, then one that leads to a status of the category "new"; then the first as Jira orders them.
pub(crate) fn plan(jira: &Jira, call: &Call, issue: &Url, step: &Step) -> Result<Plan> {
    let (client, dialect) = (&jira.client, jira.dialect());
    let answer = client.send(call, Request::get(list(issue)))?;
    let Transitions { transitions } = client.read(&answer, "the issue's transitions")?;
    let wanted = named(jira, step.action);
    let fitting = fitting(&transitions, step.action, wanted);
    let given = given(step);
    let values = values(jira, call, issue, &fitting, &given)?;
    let filled = fitting.into_iter().map(|transition| {
        let filled = transition.fill(&given, &values, dialect);
        (transition, filled)
    });
    let chosen = filled.min_by_key(|(transition, filled)| {
        let is_new = transition.to.category.key == "new";
        let prefers_new = step.action == Action::Reopen && is_new;
        (!filled.missing.is_empty(), filled.warnings.len(), Reverse(prefers_new))
    });
    let Some((transition, filled)) = chosen else {
        return Err(no_way(step.action, wanted, &transitions));
    };
    if !filled.missing.is_empty() {
        return Err(demands(step.action, transition, &filled.missing));
    }
    let mut body = json!({"transition": {"id": transition.id}});
    if !filled.values.is_empty() {
        body["fields"] = Value::Object(filled.values);
    }
    let names = transition.fields.iter().map(|(id, field)| (id.clone(), field.name.clone()));
    Ok(Plan { body, names: names.collect(), warnings: filled.warnings })
}

/// The transitions that lead to the state that the action is for. Where the operator names one, those that have it as their id, else
/// those of that name, else those that lead to the status of that id, else of that name.
fn fitting<'a>(
    transitions: &'a [Transition],
    action: Action,
    wanted: Option<&str>,
) -> Vec<&'a Transition> {
    let goal = if action == Action::Reopen { TicketState::Open } else { TicketState::Closed };
    let leading = transitions.iter().filter(|transition| transition.to.state() == goal);
    let leading: Vec<&Transition> = leading.collect();
    let Some(wanted) = wanted.map(str::to_lowercase) else { return leading };
    let names: [fn(&Transition) -> &str; 4] =
        [|it| &it.id, |it| &it.name, |it| &it.to.id, |it| &it.to.name];
    let of_name = |name: &fn(&Transition) -> &str| -> Vec<&Transition> {
        leading.iter().copied().filter(|it| name(it).to_lowercase() == wanted).collect()
    };
    names.iter().map(of_name).find(|found| !found.is_empty()).unwrap_or_default()
}

/// The values that the issue has of what the screens demand and the operator gives.
fn values(
    jira: &Jira,
    call: &Call,
    issue: &Url,
    transitions: &[&Transition],
    given: &Map<String, Value>,
) -> Result<BTreeMap<String, Value>> {
    let client = &jira.client;
    let mut ids: Vec<&str> = Vec::new();
    for transition in transitions {
        let demanded = transition.fields.iter().filter(|(_, field)| field.is_demanded());
        ids.extend(demanded.map(|(id, _)| id.as_str()));
        ids.extend(given.keys().flat_map(|name| transition.called(name)));
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let url = issue.clone().query("fields", &ids.join(","));
    let answer = client.send(call, Request::get(url))?;
    client.read(&answer, "the issue's fields").map(|Values { fields }| fields)
}

impl Transition {
    /// The ids of the screen's fields that are called so.
    fn called(&self, name: &str) -> Vec<&str> {
        called(self.fields.iter().map(|(id, field)| (id.as_str(), field.name.as_str())), name)
    }

    /// Fills the screen in with what is given. What the issue has a value of stays, since people may have edited it.
    fn fill(
        &self,
        given: &Map<String, Value>,
        values: &BTreeMap<String, Value>,
        dialect: Dialect,
    ) -> Filled {
        let mut filled = Filled::default();
        let has_value = |id: &str| values.get(id).is_some_and(|value| !is_empty(value));
        for (name, value) in given {
            let ids = self.called(name);
            let why = match ids[..] {
                _ if is_kept(name) => kept(),
                [] => format!("is not set, since the transition {} doesn't ask for it", self.name),
                [id] if is_kept(id) || has_value(id) => kept(),
                [id] => match self.fields[id].schema.value_of(value, dialect) {
                    Ok((value, warning)) => {
                        filled.values.insert(id.to_owned(), value);
                        let Some(warning) = warning else { continue };
                        warning
                    }
                    Err(why) => format!("is not set: {why}"),
                },
                [..] => format!(
                    "is not set, since {} fields have that name; name one by its id: {}",
                    ids.len(),
                    ids.join(", ")
                ),
            };
            filled.warnings.push(format!("{name}: {why}"));
        }
        let missing = self.fields.iter().filter(|(id, field)| {
            field.is_demanded() && !has_value(id) && !filled.values.contains_key(*id)
        });
        filled.missing = missing.map(|(id, field)| format!("{} ({id})", field.name)).collect();
        filled
    }
}

impl Field {
    fn is_demanded(&self) -> bool {
        self.required && !self.has_default
    }
}

fn kept() -> String {
    "is left as it is, since people may have edited it".to_owned()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The setting that names the transition, and what it is for.
fn words(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Reopen => ("reopen_transition", "opens the issue again"),
        _ => ("close_transition", "closes the issue"),
    }
}

fn no_way(action: Action, wanted: Option<&str>, transitions: &[Transition]) -> Error {
    let (setting, does) = words(action);
    let called = wanted.map(|name| format!(" and is called {name:?}, as {setting} says"));
    let each = transitions.iter().map(|it| format!("{} -> {}", it.name, it.to.name));
    let each: Vec<String> = each.collect();
    let possible = if each.is_empty() { "none".to_owned() } else { each.join(", ") };
    Error::creation(format!(
        "the issue's workflow has no transition that {does}{}; those that the login can take now: {possible}; add one that leads \
         to a status of the right category, or give the login Transition Issues",
        called.unwrap_or_default()
    ))
}

fn demands(action: Action, transition: &Transition, missing: &[String]) -> Error {
    let (setting, does) = words(action);
    let how = match action {
        Action::Reopen => "fill them in on the issue",
        _ => "give them in close_fields of the backend",
    };
    Error::creation(format!(
        "the transition {} that {does} demands fields that have no value: {}; {how}, or name another transition in {setting}",
        transition.name,
        missing.join(", ")
    ))
}
