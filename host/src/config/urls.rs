//! URLs in settings: what an endpoint, an origin and a proxy may be, and which texts may be shown.
//!
//! Invariant: no error says more of a URL than its scheme, host, port and path. What else may be in its text
//! (a password, a token in the query, in the fragment) is a secret, also where the text is no valid URL.

use url::Url;

use crate::error::{Error, Result};
use crate::origin::Origin;

/// The beginning of an endpoint, as a regular expression for the schema. It is what [`endpoint`] takes, but says less.
pub(super) const SCHEME: &str = r"^\s*([Hh][Tt][Tt][Pp][Ss]?|[Ff][Ii][Ll][Ee]):";

/// The endpoint that the setting `name` gives: absolute, without credentials, query and fragment.
///
/// # Errors
/// A settings error that says what is wrong with it, and how it should look.
pub(super) fn endpoint(name: &str, text: &str) -> Result<Url> {
    const WHOLE: &str = "write the whole URL, like https://rt.example.org/";
    let refuse = |what: &str, help: &str| Err(Error::settings(format!("{name}{what}")).help(help));
    let url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(cause) => {
            return refuse(&format!("{} is not a valid URL: {cause}", quoted(text)), WHOLE);
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let help = "take it out: credentials have a setting of their own (secret, or token)";
        return refuse(" holds a user name or a password", help);
    }
    if !url.has_host() && url.scheme() != "file" {
        // `localhost:8080` parses as the scheme "localhost".
        return refuse(&format!("{} has no scheme", quoted(text)), WHOLE);
    }
    if !matches!(url.scheme(), "http" | "https" | "file") {
        let what = format!("{} has a scheme other than https, http and file", quoted(text));
        return refuse(&what, WHOLE);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse(" has a query or a fragment", "take out what begins with ? or #");
    }
    Ok(url)
}

/// What stands for an endpoint that can't be read. Nothing is ever sent there: such settings are refused.
pub(super) fn nowhere() -> Url {
    Url::parse("https://endpoint.invalid/").expect("the text is a URL")
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
        Error::settings(format!("allow_origins has an entry{} that is not an origin", quoted(text)))
            .help("write scheme, host and port, like https://api.example.org:8443")
    })
}

/// The proxy that a backend's requests go through. It may hold credentials.
///
/// # Errors
/// A settings error: it is not the URL of an HTTP proxy.
pub(super) fn proxy(text: &str) -> Result<Url> {
    let refused = |why: &str| {
        Error::settings(format!("proxy is not a valid URL: {why}"))
            .help("write it like http://proxy.example.org:3128")
    };
    let url = Url::parse(text).map_err(|cause| refused(&cause.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(refused("it begins with neither http:// nor https://")),
    }
}

/// A setting's value for a message, as ` "rt.example.org"`; nothing where it may hold a secret.
pub(super) fn quoted(text: &str) -> String {
    if is_plain(text) { format!(" {text:?}") } else { String::new() }
}

/// Whether a text that should be a URL is at most scheme, host, port and path, in characters that can't
/// mean anything else. Only such a text is shown.
pub(super) fn is_plain(text: &str) -> bool {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => authority,
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |text: &str, more: &[char]| {
        text.chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_') || more.contains(&c))
    };
    is_name(scheme, &['+'])
        && address.map_or_else(|| is_name(host, &[]), |address| is_name(address, &[':']))
        && is_name(path, &['/', '~'])
}

/// Whether a text, which need not be meant as a URL, may be one that holds a secret.
pub(super) fn may_hold_secret(text: &str) -> bool {
    let is_word = || !text.trim().contains(char::is_whitespace);
    text.contains('@')
        || text.contains("://") && !is_plain(text)
        || text.contains(['?', '#', '%']) && is_word()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_proxy_and_no_error_shows_its_password() {
        for good in ["http://u:p@proxy.example.org:3128", "https://proxy.example.org"] {
            assert!(proxy(good).is_ok(), "{good}");
        }
        for bad in
            ["ftp://u:hunter2@x.org:1", "u:hunter2@x.org:1", "socks5://x.org", "x.org:3128", ""]
        {
            let error = proxy(bad).unwrap_err();
            assert!(error.message.starts_with("proxy is not a valid URL: "), "{error}");
            assert!(!error.message.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn endpoints_are_whole_urls_without_credentials() {
        for good in
            ["https://rt.example.org", "http://127.0.0.1:8765/rt/", "file:///var/lib/tickets"]
        {
            assert!(endpoint("endpoint", good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("rt.example.org", "endpoint \"rt.example.org\" is not a valid URL: "),
            ("localhost:8765", "endpoint \"localhost:8765\" has no scheme"),
            ("127.0.0.1:8765", "endpoint \"127.0.0.1:8765\" is not a valid URL: "),
            ("", "is not a valid URL"),
            (
                "ftp://x.org",
                "endpoint \"ftp://x.org\" has a scheme other than https, http and file",
            ),
            ("https://user:hunter2@x.org", "endpoint holds a user name or a password"),
            ("https://x.org/?token=1", "endpoint has a query or a fragment"),
            ("https://x.org/#token", "endpoint has a query or a fragment"),
        ] {
            let error = endpoint("endpoint", bad).unwrap_err();
            assert!(error.message.contains(why), "{bad}: {error}");
            assert!(error.help.is_some());
        }
    }

    #[test]
    fn only_scheme_host_port_and_path_are_plain() {
        for plain in [
            "rt.example.org",
            "localhost:8080",
            "https://rt.example.org:8443/rt/REST_2.0/~noc",
            "HTTP://[2001:db8::1]:80/",
            "http://[::1]",
            "https://bücher.example",
            "file:///var/lib/tickets",
            " nonsense ",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "u:pw@x.org",
            "u:pw",
            "https://u:pw",
            "x.org/?t",
            "x.org/#t",
            "x.org/%23t",
            "x.org/;t=1",
            "x.org?t",
            "https:u:pw@x.org",
            "https://x.org:80:pw/",
            "a b",
            "https://a://u:pw@x.org",
            "http://[::1/",
            "a\\b",
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_url_is_no_secret() {
        for text in
            ["NOC", "Start Time", "argus_ticket_rt.RequestTrackerPlugin", "a & b", "why?  not!"]
        {
            assert!(!may_hold_secret(text), "{text}");
        }
        let template = "# {{ source }}\n{% for tag in tags %}\n- {{ tag }}?\n{% endfor %}\n";
        assert!(!may_hold_secret(template));
    }
}
