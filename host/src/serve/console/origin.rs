//! Where a browser's request comes from: which pages of other sites are kept out, and when a cookie may go without TLS.

use axum::http::{HeaderMap, header};

use crate::serve::auth::is_this_machine;

/// Whether a page of this console sent the request, as far as the browser tells. One that doesn't tell is known by what its forms
/// send along.
pub(super) fn is_own(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin")
}

/// Whether the request follows a link on another site's page: then the browser keeps the cookie back (SameSite=Strict), and sends it
/// when the page that it gets leads to itself.
pub(super) fn follows_link_from_elsewhere(headers: &HeaderMap) -> bool {
    let is = |name, value: &str| headers.get(name).is_some_and(|given| given == value);
    is("sec-fetch-site", "cross-site") && is("sec-fetch-mode", "navigate")
}

/// Whether another site's page asks for something that isn't shown for itself: a picture, a frame, what a script fetches.
pub(super) fn is_taken_in_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    let is = |name, value: &str| headers.get(name).is_some_and(|given| given == value);
    let is_shown = is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document");
    site.is_some_and(|site| site != "same-origin" && site != "none") && !is_shown
}

/// Whether a page that is asked for goes by plain HTTP to another machine: browsers say where a request comes from by HTTPS, and on one
/// machine, alone.
pub(super) fn comes_unsafely(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    !headers.contains_key("sec-fetch-site") && !host.is_some_and(is_this_machine)
}

/// Whether a request has come through a proxy, or from a page that is elsewhere than on this machine.
pub(super) fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    const BY_PROXY: [&str; 5] =
        ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let origin = origin.and_then(|origin| origin.split_once("://"));
    BY_PROXY.iter().any(|name| headers.contains_key(*name))
        || origin.is_some_and(|(_, host)| !is_this_machine(host))
}

/// How the browser reaches the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// By HTTPS, as a proxy before the service offers it: the cookie is for HTTPS alone.
    Safely,
    /// On the same machine by HTTP: nobody is in between.
    OnThisMachine,
    /// By HTTP from elsewhere: whoever is in between could read the token.
    Unsafely,
}

/// How a browser that sent a form reaches the console: by the origin of the page with the form, which every browser tells.
pub(super) fn reached(headers: &HeaderMap) -> Reached {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let origin = text(header::ORIGIN).filter(|origin| *origin != "null");
    match origin.map(|origin| origin.split_once("://").unwrap_or_default()) {
        Some(("https", _)) => Reached::Safely,
        Some((_, host)) if is_this_machine(host) => Reached::OnThisMachine,
        Some(_) => Reached::Unsafely,
        // No browser: its cookie is for HTTPS alone, unless it asked this machine for itself.
        None => match text(header::HOST).is_some_and(is_this_machine) {
            true => Reached::OnThisMachine,
            false => Reached::Safely,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (header::HeaderName::from_static(name), value.parse().unwrap())
        };
        headers.iter().map(pair).collect()
    }

    #[test]
    fn a_cookie_goes_without_tls_on_this_machine_alone() {
        for (headers, expected) in [
            (&[("origin", "https://tickets.example.org")][..], Reached::Safely),
            // A proxy that sends its own name on: the browser's counts.
            (&[("origin", "https://t.example.org"), ("host", "127.0.0.1:8620")], Reached::Safely),
            (&[("origin", "http://localhost:8620")], Reached::OnThisMachine),
            (&[("origin", "http://127.0.0.1:8620")], Reached::OnThisMachine),
            (&[("origin", "http://[::1]:8620")], Reached::OnThisMachine),
            (&[("origin", "http://noc1.example.org:8620")], Reached::Unsafely),
            (&[("origin", "http://192.0.2.1")], Reached::Unsafely),
            (&[("origin", "http://localhost.evil.org")], Reached::Unsafely),
            (&[("origin", "x")], Reached::Unsafely),
            (&[("origin", "null"), ("host", "localhost")], Reached::OnThisMachine),
            (&[("host", "localhost:8620")], Reached::OnThisMachine),
            (&[("host", "noc1.example.org")], Reached::Safely),
            (&[], Reached::Safely),
        ] {
            assert_eq!(reached(&with(headers)), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_another_site_takes_in_is_told_from_what_is_shown_for_itself() {
        for (site, mode, dest, expected) in [
            ("cross-site", "no-cors", "image", true),
            ("cross-site", "navigate", "iframe", true),
            ("same-site", "cors", "empty", true),
            ("cross-site", "navigate", "document", false),
            ("same-origin", "cors", "empty", false),
            ("none", "navigate", "document", false),
        ] {
            let headers =
                [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
            assert_eq!(is_taken_in_elsewhere(&with(&headers)), expected, "{headers:?}");
        }
        assert!(!is_taken_in_elsewhere(&HeaderMap::new()));
    }

    #[test]
    fn what_came_through_a_proxy_or_from_a_page_elsewhere_is_from_elsewhere() {
        for (headers, expected) in [
            (&[("x-forwarded-for", "192.0.2.1")][..], true),
            (&[("forwarded", "for=192.0.2.1")], true),
            (&[("via", "1.1 proxy")], true),
            (&[("origin", "https://tickets.example.org")], true),
            (&[("origin", "http://localhost:8620")], false),
            (&[("origin", "null")], false),
            (&[], false),
        ] {
            assert_eq!(is_from_elsewhere(&with(headers)), expected, "{headers:?}");
        }
        for (headers, expected) in [
            (&[("host", "noc1.example.org:8620")][..], true),
            (&[("host", "noc1.example.org"), ("sec-fetch-site", "none")], false),
            (&[("host", "localhost:8620")], false),
        ] {
            assert_eq!(comes_unsafely(&with(headers)), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_told_by_what_the_browser_says() {
        for (site, mode, own, link) in [
            ("same-origin", "navigate", true, false),
            ("same-site", "navigate", false, false),
            ("cross-site", "navigate", false, true),
            ("cross-site", "cors", false, false),
            ("none", "navigate", false, false),
        ] {
            let headers = with(&[("sec-fetch-site", site), ("sec-fetch-mode", mode)]);
            let told = (is_own(&headers), follows_link_from_elsewhere(&headers));
            assert_eq!(told, (own, link), "{site} {mode}");
        }
        assert!(is_own(&HeaderMap::new()));
    }
}
