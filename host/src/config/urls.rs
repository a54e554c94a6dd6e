//! URLs in settings: what an endpoint, an origin and a proxy may be.

use url::Url;

use crate::backend::gateway::Origin;
use crate::error::{Error, Result};

/// The endpoint that the setting `name` gives: absolute, without credentials, query and fragment.
///
/// # Errors
/// A settings error that says what is wrong with it, and how it should look.
pub(super) fn endpoint(name: &str, text: &str) -> Result<Url> {
    let refuse = |message: String| {
        Err(Error::settings(message).help("it must be a whole URL, like https://rt.example.org/"))
    };
    let url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(cause) => return refuse(format!("{name} {text:?} is no URL ({cause})")),
    };
    if !url.has_host() && url.scheme() != "file" {
        // `localhost:8080` parses as the scheme "localhost".
        return refuse(format!("{name} {text:?} has no scheme"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::settings(format!("{name}: holds a user name or password"))
            .help("credentials belong into secret"));
    }
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return refuse(format!("{name} {text:?}: the scheme must be https, http or file"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse(format!("{name}: has a query or a fragment"));
    }
    Ok(url)
}

/// An origin that a backend may reach beside its endpoint's.
///
/// # Errors
/// A settings error: it is something else than scheme, host and port.
pub(super) fn origin(text: &str) -> Result<Origin> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty());
    url.as_ref().and_then(Origin::of).ok_or_else(|| {
        Error::settings(format!("allow_origins: {text:?} is no origin"))
            .help("it must be scheme, host and port, like https://api.example.org:8443")
    })
}

/// The proxy that a backend's requests go through. It may hold credentials.
///
/// # Errors
/// A settings error: it is not a URL.
pub(super) fn proxy(text: &str) -> Result<Url> {
    Url::parse(text)
        .map_err(|_| Error::settings("proxy: no URL").help("like http://proxy.example.org:3128"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_whole_urls_without_credentials() {
        for good in
            ["https://rt.example.org", "http://127.0.0.1:8765/rt/", "file:///var/lib/tickets"]
        {
            assert!(endpoint("endpoint", good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("rt.example.org", "no URL"),
            ("localhost:8765", "no scheme"),
            ("127.0.0.1:8765", "no URL"),
            ("", "no URL"),
            ("ftp://x.org", "https, http or file"),
            ("https://user:hunter2@x.org", "user name or password"),
            ("https://x.org/?token=1", "query"),
        ] {
            let error = endpoint("endpoint", bad).unwrap_err();
            assert!(error.message.contains(why), "{bad}: {error}");
            assert!(error.help.is_some());
        }
    }
}
