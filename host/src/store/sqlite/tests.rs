use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;
use ticket_plugin_api::Ticket;

use super::*;
use crate::incident::Identity;
use crate::machine::State;
use crate::store::Failure;

const LEASE: Duration = Duration::from_secs(60);
const MAX: u64 = 1 << 30;
const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A ticket is tried for a week, and what may be there is looked for at once.
fn policy() -> Policy {
    Policy { retry_for: WEEK, settle: Duration::ZERO, least_tries: 1 }
}

/// Policies by which nothing is tried for long.
fn impatient() -> Policy {
    Policy { retry_for: Duration::ZERO, ..policy() }
}

/// A store in a directory of its own.
async fn store() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    (directory, store)
}

async fn open(directory: &TempDir) -> Sqlite {
    Sqlite::open_alone(&directory.path().join("queue.db"), MAX).await.unwrap()
}

/// An incident that is known by its key only.
fn new(key: &str) -> New {
    New {
        identity: Identity { source: String::new(), id: key.to_owned() },
        key: key.to_owned(),
        began: String::new(),
        backend: "b".to_owned(),
        is_named: false,
        level: 3,
        incident: "{}".to_owned(),
        wanted: true,
        tell: false,
        reopen: true,
        certain: false,
    }
}

/// An incident of Argus's, as its watcher files it.
fn of_argus(pk: i64) -> New {
    New {
        identity: Identity { source: "argus".to_owned(), id: pk.to_string() },
        began: "2026-11-23T08:00:00+01:00".to_owned(),
        wanted: false,
        tell: true,
        reopen: false,
        ..new(&format!("https://argus/incidents/{pk}"))
    }
}

async fn accept(store: &Sqlite, new: New) -> Accepted {
    store.accept(new, policy(), None).await.unwrap()
}

fn failure(kind: Kind) -> Failure {
    Failure { kind, message: "the reason".to_owned(), help: None }
}

fn created() -> Outcome {
    let ticket = Ticket { url: "https://t/1".to_owned(), ..Ticket::default() };
    Outcome::Created { ticket, made: true }
}

/// There may be a ticket; "there is none" is believed after that time.
fn unknown(settle: Duration) -> Outcome {
    Outcome::Unknown { after: settle, failure: failure(Kind::Client) }
}

/// Removes all that is old; how many rows that were.
async fn prune(store: &Sqlite, unseen: Duration) -> i64 {
    let rows = async || store.counts().await.unwrap().iter().map(|count| count.rows).sum::<i64>();
    let before = rows().await;
    let mut after = 0;
    while let Some(next) = store.prune(unseen, after).await.unwrap() {
        after = next;
    }
    before - rows().await
}

fn term(lease: Duration, policy: Policy) -> Term {
    Term { lease, policy }
}

async fn claim_one(store: &Sqlite) -> Claim {
    claim_settling(store, Duration::ZERO).await
}

/// Claims one of which it is believed so long after the claim that there is no ticket.
async fn claim_settling(store: &Sqlite, settle: Duration) -> Claim {
    let policy = Policy { settle, ..policy() };
    store.claim("b", Which::All, 1, term(LEASE, policy)).await.unwrap().remove(0)
}

/// Accepts a key and brings it into that state; its id.
async fn in_state(store: &Sqlite, key: &str, state: State) -> i64 {
    let id = accept(store, new(key)).await.job.id;
    let outcome = match state {
        State::Queued => return id,
        State::Cancelled => {
            store.order(id, Order::Cancel, policy()).await.unwrap();
            return id;
        }
        State::Creating => None,
        State::Created => Some(created()),
        State::Failed => Some(Outcome::Failed(failure(Kind::Settings))),
        State::Suppressed => Some(Outcome::Suppressed),
        State::Unknown => Some(unknown(MINUTE)),
    };
    let claim = claim_settling(store, MINUTE).await;
    assert_eq!(claim.job.id, id);
    if let Some(outcome) = outcome {
        store
            .settle(Arc::new(claim.clone()), Timestamp::now(), outcome, policy())
            .await
            .unwrap()
            .unwrap();
    }
    id
}

#[tokio::test]
async fn a_backend_and_a_key_have_one_row_however_many_ask_at_once() {
    let (_directory, store) = store().await;
    let store = Arc::new(store);
    let asking: Vec<_> = (0..100)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { accept(&store, new(["x", "y"][n % 2])).await })
        })
        .collect();
    let mut accepted = Vec::new();
    for task in asking {
        accepted.push(task.await.unwrap());
    }
    assert_eq!(accepted.iter().filter(|accepted| accepted.new).count(), 2);
    assert_eq!(store.list(&Filter { most: 10, ..Filter::default() }).await.unwrap().len(), 2);
    let other = New { backend: "c".to_owned(), is_named: true, ..new("x") };
    assert!(accept(&store, other).await.new, "another backend's ticket is another");
}

#[tokio::test]
async fn claims_go_by_level_then_age_and_are_nobody_elses() {
    let (_directory, store) = store().await;
    for (key, level) in [("mild", 5), ("first", 1), ("second", 1), ("none", 6)] {
        accept(&store, New { level, ..new(key) }).await;
    }
    accept(&store, New { backend: "c".to_owned(), level: 1, ..new("other") }).await;
    let keys = |claims: Vec<Claim>| claims.into_iter().map(|c| c.job.key).collect::<Vec<_>>();
    assert_eq!(
        keys(store.claim("b", Which::All, 3, term(LEASE, policy())).await.unwrap()),
        ["first", "second", "mild"]
    );
    assert_eq!(
        keys(store.claim("b", Which::All, 3, term(LEASE, policy())).await.unwrap()),
        ["none"]
    );
    assert!(store.claim("b", Which::All, 3, term(LEASE, policy())).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_failed_comes_back_when_it_is_due_and_not_before() {
    let (_directory, store) = store().await;
    accept(&store, new("k")).await;
    let claim = claim_one(&store).await;
    let again = |after| Outcome::Again { after, failure: failure(Kind::Client) };
    let job = store
        .settle(Arc::new(claim.clone()), Timestamp::now(), again(MINUTE), policy())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((job.state, job.attempts), (State::Queued, 1));
    let next = store.advance().await.unwrap().next;
    assert!(next.is_some_and(|next| next > MINUTE - MINUTE / 6));
    assert!(store.claim("b", Which::All, 1, term(LEASE, policy())).await.unwrap().is_empty());
    store.order(job.id, Order::Retry, policy()).await.unwrap();
    let claim = claim_one(&store).await;
    store
        .settle(Arc::new(claim.clone()), Timestamp::now(), again(Duration::ZERO), policy())
        .await
        .unwrap();
    store.advance().await.unwrap();
    assert_eq!(claim_one(&store).await.job.attempts, 3);
}

#[tokio::test]
async fn a_claim_whose_lease_ended_can_settle_nothing_and_leaves_unknown() {
    let (_directory, store) = store().await;
    accept(&store, new("k")).await;
    let late =
        store.claim("b", Which::All, 1, term(Duration::ZERO, policy())).await.unwrap().remove(0);
    store.advance().await.unwrap();
    assert_eq!(
        store.settle(Arc::new(late.clone()), Timestamp::now(), created(), policy()).await.unwrap(),
        None
    );
    let job = store.get(late.job.id).await.unwrap().unwrap();
    assert_eq!(job.state, State::Unknown);
    assert!(job.failure.unwrap().message.contains("there may be a ticket"));
    let attempts = store.attempts(job.id).await.unwrap();
    assert_eq!(attempts[0].outcome, State::Unknown);

    store.advance().await.unwrap();
    let claim = claim_one(&store).await;
    assert!(claim.unknown, "who claims it must look for the ticket");
    assert_eq!(
        store.settle(Arc::new(late.clone()), Timestamp::now(), created(), policy()).await.unwrap(),
        None,
        "it has another lease"
    );
    store
        .settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.attempts(job.id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_host_left_under_way_is_unknown_to_the_next_and_all_else_is_as_it_was() {
    let (directory, store) = store().await;
    let states = [State::Created, State::Failed, State::Cancelled, State::Creating, State::Queued];
    for (n, state) in states.into_iter().enumerate() {
        in_state(&store, &format!("k{n}"), state).await;
    }
    drop(store);
    let store = open(&directory).await;
    let after: Vec<State> = store
        .list(&Filter { most: 10, ..Filter::default() })
        .await
        .unwrap()
        .into_iter()
        .map(|job| job.state)
        .collect();
    let expected = [State::Created, State::Failed, State::Cancelled, State::Unknown, State::Queued];
    assert_eq!(after, expected);
}

#[tokio::test]
async fn what_was_tried_for_too_long_fails_with_its_last_reason_and_what_was_not_tried_waits() {
    let (_directory, store) = store().await;
    store.accept(new("never"), impatient(), None).await.unwrap();
    store.advance().await.unwrap();
    let claim = claim_one(&store).await;
    let again = Outcome::Again { after: MINUTE, failure: failure(Kind::Client) };
    let failed = store
        .settle(Arc::new(claim.clone()), Timestamp::now(), again, policy())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((failed.state, failed.due_at), (State::Failed, None));
    assert_eq!(failed.failure.unwrap().message, "given up after 1 tries: the reason");
    give_up(&store, "lost").await;
}

/// Brings a key to where it is given up though there may be a ticket, for a minute from now; its id.
async fn give_up(store: &Sqlite, key: &str) -> i64 {
    store.accept(new(key), impatient(), None).await.unwrap();
    let claim = claim_settling(store, MINUTE).await;
    let failed = store
        .settle(Arc::new(claim.clone()), Timestamp::now(), unknown(MINUTE), policy())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(failed.state, State::Failed);
    let message = failed.failure.unwrap().message;
    assert_eq!(message, "given up after 1 tries (there may be a ticket): the reason");
    claim.job.id
}

#[tokio::test]
async fn a_person_can_retry_and_cancel_what_is_not_under_way() {
    let (_directory, store) = store().await;
    for (state, order, expected) in [
        (State::Queued, Order::Retry, Some(State::Queued)),
        (State::Failed, Order::Retry, Some(State::Queued)),
        (State::Cancelled, Order::Retry, Some(State::Queued)),
        // It is looked for first, now as ever.
        (State::Unknown, Order::Retry, Some(State::Unknown)),
        (State::Created, Order::Retry, None),
        (State::Creating, Order::Retry, None),
        (State::Queued, Order::Cancel, Some(State::Cancelled)),
        (State::Failed, Order::Cancel, Some(State::Cancelled)),
        (State::Unknown, Order::Cancel, Some(State::Cancelled)),
        (State::Created, Order::Cancel, None),
        (State::Creating, Order::Cancel, None),
        (State::Cancelled, Order::Cancel, None),
    ] {
        let key = format!("{state:?} {order:?}");
        let id = in_state(&store, &key, state).await;
        match (store.order(id, order, policy()).await, expected) {
            (Ok(job), Some(expected)) => assert_eq!(job.state, expected, "{key}"),
            (Err(StoreError::Conflict { state: said, .. }), None) => assert_eq!(said, state),
            (other, _) => panic!("{key}: {other:?}"),
        }
        // Out of the way of the next one.
        for claim in store.claim("b", Which::All, 9, term(LEASE, policy())).await.unwrap() {
            store
                .settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy())
                .await
                .unwrap();
        }
    }
    assert!(matches!(store.order(99, Order::Retry, policy()).await, Err(StoreError::NoSuch(99))));
}

#[tokio::test]
async fn what_may_be_there_is_looked_for_first_and_not_too_soon_whoever_wants_it() {
    for who in ["a person", "asked for again", "reopened"] {
        let (_directory, store) = store().await;
        let id = match who {
            "a person" => in_state(&store, "k", State::Unknown).await,
            _ => give_up(&store, "k").await,
        };
        let due_at = Timestamp::now() + MINUTE;
        match who {
            "a person" => drop(store.order(id, Order::Retry, policy()).await.unwrap()),
            "reopened" => {
                assert_eq!(store.reopen("b", &[Kind::Client], policy()).await.unwrap(), 1);
            }
            _ => drop(accept(&store, new("k")).await),
        }
        let job = store.get(id).await.unwrap().unwrap();
        assert_eq!(job.state, State::Unknown, "{who}");
        let apart = job.due_at.unwrap().apart(due_at);
        assert!(
            apart < Duration::from_secs(10),
            "{who}: counted from when it was tried: {apart:?}"
        );
        assert!(
            store.claim("b", Which::All, 1, term(LEASE, policy())).await.unwrap().is_empty(),
            "{who}"
        );
    }
}

#[tokio::test]
async fn what_may_be_there_stays_so_until_somebody_has_looked() {
    for order in [None, Some(Order::Cancel)] {
        let (_directory, store) = store().await;
        let kept = if order.is_some() { policy() } else { impatient() };
        let id = store.accept(new("k"), kept, None).await.unwrap().job.id;
        let claim = claim_one(&store).await;
        store
            .settle(Arc::new(claim.clone()), Timestamp::now(), unknown(Duration::ZERO), policy())
            .await
            .unwrap();
        match order {
            Some(order) => drop(store.order(id, order, policy()).await.unwrap()),
            // It was tried for too long, and failed.
            None => {
                let job = accept(&store, new("k")).await.job;
                assert_eq!(job.state, State::Unknown, "to who asks again");
            }
        }
        assert_eq!(store.order(id, Order::Retry, policy()).await.unwrap().state, State::Unknown);
        store.advance().await.unwrap();
        let claim = claim_one(&store).await;
        assert!(claim.unknown);
        let job = store
            .settle(Arc::new(claim.clone()), Timestamp::now(), Outcome::NoTicket, policy())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(job.state, State::Queued);
        assert!(!claim_one(&store).await.unknown, "somebody has looked");
    }
}

#[tokio::test]
async fn only_a_person_makes_a_ticket_that_nothing_can_look_for() {
    let (_directory, store) = store().await;
    let id = accept(&store, new("k")).await.job.id;
    let claim = claim_one(&store).await;
    store
        .settle(Arc::new(claim.clone()), Timestamp::now(), unknown(Duration::ZERO), policy())
        .await
        .unwrap();
    store.advance().await.unwrap();
    let claim = claim_one(&store).await;
    let lost = Outcome::Lost(failure(Kind::Settings));
    assert_eq!(
        store
            .settle(Arc::new(claim.clone()), Timestamp::now(), lost, policy())
            .await
            .unwrap()
            .unwrap()
            .state,
        State::Failed
    );
    assert!(!accept(&store, new("k")).await.new);
    assert_eq!(store.reopen("b", &[Kind::Settings], policy()).await.unwrap(), 0);
    assert_eq!(store.order(id, Order::Retry, policy()).await.unwrap().state, State::Queued);
    assert!(!claim_one(&store).await.unknown);
}

#[tokio::test]
async fn what_failed_is_tried_anew_when_somebody_asks_again_but_not_for_the_watcher() {
    let (_directory, store) = store().await;
    let id = in_state(&store, "k", State::Failed).await;
    let accepted = accept(&store, New { reopen: false, ..new("k") }).await;
    assert_eq!((accepted.new, accepted.job.state), (false, State::Failed));
    let accepted = accept(&store, New { level: 1, ..new("k") }).await;
    assert_eq!((accepted.new, accepted.job.state), (true, State::Queued));
    assert_eq!((accepted.job.id, accepted.job.level), (id, 1));
    in_state(&store, "cancelled", State::Cancelled).await;
    assert!(!accept(&store, new("cancelled")).await.new);
}

#[tokio::test]
async fn only_failures_of_the_named_kinds_are_reopened() {
    let (_directory, store) = store().await;
    for kind in [Kind::Settings, Kind::Creation, Kind::Import] {
        accept(&store, new(&format!("{kind:?}"))).await;
        let claim = claim_one(&store).await;
        store
            .settle(
                Arc::new(claim.clone()),
                Timestamp::now(),
                Outcome::Failed(failure(kind)),
                policy(),
            )
            .await
            .unwrap();
    }
    let kinds = [Kind::Settings, Kind::Import];
    assert_eq!(store.reopen("other", &kinds, policy()).await.unwrap(), 0);
    assert_eq!(store.reopen("b", &kinds, policy()).await.unwrap(), 2);
    let filter = Filter { state: Some(State::Failed), most: 9, ..Filter::default() };
    assert_eq!(store.list(&filter).await.unwrap()[0].key, "Creation");
}

/// Makes all rows older, by the store's own time.
fn age(store: &Sqlite, by: Duration) {
    let db = Connection::open(&store.path).unwrap();
    db.execute("UPDATE steps SET seen = seen - ?", [by.as_millis() as i64]).unwrap();
}

#[tokio::test]
async fn what_waits_for_the_same_reason_is_due_when_that_is_over() {
    let (_directory, store) = store().await;
    for (key, kind) in [("down", Kind::Client), ("login", Kind::Settings), ("own", Kind::Plugin)] {
        accept(&store, new(key)).await;
        let claim = claim_one(&store).await;
        let again = Outcome::Again { after: MINUTE, failure: failure(kind) };
        store.settle(Arc::new(claim.clone()), Timestamp::now(), again, policy()).await.unwrap();
    }
    in_state(&store, "unknown", State::Unknown).await;
    let kinds = [Kind::Client, Kind::Settings];
    assert_eq!(store.hasten("other", &kinds, MINUTE).await.unwrap(), 0);
    // What may have a ticket is looked for no earlier than it would have been.
    assert_eq!(store.hasten("b", &kinds, MINUTE).await.unwrap(), 2);
    let claims = store.claim("b", Which::All, 9, term(LEASE, policy())).await.unwrap();
    let keys: Vec<&str> = claims.iter().map(|claim| claim.job.key.as_str()).collect();
    assert_eq!(keys, ["down", "login"]);
    let db = Connection::open(&store.path).unwrap();
    db.execute("UPDATE steps SET seen = seen - 3600000", []).unwrap();
    assert_eq!(store.hasten("b", &[Kind::Plugin], MINUTE).await.unwrap(), 0, "that was long ago");
}

#[tokio::test]
async fn pruning_removes_what_is_done_and_old_with_its_tries_and_leaves_what_waits_or_failed() {
    let (_directory, store) = store().await;
    let done = in_state(&store, "done", State::Created).await;
    in_state(&store, "cancelled", State::Cancelled).await;
    in_state(&store, "ended", State::Suppressed).await;
    in_state(&store, "failed", State::Failed).await;
    in_state(&store, "waiting", State::Queued).await;
    assert_eq!(prune(&store, MINUTE).await, 0);
    age(&store, 2 * MINUTE);
    assert_eq!(prune(&store, MINUTE).await, 3);
    assert_eq!(store.get(done).await.unwrap(), None);
    assert!(store.attempts(done).await.unwrap().is_empty());
    let left: Vec<State> = store.counts().await.unwrap().iter().map(|count| count.state).collect();
    assert_eq!(left, [State::Failed, State::Queued]);
    assert!(accept(&store, new("done")).await.new, "its incident is gone, too");
}

#[tokio::test]
async fn pruning_leaves_what_argus_has_not_heard_of_and_what_is_asked_for() {
    let (_directory, store) = store().await;
    accept(&store, of_argus(7)).await;
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    let asked = in_state(&store, "asked for", State::Created).await;
    in_state(&store, "forgotten", State::Created).await;
    age(&store, WEEK);
    accept(&store, new("asked for")).await;
    assert_eq!(prune(&store, MINUTE).await, 1);
    assert!(store.get(claim.job.id).await.unwrap().is_some());
    assert!(store.get(asked).await.unwrap().is_some());
    let told = store.to_tell("argus", 0, 10).await.unwrap().remove(0);
    store.told(told.incident).await.unwrap();
    assert_eq!(prune(&store, MINUTE).await, 1);
}

#[tokio::test]
async fn only_the_last_hundred_tries_are_kept() {
    let (_directory, store) = store().await;
    let id = accept(&store, new("k")).await.job.id;
    for _ in 0..=100 {
        store.advance().await.unwrap();
        let claim = claim_one(&store).await;
        let again = Outcome::Again { after: Duration::ZERO, failure: failure(Kind::Client) };
        store.settle(Arc::new(claim), Timestamp::now(), again, policy()).await.unwrap();
    }
    let tries = store.attempts(id).await.unwrap();
    assert_eq!((tries.len(), tries[0].number), (100, 2));
}

#[tokio::test]
async fn a_plugin_that_says_much_each_time_does_not_fill_the_store() {
    let (directory, store) = store().await;
    for key in 0..60 {
        accept(&store, new(&format!("k{key}"))).await;
    }
    let error = crate::Error::plugin("p".repeat(1 << 20)).help("h".repeat(1 << 20));
    for _ in 0..110 {
        store.advance().await.unwrap();
        for claim in store.claim("b", Which::All, 100, term(LEASE, policy())).await.unwrap() {
            let outcome = Outcome::Again { after: Duration::ZERO, failure: Failure::from(&error) };
            store
                .settle(Arc::new(claim.clone()), Timestamp::now(), outcome, policy())
                .await
                .unwrap()
                .unwrap();
        }
    }
    let bytes = fs::metadata(directory.path().join("queue.db")).unwrap().len();
    assert!(bytes < 10 << 20, "{bytes} bytes for 60 tickets");
}

#[tokio::test]
async fn what_argus_is_to_hear_waits_until_it_was_told_and_is_told_again_if_argus_forgot_it() {
    let (_directory, store) = store().await;
    accept(&store, of_argus(7)).await;
    let to_tell = async |after| store.to_tell("argus", after, 10).await.unwrap();
    assert!(to_tell(0).await.is_empty(), "there is no ticket yet");
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    let told = to_tell(0).await.remove(0);
    assert_eq!((told.number.as_str(), told.ticket.url.as_str()), ("7", "https://t/1"));
    assert!(to_tell(told.incident).await.is_empty());
    store.told(told.incident).await.unwrap();
    assert!(to_tell(0).await.is_empty());
    accept(&store, of_argus(7)).await;
    assert_eq!(to_tell(0).await, [told]);
}

#[tokio::test]
async fn a_note_is_there_after_a_restart_and_the_last_one_counts() {
    let (directory, store) = store().await;
    assert_eq!(store.note("a").await.unwrap(), None);
    store.set_note("a", "1").await.unwrap();
    store.set_note("a", "2").await.unwrap();
    store.set_note("b", "").await.unwrap();
    drop(store);
    let store = open(&directory).await;
    assert_eq!(store.note("a").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.note("b").await.unwrap().as_deref(), Some(""));
}

#[tokio::test]
async fn a_full_store_refuses_and_keeps_just_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    let store = Arc::new(Sqlite::open_alone(&path, 1 << 20).await.unwrap());
    let incident = "x".repeat(10_000);
    // Many at once: they share commits, and so failures.
    let asking: Vec<_> = (0..200)
        .map(|n| {
            let (store, incident) = (Arc::clone(&store), incident.clone());
            tokio::spawn(async move {
                let new = New { incident, ..new(&format!("k{n}")) };
                store.accept(new, policy(), None).await
            })
        })
        .collect();
    let mut kept = 0;
    let mut refused = None;
    for task in asking {
        match task.await.unwrap() {
            Ok(_) => kept += 1,
            Err(error) => refused = Some(error),
        }
    }
    let refused = refused.unwrap();
    assert!(refused.to_string().ends_with("queue.db is full"), "{refused}");
    let help = crate::Error::from(refused).help.unwrap();
    assert!(help.contains("queue.max_megabytes"), "{help}");
    // What it has taken in, it can carry to its end, however often that fails, and whatever it says.
    let said = Failure { message: "z".repeat(8000), ..failure(Kind::Creation) };
    for number in 1..=20 {
        store.advance().await.unwrap();
        let claims = store.claim("b", Which::All, 1000, term(LEASE, policy())).await.unwrap();
        assert_eq!(claims.len(), kept as usize, "try {number}");
        for claim in claims {
            let outcome = match number {
                20 => Outcome::Failed(said.clone()),
                _ => Outcome::Again { after: Duration::ZERO, failure: said.clone() },
            };
            store
                .settle(Arc::new(claim.clone()), Timestamp::now(), outcome, policy())
                .await
                .unwrap()
                .unwrap();
        }
    }
    assert!(store.probe().await.unwrap_err().to_string().ends_with("is full"));
    store.close().await;
    let store = Sqlite::open_alone(&path, MAX).await.unwrap();
    assert!(kept > 10, "{kept}");
    let rows: i64 = store.counts().await.unwrap().iter().map(|count| count.rows).sum();
    assert_eq!(rows, kept);
    store.probe().await.unwrap();
    accept(&store, new("now there is room")).await;
}

async fn refused(path: &Path) -> String {
    let error = Sqlite::open_alone(path, MAX).await.unwrap_err();
    let error = crate::Error::from(error);
    format!("{error} / {}", error.help.as_deref().unwrap())
}

#[tokio::test]
async fn a_store_that_cannot_be_one_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    fs::write(&path, "this is no database, but a text of some length".repeat(100)).unwrap();
    let why = refused(&path).await;
    assert!(why.contains("is corrupt / stop the host"), "{why}");

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let why = refused(&file.join("queue.db")).await;
    assert!(why.contains("can't be opened / let the host's user write to"), "{why}");

    let missing = Sqlite::open(&directory.path().join("none.db"), MAX).unwrap_err();
    assert!(missing.to_string().ends_with("none.db does not exist"));
}

#[tokio::test]
async fn damage_inside_the_file_is_an_error_and_no_panic() {
    let (directory, store) = store().await;
    for n in 0..200 {
        accept(&store, New { incident: "y".repeat(2000), ..new(&format!("k{n}")) }).await;
    }
    store.close().await;
    let path = directory.path().join("queue.db");
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length / 4..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let store = match Sqlite::open_alone(&path, MAX).await {
        Ok(store) => store,
        Err(error) => {
            assert!(error.to_string().contains("is corrupt"), "{error}");
            return;
        }
    };
    let error = store.list(&Filter { most: 1000, ..Filter::default() }).await.unwrap_err();
    assert!(error.to_string().contains("is corrupt"), "{error}");
}

#[tokio::test]
async fn a_second_host_is_refused_and_the_command_line_is_not() {
    let (directory, store) = store().await;
    let path = directory.path().join("queue.db");
    let why = refused(&path).await;
    assert!(why.contains("is used by another host / only one"), "{why}");
    accept(&store, new("k")).await;
    let beside = Sqlite::open(&path, MAX).unwrap();
    assert_eq!(beside.get(1).await.unwrap().unwrap().key, "k");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let (directory, store) = store().await;
    store.close().await;
    let path = directory.path().join("queue.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 9999).unwrap();
    let why = refused(&path).await;
    assert!(why.contains("doesn't know / was it made by a newer ticket-host"), "{why}");
    let beside = Sqlite::open(&path, MAX).unwrap_err().to_string();
    assert!(beside.contains("has a form that this version doesn't know"), "{beside}");
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_on_the_machine_may_look_into_what_it_makes() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made").join("queue.db");
    let _store = Sqlite::open_alone(&path, MAX).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
}

#[tokio::test]
async fn a_list_goes_either_way_page_by_page_and_can_leave_out_what_is_old() {
    let (_directory, store) = store().await;
    let mut accepted = Vec::new();
    for key in ["a", "b", "c", "d"] {
        let last = accepted.last().copied().unwrap_or(Timestamp::EPOCH);
        while Timestamp::now() == last {
            tokio::task::yield_now().await;
        }
        accepted.push(accept(&store, new(key)).await.job.accepted_at);
    }
    let keys = async |cursor, since| {
        let filter = Filter { cursor, since, most: 2, ..Filter::default() };
        let page = store.list(&filter).await.unwrap();
        page.into_iter().map(|job| job.key).collect::<String>()
    };
    assert_eq!(keys(Cursor::After(0), None).await, "ab");
    assert_eq!(keys(Cursor::After(2), None).await, "cd");
    assert_eq!(keys(Cursor::Before(i64::MAX), None).await, "dc");
    assert_eq!(keys(Cursor::Before(3), None).await, "ba");
    assert_eq!(keys(Cursor::Before(4), Some(accepted[2])).await, "c");
    assert_eq!(keys(Cursor::After(0), Some(accepted[1])).await, "bc");
}

#[tokio::test]
async fn what_waits_moves_with_the_watchers_backend_and_what_may_have_a_ticket_stays() {
    let states = [State::Queued, State::Failed, State::Unknown, State::Creating, State::Created];
    for (state, moves) in states.into_iter().zip([true, true, false, false, false]) {
        let (_directory, store) = store().await;
        let before = accept(&store, of_argus(7)).await.job;
        if state != State::Queued {
            let claim = claim_one(&store).await;
            let outcome = match state {
                State::Failed => Some(Outcome::Failed(failure(Kind::Creation))),
                State::Unknown => Some(unknown(MINUTE)),
                State::Created => Some(created()),
                _ => None,
            };
            if let Some(outcome) = outcome {
                store
                    .settle(Arc::new(claim.clone()), Timestamp::now(), outcome, policy())
                    .await
                    .unwrap();
            }
        }
        let again = New { backend: "c".to_owned(), ..of_argus(7) };
        let after = accept(&store, again).await.job;
        assert_eq!(after.id, before.id, "{state:?}: it is one ticket");
        assert_eq!(after.backend == "c", moves, "{state:?}");
        if moves {
            assert_eq!((after.state, after.failure), (State::Queued, None));
            let claims = store.claim("c", Which::All, 9, term(LEASE, policy())).await.unwrap();
            assert_eq!((claims.len(), claims[0].job.backend.as_str()), (1, "c"));
        }
        assert!(store.claim("b", Which::All, 9, term(LEASE, policy())).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_waits_is_given_to_the_backends_that_make_tickets_now_but_for_what_was_asked_for_by_name()
 {
    let (_directory, store) = store().await;
    accept(&store, of_argus(1)).await;
    accept(&store, new("sent")).await;
    accept(&store, New { is_named: true, ..new("named") }).await;
    let decision = |argus: &str, default: &str| Decision {
        of: BTreeMap::from([("argus".to_owned(), argus.to_owned())]),
        default: Some(default.to_owned()),
    };
    let left = store.reassign(&decision("c", "b"), policy()).await.unwrap();
    assert_eq!(left, [("b".to_owned(), 1)]);
    let left = store.reassign(&decision("c", "d"), policy()).await.unwrap();
    assert_eq!(left, [("b".to_owned(), 1)]);
    assert!(store.reassign(&decision("c", "d"), policy()).await.unwrap().is_empty());
    for (backend, key) in [("c", "https://argus/incidents/1"), ("d", "sent"), ("b", "named")] {
        assert_eq!(
            store.claim(backend, Which::All, 9, term(LEASE, policy())).await.unwrap()[0].job.key,
            key
        );
    }
}

#[tokio::test]
async fn what_waits_becomes_one_with_a_ticket_there_but_not_with_one_that_a_person_cancelled() {
    for cancelled in [false, true] {
        let (_directory, store) = store().await;
        let main = accept(&store, of_argus(7)).await.job.id;
        let there = New { is_named: true, backend: "c".to_owned(), ..of_argus(7) };
        let there = accept(&store, there).await.job.id;
        if cancelled {
            store.order(there, Order::Cancel, policy()).await.unwrap();
        }
        let again = New { backend: "c".to_owned(), ..of_argus(7) };
        let after = accept(&store, again).await.job;
        assert_eq!(after.id, if cancelled { main } else { there });
        assert_eq!(after.state, State::Queued);
    }
}

#[tokio::test]
async fn an_incident_is_one_whatever_key_it_comes_with() {
    let (_directory, store) = store().await;
    // It came in before anybody knew whose it was.
    let first = accept(&store, new("https://argus/incidents/7")).await.job;
    let watched = accept(&store, of_argus(7)).await;
    assert_eq!((watched.new, watched.job.id), (false, first.id));
    let by_other_url = New { key: "https://other/incidents/7".to_owned(), ..of_argus(7) };
    let button = accept(&store, by_other_url).await;
    assert_eq!((button.new, button.job.id), (false, first.id));
    assert_eq!(button.job.key, "https://argus/incidents/7", "which plugins go on to know it by");
    let foreign = New { key: "nav#7".to_owned(), ..new("7") };
    assert!(accept(&store, foreign).await.new, "the number alone says nothing");
}

#[tokio::test]
async fn another_argus_whose_numbers_begin_anew_has_other_incidents() {
    let (_directory, store) = store().await;
    let former = accept(&store, of_argus(7)).await.job;
    let anew = New {
        began: "2027-01-01T00:00:00Z".to_owned(),
        key: "https://new-argus/incidents/7".to_owned(),
        ..of_argus(7)
    };
    let accepted = accept(&store, anew.clone()).await;
    assert!(accepted.new && accepted.job.id != former.id);
    for claim in store.claim("b", Which::All, 9, term(LEASE, policy())).await.unwrap() {
        store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    }
    let told = store.to_tell("argus", 0, 10).await.unwrap();
    assert_eq!(told.iter().map(|told| told.began.as_str()).collect::<Vec<_>>(), [&anew.began]);
}

#[tokio::test]
async fn an_argus_that_was_made_anew_at_the_same_address_has_other_incidents() {
    let (_directory, store) = store().await;
    accept(&store, of_argus(7)).await;
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    let anew = New { began: "2027-01-01T00:00:00Z".to_owned(), ..of_argus(7) };
    let accepted = accept(&store, anew.clone()).await;
    assert!(accepted.new && accepted.job.id != claim.job.id);
    assert_ne!(accepted.job.key, claim.job.key, "plugins would find the former ticket by its key");
    assert_eq!(accept(&store, anew).await.job.id, accepted.job.id);
    // Who doesn't say when it began means the one that there is now.
    let unsaid = New { began: String::new(), ..of_argus(7) };
    assert_eq!(accept(&store, unsaid).await.job.id, accepted.job.id);
}

#[tokio::test]
async fn what_became_known_as_an_incident_of_argus_is_told_to_it() {
    let (_directory, store) = store().await;
    accept(&store, new("https://argus/incidents/7")).await;
    accept(&store, of_argus(7)).await;
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    assert_eq!(store.to_tell("argus", 0, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_claim_says_whether_its_ticket_is_the_one_that_every_incident_gets() {
    let (_directory, store) = store().await;
    accept(&store, of_argus(7)).await;
    accept(&store, New { is_named: true, backend: "c".to_owned(), ..of_argus(7) }).await;
    assert!(claim_one(&store).await.is_main);
    assert!(!store.claim("c", Which::All, 1, term(LEASE, policy())).await.unwrap()[0].is_main);
}

#[tokio::test]
async fn several_incidents_of_one_key_share_a_ticket() {
    let (_directory, store) = store().await;
    let of_site = |pk| New { key: "site-7".to_owned(), ..of_argus(pk) };
    let first = accept(&store, of_site(1)).await;
    let second = accept(&store, of_site(2)).await;
    assert_eq!((second.new, second.job.id), (false, first.job.id));
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    let told = store.to_tell("argus", 0, 10).await.unwrap();
    assert_eq!(told.iter().map(|told| told.number.as_str()).collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test]
async fn what_ended_before_its_ticket_was_made_is_seen_and_comes_back_if_it_opens_again() {
    let (_directory, store) = store().await;
    let id = in_state(&store, "k", State::Suppressed).await;
    assert_eq!(store.get(id).await.unwrap().unwrap().state, State::Suppressed);
    let open_again = accept(&store, New { reopen: false, ..new("k") }).await;
    assert_eq!((open_again.new, open_again.job.state), (true, State::Queued));
}

#[tokio::test]
async fn a_claim_says_who_wants_it_and_for_how_long_it_has_waited() {
    let (_directory, store) = store().await;
    accept(&store, of_argus(7)).await;
    let db = Connection::open(&store.path).unwrap();
    // The host was off for an hour, in which the store's own time stood still.
    db.execute("UPDATE steps SET accepted_at = accepted_at - 3600000", []).unwrap();
    let claim = claim_one(&store).await;
    assert_eq!((claim.identity.source.as_str(), claim.identity.id.as_str()), ("argus", "7"));
    assert!(!claim.wanted && claim.waited >= Duration::from_secs(3600), "{:?}", claim.waited);
    accept(&store, New { wanted: true, ..of_argus(7) }).await;
    let again = Outcome::Again { after: Duration::ZERO, failure: failure(Kind::Client) };
    store.settle(Arc::new(claim.clone()), Timestamp::now(), again, policy()).await.unwrap();
    store.advance().await.unwrap();
    assert!(claim_one(&store).await.wanted);
}

#[tokio::test]
async fn the_stores_time_goes_on_where_it_stood_whatever_the_clock_says() {
    let (directory, store) = store().await;
    let id = in_state(&store, "k", State::Unknown).await;
    store.close().await;
    drop(store);
    let store = open(&directory).await;
    // All of the waiting time is still to come, though the host was away for some of it.
    let due = store.advance().await.unwrap().next.unwrap();
    assert!(due > MINUTE - Duration::from_secs(20), "{due:?}");
    assert!(store.get(id).await.unwrap().unwrap().due_at.unwrap() > Timestamp::now());
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_host_is_refused_by_whatever_name_it_finds_the_store() {
    let (directory, store) = store().await;
    let path = directory.path().join("queue.db");
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let hard = directory.path().join("hard.db");
    fs::hard_link(&path, &hard).unwrap();
    // What a host of the first version had for a lock says nothing any more.
    fs::write(directory.path().join("queue.db.lock"), "").unwrap();
    fs::remove_file(directory.path().join("queue.db.lock")).unwrap();
    for name in [&path, &link, &hard] {
        let why = refused(name).await;
        assert!(why.contains("is used by another host"), "{}: {why}", name.display());
    }
    accept(&store, new("k")).await;
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_acknowledged_that_went_to_files_which_are_gone() {
    for file in ["queue.db", "queue.db-wal"] {
        for replaced in [false, true] {
            let (directory, store) = store().await;
            accept(&store, new("before")).await;
            let path = directory.path().join(file);
            fs::remove_file(&path).unwrap();
            if replaced {
                fs::write(&path, "").unwrap();
            }
            let error = store.accept(new("after"), policy(), None).await.unwrap_err().to_string();
            assert!(error.contains("was deleted or replaced"), "{file} {replaced}: {error}");
            assert!(store.probe().await.is_err());
        }
    }
}

#[tokio::test]
async fn a_backup_has_all_and_can_take_the_stores_place() {
    let (directory, store) = store().await;
    in_state(&store, "made", State::Created).await;
    in_state(&store, "waits", State::Queued).await;
    let backup = directory.path().join("backup.db");
    store.backup(&backup).await.unwrap();
    let again = crate::Error::from(store.backup(&backup).await.unwrap_err()).to_string();
    assert!(again.contains("can't be copied"), "what is there is never overwritten: {again}");
    let restored = Sqlite::open_alone(&backup, MAX).await.unwrap();
    let jobs = restored.list(&Filter { most: 9, ..Filter::default() }).await.unwrap();
    let states: Vec<_> = jobs.iter().map(|job| (job.key.as_str(), job.state)).collect();
    assert_eq!(states, [("made", State::Created), ("waits", State::Queued)]);
}

#[tokio::test]
async fn a_store_that_was_closed_is_all_in_its_one_file() {
    let (directory, store) = store().await;
    in_state(&store, "k", State::Queued).await;
    store.close().await;
    let copy = directory.path().join("copy.db");
    fs::copy(directory.path().join("queue.db"), &copy).unwrap();
    let copied = Sqlite::open_alone(&copy, MAX).await.unwrap();
    assert_eq!(copied.counts().await.unwrap()[0].rows, 1);
    assert!(store.probe().await.unwrap_err().to_string().ends_with("is closed"));
}

#[tokio::test]
async fn what_was_noted_is_there_after_a_restart() {
    let (directory, store) = store().await;
    store.set_note("a", "1").await.unwrap();
    store.set_note("a", "2").await.unwrap();
    store.close().await;
    drop(store);
    let store = open(&directory).await;
    assert_eq!(store.note("a").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.note("b").await.unwrap(), None);
}

/// A store as the first version left it, with a row in each state.
fn first_version(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../migrations/0001_tickets.sql")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; \
         CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
         installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
         checksum BLOB NOT NULL, execution_time BIGINT NOT NULL); \
         INSERT INTO _sqlx_migrations VALUES (1, 'tickets', '', TRUE, x'00', 0);",
    )
    .unwrap();
    let now = Timestamp::now().millis();
    const ROW: &str = "INSERT INTO tickets (backend, key, state, level, incident, accepted_at, changed_at, due_at, \
        expires_at, lease, attempts, maybe, seen_at, ticket, made, failure, tell_argus) VALUES ('b', ?1, ?2, 3, \
        '{\"description\": \"d\", \"start_time\": \"then\"}', ?3, ?3, ?4, ?3 + 604800000, 4, 4, ?5, ?3, ?6, 1, ?7, ?8)";
    let ticket = "{\"url\": \"https://t/1\"}";
    let failure = "{\"kind\": \"creation\", \"message\": \"no\"}";
    let url = "https://argus/incidents/1";
    for (key, state, due, maybe, ticket, failure, tell) in [
        (url, "created", None, 0, Some(ticket), None, Some(url)),
        ("queued", "queued", Some(0), 0, None, None, None),
        ("later", "queued", Some(now + 100_000_000), 0, None, Some(failure), None),
        ("creating", "creating", Some(now + 60_000), 0, None, None, None),
        ("unknown", "unknown", Some(now + 30_000), 1, None, Some(failure), None),
        ("failed", "failed", None, 0, None, Some(failure), None),
        ("lost", "failed", None, 2, None, Some(failure), None),
        ("cancelled", "cancelled", None, 0, None, None, None),
    ] {
        db.execute(ROW, (key, state, now, due, maybe, ticket, failure, tell)).unwrap();
    }
    db.execute("INSERT INTO attempts VALUES (6, 4, ?1, ?1, 'failed', ?2)", (now, failure)).unwrap();
    db
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_to_this_one_and_kept_as_it_was() {
    for probed in [0, 1] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue.db");
        let old = first_version(&path);
        // It was written when a host of that version looked whether it can write.
        old.pragma_update(None, "user_version", probed).unwrap();
        drop(old);
        let beside = Sqlite::open(&path, MAX).unwrap_err().to_string();
        assert!(beside.ends_with("is of an earlier version"), "{beside}");
        let store = Sqlite::open_alone(&path, MAX).await.unwrap();
        let jobs = store.list(&Filter { most: 99, ..Filter::default() }).await.unwrap();
        let states: Vec<_> = jobs.iter().map(|job| (job.id, job.key.as_str(), job.state)).collect();
        assert_eq!(
            states,
            [
                (1, "https://argus/incidents/1", State::Created),
                (2, "queued", State::Queued),
                (3, "later", State::Queued),
                (4, "creating", State::Unknown),
                (5, "unknown", State::Unknown),
                (6, "failed", State::Failed),
                (7, "lost", State::Failed),
                (8, "cancelled", State::Cancelled),
            ]
        );
        assert_eq!(jobs[0].ticket.as_ref().unwrap().url, "https://t/1");
        assert_eq!(store.attempts(6).await.unwrap()[0].number, 4);
        let wait = jobs[2].due_at.unwrap().since(Timestamp::now());
        assert!(wait <= Duration::from_secs(3600), "no wait is longer than one may be: {wait:?}");
        assert!(jobs[1].expires_at > Timestamp::now() + MINUTE);
        // What only a person can look for still is so.
        assert!(!accept(&store, New { key: "lost".to_owned(), ..new("lost") }).await.new);
        // Argus's incident is known by its key until it comes in again, and Argus may hear of it at once.
        let told = store.to_tell("argus", 0, 9).await.unwrap().remove(0);
        assert_eq!((told.source.as_str(), told.key.as_str()), ("", "https://argus/incidents/1"));
        let watched = accept(&store, New { began: "then".to_owned(), ..of_argus(1) }).await;
        assert_eq!((watched.new, watched.job.id), (false, 1));
        assert_eq!(store.to_tell("argus", 0, 9).await.unwrap()[0].number, "1");
        assert_eq!(accept(&store, new("another")).await.job.id, 9);
        let kept = Connection::open(directory.path().join("queue.db.version-1")).unwrap();
        let rows: i64 =
            kept.query_row("SELECT count(*) FROM tickets", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 8);
        // A host of the first version finds a migration there that it doesn't know, and leaves the store alone.
        let db = Connection::open(&path).unwrap();
        let version: i64 = db
            .query_row("SELECT max(version) FROM _sqlx_migrations", [], |row| row.get(0))
            .unwrap();
        assert_eq!(version, 2);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_that_a_host_of_the_first_version_works_on_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    drop(first_version(&path));
    let lock = fs::File::create(directory.path().join("queue.db.lock")).unwrap();
    lock.try_lock().unwrap();
    let why = refused(&path).await;
    assert!(why.contains("is used by another host / end the host of the earlier version"), "{why}");
    drop(lock);
    Sqlite::open_alone(&path, MAX).await.unwrap();
}

/// Incidents that began while the store was open.
fn begun(key: &str) -> New {
    New { certain: true, ..new(key) }
}

#[tokio::test]
async fn an_incident_is_accepted_with_the_claim_of_its_ticket() {
    let (_directory, store) = store().await;
    let at_once = Some(term(LEASE, policy()));
    let Accepted { job, new: is_new, claim } =
        store.accept(begun("k"), policy(), at_once).await.unwrap();
    let claim = claim.unwrap();
    assert!(is_new && claim.certain && !claim.unknown && !claim.elsewhere && claim.is_main);
    assert_eq!((job.state, job.attempts), (State::Creating, 1));
    let stored = store.get(job.id).await.unwrap().unwrap();
    // Times of day are told anew by each who reads, to the millisecond.
    let same_time = |one: Timestamp, other| one.apart(other) <= Duration::from_millis(5);
    assert!(same_time(stored.due_at.unwrap(), job.due_at.unwrap()), "{stored:?}");
    assert!(same_time(stored.expires_at, job.expires_at), "{stored:?}");
    let Job { due_at, expires_at, .. } = job;
    assert_eq!(Job { due_at, expires_at, ..stored }, job, "that is what is on disk");
    assert!(
        store.claim("b", Which::All, 9, term(LEASE, policy())).await.unwrap().is_empty(),
        "nobody else has it"
    );
    let again = store.accept(begun("k"), policy(), at_once).await.unwrap();
    assert!(again.claim.is_none() && !again.new, "it is claimed once");
    let other = New { backend: "c".to_owned(), is_named: true, ..begun("k") };
    let other = store.accept(other, policy(), at_once).await.unwrap().claim.unwrap();
    assert!(other.elsewhere && !other.is_main);
    store.settle(Arc::new(claim), Timestamp::now(), created(), policy()).await.unwrap().unwrap();
    assert_eq!(store.get(job.id).await.unwrap().unwrap().state, State::Created);
}

#[tokio::test]
async fn what_is_certain_is_claimed_apart_from_what_must_be_looked_for_until_the_store_is_opened_anew()
 {
    let (directory, store) = store().await;
    for key in ["old", "older"] {
        accept(&store, new(key)).await;
    }
    accept(&store, begun("new")).await;
    let keys = async |store: &Sqlite, which| -> Vec<String> {
        let claims = store.claim("b", which, 9, term(LEASE, policy())).await.unwrap();
        let keys = claims.iter().map(|claim| claim.job.key.clone()).collect();
        for claim in claims {
            assert_eq!(claim.certain, which == Which::Certain);
            let failure = failure(Kind::Client);
            let again = Outcome::Postponed { after: Duration::ZERO, failure };
            store.settle(Arc::new(claim), Timestamp::now(), again, policy()).await.unwrap();
        }
        store.advance().await.unwrap();
        keys
    };
    assert_eq!(keys(&store, Which::Certain).await, ["new"]);
    assert_eq!(keys(&store, Which::Uncertain).await, ["old", "older"]);
    store.close().await;
    let store = open(&directory).await;
    assert!(keys(&store, Which::Certain).await.is_empty());
    assert_eq!(keys(&store, Which::Uncertain).await, ["old", "older", "new"]);
    // A search makes it certain, for this opening.
    let claims = store.claim("b", Which::Uncertain, 2, term(LEASE, policy())).await.unwrap();
    for claim in claims {
        let ended = store.settle(Arc::new(claim), Timestamp::now(), Outcome::NoTicket, policy());
        let job = ended.await.unwrap().unwrap();
        assert_eq!((job.state, job.attempts), (State::Queued, 0), "a search is no try");
        assert!(store.attempts(job.id).await.unwrap().is_empty());
    }
    assert_eq!(keys(&store, Which::Certain).await, ["old", "older"]);
    // What may have been made meanwhile is not certain any more.
    let claims = store.claim("b", Which::Certain, 1, term(LEASE, policy())).await.unwrap();
    let left = unknown(Duration::ZERO);
    store.settle(Arc::new(claims[0].clone()), Timestamp::now(), left, policy()).await.unwrap();
    store.advance().await.unwrap();
    assert_eq!(keys(&store, Which::Certain).await, ["older"]);
    store.close().await;
}

#[tokio::test]
async fn no_more_incidents_are_claimed_to_be_looked_for_together_than_memory_is_to_hold() {
    let (_directory, store) = store().await;
    for key in 0..20 {
        let incident = format!("{{\"padding\": \"{}\"}}", "x".repeat(900_000));
        accept(&store, New { incident, ..new(&key.to_string()) }).await;
    }
    let claim = async |most| {
        store.claim("b", Which::Uncertain, most, term(LEASE, policy())).await.unwrap().len()
    };
    assert_eq!(
        [claim(200).await, claim(3).await, claim(200).await, claim(200).await],
        [10, 3, 7, 0]
    );
}

#[tokio::test]
async fn all_that_is_due_is_claimed_by_level_whether_or_not_it_must_be_looked_for() {
    let (_directory, store) = store().await;
    for (key, level, certain) in
        [("a", 2, false), ("b", 2, true), ("c", 1, true), ("d", 3, false), ("e", 1, false)]
    {
        accept(&store, New { level, certain, ..new(key) }).await;
    }
    let claims = store.claim("b", Which::All, 4, term(LEASE, policy())).await.unwrap();
    let keys: Vec<&str> = claims.iter().map(|claim| claim.job.key.as_str()).collect();
    assert_eq!(keys, ["c", "e", "a", "b"]);
    assert_eq!(store.claim("b", Which::All, 4, term(LEASE, policy())).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_end_that_waits_to_be_written_is_read_and_outlives_the_stores_own_end() {
    let (directory, store) = store().await;
    let id = accept(&store, new("k")).await.job.id;
    let claim = claim_one(&store).await;
    let ending = store.settle(Arc::new(claim), Timestamp::now(), created(), policy());
    let (ended, read, ()) = tokio::join!(ending, store.get(id), store.close());
    assert_eq!(ended.unwrap().unwrap().state, State::Created);
    if let Ok(read) = read {
        assert_eq!(read.unwrap().state, State::Created);
    }
    let store = open(&directory).await;
    assert_eq!(store.get(id).await.unwrap().unwrap().state, State::Created);
}
