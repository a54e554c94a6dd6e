//! Where a backend's requests may go: its endpoint's origin, sub-domains of the endpoint's host
//! over the same scheme and port, and the origins that the operator adds. Nothing else.

use url::Url;

use crate::origin::Origin;

/// The origins that one backend's requests may go to.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    /// None if the endpoint is not a web server but, for example, a directory.
    endpoint: Option<Origin>,
    allowed: Vec<Origin>,
}

impl Fence {
    pub(crate) fn new(endpoint: &Url, allowed: Vec<Origin>) -> Fence {
        Fence { endpoint: Origin::of(endpoint), allowed }
    }

    /// If the name `host` is only a sub-domain of the endpoint's, and the operator didn't write it in the config: the
    /// endpoint's own name, and the origin that the operator would have to add.
    pub(super) fn only_below(&self, host: &str) -> Option<(String, Origin)> {
        let endpoint = self.endpoint.as_ref()?;
        let origin = endpoint.with_host(host).filter(|origin| endpoint.has_below(origin))?;
        let is_written = self.allowed.iter().any(|allowed| allowed.is_named(host));
        (!is_written).then(|| (endpoint.host(), origin))
    }

    /// Whether a request may go to `url`.
    ///
    /// # Errors
    /// Says why it may not, and which setting would allow it.
    pub(super) fn admit(&self, url: &Url) -> Result<(), String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the plugin asked for a URL with a user name in it; \
                        credentials belong in a header"
                .to_owned());
        }
        let Some(origin) = Origin::of(url) else {
            return Err(format!(
                "the plugin asked for a {}: URL; only http and https go out",
                url.scheme()
            ));
        };
        let inside = self.endpoint.iter().any(|e| *e == origin || e.has_below(&origin))
            || self.allowed.contains(&origin);
        if inside {
            Ok(())
        } else {
            Err(format!(
                "the plugin asked for {origin}, which is not this backend's endpoint; \
                 if that is meant, add \"{origin}\" to its allow_origins"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(endpoint: &str, allowed: &[&str], url: &str) -> bool {
        let parse = |text: &str| Url::parse(text).unwrap();
        let allowed = allowed.iter().map(|text| Origin::of(&parse(text)).unwrap()).collect();
        Fence::new(&parse(endpoint), allowed).admit(&parse(url)).is_ok()
    }

    #[test]
    fn the_endpoints_origin_and_what_is_below_its_host_are_inside() {
        for (endpoint, url) in [
            ("https://rt.example.org/rt", "https://rt.example.org/REST/2.0"),
            ("https://rt.example.org", "https://RT.example.org:443/x"),
            ("https://github.com", "https://api.github.com/repos"),
            ("http://127.0.0.1:8765/", "http://127.0.0.1:8765/x"),
            ("http://[::1]:80/", "http://[::1]/x"),
        ] {
            assert!(admits(endpoint, &[], url), "{endpoint} -> {url}");
        }
    }

    #[test]
    fn everything_else_is_outside() {
        for (endpoint, url) in [
            ("https://rt.example.org", "http://rt.example.org/"),
            ("https://rt.example.org", "https://rt.example.org:8443/"),
            ("https://rt.example.org", "https://example.org/"),
            ("https://rt.example.org", "https://evilrt.example.org/"),
            ("https://rt.example.org", "https://rt.example.org.evil.net/"),
            ("https://rt.example.org", "https://rt.example.org@evil.net/"),
            ("https://rt.example.org", "https://user:pw@rt.example.org/"),
            ("https://rt.example.org", "http://api.rt.example.org/"),
            ("https://rt.example.org", "https://api.rt.example.org:8443/"),
            ("https://rt.example.org", "https://rt.example.org./"),
            ("https://rt.example.org", "ftp://rt.example.org/"),
            ("https://rt.example.org", "file:///etc/passwd"),
            ("http://localhost", "http://x.localhost/"),
            ("http://127.0.0.1:8765/", "http://127.0.0.1:8766/"),
            ("http://127.0.0.1:8765/", "http://localhost:8765/"),
            ("file:///var/lib/tickets", "http://127.0.0.1/"),
            ("https://org", "https://example.org/"),
        ] {
            assert!(!admits(endpoint, &[], url), "{endpoint} -> {url}");
        }
    }

    #[test]
    fn the_operator_can_add_origins_and_only_those() {
        let allowed = ["https://api.example.net:8443"];
        assert!(admits("https://x.org", &allowed, "https://api.example.net:8443/a"));
        assert!(!admits("https://x.org", &allowed, "https://api.example.net/a"));
        assert!(!admits("https://x.org", &allowed, "https://a.api.example.net:8443/a"));
    }

    #[test]
    fn a_name_that_the_operator_did_not_write_is_only_below_the_endpoints() {
        let parse = |text: &str| Url::parse(text).unwrap();
        let added = Origin::of(&parse("http://own.x.org")).unwrap();
        let fence = Fence::new(&parse("https://x.org:8443"), vec![added]);
        let (endpoint, origin) = fence.only_below("API.x.org").unwrap();
        assert_eq!(
            (endpoint.as_str(), origin.to_string().as_str()),
            ("x.org", "https://api.x.org:8443")
        );
        for written in ["x.org", "X.ORG", "own.x.org", "OWN.x.org", "proxy.example.net"] {
            assert!(fence.only_below(written).is_none(), "{written}");
        }
        for without_names_below in
            ["http://127.0.0.1", "http://[::1]", "http://localhost", "file:///var"]
        {
            let fence = Fence::new(&parse(without_names_below), Vec::new());
            assert!(fence.only_below("x.localhost").is_none(), "{without_names_below}");
        }
    }
}
