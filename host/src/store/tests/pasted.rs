//! Tickets that people made, and gave to incidents, as a store keeps them.

use ticket_plugin_api::TicketState;

use super::*;
use crate::store::{Adoption, OpenTicket};

fn named(number: i64, url: &str) -> Ticket {
    Ticket { url: url.to_owned(), id: number.to_string(), ..Ticket::default() }
}

/// What is adopted; None: the incident has another one.
async fn adopt(store: &Arc<dyn Store>, new: New, ticket: Ticket) -> Option<Job> {
    match store.adopt_pasted(new, ticket, TicketState::Open, policy()).await.unwrap() {
        Adoption::Adopted(job) => Some(*job),
        Adoption::HasOther | Adoption::Refused => None,
    }
}

/// Makes the ticket of an incident, which is called by its number.
async fn made(store: &Arc<dyn Store>, new: New) -> i64 {
    let id = accept(store, new).await.job.id;
    ends(store, Outcome::Created { ticket: named(id, &format!("https://t/{id}")), made: true })
        .await;
    id
}

/// Claims what there is to be claimed, and ends it so.
async fn ends(store: &Arc<dyn Store>, outcome: Outcome) -> Job {
    let claim = claim_one(store).await;
    let settled = store.settle(Arc::new(claim), Timestamp::now(), outcome, policy());
    settled.await.unwrap().unwrap()
}

/// The numbers of Argus's that a ticket's incidents have.
async fn incidents(store: &Arc<dyn Store>, ticket: i64) -> Vec<String> {
    let incidents = store.life(ticket).await.unwrap().incidents;
    incidents.into_iter().map(|incident| incident.identity.id).collect()
}

async fn open(store: &Arc<dyn Store>) -> Vec<OpenTicket> {
    store.open_tickets("b", &crate::store::Place::default(), 9).await.unwrap().tickets
}

async fn a_ticket_that_a_person_gave_is_its_incidents(place: Place) {
    let store = place.open().await;
    let job = adopt(&store, of_argus(7), named(17, "https://t/17")).await.unwrap();
    assert_eq!((job.state, job.made, job.attempts), (State::Created, false, 0));
    assert_eq!(job.ticket, Some(named(17, "https://t/17")));
    assert_eq!(job.key, of_argus(7).key);
    let open = open(&store).await;
    assert_eq!((open[0].id, open[0].known), (job.id, TicketState::Open));
    assert!(store.claim("b", Which::All, 9, term(LEASE, policy())).await.unwrap().is_empty());
    // The button finds it, and Argus, which knows it, is told nothing.
    let pressed = accept(&store, New { wanted: true, tell: false, ..of_argus(7) }).await;
    assert_eq!((pressed.new, pressed.job.id), (false, job.id));
    assert!(store.to_tell("argus", 0, 9).await.unwrap().is_empty());
    // It stays the one that it was given.
    assert_eq!(adopt(&store, of_argus(7), named(18, "https://t/18")).await, None);
    assert_eq!(incidents(&store, job.id).await, ["7"]);
}

async fn an_incident_that_is_given_a_ticket_that_another_has_shares_it(place: Place) {
    let store = place.open().await;
    let id = made(&store, of_argus(7)).await;
    // By what it is called, in whichever way a person writes its URL.
    let shared = adopt(&store, of_argus(8), named(id, "https://T/1#reply")).await.unwrap();
    assert_eq!((shared.id, shared.made), (id, true));
    assert_eq!(incidents(&store, id).await, ["7", "8"]);
    let pressed = accept(&store, of_argus(8)).await;
    assert_eq!((pressed.new, pressed.job.id), (false, id));
    // Another backend's, and one that is no longer where this backend makes tickets.
    let elsewhere = New { backend: "c".to_owned(), ..of_argus(9) };
    assert_ne!(adopt(&store, elsewhere, named(id, "https://t/1")).await.unwrap().id, id);
    let sighting = crate::store::Sighting {
        ticket: id,
        known: TicketState::Unknown,
        known_by: crate::store::KnownBy::Belief,
        state: TicketState::Foreign,
        back: None,
        settle: Duration::ZERO,
    };
    assert!(store.sighted(sighting).await.unwrap());
    assert_ne!(adopt(&store, of_argus(10), named(id, "https://u/1")).await.unwrap().id, id);
}

async fn an_incident_that_waits_for_a_ticket_is_given_none_beside_it(place: Place) {
    let store = place.open().await;
    let id = accept(&store, of_argus(7)).await.job.id;
    assert_eq!(adopt(&store, of_argus(7), named(17, "https://t/17")).await, None);
    let shared = New { key: of_argus(7).key, ..of_argus(8) };
    assert_eq!(adopt(&store, shared, named(17, "https://t/17")).await, None);
    // Its own try finds the person's.
    let given =
        ends(&store, Outcome::Pasted { ticket: named(17, "https://t/17"), state: None }).await;
    assert_eq!((given.id, given.state, given.made), (id, State::Created, false));
    assert_eq!(open(&store).await[0].url, "https://t/17");
    assert!(store.life(id).await.unwrap().pasted);
    let joined = adopt(&store, of_argus(9), named(17, "https://t/17")).await.unwrap();
    assert_eq!(joined.id, id);
}

async fn an_incident_that_is_given_anothers_ticket_while_it_waits_shares_that(place: Place) {
    let store = place.open().await;
    let first = made(&store, of_argus(7)).await;
    let waiting = accept(&store, of_argus(8)).await.job.id;
    let given = ends(
        &store,
        Outcome::Pasted { ticket: named(first, "https://t/1#x"), state: Some(TicketState::Closed) },
    )
    .await;
    assert_eq!((given.id, given.state), (waiting, State::Created));
    assert_eq!(given.ticket.unwrap().url, "https://t/1#x");
    assert_eq!(incidents(&store, first).await, ["7", "8"]);
    assert_eq!(incidents(&store, waiting).await, [""; 0]);
    assert_eq!(accept(&store, of_argus(8)).await.job.id, first);
    let open: Vec<i64> = open(&store).await.iter().map(|ticket| ticket.id).collect();
    assert!(open.iter().all(|id| *id == first), "{open:?}");
    // Nor does anybody else find the row that is left.
    let third = adopt(&store, of_argus(9), named(first, "https://t/1")).await.unwrap();
    assert_eq!((third.id, store.life(first).await.unwrap().pasted), (first, false));
}

async fn an_incident_whose_ticket_failed_is_given_one_by_hand(place: Place) {
    let store = place.open().await;
    let id = accept(&store, of_argus(7)).await.job.id;
    ends(&store, Outcome::Failed(failure(Kind::Creation))).await;
    let job = adopt(&store, of_argus(7), named(17, "https://t/17")).await.unwrap();
    assert_eq!((job.id, job.state, job.failure), (id, State::Created, None));
    assert_eq!(job.ticket, Some(named(17, "https://t/17")));
    assert_eq!(store.life(id).await.unwrap().status, Some(TicketState::Open));
    assert_eq!(open(&store).await[0].url, "https://t/17");
}

async fn a_ticket_that_failed_in_one_backend_may_have_been_made_by_hand_in_another(place: Place) {
    let store = place.open().await;
    let id = accept(&store, of_argus(7)).await.job.id;
    ends(&store, Outcome::Failed(failure(Kind::Creation))).await;
    let there = New { backend: "c".to_owned(), ..of_argus(7) };
    let job = adopt(&store, there, named(17, "https://u/17")).await.unwrap();
    assert_eq!((job.id, job.backend.as_str(), job.state), (id, "c", State::Created));
    assert_eq!(store.unfinished().await.unwrap(), [vec![], vec![]]);
    let open = store.open_tickets("c", &crate::store::Place::default(), 9).await.unwrap();
    assert_eq!(open.tickets[0].url, "https://u/17");
}

async fn a_ticket_that_is_none_of_the_backend_that_was_to_make_one_may_be_anothers(place: Place) {
    let store = place.open().await;
    let id = accept(&store, of_argus(7)).await.job.id;
    let ticket = named(17, "https://u/17");
    ends(&store, Outcome::Pasted { ticket: ticket.clone(), state: Some(TicketState::Foreign) })
        .await;
    let there = New { backend: "c".to_owned(), ..of_argus(7) };
    let job = adopt(&store, there.clone(), ticket.clone()).await.unwrap();
    assert_eq!((job.id, job.backend.as_str()), (id, "c"));
    assert_eq!(store.life(id).await.unwrap().status, Some(TicketState::Open));
    assert_eq!(adopt(&store, there, ticket).await, None);
}

async fn the_ticket_before_a_successor_that_failed_is_not_the_incidents_again(place: Place) {
    use crate::life::{Policy, Terms};
    let store = place.open().await;
    let former = made(&store, of_argus(7)).await;
    let reported = |open| New { open, reports: true, ..of_argus(7) };
    let sighting = crate::store::Sighting {
        ticket: former,
        known: TicketState::Unknown,
        known_by: crate::store::KnownBy::Belief,
        state: TicketState::Gone,
        back: None,
        settle: Duration::ZERO,
    };
    assert!(store.sighted(sighting).await.unwrap());
    store.report(reported(false), policy()).await.unwrap().unwrap();
    store.report(reported(true), policy()).await.unwrap().unwrap();
    let life = Arc::new(Terms { policy: Policy::default(), actions: vec![Action::Comment] });
    store.claim_updates("b", 9, term(LEASE, policy()), life).await.unwrap();
    ends(&store, Outcome::Failed(failure(Kind::Creation))).await;
    // Argus still has the former one's URL.
    let ticket = named(former, &format!("https://t/{former}"));
    let given = store.adopt_pasted(of_argus(7), ticket, TicketState::Open, policy()).await;
    assert_eq!(given.unwrap(), Adoption::Refused);
    assert_eq!(store.unfinished().await.unwrap()[0][0].state, State::Failed);
}

async fn who_asks_for_a_backend_by_its_name_is_answered_whatever_a_person_gave(place: Place) {
    let store = place.open().await;
    let by_name = || New { is_named: true, ..of_argus(7) };
    let id = accept(&store, of_argus(7)).await.job.id;
    assert_eq!(accept(&store, by_name()).await.job.id, id);
    ends(&store, Outcome::Failed(failure(Kind::Creation))).await;
    // In another backend.
    let there = New { backend: "c".to_owned(), ..with_url(7, "https://u/17") };
    adopt(&store, there, named(17, "https://u/17")).await.unwrap();
    let asked = accept(&store, by_name()).await;
    assert_eq!((asked.new, asked.job.backend.as_str()), (true, "b"));
    assert_ne!(asked.job.id, id);
    // In the same one, and then taken back.
    let id = accept(&store, of_argus(8)).await.job.id;
    accept(&store, New { is_named: true, ..of_argus(8) }).await;
    for claim in store.claim("b", Which::All, 9, term(LEASE, policy())).await.unwrap() {
        let failed = Outcome::Failed(failure(Kind::Creation));
        store.settle(Arc::new(claim), Timestamp::now(), failed, policy()).await.unwrap().unwrap();
    }
    adopt(&store, with_url(8, "https://t/18"), named(18, "https://t/18")).await.unwrap();
    let asked = accept(&store, with_url(8, "")).await;
    assert!(asked.new && asked.job.id != id && asked.job.ticket.is_none(), "{asked:?}");
}

async fn what_a_person_wants_to_be_done_to_a_ticket_is_done_though_its_url_is_taken_back(
    place: Place,
) {
    let store = place.open().await;
    let job = adopt(&store, with_url(7, "https://t/17"), named(17, "https://t/17")).await.unwrap();
    store.add_update(job.id, Action::Comment, "x".to_owned(), policy(), &by()).await.unwrap();
    store.report(with_url(7, ""), policy()).await.unwrap().unwrap();
    assert_eq!(store.life(job.id).await.unwrap().updates[0].state, State::Queued);
}

async fn a_shared_url_that_was_taken_back_does_not_come_back(place: Place) {
    let store = place.open().await;
    for pk in [7, 8] {
        adopt(&store, with_url(pk, "https://t/17"), named(17, "https://t/17")).await.unwrap();
    }
    let made = accept(&store, with_url(7, "")).await;
    assert!(made.new && made.job.ticket.is_none(), "{made:?}");
    let shared = open(&store).await;
    assert_eq!(incidents(&store, shared[0].id).await, ["8"]);
    // Nor that of a row that was left for another one.
    let first = store.claim("b", Which::All, 9, term(LEASE, policy())).await.unwrap().remove(0);
    let outcome = Outcome::Pasted { ticket: named(17, "https://t/17"), state: None };
    store.settle(Arc::new(first), Timestamp::now(), outcome, policy()).await.unwrap().unwrap();
    assert_eq!(incidents(&store, shared[0].id).await, ["7", "8"]);
    let anew = accept(&store, with_url(7, "")).await;
    assert!(anew.new && anew.job.ticket.is_none(), "{anew:?}");
}

/// How Argus has the incident now.
fn with_url(pk: i64, url: &str) -> New {
    New { reports: true, ticket_url: Some(url.to_owned()), ..of_argus(pk) }
}

async fn a_url_that_a_person_took_back_or_replaced_is_the_incidents_no_more(place: Place) {
    let store = place.open().await;
    // One that another incident has, too.
    let first = self::made(&store, of_argus(8)).await;
    let url = format!("https://t/{first}#x");
    adopt(&store, with_url(9, &url), named(first, &url)).await.unwrap();
    assert_eq!(incidents(&store, first).await, ["8", "9"]);
    store.report(with_url(9, "https://t/19"), policy()).await.unwrap().unwrap();
    assert_eq!(incidents(&store, first).await, ["8"]);
    // What the host itself told Argus stays, whatever a person writes over it.
    store.report(with_url(8, "https://t/19"), policy()).await.unwrap().unwrap();
    assert_eq!(incidents(&store, first).await, ["8"]);
    let wrong =
        adopt(&store, with_url(7, "https://t/17"), named(17, "https://t/17")).await.unwrap();
    store.report(with_url(7, "https://t/17"), policy()).await.unwrap().unwrap();
    assert_eq!(incidents(&store, wrong.id).await, ["7"]);
    // It has another one now.
    let id = store.report(with_url(7, "https://t/18"), policy()).await.unwrap().unwrap();
    assert!(store.tickets_of(id).await.unwrap().is_empty());
    assert_eq!(incidents(&store, wrong.id).await, [""; 0]);
    let right =
        adopt(&store, with_url(7, "https://t/18"), named(18, "https://t/18")).await.unwrap();
    assert_ne!(right.id, wrong.id);
    // It has none any more, and so gets one.
    let made = accept(&store, with_url(7, "")).await;
    assert!(made.new && made.job.state == State::Queued, "{made:?}");
    assert_eq!(made.job.key, of_argus(7).key);
}

async fn a_ticket_that_a_person_gave_is_closed_only_where_the_operator_says_so(place: Place) {
    use crate::life::{OnEnd, OnTicketPasted, Policy, Terms};
    for (on_ticket_pasted, expected) in
        [(OnTicketPasted::Comment, Action::Comment), (OnTicketPasted::Close, Action::Close)]
    {
        let place = place.another();
        let store = place.open().await;
        adopt(&store, of_argus(7), named(17, "https://t/17")).await.unwrap();
        made(&store, of_argus(8)).await;
        for pk in [7, 8] {
            let ended = New { open: false, reports: true, ..of_argus(pk) };
            store.report(ended, self::policy()).await.unwrap().unwrap();
        }
        let close_after = Duration::ZERO;
        let policy =
            Policy { on_ticket_pasted, on_end: OnEnd::Close, close_after, ..Policy::default() };
        let life = Arc::new(Terms { policy, actions: vec![Action::Comment, Action::Close] });
        let claims = store.claim_updates("b", 9, term(LEASE, self::policy()), life).await.unwrap();
        let of = |pk: &str| {
            claims.iter().find(|claim| claim.identity.id == pk).unwrap().update.as_ref().unwrap()
        };
        assert_eq!((of("7").action, of("8").action), (expected, Action::Close));
    }
}

async fn a_ticket_that_a_person_gave_is_one_in_a_copy_too(place: Place) {
    let store = place.open().await;
    let id = adopt(&store, of_argus(7), named(17, "https://t/17")).await.unwrap().id;
    let other = place.another();
    let copied = other.open().await;
    copy(&*store, &*copied).await.unwrap();
    assert_eq!(adopt(&copied, of_argus(8), named(17, "https://t/17")).await.unwrap().id, id);
}

over_both! {
    a_ticket_that_a_person_gave_is_its_incidents
    an_incident_that_is_given_a_ticket_that_another_has_shares_it
    an_incident_that_waits_for_a_ticket_is_given_none_beside_it
    an_incident_that_is_given_anothers_ticket_while_it_waits_shares_that
    an_incident_whose_ticket_failed_is_given_one_by_hand
    a_ticket_that_failed_in_one_backend_may_have_been_made_by_hand_in_another
    a_ticket_that_is_none_of_the_backend_that_was_to_make_one_may_be_anothers
    the_ticket_before_a_successor_that_failed_is_not_the_incidents_again
    a_shared_url_that_was_taken_back_does_not_come_back
    who_asks_for_a_backend_by_its_name_is_answered_whatever_a_person_gave
    what_a_person_wants_to_be_done_to_a_ticket_is_done_though_its_url_is_taken_back
    a_url_that_a_person_took_back_or_replaced_is_the_incidents_no_more
    a_ticket_that_a_person_gave_is_closed_only_where_the_operator_says_so
    a_ticket_that_a_person_gave_is_one_in_a_copy_too
}
