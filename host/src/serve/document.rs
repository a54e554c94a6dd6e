//! What the OpenAPI document says of all operations alike: who may ask, what else may be answered, how errors look.
//!
//! What it says of one operation stands at the operation's function, in `api`.

use std::collections::BTreeMap;

use utoipa::OpenApi as _;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::info::ContactBuilder;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, Content, Object, OpenApi, Ref, RefOr, Response, ResponseBuilder, Type,
};

use super::auth;
use crate::config::Scope;

/// The type of every answer that is no error.
const JSON: &str = "application/json";
/// What `Problem` is always sent as.
const PROBLEM: &str = "application/problem+json";

type Responses = BTreeMap<String, RefOr<Response>>;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "ticket-host",
        description = "Every incident gets exactly one ticket, whatever breaks.\n\n\
            Who asks says who it is with `Authorization: Bearer TOKEN`, where TOKEN is a token of \
            `[serve.tokens.NAME]` in the host's config. Each operation says which of the token's `scopes` it needs; \
            no scope includes another. If the config has no tokens, the service listens on this machine only, and \
            everybody on it may ask for everything without one, except for web pages that a browser shows.\n\n\
            Errors are `application/problem+json` (RFC 9457). The exception is what can't be read as HTTP: that is \
            answered before anybody knows which operation it is for, with 400 or 431 and no body. A path that \
            isn't here is answered with 404, and a method that a path doesn't take with 405."
    ),
    servers((url = "/", description = "The service that gave this document")),
    tags(
        (name = "tickets", description = "Incidents that were accepted, and their tickets"),
        (name = "backends", description = "What makes the tickets"),
        (name = "health", description = "Whether the service is well: also answered when there are too many connections"),
        (name = "documentation", description = "This description of the API"),
    )
)]
struct Document;

/// The document without any operation.
pub(super) fn empty() -> OpenApi {
    let mut document = Document::openapi();
    let contact = ContactBuilder::new().name(Some("ticket-host"));
    document.info.contact = Some(contact.url(Some(env!("CARGO_PKG_HOMEPAGE"))).build());
    let components = document.components.get_or_insert_with(Components::new);
    for (scope, may) in [
        (Scope::Create, "files incidents"),
        (Scope::Read, "sees tickets, backends, plugins and metrics"),
        (Scope::Admin, "retries and cancels"),
    ] {
        let scope = auth::name(scope);
        let what = format!("A token with the scope `{scope}`: {may}");
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what));
        components.add_security_scheme(scope, SecurityScheme::Http(bearer.build()));
    }
    document
}

/// Each of these operations needs a token with the scope.
pub(super) fn guarded(document: &mut OpenApi, scope: Scope) {
    let scope = auth::name(scope);
    for operation in operations(document) {
        operation.security = Some(vec![with(&scope)]);
        let responses = &mut operation.responses.responses;
        let scheme = header("`Bearer`: who asks must send a token (RFC 6750)", Type::String);
        also(
            responses,
            "401",
            "A token is needed, or it is unknown",
            Some(("WWW-Authenticate", scheme)),
        );
        let lacking = format!(
            "The token lacks the scope `{scope}`; without tokens in the config: a web page asks, or another machine"
        );
        also(responses, "403", &lacking, None);
    }
}

/// Whoever asks for these with a token of the scope is told more.
pub(super) fn more_with_token(document: &mut OpenApi, scope: Scope) {
    for operation in operations(document) {
        operation.security = Some(vec![SecurityRequirement::default(), with(&auth::name(scope))]);
    }
}

/// These operations are refused while there are too many connections.
pub(super) fn limited(document: &mut OpenApi) {
    for operation in operations(document) {
        let seconds = header("Seconds; if too many ask at once", Type::Integer);
        let why = "Too many ask at once (type `urn:ticket-host:problem:busy`)";
        also(&mut operation.responses.responses, "503", why, Some(("Retry-After", seconds)));
    }
}

/// What holds for every operation.
pub(super) fn complete(document: &mut OpenApi) {
    for operation in operations(document) {
        let responses = &mut operation.responses.responses;
        let head = "The request's head is too large (64 KiB, 100 headers); answered without a body";
        responses.insert("431".to_owned(), RefOr::T(Response::new(head)));
        for response in responses.values_mut() {
            let RefOr::T(response) = response else { continue };
            let Some(content) = response.content.swap_remove(JSON) else { continue };
            if is(&content, "JobView") {
                response.links = of_the_job();
            }
            let kind = if is(&content, "Problem") { PROBLEM } else { JSON };
            response.content.insert(kind.to_owned(), content);
        }
    }
}

/// What else can be asked about a job that was answered.
fn of_the_job() -> BTreeMap<String, RefOr<Link>> {
    let link = |operation: &str| {
        let link = LinkBuilder::new().operation_id(operation);
        RefOr::T(link.parameter("id", "$response.body#/id").build())
    };
    ["show", "retry", "cancel"].into_iter().map(|name| (name.to_owned(), link(name))).collect()
}

/// A token with the scope is needed. The scopes are schemes of their own, since OpenAPI gives scopes to OAuth alone.
fn with(scope: &str) -> SecurityRequirement {
    SecurityRequirement::new(scope, [""; 0])
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    let items = document.paths.paths.values_mut();
    items.flat_map(|item| [item.get.as_mut(), item.post.as_mut()]).flatten()
}

/// Adds one more reason why an operation is answered with an error.
fn also(responses: &mut Responses, status: &str, why: &str, header: Option<(&str, Header)>) {
    let new = || {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        RefOr::T(ResponseBuilder::new().content(JSON, content).build())
    };
    let RefOr::T(response) = responses.entry(status.to_owned()).or_insert_with(new) else { return };
    let before = match response.description.is_empty() {
        true => String::new(),
        false => format!("{}. Or: ", response.description),
    };
    response.description = format!("{before}{why}");
    if let Some((name, header)) = header {
        response.headers.insert(name.to_owned(), RefOr::T(header));
    }
}

fn header(description: &str, kind: Type) -> Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(kind)))
        .description(Some(description))
        .build()
}

fn is(content: &RefOr<Content>, schema: &str) -> bool {
    let RefOr::T(content) = content else { return false };
    matches!(&content.schema, Some(RefOr::Ref(to)) if *to == Ref::from_schema_name(schema))
}
