//! Whether Argus knows the filter's parameters. It ignores those that it doesn't know, and would list all incidents.

use std::collections::BTreeMap;

use serde_json::Value;
use url::form_urlencoded;

use crate::config::guess;
use crate::error::{Error, Result};

/// Where Argus's schema has the list of incidents.
const LIST: &str = "/api/v2/incidents/";

/// The parameters of Argus's list of incidents.
#[derive(Debug)]
pub(super) struct Parameters {
    /// By its name, whether a parameter takes nothing but true and false.
    flags: BTreeMap<String, bool>,
}

impl Parameters {
    /// Those of a schema of Argus's (OpenAPI), if it has them.
    pub(super) fn of(schema: &Value) -> Option<Parameters> {
        let listed = schema.get("paths")?.get(LIST)?.get("get")?.get("parameters")?.as_array()?;
        let flags = listed.iter().filter_map(|parameter| {
            let words = parameter.pointer("/schema/enum").and_then(Value::as_array);
            let is_flag = words.is_some_and(|words| words.iter().any(|word| word == "true"));
            Some((parameter.get("name")?.as_str()?.to_owned(), is_flag))
        });
        let flags: BTreeMap<String, bool> = flags.collect();
        (!flags.is_empty()).then_some(Parameters { flags })
    }

    /// # Errors
    /// A settings error: Argus would ignore a part of the filter.
    pub(super) fn check(&self, filter: &str) -> Result<()> {
        for (name, value) in form_urlencoded::parse(filter.as_bytes()) {
            match self.flags.get(name.as_ref()) {
                None => return Err(self.unknown(&name)),
                Some(true) if !is_flag(&value) => {
                    return Err(ignored(format!("{name} is {value:?}, and must be true or false")));
                }
                Some(_) if value.is_empty() => {
                    return Err(ignored(format!("{name} has no value")));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> Error {
        let names = || self.flags.keys().map(String::as_str);
        let error = Error::settings(format!("argus.filter: Argus knows no parameter {name:?}"));
        let known = match guess::nearest(name, names()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("it knows {}.", names().collect::<Vec<_>>().join(", ")),
        };
        error.help(format!(
            "{known} Argus would ignore it and list more than is meant, so nothing is filed"
        ))
    }
}

/// What Argus reads as true or false.
fn is_flag(value: &str) -> bool {
    ["true", "false", "1", "0"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn ignored(what: String) -> Error {
    Error::settings(format!("argus.filter: {what}"))
        .help("mend it; Argus would ignore it and list more than is meant, so nothing is filed")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_argus_would_ignore_is_refused() {
        let flag = json!({"type": "string", "enum": ["false", "true"]});
        let schema = json!({"paths": {LIST: {"get": {"parameters": [
            {"name": "acked", "schema": flag}, {"name": "tags", "schema": {"type": "string"}},
            {"name": "level__lte", "schema": {"type": "string", "enum": [1, 2, 3, 4, 5]}}]}}}});
        let parameters = Parameters::of(&schema).unwrap();
        for good in ["", "level__lte=3&acked=false", "acked=True&acked=0&", "tags=a%3Db,c%3Dd"] {
            parameters.check(good).unwrap();
        }
        for (bad, message, help) in [
            ("level__lte=2&levle__lte=2", "knows no parameter \"levle__lte\"", "mean level__lte?"),
            ("nothing=1", "knows no parameter \"nothing\"", "it knows acked, level__lte, tags"),
            ("level__lte", "level__lte has no value", "nothing is filed"),
            ("acked=flase", "acked is \"flase\", and must be true or false", "nothing is filed"),
            ("acked=", "acked is \"\", and must be", "nothing is filed"),
        ] {
            let error = parameters.check(bad).unwrap_err();
            assert!(error.message.contains(message), "{bad}: {error:?}");
            assert!(error.help.unwrap().contains(help), "{bad}");
        }
        for none in [json!({}), json!({"paths": {LIST: {"get": {"parameters": []}}}}), json!(null)]
        {
            assert!(Parameters::of(&none).is_none(), "{none}");
        }
    }
}
