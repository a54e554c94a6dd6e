//! What a form sends: only if a page of this console had it.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use super::Viewer;
use super::origin;
use super::page::Trouble;
use crate::error::Error;
use crate::serve::budget::Budget;
use crate::serve::problem::Problem;
use crate::serve::{Service, body};

/// Bytes that a form may send: a comment and what is around it.
const MOST: usize = 256 << 10;
const KIND: &str = "application/x-www-form-urlencoded";
/// The field that tells that a page of this console had the form.
pub(super) const TOKEN: &str = "form_token";

/// What stands behind the `?` of a page's address. A page of this console never has another one.
pub(super) struct Given<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Given<T> {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Given<T>, Trouble> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(given)) => Ok(Given(given)),
            Err(cause) => Err(Problem::from(Error::usage(cause.body_text())).into()),
        }
    }
}

/// A number of a page's address, which may be left empty.
///
/// # Errors
/// 400: it is no number.
pub(super) fn number_or_nothing(text: &str) -> Result<Option<i64>, Problem> {
    let odd = |_| Problem::from(Error::usage(format!("{text:?} is no number")));
    (!text.is_empty()).then(|| text.parse().map_err(odd)).transpose()
}

/// The fields of a form.
#[derive(Debug, Default)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// What a field has; nothing if it isn't there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// The form that somebody who is signed in has sent.
///
/// # Errors
/// 403: he may only look, or another site's page has the form. And as [`body::read`].
pub(super) async fn read(
    service: &Service,
    viewer: &Viewer,
    request: Request,
) -> Result<Form, Problem> {
    if !viewer.acts {
        return Err(forbidden("this token may only look: it lacks the scope admin"));
    }
    read_own(service, viewer, request).await
}

/// As [`read`], also of who may only look.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_own(
    service: &Service,
    viewer: &Viewer,
    request: Request,
) -> Result<Form, Problem> {
    let form = read_from_anybody(&service.bodies, MOST, request).await?;
    let given = form.get(TOKEN).as_bytes().ct_eq(viewer.form_token.as_bytes());
    if !bool::from(given) {
        let detail = "the form is of a session that has ended, or of another site's page";
        return Err(forbidden(detail).help("open the page again, and send the form from there"));
    }
    Ok(form)
}

/// A form of at most so many bytes that may come from anybody, but not from another site's page.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_from_anybody(
    budget: &Budget,
    most: usize,
    request: Request,
) -> Result<Form, Problem> {
    if !origin::is_own(request.headers()) {
        return Err(forbidden("another site's page sent this form"));
    }
    let (text, _held) = body::read(request, KIND, most, budget).await?;
    Ok(Form(url::form_urlencoded::parse(&text).into_owned().collect()))
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}
