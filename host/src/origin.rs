//! Where a request goes to: the scheme, host and port of a URL.

use std::fmt;

use url::{Host, Url};

/// Scheme, host and port (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: Host<String>,
    port: u16,
}

impl Origin {
    /// The origin of an http or https URL.
    pub fn of(url: &Url) -> Option<Origin> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        Some(Origin {
            scheme: url.scheme().to_owned(),
            host: url.host()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// This origin with another host. None if that is no name and no address.
    pub(crate) fn with_host(&self, host: &str) -> Option<Origin> {
        Some(Origin { host: Host::parse(host).ok()?, ..self.clone() })
    }

    /// Its host's name or address.
    pub(crate) fn host(&self) -> String {
        self.host.to_string()
    }

    /// Whether its host is called so.
    pub(crate) fn is_named(&self, host: &str) -> bool {
        self.host.to_string().eq_ignore_ascii_case(host)
    }

    /// Whether what is sent there can be read on its way: by http to another machine than this one.
    pub(crate) fn is_readable_on_the_way(&self) -> bool {
        let is_home = match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        self.scheme == "http" && !is_home
    }

    /// Whether `other` is below this host. An address and a name without a dot have nothing below.
    pub(crate) fn has_below(&self, other: &Origin) -> bool {
        let (Host::Domain(parent), Host::Domain(child)) = (&self.host, &other.host) else {
            return false;
        };
        let same = self.scheme == other.scheme && self.port == other.port;
        let below = child.strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.'));
        same && parent.contains('.') && below
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme.as_str(), self.port) {
            ("http", 80) | ("https", 443) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_by_http_to_another_machine_can_be_read_on_the_way() {
        for (url, expected) in [
            ("https://rt.example.org", false),
            ("http://rt.example.org", true),
            ("http://rt.example.org:443", true),
            ("http://10.0.0.1", true),
            ("http://[fd00::1]", true),
            ("http://localhost:8080", false),
            ("http://LOCALHOST", false),
            ("http://127.0.0.1", false),
            ("http://127.8.9.1:8080", false),
            ("http://[::1]", false),
            ("http://localhost.example.org", true),
        ] {
            let origin = Origin::of(&Url::parse(url).unwrap()).unwrap();
            assert_eq!(origin.is_readable_on_the_way(), expected, "{url}");
        }
    }
}
