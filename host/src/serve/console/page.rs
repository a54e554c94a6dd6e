//! What all pages of the console have in common: the frame around them, and the small parts that they are made of.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use super::Viewer;
use super::assets;
use crate::machine::StepState;
use crate::serve::budget::Held;
use crate::serve::problem::Problem;
use crate::store::{Failure, State, StoreError, Timestamp};
use crate::terminal::cut;

/// Characters of a failure, or of a key, in a table.
const SHORT: usize = 240;

/// A page within its frame.
pub(super) struct Page {
    pub title: String,
    /// Which of the pages it is, by its path.
    pub here: &'static str,
    /// Whether it renews itself while somebody looks.
    pub live: bool,
    pub body: Markup,
}

/// The pages, by their paths.
const PAGES: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/tickets", "Tickets"),
    ("/failures", "Failures"),
    ("/backends", "Backends"),
    ("/plugins", "Plugins"),
    ("/config", "Config"),
    ("/audit", "Audit"),
    ("/docs", "API"),
];

impl Page {
    pub(super) fn shown(self, viewer: &Viewer) -> Response {
        respond(StatusCode::OK, Body::from(self.text(viewer)))
    }

    /// The page, with its part of a budget until it has left.
    pub(super) fn holding(self, viewer: &Viewer, held: Held) -> Response {
        respond(StatusCode::OK, held.body(self.text(viewer).into_bytes()))
    }

    fn text(self, viewer: &Viewer) -> String {
        let navigation = html! {
            nav aria-label="Pages" {
                ul {
                    @for (path, name) in PAGES {
                        li { a href=(path) aria-current=[(path == self.here).then_some("page")] { (name) } }
                    }
                }
            }
            div class="who" {
                span { (viewer.who) @if !viewer.acts { " (may only look)" } }
                @if viewer.can_sign_out {
                    form method="post" action="/logout" {
                        (viewer.hidden())
                        button { "Sign out" }
                    }
                }
            }
        };
        framed(&self.title, self.live, Some(&navigation), &self.body).into_string()
    }
}

/// A page for somebody who isn't signed in.
pub(super) fn alone(status: StatusCode, title: &str, body: Markup) -> Response {
    respond(status, Body::from(framed(title, false, None, &body).into_string()))
}

fn framed(title: &str, live: bool, navigation: Option<&Markup>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - ticket-host" }
                link rel="icon" href=(assets::ICON.path()) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE.path());
                script src=(assets::MORPH.path()) defer {}
                script src=(assets::LIVE.path()) defer {}
            }
            body {
                a class="skip" href="#main" { "Skip to the page" }
                header {
                    a class="brand" href="/" { "ticket-host" }
                    @if let Some(navigation) = navigation { (navigation) }
                }
                main id="main" tabindex="-1" data-live=[live.then_some("5")] { (body) }
                footer {
                    p { "ticket-host " (env!("CARGO_PKG_VERSION")) ", as of " (now()) }
                    @if live {
                        p id="live" hidden {
                            span id="live-state" role="status" {}
                            " "
                            button type="button" id="live-toggle" { "Stop renewing" }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn respond(status: StatusCode, page: Body) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// Why a page can't be shown, or an order not be done, as a page.
#[derive(Debug)]
pub(super) struct Trouble(pub Problem);

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let Problem { title, detail, help, .. } = &self.0;
        let body = html! {
            h1 { (title) }
            p class="bad" { (detail) }
            @if let Some(help) = help { p { (help) } }
            p { a href="/" { "To the overview" } }
        };
        alone(self.0.status(), title, body)
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Trouble {
        Trouble(problem)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble(error.into())
    }
}

/// The time of the page.
fn now() -> Markup {
    let now = Timestamp::now().second().rfc3339();
    html! { time datetime=(now) { (now) } }
}

/// A moment: how long ago, or in what time, with the time itself.
pub(super) fn time(at: Timestamp) -> Markup {
    let (text, now) = (at.second().rfc3339(), Timestamp::now());
    let away = match at > now {
        true => format!("in {}", length(at.since(now).as_secs())),
        false => format!("{} ago", length(now.since(at).as_secs())),
    };
    html! { time datetime=(text) title=(text) { (away) } " " span class="soft" { (text) } }
}

/// How long something took or takes, in the largest unit that says enough.
pub(super) fn length(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A state, in its colour and in words.
pub(super) fn state(state: State) -> Markup {
    badge(state.name(), tone(state))
}

pub(super) fn step_state(step: State) -> Markup {
    badge(StepState::from(step).name(), tone(step))
}

fn tone(state: State) -> &'static str {
    match state {
        State::Created => "good",
        State::Failed => "bad",
        State::Unknown => "doubt",
        State::Queued | State::Creating => "busy",
        State::Cancelled | State::Suppressed => "calm",
    }
}

/// Words in a colour: good, bad, doubt, busy or calm.
pub(super) fn badge(words: &str, tone: &str) -> Markup {
    html! { span class={ "badge " (tone) } { (words) } }
}

/// The heads of a table's columns.
pub(super) fn heads(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

/// Why something failed, and what to do about it.
pub(super) fn failure(failure: &Failure) -> Markup {
    html! {
        span class="words" { (failure.message) }
        @if let Some(help) = &failure.help { " " span class="help" { (help) } }
    }
}

/// The beginning of a text, for a table.
pub(super) fn short(text: &str) -> String {
    cut(text, SHORT)
}

/// A link to a ticket's page.
pub(super) fn ticket(id: i64) -> Markup {
    html! { a href={ "/tickets/" (id) } { (id) } }
}

/// A link to where somebody else's server is, if it is one that a browser may follow.
pub(super) fn outside(url: &str) -> Markup {
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    html! {
        @if is_web { a href=(url) rel="noreferrer noopener" { (short(url)) } } @else { (short(url)) }
    }
}

/// A button that does something.
pub(super) fn button(
    viewer: &Viewer,
    action: &str,
    words: &str,
    fields: &[(&str, &str)],
) -> Markup {
    html! {
        form method="post" action=(action) class="inline" {
            (viewer.hidden())
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button { (words) }
        }
    }
}

/// A page's address after a form was sent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Done {
    done: Option<String>,
}

/// What was done, after a form was sent: one of a few sentences, since anybody can write a link.
pub(super) fn done(Done { done }: &Done) -> Markup {
    let sentence = match done.as_deref() {
        Some("retry") => "It is tried again.",
        Some("retry-all") => "They are tried again, one after the other.",
        Some("cancel") => "It is cancelled.",
        Some("swap") => "Within a moment another backend makes the tickets.",
        Some("adopt") => "The incident has that ticket now.",
        Some("close") => "The ticket is being closed.",
        Some("comment") => "The comment is being written.",
        _ => return html! {},
    };
    html! { p class="done" role="status" { (sentence) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_largest_unit_that_says_enough() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "119 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(length(seconds), text);
        }
    }

    #[test]
    fn only_what_a_browser_opens_as_a_page_is_a_link() {
        assert!(
            outside("https://t.org/?a=1&b=\"")
                .0
                .starts_with("<a href=\"https://t.org/?a=1&amp;b=&quot;\"")
        );
        for url in ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//t.org"] {
            assert!(!outside(url).0.contains("href"), "{url}");
        }
    }
}
