use super::*;
use Plan::{Do, Note, Rest, Successor, Wait};
use ticket_plugin_api::TicketState::{Cancelled, Closed, Foreign, Gone, Open, Unknown};

const QUIET: Duration = Duration::from_secs(900);
const CLOSE_AFTER: Duration = Duration::from_secs(600);
const REOPEN_WITHIN: Duration = Duration::from_secs(86_400);
const NOW: Moment = Moment::from_millis(1_000_000_000);
const ALL: [Action; 3] = [Action::Comment, Action::Close, Action::Reopen];

fn snapshot(open: bool, level: i64) -> Snapshot {
    Snapshot { open, level: Some(level), description: "x".to_owned(), rest: None }
}

fn known(told: Snapshot, state: TicketState) -> Known {
    Known { told, told_at: None, turned_at: None, state, since: NOW - QUIET, is_pasted: false }
}

fn terms(on_end: OnEnd) -> Terms {
    let policy = Policy {
        on_end,
        quiet: QUIET,
        close_after: CLOSE_AFTER,
        reopen_within: REOPEN_WITHIN,
        ..Policy::default()
    };
    Terms { policy, actions: ALL.to_vec() }
}

/// What is planned for a ticket that was told the first, in that state, when its incident is as the second says and ended now, if it did.
#[track_caller]
fn plans(told: Snapshot, state: TicketState, now_is: Snapshot, terms: &Terms, expected: Plan) {
    let plan = plan(&known(told.clone(), state), &now_is, NOW, terms, NOW);
    assert_eq!(plan, expected, "{told:?} {state:?} {now_is:?}");
}

#[test]
fn an_incident_hears_of_its_ticket_as_the_operator_wants_and_of_the_states_that_he_names() {
    use OnTicketClosed::{Ack, End, Nothing};
    let gone_too = BTreeSet::from([ClosedState::Closed, ClosedState::Gone]);
    for (on_ticket_closed, states, expected) in [
        (Nothing, None, [Nothing; 6]),
        (Ack, None, [Nothing, Ack, Ack, Nothing, Nothing, Nothing]),
        (End, Some(gone_too), [Nothing, End, Nothing, End, Nothing, Nothing]),
        (End, Some(BTreeSet::new()), [Nothing; 6]),
    ] {
        let default = Policy { on_ticket_closed, ..Policy::default() };
        let policy = Policy { closed_states: states.unwrap_or(default.closed_states), ..default };
        let becomes =
            [Open, Closed, Cancelled, Gone, Foreign, Unknown].map(|state| policy.of_closed(state));
        assert_eq!(becomes, expected, "{on_ticket_closed:?} {:?}", policy.closed_states);
    }
}

#[test]
fn a_ticket_that_a_person_gave_is_commented_on_and_closed_only_where_the_operator_says_so() {
    use OnTicketPasted::{Close, Comment, Nothing};
    let (open, worse, ended) = (snapshot(true, 3), snapshot(true, 1), snapshot(false, 3));
    for (on_ticket_pasted, change, end, again) in [
        (Nothing, Note, Note, Note),
        (Comment, Do(Action::Comment), Do(Action::Comment), Successor),
        (Close, Do(Action::Comment), Do(Action::Close), Do(Action::Reopen)),
    ] {
        let of_close = terms(OnEnd::Close);
        let policy = Policy { on_ticket_pasted, close_after: Duration::ZERO, ..of_close.policy };
        let terms = Terms { policy, ..of_close };
        for (told, state, now_is, expected) in [
            (&open, Open, &worse, change),
            (&open, Open, &ended, end),
            (&ended, Closed, &open, again),
            (&ended, Foreign, &open, Note),
        ] {
            let known = Known { is_pasted: true, ..known(told.clone(), state) };
            let planned = plan(&known, now_is, NOW, &terms, NOW);
            assert_eq!(planned, expected, "{on_ticket_pasted:?} {state:?} {now_is:?}");
        }
    }
}

#[test]
fn what_was_told_is_not_told_again_whatever_the_ticket_is() {
    for state in [Open, Closed, Cancelled, Gone, Foreign, Unknown] {
        for open in [true, false] {
            plans(snapshot(open, 3), state, snapshot(open, 3), &terms(OnEnd::Close), Rest);
        }
    }
}

#[test]
fn a_change_is_a_comment_on_an_open_ticket_and_on_no_other() {
    for (state, expected) in [
        (Open, Do(Action::Comment)),
        (Unknown, Do(Action::Comment)),
        (Closed, Note),
        (Cancelled, Note),
        (Gone, Note),
        (Foreign, Note),
    ] {
        plans(snapshot(true, 3), state, snapshot(true, 1), &terms(OnEnd::Comment), expected);
    }
    let silent = Terms {
        policy: Policy { on_change: OnChange::Nothing, ..Policy::default() },
        ..terms(OnEnd::Comment)
    };
    plans(snapshot(true, 3), Open, snapshot(true, 1), &silent, Note);
    // What an ended incident says is no news.
    plans(snapshot(false, 3), Open, snapshot(false, 1), &terms(OnEnd::Comment), Note);
}

#[test]
fn changes_that_come_soon_after_each_other_are_one_comment() {
    let terms = terms(OnEnd::Comment);
    let change = |told_at| {
        let known = Known { told_at, ..known(snapshot(true, 3), Open) };
        plan(&known, &snapshot(true, 1), NOW, &terms, NOW)
    };
    assert_eq!(change(Some(NOW - QUIET)), Do(Action::Comment));
    let last = NOW - QUIET / 3;
    assert_eq!(change(Some(last)), Wait(last + QUIET));
    assert_eq!(change(None), Do(Action::Comment), "the first is told at once");
}

#[test]
fn an_end_is_told_at_once_also_soon_after_a_change_and_not_soon_after_another_end() {
    let terms = terms(OnEnd::Comment);
    let end = |known: Known| plan(&known, &snapshot(false, 3), NOW, &terms, NOW);
    let open = known(snapshot(true, 3), Open);
    let just_told = Known { told_at: Some(NOW), ..open.clone() };
    assert_eq!(end(just_told), Do(Action::Comment));
    let flaps = Known { turned_at: Some(NOW), ..open };
    assert_eq!(end(flaps), Wait(NOW + QUIET));
    let ended = Known { turned_at: Some(NOW), ..known(snapshot(false, 3), Open) };
    assert_eq!(plan(&ended, &snapshot(true, 3), NOW, &terms, NOW), Wait(NOW + QUIET));
}

#[test]
fn a_ticket_is_closed_when_its_incident_has_been_ended_for_long_enough() {
    let terms = terms(OnEnd::Close);
    let open = known(snapshot(true, 3), Open);
    let ended = |ago| plan(&open, &snapshot(false, 3), NOW - ago, &terms, NOW);
    assert_eq!(ended(Duration::ZERO), Wait(NOW + CLOSE_AFTER));
    assert_eq!(ended(CLOSE_AFTER), Do(Action::Close));
    assert_eq!(
        plan(&open, &snapshot(true, 3), NOW - CLOSE_AFTER, &terms, NOW),
        Rest,
        "it began again"
    );
}

#[test]
fn nothing_is_done_that_the_operator_does_not_want_or_the_plugin_cannot_do() {
    let (open, ended) = (snapshot(true, 3), snapshot(false, 3));
    for (on_end, actions, end, beginning) in [
        (OnEnd::Nothing, &ALL[..], Note, Note),
        (OnEnd::Comment, &[], Note, Note),
        (OnEnd::Close, &[], Note, Note),
        (OnEnd::Close, &[Action::Comment], Do(Action::Comment), Do(Action::Comment)),
    ] {
        let terms = Terms { actions: actions.to_vec(), ..terms(on_end) };
        plans(open.clone(), Open, ended.clone(), &terms, end);
        plans(ended.clone(), Open, open.clone(), &terms, beginning);
    }
    let nothing =
        Policy { on_change: OnChange::Nothing, on_end: OnEnd::Nothing, ..Policy::default() };
    let nothing = Terms { policy: nothing, actions: ALL.to_vec() };
    for terms in [nothing, terms(OnEnd::Nothing)] {
        for state in [Open, Closed, Gone] {
            plans(ended.clone(), state, open.clone(), &terms, Note);
        }
    }
}

#[test]
fn an_incident_that_begins_again_opens_its_ticket_or_gets_a_new_one() {
    let (ended, open) = (snapshot(false, 3), snapshot(true, 3));
    for on_end in [OnEnd::Comment, OnEnd::Close] {
        let terms = terms(on_end);
        plans(ended.clone(), Open, open.clone(), &terms, Do(Action::Comment));
        plans(ended.clone(), Closed, open.clone(), &terms, Do(Action::Reopen));
        plans(ended.clone(), Cancelled, open.clone(), &terms, Successor);
        plans(ended.clone(), Gone, open.clone(), &terms, Successor);
        plans(ended.clone(), Foreign, open.clone(), &terms, Successor);
    }
    let terms = terms(OnEnd::Close);
    let closed = |ago| Known { since: NOW - ago, ..known(ended.clone(), Closed) };
    let again = |known: &Known, terms: &Terms| plan(known, &open, NOW, terms, NOW);
    assert_eq!(again(&closed(REOPEN_WITHIN), &terms), Successor);
    let unable = Terms { actions: vec![Action::Comment, Action::Close], ..terms.clone() };
    assert_eq!(again(&closed(Duration::ZERO), &unable), Successor);
    let never = Policy { never_reopen: BTreeSet::from([NeverReopen::Closed]), ..terms.policy };
    let never = Terms { policy: never, ..terms };
    assert_eq!(again(&closed(Duration::ZERO), &never), Successor);
    plans(ended, Cancelled, open, &never, Do(Action::Reopen));
}

#[test]
fn a_person_who_closed_the_ticket_is_not_written_to_but_the_end_is_known() {
    plans(snapshot(true, 3), Closed, snapshot(false, 3), &terms(OnEnd::Close), Note);
}

#[test]
fn a_difference_names_what_changed_and_nothing_else() {
    let before = Snapshot::of(r#"{"level": 3, "description": "slow", "pk": 1}"#, true);
    let after = Snapshot::of(r#"{"level": 1, "description": "slow", "pk": 2}"#, false);
    let diff = after.diff(&before);
    let names: Vec<&str> = diff.keys().map(String::as_str).collect();
    assert_eq!(names, ["level", "open"]);
    assert_eq!((&diff["level"].from, &diff["level"].to), (&3.into(), &1.into()));
    assert!(before.diff(&before).is_empty());
    let long = |end: &str| {
        Snapshot::of(&format!(r#"{{"description": "{}{end}"}}"#, "x".repeat(9000)), true)
    };
    assert!(long("a").description.len() < (2 << 10) + 100);
    assert_eq!(long("a"), long("a"));
    assert_eq!(long("a").diff(&long("b")).keys().collect::<Vec<_>>(), ["description"]);
    let odd = Snapshot::of(r#"{"level": "high", "description": 7}"#, true);
    assert_eq!(odd, Snapshot { open: true, ..Snapshot::default() });
}

#[test]
fn a_ticket_that_was_closed_long_ago_may_be_open_again_and_is_looked_at() {
    let terms = terms(OnEnd::Comment);
    let closed = |ago| Known { since: NOW - ago, ..known(snapshot(true, 3), Closed) };
    for (ago, expected) in [(TRUST / 2, Note), (TRUST, Do(Action::Comment))] {
        for now_is in [snapshot(true, 1), snapshot(false, 3)] {
            assert_eq!(plan(&closed(ago), &now_is, NOW, &terms, NOW), expected, "{ago:?}");
        }
    }
    let ended = Known { told: snapshot(false, 3), ..closed(TRUST) };
    assert_eq!(plan(&ended, &snapshot(true, 3), NOW, &terms, NOW), Do(Action::Reopen));
}
