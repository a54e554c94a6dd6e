//! One thing that `check` looked at, and what it found.

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
            Grade::Warning => "NOTE  ",
            Grade::Failed(_) => "FAILED",
        };
        let mut out = format!("  {mark}  {}: {}\n", self.name, self.detail);
        if let Some(help) = &self.help {
            out.push_str(&format!("          help: {help}\n"));
        }
        safe(&out)
    }
}

/// The kind of the first failure among the rows.
pub(super) fn first_failure(rows: &[Row]) -> Option<Kind> {
    rows.iter().find_map(|row| match row.grade {
        Grade::Failed(kind) => Some(kind),
        _ => None,
    })
}
