use std::sync::Arc;

use tempfile::TempDir;
use ticket_plugin_api::Ticket;

use super::*;

const LEASE: Duration = Duration::from_secs(60);
const MAX: u64 = 1 << 30;
const NEVER: Timestamp = Timestamp::END;
const MINUTE: Duration = Duration::from_secs(60);
const RETRY: Order = Order::Retry { until: NEVER, settle: Duration::ZERO };

/// A store in a directory of its own.
async fn store() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    (directory, store)
}

async fn open(directory: &TempDir) -> Sqlite {
    Sqlite::open_alone(&directory.path().join("queue.db"), MAX, Duration::ZERO).await.unwrap()
}

fn new(key: &str) -> New {
    New {
        backend: "b".to_owned(),
        key: key.to_owned(),
        level: 3,
        incident: "{}".to_owned(),
        expires_at: NEVER,
        tell_argus: None,
        reopen: true,
        settle: Duration::ZERO,
    }
}

fn failure(kind: Kind) -> Failure {
    Failure { kind, message: "the reason".to_owned(), help: None }
}

fn created() -> Outcome {
    let ticket = Ticket { url: "https://t/1".to_owned(), ..Ticket::default() };
    Outcome::Created { ticket, made: true }
}

async fn claim_one(store: &Sqlite) -> Claim {
    store.claim("b", 1, LEASE).await.unwrap().remove(0)
}

/// Accepts a key and brings it into that state; its id.
async fn in_state(store: &Sqlite, key: &str, state: State) -> i64 {
    let id = store.accept(new(key)).await.unwrap().job.id;
    let at = Timestamp::now() + MINUTE;
    let outcome = match state {
        State::Queued => return id,
        State::Cancelled => {
            store.order(id, Order::Cancel).await.unwrap();
            return id;
        }
        State::Creating => None,
        State::Created => Some(created()),
        State::Failed => Some(Outcome::Failed(failure(Kind::Settings))),
        State::Unknown => Some(Outcome::Unknown { at, failure: failure(Kind::Client) }),
    };
    let claim = claim_one(store).await;
    assert_eq!(claim.job.id, id);
    if let Some(outcome) = outcome {
        store.settle(&claim, Timestamp::now(), outcome).await.unwrap().unwrap();
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
            tokio::spawn(async move { store.accept(new(["x", "y"][n % 2])).await.unwrap() })
        })
        .collect();
    let mut accepted = Vec::new();
    for task in asking {
        accepted.push(task.await.unwrap());
    }
    assert_eq!(accepted.iter().filter(|accepted| accepted.new).count(), 2);
    assert_eq!(store.list(&Filter { most: 10, ..Filter::default() }).await.unwrap().len(), 2);
    let other = New { backend: "c".to_owned(), ..new("x") };
    assert!(store.accept(other).await.unwrap().new, "another backend's ticket is another");
}

#[tokio::test]
async fn claims_go_by_level_then_age_and_are_nobody_elses() {
    let (_directory, store) = store().await;
    for (key, level) in [("mild", 5), ("first", 1), ("second", 1), ("none", 6)] {
        store.accept(New { level, ..new(key) }).await.unwrap();
    }
    store.accept(New { backend: "c".to_owned(), level: 1, ..new("other") }).await.unwrap();
    let keys = |claims: Vec<Claim>| claims.into_iter().map(|c| c.job.key).collect::<Vec<_>>();
    assert_eq!(keys(store.claim("b", 3, LEASE).await.unwrap()), ["first", "second", "mild"]);
    assert_eq!(keys(store.claim("b", 3, LEASE).await.unwrap()), ["none"]);
    assert!(store.claim("b", 3, LEASE).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_failed_comes_back_when_it_is_due_and_not_before() {
    let (_directory, store) = store().await;
    store.accept(new("k")).await.unwrap();
    let claim = claim_one(&store).await;
    let again = |at| Outcome::Again { at, failure: failure(Kind::Client) };
    let job = store
        .settle(&claim, Timestamp::now(), again(Timestamp::now() + MINUTE))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((job.state, job.attempts), (State::Queued, 1));
    let next = store.advance(Duration::ZERO).await.unwrap().next;
    assert!(next.is_some_and(|next| next > Timestamp::now() + MINUTE - MINUTE / 6));
    assert!(store.claim("b", 1, LEASE).await.unwrap().is_empty());
    store.order(job.id, RETRY).await.unwrap();
    let claim = claim_one(&store).await;
    store.settle(&claim, Timestamp::now(), again(Timestamp::now())).await.unwrap();
    store.advance(Duration::ZERO).await.unwrap();
    assert_eq!(claim_one(&store).await.job.attempts, 3);
}

#[tokio::test]
async fn a_claim_whose_lease_ended_can_settle_nothing_and_leaves_unknown() {
    let (_directory, store) = store().await;
    store.accept(new("k")).await.unwrap();
    let late = store.claim("b", 1, Duration::ZERO).await.unwrap().remove(0);
    store.advance(Duration::ZERO).await.unwrap();
    assert_eq!(store.settle(&late, Timestamp::now(), created()).await.unwrap(), None);
    let job = store.get(late.job.id).await.unwrap().unwrap();
    assert_eq!(job.state, State::Unknown);
    assert!(job.failure.unwrap().message.contains("there may be a ticket"));
    let attempts = store.attempts(job.id).await.unwrap();
    assert_eq!(attempts[0].outcome, State::Unknown);

    store.advance(Duration::ZERO).await.unwrap();
    let claim = claim_one(&store).await;
    assert!(claim.unknown, "who claims it must look for the ticket");
    assert_eq!(
        store.settle(&late, Timestamp::now(), created()).await.unwrap(),
        None,
        "it has another lease"
    );
    store.settle(&claim, Timestamp::now(), created()).await.unwrap().unwrap();
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
async fn what_is_too_old_fails_with_its_last_reason() {
    let (_directory, store) = store().await;
    store.accept(New { expires_at: Timestamp::now(), ..new("never") }).await.unwrap();
    let failed = store.advance(Duration::ZERO).await.unwrap().failed;
    let message = &failed[0].failure.as_ref().unwrap().message;
    assert_eq!(message, "given up after 0 tries: its turn never came");

    let id = in_state(&store, "lost", State::Unknown).await;
    store
        .order(id, Order::Retry { until: Timestamp::now(), settle: Duration::ZERO })
        .await
        .unwrap();
    let failed = store.advance(Duration::ZERO).await.unwrap().failed;
    assert_eq!(failed[0].state, State::Failed);
    let message = &failed[0].failure.as_ref().unwrap().message;
    assert_eq!(message, "given up after 1 tries (there may be a ticket): the reason");
}

#[tokio::test]
async fn a_person_can_retry_and_cancel_what_is_not_under_way() {
    let (_directory, store) = store().await;
    for (state, order, expected) in [
        (State::Queued, RETRY, Some(State::Queued)),
        (State::Failed, RETRY, Some(State::Queued)),
        (State::Cancelled, RETRY, Some(State::Queued)),
        // It is looked for first, now as ever.
        (State::Unknown, RETRY, Some(State::Unknown)),
        (State::Created, RETRY, None),
        (State::Creating, RETRY, None),
        (State::Queued, Order::Cancel, Some(State::Cancelled)),
        (State::Failed, Order::Cancel, Some(State::Cancelled)),
        (State::Unknown, Order::Cancel, Some(State::Cancelled)),
        (State::Created, Order::Cancel, None),
        (State::Creating, Order::Cancel, None),
        (State::Cancelled, Order::Cancel, None),
    ] {
        let key = format!("{state:?} {order:?}");
        let id = in_state(&store, &key, state).await;
        match (store.order(id, order).await, expected) {
            (Ok(job), Some(expected)) => assert_eq!(job.state, expected, "{key}"),
            (Err(StoreError::Conflict { state: said, .. }), None) => assert_eq!(said, state),
            (other, _) => panic!("{key}: {other:?}"),
        }
        // Out of the way of the next one.
        for claim in store.claim("b", 9, LEASE).await.unwrap() {
            store.settle(&claim, Timestamp::now(), created()).await.unwrap();
        }
    }
    assert!(matches!(store.order(99, RETRY).await, Err(StoreError::NoSuch(99))));
}

#[tokio::test]
async fn a_retry_of_what_may_be_there_looks_for_it_first_and_not_too_soon() {
    let (_directory, store) = store().await;
    let id = in_state(&store, "k", State::Unknown).await;
    let settle = Duration::from_secs(60);
    let changed_at = store.get(id).await.unwrap().unwrap().changed_at;
    for _ in 0..2 {
        let job = store.order(id, Order::Retry { until: NEVER, settle }).await.unwrap();
        assert_eq!(job.state, State::Unknown);
        let next = store.advance(Duration::ZERO).await.unwrap().next;
        assert_eq!(next, Some(changed_at + MINUTE), "counted from when it was tried");
        assert!(store.claim("b", 1, LEASE).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_may_be_there_is_not_looked_for_too_soon_by_who_asks_again_or_by_other_settings() {
    let settle = Duration::from_secs(60);
    for again in ["asked for again", "reopened"] {
        let (_directory, store) = store().await;
        let id = in_state(&store, "k", State::Unknown).await;
        // It is too old, and fails for its settings.
        store
            .order(id, Order::Retry { until: Timestamp::now(), settle: Duration::ZERO })
            .await
            .unwrap();
        store.advance(Duration::ZERO).await.unwrap();
        let failed = store.get(id).await.unwrap().unwrap();
        assert_eq!(failed.state, State::Failed);
        if again == "reopened" {
            assert_eq!(store.reopen("b", &[Kind::Client], NEVER, settle).await.unwrap(), 1);
        } else {
            store.accept(New { settle, ..new("k") }).await.unwrap();
        }
        let job = store.get(id).await.unwrap().unwrap();
        assert_eq!(job.state, State::Unknown, "{again}");
        assert_eq!(job.due_at, Some(failed.changed_at + MINUTE), "{again}");
        assert!(store.claim("b", 1, LEASE).await.unwrap().is_empty(), "{again}");
    }
}

#[tokio::test]
async fn what_may_be_there_stays_so_until_somebody_has_looked() {
    for order in [None, Some(Order::Cancel)] {
        let (_directory, store) = store().await;
        let id = in_state(&store, "k", State::Unknown).await;
        match order {
            Some(order) => drop(store.order(id, order).await.unwrap()),
            // It is too old, and fails.
            None => {
                let retry = Order::Retry { until: Timestamp::now(), settle: Duration::ZERO };
                store.order(id, retry).await.unwrap();
                store.advance(Duration::ZERO).await.unwrap();
                let job = store.accept(new("k")).await.unwrap().job;
                assert_eq!(job.state, State::Unknown, "to who asks again");
            }
        }
        assert_eq!(store.order(id, RETRY).await.unwrap().state, State::Unknown);
        store.advance(Duration::ZERO).await.unwrap();
        let claim = claim_one(&store).await;
        assert!(claim.unknown);
        let job = store.settle(&claim, Timestamp::now(), Outcome::NoTicket).await.unwrap().unwrap();
        assert_eq!(job.state, State::Queued);
        assert!(!claim_one(&store).await.unknown, "somebody has looked");
    }
}

#[tokio::test]
async fn only_a_person_makes_a_ticket_that_nothing_can_look_for() {
    let (_directory, store) = store().await;
    let id = in_state(&store, "k", State::Unknown).await;
    store.order(id, RETRY).await.unwrap();
    store.advance(Duration::ZERO).await.unwrap();
    let claim = claim_one(&store).await;
    let lost = Outcome::Lost(failure(Kind::Settings));
    assert_eq!(
        store.settle(&claim, Timestamp::now(), lost).await.unwrap().unwrap().state,
        State::Failed
    );
    assert!(!store.accept(new("k")).await.unwrap().new);
    assert_eq!(store.reopen("b", &[Kind::Settings], NEVER, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(store.order(id, RETRY).await.unwrap().state, State::Queued);
    assert!(!claim_one(&store).await.unknown);
}

#[tokio::test]
async fn what_failed_is_tried_anew_when_somebody_asks_again_but_not_for_the_watcher() {
    let (_directory, store) = store().await;
    let id = in_state(&store, "k", State::Failed).await;
    let accepted = store.accept(New { reopen: false, ..new("k") }).await.unwrap();
    assert_eq!((accepted.new, accepted.job.state), (false, State::Failed));
    let accepted = store.accept(New { level: 1, ..new("k") }).await.unwrap();
    assert_eq!((accepted.new, accepted.job.state), (true, State::Queued));
    assert_eq!((accepted.job.id, accepted.job.level), (id, 1));
    in_state(&store, "cancelled", State::Cancelled).await;
    assert!(!store.accept(new("cancelled")).await.unwrap().new);
}

#[tokio::test]
async fn only_failures_of_the_named_kinds_are_reopened() {
    let (_directory, store) = store().await;
    for kind in [Kind::Settings, Kind::Creation, Kind::Import] {
        store.accept(new(&format!("{kind:?}"))).await.unwrap();
        let claim = claim_one(&store).await;
        store.settle(&claim, Timestamp::now(), Outcome::Failed(failure(kind))).await.unwrap();
    }
    let kinds = [Kind::Settings, Kind::Import];
    assert_eq!(store.reopen("other", &kinds, NEVER, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(store.reopen("b", &kinds, NEVER, Duration::ZERO).await.unwrap(), 2);
    let filter = Filter { state: Some(State::Failed), most: 9, ..Filter::default() };
    assert_eq!(store.list(&filter).await.unwrap()[0].key, "Creation");
}

#[tokio::test]
async fn pruning_removes_what_is_finished_and_old_with_its_tries() {
    let (_directory, store) = store().await;
    let done = in_state(&store, "done", State::Created).await;
    in_state(&store, "waiting", State::Queued).await;
    assert_eq!(store.prune(Timestamp::now() - MINUTE).await.unwrap(), 0);
    assert_eq!(store.prune(Timestamp::now() + MINUTE).await.unwrap(), 1);
    assert_eq!(store.get(done).await.unwrap(), None);
    assert!(store.attempts(done).await.unwrap().is_empty());
    assert_eq!(store.counts().await.unwrap()[0].state, State::Queued);
}

#[tokio::test]
async fn pruning_leaves_what_argus_has_not_heard_of_and_what_is_asked_for() {
    let (_directory, store) = store().await;
    let tell_argus = Some("https://argus/incidents/7".to_owned());
    store.accept(New { tell_argus, ..new("untold") }).await.unwrap();
    let claim = claim_one(&store).await;
    store.settle(&claim, Timestamp::now(), created()).await.unwrap();
    let asked = in_state(&store, "asked for", State::Created).await;
    in_state(&store, "forgotten", State::Created).await;
    let options = SqliteConnectOptions::new().filename(&store.path);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    let week = sqlx::query("UPDATE tickets SET seen_at = seen_at - 7 * 24 * 3600 * 1000");
    week.execute(&mut db).await.unwrap();
    store.accept(new("asked for")).await.unwrap();
    assert_eq!(store.prune(Timestamp::now() - MINUTE).await.unwrap(), 1);
    assert!(store.get(claim.job.id).await.unwrap().is_some());
    assert!(store.get(asked).await.unwrap().is_some());
    store.told(claim.job.id).await.unwrap();
    assert_eq!(store.prune(Timestamp::now() - MINUTE).await.unwrap(), 1);
}

#[tokio::test]
async fn only_the_last_hundred_tries_are_kept() {
    let (_directory, store) = store().await;
    let id = store.accept(new("k")).await.unwrap().job.id;
    for _ in 0..=100 {
        let claim = claim_one(&store).await;
        store.settle(&claim, Timestamp::now(), Outcome::NoTicket).await.unwrap();
    }
    let tries = store.attempts(id).await.unwrap();
    assert_eq!((tries.len(), tries[0].number), (100, 2));
}

#[tokio::test]
async fn a_plugin_that_says_much_each_time_does_not_fill_the_store() {
    let (directory, store) = store().await;
    for key in 0..60 {
        store.accept(new(&format!("k{key}"))).await.unwrap();
    }
    let error = crate::Error::plugin("p".repeat(1 << 20)).help("h".repeat(1 << 20));
    for _ in 0..110 {
        for claim in store.claim("b", 100, LEASE).await.unwrap() {
            let outcome = Outcome::Again { at: Timestamp::EPOCH, failure: Failure::from(&error) };
            store.settle(&claim, Timestamp::now(), outcome).await.unwrap().unwrap();
        }
    }
    let bytes = fs::metadata(directory.path().join("queue.db")).unwrap().len();
    assert!(bytes < 10 << 20, "{bytes} bytes for 60 tickets");
}

#[tokio::test]
async fn what_argus_is_to_hear_waits_until_it_was_told() {
    const URL: &str = "https://argus/incidents/7";
    let (_directory, store) = store().await;
    store.accept(New { tell_argus: Some(URL.to_owned()), ..new("k") }).await.unwrap();
    assert!(store.to_tell(0, 10).await.unwrap().is_empty(), "there is no ticket yet");
    let claim = claim_one(&store).await;
    store.settle(&claim, Timestamp::now(), created()).await.unwrap();
    let job = store.to_tell(0, 10).await.unwrap().remove(0);
    assert_eq!(job.tell_argus.as_deref(), Some(URL));
    assert!(store.to_tell(job.id, 10).await.unwrap().is_empty());
    store.told(job.id).await.unwrap();
    assert!(store.to_tell(0, 10).await.unwrap().is_empty());
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
    let store = Arc::new(Sqlite::open_alone(&path, 1 << 20, Duration::ZERO).await.unwrap());
    let incident = "x".repeat(10_000);
    // Many at once: they share commits, and so failures.
    let asking: Vec<_> = (0..200)
        .map(|n| {
            let (store, incident) = (Arc::clone(&store), incident.clone());
            tokio::spawn(
                async move { store.accept(New { incident, ..new(&format!("k{n}")) }).await },
            )
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
        let claims = store.claim("b", 1000, LEASE).await.unwrap();
        assert_eq!(claims.len(), kept as usize, "try {number}");
        for claim in claims {
            let outcome = match number {
                20 => Outcome::Failed(said.clone()),
                _ => Outcome::Again { at: Timestamp::EPOCH, failure: said.clone() },
            };
            store.settle(&claim, Timestamp::now(), outcome).await.unwrap().unwrap();
        }
    }
    drop(store);
    let store = Sqlite::open_alone(&path, MAX, Duration::ZERO).await.unwrap();
    assert!(kept > 10, "{kept}");
    let rows: i64 = store.counts().await.unwrap().iter().map(|count| count.rows).sum();
    assert_eq!(rows, kept);
    store.accept(new("now there is room")).await.unwrap();
}

async fn refused(path: &Path) -> String {
    let error = Sqlite::open_alone(path, MAX, Duration::ZERO).await.unwrap_err();
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

    let missing = Sqlite::open(&directory.path().join("none.db"), MAX).await.unwrap_err();
    assert!(missing.to_string().ends_with("none.db does not exist"));
}

#[tokio::test]
async fn damage_inside_the_file_is_an_error_and_no_panic() {
    let (directory, store) = store().await;
    for n in 0..200 {
        store.accept(New { incident: "y".repeat(2000), ..new(&format!("k{n}")) }).await.unwrap();
    }
    drop(store);
    let path = directory.path().join("queue.db");
    // Closed, so that all is in the file itself.
    let writer = SqliteConnectOptions::new().filename(&path);
    let mut writer = SqliteConnection::connect_with(&writer).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut writer).await.unwrap();
    writer.close().await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length / 4..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let store = match Sqlite::open_alone(&path, MAX, Duration::ZERO).await {
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
    store.accept(new("k")).await.unwrap();
    let beside = Sqlite::open(&path, MAX).await.unwrap();
    assert_eq!(beside.get(1).await.unwrap().unwrap().key, "k");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let (directory, store) = store().await;
    drop(store);
    let path = directory.path().join("queue.db");
    let options = SqliteConnectOptions::new().filename(&path);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
    let why = refused(&path).await;
    assert!(why.contains("doesn't know / was it made by a newer ticket-host"), "{why}");
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_on_the_machine_may_look_into_what_it_makes() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made").join("queue.db");
    Sqlite::open_alone(&path, MAX, Duration::ZERO).await.unwrap();
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
        accepted.push(store.accept(new(key)).await.unwrap().job.accepted_at);
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
