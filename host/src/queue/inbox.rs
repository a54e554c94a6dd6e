//! Which tickets others say have changed: by webhooks, which any of the service's requests brings, or by the plugin's list of changes.

use std::collections::HashSet;
use std::sync::Mutex;

use ticket_plugin_api::message::TicketName;
use tokio::sync::Notify;

use crate::lock::lock;
use crate::store::OpenTicket;

/// How many names may wait that webhooks, or changes, gave. If there are more, all tickets are asked for.
const NAMED: usize = 1000;

/// What webhooks of a backend's ticket system named.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    named: Mutex<Named>,
    more: Notify,
}

/// Tickets, by what their system calls them.
#[derive(Debug, Default)]
pub(super) struct Named {
    urls: HashSet<String>,
    ids: HashSet<String>,
    /// They were too many to be kept.
    pub(super) all: bool,
}

impl Named {
    pub(super) fn add(&mut self, tickets: impl IntoIterator<Item = TicketName>) {
        for TicketName { url, id } in tickets {
            if self.urls.len() + self.ids.len() >= NAMED {
                self.all = true;
                return;
            }
            if !id.is_empty() {
                self.ids.insert(id);
            }
            if !url.is_empty() {
                self.urls.insert(url);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.all && self.urls.is_empty() && self.ids.is_empty()
    }

    /// Whether this very ticket was named.
    pub(super) fn names(&self, ticket: &OpenTicket) -> bool {
        self.urls.contains(&ticket.url) || self.ids.contains(&ticket.remote)
    }
}

impl Inbox {
    /// These are to be asked for soon.
    pub(super) fn add(&self, tickets: impl IntoIterator<Item = TicketName>) {
        lock(&self.named).add(tickets);
        self.more.notify_one();
    }

    /// Waits until there are more. Only one may wait.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    pub(super) fn take(&self) -> Named {
        std::mem::take(&mut lock(&self.named))
    }

    /// They could not be asked for yet.
    pub(super) fn put_back(&self, named: Named) {
        let mut since = lock(&self.named);
        since.all |= named.all;
        since.urls.extend(named.urls);
        since.ids.extend(named.ids);
    }
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::TicketState;

    use super::*;
    use crate::store::KnownBy;

    fn ticket(url: &str, remote: &str) -> OpenTicket {
        let [url, remote] = [url, remote].map(str::to_owned);
        OpenTicket {
            id: 1,
            url,
            remote,
            key: String::new(),
            known: TicketState::Open,
            known_by: KnownBy::Belief,
        }
    }

    fn name(url: &str, id: &str) -> TicketName {
        TicketName { url: url.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn a_ticket_is_named_by_its_url_or_its_id_and_a_nameless_one_by_nothing() {
        let mut named = Named::default();
        assert!(named.is_empty());
        named.add([name("https://rt/1", ""), name("", "7")]);
        for (ticket, expected) in [
            (ticket("https://rt/1", ""), true),
            (ticket("https://rt/2", "7"), true),
            (ticket("https://rt/2", ""), false),
            (ticket("https://rt/7", "1"), false),
        ] {
            assert_eq!(named.names(&ticket), expected, "{ticket:?}");
        }
    }

    #[test]
    fn so_many_that_are_named_are_all_and_take_no_more_memory() {
        let mut named = Named::default();
        named.add((0..2 * NAMED).map(|id| name("", &id.to_string())));
        assert!(named.all && !named.names(&ticket("https://rt/1", "x")), "nobody named that one");
        assert!(named.ids.len() <= NAMED);
    }
}
