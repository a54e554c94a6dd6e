//! What several hosts on one database do to each other. See `../tests.rs` for where these run.

use std::collections::HashSet;

use super::*;
use crate::store::tests::{
    LEASE, MINUTE, Place, accept, begun, claim_one, created, new, policy, term,
};
use crate::store::{Filter, New, Order, Outcome, Store, Timestamp, Which};

/// Runs a test with two hosts, where there is a server.
macro_rules! with_two {
    ($place:ident, $one:ident, $other:ident) => {
        let Some($place) = Place::postgres() else { return };
        let ($one, $other) = ($place.open().await, $place.open().await);
    };
}

#[tokio::test]
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
async fn others_hear_of_what_there_is_to_claim_and_nobody_of_what_he_says_himself() {
    with_two!(place, one, other);
    let hears = |store: Arc<dyn Store>| async move {
        tokio::time::timeout(Duration::from_secs(10), store.woken()).await.is_ok()
    };
    // Until it listens, which is soon after it was opened, it isn't told.
    while tokio::time::timeout(Duration::from_millis(50), other.woken()).await.is_err() {
        let id = accept(&one, new(&fastrand::u64(..).to_string())).await.job.id;
        one.order(id, Order::Cancel, policy()).await.unwrap();
    }
    let own = tokio::time::timeout(Duration::from_millis(300), one.woken());
    assert!(own.await.is_err(), "it knows that");
    accept(&other, new("k")).await;
    assert!(hears(one).await);
    drop(place);
}

#[tokio::test]
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

/// Whether a ticket of an incident that begins now, and is accepted now, is known not to be there.
async fn is_certain(store: &Arc<dyn Store>, key: &str, began_at: Option<Timestamp>) -> bool {
    let at_once = Some(term(LEASE, policy()));
    let new = New { began_at, ..new(key) };
    store.accept(new, policy(), at_once).await.unwrap().claim.unwrap().certain
}

#[tokio::test]
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
    let mut after = 0;
    while let Some(next) = one.prune(Duration::ZERO, after).await.unwrap() {
        after = next;
    }
    assert!(!is_certain(&other, "g", now()).await);
}

#[tokio::test]
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
async fn tables_of_a_newer_version_are_worked_on_if_they_say_that_this_one_can() {
    let Some(place) = Place::postgres() else { return };
    place.open().await.close().await;
    let Place::Postgres(options) = &place else { unreachable!("it was asked for") };
    for (newer, readable_by, refused) in [(2, 1, None), (2, 2, Some("doesn't know"))] {
        place.sql(&format!("UPDATE version SET version = {newer}, readable_by = {readable_by}"));
        for opened in [
            Postgres::open((**options).clone()).await,
            Postgres::look_at((**options).clone()).await,
        ] {
            let error = opened.err().map(|error| error.to_string());
            assert_eq!(error.is_some(), refused.is_some(), "{error:?}");
            assert!(error.is_none_or(|error| error.contains(refused.unwrap())));
        }
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_refused_with_what_to_do() {
    let Some(place) = Place::postgres() else { return };
    let Place::Postgres(options) = &place else { unreachable!("it was asked for") };
    let nowhere = (**options).clone().port(1);
    let missing = (**options).clone().database("not_there");
    for (options, said, help) in [
        ((**options).clone(), "has no tables of this version", "queue migrate --print"),
        (nowhere, "can't be reached", "is the database up"),
        (missing, "does not exist", "createdb"),
    ] {
        let error = crate::Error::from(Postgres::look_at(options).await.unwrap_err());
        assert!(error.message.contains(said), "{error}");
        assert!(error.help.as_ref().is_some_and(|text| text.contains(help)), "{:?}", error.help);
    }
}
