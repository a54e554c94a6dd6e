//! The file that says which cases are not run, and why: `case-name = "reason"` on each line.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;

use super::is_case;
use crate::error::{Error, Result};

/// The cases' names with the reasons.
///
/// # Errors
/// A usage error that names the file and the key: it can't be read, a name is no case's, or there is no reason.
pub(crate) fn load(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Error::usage(format!("{}: can't be read", path.display())).cause(cause))?;
    read(&text).map_err(|error| error.at(&path.display().to_string()))
}

fn read(text: &str) -> Result<BTreeMap<String, String>> {
    let lines: BTreeMap<String, Value> = toml::from_str(text)
        .map_err(|cause| Error::usage(cause.message().to_owned()).help(HELP))?;
    let mut reasons = BTreeMap::new();
    for (name, value) in lines {
        is_case(&name)?;
        match value {
            Value::String(reason) if !reason.trim().is_empty() => {
                reasons.insert(name, reason.trim().to_owned());
            }
            Value::String(_) => {
                return Err(Error::usage(format!("{name}: the reason is empty")).help(HELP));
            }
            _ => return Err(Error::usage(format!("{name}: must be a text")).help(HELP)),
        }
    }
    Ok(reasons)
}

const HELP: &str = "write a line for each case that is not to be run: its name, and why, like find-exact = \"our search has no exact match\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_a_case_and_why_it_is_not_run() {
        let reasons = read("# ours\nfind-exact = \" no exact search \"\nleak = 'known'\n").unwrap();
        let expected = [("find-exact", "no exact search"), ("leak", "known")];
        assert_eq!(reasons, expected.map(|(name, why)| (name.to_owned(), why.to_owned())).into());
        assert_eq!(read("").unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_line_without_a_reason_or_a_case_is_refused_by_its_key() {
        for (text, why) in [
            ("nonsense = 'x'", "there is no case \"nonsense\""),
            ("leak = ''", "leak: the reason is empty"),
            ("leak = ' \t'", "leak: the reason is empty"),
            ("leak = true", "leak: must be a text"),
            ("leak = ['x']", "leak: must be a text"),
            ("leak.why = 'x'", "leak: must be a text"),
            ("[leak]\nwhy = 'x'", "leak: must be a text"),
            ("leak = 'x'\nleak = 'y'", "duplicate key"),
            ("leak", ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains(why) && error.help.is_some(), "{text}: {error:?}");
        }
    }
}
