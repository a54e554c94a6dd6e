//! One thing that `check` looked at, and what it found.

use serde_json::{Value, json};
use ticket_plugin_api::Check;

use crate::error::{Error, Kind};
use crate::store::Failure;
use crate::terminal::safe;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grade {
    /// It is in order.
    Ok,
    /// Something to know.
    Note,
    /// It works, and is most likely not what is meant.
    Warning,
    /// It can't work.
    Failed(Kind),
}

/// One line of what `check` prints.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub grade: Grade,
    /// What was looked at. Empty if `detail` says that too.
    pub name: String,
    pub detail: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Row {
    pub(super) fn new(grade: Grade, name: &str, detail: impl Into<String>) -> Row {
        Row { grade, name: name.to_owned(), detail: detail.into(), help: None }
    }

    pub(super) fn ok(name: &str, detail: impl Into<String>) -> Row {
        Row::new(Grade::Ok, name, detail)
    }

    pub(super) fn note(name: &str, detail: impl Into<String>) -> Row {
        Row::new(Grade::Note, name, detail)
    }

    pub(super) fn warning(name: &str, detail: impl Into<String>) -> Row {
        Row::new(Grade::Warning, name, detail)
    }

    /// The error as a row, with all its causes.
    pub(super) fn failed(name: &str, error: &Error) -> Row {
        let failure = Failure::from(error);
        Row {
            grade: Grade::Failed(error.kind),
            name: name.to_owned(),
            detail: failure.message,
            help: failure.help,
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Row {
        Row { help: Some(help.into()), ..self }
    }

    /// The row, as no failure: for what nobody said that it is needed.
    pub(super) fn excused(self) -> Row {
        match self.grade {
            Grade::Failed(_) => Row { grade: Grade::Note, ..self },
            _ => self,
        }
    }

    /// The row as a person reads it.
    pub(super) fn text(&self) -> String {
        let mark = match self.grade {
            Grade::Ok => "ok    ",
            Grade::Note => "note  ",
            Grade::Warning => "warn  ",
            Grade::Failed(_) => "FAILED",
        };
        let mut out = format!("  {mark}  {}\n", self.words());
        if let Some(help) = &self.help {
            out.push_str(&format!("          help: {help}\n"));
        }
        safe(&out)
    }

    fn words(&self) -> String {
        match self.name.as_str() {
            "" => self.detail.clone(),
            name => format!("{name}: {}", self.detail),
        }
    }
}

impl From<Check> for Row {
    /// What a plugin looked at.
    fn from(check: Check) -> Row {
        let grade = match check.ok {
            true => Grade::Ok,
            false => Grade::Failed(check.kind.map_or(Kind::Settings, Kind::from)),
        };
        let help = (!check.ok && !check.help.is_empty()).then_some(check.help);
        Row { grade, name: check.name, detail: check.message, help }
    }
}

/// The rows for programs.
pub(super) fn json_of(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let (grade, kind) = match row.grade {
            Grade::Ok => ("ok", None),
            Grade::Note => ("note", None),
            Grade::Warning => ("warning", None),
            Grade::Failed(kind) => ("failed", Some(kind)),
        };
        json!({"grade": grade, "name": row.name, "detail": row.detail, "help": row.help, "kind": kind})
    };
    rows.iter().map(row).collect()
}

/// The kind of the first failure among the rows.
pub(super) fn first_failure(rows: &[Row]) -> Option<Kind> {
    rows.iter().find_map(|row| match row.grade {
        Grade::Failed(kind) => Some(kind),
        _ => None,
    })
}
