//! Signing in by a token, which becomes a session, and signing out.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::origin::{Reached, reached};
use super::page::{Trouble, alone};
use super::{Viewer, form};
use crate::config::Scope;
use crate::serve::Service;
use crate::store::{By, Deed, Way};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    to: String,
}

/// The form to sign in with.
pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Query(Asked { to }): Query<Asked>,
) -> Response {
    if service.auth().is_open() {
        return Redirect::to("/").into_response();
    }
    alone(StatusCode::OK, "Sign in", asking(&to, None))
}

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
    let form = form::read_from_anybody(&service, request).await?;
    let to = form.get("to");
    let again = |status, why: &str| Ok(alone(status, "Sign in", asking(to, Some(why))));
    let reached = reached(&headers);
    if reached == Reached::Unsafely {
        let why = "This page came by plain HTTP from another machine: whoever is in between could read the token. Open it by HTTPS \
            (a proxy before the service), or by an SSH tunnel as http://localhost.";
        return again(StatusCode::FORBIDDEN, why);
    }
    let auth = service.auth();
    let token = form.get("token").trim();
    let Some((digest, holder)) = auth.holder_of(token) else {
        tracing::warn!("somebody tried to sign in to the console with an unknown token");
        return again(StatusCode::FORBIDDEN, "The token is unknown.");
    };
    if !holder.scopes.contains(&Scope::Read) {
        return again(StatusCode::FORBIDDEN, "This token may not look: it lacks the scope read.");
    }
    let by = By { who: holder.client.who.to_string(), way: Way::Console };
    let deed = Deed { by, what: "sign in", ticket: None, detail: String::new() };
    // Who looks why the store fails must be let in all the same.
    let _ = service.queue.store.keep_deed(deed).await;
    let begun = service.console.sessions.begin(digest, Instant::now());
    let secret = begun.map_err(|cause| {
        Trouble(
            crate::error::Error::plugin("this machine has no random numbers").cause(cause).into(),
        )
    })?;
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
    form::read_to_sign_out(&service, &viewer, request).await?;
    let port = service.address.port();
    if let Some(secret) = cookie(&headers, port) {
        service.console.sessions.end(secret);
    }
    let gone = format!("{}; Max-Age=0", set("", port, false));
    Ok(([(header::SET_COOKIE, gone)], Redirect::to("/login")).into_response())
}

/// A cookie for this console alone. Browsers tell no ports apart, so that its name does.
fn set(secret: &str, port: u16, safely: bool) -> String {
    let secure = if safely { "; Secure" } else { "" };
    format!("{}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}", name(port))
}

fn name(port: u16) -> String {
    format!("ticket_host_{port}")
}

/// What the session's cookie has.
pub(super) fn cookie(headers: &HeaderMap, port: u16) -> Option<&str> {
    let name = name(port);
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
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
        let headers =
            |value: &str| HeaderMap::from_iter([(header::COOKIE, value.parse().unwrap())]);
        let all = headers("a=b; ticket_host_1=one; ticket_host_8620=two");
        assert_eq!(cookie(&all, 8620), Some("two"));
        assert_eq!(cookie(&all, 1), Some("one"));
        assert_eq!(cookie(&all, 2), None);
        assert_eq!(
            set("x", 8620, true),
            "ticket_host_8620=x; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        assert!(!set("x", 8620, false).contains("Secure"));
    }
}
