//! The first page: what needs a person, each backend, the last hour and the store.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use maud::{Markup, html};

use super::Viewer;
use super::page::{self, Page, badge, length};
use crate::queue::Unfit;
use crate::serve::Service;
use crate::serve::overview::{self, BackendNow, MinuteNow, Overview, StoreNow, tickets_of};
use crate::store::Timestamp;

/// The height of the plot, in its own units; a minute is 10 wide.
const HEIGHT: i64 = 100;

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
) -> Response {
    let now = overview::look(&service).await;
    let body = html! {
        h1 { "Overview" }
        (needs(&now))
        section aria-labelledby="backends" {
            h2 id="backends" { "Backends" }
            (backends(&now.backends, now.counted))
        }
        section aria-labelledby="hour" {
            h2 id="hour" { "The last hour" }
            @if now.counted { (plot(&now.minutes)) } @else { p { "Not known: the store doesn't answer." } }
        }
        section aria-labelledby="store" {
            h2 id="store" { "Store" }
            (store(&now.store))
        }
        @if let Some(argus) = &now.argus {
            section aria-labelledby="argus" {
                h2 id="argus" { "Argus" }
                dl {
                    dt { "last listed" } dd { (at(argus.last_poll.as_deref())) }
                    dt { "last told of a ticket" } dd { (at(argus.last_told.as_deref())) }
                    dt { "open incidents without a ticket" } dd { (argus.listed) }
                    @if let Some(error) = argus.failure() { dt { "error" } dd { (page::failure(error)) } }
                }
            }
        }
    };
    Page { title: "Overview".to_owned(), here: "/", live: true, body }.shown(&viewer)
}

fn needs(now: &Overview) -> Markup {
    html! {
        section aria-labelledby="needs" {
            h2 id="needs" { "What needs a person" }
            @if now.needs.is_empty() {
                p class="fine" { "Nothing: " @if now.ready { "incidents are accepted, and become tickets." } }
            } @else {
                ul class="needs" {
                    @for need in &now.needs {
                        li {
                            a href=(need.page) { (page::short(&need.what)) }
                            p class="help" { (page::short(&need.help)) }
                        }
                    }
                }
            }
        }
    }
}

fn backends(all: &[BackendNow], counted: bool) -> Markup {
    // What isn't known is no 0.
    let number = |number: i64| if counted { number.to_string() } else { "?".to_owned() };
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "backend" }
                    th scope="col" { "now" }
                    th scope="col" class="number" { "waiting" }
                    th scope="col" { "the oldest waits for" }
                    th scope="col" class="number" { "failed" }
                    th scope="col" class="number" { "steps waiting" }
                    th scope="col" class="number" { "made in 5 min / 1 h" }
                }
            }
            tbody {
                @for backend in all {
                    @let name = backend.name.as_str();
                    tr {
                        th scope="row" { a href=(tickets_of(name, None)) { (name) } }
                        td data-label="now" { (standing(backend)) }
                        td data-label="waiting" class="number" {
                            (number(backend.waiting))
                            @if backend.unknown > 0 { " (" a href=(tickets_of(name, Some("unknown"))) { (backend.unknown) " unknown" } ")" }
                        }
                        td data-label="the oldest waits for" {
                            @if backend.oldest.is_some() { (length(backend.oldest_seconds)) } @else { "-" }
                        }
                        td data-label="failed" class="number" {
                            @if backend.failed > 0 { a href="/failures" { (backend.failed) } } @else { (number(0)) }
                        }
                        td data-label="steps waiting" class="number" {
                            (number(backend.steps_waiting))
                            @if backend.steps_failed > 0 { " (" a href="/failures" { (backend.steps_failed) " failed" } ")" }
                        }
                        td data-label="made in 5 min / 1 h" class="number" {
                            (number(backend.made_in_five_minutes)) " / " (number(backend.made_in_hour))
                        }
                    }
                }
            }
        }
    }
}

/// Whether a backend makes tickets, and if not why.
pub(super) fn standing(backend: &BackendNow) -> Markup {
    let (words, tone) = match backend.reason {
        _ if backend.plugin.is_none() => ("not in the config", "bad"),
        None => ("up", "good"),
        Some(Unfit::Paused) => ("paused", "busy"),
        Some(Unfit::Down) => ("down", "doubt"),
        Some(reason) => (reason.name(), "bad"),
    };
    html! {
        (badge(words, tone))
        @if backend.paused_seconds > 0 { " for " (length(backend.paused_seconds)) }
    }
}

/// What came in each minute, and what became of it: bars, and the same in words.
fn plot(minutes: &[MinuteNow]) -> Markup {
    let all = |of: fn(&MinuteNow) -> i64| minutes.iter().map(of).sum::<i64>();
    let (created, waiting, failed, other) =
        (all(|m| m.created), all(|m| m.waiting), all(|m| m.failed), all(|m| m.other));
    let most = minutes.iter().map(sum).max().unwrap_or(0).max(1);
    let words = format!(
        "{} came: {created} made, {waiting} waiting, {failed} failed, {other} cancelled or needed no more; at most {most} in a minute",
        created + waiting + failed + other
    );
    let width = minutes.len() * 10;
    html! {
        svg class="plot" viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(words) {
            @for (nth, minute) in minutes.iter().enumerate() {
                @for (class, from, rows) in bars(minute) {
                    @let (low, high) = (HEIGHT * from / most, HEIGHT * (from + rows) / most);
                    rect class=(class) x=(nth * 10 + 1) width="8" y=(HEIGHT - high) height=((high - low).max(1)) {}
                }
            }
        }
        p class="soft" { (words) "." }
    }
}

fn sum(minute: &MinuteNow) -> i64 {
    minute.created + minute.waiting + minute.failed + minute.other
}

/// The bars of a minute, one on the other: what it is, where it begins, and how high it is.
fn bars(minute: &MinuteNow) -> Vec<(&'static str, i64, i64)> {
    let MinuteNow { created, waiting, failed, other, .. } = minute;
    let mut from = 0;
    let mut all = Vec::new();
    for (class, rows) in [("made", created), ("busy", waiting), ("failed", failed), ("calm", other)]
    {
        if *rows > 0 {
            all.push((class, from, *rows));
            from += rows;
        }
    }
    all
}

fn store(store: &StoreNow) -> Markup {
    html! {
        dl {
            dt { "place" } dd { (store.place) }
            dt { "takes incidents" }
            dd { @if store.works { (badge("yes", "good")) } @else { (badge("no", "bad")) } }
            @if let (Some(bytes), Some(limit)) = (store.bytes, store.limit) {
                dt { "size" } dd { (size(bytes)) " of " (size(limit)) }
            }
            @if let Some(room) = store.room { dt { "room for incidents" } dd { (size(room)) } }
            @if let Some(free) = store.free { dt { "free on its disk" } dd { (size(free)) } }
        }
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..=999_999 => format!("{} kB", bytes / 1000),
        1_000_000..=9_999_999_999 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// A time that may not be known.
fn at(time: Option<&str>) -> Markup {
    match time.and_then(Timestamp::from_rfc3339) {
        Some(at) => page::time(at),
        None => html! { "never" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_of_a_minute_stand_one_on_the_other() {
        let minute = MinuteNow { created: 3, failed: 2, other: 1, ..MinuteNow::default() };
        assert_eq!(bars(&minute), [("made", 0, 3), ("failed", 3, 2), ("calm", 5, 1)]);
        let drawn = plot(&[MinuteNow::default(), minute]).0;
        assert!(
            drawn.contains(r#"<rect class="made" x="11" width="8" y="50" height="50">"#),
            "{drawn}"
        );
        assert!(drawn.contains("6 came: 3 made, 0 waiting, 2 failed, 1 cancelled"), "{drawn}");
    }
}
