//! What failed, grouped by cause, and retried together.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::Viewer;
use super::cause::{self, Group};
use super::form::{self, Given};
use super::page::{self, Done, Page, Trouble, badge, button, short};
use crate::queue::Queue;
use crate::serve::Service;
use crate::serve::overview::tickets_of;
use crate::store::{By, Count, Failed, State};
use crate::terminal::counted;

/// Failures of a backend that are looked at, the newest, of tickets and as many of steps.
const MOST: i64 = 2000;
/// Groups that are shown.
const GROUPS: usize = 50;
/// Bytes that are set aside for the page, and for the failures of which it is made.
const SIZE: usize = 8 << 20;
/// Steps that are retried in one write.
const AT_ONCE: usize = 64;

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Given(done): Given<Done>,
) -> Result<Response, Trouble> {
    let held = service.answers.hold(SIZE).await?;
    let store = &service.queue.store;
    let [creations, updates] = store.unfinished().await?;
    let failed = |count: &&Count| count.state == State::Failed;
    let counts: Vec<&Count> = creations.iter().chain(&updates).filter(failed).collect();
    let all: i64 = counts.iter().map(|count| count.rows).sum();
    let mut backends: Vec<&str> = counts.iter().map(|count| count.backend.as_str()).collect();
    backends.sort_unstable();
    backends.dedup();
    let (mut groups, mut looked_at) = (Vec::new(), 0);
    for backend in &backends {
        let failures = store.failed(backend, MOST).await?;
        looked_at += failures.len() as i64;
        groups.extend(cause::groups(failures));
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.tickets));
    let more = groups.len().saturating_sub(GROUPS);
    groups.truncate(GROUPS);
    let body = html! {
        h1 { "Failures" }
        (page::done(&done))
        @if groups.is_empty() { p class="fine" { "Nothing failed that waits for a person." } }
        @else {
            p {
                "What failed for good is tried again when a person says so. Mend the cause first: failures of one cause are retried together."
                @if looked_at < all { " Looked at are the newest " (looked_at) " of " (all) "." }
            }
        }
        @for group in &groups { (one(&viewer, group)) }
        @if more > 0 { p { "And " (more) " causes with fewer failures." } }
    };
    let page = Page { title: "Failures".to_owned(), here: "/failures", live: true, body };
    Ok(page.holding(&viewer, held))
}

fn one(viewer: &Viewer, group: &Group) -> Markup {
    let what = match group.action {
        None => format!("{} not made", counted(group.tickets as u64, "ticket")),
        Some(action) => {
            format!("{} not done: {}", counted(group.tickets as u64, "step"), action.name())
        }
    };
    let kind = group.kind.map(|kind| format!("{kind:?}").to_lowercase());
    html! {
        section class="card" aria-labelledby={ "c" (group.cause) } id={ "g" (group.cause) } {
            h2 id={ "c" (group.cause) } { (group.backend) ": " (what) }
            p { @if let Some(kind) = kind { (badge(&kind, "bad")) " " } span class="words" { (short(&group.message)) } }
            @if let Some(help) = &group.help { p class="help" { (short(help)) } }
            @if group.doubtful {
                p class="doubt" {
                    "It isn't known whether that was done all the same, and only a person can look: look in the ticket system first. What is "
                    "there, adopt; a retry makes another."
                }
            }
            p class="soft" { "the newest " (page::time(group.newest)) ", the oldest " (page::time(group.oldest)) }
            p {
                "tickets "
                @for (nth, id) in group.named.iter().enumerate() { @if nth > 0 { ", " } (page::ticket(*id)) }
                @if group.tickets > group.named.len() { " and " (group.tickets - group.named.len()) " more: " }
                @if group.tickets > group.named.len() {
                    a href=(listed(group)) { "all that failed" }
                }
            }
            @if viewer.acts {
                @let fields = [("backend", group.backend.as_str()), ("cause", group.cause.as_str())];
                @let words = if group.doubtful { "I have looked: retry all" } else { "Retry all" };
                (button(viewer, "/failures/retry", &format!("{words} {}", group.tickets), &fields))
            }
        }
    }
}

fn listed(group: &Group) -> String {
    match group.action {
        None => tickets_of(&group.backend, Some(State::Failed.name())),
        Some(_) => format!("{}&step=failed", tickets_of(&group.backend, None)),
    }
}

/// Has all failures of a cause tried again, which goes on after the answer.
pub(super) async fn retry(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    request: Request,
) -> Result<Response, Trouble> {
    let form = form::read(&service, &viewer, request).await?;
    let mut failed = service.queue.store.failed(form.get("backend"), MOST).await?;
    failed.retain(|failed| cause::of(failed) == form.get("cause"));
    tokio::spawn(retry_all(Arc::clone(&service.queue), failed, viewer.by()));
    Ok(Redirect::to("/failures?done=retry-all").into_response())
}

async fn retry_all(queue: Arc<Queue>, failed: Vec<Failed>, by: By) {
    for part in failed.chunks(AT_ONCE) {
        // A store that fails is logged where all of that is, and the rest stays as it was: the page shows it.
        if queue.retry_failed(part, &by).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::Action;

    use super::*;
    use crate::error::Kind;
    use crate::store::Timestamp;

    #[test]
    fn what_a_ticket_system_says_is_text_and_who_may_only_look_has_no_button() {
        let group = Group {
            cause: "c".to_owned(),
            backend: "b&<".to_owned(),
            action: Some(Action::Close),
            kind: Some(Kind::Creation),
            message: "<script>alert(1)</script>".to_owned(),
            help: None,
            tickets: 7,
            doubtful: true,
            newest: Timestamp::from_millis(1),
            oldest: Timestamp::from_millis(1),
            named: vec![1, 2],
        };
        let mut viewer = Viewer {
            who: "noc".into(),
            acts: true,
            can_sign_out: true,
            form_token: "secret".to_owned(),
        };
        let shown = one(&viewer, &group).0;
        assert!(shown.contains("&lt;script&gt;") && !shown.contains("<script"), "{shown}");
        assert!(
            shown.contains("I have looked: retry all 7") && shown.contains("and 5 more"),
            "{shown}"
        );
        viewer.acts = false;
        assert!(!one(&viewer, &group).0.contains("<form"));
    }
}
