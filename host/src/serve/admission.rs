//! What a connection gets that has just come: decided by how many are open, in all and of its peer.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// That may ask for everything.
    pub full: usize,
    /// Of those, from one peer.
    pub per_peer: usize,
    /// Beside those, for probes only.
    pub reserve: usize,
}

impl Bounds {
    /// The bounds of a process that may have so many open files. Its workers and its store need some, too.
    pub(super) fn of(open_files: u64) -> Bounds {
        let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
        let full = (open_files / 2).clamp(1, 8192);
        Bounds {
            full,
            per_peer: (full / 2).clamp(1, 1024),
            reserve: (open_files / 8).clamp(1, 1024),
        }
    }
}

/// What a new connection gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission<Id> {
    /// Every route.
    Full,
    /// The probes only; where the reserve is full, in the place of this connection, which is closed.
    Reserve { instead_of: Option<Id> },
}

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Open<Id> {
    bounds: Bounds,
    full: HashMap<Id, IpAddr>,
    /// How many of `full` each peer has.
    full_of: HashMap<IpAddr, usize>,
    /// The oldest first.
    reserve: VecDeque<(Id, IpAddr)>,
    /// How many of `reserve` each peer has.
    reserve_of: HashMap<IpAddr, usize>,
}

impl<Id: Copy + Eq + Hash> Open<Id> {
    pub(super) fn new(bounds: Bounds) -> Open<Id> {
        Open {
            bounds,
            full: HashMap::new(),
            full_of: HashMap::new(),
            reserve: VecDeque::new(),
            reserve_of: HashMap::new(),
        }
    }

    /// What a connection of this peer gets.
    pub(super) fn admit(&self, peer: IpAddr) -> Admission<Id> {
        let of_peer = self.full_of.get(&peer).copied().unwrap_or(0);
        if self.full.len() < self.bounds.full && of_peer < self.bounds.per_peer {
            return Admission::Full;
        }
        let has_room = self.reserve.len() < self.bounds.reserve;
        Admission::Reserve { instead_of: if has_room { None } else { self.first_to_go() } }
    }

    /// The oldest in the reserve of the peer that has the most there: so a flood from one address takes its
    /// own places, and not those of others.
    fn first_to_go(&self) -> Option<Id> {
        let most = self.reserve_of.values().max()?;
        let of_most = |peer: &IpAddr| self.reserve_of.get(peer) == Some(most);
        self.reserve.iter().find(|(_, peer)| of_most(peer)).map(|(id, _)| *id)
    }

    /// A connection was opened as [`Open::admit`] said.
    pub(super) fn opened(&mut self, id: Id, peer: IpAddr, admission: &Admission<Id>) {
        match admission {
            Admission::Full => {
                self.full.insert(id, peer);
                *self.full_of.entry(peer).or_default() += 1;
            }
            Admission::Reserve { instead_of } => {
                if let Some(closed) = instead_of {
                    self.closed(*closed);
                }
                self.reserve.push_back((id, peer));
                *self.reserve_of.entry(peer).or_default() += 1;
            }
        }
    }

    /// A connection has ended. One that was not open, or ended before, changes nothing.
    pub(super) fn closed(&mut self, id: Id) {
        if let Some(peer) = self.full.remove(&id) {
            one_less(&mut self.full_of, peer);
        } else if let Some(at) = self.reserve.iter().position(|(other, _)| *other == id)
            && let Some((_, peer)) = self.reserve.remove(at)
        {
            one_less(&mut self.reserve_of, peer);
        }
    }
}

/// Counts one connection of a peer less, and forgets a peer that has none any more.
fn one_less(counts: &mut HashMap<IpAddr, usize>, peer: IpAddr) {
    if let Some(count) = counts.get_mut(&peer) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&peer);
        }
    }
}

/// Whose connection one from this address is: an IPv4 address, or the network of an IPv6 one, since who
/// has one address of a /64 has all of them.
pub(super) fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { full: 4, per_peer: 2, reserve: 3 };

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Opens a connection for each peer, in that order; the connections are numbered from 0.
    fn open(peers: &[u8]) -> Open<usize> {
        let mut open = Open::new(BOUNDS);
        for (id, peer) in peers.iter().enumerate() {
            let admission = open.admit(address(*peer));
            open.opened(id, address(*peer), &admission);
        }
        open
    }

    #[test]
    fn a_connection_is_served_in_full_until_a_bound_is_reached_and_by_the_reserve_then() {
        let reserve = |instead_of| Admission::Reserve { instead_of };
        for (are_open, of, expected, why) in [
            (&[][..], 1, Admission::Full, "nothing is open"),
            (&[1], 1, Admission::Full, "the peer may have one more"),
            (&[1, 1], 1, reserve(None), "the peer has its share"),
            (&[1, 1], 2, Admission::Full, "another peer has not"),
            (&[1, 1, 2, 2], 3, reserve(None), "there are as many as may be in all"),
            (&[1, 1, 1, 1], 2, Admission::Full, "what the reserve serves is not counted"),
            (&[1, 1, 1, 1, 1], 1, reserve(Some(2)), "the oldest of the reserve goes"),
            (&[1, 1, 2, 2, 3, 2, 2], 1, reserve(Some(5)), "of the peer with the most there"),
            (&[1, 1, 2, 2, 3, 4, 5], 1, reserve(Some(4)), "of several such, the oldest"),
        ] {
            assert_eq!(open(are_open).admit(address(of)), expected, "{why}");
        }
    }

    #[test]
    fn a_connection_that_ends_makes_room_once() {
        let mut open = open(&[1, 1, 1, 1]);
        for _ in 0..2 {
            open.closed(0);
        }
        assert_eq!(open.admit(address(1)), Admission::Full);
        open.opened(9, address(1), &Admission::Full);
        assert_eq!(open.admit(address(1)), Admission::Reserve { instead_of: None });
        for id in [1, 2, 3, 9] {
            open.closed(id);
        }
        assert!(open.full.is_empty() && open.full_of.is_empty());
        assert!(open.reserve.is_empty() && open.reserve_of.is_empty());
    }

    #[test]
    fn who_is_closed_for_another_one_is_not_counted_any_more() {
        let mut open = open(&[1, 1, 1, 1, 1]);
        for id in 5..100 {
            let admission = open.admit(address(1));
            assert_eq!(admission, Admission::Reserve { instead_of: Some(id - 3) });
            open.opened(id, address(1), &admission);
        }
        assert_eq!(open.reserve.len(), BOUNDS.reserve);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer() {
        for (one, other, same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            let peers = [one, other].map(|text| peer(text.parse().unwrap()));
            assert_eq!(peers[0] == peers[1], same, "{one} {other}");
        }
    }

    #[test]
    fn the_bounds_leave_open_files_for_all_else() {
        for (open_files, full, per_peer, reserve) in [
            (65_536, 8192, 1024, 1024),
            (u64::MAX, 8192, 1024, 1024),
            (1024, 512, 256, 128),
            (64, 32, 16, 8),
            (0, 1, 1, 1),
        ] {
            assert_eq!(Bounds::of(open_files), Bounds { full, per_peer, reserve });
        }
    }
}
