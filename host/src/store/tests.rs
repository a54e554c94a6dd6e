//! What a store does, whichever engine it lies in: each test runs over both. For PostgreSQL `tests/real/postgres.sh` starts a server, and names
//! it in TEST_POSTGRES.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use ticket_plugin_api::Ticket;

use super::*;

/// Makes a test of each of these, over each engine.
macro_rules! over_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            #[ignore = "tests/real/postgres.sh runs it"]
            async fn $name() {
                super::$name(super::Place::postgres()).await;
            })*
        }
    };
}

mod audit;
mod back;
mod life;
mod pasted;
mod seen;

pub(super) const LEASE: Duration = Duration::from_secs(60);
pub(super) const MAX: u64 = 1 << 30;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A ticket is tried for a week, and what may be there is looked for at once.
pub(super) fn policy() -> Policy {
    Policy { retry_for: WEEK, settle: Duration::ZERO, least_tries: 1 }
}

/// Who gives orders in tests.
pub(super) fn by() -> By {
    By { who: "alice".to_owned(), way: Way::Cli }
}

/// Policies by which nothing is tried for long.
fn impatient() -> Policy {
    Policy { retry_for: Duration::ZERO, ..policy() }
}

/// Where a store lies: a directory, or a database of its own.
pub(super) enum Place {
    Sqlite(TempDir),
    Postgres(Box<PgConnectOptions>),
}

impl Place {
    pub(super) fn sqlite() -> Place {
        Place::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(super) fn postgres() -> Place {
        let server = std::env::var("TEST_POSTGRES").expect("tests/real/postgres.sh names a server");
        let server: PgConnectOptions = server.parse().unwrap();
        let name = format!("ticket_host_{:016x}", fastrand::u64(..));
        psql(&server.clone().database("postgres"), &format!("CREATE DATABASE {name}"));
        Place::Postgres(Box::new(server.database(&name)))
    }

    /// Another place in the same engine.
    fn another(&self) -> Place {
        match self {
            Place::Sqlite(_) => Place::sqlite(),
            Place::Postgres(_) => Place::postgres(),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Place::Sqlite(directory) => directory.path().join("queue.db"),
            Place::Postgres(_) => panic!("it is no file"),
        }
    }

    /// Opens the store as a host does.
    pub(super) async fn open(&self) -> Arc<dyn Store> {
        match self {
            Place::Sqlite(_) => Arc::new(Sqlite::open_alone(&self.path(), MAX).await.unwrap()),
            Place::Postgres(options) => {
                let store = Postgres::open((**options).clone(), false).await.unwrap();
                // It is looked for what began before a database was known for a minute.
                store.probe().await.unwrap();
                self.sql("UPDATE clock SET since = since - 3600000");
                Arc::new(store)
            }
        }
    }

    /// Opens the store after it may have lost what was in it: it was made anew, or put back from a backup.
    async fn open_anew(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store.close().await;
        if let Place::Postgres(_) = self {
            self.sql("UPDATE clock SET server = 'another'");
        }
        self.open().await
    }

    /// Changes the tables behind the store's back.
    pub(super) fn sql(&self, sql: &str) {
        match self {
            Place::Sqlite(_) => {
                rusqlite::Connection::open(self.path()).unwrap().execute(sql, []).unwrap();
            }
            Place::Postgres(options) => {
                psql(&options.clone().options([("search_path", "ticket_host")]), sql)
            }
        }
    }
}

/// Does something on a PostgreSQL server, from whatever thread.
fn psql(options: &PgConnectOptions, sql: &str) {
    use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
    let (options, sql) = (options.clone(), sql.to_owned());
    let asking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = options.connect().await.unwrap();
            connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        });
    });
    asking.join().unwrap();
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Place::Postgres(options), false) = (self, std::thread::panicking()) {
            let name = options.get_database().unwrap();
            psql(
                &options.clone().database("postgres"),
                &format!("DROP DATABASE {name} WITH (FORCE)"),
            );
        }
    }
}

/// An incident that is known by its key only.
pub(super) fn new(key: &str) -> New {
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
        began_at: None,
        open: true,
        reports: false,
        ticket_url: None,
    }
}

/// An incident of Argus's, as its watcher files it.
pub(super) fn of_argus(pk: i64) -> New {
    New {
        identity: Identity { source: "argus".to_owned(), id: pk.to_string() },
        began: "2026-11-23T08:00:00+01:00".to_owned(),
        wanted: false,
        tell: true,
        reopen: false,
        ..new(&format!("https://argus/incidents/{pk}"))
    }
}

pub(super) async fn accept<S: Store + ?Sized>(store: &Arc<S>, new: New) -> Accepted {
    store.accept(new, policy(), None).await.unwrap()
}

pub(super) fn failure(kind: Kind) -> Failure {
    Failure { kind, message: "the reason".to_owned(), help: None }
}

pub(super) fn created() -> Outcome {
    let ticket = Ticket { url: "https://t/1".to_owned(), ..Ticket::default() };
    Outcome::Created { ticket, made: true }
}

/// There may be a ticket; "there is none" is believed after that time.
fn unknown(settle: Duration) -> Outcome {
    Outcome::Unknown { after: settle, failure: failure(Kind::Client) }
}

/// Removes all that is old; how many rows that were.
async fn prune<S: Store + ?Sized>(store: &Arc<S>, unseen: Duration) -> i64 {
    let rows = async || store.counts().await.unwrap().iter().map(|count| count.rows).sum::<i64>();
    let before = rows().await;
    let mut after = 0;
    while let Some(next) = store.prune(unseen, after).await.unwrap() {
        after = next;
    }
    before - rows().await
}

pub(super) fn term(lease: Duration, policy: Policy) -> Term {
    Term { lease, policy, only_certain: false, tries: None }
}

pub(super) async fn claim_one<S: Store + ?Sized>(store: &Arc<S>) -> Claim {
    claim_settling(store, Duration::ZERO).await
}

/// Claims one of which it is believed so long after the claim that there is no ticket.
async fn claim_settling<S: Store + ?Sized>(store: &Arc<S>, settle: Duration) -> Claim {
    let policy = Policy { settle, ..policy() };
    store.claim("b", Which::All, 1, term(LEASE, policy)).await.unwrap().remove(0)
}

/// Accepts a key and brings it into that state; its id.
pub(super) async fn in_state<S: Store + ?Sized>(store: &Arc<S>, key: &str, state: State) -> i64 {
    let id = accept(store, new(key)).await.job.id;
    let outcome = match state {
        State::Queued => return id,
        State::Cancelled => {
            store.order(id, Order::Cancel, policy(), &by()).await.unwrap();
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

async fn a_backend_and_a_key_have_one_row_however_many_ask_at_once(place: Place) {
    let store = place.open().await;
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

async fn claims_go_by_level_then_age_and_are_nobody_elses(place: Place) {
    let store = place.open().await;
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

async fn what_failed_comes_back_when_it_is_due_and_not_before(place: Place) {
    let store = place.open().await;
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
    store.order(job.id, Order::Retry, policy(), &by()).await.unwrap();
    let claim = claim_one(&store).await;
    store
        .settle(Arc::new(claim.clone()), Timestamp::now(), again(Duration::ZERO), policy())
        .await
        .unwrap();
    store.advance().await.unwrap();
    assert_eq!(claim_one(&store).await.job.attempts, 3);
}

async fn a_claim_whose_lease_ended_can_settle_nothing_and_leaves_unknown(place: Place) {
    let store = place.open().await;
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

async fn what_was_tried_for_too_long_fails_with_its_last_reason_and_what_was_not_tried_waits(
    place: Place,
) {
    let store = place.open().await;
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
async fn give_up<S: Store + ?Sized>(store: &Arc<S>, key: &str) -> i64 {
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

async fn a_person_can_retry_and_cancel_what_is_not_under_way(place: Place) {
    let store = place.open().await;
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
        match (store.order(id, order, policy(), &by()).await, expected) {
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
    assert!(matches!(
        store.order(99, Order::Retry, policy(), &by()).await,
        Err(StoreError::NoSuch(99))
    ));
}

async fn what_may_be_there_is_looked_for_first_and_not_too_soon_whoever_wants_it(place: Place) {
    for who in ["a person", "asked for again", "reopened"] {
        let place = place.another();
        let store = place.open().await;
        let id = match who {
            "a person" => in_state(&store, "k", State::Unknown).await,
            _ => give_up(&store, "k").await,
        };
        let due_at = Timestamp::now() + MINUTE;
        match who {
            "a person" => drop(store.order(id, Order::Retry, policy(), &by()).await.unwrap()),
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

async fn what_may_be_there_stays_so_until_somebody_has_looked(place: Place) {
    for order in [None, Some(Order::Cancel)] {
        let place = place.another();
        let store = place.open().await;
        let kept = if order.is_some() { policy() } else { impatient() };
        let id = store.accept(new("k"), kept, None).await.unwrap().job.id;
        let claim = claim_one(&store).await;
        store
            .settle(Arc::new(claim.clone()), Timestamp::now(), unknown(Duration::ZERO), policy())
            .await
            .unwrap();
        match order {
            Some(order) => drop(store.order(id, order, policy(), &by()).await.unwrap()),
            // It was tried for too long, and failed.
            None => {
                let job = accept(&store, new("k")).await.job;
                assert_eq!(job.state, State::Unknown, "to who asks again");
            }
        }
        assert_eq!(
            store.order(id, Order::Retry, policy(), &by()).await.unwrap().state,
            State::Unknown
        );
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

async fn only_a_person_makes_a_ticket_that_nothing_can_look_for(place: Place) {
    let store = place.open().await;
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
    assert_eq!(store.order(id, Order::Retry, policy(), &by()).await.unwrap().state, State::Queued);
    assert!(!claim_one(&store).await.unknown);
}

async fn what_failed_is_tried_anew_when_somebody_asks_again_but_not_for_the_watcher(place: Place) {
    let store = place.open().await;
    let id = in_state(&store, "k", State::Failed).await;
    let accepted = accept(&store, New { reopen: false, ..new("k") }).await;
    assert_eq!((accepted.new, accepted.job.state), (false, State::Failed));
    let accepted = accept(&store, New { level: 1, ..new("k") }).await;
    assert_eq!((accepted.new, accepted.job.state), (true, State::Queued));
    assert_eq!((accepted.job.id, accepted.job.level), (id, 1));
    in_state(&store, "cancelled", State::Cancelled).await;
    assert!(!accept(&store, new("cancelled")).await.new);
}

async fn only_failures_of_the_named_kinds_are_reopened(place: Place) {
    let store = place.open().await;
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
fn age(place: &Place, by: Duration) {
    place.sql(&format!("UPDATE steps SET seen = seen - {}", by.as_millis()));
}

async fn what_waits_for_the_same_reason_is_due_when_that_is_over(place: Place) {
    let store = place.open().await;
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
    age(&place, 60 * MINUTE);
    assert_eq!(store.hasten("b", &[Kind::Plugin], MINUTE).await.unwrap(), 0, "that was long ago");
}

async fn pruning_removes_what_is_done_and_old_with_its_tries_and_leaves_what_waits_or_failed(
    place: Place,
) {
    let store = place.open().await;
    let done = in_state(&store, "done", State::Created).await;
    in_state(&store, "cancelled", State::Cancelled).await;
    in_state(&store, "ended", State::Suppressed).await;
    in_state(&store, "failed", State::Failed).await;
    in_state(&store, "waiting", State::Queued).await;
    assert_eq!(prune(&store, MINUTE).await, 0);
    age(&place, 2 * MINUTE);
    assert_eq!(prune(&store, MINUTE).await, 3);
    assert_eq!(store.get(done).await.unwrap(), None);
    assert!(store.attempts(done).await.unwrap().is_empty());
    let left: Vec<State> = store.counts().await.unwrap().iter().map(|count| count.state).collect();
    assert_eq!(left, [State::Failed, State::Queued]);
    assert!(accept(&store, new("done")).await.new, "its incident is gone, too");
}

async fn pruning_leaves_what_argus_has_not_heard_of_and_what_is_asked_for(place: Place) {
    let store = place.open().await;
    accept(&store, of_argus(7)).await;
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    let asked = in_state(&store, "asked for", State::Created).await;
    in_state(&store, "forgotten", State::Created).await;
    age(&place, WEEK);
    accept(&store, new("asked for")).await;
    assert_eq!(prune(&store, MINUTE).await, 1);
    assert!(store.get(claim.job.id).await.unwrap().is_some());
    assert!(store.get(asked).await.unwrap().is_some());
    let told = store.to_tell("argus", 0, 10).await.unwrap().remove(0);
    store.told(told.incident).await.unwrap();
    assert_eq!(prune(&store, MINUTE).await, 1);
}

async fn only_the_last_hundred_tries_are_kept(place: Place) {
    let store = place.open().await;
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

async fn what_argus_is_to_hear_waits_until_it_was_told_and_is_told_again_if_argus_forgot_it(
    place: Place,
) {
    let store = place.open().await;
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

async fn a_note_is_there_after_a_restart_and_the_last_one_counts(place: Place) {
    let store = place.open().await;
    assert_eq!(store.note("a").await.unwrap(), None);
    store.set_note("a", "1").await.unwrap();
    store.set_note("a", "2").await.unwrap();
    store.set_note("b", "").await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(store.note("a").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.note("b").await.unwrap().as_deref(), Some(""));
}

async fn a_list_goes_either_way_page_by_page_and_can_leave_out_what_is_old(place: Place) {
    let store = place.open().await;
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

async fn what_waits_moves_with_the_watchers_backend_and_what_may_have_a_ticket_stays(place: Place) {
    let states = [State::Queued, State::Failed, State::Unknown, State::Creating, State::Created];
    for (state, moves) in states.into_iter().zip([true, true, false, false, false]) {
        let place = place.another();
        let store = place.open().await;
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

async fn what_waits_is_given_to_the_backends_that_make_tickets_now_but_for_what_was_asked_for_by_name(
    place: Place,
) {
    let store = place.open().await;
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

async fn what_waits_becomes_one_with_a_ticket_there_but_not_with_one_that_a_person_cancelled(
    place: Place,
) {
    for cancelled in [false, true] {
        let place = place.another();
        let store = place.open().await;
        let main = accept(&store, of_argus(7)).await.job.id;
        let there = New { is_named: true, backend: "c".to_owned(), ..of_argus(7) };
        let there = accept(&store, there).await.job.id;
        if cancelled {
            store.order(there, Order::Cancel, policy(), &by()).await.unwrap();
        }
        let again = New { backend: "c".to_owned(), ..of_argus(7) };
        let after = accept(&store, again).await.job;
        assert_eq!(after.id, if cancelled { main } else { there });
        assert_eq!(after.state, State::Queued);
    }
}

async fn an_incident_is_one_whatever_key_it_comes_with(place: Place) {
    let store = place.open().await;
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

async fn another_argus_whose_numbers_begin_anew_has_other_incidents(place: Place) {
    let store = place.open().await;
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

async fn an_argus_that_was_made_anew_at_the_same_address_has_other_incidents(place: Place) {
    let store = place.open().await;
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

async fn what_became_known_as_an_incident_of_argus_is_told_to_it(place: Place) {
    let store = place.open().await;
    accept(&store, new("https://argus/incidents/7")).await;
    accept(&store, of_argus(7)).await;
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    assert_eq!(store.to_tell("argus", 0, 9).await.unwrap().len(), 1);
}

async fn a_claim_says_whether_its_ticket_is_the_one_that_every_incident_gets(place: Place) {
    let store = place.open().await;
    accept(&store, of_argus(7)).await;
    accept(&store, New { is_named: true, backend: "c".to_owned(), ..of_argus(7) }).await;
    assert!(claim_one(&store).await.is_main);
    assert!(!store.claim("c", Which::All, 1, term(LEASE, policy())).await.unwrap()[0].is_main);
}

async fn several_incidents_of_one_key_share_a_ticket(place: Place) {
    let store = place.open().await;
    let of_site = |pk| New { key: "site-7".to_owned(), ..of_argus(pk) };
    let first = accept(&store, of_site(1)).await;
    let second = accept(&store, of_site(2)).await;
    assert_eq!((second.new, second.job.id), (false, first.job.id));
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim.clone()), Timestamp::now(), created(), policy()).await.unwrap();
    let told = store.to_tell("argus", 0, 10).await.unwrap();
    assert_eq!(told.iter().map(|told| told.number.as_str()).collect::<Vec<_>>(), ["1", "2"]);
}

async fn what_ended_before_its_ticket_was_made_is_seen_and_comes_back_if_it_opens_again(
    place: Place,
) {
    let store = place.open().await;
    let id = in_state(&store, "k", State::Suppressed).await;
    assert_eq!(store.get(id).await.unwrap().unwrap().state, State::Suppressed);
    let open_again = accept(&store, New { reopen: false, ..new("k") }).await;
    assert_eq!((open_again.new, open_again.job.state), (true, State::Queued));
}

async fn a_claim_says_who_wants_it_and_for_how_long_it_has_waited(place: Place) {
    let store = place.open().await;
    accept(&store, of_argus(7)).await;
    // The host was off for an hour, in which the store's own time stood still.
    place.sql("UPDATE steps SET accepted_at = accepted_at - 3600000");
    let claim = claim_one(&store).await;
    assert_eq!((claim.identity.source.as_str(), claim.identity.id.as_str()), ("argus", "7"));
    assert!(!claim.wanted && claim.waited >= Duration::from_secs(3600), "{:?}", claim.waited);
    accept(&store, New { wanted: true, ..of_argus(7) }).await;
    let again = Outcome::Again { after: Duration::ZERO, failure: failure(Kind::Client) };
    store.settle(Arc::new(claim.clone()), Timestamp::now(), again, policy()).await.unwrap();
    store.advance().await.unwrap();
    assert!(claim_one(&store).await.wanted);
}

async fn what_was_noted_is_there_after_a_restart(place: Place) {
    let store = place.open().await;
    store.set_note("a", "1").await.unwrap();
    store.set_note("a", "2").await.unwrap();
    store.close().await;
    drop(store);
    let store = place.open().await;
    assert_eq!(store.note("a").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.note("b").await.unwrap(), None);
}

/// Incidents that began while the store was open.
pub(super) fn begun(key: &str) -> New {
    New { certain: true, began_at: Some(Timestamp::now()), ..new(key) }
}

async fn an_incident_is_accepted_with_the_claim_of_its_ticket(place: Place) {
    let store = place.open().await;
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

async fn what_is_certain_is_claimed_apart_from_what_must_be_looked_for_until_the_store_is_opened_anew(
    place: Place,
) {
    let store = place.open().await;
    for key in ["old", "older"] {
        accept(&store, new(key)).await;
    }
    accept(&store, begun("new")).await;
    let keys = async |store: &Arc<dyn Store>, which| -> Vec<String> {
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
    let store = place.open_anew(store).await;
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

async fn no_more_incidents_are_claimed_to_be_looked_for_together_than_memory_is_to_hold(
    place: Place,
) {
    let store = place.open().await;
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

async fn all_that_is_due_is_claimed_by_level_whether_or_not_it_must_be_looked_for(place: Place) {
    let store = place.open().await;
    for (key, level, certain) in
        [("a", 2, false), ("b", 2, true), ("c", 1, true), ("d", 3, false), ("e", 1, false)]
    {
        let began_at = certain.then(Timestamp::now);
        accept(&store, New { level, certain, began_at, ..new(key) }).await;
    }
    let claims = store.claim("b", Which::All, 4, term(LEASE, policy())).await.unwrap();
    let keys: Vec<&str> = claims.iter().map(|claim| claim.job.key.as_str()).collect();
    assert_eq!(keys, ["c", "e", "a", "b"]);
    assert_eq!(store.claim("b", Which::All, 4, term(LEASE, policy())).await.unwrap().len(), 1);
}

async fn an_end_that_waits_to_be_written_is_read_and_outlives_the_stores_own_end(place: Place) {
    let store = place.open().await;
    let id = accept(&store, new("k")).await.job.id;
    let claim = claim_one(&store).await;
    let ending = store.settle(Arc::new(claim), Timestamp::now(), created(), policy());
    let (ended, read, ()) = tokio::join!(ending, store.get(id), store.close());
    assert_eq!(ended.unwrap().unwrap().state, State::Created);
    if let Ok(read) = read {
        assert_eq!(read.unwrap().state, State::Created);
    }
    let store = place.open().await;
    assert_eq!(store.get(id).await.unwrap().unwrap().state, State::Created);
}

async fn what_is_not_done_is_counted_with_since_when_the_oldest_is_not(place: Place) {
    let store = place.open().await;
    let began = Timestamp::now();
    let id = accept(&store, new("made")).await.job.id;
    let claim = claim_one(&store).await;
    store.settle(Arc::new(claim), Timestamp::now(), created(), policy()).await.unwrap().unwrap();
    assert_eq!(store.unfinished().await.unwrap(), [vec![], vec![]]);
    accept(&store, new("waits")).await;
    accept(&store, New { backend: "c".to_owned(), ..new("fails") }).await;
    let claim = store.claim("c", Which::All, 1, term(LEASE, policy())).await.unwrap().remove(0);
    let failed = Outcome::Failed(failure(Kind::Creation));
    store.settle(Arc::new(claim), Timestamp::now(), failed, policy()).await.unwrap().unwrap();
    store.add_update(id, Action::Comment, "x".to_owned(), policy(), &by()).await.unwrap();
    let [mut tickets, steps] = store.unfinished().await.unwrap();
    tickets.sort_by(|one, other| one.backend.cmp(&other.backend));
    let of = |count: &Count| (count.backend.clone(), count.state, count.rows);
    assert_eq!(of(&tickets[0]), ("b".to_owned(), State::Queued, 1));
    assert_eq!(of(&tickets[1]), ("c".to_owned(), State::Failed, 1));
    assert_eq!(of(&steps[0]), ("b".to_owned(), State::Queued, 1));
    for count in tickets.iter().chain(&steps) {
        let since = began - MINUTE..=Timestamp::now() + MINUTE;
        assert!(since.contains(&count.oldest), "{count:?}");
    }
}

#[test]
fn a_failure_is_cut_to_eight_kilobytes_and_says_so() {
    let long = |letter: &str| letter.repeat(1 << 20);
    for (message, help) in [
        (long("m"), None),
        (long("m"), Some(long("h"))),
        ("short".to_owned(), Some(long("h"))),
        (long("\u{20ac}"), Some(long("\u{20ac}"))),
    ] {
        let mut error = Error::plugin("it failed").cause(std::io::Error::other(message));
        error.help = help;
        let failure = Failure::from(&error);
        let bytes = failure.message.len() + failure.help.as_ref().map_or(0, String::len);
        assert!(bytes <= 8 << 10, "{bytes}");
        assert!(failure.message.starts_with("it failed: "));
        let all = format!("{}{}", failure.message, failure.help.unwrap_or_default());
        assert!(all.ends_with(" bytes more)"), "{}", &all[all.len() - 40..]);
        assert!(failure.kind == Kind::Plugin);
    }
    let mut error = Error::usage("the reason").cause(std::io::Error::other("its cause"));
    error.others = vec![Error::plugin("another"), Error::settings("a third").help("more")];
    let failure = Failure::from(&error);
    assert_eq!(failure.message, "the reason: its cause; another; a third");
    assert_eq!(failure.kind, Kind::Usage);
    error.others = (0..1000).map(|_| Error::plugin("x".repeat(100))).collect();
    let failure = Failure::from(&error);
    assert!(failure.message.len() <= 8 << 10 && failure.message.ends_with(" bytes more)"));
    let error = Error::usage("the reason").help("what to do");
    let failure = Failure::from(&error);
    assert_eq!(
        (failure.message.as_str(), failure.help.as_deref()),
        ("the reason", Some("what to do"))
    );
}

over_both! {
    a_backend_and_a_key_have_one_row_however_many_ask_at_once
    claims_go_by_level_then_age_and_are_nobody_elses
    what_failed_comes_back_when_it_is_due_and_not_before
    a_claim_whose_lease_ended_can_settle_nothing_and_leaves_unknown
    what_was_tried_for_too_long_fails_with_its_last_reason_and_what_was_not_tried_waits
    a_person_can_retry_and_cancel_what_is_not_under_way
    what_may_be_there_is_looked_for_first_and_not_too_soon_whoever_wants_it
    what_may_be_there_stays_so_until_somebody_has_looked
    only_a_person_makes_a_ticket_that_nothing_can_look_for
    what_failed_is_tried_anew_when_somebody_asks_again_but_not_for_the_watcher
    only_failures_of_the_named_kinds_are_reopened
    what_waits_for_the_same_reason_is_due_when_that_is_over
    pruning_removes_what_is_done_and_old_with_its_tries_and_leaves_what_waits_or_failed
    pruning_leaves_what_argus_has_not_heard_of_and_what_is_asked_for
    only_the_last_hundred_tries_are_kept
    what_argus_is_to_hear_waits_until_it_was_told_and_is_told_again_if_argus_forgot_it
    a_note_is_there_after_a_restart_and_the_last_one_counts
    a_list_goes_either_way_page_by_page_and_can_leave_out_what_is_old
    what_waits_moves_with_the_watchers_backend_and_what_may_have_a_ticket_stays
    what_waits_is_given_to_the_backends_that_make_tickets_now_but_for_what_was_asked_for_by_name
    what_waits_becomes_one_with_a_ticket_there_but_not_with_one_that_a_person_cancelled
    an_incident_is_one_whatever_key_it_comes_with
    another_argus_whose_numbers_begin_anew_has_other_incidents
    an_argus_that_was_made_anew_at_the_same_address_has_other_incidents
    what_became_known_as_an_incident_of_argus_is_told_to_it
    a_claim_says_whether_its_ticket_is_the_one_that_every_incident_gets
    several_incidents_of_one_key_share_a_ticket
    what_ended_before_its_ticket_was_made_is_seen_and_comes_back_if_it_opens_again
    a_claim_says_who_wants_it_and_for_how_long_it_has_waited
    what_was_noted_is_there_after_a_restart
    an_incident_is_accepted_with_the_claim_of_its_ticket
    what_is_certain_is_claimed_apart_from_what_must_be_looked_for_until_the_store_is_opened_anew
    no_more_incidents_are_claimed_to_be_looked_for_together_than_memory_is_to_hold
    all_that_is_due_is_claimed_by_level_whether_or_not_it_must_be_looked_for
    an_end_that_waits_to_be_written_is_read_and_outlives_the_stores_own_end
    what_is_not_done_is_counted_with_since_when_the_oldest_is_not
}
