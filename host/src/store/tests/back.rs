//! In which state tickets are, and what incidents hear of that, as a store keeps it.

use ticket_plugin_api::{Action, TicketState};

use super::*;
use crate::life::Terms;
use crate::store::{Back, Becomes, KnownBy, OpenTicket, OpenTickets, Place as At, Sighting};

/// Accepts an incident and makes its ticket.
async fn made(store: &Arc<dyn Store>, new: New) -> i64 {
    let id = accept(store, new).await.job.id;
    let claim = claim_one(store).await;
    let ticket = Ticket { url: format!("https://t/{id}"), id: id.to_string(), ..Ticket::default() };
    let outcome = Outcome::Created { ticket, made: true };
    store.settle(Arc::new(claim), Timestamp::now(), outcome, policy()).await.unwrap().unwrap();
    id
}

/// All tickets of incidents that go on, so many at once.
async fn open(store: &Arc<dyn Store>, most: i64) -> Vec<OpenTicket> {
    let (mut all, mut place) = (Vec::new(), Some(At::default()));
    while let Some(after) = place {
        let OpenTickets { tickets, next } = store.open_tickets("b", &after, most).await.unwrap();
        all.extend(tickets);
        place = next;
    }
    all
}

async fn sighted(
    store: &Arc<dyn Store>,
    ticket: i64,
    known: TicketState,
    state: TicketState,
) -> bool {
    let back = Some(Back { becomes: Becomes::Acknowledged, why: "ada".to_owned() });
    let settle = Duration::ZERO;
    store
        .sighted(Sighting { ticket, known, known_by: KnownBy::Belief, state, back, settle })
        .await
        .unwrap()
}

async fn status(store: &Arc<dyn Store>, ticket: i64) -> Option<TicketState> {
    store.life(ticket).await.unwrap().status
}

/// What Argus is to be told, by its numbers.
async fn to_tell(store: &Arc<dyn Store>) -> Vec<String> {
    let all = store.to_tell_back(0, 9).await.unwrap();
    all.into_iter().map(|it| it.number).collect()
}

async fn only_made_tickets_of_a_backend_whose_incidents_go_on_are_open(place: Place) {
    let store = place.open().await;
    let mut expected = Vec::new();
    for pk in [7, 8, 9] {
        expected.push(made(&store, of_argus(pk)).await);
    }
    expected.push(made(&store, new("of nobody")).await);
    accept(&store, of_argus(10)).await;
    accept(&store, New { backend: "c".to_owned(), ..of_argus(11) }).await;
    let ended = store.going_on("argus", 0, 9).await.unwrap()[1].incident;
    store.incident_ended(ended).await.unwrap();
    expected.remove(1);
    expected.sort_unstable();
    for most in [1, 2, 3, 100] {
        let mut open: Vec<i64> = open(&store, most).await.iter().map(|it| it.id).collect();
        open.sort_unstable();
        assert_eq!(open, expected, "{most} at once");
    }
    let first = open(&store, 9).await.into_iter().find(|it| it.id == expected[0]).unwrap();
    assert_eq!((first.url.as_str(), first.remote.as_str()), ("https://t/1", "1"));
    assert_eq!(
        (first.key.as_str(), first.known),
        ("https://argus/incidents/7", TicketState::Unknown)
    );
}

async fn a_ticket_that_two_incidents_share_is_named_for_each(place: Place) {
    let store = place.open().await;
    let id = made(&store, of_argus(7)).await;
    let shared = New { key: of_argus(7).key, ..new("another") };
    accept(&store, shared).await;
    let named: Vec<i64> = open(&store, 1).await.iter().map(|it| it.id).collect();
    assert!(!named.is_empty() && named.iter().all(|it| *it == id), "{named:?}");
}

async fn what_is_believed_of_a_ticket_is_told_to_its_incident_once(place: Place) {
    use TicketState::{Closed, Open, Unknown};
    let store = place.open().await;
    let id = made(&store, of_argus(7)).await;
    made(&store, new("of nobody")).await;
    assert!(sighted(&store, id, Unknown, Closed).await);
    assert_eq!(status(&store, id).await, Some(Closed));
    assert_eq!(to_tell(&store).await, ["7"]);
    let told = store.to_tell_back(0, 9).await.unwrap().remove(0);
    assert_eq!(told.back, Back { becomes: Becomes::Acknowledged, why: "ada".to_owned() });
    assert_eq!(told.began, "2026-11-23T08:00:00+01:00");
    assert!(store.to_tell_back(told.incident, 9).await.unwrap().is_empty());
    // Another host has seen it, too.
    assert!(!sighted(&store, id, Unknown, Closed).await);
    store.told_back(told.clone()).await.unwrap();
    assert_eq!(to_tell(&store).await, [""; 0]);
    // What nobody has been told when it is open again, nobody is.
    assert!(sighted(&store, id, Closed, Open).await);
    assert!(sighted(&store, id, Open, Closed).await);
    assert!(sighted(&store, id, Closed, Open).await);
    assert_eq!((to_tell(&store).await, status(&store, id).await), (vec![], Some(Open)));
}

async fn only_an_incident_of_arguss_that_goes_on_hears_of_its_main_ticket(place: Place) {
    use TicketState::{Closed, Unknown};
    let store = place.open().await;
    let of_nobody = made(&store, new("of nobody")).await;
    let ended = made(&store, of_argus(8)).await;
    store.incident_ended(store.going_on("argus", 0, 9).await.unwrap()[0].incident).await.unwrap();
    for id in [of_nobody, ended] {
        assert!(sighted(&store, id, Unknown, Closed).await);
    }
    // A ticket that was asked for by its backend's name.
    accept(&store, New { backend: "c".to_owned(), ..of_argus(9) }).await;
    let named = made(&store, New { is_named: true, ..of_argus(9) }).await;
    assert!(sighted(&store, named, Unknown, Closed).await);
    assert_eq!(to_tell(&store).await, [""; 0]);
}

async fn a_ticket_that_the_host_closes_at_the_moment_is_no_news(place: Place) {
    use TicketState::{Closed, Open, Unknown};
    let store = place.open().await;
    let id = made(&store, of_argus(7)).await;
    store.add_update(id, Action::Close, "by hand".to_owned(), policy(), &by()).await.unwrap();
    // It waits yet: a person was faster.
    let claim = async || {
        let life = Arc::new(Terms {
            policy: crate::life::Policy::default(),
            actions: vec![Action::Close],
        });
        store.claim_updates("b", 9, term(LEASE, policy()), life).await.unwrap().remove(0)
    };
    let closing = claim().await;
    assert!(!sighted(&store, id, Unknown, Closed).await);
    let done = Outcome::Done { state: Closed, warnings: Vec::new() };
    store.settle(Arc::new(closing), Timestamp::now(), done, policy()).await.unwrap();
    // It was asked for before that.
    assert!(!sighted(&store, id, Unknown, Closed).await);
    assert!(!sighted(&store, id, Open, Closed).await);
    assert_eq!(status(&store, id).await, Some(Closed));
    assert_eq!(to_tell(&store).await, [""; 0]);
}

async fn a_ticket_that_a_person_closed_is_told_nothing_and_not_opened_for_that(place: Place) {
    let store = place.open().await;
    let id = made(&store, of_argus(7)).await;
    assert!(sighted(&store, id, TicketState::Unknown, TicketState::Closed).await);
    let actions = vec![Action::Comment, Action::Close, Action::Reopen];
    let life = Arc::new(Terms { policy: crate::life::Policy::default(), actions });
    let todo = async || {
        let life = Arc::clone(&life);
        store.claim_updates("b", 9, term(LEASE, policy()), life).await.unwrap()
    };
    assert!(todo().await.is_empty());
    let changed = New { incident: r#"{"level": 1}"#.to_owned(), reports: true, ..of_argus(7) };
    store.report(changed, policy()).await.unwrap().unwrap();
    assert!(todo().await.is_empty());
}

async fn what_is_to_be_told_of_tickets_goes_with_a_copy(place: Place) {
    let store = place.open().await;
    let id = made(&store, of_argus(7)).await;
    assert!(sighted(&store, id, TicketState::Unknown, TicketState::Gone).await);
    let other = place.another();
    let copied = other.open().await;
    copy(&*store, &*copied).await.unwrap();
    assert_eq!(to_tell(&copied).await, ["7"]);
    assert_eq!(open(&copied, 9).await[0].known, TicketState::Gone);
}

over_both! {
    only_made_tickets_of_a_backend_whose_incidents_go_on_are_open
    a_ticket_that_two_incidents_share_is_named_for_each
    what_is_believed_of_a_ticket_is_told_to_its_incident_once
    only_an_incident_of_arguss_that_goes_on_hears_of_its_main_ticket
    a_ticket_that_the_host_closes_at_the_moment_is_no_news
    a_ticket_that_a_person_closed_is_told_nothing_and_not_opened_for_that
    what_is_to_be_told_of_tickets_goes_with_a_copy
}
