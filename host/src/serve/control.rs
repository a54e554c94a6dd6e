//! Serves the socket beside the store: for `create` on the command line, and for whoever else is the operator. It needs no token
//! and may ask for everything, since only the service's own user and root can connect, who have the store itself.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Service;
use super::auth::Client;
use super::connections::{self, FAREWELL, PAUSE, Stage};
use super::problem::Problem;
use crate::control::socket::{self, Listener};
use crate::control::{CONFIG, FROM_ARGUS, config_name};
use crate::error::{Error, Result};

/// By which name what comes by the socket is kept.
const OPERATOR: &str = "the operator, by the socket";
/// Connections that are served at the same time. Others wait until one of these ends.
const MOST: usize = 256;

/// Listens on the socket of a store whose lock this process has. None if that can't be done, which is logged: the service works
/// without it, but no ticket can be made on the command line meanwhile.
pub(super) fn listen_on(store: &Path) -> Option<Listener> {
    let listening = socket::listen(store);
    let told = |cause: &std::io::Error| {
        let path = socket::path(store);
        tracing::warn!(
            "`ticket-host create` can't reach this service, and refuses to work beside it: {} can't be listened on: {cause}",
            path.display()
        );
    };
    listening.inspect_err(told).ok()
}

/// All routes, for operators.
pub(super) fn router(all: &Router, service: Arc<Service>) -> Router {
    all.clone().layer(middleware::from_fn_with_state(service, admit))
}

/// Lets a request of the operator's to what it asks for, unless it is meant for a service with another config.
async fn admit(
    Shared(service): Shared<Arc<Service>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(wanted) = request.headers().get(CONFIG) {
        let config = &service.queue.setup().config;
        if wanted.as_bytes() != config_name(config.file.as_deref()).as_bytes() {
            let detail =
                format!("the service on this store works with another config: {}", config.source());
            return Problem::new(StatusCode::MISDIRECTED_REQUEST, "usage", detail).into_response();
        }
    }
    let is_argus = request.headers().contains_key(FROM_ARGUS);
    request.extensions_mut().insert(Client::without_token(OPERATOR, is_argus));
    next.run(request).await
}

/// Serves each connection that comes, until the stage says otherwise.
///
/// # Errors
/// Nobody is there any more who could tell the stage.
pub(super) async fn serve(
    listener: Listener,
    router: Router,
    mut stage: watch::Receiver<Stage>,
) -> Result<()> {
    let gone = |_| Error::plugin("nobody tells when to stop listening on the socket");
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    while *stage.borrow_and_update() == Stage::Open {
        tokio::select! {
            accepted = listener.accept(), if tasks.len() < MOST => match accepted {
                Ok((stream, true)) => {
                    tasks.spawn(connections::exchange(stream, true, &router, &graceful));
                }
                Ok((_, false)) => tracing::warn!("another user tried to connect to the store's socket"),
                Err(cause) => {
                    tracing::warn!("a connection to the store's socket could not be accepted: {cause}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a request broke the service's own code: {error}");
                }
            }
            changed = stage.changed() => changed.map_err(gone)?,
        }
    }
    drop(listener);
    stage.wait_for(|stage| *stage == Stage::Closed).await.map_err(gone)?;
    let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
    Ok(())
}
