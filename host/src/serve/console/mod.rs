//! The console: pages for people, at `/`. They are made here and need no script to be read.
//!
//! Invariant: a page loads nothing from elsewhere and runs nothing but the two scripts of this program; what changes something is
//! a form that only a page of this console can have.

mod assets;
mod audit;
mod backends;
mod cause;
mod config;
mod failures;
mod form;
mod origin;
mod overview;
mod page;
mod plugins;
mod session;
mod sign_in;
mod ticket;
mod tickets;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};

use super::Service;
use super::auth::{ANYBODY, Auth};
use super::problem::Problem;
use crate::config::Scope;
use crate::store::{By, Way};
use page::Trouble;
pub(super) use session::Sessions;
use session::{Found, unguessable};

/// What pages may do: load the program's own style, scripts and icon, ask the program again, and send forms to it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What a page sends that renews itself, which is no use of a session.
const LIVE: &str = "x-live";

/// Who looks at a page.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    /// By which name what he does is kept.
    who: Arc<str>,
    /// Whether he may also do something.
    acts: bool,
    /// Whether there is a session to end.
    can_sign_out: bool,
    /// What his forms send along.
    form_token: String,
}

impl Viewer {
    /// The field of a form that tells that it is of a page of his.
    fn hidden(&self) -> Markup {
        html! { input type="hidden" name=(form::TOKEN) value=(self.form_token); }
    }

    /// Whose doing it is what is done in the console.
    fn by(&self) -> By {
        By { who: self.who.to_string(), way: Way::Console }
    }
}

/// What the console keeps.
#[derive(Debug)]
pub(super) struct Console {
    sessions: Sessions,
    /// What forms send along where nobody need sign in.
    form_token: String,
    door: sign_in::Door,
    /// Is held by who looks for a text in tickets.
    searches: tokio::sync::Mutex<()>,
}

impl Console {
    /// # Errors
    /// This machine has no random numbers.
    pub(super) fn new() -> crate::error::Result<Console> {
        Ok(Console {
            sessions: Sessions::default(),
            form_token: unguessable()?,
            door: sign_in::Door::default(),
            searches: tokio::sync::Mutex::default(),
        })
    }
}

/// All pages.
pub(super) fn router(service: &Arc<Service>) -> Router<Arc<Service>> {
    let pages = Router::new()
        .route("/", get(overview::show))
        .route("/tickets", get(tickets::show))
        .route("/tickets/{id}", get(ticket::show))
        .route("/tickets/{id}/preview", get(ticket::preview))
        .route("/tickets/{id}/{order}", post(ticket::order))
        .route("/failures", get(failures::show))
        .route("/failures/retry", post(failures::retry))
        .route("/backends", get(backends::show))
        .route("/backends/{name}/check", post(backends::check))
        .route("/backends/{name}/swap", post(backends::swap))
        .route("/plugins", get(plugins::show))
        .route("/config", get(config::show))
        .route("/audit", get(audit::show))
        .route("/logout", post(sign_in::end))
        .layer(middleware::from_fn_with_state(Arc::clone(service), enter));
    let open = Router::new()
        .route("/login", get(sign_in::show).post(sign_in::begin))
        .layer(middleware::from_fn_with_state(Arc::clone(service), is_served));
    let all = pages.merge(open).layer(middleware::map_response(not_kept));
    all.route("/assets/{digest}/{name}", get(assets::give)).layer(middleware::map_response(guarded))
}

/// Says what a browser may do with an answer.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer` browsers wouldn't tell the origin of forms.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Pages are for who asks now: nobody finds them in a browser's cache.
async fn not_kept(mut response: Response) -> Response {
    let value = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}

/// Refuses everybody where the config wants no console, and, without tokens, who doesn't ask this machine by its own name.
async fn is_served(
    Shared(service): Shared<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    match allowed(&service, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => Trouble(problem).into_response(),
    }
}

fn allowed(service: &Service, headers: &HeaderMap) -> Result<(), Problem> {
    if !service.queue.setup().config.serve.console.enabled {
        return Err(Problem::not_found("the config has the console switched off (serve.console)"));
    }
    let forbidden = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "forbidden", detail);
    if origin::is_taken_in_elsewhere(headers) {
        return Err(forbidden("another site's page has this within it"));
    }
    if !service.auth().is_open() {
        return Ok(());
    }
    if origin::is_from_elsewhere(headers) {
        let detail = "without tokens, only this machine is served, and no proxy";
        return Err(forbidden(detail).help("add [serve.tokens.NAME] to the host's config"));
    }
    super::auth::asks_this_machine(headers)
}

/// Lets to the pages who is signed in, and leads others to where they can do that.
async fn enter(
    Shared(service): Shared<Arc<Service>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err(problem) = allowed(&service, request.headers()) {
        return Trouble(problem).into_response();
    }
    let viewer = match viewer(&service, request.headers()) {
        Some(viewer) => viewer,
        None if request.method() != Method::GET => {
            let problem =
                Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "your session has ended");
            return Trouble(problem.help("sign in again, and do it then")).into_response();
        }
        None if origin::follows_link_from_elsewhere(request.headers()) => {
            return once_more(&request);
        }
        None => return to_sign_in(&request),
    };
    request.extensions_mut().insert(viewer);
    next.run(request).await
}

/// Who looks, if he is signed in with a token that still may.
fn viewer(service: &Service, headers: &HeaderMap) -> Option<Viewer> {
    let auth: Arc<Auth> = service.auth();
    if auth.is_open() {
        let form_token = service.console.form_token.clone();
        return Some(Viewer { who: ANYBODY.into(), acts: true, can_sign_out: false, form_token });
    }
    let secret = sign_in::cookie(headers, service.address.port())?;
    let idle = service.queue.setup().config.serve.console.idle;
    let uses = !headers.contains_key(LIVE);
    let Found { token, form_token } =
        service.console.sessions.find(secret, idle, uses, Instant::now())?;
    let holder = auth.holder(&token)?;
    if !holder.scopes.contains(&Scope::Read) {
        return None;
    }
    let acts = holder.scopes.contains(&Scope::Admin);
    Some(Viewer { who: Arc::clone(&holder.client.who), acts, can_sign_out: true, form_token })
}

/// Where a request was to go, as this console's own path.
fn path_of(request: &Request) -> String {
    request.uri().path_and_query().map_or("/".to_owned(), |path| path.as_str().to_owned())
}

fn to_sign_in(request: &Request) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("to", &path_of(request)).finish();
    Redirect::to(&format!("/login?{query}")).into_response()
}

/// A page that leads to itself, from where the browser sends the cookie.
fn once_more(request: &Request) -> Response {
    let path = path_of(request);
    let page = html! {
        (maud::DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content={ "0; url=" (path) };
                title { "ticket-host" }
            }
            body { main { p { a href=(path) { "Go on" } } } }
        }
    };
    page::respond(StatusCode::OK, page.into_string().into())
}
