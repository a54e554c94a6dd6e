//! What `top` shows, drawn from an overview.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use crate::queue::Unfit;
use crate::serve::{BackendNow, MinuteNow, Overview};
use crate::terminal::line;

const NEEDED: &str = "What needs a person";
const HEADS: [&str; 8] =
    ["backend", "now", "waiting", "oldest", "unknown", "failed", "steps w/f", "made 5m/1h"];
const WIDTHS: [usize; 8] = [18, 18, 9, 11, 9, 8, 12, 10];
/// Needs that are shown at most on a screen.
const NEEDS: usize = 10;
/// Lines of the plot, its frame among them.
const PLOT: u16 = 6;

/// Draws it. `trouble` is why it isn't of this moment.
pub(super) fn draw(frame: &mut Frame<'_>, now: &Overview, trouble: Option<&str>) {
    let rows = u16::try_from(now.backends.len()).unwrap_or(u16::MAX);
    let needs = needs(now, NEEDS);
    let [head, person, backends, plot, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(u16::try_from(needs.len()).unwrap_or(u16::MAX).saturating_add(2)),
        Constraint::Length(rows.saturating_add(3)),
        Constraint::Length(PLOT),
        Constraint::Min(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(title(now, trouble)), head);
    frame.render_widget(Paragraph::new(needs).block(block(NEEDED)), person);
    frame.render_widget(table(now), backends);
    hour(frame, now, plot);
    frame.render_widget(Paragraph::new("q ends this"), foot);
}

/// The same as lines, for what is no terminal.
pub(super) fn text(now: &Overview) -> String {
    let mut lines = vec![plain(&title(now, None)[0]), String::new(), format!("{NEEDED}:")];
    lines.extend(needs(now, usize::MAX).iter().map(|need| format!("  {}", plain(need))));
    lines.push(String::new());
    let row = |cells: [String; 8]| {
        let padded = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    };
    lines.push(row(HEADS.map(str::to_owned)));
    lines.extend(now.backends.iter().map(|backend| row(cells(backend).0)));
    lines.extend([String::new(), came(now)]);
    format!("{}\n", lines.join("\n"))
}

fn plain(of: &Line<'_>) -> String {
    of.spans.iter().map(|span| span.content.as_ref()).collect()
}

fn block(title: &str) -> Block<'_> {
    Block::default().borders(Borders::ALL).title(title)
}

fn title(now: &Overview, trouble: Option<&str>) -> Vec<Line<'static>> {
    let (words, colour) = match now.ready {
        true => ("accepts incidents", Color::Green),
        false => ("accepts NO incidents", Color::Red),
    };
    let mut first = vec![
        Span::raw(format!("ticket-host {}  ", line(&now.version))),
        Span::styled(words, Style::new().fg(colour).add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {}  store {}", line(&now.at), line(&now.store.place))),
    ];
    if let Some(trouble) = trouble {
        first = vec![Span::styled(
            format!("this is old: {}", line(trouble)),
            Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        )];
    }
    vec![Line::from(first)]
}

/// What needs a person, of which so many are told.
fn needs(now: &Overview, most: usize) -> Vec<Line<'static>> {
    if now.needs.is_empty() {
        return vec![Line::styled("nothing", Style::new().fg(Color::Green))];
    }
    let mut lines = Vec::new();
    for need in now.needs.iter().take(most) {
        lines.push(Line::styled(line(&need.what), Style::new().fg(Color::Red)));
        lines.push(Line::from(format!("  {}", line(&need.help))));
    }
    if let more @ 1.. = now.needs.len().saturating_sub(most) {
        lines.push(Line::from(format!("and {more} more")));
    }
    lines
}

/// What a backend's row has, and the colour of its standing.
fn cells(backend: &BackendNow) -> ([String; 8], Color) {
    let (words, colour) = match backend.reason {
        _ if backend.plugin.is_none() => ("not in the config", Color::Red),
        None => ("up", Color::Green),
        Some(reason @ (Unfit::Down | Unfit::Paused)) => (reason.name(), Color::Yellow),
        Some(reason) => (reason.name(), Color::Red),
    };
    let oldest = backend.oldest.as_ref().map(|_| format!("{} s", backend.oldest_seconds));
    let cells = [
        line(&backend.name),
        words.to_owned(),
        backend.waiting.to_string(),
        oldest.unwrap_or_default(),
        backend.unknown.to_string(),
        backend.failed.to_string(),
        format!("{}/{}", backend.steps_waiting, backend.steps_failed),
        format!("{}/{}", backend.made_in_five_minutes, backend.made_in_hour),
    ];
    (cells, colour)
}

fn table(now: &Overview) -> Table<'static> {
    let rows = now.backends.iter().map(|backend| {
        let ([name, standing, rest @ ..], colour) = cells(backend);
        let first = [Cell::new(name), Cell::new(standing).style(Style::new().fg(colour))];
        Row::new(first.into_iter().chain(rest.map(Cell::new)))
    });
    let widths = WIDTHS.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    Table::new(rows, widths)
        .header(Row::new(HEADS).style(Style::new().add_modifier(Modifier::BOLD)))
        .block(block("Backends"))
}

/// What came in the last hour, in words.
fn came(now: &Overview) -> String {
    if !now.counted {
        return "The last hour: not known, the store doesn't answer".to_owned();
    }
    let sum = |of: fn(&MinuteNow) -> i64| now.minutes.iter().map(of).sum::<i64>();
    let (made, failed) = (sum(|minute| minute.created), sum(|minute| minute.failed));
    let came = made + failed + sum(|minute| minute.waiting + minute.other);
    format!("The last hour: {came} came, {made} made, {failed} failed")
}

/// What came in each minute of the last hour.
fn hour(frame: &mut Frame<'_>, now: &Overview, area: Rect) {
    let all = |minute: &MinuteNow| {
        let all = minute.created + minute.waiting + minute.failed + minute.other;
        u64::try_from(all).unwrap_or(0)
    };
    let minutes: Vec<u64> = now.minutes.iter().map(all).collect();
    let title = came(now);
    frame.render_widget(Sparkline::default().data(&minutes).block(block(&title)), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn overview(needs: &[(&str, &str)]) -> Overview {
        let needs: Vec<_> = needs
            .iter()
            .map(|(what, help)| json!({"what": what, "help": help, "page": "/"}))
            .collect();
        let zero = json!({
            "paused_seconds": 0, "waiting": 3, "unknown": 1, "oldest": "2026-11-28T13:00:00Z", "oldest_seconds": 90, "failed": 2,
            "steps_waiting": 4, "steps_failed": 0, "steps_oldest_seconds": 0, "made_in_hour": 7, "made_in_five_minutes": 6,
        });
        let mut rt = zero.clone();
        let of = json!({"name": "noc-rt", "plugin": "rt", "reason": "down"});
        rt.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
        let mut gone = zero;
        gone["name"] = "old\u{1b}[2J".into();
        let minute = json!({"at": "x", "created": 5, "waiting": 0, "failed": 2, "other": 0});
        serde_json::from_value(json!({
            "at": "2026-11-28T13:01:30Z", "version": "0.1.0", "ready": true, "counted": true, "needs": needs,
            "backends": [rt, gone], "minutes": [minute], "store": {"works": true, "place": "/q.db"},
        }))
        .unwrap()
    }

    #[test]
    fn it_shows_what_needs_a_person_each_backend_and_the_last_hour() {
        let shown = text(&overview(&[("2 tickets of noc-rt failed", "see why")]));
        for part in [
            "ticket-host 0.1.0  accepts incidents  2026-11-28T13:01:30Z  store /q.db",
            "2 tickets of noc-rt failed",
            "  see why",
            "noc-rt             down               3         90 s        1         2        4/0          6/7",
            "not in the config",
            "The last hour: 7 came, 5 made, 2 failed",
        ] {
            assert!(shown.contains(part), "{part:?} in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}') && !shown.contains("q ends"), "{shown}");
        assert!(text(&overview(&[])).contains("\n  nothing\n"));
    }

    #[test]
    fn of_many_needs_the_first_are_shown_and_how_many_more_there_are() {
        let mut terminal = Terminal::new(TestBackend::new(100, 60)).unwrap();
        let many = overview(&[("one", "help"); 13]);
        terminal.draw(|frame| draw(frame, &many, None)).unwrap();
        let shown = terminal.backend().to_string();
        assert_eq!(shown.matches("│one").count(), 10);
        assert!(shown.contains("and 3 more"), "{shown}");
        // As a text all are told, however long, and in whichever script.
        let long = format!("日本 {}", "x".repeat(300));
        let shown = text(&overview(&[(long.as_str(), "help"); 13]));
        assert_eq!(shown.matches(&long).count(), 13);
    }

    #[test]
    fn what_is_old_says_so_and_a_small_terminal_breaks_nothing() {
        for (width, height) in [(100, 40), (20, 5), (1, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let now = overview(&[("one", "help")]);
            terminal.draw(|frame| draw(frame, &now, Some("no answer"))).unwrap();
            let shown = terminal.backend().to_string();
            assert_eq!(shown.contains("this is old: no answer"), width == 100, "{shown}");
        }
    }
}
