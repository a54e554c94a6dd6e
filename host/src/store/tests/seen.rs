//! What people look at: what failed, what came when, and which rows have a text in them.

use super::*;

over_both! {
    what_failed_is_told_by_backend_the_newest_first_with_why
    what_came_is_counted_by_minutes_and_states
    rows_are_found_by_a_text_in_their_incident_key_ticket_or_failure
    of_a_group_that_failed_only_those_are_retried_that_still_are
    what_a_try_asked_for_is_kept_with_it
}

async fn what_failed_is_told_by_backend_the_newest_first_with_why(place: Place) {
    let store = place.open().await;
    let failed =
        [in_state(&store, "1", State::Failed).await, in_state(&store, "2", State::Failed).await];
    in_state(&store, "3", State::Queued).await;
    let doubtful = accept(&store, New { level: 1, ..new("4") }).await.job.id;
    let lost = Outcome::Lost(failure(Kind::Plugin));
    store
        .settle(Arc::new(claim_one(&store).await), Timestamp::now(), lost, policy())
        .await
        .unwrap();
    let made = accept(&store, New { backend: "c".to_owned(), ..new("5") }).await.job.id;
    let one = term(LEASE, policy());
    let claim = store.claim("c", Which::All, 1, one).await.unwrap().remove(0);
    store.settle(Arc::new(claim), Timestamp::now(), created(), policy()).await.unwrap();
    store.add_update(made, Action::Close, "x".to_owned(), policy(), &by()).await.unwrap();
    place.sql("UPDATE updates SET state = 'failed'");
    let told = async |backend, most| {
        let failed = store.failed(backend, most).await.unwrap().into_iter();
        failed.map(|f| (f.ticket, f.action, f.doubtful)).collect::<Vec<_>>()
    };
    let all = [(doubtful, None, true), (failed[1], None, false), (failed[0], None, false)];
    assert_eq!(told("b", 10).await, all);
    assert_eq!(told("b", 1).await, all[..1]);
    assert_eq!(told("c", 10).await, [(made, Some(Action::Close), false)]);
    assert_eq!(told("d", 10).await, []);
    let why = store.failed("b", 1).await.unwrap().remove(0).failure.unwrap();
    assert_eq!(why.message, "the reason");
}

async fn what_came_is_counted_by_minutes_and_states(place: Place) {
    let store = place.open().await;
    let hour = Timestamp::from_millis(1_700_000_000_000);
    assert_eq!(store.minutes(hour).await.unwrap(), []);
    for key in 1..=9 {
        in_state(&store, &key.to_string(), State::Cancelled).await;
    }
    in_state(&store, "10", State::Failed).await;
    // A minute each, from ten minutes before that hour on.
    place.sql("UPDATE steps SET accepted_at = 1700000000000 - 360000 + ticket * 60000");
    let minutes = store.minutes(hour).await.unwrap();
    let of = |minute: &Minute| (minute.minute, minute.state, minute.rows);
    let first = 1_700_000_000_000 / 60_000;
    let expected: Vec<_> = (0..5)
        .map(|n| (first + n, if n == 4 { State::Failed } else { State::Cancelled }, 1))
        .collect();
    assert_eq!(minutes.iter().map(of).collect::<Vec<_>>(), expected);
    assert_eq!(minutes[0].backend, "b");
}

async fn rows_are_found_by_a_text_in_their_incident_key_ticket_or_failure(place: Place) {
    let store = place.open().await;
    let failed = in_state(&store, "failed", State::Failed).await;
    let with = |key: &str, incident: &str| New { incident: incident.to_owned(), ..new(key) };
    let one =
        accept(&store, with("nav\"#1", r#"{"description":"gw1 \"is\" Down 100% Tromsø"}"#)).await;
    let other = accept(&store, with("nav#2", r#"{"description":"gw2 is up 1000"}"#)).await;
    let ticket = Ticket { url: "https://t.org/NOC-7".to_owned(), ..Ticket::default() };
    store.adopt(other.job.id, ticket, &by()).await.unwrap();
    let long = format!("{{\"description\":\"gw9 {}\"}}", "x".repeat(65_536));
    accept(&store, with("long", &long)).await;
    let (one, other) = (one.job.id, other.job.id);
    let found = async |search: Search| {
        let Searched { jobs, next } = store.search(&search).await.unwrap();
        (jobs.into_iter().map(|job| job.id).collect::<Vec<_>>(), next)
    };
    let of = |text: &str| Search {
        text: text.to_owned(),
        before: i64::MAX,
        most: 10,
        ..Search::default()
    };
    for (text, expected) in [
        ("gw1", &[one][..]),
        ("GW1", &[one]),
        ("TROMSØ", &[one]),
        ("\"is\"", &[one]),
        ("nav\"#1", &[one]),
        ("100%", &[one]),
        ("g_1", &[]),
        ("nav#2", &[other]),
        ("noc-7", &[other]),
        ("The Reason", &[failed]),
        ("description", &[other, one]),
        // No more is read of an incident than a page can bear.
        ("gw9", &[]),
        ("long", &[other + 1]),
        ("\0", &[]),
    ] {
        assert_eq!(found(of(text)).await, (expected.to_vec(), None), "{text:?}");
    }
    assert_eq!(found(Search { most: 1, ..of("gw") }).await, (vec![other], Some(other)));
    assert_eq!(found(Search { before: other, ..of("gw") }).await, (vec![one], None));
    assert_eq!(found(Search { state: Some(State::Created), ..of("gw") }).await.0, [other]);
    assert_eq!(found(Search { backend: Some("c".to_owned()), ..of("gw") }).await.0.len(), 0);
    assert_eq!(found(Search { backend: Some("\0".to_owned()), ..of("gw") }).await.0.len(), 0);
    assert_eq!(found(Search { step: Some(State::Failed), ..of("gw") }).await.0.len(), 0);
    store.add_update(other, Action::Close, "x".to_owned(), policy(), &by()).await.unwrap();
    assert_eq!(found(Search { step: Some(State::Queued), ..of("gw") }).await.0, [other]);
    let nul = Filter { backend: Some("\0".to_owned()), most: 1, ..Filter::default() };
    assert_eq!(store.list(&nul).await.unwrap(), []);
    let (told, none) = (store.incident(other).await.unwrap(), store.incident(99).await.unwrap());
    assert_eq!((told.unwrap().as_str(), none), (r#"{"description":"gw2 is up 1000"}"#, None));
    let short = store.incidents(&[one, other, other + 1, 99]).await.unwrap();
    assert_eq!(short.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [one, other]);
}

async fn of_a_group_that_failed_only_those_are_retried_that_still_are(place: Place) {
    let store = place.open().await;
    let one = in_state(&store, "1", State::Failed).await;
    let other = in_state(&store, "2", State::Failed).await;
    let made = in_state(&store, "3", State::Created).await;
    for said in ["first", "second"] {
        store.add_update(made, Action::Comment, said.to_owned(), policy(), &by()).await.unwrap();
    }
    place.sql("UPDATE updates SET state = 'failed'");
    let failed = store.failed("b", 10).await.unwrap();
    assert_eq!(failed.len(), 4);
    // One was cancelled by somebody else since it was looked at, and one step isn't of the group.
    store.order(other, Order::Cancel, policy(), &by()).await.unwrap();
    let group: Vec<Failed> =
        failed.into_iter().filter(|f| f.action.is_none() || f.step == 1).collect();
    assert_eq!(store.retry_failed(&group, policy(), &by()).await.unwrap(), 2);
    let state = async |id| store.get(id).await.unwrap().unwrap().state;
    assert_eq!((state(one).await, state(other).await), (State::Queued, State::Cancelled));
    let steps = store.life(made).await.unwrap().updates;
    let states: Vec<State> = steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [State::Queued, State::Failed]);
    assert_eq!(store.retry_failed(&group, policy(), &by()).await.unwrap(), 0);
    let which = Entries { ticket: Some(made), most: 9, ..Entries::default() };
    let told = store.deeds(&which).await.unwrap();
    assert_eq!((told[0].what.as_str(), told[0].detail.as_str()), ("retry", "it was failed"));
}

async fn what_a_try_asked_for_is_kept_with_it(place: Place) {
    let store = place.open().await;
    let id = accept(&store, new("k")).await.job.id;
    let try_once = async |outcome, requests: &[&str]| {
        let claim = claim_one(&store).await;
        requests.iter().for_each(|request| claim.requests.add(request, "201", LEASE));
        store.settle(Arc::new(claim), Timestamp::now(), outcome, policy()).await.unwrap();
    };
    let again = Outcome::Again { after: Duration::ZERO, failure: failure(Kind::Client) };
    try_once(again, &[]).await;
    store.advance().await.unwrap();
    try_once(created(), &["GET https://t.org/", "POST https://t.org/"]).await;
    let tries = store.attempts(id).await.unwrap();
    assert_eq!(tries[0].requests, None);
    let kept = &tries[1].requests.as_ref().unwrap().kept;
    let sent = |request: &str| (request.to_owned(), "201".to_owned(), 60_000);
    let told: Vec<_> =
        kept.iter().map(|s| (s.request.clone(), s.came.clone(), s.took_ms)).collect();
    assert_eq!(told, [sent("GET https://t.org/"), sent("POST https://t.org/")]);
}
