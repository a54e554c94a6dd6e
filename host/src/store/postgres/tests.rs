//! What several hosts on one database do to each other.

use std::collections::HashSet;

use super::schema::NEWEST;
use super::*;
use crate::error::Kind;
use crate::machine::State;
use crate::store::tests::{
    LEASE, MINUTE, Place, accept, begun, by, claim_one, created, in_state, new, policy, term,
};
use crate::store::{Filter, New, Order, Outcome, Store, Term, Timestamp, Try, Which};

/// Two hosts on one database.
macro_rules! with_two {
    ($place:ident, $one:ident, $other:ident) => {
        let $place = Place::postgres();
        let ($one, $other) = ($place.open().await, $place.open().await);
    };
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn two_hosts_that_are_told_of_the_same_incidents_at_once_keep_each_once() {
    with_two!(place, one, other);
    let asking: Vec<_> = (0..200)
        .map(|n| {
            let store = Arc::clone([&one, &other][n % 2]);
            // In opposite orders, so that each waits for the other.
            let key = if n % 2 == 0 { n / 2 } else { 99 - n / 2 };
            tokio::spawn(async move { accept(&store, new(&format!("k{key}"))).await })
        })
        .collect();
    let mut are_new = 0;
    for task in asking {
        are_new += usize::from(task.await.unwrap().new);
    }
    assert_eq!(are_new, 100);
    let filter = Filter { most: 1000, ..Filter::default() };
    assert_eq!(one.list(&filter).await.unwrap().len(), 100);
    place.sql("DO $$ BEGIN ASSERT (SELECT count(*) FROM incidents) = 100; END $$");
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn no_two_hosts_claim_the_same_ticket() {
    with_two!(place, one, other);
    for key in 0..40 {
        accept(&one, new(&key.to_string())).await;
    }
    let claiming: Vec<_> = (0..8)
        .map(|n| {
            let store = Arc::clone([&one, &other][n % 2]);
            tokio::spawn(async move {
                store.claim("b", Which::All, 5, term(LEASE, policy())).await.unwrap()
            })
        })
        .collect();
    let mut claimed = HashSet::new();
    for task in claiming {
        for claim in task.await.unwrap() {
            assert!(claimed.insert(claim.job.id), "{} twice", claim.job.id);
        }
    }
    assert_eq!(claimed.len(), 40);
    drop(place);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn the_end_of_a_claim_that_another_host_took_over_changes_nothing() {
    with_two!(place, one, other);
    accept(&one, new("k")).await;
    let late =
        one.claim("b", Which::All, 1, term(Duration::ZERO, policy())).await.unwrap().remove(0);
    other.advance().await.unwrap();
    other.advance().await.unwrap();
    let taken_over = claim_one(&other).await;
    assert!(taken_over.unknown);
    let settled = one.settle(Arc::new(late), Timestamp::now(), created(), policy()).await;
    assert_eq!(settled.unwrap(), None);
    let settled = other.settle(Arc::new(taken_over), Timestamp::now(), created(), policy()).await;
    assert!(settled.unwrap().is_some());
    drop(place);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn others_hear_of_what_there_is_to_claim_and_nobody_of_what_he_says_himself() {
    with_two!(place, one, other);
    let hears = |store: Arc<dyn Store>| async move {
        tokio::time::timeout(Duration::from_secs(10), store.woken()).await.is_ok()
    };
    // Until it listens, which is soon after it was opened, it isn't told.
    while tokio::time::timeout(Duration::from_millis(50), other.woken()).await.is_err() {
        let id = accept(&one, new(&fastrand::u64(..).to_string())).await.job.id;
        one.order(id, Order::Cancel, policy(), &by()).await.unwrap();
    }
    let own = tokio::time::timeout(Duration::from_millis(300), one.woken());
    assert!(own.await.is_err(), "it knows that");
    accept(&other, new("k")).await;
    assert!(hears(one).await);
    drop(place);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn one_host_leads_until_it_is_not_heard_of_any_more() {
    with_two!(place, one, other);
    assert!(one.lead("one", MINUTE).await.unwrap());
    assert!(one.lead("one", MINUTE).await.unwrap(), "it goes on");
    assert!(!other.lead("other", MINUTE).await.unwrap());
    place.sql("UPDATE leader SET until = until - 60000");
    assert!(other.lead("other", MINUTE).await.unwrap());
    assert!(!one.lead("one", MINUTE).await.unwrap());
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn turns_are_one_after_the_other_whichever_host_takes_them() {
    with_two!(place, one, other);
    let (interval, second) = (Duration::from_millis(200), Duration::from_secs(1));
    let take = async |store: &Arc<dyn Store>, turns, most| {
        store.take_turns("b", interval, turns, most).await.unwrap()
    };
    assert_eq!(take(&one, 5, second).await, Some(Duration::ZERO));
    let until = take(&other, 1, second).await.unwrap();
    assert!(until > second / 2 && until <= second, "{until:?}");
    assert_eq!(take(&one, 1, interval).await, None, "that would be too late");
    let until_then = take(&one, 1, 2 * second).await.unwrap();
    assert!(until_then <= until + interval, "nothing was taken before: {until_then:?}");
    let other_backend = one.take_turns("c", interval, 1, second).await.unwrap();
    assert_eq!(other_backend, Some(Duration::ZERO));
    drop(place);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn a_pause_is_known_to_all_until_it_is_over() {
    with_two!(place, one, other);
    assert!(other.pauses().await.unwrap().is_empty());
    one.set_pause("b", MINUTE).await.unwrap();
    one.set_pause("b", MINUTE / 2).await.unwrap();
    let [(name, time)] = &other.pauses().await.unwrap()[..] else { panic!() };
    assert!(name == "b" && *time > MINUTE - Duration::from_secs(20), "{name} {time:?}");
    place.sql("UPDATE backends SET paused = paused - 60000");
    assert!(other.pauses().await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn of_the_hosts_that_hold_a_backend_for_one_cause_one_tries_at_a_time() {
    with_two!(place, one, other);
    let tries = async |store: &Arc<dyn Store>, cause| {
        let tries = Some(Try { cause, time: MINUTE });
        let trying = Term { tries, ..term(LEASE, policy()) };
        store.claim("b", Which::All, 1, trying).await.unwrap().len()
    };
    assert_eq!(tries(&one, "down").await, 0, "there is nothing to try it with");
    for key in 0..9 {
        accept(&one, new(&key.to_string())).await;
    }
    assert_eq!(tries(&other, "down").await, 1, "who had nothing to try it with took no turn");
    assert_eq!((tries(&one, "down").await, tries(&other, "down").await), (0, 0));
    assert_eq!(tries(&one, "settings").await, 1, "what it is held for elsewhere is another thing");
    claim_one(&one).await; // One that doesn't hold it.
    // Whose turn it isn't changes nothing about that; the one whose it was ends it.
    one.hold("b", "down", Duration::ZERO, false).await.unwrap();
    assert_eq!(tries(&one, "down").await, 0);
    other.hold("b", "down", Duration::ZERO, true).await.unwrap();
    assert_eq!(tries(&one, "down").await, 1);
    one.hold("b", "down", MINUTE / 2, true).await.unwrap();
    // Who finds it again and again doesn't put others off for ever.
    other.hold("b", "down", MINUTE, false).await.unwrap();
    let holds = other.holds().await.unwrap();
    let down = holds.iter().find(|hold| hold.cause == "down").unwrap();
    assert!(down.left <= MINUTE / 2 && !down.left.is_zero(), "{down:?}");
    assert_eq!(down.released, 0);
    assert_eq!(one.release("b", "down").await.unwrap(), 1);
    let holds = other.holds().await.unwrap();
    let down = holds.iter().find(|hold| hold.cause == "down").unwrap();
    assert_eq!((down.left, down.released), (Duration::ZERO, 1));
    assert_eq!(tries(&other, "down").await, 1);
    // A host that is gone has its turn for as long as its call could last.
    place.sql("UPDATE holds SET try_at = try_at - 60000");
    assert_eq!(tries(&one, "down").await, 1);
}

/// Whether a ticket of an incident that begins now, and is accepted now, is known not to be there.
async fn is_certain(store: &Arc<dyn Store>, key: &str, began_at: Option<Timestamp>) -> bool {
    let at_once = Some(term(LEASE, policy()));
    let new = New { began_at, ..new(key) };
    store.accept(new, policy(), at_once).await.unwrap().claim.unwrap().certain
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn nothing_is_certain_in_a_database_that_was_started_anew_or_put_back_until_it_is_known_for_a_minute()
 {
    with_two!(place, one, other);
    let now = || Some(Timestamp::now());
    assert!(is_certain(&one, "a", now()).await);
    assert!(!is_certain(&one, "b", None).await);
    let long_ago = Timestamp::now() - Duration::from_secs(2 * 3600);
    assert!(!is_certain(&one, "c", Some(long_ago)).await, "it began before that was known");
    // As a standby that took over, or tables that were put back from a backup.
    place.sql("UPDATE clock SET server = 'another'");
    assert!(!is_certain(&other, "d", now()).await);
    assert!(!is_certain(&one, "e", now()).await);
    place.sql("UPDATE clock SET since = since - 120000");
    assert!(is_certain(&one, "f", now()).await);
    // What was pruned is as unknown as what was never there.
    in_state(&one, "done", State::Cancelled).await;
    let mut after = 0;
    while let Some(next) = one.prune(Duration::ZERO, after).await.unwrap() {
        after = next;
    }
    assert!(!is_certain(&other, "g", now()).await);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn what_must_be_looked_for_is_not_claimed_where_that_is_done_for_many_together() {
    with_two!(place, one, other);
    let together = Some(Term { only_certain: true, ..term(LEASE, policy()) });
    let accepted = one.accept(new("a"), policy(), together).await.unwrap();
    assert_eq!((accepted.claim.is_none(), accepted.job.state), (true, State::Queued));
    assert!(one.accept(begun("b"), policy(), together).await.unwrap().claim.is_some());
    let claims = other.claim("b", Which::Uncertain, 9, term(LEASE, policy())).await.unwrap();
    assert_eq!(claims.len(), 1);
    drop(place);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn what_was_certain_before_the_database_was_started_anew_is_looked_for() {
    with_two!(place, one, other);
    accept(&one, begun("k")).await;
    place.sql("UPDATE clock SET server = 'another'");
    let claims = |which| other.claim("b", which, 9, term(LEASE, policy()));
    assert!(claims(Which::Certain).await.unwrap().is_empty());
    let claim = claims(Which::Uncertain).await.unwrap().remove(0);
    assert!(!claim.certain);
    let ended = one.settle(Arc::new(claim), Timestamp::now(), Outcome::NoTicket, policy()).await;
    assert!(ended.unwrap().is_some(), "whoever ends it");
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn tables_of_a_newer_version_are_worked_on_if_they_say_that_this_one_can() {
    let place = Place::postgres();
    place.open().await.close().await;
    let Place::Postgres(options) = &place else { unreachable!("it was asked for") };
    let newer = NEWEST + 1;
    for (readable_by, refused) in [(NEWEST, None), (newer, Some("doesn't know"))] {
        place.sql(&format!("UPDATE version SET version = {newer}, readable_by = {readable_by}"));
        for opened in [
            Postgres::open((**options).clone(), false).await,
            Postgres::look_at((**options).clone(), false).await,
        ] {
            let error = opened.err().map(|error| error.to_string());
            assert_eq!(error.is_some(), refused.is_some(), "{error:?}");
            assert!(error.is_none_or(|error| error.contains(refused.unwrap())));
        }
    }
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn a_database_that_cannot_be_used_is_refused_with_what_to_do() {
    let place = Place::postgres();
    let Place::Postgres(options) = &place else { unreachable!("it was asked for") };
    let nowhere = (**options).clone().port(1);
    let missing = (**options).clone().database("not_there");
    for (options, said, help) in [
        ((**options).clone(), "has no tables of this version", "queue migrate --print"),
        (nowhere, "can't be reached", "is the database up"),
        (missing, "does not exist", "createdb"),
    ] {
        let error = crate::Error::from(Postgres::look_at(options, false).await.unwrap_err());
        assert!(error.message.contains(said), "{error}");
        assert!(error.help.as_ref().is_some_and(|text| text.contains(help)), "{:?}", error.help);
    }
}

/// A connection beside the hosts, whose transactions last as long as the test wants.
async fn beside(place: &Place) -> sqlx::PgConnection {
    use sqlx::ConnectOptions;
    let Place::Postgres(options) = place else { unreachable!("it was asked for") };
    let options = (**options).clone().options([("search_path", "ticket_host")]);
    options.connect().await.unwrap()
}

async fn run(connection: &mut sqlx::PgConnection, sql: &'static str) {
    use sqlx::Executor;
    connection.execute(sqlx::raw_sql(sql)).await.unwrap();
}

async fn prune_all(store: &Arc<dyn Store>) {
    let mut after = 0;
    while let Some(next) = store.prune(MINUTE, after).await.unwrap() {
        after = next;
    }
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn what_another_host_is_just_opening_again_is_not_removed() {
    with_two!(place, one, other);
    let id = in_state(&one, "k", State::Suppressed).await;
    place.sql("UPDATE steps SET seen = seen - 3600000");
    let mut beside = beside(&place).await;
    run(&mut beside, "BEGIN; SELECT id FROM steps FOR UPDATE").await;
    // It neither waits nor removes it.
    prune_all(&other).await;
    run(&mut beside, "COMMIT").await;
    assert_eq!(one.get(id).await.unwrap().unwrap().state, State::Suppressed);
    prune_all(&other).await;
    assert_eq!(one.get(id).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn an_incident_that_just_gets_another_ticket_is_not_removed_with_its_old_one() {
    with_two!(place, one, other);
    in_state(&one, "k", State::Created).await;
    place.sql("UPDATE steps SET seen = seen - 3600000");
    let mut beside = beside(&place).await;
    run(
        &mut beside,
        "BEGIN; INSERT INTO tickets (id, backend, key) VALUES (100, 'c', 'k'); INSERT INTO assignments VALUES (1, 'c', 100)",
    )
    .await;
    let pruning = tokio::spawn(async move { prune_all(&other).await });
    // Until it waits for the other transaction.
    let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    loop {
        use sqlx::Executor;
        if beside.fetch_optional(sqlx::raw_sql(waits)).await.unwrap().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run(&mut beside, "COMMIT").await;
    pruning.await.unwrap();
    place.sql("DO $$ BEGIN ASSERT (SELECT count(*) FROM incidents) = 1; END $$");
    place.sql("DO $$ BEGIN ASSERT (SELECT count(*) FROM tickets) = 1; END $$");
    drop(one);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn a_key_may_be_longer_than_what_an_index_holds() {
    with_two!(place, one, other);
    // No compression makes these short.
    let mut random = fastrand::Rng::with_seed(7);
    let key: String = (0..1000).map(|_| random.char('\u{4e00}'..'\u{9fff}')).collect();
    let id = accept(&one, new(&key)).await.job.id;
    let again = accept(&other, new(&key)).await;
    assert_eq!((again.new, again.job.id), (false, id));
    let filter = Filter { key: Some(key), most: 9, ..Filter::default() };
    assert_eq!(other.list(&filter).await.unwrap().len(), 1);
    drop(place);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn a_failure_with_a_nul_keeps_no_other_from_being_tried_again() {
    with_two!(place, one, other);
    in_state(&one, "a", State::Failed).await;
    in_state(&one, "b", State::Failed).await;
    place.sql(
        r#"UPDATE steps SET failure = '{"kind":"settings","message":"a\u0000b"}' WHERE ticket = 1"#,
    );
    assert_eq!(other.reopen("b", &[Kind::Settings], policy()).await.unwrap(), 2);
    drop(place);
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn a_copy_has_all_in_either_direction_and_what_waited_waits_as_long() {
    let place = Place::postgres();
    let (from, back) = (Place::sqlite(), Place::sqlite());
    let file = from.open().await;
    for (key, state) in [
        ("made", State::Created),
        ("cancelled", State::Cancelled),
        ("failed", State::Failed),
        ("unknown", State::Unknown),
        ("queued", State::Queued),
    ] {
        in_state(&file, key, state).await;
    }
    file.set_note("a", "1").await.unwrap();
    let database = place.open().await;
    let again = back.open().await;
    let copied = crate::store::copy(&*file, &*database).await.unwrap();
    assert_eq!((copied.incidents, copied.tickets), (5, 5));
    crate::store::copy(&*database, &*again).await.unwrap();
    let all = Filter { most: 100, ..Filter::default() };
    let soon = Duration::from_secs(20);
    for copy in [&database, &again] {
        for (job, of) in copy.list(&all).await.unwrap().iter().zip(file.list(&all).await.unwrap()) {
            assert_eq!((job.id, &job.key, job.state), (of.id, &of.key, of.state));
            assert_eq!((&job.ticket, &job.failure), (&of.ticket, &of.failure));
            assert_eq!((job.accepted_at, job.attempts), (of.accepted_at, of.attempts));
            let (due, due_then) = (job.due_at, of.due_at);
            assert!(
                due.zip(due_then).is_none_or(|(one, other)| one.apart(other) < soon),
                "{job:?}"
            );
            assert_eq!(due.is_some(), due_then.is_some());
            assert!(job.expires_at.apart(of.expires_at) < soon, "{job:?}");
            let tries = copy.attempts(job.id).await.unwrap();
            assert_eq!(tries, file.attempts(job.id).await.unwrap());
        }
        assert_eq!(copy.note("a").await.unwrap().as_deref(), Some("1"));
        let more = accept(copy, new("later")).await;
        assert!(more.new && more.job.id > 5, "numbers go on");
        assert!(!accept(copy, new("made")).await.new);
    }
    let error = crate::store::copy(&*file, &*database).await.unwrap_err().to_string();
    assert!(error.ends_with("has incidents already"), "{error}");
}

#[tokio::test]
#[ignore = "tests/real/postgres.sh runs it"]
async fn a_lease_that_is_renewed_keeps_others_away_and_one_that_has_ended_is_not_renewed() {
    with_two!(place, one, other);
    accept(&one, new("k")).await;
    let claim = claim_one(&one).await;
    let before = claim.until.get();
    // It would have ended.
    place.sql("UPDATE steps SET due = due - 50000");
    one.renew([claim.lease()].into(), 2 * LEASE).await.unwrap();
    assert!(claim.until.get() >= before + LEASE / 2, "it may make the ticket for longer");
    place.sql("UPDATE steps SET due = due - 60000");
    other.advance().await.unwrap();
    assert_eq!(other.get(claim.job.id).await.unwrap().unwrap().state, State::Creating);
    place.sql("UPDATE steps SET due = 1");
    other.advance().await.unwrap();
    let until = claim.until.get();
    one.renew([claim.lease()].into(), 3 * LEASE).await.unwrap();
    assert_eq!(claim.until.get(), until, "it is another one's to look for");
    assert_eq!(other.get(claim.job.id).await.unwrap().unwrap().state, State::Unknown);
}
