//! `ticket-host queue list`: what was accepted, newest first, as a table or as JSON.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::{PAGE, Which};
use crate::cli::output::{error_json, print};
use crate::cli::{note, report};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::serve::JobView;
use crate::store::{Cursor, Filter, Job, State, Store, Timestamp};
use crate::terminal::{line, safe_json};
use crate::tickets::remarks;

/// Tickets that are listed if nobody says how many.
const LIMIT: i64 = 100;
/// Characters that a column is at most filled up to: one long key shall not make all other rows as long.
const WIDEST: usize = 60;
/// What is said instead of the next try of a ticket that waits for a backend which the config doesn't have.
const NO_BACKEND: &str = "no backend";

const EXAMPLES: &str = "\
Examples:
  ticket-host queue list --state failed --since 2d
  ticket-host queue list --since 2026-07-26T08:00:00+02:00 --backend noc-rt
  ticket-host queue list --all --json";

/// List tickets, the newest first. Times are in UTC
#[derive(Debug, clap::Args)]
#[command(after_help = crate::cli::with_exit_codes(EXAMPLES))]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Accepted since then: a time as in RFC 3339, or how long ago, as 90s, 30m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// The newest N [default: 100]
    #[arg(long, value_name = "N", value_parser = limit, conflicts_with = "all")]
    limit: Option<i64>,
    /// As many as there are
    #[arg(long)]
    all: bool,
}

fn since(text: &str) -> std::result::Result<Timestamp, String> {
    since_before(text, Timestamp::now())
}

/// A moment that is named, or that was so long before `now`.
fn since_before(text: &str, now: Timestamp) -> std::result::Result<Timestamp, String> {
    let ago = || {
        let unit = text.chars().last()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return None,
        };
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(now - Duration::from_secs(number.checked_mul(seconds)?))
    };
    Timestamp::from_rfc3339(text).or_else(ago).ok_or_else(|| {
        "say how long ago, as 90s, 30m, 2h or 7d, or when, as 2026-07-26T10:00:00Z".to_owned()
    })
}

fn limit(text: &str) -> std::result::Result<i64, String> {
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err("say 1 or more; --all lists as many as there are".to_owned()),
    }
}

/// Prints the list. JSON that has begun is ended whatever becomes of the store: then it tells of the error itself.
pub(super) async fn run(
    store: &dyn Store,
    config: &Config,
    arguments: &Arguments,
    as_json: bool,
) -> Result<ExitCode> {
    let read = async |filter: &Filter| Ok(store.list(filter).await?);
    let limit = arguments.limit.unwrap_or(LIMIT);
    let most = if arguments.all { i64::MAX } else { limit };
    let filter = Filter { since: arguments.since, ..arguments.which.filter() };
    let shown = |page: Vec<Job>, is_first| {
        if as_json { json_rows(page, is_first) } else { table(&page, is_first, config) }
    };
    let Listed { more, broke } = pages(read, filter, most, shown, print).await?;
    if as_json {
        print(&end_of_json(more, broke.as_ref()))?;
    }
    match broke {
        Some(error) => {
            report(&error);
            return Ok(ExitCode::from(error.kind.exit_code()));
        }
        None if more && !as_json => note(&format!(
            "these are the newest {limit}, and there are more: --limit N shows so many, --all shows all"
        )),
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// How a list ended of which at least one page was printed.
#[derive(Debug)]
struct Listed {
    more: bool,
    /// Why the rest could not be read.
    broke: Option<Error>,
}

/// Reads the newest `most` rows page by page and prints each, so that a list has no bound of its own.
///
/// # Errors
/// The first page can't be read, or one can't be printed.
async fn pages(
    read: impl AsyncFn(&Filter) -> Result<Vec<Job>>,
    mut filter: Filter,
    most: i64,
    shown: impl Fn(Vec<Job>, bool) -> String,
    print: impl Fn(&str) -> Result<()>,
) -> Result<Listed> {
    filter.cursor = Cursor::Before(i64::MAX);
    let (mut left, mut is_first) = (most, true);
    loop {
        let size = left.min(PAGE);
        // One more than is shown tells whether there is more.
        filter.most = size + 1;
        let mut page = match read(&filter).await {
            Ok(page) => page,
            Err(error) if is_first => return Err(error),
            Err(error) => return Ok(Listed { more: true, broke: Some(error) }),
        };
        let more = page.len() as i64 > size;
        page.truncate(size as usize);
        left -= page.len() as i64;
        if let Some(last) = page.last() {
            filter.cursor = Cursor::Before(last.id);
        }
        print(&shown(page, is_first))?;
        is_first = false;
        if !more || left == 0 {
            return Ok(Listed { more, broke: None });
        }
    }
}

/// What ends the list that [`json_rows`] begins.
fn end_of_json(more: bool, broke: Option<&Error>) -> String {
    let error = broke.map(|error| format!(", \"error\": {}", error_json(error)));
    safe_json(&format!("\n], \"more\": {more}{}}}\n", error.unwrap_or_default()))
}

/// The rows of a page as JSON, a line each. The first page begins the list.
fn json_rows(page: Vec<Job>, is_first: bool) -> String {
    let mut out = if is_first { "{\"tickets\": [".to_owned() } else { String::new() };
    for (nth, job) in page.into_iter().enumerate() {
        out.push_str(if is_first && nth == 0 { "\n" } else { ",\n" });
        out.push_str(&safe_json(&json!(JobView::from(job)).to_string()));
    }
    out
}

/// A page as a table, whose columns are as wide as its rows need. The first page begins with a header.
fn table(page: &[Job], is_first: bool, config: &Config) -> String {
    if page.is_empty() {
        return if is_first { "nothing\n".to_owned() } else { String::new() };
    }
    const HEADER: [&str; 7] =
        ["ID", "STATE", "ACCEPTED", "NEXT TRY", "BACKEND", "KEY", "TICKET OR ERROR"];
    let header = is_first.then(|| HEADER.map(str::to_owned));
    let rows: Vec<[String; 7]> =
        header.into_iter().chain(page.iter().map(|job| cells(job, config))).collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        let of_column = rows.iter().map(|row| row[column].chars().count());
        of_column.max().unwrap_or(0).min(WIDEST)
    });
    let [id, state, accepted, next, backend, key, _] = widths;
    let mut out = String::new();
    for row in &rows {
        let text = format!(
            "{:>id$}  {:state$}  {:accepted$}  {:next$}  {:backend$}  {:key$}  {}",
            row[0], row[1], row[2], row[3], row[4], row[5], row[6]
        );
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// When a ticket is tried again, if it is.
pub(super) fn next_try(job: &Job, config: &Config) -> Option<String> {
    // While it is being made, `due_at` is when the host is given up on.
    let due_at = job.due_at.filter(|_| job.state != State::Creating)?;
    if !config.backends.contains_key(&job.backend) {
        return Some(NO_BACKEND.to_owned());
    }
    Some(if due_at == Timestamp::EPOCH { "now".to_owned() } else { due_at.second().rfc3339() })
}

fn cells(job: &Job, config: &Config) -> [String; 7] {
    let next = next_try(job, config).unwrap_or_else(|| "-".to_owned());
    let outcome = match (&job.ticket, &job.failure) {
        (Some(ticket), _) => match remarks(ticket) {
            Some(remarks) => format!("{} ({remarks})", ticket.url),
            None => ticket.url.clone(),
        },
        (None, Some(failure)) => failure.message.lines().next().unwrap_or_default().to_owned(),
        (None, None) => String::new(),
    };
    let accepted = job.accepted_at.second().rfc3339();
    let cells = [job.id.to_string(), job.state.name().to_owned(), accepted, next];
    let [id, state, accepted, next] = cells;
    [id, state, accepted, next, line(&job.backend), line(&job.key), line(&outcome)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let now = Timestamp::from_rfc3339("2026-07-26T10:00:00Z").unwrap();
        for (text, expected) in [
            ("90s", Some("2026-07-26T09:58:30Z")),
            ("30m", Some("2026-07-26T09:30:00Z")),
            ("2h", Some("2026-07-26T08:00:00Z")),
            ("7d", Some("2026-07-19T10:00:00Z")),
            ("2026-07-26T08:00:00+02:00", Some("2026-07-26T06:00:00Z")),
            ("", None),
            ("h", None),
            ("2", None),
            ("-2h", None),
            ("2w\u{e9}", None),
            ("99999999999999999999d", None),
            ("9999999999999999999d", None),
            ("2026-07-26", None),
        ] {
            let since = since_before(text, now).ok().map(Timestamp::rfc3339);
            assert_eq!(since.as_deref(), expected, "{text:?}");
        }
    }

    fn job(id: i64, state: State, key: &str) -> Job {
        Job {
            id,
            backend: "noc-rt".to_owned(),
            key: key.to_owned(),
            state,
            level: 3,
            accepted_at: Timestamp::from_millis(1_700_000_000_123),
            changed_at: Timestamp::EPOCH,
            due_at: None,
            expires_at: Timestamp::END,
            attempts: 0,
            ticket: None,
            made: false,
            failure: None,
        }
    }

    #[test]
    fn rows_as_json_have_escapes_for_what_a_terminal_would_do() {
        let rows = json_rows(vec![job(1, State::Queued, "n\u{202e}\u{2028}v")], true);
        assert!(rows.contains("n\\u202e\\u2028v"), "{rows}");
    }

    #[tokio::test]
    async fn a_list_as_json_is_whole_though_the_store_breaks_after_its_first_page() {
        let read = async |filter: &Filter| match filter.cursor {
            Cursor::Before(i64::MAX) => {
                Ok((0..filter.most).map(|nth| job(9999 - nth, State::Queued, "n")).collect())
            }
            _ => Err(Error::settings("the store is gone")),
        };
        let printed = std::cell::RefCell::new(String::new());
        let print = |text: &str| {
            printed.borrow_mut().push_str(text);
            Ok(())
        };
        let listed = pages(read, Filter::default(), i64::MAX, json_rows, print).await.unwrap();
        let text = printed.into_inner() + &end_of_json(listed.more, listed.broke.as_ref());
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["tickets"].as_array().unwrap().len() as i64, PAGE);
        assert_eq!((&list["more"], &list["error"]["kind"]), (&true.into(), &"settings".into()));
        let broken = async |_: &Filter| Err(Error::settings("the store is gone"));
        let nothing = pages(broken, Filter::default(), 1, json_rows, |_| panic!("began")).await;
        assert_eq!(nothing.unwrap_err().message, "the store is gone");
    }

    #[test]
    fn a_table_has_a_header_and_tells_when_each_was_accepted_and_is_tried_next() {
        let later = Some(Timestamp::from_millis(1_700_000_060_999));
        let waiting = Job { due_at: later, ..job(12, State::Queued, "nav#12") };
        let due = Job { due_at: Some(Timestamp::EPOCH), ..job(7, State::Unknown, "n\n8 forged") };
        let at_work = Job { due_at: later, ..job(6, State::Creating, "nav#6") };
        let orphan = Job { backend: "gone".to_owned(), ..job(5, State::Queued, "nav#5") };
        let orphan = Job { due_at: Some(Timestamp::EPOCH), ..orphan };
        let page = [waiting, due, at_work, orphan];
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        let text = "[backends.noc-rt]\nplugin = \"rt\"\nendpoint = \"https://rt.example.org\"\n";
        std::fs::write(&file, text).unwrap();
        let config = Config::load(Some(&file)).unwrap();
        assert_eq!(
            table(&page, true, &config),
            "ID  STATE     ACCEPTED              NEXT TRY              BACKEND  KEY          TICKET OR ERROR\n\
             12  queued    2023-11-14T22:13:20Z  2023-11-14T22:14:20Z  noc-rt   nav#12\n \
             7  unknown   2023-11-14T22:13:20Z  now                   noc-rt   n\\n8 forged\n \
             6  creating  2023-11-14T22:13:20Z  -                     noc-rt   nav#6\n \
             5  queued    2023-11-14T22:13:20Z  no backend            gone     nav#5\n"
        );
        assert_eq!(table(&page, false, &config).lines().count(), 4);
        assert_eq!(
            (table(&[], true, &config).as_str(), table(&[], false, &config).as_str()),
            ("nothing\n", "")
        );
        let ticket = ticket_plugin_api::Ticket {
            url: "https://t.org/1".to_owned(),
            warnings: vec!["RT left out\n\u{1b}[2JLocation".to_owned()],
            ..ticket_plugin_api::Ticket::default()
        };
        let made = [Job { ticket: Some(ticket), ..job(5, State::Created, "nav#5") }];
        let row = table(&made, false, &config);
        assert!(row.ends_with("  https://t.org/1 (RT left out\\n\\u{1b}[2JLocation)\n"), "{row}");
    }
}
