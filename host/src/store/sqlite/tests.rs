use std::fs;

use tempfile::TempDir;
use ticket_plugin_api::TicketState;

use super::*;
use crate::error::Kind;
use crate::machine::State;
use crate::store::tests::{
    LEASE, MAX, MINUTE, accept, failure, in_state, new, of_argus, policy, term,
};
use crate::store::{Adoption, Failure, Filter, New, Outcome, Store, Timestamp, Which};

/// A store in a directory of its own.
async fn store() -> (TempDir, Arc<Sqlite>) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    (directory, store)
}

async fn open(directory: &TempDir) -> Arc<Sqlite> {
    Arc::new(Sqlite::open_alone(&directory.path().join("queue.db"), MAX).await.unwrap())
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
    let store = Arc::new(Sqlite::open_alone(&path, MAX).await.unwrap());
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
    let restored = Arc::new(Sqlite::open_alone(&backup, MAX).await.unwrap());
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
    let copied = Arc::new(Sqlite::open_alone(&copy, MAX).await.unwrap());
    assert_eq!(copied.counts().await.unwrap()[0].rows, 1);
    assert!(store.probe().await.unwrap_err().to_string().ends_with("is closed"));
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
        let store = Arc::new(Sqlite::open_alone(&path, MAX).await.unwrap());
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
        // A person gives another incident the ticket that this one has.
        let ticket = jobs[0].ticket.clone().unwrap();
        let shared = store.adopt_pasted(of_argus(2), ticket, TicketState::Open, policy()).await;
        assert!(matches!(shared.unwrap(), Adoption::Adopted(job) if job.id == 1));
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
