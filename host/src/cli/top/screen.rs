//! What `top` shows, drawn from an overview.

use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};
use ratatui::{Frame, Terminal};

use crate::queue::Unfit;
use crate::serve::Overview;
use crate::terminal::line;

/// The columns of a text that goes into no terminal, and its lines at most.
const WIDTH: u16 = 100;
const HEIGHT: u16 = 200;
/// Needs that are shown at most.
const NEEDS: usize = 10;
/// Lines of the plot, its frame among them.
const PLOT: u16 = 6;

/// Draws it. `trouble` is why it isn't of this moment.
pub(super) fn draw(frame: &mut Frame<'_>, now: &Overview, trouble: Option<&str>) {
    let rows = u16::try_from(now.backends.len()).unwrap_or(u16::MAX);
    let needs = needs(now);
    let [head, person, backends, plot, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(u16::try_from(needs.len()).unwrap_or(u16::MAX).saturating_add(2)),
        Constraint::Length(rows.saturating_add(3)),
        Constraint::Length(PLOT),
        Constraint::Min(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(title(now, trouble)), head);
    frame.render_widget(Paragraph::new(needs).block(block("What needs a person")), person);
    frame.render_widget(table(now), backends);
    hour(frame, now, plot);
    frame.render_widget(Paragraph::new("q ends this"), foot);
}

/// The same as a text.
pub(super) fn text(now: &Overview) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(WIDTH, HEIGHT));
    let Ok(_) = terminal.draw(|frame| draw(frame, now, None));
    let shown = terminal.backend().to_string();
    // It is quoted line by line.
    let lines = shown.lines().map(|row| row.trim_matches('"').trim_end());
    let lines: Vec<&str> = lines.filter(|row| !row.is_empty() && *row != "q ends this").collect();
    format!("{}\n", lines.join("\n"))
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

fn needs(now: &Overview) -> Vec<Line<'static>> {
    if now.needs.is_empty() {
        return vec![Line::styled("nothing", Style::new().fg(Color::Green))];
    }
    let mut lines = Vec::new();
    for need in now.needs.iter().take(NEEDS) {
        lines.push(Line::styled(line(&need.what), Style::new().fg(Color::Red)));
        lines.push(Line::from(format!("  {}", line(&need.help))));
    }
    if let more @ 1.. = now.needs.len().saturating_sub(NEEDS) {
        lines.push(Line::from(format!("and {more} more")));
    }
    lines
}

fn table(now: &Overview) -> Table<'static> {
    let rows = now.backends.iter().map(|backend| {
        let (words, colour) = match backend.reason {
            _ if backend.plugin.is_none() => ("not in the config", Color::Red),
            None => ("up", Color::Green),
            Some(reason @ (Unfit::Down | Unfit::Paused)) => (reason.name(), Color::Yellow),
            Some(reason) => (reason.name(), Color::Red),
        };
        let oldest = match backend.oldest {
            Some(_) => format!("{} s", backend.oldest_seconds),
            None => String::new(),
        };
        Row::new([
            Cell::new(line(&backend.name)),
            Cell::new(words).style(Style::new().fg(colour)),
            Cell::new(format!("{}", backend.waiting)),
            Cell::new(oldest),
            Cell::new(format!("{}", backend.unknown)),
            Cell::new(format!("{}", backend.failed)),
            Cell::new(format!("{}/{}", backend.steps_waiting, backend.steps_failed)),
            Cell::new(format!("{}/{}", backend.made_in_five_minutes, backend.made_in_hour)),
        ])
    });
    let widths = [18, 18, 9, 11, 9, 8, 12, 10].map(Constraint::Length);
    let heads =
        ["backend", "now", "waiting", "oldest", "unknown", "failed", "steps w/f", "made 5m/1h"];
    Table::new(rows, widths)
        .header(Row::new(heads).style(Style::new().add_modifier(Modifier::BOLD)))
        .block(block("Backends"))
}

/// What came in each minute of the last hour.
fn hour(frame: &mut Frame<'_>, now: &Overview, area: Rect) {
    let came = |minute: &crate::serve::MinuteNow| {
        let all = minute.created + minute.waiting + minute.failed + minute.other;
        u64::try_from(all).unwrap_or(0)
    };
    let minutes: Vec<u64> = now.minutes.iter().map(came).collect();
    let made: i64 = now.minutes.iter().map(|minute| minute.created).sum();
    let failed: i64 = now.minutes.iter().map(|minute| minute.failed).sum();
    let came: u64 = minutes.iter().sum();
    let title = format!("The last hour: {came} came, {made} made, {failed} failed");
    frame.render_widget(Sparkline::default().data(&minutes).block(block(&title)), area);
}

#[cfg(test)]
mod tests {
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
            "noc-rt             down               3         90 s      1         2        4/0        6/7",
            "not in the config",
            "The last hour: 7 came, 5 made, 2 failed",
        ] {
            assert!(shown.contains(part), "{part:?} in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}') && !shown.contains("q ends"), "{shown}");
        assert!(text(&overview(&[])).contains("│nothing"));
    }

    #[test]
    fn of_many_needs_the_first_are_shown_and_how_many_more_there_are() {
        let shown = text(&overview(&[("one", "help"); 13]));
        assert_eq!(shown.matches("│one").count(), 10);
        assert!(shown.contains("and 3 more"), "{shown}");
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
