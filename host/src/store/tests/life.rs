//! What tickets are told after they were made, as a store keeps it.

use serde_json::json;

use ticket_plugin_api::{Action, Difference, TicketState};

use super::*;
use crate::life::{OnEnd, Snapshot, Terms};

/// What is told to tickets.
type Told = crate::life::Policy;

const QUIET: Duration = Duration::from_secs(900);

/// A plugin that can do everything, and an operator who wants tickets closed at once.
fn terms() -> Terms {
    let policy = Told {
        quiet: Duration::ZERO,
        on_end: OnEnd::Close,
        close_after: Duration::ZERO,
        ..Told::default()
    };
    Terms { policy, actions: vec![Action::Comment, Action::Close, Action::Reopen] }
}

/// As its monitoring system reports it now.
fn now(key: &str, level: i64, open: bool) -> New {
    let incident = json!({"description": "slow", "level": level}).to_string();
    New { incident, level, open, reports: true, ..new(key) }
}

/// Accepts an incident and makes its ticket.
async fn made(store: &Arc<dyn Store>, key: &str) -> i64 {
    let id = accept(store, now(key, 3, true)).await.job.id;
    settle(store, claim_one(store).await, created()).await;
    id
}

async fn settle(store: &Arc<dyn Store>, claim: Claim, outcome: Outcome) -> Job {
    let settled = store.settle(Arc::new(claim), Timestamp::now(), outcome, policy()).await;
    settled.unwrap().expect("its lease lasts")
}

async fn report(store: &Arc<dyn Store>, new: New) {
    store.report(new, policy()).await.unwrap().expect("the store has it");
}

async fn updates(store: &Arc<dyn Store>, terms: Terms) -> Vec<Claim> {
    let life = Arc::new(terms);
    store.claim_updates("b", 10, term(LEASE, policy()), life).await.unwrap()
}

/// The one thing that is to be done.
async fn only(store: &Arc<dyn Store>) -> Claim {
    let mut claims = updates(store, terms()).await;
    assert_eq!(claims.len(), 1);
    claims.remove(0)
}

fn action(claim: &Claim) -> Action {
    claim.update.as_ref().unwrap().action
}

fn diff(claim: &Claim) -> Vec<String> {
    let Difference { from, to } = &claim.update.as_ref().unwrap().diff["level"];
    vec![from.to_string(), to.to_string()]
}

fn done(state: TicketState) -> Outcome {
    Outcome::Done { state, warnings: Vec::new() }
}

async fn a_change_is_sealed_when_it_is_claimed_and_what_comes_later_is_another_update(
    place: Place,
) {
    let store = place.open().await;
    let id = made(&store, "k").await;
    assert!(updates(&store, terms()).await.is_empty());
    report(&store, now("k", 2, true)).await;
    report(&store, now("k", 1, true)).await;
    let first = only(&store).await;
    assert_eq!(
        (first.job.id, action(&first), diff(&first)),
        (id, Action::Comment, vec!["3".into(), "1".into()])
    );
    report(&store, now("k", 4, true)).await;
    assert!(updates(&store, terms()).await.is_empty(), "one after the other");
    let again = Outcome::Again { after: Duration::ZERO, failure: failure(Kind::Client) };
    settle(&store, first.clone(), again).await;
    store.advance().await.unwrap();
    let second_try = only(&store).await;
    assert_eq!(diff(&second_try), ["3", "1"]);
    assert_eq!(second_try.incident, first.incident);
    assert_eq!(second_try.update.as_ref().unwrap().mark, first.update.unwrap().mark);
    settle(&store, second_try, done(TicketState::Open)).await;
    let next = only(&store).await;
    assert_eq!(diff(&next), ["1", "4"]);
    settle(&store, next, done(TicketState::Open)).await;
    assert!(updates(&store, terms()).await.is_empty());
    report(&store, now("k", 4, true)).await;
    assert!(updates(&store, terms()).await.is_empty(), "it is as it was told");
    let life = store.life(id).await.unwrap();
    assert_eq!(life.status, Some(TicketState::Open));
    let states: Vec<State> = life.updates.iter().map(|update| update.state).collect();
    assert_eq!(states, [State::Created; 2]);
    assert_eq!(life.updates[0].attempts.len(), 2);
}

async fn a_ticket_is_made_with_what_is_known_then_and_is_not_told_that(place: Place) {
    let store = place.open().await;
    accept(&store, now("k", 3, true)).await;
    report(&store, now("k", 2, true)).await;
    assert!(updates(&store, terms()).await.is_empty(), "there is no ticket");
    let claim = claim_one(&store).await;
    assert_eq!((claim.job.level, Snapshot::of(&claim.incident, true).level), (2, Some(2)));
    report(&store, now("k", 1, true)).await;
    settle(&store, claim, created()).await;
    let told = only(&store).await;
    assert_eq!(diff(&told), ["2", "1"]);
}

async fn a_ticket_that_is_found_is_told_what_is_new_since_the_claim_that_made_it(place: Place) {
    let store = place.open().await;
    accept(&store, now("k", 3, true)).await;
    let refused = Outcome::Again { after: Duration::ZERO, failure: failure(Kind::Client) };
    settle(&store, claim_one(&store).await, refused).await;
    report(&store, now("k", 2, true)).await;
    store.advance().await.unwrap();
    // It makes one that says 2, and nobody hears of it.
    settle(&store, claim_one(&store).await, unknown(Duration::ZERO)).await;
    report(&store, now("k", 3, true)).await;
    store.advance().await.unwrap();
    let found = claim_one(&store).await;
    assert!(found.unknown);
    settle(&store, found, created()).await;
    assert_eq!(diff(&only(&store).await), ["2", "3"]);
}

async fn what_happened_before_a_host_followed_is_told_to_no_ticket(place: Place) {
    let store = place.open().await;
    made(&store, "k").await;
    place.sql("UPDATE incidents SET followed = 0");
    report(&store, now("k", 1, true)).await;
    assert!(updates(&store, terms()).await.is_empty());
    report(&store, now("k", 2, true)).await;
    assert_eq!(diff(&only(&store).await), ["1", "2"]);
}

async fn closings_come_before_comments_and_each_backends_are_its_own(place: Place) {
    let store = place.open().await;
    for key in ["comment", "close"] {
        made(&store, key).await;
    }
    report(&store, now("comment", 1, true)).await;
    report(&store, now("close", 3, false)).await;
    let other = store.claim_updates("c", 10, term(LEASE, policy()), Arc::new(terms())).await;
    assert!(other.unwrap().is_empty());
    let one = store.claim_updates("b", 1, term(LEASE, policy()), Arc::new(terms())).await.unwrap();
    assert_eq!(one.iter().map(action).collect::<Vec<_>>(), [Action::Close]);
    assert_eq!(action(&only(&store).await), Action::Comment);
}

async fn what_an_update_did_is_unknown_until_the_plugin_has_looked(place: Place) {
    let store = place.open().await;
    let id = made(&store, "k").await;
    report(&store, now("k", 1, true)).await;
    let claim = only(&store).await;
    assert!(!claim.unknown);
    let late = claim.clone();
    settle(&store, claim, unknown(Duration::ZERO)).await;
    store.advance().await.unwrap();
    let claim = only(&store).await;
    assert!(claim.unknown);
    let outdated = store.settle(Arc::new(late), Timestamp::now(), created(), policy()).await;
    assert_eq!(outdated.unwrap(), None);
    settle(&store, claim, done(TicketState::Open)).await;
    let life = store.life(id).await.unwrap();
    assert_eq!(life.updates[0].state, State::Created);
}

async fn an_update_whose_host_is_gone_is_unknown(place: Place) {
    let store = place.open().await;
    let id = made(&store, "k").await;
    report(&store, now("k", 1, true)).await;
    let life = Arc::new(terms());
    let gone = store.claim_updates("b", 1, term(Duration::ZERO, policy()), life).await.unwrap();
    store.advance().await.unwrap();
    let row = store.life(id).await.unwrap().updates.remove(0);
    assert_eq!(row.state, State::Unknown);
    assert!(row.failure.unwrap().message.contains("may have been carried out"));
    store.advance().await.unwrap();
    let claim = only(&store).await;
    assert!(claim.unknown && claim.step == gone[0].step);
}

async fn an_incident_that_begins_again_in_time_leaves_its_ticket_as_it_is(place: Place) {
    let store = place.open().await;
    made(&store, "k").await;
    report(&store, now("k", 3, false)).await;
    let policy = Told { close_after: QUIET, ..terms().policy };
    assert!(updates(&store, Terms { policy, ..terms() }).await.is_empty());
    report(&store, now("k", 3, true)).await;
    assert!(updates(&store, terms()).await.is_empty());
}

async fn a_closed_ticket_is_opened_again_or_followed_by_a_new_one_that_links_it(place: Place) {
    let store = place.open().await;
    let id = store.accept(of_argus(7), policy(), None).await.unwrap().job.id;
    settle(&store, claim_one(&store).await, created()).await;
    store.told(store.to_tell("argus", 0, 9).await.unwrap()[0].incident).await.unwrap();
    let reported = |open| New { open, reports: true, ..of_argus(7) };
    for _ in 0..2 {
        report(&store, reported(false)).await;
        let close = only(&store).await;
        assert_eq!(action(&close), Action::Close);
        settle(&store, close, done(TicketState::Closed)).await;
        report(&store, reported(true)).await;
        let reopen = only(&store).await;
        assert_eq!((action(&reopen), reopen.job.id), (Action::Reopen, id));
        settle(&store, reopen, done(TicketState::Open)).await;
    }
    report(&store, reported(false)).await;
    settle(&store, only(&store).await, done(TicketState::Closed)).await;
    report(&store, reported(true)).await;
    let policy_ = Told { reopen_within: Duration::ZERO, ..terms().policy };
    assert!(updates(&store, Terms { policy: policy_, ..terms() }).await.is_empty());
    let claim = claim_one(&store).await;
    assert_eq!(claim.job.key, "https://argus/incidents/7#again-2");
    assert_ne!(claim.job.id, id);
    assert_eq!(claim.former.as_ref().unwrap().url, "https://t/1");
    let new_one = claim.job.id;
    settle(&store, claim, created()).await;
    let told = store.to_tell("argus", 0, 9).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].former.as_ref().unwrap().url, "https://t/1");
    // Who asks again gets the new one, and what comes now is told to that.
    assert_eq!(accept(&store, of_argus(7)).await.job.id, new_one);
    report(&store, reported(false)).await;
    assert_eq!(only(&store).await.job.id, new_one);
    assert_eq!(store.life(new_one).await.unwrap().former, Some(id));
}

async fn a_ticket_that_is_gone_is_told_nothing_more_and_one_that_a_person_closed_neither(
    place: Place,
) {
    for state in [TicketState::Gone, TicketState::Closed, TicketState::Foreign] {
        let place = place.another();
        let store = place.open().await;
        let id = made(&store, "k").await;
        report(&store, now("k", 1, true)).await;
        settle(&store, only(&store).await, Outcome::Needless { state }).await;
        for (level, open) in [(2, true), (4, true), (4, false)] {
            report(&store, now("k", level, open)).await;
            assert!(updates(&store, terms()).await.is_empty(), "{state:?}");
        }
        assert_eq!(store.life(id).await.unwrap().status, Some(state));
        report(&store, now("k", 4, true)).await;
        let claims = updates(&store, terms()).await;
        if state == TicketState::Closed {
            assert_eq!(claims.iter().map(action).collect::<Vec<_>>(), [Action::Reopen]);
        } else {
            assert!(claims.is_empty(), "{state:?}");
            assert_eq!(claim_one(&store).await.job.key, "k#again-2", "{state:?}");
        }
    }
}

async fn a_ticket_that_a_person_closed_before_its_incident_began_again_is_opened(place: Place) {
    let store = place.open().await;
    made(&store, "k").await;
    let comments = Terms { actions: vec![Action::Comment, Action::Reopen], ..terms() };
    report(&store, now("k", 3, false)).await;
    let end = updates(&store, comments.clone()).await.remove(0);
    settle(&store, end, done(TicketState::Open)).await;
    report(&store, now("k", 3, true)).await;
    let again = updates(&store, comments.clone()).await.remove(0);
    assert_eq!(action(&again), Action::Comment);
    settle(&store, again, Outcome::Needless { state: TicketState::Closed }).await;
    let reopen = updates(&store, comments).await.remove(0);
    assert_eq!(action(&reopen), Action::Reopen);
}

async fn what_failed_is_for_a_person_and_the_next_change_is_told_all_the_same(place: Place) {
    let store = place.open().await;
    let id = made(&store, "k").await;
    let fails = |kind| Outcome::Failed(failure(kind));
    report(&store, now("k", 1, true)).await;
    settle(&store, only(&store).await, fails(Kind::Creation)).await;
    assert!(updates(&store, terms()).await.is_empty(), "it isn't tried again by itself");
    let counts = store.update_counts().await.unwrap();
    assert_eq!((counts[0].state, counts[0].rows), (State::Failed, 1));
    assert_eq!(prune(&store, Duration::ZERO).await, 0, "a person has yet to see it");
    report(&store, now("k", 2, true)).await;
    let next = only(&store).await;
    assert_eq!(diff(&next), ["3", "2"], "what was not told before is told with it");
    settle(&store, next, done(TicketState::Open)).await;
    // What failed is not said any more, since it isn't so any more.
    assert_eq!(store.order(id, Order::Retry, policy(), &by()).await.unwrap().id, id);
    assert!(updates(&store, terms()).await.is_empty());
    report(&store, now("k", 5, true)).await;
    settle(&store, only(&store).await, fails(Kind::Settings)).await;
    assert_eq!(store.reopen("b", &[Kind::Settings], policy()).await.unwrap(), 1);
    let anew = only(&store).await;
    assert_eq!(diff(&anew), ["2", "5"]);
    settle(&store, anew, fails(Kind::Creation)).await;
    store.order(id, Order::Cancel, policy(), &by()).await.unwrap();
    report(&store, now("k", 4, true)).await;
    let next = only(&store).await;
    assert_eq!(diff(&next), ["5", "4"], "what a person cancelled counts as told");
    settle(&store, next, done(TicketState::Open)).await;
    let states: Vec<State> =
        store.life(id).await.unwrap().updates.iter().map(|update| update.state).collect();
    let (done, needless) = (State::Created, State::Suppressed);
    assert_eq!(states, [needless, done, needless, State::Cancelled, done]);
    let conflict = store.order(id, Order::Retry, policy(), &by()).await.unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict { state: State::Created, .. }), "{conflict}");
    assert!(updates(&store, terms()).await.is_empty());
    assert_eq!(prune(&store, Duration::ZERO).await, 1);
    assert!(store.update_counts().await.unwrap().is_empty());
}

async fn a_cancelled_step_does_not_undo_what_was_told_since(place: Place) {
    let store = place.open().await;
    let id = made(&store, "k").await;
    report(&store, now("k", 1, true)).await;
    settle(&store, only(&store).await, Outcome::Failed(failure(Kind::Creation))).await;
    report(&store, now("k", 2, true)).await;
    settle(&store, only(&store).await, done(TicketState::Open)).await;
    store.order(id, Order::Cancel, policy(), &by()).await.unwrap();
    report(&store, now("k", 1, true)).await;
    assert_eq!(diff(&only(&store).await), ["2", "1"]);
}

async fn a_shared_ticket_is_not_to_be_closed_while_one_of_its_incidents_goes_on(place: Place) {
    let store = place.open().await;
    let of = |pk: i64, open: bool| {
        let reported = New { open, reports: true, wanted: true, ..of_argus(pk) };
        New { key: "site".to_owned(), ..reported }
    };
    store.accept(of(1, true), policy(), None).await.unwrap();
    settle(&store, claim_one(&store).await, created()).await;
    store.accept(of(2, true), policy(), None).await.unwrap();
    assert!(updates(&store, terms()).await.is_empty());
    for pk in [1, 2] {
        report(&store, of(pk, false)).await;
    }
    let close = only(&store).await;
    assert!(close.ended);
    let again = Outcome::Again { after: Duration::ZERO, failure: failure(Kind::Client) };
    settle(&store, close, again).await;
    report(&store, of(1, true)).await;
    store.advance().await.unwrap();
    assert!(!only(&store).await.ended);
}

async fn what_may_have_been_done_is_looked_for_when_a_person_retries_it(place: Place) {
    let store = place.open().await;
    let id = made(&store, "k").await;
    report(&store, now("k", 1, true)).await;
    settle(&store, only(&store).await, unknown(Duration::ZERO)).await;
    store.advance().await.unwrap();
    settle(&store, only(&store).await, Outcome::Failed(failure(Kind::Creation))).await;
    store.order(id, Order::Retry, policy(), &by()).await.unwrap();
    let again = only(&store).await;
    assert!(again.unknown && diff(&again) == ["3", "1"]);
}

async fn what_is_not_so_any_more_is_not_told_late(place: Place) {
    let store = place.open().await;
    let id = made(&store, "k").await;
    report(&store, now("k", 1, true)).await;
    settle(&store, only(&store).await, unknown(Duration::ZERO)).await;
    store.advance().await.unwrap();
    settle(&store, only(&store).await, Outcome::Lost(failure(Kind::Plugin))).await;
    report(&store, now("k", 3, true)).await;
    assert!(updates(&store, terms()).await.is_empty(), "by what it was told last");
    store.order(id, Order::Retry, policy(), &by()).await.unwrap();
    // Only a person knew whether it was done, who says that it wasn't: it isn't so any more.
    assert!(updates(&store, terms()).await.is_empty());
}

async fn incidents_that_share_a_ticket_share_its_end_and_get_new_ones_of_their_own(place: Place) {
    let store = place.open().await;
    let of = |pk: i64, level: i64, open: bool| {
        let incident = json!({"description": "slow", "level": level}).to_string();
        let reported = New { incident, level, open, reports: true, wanted: true, ..of_argus(pk) };
        New { key: "site".to_owned(), ..reported }
    };
    let id = store.accept(of(1, 2, true), policy(), None).await.unwrap().job.id;
    settle(&store, claim_one(&store).await, created()).await;
    assert_eq!(store.accept(of(2, 4, true), policy(), None).await.unwrap().job.id, id);
    assert!(updates(&store, terms()).await.is_empty(), "the worse one is told already");
    report(&store, of(1, 2, false)).await;
    let milder = only(&store).await;
    assert_eq!((action(&milder), diff(&milder)), (Action::Comment, vec!["2".into(), "4".into()]));
    settle(&store, milder, done(TicketState::Open)).await;
    report(&store, of(2, 4, false)).await;
    let close = only(&store).await;
    assert_eq!(action(&close), Action::Close);
    settle(&store, close, Outcome::Needless { state: TicketState::Gone }).await;
    let mut keys = Vec::new();
    for pk in [1, 2] {
        report(&store, of(pk, 4, true)).await;
        assert!(updates(&store, terms()).await.is_empty());
        let claim = claim_one(&store).await;
        keys.push(claim.job.key.clone());
        settle(&store, claim, created()).await;
        // The other one's ticket is told nothing of it.
        assert!(updates(&store, terms()).await.is_empty());
        report(&store, of(pk, 4, false)).await;
        settle(&store, only(&store).await, Outcome::Needless { state: TicketState::Gone }).await;
    }
    assert_eq!(keys, ["site#again-2", "site#again-3"]);
}

async fn a_new_ticket_that_was_not_needed_is_needed_when_its_incident_begins_again(place: Place) {
    let store = place.open().await;
    let reported = |open| New { open, reports: true, ..of_argus(7) };
    store.accept(reported(true), policy(), None).await.unwrap();
    settle(&store, claim_one(&store).await, created()).await;
    report(&store, reported(false)).await;
    settle(&store, only(&store).await, Outcome::Needless { state: TicketState::Gone }).await;
    report(&store, reported(true)).await;
    assert!(updates(&store, terms()).await.is_empty());
    report(&store, reported(false)).await;
    settle(&store, claim_one(&store).await, Outcome::Suppressed).await;
    report(&store, reported(true)).await;
    let needed = claim_one(&store).await;
    assert_eq!(needed.job.key, "https://argus/incidents/7#again-2");
    assert!(!needed.ended);
}

async fn a_ticket_of_an_incident_that_ended_meanwhile_is_told_of_the_end(place: Place) {
    let store = place.open().await;
    accept(&store, now("k", 3, true)).await;
    report(&store, now("k", 3, false)).await;
    settle(&store, claim_one(&store).await, created()).await;
    assert_eq!(action(&only(&store).await), Action::Close);
}

async fn what_goes_on_and_is_reported_is_not_pruned(place: Place) {
    let store = place.open().await;
    made(&store, "k").await;
    let hour = Duration::from_secs(60 * 60);
    place.sql("UPDATE steps SET seen = seen - 90000000");
    report(&store, now("k", 3, true)).await;
    assert_eq!(prune(&store, hour).await, 0, "it was reported just now");
    // What is to be told, too.
    report(&store, now("k", 3, false)).await;
    place.sql("UPDATE steps SET seen = seen - 90000000");
    assert_eq!(prune(&store, hour).await, 0);
    settle(&store, only(&store).await, done(TicketState::Closed)).await;
    assert!(updates(&store, terms()).await.is_empty());
    place.sql("UPDATE steps SET seen = seen - 90000000");
    assert_eq!(prune(&store, hour).await, 1);
}

async fn a_step_of_a_store_that_was_opened_anew_may_have_been_done(place: Place) {
    let store = place.open().await;
    made(&store, "k").await;
    report(&store, now("k", 1, true)).await;
    let first = only(&store).await;
    assert!(first.certain);
    let again = Outcome::Again { after: Duration::ZERO, failure: failure(Kind::Client) };
    settle(&store, first, again).await;
    let store = place.open_anew(store).await;
    store.advance().await.unwrap();
    let claim = only(&store).await;
    assert!(!claim.certain && !claim.unknown);
}

async fn a_person_may_comment_and_close_and_that_changes_nothing_of_what_is_told(place: Place) {
    let store = place.open().await;
    let id = accept(&store, now("k", 3, true)).await.job.id;
    let comment = |store: &Arc<dyn Store>| {
        let store = Arc::clone(store);
        async move { store.add_update(id, Action::Comment, "on it".to_owned(), policy(), &by()).await }
    };
    assert!(matches!(comment(&store).await, Err(StoreError::NotMade(_))));
    let missing = store.add_update(99, Action::Close, String::new(), policy(), &by()).await;
    assert!(matches!(missing, Err(StoreError::NoSuch(99))));
    settle(&store, claim_one(&store).await, created()).await;
    comment(&store).await.unwrap();
    report(&store, now("k", 1, true)).await;
    let said = only(&store).await;
    assert_eq!(said.update.as_ref().unwrap().said.as_deref(), Some("on it"));
    settle(&store, said, done(TicketState::Open)).await;
    assert_eq!(diff(&only(&store).await), ["3", "1"]);
}

async fn a_person_says_which_ticket_an_incident_has(place: Place) {
    let store = place.open().await;
    let id = in_state(&store, "k", State::Failed).await;
    let ticket = Ticket { url: "https://t/9".to_owned(), ..Ticket::default() };
    let job = store.adopt(id, ticket.clone(), &by()).await.unwrap();
    assert_eq!((job.state, job.ticket, job.made), (State::Created, Some(ticket.clone()), false));
    assert!(matches!(
        store.adopt(id, ticket.clone(), &by()).await,
        Err(StoreError::Conflict { .. })
    ));
    assert!(matches!(store.adopt(99, ticket, &by()).await, Err(StoreError::NoSuch(99))));
}

async fn an_incident_that_ended_before_its_ticket_was_made_says_so_with_the_claim(place: Place) {
    let store = place.open().await;
    accept(&store, New { wanted: false, ..now("k", 3, true) }).await;
    assert_eq!(store.report(now("other", 3, false), policy()).await.unwrap(), None);
    report(&store, now("k", 3, false)).await;
    let claim = claim_one(&store).await;
    assert!(claim.ended && !claim.wanted);
}

async fn what_goes_on_is_listed_until_it_ends(place: Place) {
    let store = place.open().await;
    for pk in [7, 8] {
        store.accept(of_argus(pk), policy(), None).await.unwrap();
    }
    accept(&store, new("other")).await;
    let going_on = store.going_on("argus", 0, 9).await.unwrap();
    let numbers: Vec<&str> = going_on.iter().map(|it| it.number.as_str()).collect();
    assert_eq!(numbers, ["7", "8"]);
    store.incident_ended(going_on[0].incident).await.unwrap();
    let left = store.going_on("argus", 0, 9).await.unwrap();
    assert_eq!(left, going_on[1..]);
    assert!(store.going_on("argus", left[0].incident, 9).await.unwrap().is_empty());
}

async fn a_copy_goes_on_where_the_store_was(place: Place) {
    let store = place.open().await;
    let id = made(&store, "k").await;
    report(&store, now("k", 1, true)).await;
    settle(&store, only(&store).await, unknown(Duration::ZERO)).await;
    report(&store, now("k", 2, true)).await;
    let other = place.another();
    let copied = other.open().await;
    copy(&*store, &*copied).await.unwrap();
    copied.advance().await.unwrap();
    let claim = only(&copied).await;
    assert!(claim.unknown && claim.job.id == id);
    settle(&copied, claim, done(TicketState::Open)).await;
    assert_eq!(diff(&only(&copied).await), ["1", "2"]);
}

over_both! {
    a_change_is_sealed_when_it_is_claimed_and_what_comes_later_is_another_update
    a_ticket_is_made_with_what_is_known_then_and_is_not_told_that
    a_ticket_that_is_found_is_told_what_is_new_since_the_claim_that_made_it
    what_happened_before_a_host_followed_is_told_to_no_ticket
    closings_come_before_comments_and_each_backends_are_its_own
    what_an_update_did_is_unknown_until_the_plugin_has_looked
    an_update_whose_host_is_gone_is_unknown
    an_incident_that_begins_again_in_time_leaves_its_ticket_as_it_is
    a_closed_ticket_is_opened_again_or_followed_by_a_new_one_that_links_it
    a_ticket_that_is_gone_is_told_nothing_more_and_one_that_a_person_closed_neither
    a_ticket_that_a_person_closed_before_its_incident_began_again_is_opened
    what_failed_is_for_a_person_and_the_next_change_is_told_all_the_same
    a_cancelled_step_does_not_undo_what_was_told_since
    a_shared_ticket_is_not_to_be_closed_while_one_of_its_incidents_goes_on
    what_may_have_been_done_is_looked_for_when_a_person_retries_it
    what_is_not_so_any_more_is_not_told_late
    incidents_that_share_a_ticket_share_its_end_and_get_new_ones_of_their_own
    a_new_ticket_that_was_not_needed_is_needed_when_its_incident_begins_again
    a_ticket_of_an_incident_that_ended_meanwhile_is_told_of_the_end
    what_goes_on_and_is_reported_is_not_pruned
    a_step_of_a_store_that_was_opened_anew_may_have_been_done
    a_person_may_comment_and_close_and_that_changes_nothing_of_what_is_told
    a_person_says_which_ticket_an_incident_has
    an_incident_that_ended_before_its_ticket_was_made_says_so_with_the_claim
    what_goes_on_is_listed_until_it_ends
    a_copy_goes_on_where_the_store_was
}
