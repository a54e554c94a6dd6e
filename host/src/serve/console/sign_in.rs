//! Signing in by a token, which becomes a session, and signing out.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::Viewer;
use super::form::{self, Given};
use super::origin::{Reached, comes_unsafely, reached};
use super::page::{Trouble, alone};
use crate::config::Scope;
use crate::lock::lock;
use crate::serve::Service;
use crate::serve::auth::is_this_machine;
use crate::serve::budget::Budget;
use crate::serve::problem::Problem;
use crate::store::{By, Deed, Way};
use crate::token_bucket::TokenBucket;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    to: String,
}

/// Bytes that the form to sign in with may send, and all of these together.
const MOST: usize = 8 << 10;
const BODIES: u32 = 1 << 20;
/// How long somebody waits for others who sign in.
const TURN: Duration = Duration::from_secs(2);
/// How long nobody waits for the store to keep that somebody signed in.
const KEEPING: Duration = Duration::from_secs(1);

/// What those share who sign in.
#[derive(Debug)]
pub(super) struct Door {
    bodies: Budget,
    /// Lines of the log about tokens that are unknown, and how many were left out.
    refusals: Mutex<(TokenBucket, u64)>,
}

impl Default for Door {
    fn default() -> Door {
        // Five at once, and one a minute.
        let bucket = TokenBucket::new(5.0, 1.0 / 60.0, Instant::now());
        Door { bodies: Budget::new(BODIES, TURN), refusals: Mutex::new((bucket, 0)) }
    }
}

impl Door {
    /// Logs that somebody came with an unknown token, now and then.
    fn refuses(&self) {
        let mut refusals = lock(&self.refusals);
        let (bucket, left_out) = &mut *refusals;
        if bucket.try_take(1.0, Instant::now()) {
            let others = match std::mem::take(left_out) {
                0 => String::new(),
                others => format!("; {others} more since the last line of this"),
            };
            tracing::warn!(
                "somebody tried to sign in to the console with an unknown token{others}"
            );
        } else {
            *left_out += 1;
        }
    }
}

/// The form to sign in with.
pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    headers: HeaderMap,
    Given(Asked { to }): Given<Asked>,
) -> Response {
    if service.auth().is_open() {
        return Redirect::to("/").into_response();
    }
    if comes_unsafely(&headers) {
        let body = html! { h1 { "Sign in" } p class="bad" role="alert" { (UNSAFE) } };
        return alone(StatusCode::FORBIDDEN, "Sign in", body);
    }
    alone(StatusCode::OK, "Sign in", asking(&to, None))
}

const UNSAFE: &str = "This page came by plain HTTP from another machine: whoever is in between could read the token. Open it by HTTPS (a proxy \
    before the service), or by an SSH tunnel as http://localhost.";

fn asking(to: &str, refused: Option<&str>) -> Markup {
    html! {
        h1 { "Sign in" }
        @if let Some(refused) = refused { p class="bad" role="alert" id="refused" { (refused) } }
        form method="post" action="/login" class="sign-in" {
            input type="hidden" name="to" value=(to);
            label for="token" { "Token" }
            input type="password" id="token" name="token" required autofocus autocomplete="current-password"
                aria-describedby=[refused.map(|_| "refused")];
            button { "Sign in" }
        }
        p class="soft" {
            "A token of [serve.tokens.NAME] in the service's config: with the scope read you see everything, with admin you can "
            "also retry, cancel, adopt and close."
        }
    }
}

/// Begins a session.
pub(super) async fn begin(
    Shared(service): Shared<Arc<Service>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Trouble> {
    let form = form::read_from_anybody(&service.console.door.bodies, MOST, request).await?;
    let to = form.get("to");
    let again = |status, why: &str| Ok(alone(status, "Sign in", asking(to, Some(why))));
    let reached = reached(&headers);
    if reached == Reached::Unsafely {
        let why = format!("{UNSAFE} This token has been sent now: put another one in its place.");
        return again(StatusCode::FORBIDDEN, &why);
    }
    let auth = service.auth();
    let token = form.get("token").trim();
    let Some((digest, holder)) = auth.holder_of(token) else {
        service.console.door.refuses();
        return again(StatusCode::FORBIDDEN, "The token is unknown.");
    };
    if !holder.scopes.contains(&Scope::Read) {
        return again(StatusCode::FORBIDDEN, "This token may not look: it lacks the scope read.");
    }
    let begun = service.console.sessions.begin(digest, Instant::now());
    let (secret, is_news) = begun.map_err(Problem::from)?;
    if is_news {
        let by = By { who: holder.client.who.to_string(), way: Way::Console };
        let deed = Deed { by, what: "sign in", ticket: None, detail: String::new() };
        // Who looks why the store fails must be let in all the same.
        let _ = tokio::time::timeout(KEEPING, service.queue.store.keep_deed(deed)).await;
    }
    let cookie = set(&secret, service.address.port(), reached == Reached::Safely);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(own_path(to))).into_response())
}

/// Ends the session.
pub(super) async fn end(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Trouble> {
    form::read_own(&service, &viewer, request).await?;
    let port = service.address.port();
    if let Some(secret) = cookie(&headers, port) {
        service.console.sessions.end(secret);
    }
    let gone = [true, false].map(|safely| format!("{}; Max-Age=0", set("", port, safely)));
    let gone = AppendHeaders(gone.map(|cookie| (header::SET_COOKIE, cookie)));
    Ok((gone, Redirect::to("/login")).into_response())
}

/// A cookie for this console alone. Browsers tell no ports apart, so that its name does. One for HTTPS has a name that no neighbour's page
/// can give a cookie (RFC 6265bis, 4.1.3.2).
fn set(secret: &str, port: u16, safely: bool) -> String {
    let name = name(port);
    match safely {
        true => format!("__Host-{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Secure"),
        false => format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict"),
    }
}

fn name(port: u16) -> String {
    format!("ticket_host_{port}")
}

/// What the session's cookie has: that for HTTPS, or, on this machine, the other one.
pub(super) fn cookie(headers: &HeaderMap, port: u16) -> Option<&str> {
    let (name, safe) = (name(port), format!("__Host-{}", name(port)));
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<(&str, &str)> = all
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .collect();
    let of = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    of(&safe).or_else(|| of(&name).filter(|_| host.is_some_and(is_this_machine)))
}

/// The page that somebody wanted to see, if it is one of this console's.
fn own_path(to: &str) -> &str {
    let is_own = to.starts_with('/')
        && !to[1..].starts_with(['/', '\\'])
        && to.bytes().all(|byte| byte.is_ascii_graphic());
    if is_own { to } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_nobody_is_led_to_another_site() {
        for (to, path) in [
            ("/tickets?state=failed&q=a%20b", "/tickets?state=failed&q=a%20b"),
            ("/", "/"),
            ("", "/"),
            ("//evil.org", "/"),
            ("/\\evil.org", "/"),
            ("https://evil.org", "/"),
            ("/\t/evil.org", "/"),
            ("/a\r\nSet-Cookie: x", "/"),
            ("javascript:alert(1)", "/"),
        ] {
            assert_eq!(own_path(to), path, "{to:?}");
        }
    }

    #[test]
    fn the_session_is_in_the_cookie_of_this_port_alone() {
        let at = |host: &str, value: &str| {
            HeaderMap::from_iter([
                (header::COOKIE, value.parse().unwrap()),
                (header::HOST, host.parse().unwrap()),
            ])
        };
        let headers = |value: &str| at("localhost:8620", value);
        let all = headers("a=b; ticket_host_1=one; ticket_host_8620=two");
        assert_eq!(cookie(&all, 8620), Some("two"));
        assert_eq!(cookie(&all, 1), Some("one"));
        assert_eq!(cookie(&all, 2), None);
        // From elsewhere only the one counts that a neighbour's page can't have set.
        let both = "ticket_host_8620=planted; __Host-ticket_host_8620=own";
        assert_eq!(cookie(&at("tickets.example.org", both), 8620), Some("own"));
        assert_eq!(cookie(&at("tickets.example.org", "ticket_host_8620=planted"), 8620), None);
        let safe = "__Host-ticket_host_8620=x; Path=/; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(set("x", 8620, true), safe);
        assert!(!set("x", 8620, false).contains("Secure"));
    }
}
