//! `ticket-host queue audit`: who did what, newest first, as lines or as JSON.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::note;
use crate::cli::output::{print, print_json};
use crate::error::Result;
use crate::store::{Entries, Entry, Store};
use crate::terminal::line;

const EXAMPLES: &str = "\
Examples:
  ticket-host queue audit
  ticket-host queue audit --ticket 17
  ticket-host queue audit --limit 1000 --json";

/// Who did what: on the command line, by the API, in the console, and when the config changed. Times are in UTC
///
/// The newest hundred thousand entries are kept.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::cli::with_exit_codes(EXAMPLES))]
pub(in crate::cli) struct Arguments {
    /// Only what was done to this ticket
    #[arg(long, value_name = "ID")]
    ticket: Option<i64>,
    /// The newest N
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
}

/// Prints the entries.
///
/// # Errors
/// The store can't be read.
pub(super) async fn run(
    store: &dyn Store,
    arguments: &Arguments,
    as_json: bool,
) -> Result<ExitCode> {
    let Arguments { ticket, limit } = *arguments;
    let which = Entries { ticket, most: limit + 1, ..Entries::default() };
    let mut entries = store.deeds(&which).await?;
    let more = entries.len() as i64 > limit;
    entries.truncate(limit as usize);
    if as_json {
        let entries: Vec<Value> = entries.iter().map(shown).collect();
        print_json(&json!({"entries": entries, "more": more}))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&entries.iter().map(text).collect::<String>())?;
    if more {
        note(&format!("these are the newest {limit}, and there are more: --limit N shows so many"));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(entry: &Entry) -> Value {
    let Entry { id, at, who, way, what, ticket, detail } = entry;
    json!({
        "id": id, "at": at.rfc3339(), "who": who, "way": way, "what": what, "ticket": ticket, "detail": detail,
    })
}

fn text(entry: &Entry) -> String {
    let ticket = entry.ticket.map(|id| format!(" ticket {id}")).unwrap_or_default();
    let detail = if entry.detail.is_empty() { "" } else { ": " };
    let said = format!(
        "{}  {} ({})  {}{ticket}{detail}{}",
        entry.at.second().rfc3339(),
        entry.who,
        entry.way,
        entry.what,
        entry.detail
    );
    format!("{}\n", line(&said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Timestamp;

    #[test]
    fn an_entry_is_one_line_whatever_was_said() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let entry = Entry {
            id: 3,
            at,
            who: "alice as ticket-host".to_owned(),
            way: "cli".to_owned(),
            what: "close".to_owned(),
            ticket: Some(17),
            detail: "a\nb".to_owned(),
        };
        assert_eq!(
            text(&entry),
            "2023-11-14T22:13:20Z  alice as ticket-host (cli)  close ticket 17: a\\nb\n"
        );
        let entry = Entry { ticket: None, detail: String::new(), ..entry };
        assert_eq!(text(&entry), "2023-11-14T22:13:20Z  alice as ticket-host (cli)  close\n");
    }
}
