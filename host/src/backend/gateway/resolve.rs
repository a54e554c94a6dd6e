//! Looks up the addresses of host names. A name that the operator didn't write must not lead back to this
//! machine, nor to link-local addresses (RFC 3927), where cloud machines offer their metadata.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Fence;

/// A backend's resolver.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) fence: Arc<Fence>,
}

/// Why a name was not resolved: the operator didn't write it, and all its addresses lead back inside.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} leads to {address}, which is this machine or only reached by its own link; if that is meant, \
     add the origin to the backend's allow_origins"
)]
pub(super) struct Inward {
    name: String,
    address: IpAddr,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let fence = Arc::clone(&self.fence);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses = admit(&fence, name.as_str(), found.collect())?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The addresses of `name` that it may lead to.
fn admit(fence: &Fence, name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Inward> {
    let (inward, outward): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| !fence.names(name) && is_inward(address.ip()));
    match inward.first() {
        Some(address) if outward.is_empty() => {
            Err(Inward { name: name.to_owned(), address: address.ip() })
        }
        _ => Ok(outward),
    }
}

/// Whether an address is this machine's own, or link-local.
fn is_inward(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn a_name_that_the_operator_did_not_write_leads_neither_home_nor_to_the_link() {
        let allowed = crate::origin::Origin::of(&Url::parse("http://own.x.org").unwrap()).unwrap();
        let fence = Fence::new(&Url::parse("https://x.org").unwrap(), vec![allowed]);
        let admitted = |name: &str, addresses: &[&str]| {
            let found = addresses.iter().map(|a| SocketAddr::new(a.parse().unwrap(), 0)).collect();
            admit(&fence, name, found).map(|admitted| admitted.len()).ok()
        };
        for inward in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert_eq!(admitted("api.x.org", &[inward]), None, "{inward}");
            assert_eq!(admitted("x.org", &[inward]), Some(1), "the endpoint's own: {inward}");
            assert_eq!(admitted("OWN.x.org", &[inward]), Some(1), "an origin that was added");
            assert_eq!(admitted("api.x.org", &[inward, "192.0.2.1"]), Some(1), "the other one");
        }
        assert_eq!(admitted("api.x.org", &["10.1.2.3", "2001:db8::1"]), Some(2));
    }
}
