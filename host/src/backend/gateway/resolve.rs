//! Looks up the addresses of host names. A name that the operator didn't write, since it is only below the
//! endpoint's host, must not lead to this machine, to its link, to a cloud's metadata or to a private network:
//! whoever owns the endpoint's domain decides where it leads.
//!
//! Invariant: the addresses that were judged are the ones that are connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Fence;
use super::place::{Place, place};
use crate::origin::Origin;

/// A backend's resolver.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) fence: Arc<Fence>,
    /// The hosts of the proxies that the operator named. Requests through a proxy ask for no other name.
    pub(super) proxies: Vec<String>,
}

/// Why a name was not resolved: the operator didn't write it, and it leads nowhere but inside.
#[derive(Debug, thiserror::Error)]
#[error(
    "its name leads to {address}, which is {place}; if that is meant, add \"{origin}\" to the backend's allow_origins"
)]
pub(super) struct Inward {
    address: IpAddr,
    place: Place,
    origin: Origin,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        let below = self.fence.only_below(name.as_str()).filter(|_| !is_proxy);
        Box::pin(async move {
            let mut found = look_up(name.as_str()).await?;
            if let Some((endpoint, origin)) = below {
                // Most names lead outside; then it doesn't matter where the endpoint's own leads.
                let inside = found.iter().any(|address| place(*address) != Place::Internet);
                let own = if inside { look_up(&endpoint).await? } else { Vec::new() };
                found = admit(found, &own, origin)?;
            }
            // The port is the URL's.
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

async fn look_up(name: &str) -> std::io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

/// The addresses among `found` to which a name below the endpoint's may lead, whose own name leads to `own` now.
/// If there is none, the error names the first one that is refused.
fn admit(found: Vec<IpAddr>, own: &[IpAddr], origin: Origin) -> Result<Vec<IpAddr>, Inward> {
    let (inside, outside): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| !may_lead_to(*address, own));
    match inside.first() {
        Some(&address) if outside.is_empty() => {
            Err(Inward { address, place: place(address), origin })
        }
        _ => Ok(outside),
    }
}

/// Whether a name below the endpoint's may lead to `address`. Where the endpoint itself is in a private network, its
/// sub-domains are expected there too. Beside that it may lead inside only to where the endpoint itself is.
fn may_lead_to(address: IpAddr, own: &[IpAddr]) -> bool {
    match place(address) {
        Place::Internet => true,
        Place::Private if own.iter().any(|own| place(*own) == Place::Private) => true,
        _ => own.contains(&address),
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn a_name_below_the_endpoints_leads_outside_or_to_where_the_endpoint_itself_is() {
        for (own, allowed, refused) in [
            (
                "1.1.1.1 2606:4700::1111",
                "1.0.0.1 2606:4700::1",
                "10.0.0.1 127.0.0.1 169.254.169.254 100.64.0.1 fd00::1 fd00:ec2::254 64:ff9b::10.0.0.1 ff02::1",
            ),
            (
                "10.0.0.1",
                "1.1.1.1 10.0.0.1 10.9.9.9 192.168.1.1 100.64.0.1 fd00::1 64:ff9b::10.0.0.1",
                "127.0.0.1 ::1 169.254.1.1 169.254.169.254 100.100.100.200 192.0.0.192 168.63.129.16 \
                 fd00:ec2::254 fe80::1 224.0.0.1 64:ff9b::169.254.169.254",
            ),
            ("fd00::1", "10.0.0.1 fd00::2", "::1 fd00:ec2::254"),
            ("127.0.0.1", "127.0.0.1 1.1.1.1", "127.0.0.2 ::1 10.0.0.1 ::ffff:127.0.0.1"),
            ("", "1.1.1.1", "10.0.0.1 127.0.0.1"),
        ] {
            let parse = |text: &str| text.split_whitespace().map(|a| a.parse().unwrap()).collect();
            let own: Vec<IpAddr> = parse(own);
            for (addresses, expected) in [(allowed, true), (refused, false)] {
                let addresses: Vec<IpAddr> = parse(addresses);
                for address in addresses {
                    assert_eq!(may_lead_to(address, &own), expected, "{own:?} -> {address}");
                }
            }
        }
    }

    #[test]
    fn what_leads_inside_is_left_out_and_an_error_if_nothing_else_is_left() {
        let origin = || Origin::of(&Url::parse("https://api.x.org:8443").unwrap()).unwrap();
        let [private, outside]: [IpAddr; 2] = ["10.1.2.3", "1.1.1.1"].map(|a| a.parse().unwrap());
        let both = admit(vec![private, outside], &[outside], origin()).unwrap();
        assert_eq!(both, [outside]);
        let refused = admit(vec![private], &[outside], origin()).unwrap_err().to_string();
        assert_eq!(
            refused,
            "its name leads to 10.1.2.3, which is in a private network; if that is meant, add \
             \"https://api.x.org:8443\" to the backend's allow_origins"
        );
        assert!(admit(vec![], &[], origin()).unwrap().is_empty());
    }
}
