//! Who may ask for what: bearer tokens (RFC 6750), or, without any, this machine alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;
use ticket_host_worker::Digest;

use super::problem::Problem;
use crate::config::{Scope, ServeConfig, TokenConfig};
use crate::error::Result;
use crate::store::{By, Way};

/// The tokens, as digests.
#[derive(Debug)]
pub(super) struct Auth {
    tokens: Vec<Known>,
}

/// Who has a token.
#[derive(Debug)]
pub(super) struct Known {
    digest: Digest,
    pub scopes: Vec<Scope>,
    pub client: Client,
}

/// What is known about who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// It is the Argus that is watched.
    pub is_argus: bool,
    /// By which name what it does is kept: that of its token.
    pub who: Arc<str>,
}

impl Client {
    /// Somebody who needs no token.
    pub(super) fn without_token(who: &str, is_argus: bool) -> Client {
        Client { is_argus, who: who.into() }
    }

    /// Whose doing it is what is done by the API.
    pub(super) fn by(&self) -> By {
        By { who: self.who.to_string(), way: Way::Api }
    }
}

/// Who does something where the config has no tokens.
pub(super) const ANYBODY: &str = "anybody on this machine";

impl Auth {
    /// Those who may ask a service that listens at `address`.
    ///
    /// # Errors
    /// As [`ServeConfig::digests`].
    pub(super) fn new(config: &ServeConfig, address: SocketAddr) -> Result<Auth> {
        let digests = config.digests(address)?.into_iter();
        let tokens = digests.zip(&config.tokens);
        let known = |(digest, token): (_, &TokenConfig)| Known {
            digest,
            scopes: token.scopes.clone(),
            client: Client { is_argus: token.argus, who: token.name.as_str().into() },
        };
        Ok(Auth { tokens: tokens.map(known).collect() })
    }

    pub(super) fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Who has a token, and by which digest he is known.
    pub(super) fn holder_of(&self, token: &str) -> Option<(Digest, &Known)> {
        let digest = Digest::of(token.as_bytes());
        self.holder(&digest).map(|known| (digest, known))
    }

    /// Who has the token with that digest.
    pub(super) fn holder(&self, digest: &Digest) -> Option<&Known> {
        // It is compared with all of them, each time in constant time, so that the time that this takes tells nothing about them.
        let mut found = None;
        for known in &self.tokens {
            if bool::from(known.digest.bytes().ct_eq(digest.bytes())) {
                found = Some(known);
            }
        }
        found
    }

    /// Who asks.
    ///
    /// # Errors
    /// 401: no token or an unknown one; 403: it may not do this.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        scope: Scope,
    ) -> std::result::Result<Client, Problem> {
        if self.is_open() {
            return from_this_machine(headers).map(|()| Client::without_token(ANYBODY, false));
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let unauthorized = |detail: &str| {
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
                .help("send `Authorization: Bearer TOKEN` with a token of [serve.tokens] in the host's config")
        };
        let Some(token) = token else { return Err(unauthorized("a token is needed")) };
        match self.holder_of(token) {
            None => Err(unauthorized("the token is unknown")),
            Some((_, known)) if known.scopes.contains(&scope) => Ok(known.client.clone()),
            Some(_) => {
                let detail = format!("the token lacks the scope {}", name(scope));
                Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
                    .help("add the scope to the token in the host's config"))
            }
        }
    }
}

/// As the config has it.
pub(super) fn name(scope: Scope) -> String {
    format!("{scope:?}").to_lowercase()
}

/// Without tokens, everybody on this machine is served, but no web page that a browser on this machine shows. Such
/// a page gives itself away by an Origin; or, where its name was made to lead to this machine (DNS rebinding), by
/// that name as Host.
fn from_this_machine(headers: &HeaderMap) -> std::result::Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        let detail = "without tokens, web pages are not served";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
            .help("add [serve.tokens.NAME] to the host's config"));
    }
    asks_this_machine(headers)
}

/// # Errors
/// 403: who asks calls this machine by another name than one that can only mean itself.
pub(super) fn asks_this_machine(headers: &HeaderMap) -> std::result::Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_this_machine(host) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        format!("without tokens, only this machine is served, not the name {host:?}"),
    )
    .help("add [serve.tokens.NAME] to the host's config"))
}

/// Whether a host, with or without a port, can only be the machine that asks.
pub(super) fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SecretSource, TokenSource};

    fn config(tokens: &[(&str, Scope)]) -> ServeConfig {
        let tokens = tokens.iter().map(|(token, scope)| TokenConfig {
            name: (*token).to_owned(),
            token: TokenSource::Text(SecretSource {
                value: (*token).into(),
                base: std::path::PathBuf::new(),
            }),
            scopes: vec![*scope],
            argus: false,
            place: None,
        });
        ServeConfig { tokens: tokens.collect(), ..ServeConfig::default() }
    }

    fn auth(tokens: &[(&str, Scope)]) -> Auth {
        Auth::new(&config(tokens), "127.0.0.1:1".parse().unwrap()).unwrap()
    }

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_token_may_do_what_its_scopes_say() {
        let auth = auth(&[("one", Scope::Create), ("two", Scope::Read)]);
        let bearer = |token: &str| with(header::AUTHORIZATION, token);
        assert!(auth.check(&bearer("Bearer one"), Scope::Create).is_ok());
        assert!(auth.check(&bearer("bearer two"), Scope::Read).is_ok());
        for (value, scope, why) in [
            ("Bearer one", Scope::Read, "lacks the scope read"),
            ("Bearer on", Scope::Create, "unknown"),
            ("Bearer", Scope::Create, "needed"),
            ("Basic one", Scope::Create, "needed"),
        ] {
            let problem = auth.check(&bearer(value), scope).unwrap_err();
            let shown = format!("{problem:?}");
            assert!(shown.contains(why), "{shown}");
        }
        assert!(auth.check(&HeaderMap::new(), Scope::Create).is_err());
    }

    #[test]
    fn a_digest_stands_for_its_token() {
        let mut config = config(&[("two", Scope::Admin)]);
        config.tokens[0].token = TokenSource::Sha256(Digest::of(b"one"));
        let auth = Auth::new(&config, config.listen).unwrap();
        assert!(auth.check(&with(header::AUTHORIZATION, "Bearer one"), Scope::Admin).is_ok());
        assert!(auth.check(&with(header::AUTHORIZATION, "Bearer two"), Scope::Admin).is_err());
    }

    #[test]
    fn without_tokens_only_this_machine_is_served() {
        let auth = auth(&[]);
        let at = |address: &str| Auth::new(&config(&[]), address.parse().unwrap());
        assert!(at("[::1]:1").is_ok());
        let error = at("0.0.0.0:1").unwrap_err();
        assert!(error.help.unwrap().contains("[serve.tokens.NAME]"));
        for host in ["localhost:8620", "127.0.0.1", "[::1]:8620", "127.9.9.9:1"] {
            assert!(auth.check(&with(header::HOST, host), Scope::Admin).is_ok(), "{host}");
        }
        let mut page = with(header::HOST, "localhost");
        page.insert(header::ORIGIN, "http://localhost:3000".parse().unwrap());
        assert!(auth.check(&page, Scope::Admin).is_err());
        for host in ["evil.example.org:8620", "192.0.2.1", "", "localhost.evil.org"] {
            assert!(auth.check(&with(header::HOST, host), Scope::Admin).is_err(), "{host}");
        }
    }
}
