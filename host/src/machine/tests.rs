//! What each change of a ticket's state does, and refuses to do: a row for each behaviour.

use std::time::Duration;

use super::*;

const RETRY_FOR: Duration = Duration::from_secs(500);
const SETTLE: Duration = Duration::from_secs(10);
const POLICY: Policy = Policy { retry_for: RETRY_FOR, settle: SETTLE, least_tries: 3 };
const LEASE: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_secs(30);
const NOW: Moment = at(0);
const DOUBTS: [Doubt; 3] = [Doubt::None, Doubt::Look, Doubt::Ask];

/// There may be a ticket.
const UNKNOWN: Result = Result::Unknown(WAIT);

/// So many seconds from now.
const fn at(seconds: i64) -> Moment {
    Moment::from_millis(1_000_000 + seconds * 1000)
}

/// What was tried three times, and came to that long ago.
fn step(state: State, doubt: Doubt) -> Step {
    let due = match state {
        State::Queued | State::Unknown => Some(Moment::NOW),
        State::Creating => Some(at(20)),
        State::Created | State::Failed | State::Cancelled | State::Suppressed => None,
    };
    let (settled, expires) = (at(-90), at(100));
    Step {
        state,
        doubt,
        certain: false,
        settled,
        due,
        expires,
        lease: 3,
        tries: 3,
        tried_before: 0,
        settle: SETTLE,
        looks_and_writes: false,
    }
}

fn queued() -> Step {
    step(State::Queued, Doubt::None)
}

fn unknown() -> Step {
    step(State::Unknown, Doubt::Look)
}

/// One that is worked on.
fn creating(doubt: Doubt) -> Step {
    step(State::Creating, doubt)
}

fn failed(doubt: Doubt) -> Step {
    step(State::Failed, doubt)
}

/// It is certain that there is no ticket.
fn certain(step: Step) -> Step {
    Step { certain: true, ..step }
}

/// Its last claim was no try.
fn untried(step: Step) -> Step {
    Step { tries: 2, ..step }
}

/// It begins anew now.
fn anew(step: Step) -> Step {
    Step { due: Some(Moment::NOW), expires: NOW + RETRY_FOR, tried_before: step.tries, ..step }
}

fn due(seconds: i64, step: Step) -> Step {
    Step { due: Some(at(seconds)), ..step }
}

/// All that can be in a store.
fn all() -> impl Iterator<Item = Step> {
    let pairs = State::ALL.into_iter().flat_map(|state| DOUBTS.map(|doubt| step(state, doubt)));
    pairs.flat_map(|step| [step.clone(), certain(step)]).filter(is_valid)
}

/// What waits to be made certainly has no ticket; what is looked for may have one.
fn is_valid(step: &Step) -> bool {
    if step.certain && step.doubt != Doubt::None {
        return false;
    }
    match step.state {
        State::Queued => step.doubt == Doubt::None,
        State::Unknown => step.doubt == Doubt::Look,
        State::Created => step.doubt == Doubt::None,
        State::Creating | State::Suppressed => step.doubt != Doubt::Ask,
        State::Failed | State::Cancelled => true,
    }
}

/// Changes each row's step, of which this comes; or, where nothing is given, it is refused and nothing is changed.
#[track_caller]
fn check<Row: IntoIterator<Item = (&'static str, Step, Option<Step>)>>(
    change: impl Fn(&mut Step) -> bool,
    rows: Row,
) {
    for (name, before, expected) in rows {
        let mut after = before.clone();
        let done = change(&mut after);
        assert_eq!(done, expected.is_some(), "{name}: {before:?} became {after:?}");
        assert_eq!(after, expected.unwrap_or(before), "{name}");
    }
}

/// Whether a change that says nothing did something.
fn did(change: impl Fn(&mut Step)) -> impl Fn(&mut Step) -> bool {
    move |step| {
        let before = step.clone();
        change(step);
        *step != before
    }
}

fn settles(result: Result) -> impl Fn(&mut Step) -> bool {
    move |step| step.settle(3, result, NOW, POLICY)
}

#[test]
fn what_is_accepted_waits_for_its_turn_and_was_never_tried() {
    let step = Step::accepted(NOW, POLICY, true);
    assert!(step.is_ready());
    assert_eq!((step.state, step.doubt), (State::Queued, Doubt::None));
    assert_eq!((step.lease, step.tries, step.expires), (0, 0, NOW + RETRY_FOR));
}

#[test]
fn accepted_again() {
    let suppressed = || step(State::Suppressed, Doubt::None);
    let in_doubt = step(State::Suppressed, Doubt::Look);
    check(
        |step| step.accepted_again(false, NOW, POLICY),
        [
            ("what waits goes on", queued(), None),
            ("what is worked on goes on", creating(Doubt::None), None),
            ("what may have a ticket goes on", unknown(), None),
            ("what has its ticket keeps it", step(State::Created, Doubt::None), None),
            ("what failed stays so, unless that is wanted", failed(Doubt::None), None),
            ("a person's word stands", step(State::Cancelled, Doubt::None), None),
            ("what was suppressed is open again", suppressed(), Some(anew(queued()))),
            ("a doubt outlives being suppressed", in_doubt, Some(anew(unknown()))),
        ],
    );
    check(
        |step| step.accepted_again(true, NOW, POLICY),
        [
            ("what failed begins anew", failed(Doubt::None), Some(anew(queued()))),
            ("what failed in doubt is looked for", failed(Doubt::Look), Some(anew(unknown()))),
            ("what only a person can look for waits for them", failed(Doubt::Ask), None),
            ("what was suppressed is open again", suppressed(), Some(anew(queued()))),
            ("a person's word stands", step(State::Cancelled, Doubt::None), None),
            ("what has its ticket keeps it", step(State::Created, Doubt::None), None),
            ("what waits goes on", queued(), None),
        ],
    );
}

#[test]
fn reopened() {
    let early = Step { settled: at(6), ..failed(Doubt::Look) };
    let waits = Step { settled: at(6), ..due(6, anew(unknown())) };
    check(
        |step| step.reopen(NOW, POLICY),
        [
            ("what failed begins anew", failed(Doubt::None), Some(anew(queued()))),
            ("what failed in doubt is looked for", failed(Doubt::Look), Some(anew(unknown()))),
            ("what is in doubt since now is looked for after its time", early, Some(waits)),
            ("what only a person can look for waits for them", failed(Doubt::Ask), None),
            ("what waits goes on", due(30, queued()), None),
            ("what is worked on goes on", creating(Doubt::None), None),
            ("what may have a ticket goes on", due(30, unknown()), None),
            ("what has its ticket keeps it", step(State::Created, Doubt::None), None),
            ("a person's word stands", step(State::Cancelled, Doubt::None), None),
            ("what needs none still needs none", step(State::Suppressed, Doubt::None), None),
        ],
    );
}

#[test]
fn only_what_waits_and_is_due_can_be_claimed() {
    for step in all() {
        let waits = matches!(step.state, State::Queued | State::Unknown);
        assert_eq!(step.is_ready(), waits, "{step:?}");
        assert!(!due(0, step.clone()).is_ready(), "its time must be noticed first: {step:?}");
        assert!(!Step { due: None, ..step.clone() }.is_ready(), "{step:?}");
    }
}

#[test]
fn claimed() {
    let taken = |step: Step| Step { lease: 4, tries: 4, ..due(60, step) };
    check(
        did(|step| step.claim(NOW, LEASE, POLICY)),
        [
            ("it is worked on for a lease", queued(), Some(taken(creating(Doubt::None)))),
            (
                "what may have a ticket stays in doubt",
                unknown(),
                Some(taken(creating(Doubt::Look))),
            ),
        ],
    );
}

#[test]
fn settled_where_there_certainly_was_no_ticket() {
    let doubted = |step: Step| Step { settled: at(10), ..step };
    for (name, result, after) in [
        ("it has its ticket", Result::Created, step(State::Created, Doubt::None)),
        ("it is tried again", Result::Again(WAIT), due(30, queued())),
        ("it was no try", Result::Postponed(WAIT), untried(due(30, queued()))),
        ("there may be a ticket from now on", UNKNOWN, doubted(due(30, unknown()))),
        ("it is made at once after a search", Result::NoTicket, untried(certain(queued()))),
        ("it needs none", Result::Suppressed, step(State::Suppressed, Doubt::None)),
        ("a person is needed", Result::Failed, failed(Doubt::None)),
        ("only a person can look for it", Result::Lost, failed(Doubt::Ask)),
    ] {
        check(settles(result), [(name, creating(Doubt::None), Some(after))]);
    }
}

#[test]
fn settled_where_there_may_have_been_a_ticket() {
    for (name, result, after) in [
        ("the ticket was found", Result::Created, step(State::Created, Doubt::None)),
        ("there is certainly none", Result::NoTicket, certain(queued())),
        ("a search that failed doesn't end the doubt", Result::Again(WAIT), due(30, unknown())),
        (
            "a search that was no try doesn't either",
            Result::Postponed(WAIT),
            untried(due(30, unknown())),
        ),
        ("the doubt is as old as it was", UNKNOWN, due(30, unknown())),
        (
            "a doubt outlives being suppressed",
            Result::Suppressed,
            step(State::Suppressed, Doubt::Look),
        ),
        ("a failure doesn't end the doubt", Result::Failed, failed(Doubt::Look)),
        ("only a person can look for it", Result::Lost, failed(Doubt::Ask)),
    ] {
        check(settles(result), [(name, creating(Doubt::Look), Some(after))]);
    }
}

#[test]
fn who_holds_no_claim_or_an_older_one_ends_nothing() {
    for result in results() {
        for lease in [2, 4] {
            let refused = ("another claim", creating(Doubt::None), None);
            check(|step| step.settle(lease, result, NOW, POLICY), [refused]);
        }
        for step in all().filter(|step| step.state != State::Creating) {
            check(settles(result), [("its lease was taken for over", step, None)]);
        }
    }
}

fn results() -> [Result; 8] {
    [
        Result::Created,
        Result::Again(WAIT),
        Result::Postponed(WAIT),
        UNKNOWN,
        Result::NoTicket,
        Result::Suppressed,
        Result::Failed,
        Result::Lost,
    ]
}

#[test]
fn time_came_for_what_was_due() {
    let doubted = |step: Step| Step { settled: at(10), ..step };
    let over = |doubt| due(0, creating(doubt));
    check(
        did(|step| step.time_came(NOW)),
        [
            ("what waited can be claimed", due(0, queued()), Some(queued())),
            ("what is in doubt can be claimed", due(-5, unknown()), Some(unknown())),
            ("what is due later waits", due(1, queued()), None),
            ("a lease that isn't over holds", due(1, creating(Doubt::None)), None),
            ("a lease is over", over(Doubt::None), Some(doubted(due(10, unknown())))),
            ("a search's lease is over", over(Doubt::Look), Some(due(0, unknown()))),
            ("what can be claimed still can", queued(), None),
            ("what has its ticket has no time", step(State::Created, Doubt::None), None),
            ("what failed has no time", failed(Doubt::Look), None),
        ],
    );
}

#[test]
fn time_that_does_not_pass_ages_nothing() {
    let before = Step::accepted(NOW, POLICY, true);
    let mut step = before.clone();
    step.claim(NOW, LEASE, POLICY);
    let claimed = step.clone();
    step.time_came(NOW);
    assert_eq!(step, claimed);
    assert!(step.settle(1, Result::Again(WAIT), NOW, POLICY));
    let waiting = step.clone();
    for _ in 0..1000 {
        step.time_came(NOW);
    }
    assert_eq!(step, waiting);
    assert_eq!(step.expires, before.expires);
}

#[test]
fn who_held_a_claim_is_gone() {
    let doubted = |step: Step| Step { settled: at(10), ..step };
    check(
        did(|step| step.lease_over(NOW)),
        [
            (
                "a creation may have been sent",
                creating(Doubt::None),
                Some(due(10, doubted(unknown()))),
            ),
            ("a search changed nothing", creating(Doubt::Look), Some(due(0, unknown()))),
            ("what waits goes on", queued(), None),
            ("what may have a ticket goes on", unknown(), None),
            ("what failed stays so", failed(Doubt::Ask), None),
            ("what has its ticket keeps it", step(State::Created, Doubt::None), None),
        ],
    );
}

#[test]
fn given_up_by_a_try_that_failed_when_it_was_tried_for_long_enough() {
    let old = |step: Step| Step { expires: NOW, ..step };
    let doubted = |step: Step| Step { settled: at(10), ..step };
    for (name, result, doubt, after) in [
        ("it certainly has no ticket", Result::Again(WAIT), Doubt::None, failed(Doubt::None)),
        ("it was no try", Result::Postponed(WAIT), Doubt::None, untried(due(30, queued()))),
        ("nor was its search", Result::Postponed(WAIT), Doubt::Look, untried(due(30, unknown()))),
        ("it may have one from now on", UNKNOWN, Doubt::None, doubted(failed(Doubt::Look))),
        ("it may have one as before", UNKNOWN, Doubt::Look, failed(Doubt::Look)),
        ("there is none, and it is made", Result::NoTicket, Doubt::Look, certain(queued())),
        ("it has its ticket", Result::Created, Doubt::None, step(State::Created, Doubt::None)),
    ] {
        check(settles(result), [(name, old(creating(doubt)), Some(old(after)))]);
    }
    let later = Step { expires: at(1), ..creating(Doubt::None) };
    let waits = Step { expires: at(1), ..due(30, queued()) };
    let seldom = Step { tried_before: 1, ..old(creating(Doubt::None)) };
    let tried_again = Step { tried_before: 1, ..old(due(30, queued())) };
    check(
        settles(Result::Again(WAIT)),
        [
            ("it was not tried for long enough", later, Some(waits)),
            ("it was not tried often enough since it began anew", seldom, Some(tried_again)),
        ],
    );
    let mut waiting = old(due(0, queued()));
    waiting.time_came(at(1000));
    assert_eq!(waiting, old(queued()), "time alone gives nothing up");
}

#[test]
fn hastened() {
    let early = Step { settled: at(6), ..due(30, unknown()) };
    let settled = Step { settled: at(6), ..due(6, unknown()) };
    check(
        |step| step.hasten(NOW),
        [
            ("what waits is due", due(30, queued()), Some(queued())),
            ("what is in doubt is looked for", due(30, unknown()), Some(unknown())),
            ("but not too early", early, Some(settled)),
            ("what is due at once", queued(), None),
            ("what is worked on", creating(Doubt::None), None),
            ("what failed", failed(Doubt::None), None),
            ("what was cancelled", step(State::Cancelled, Doubt::None), None),
        ],
    );
}

#[test]
fn retried_by_a_person() {
    let early = |step: Step| Step { settled: at(6), ..step };
    let looks = |step: Step| Some(anew(Step { state: State::Unknown, ..step }));
    let makes = || Some(anew(queued()));
    check(
        |step| step.retry(NOW, POLICY).is_ok(),
        [
            ("what failed", failed(Doubt::None), makes()),
            ("what waits doesn't wait longer", due(30, queued()), makes()),
            ("what was cancelled", step(State::Cancelled, Doubt::None), makes()),
            ("what needs none, for once", step(State::Suppressed, Doubt::None), makes()),
            ("what is in doubt is looked for", due(30, unknown()), looks(unknown())),
            ("what failed in doubt is looked for", failed(Doubt::Look), looks(unknown())),
            ("what was cancelled in doubt", step(State::Cancelled, Doubt::Look), looks(unknown())),
            ("but not too early", early(unknown()), Some(early(due(6, anew(unknown()))))),
            ("what the person has looked for is certain", failed(Doubt::Ask), makes()),
            ("what is worked on goes on", creating(Doubt::None), None),
            ("what has its ticket keeps it", step(State::Created, Doubt::None), None),
        ],
    );
    let mut created = step(State::Created, Doubt::None);
    assert_eq!(created.retry(NOW, POLICY), Err(State::Created), "who asked is told why not");
}

#[test]
fn cancelled_by_a_person() {
    let cancelled = |doubt| Some(step(State::Cancelled, doubt));
    check(
        |step| step.cancel().is_ok(),
        [
            ("what waits", queued(), cancelled(Doubt::None)),
            ("what is in doubt stays so", unknown(), cancelled(Doubt::Look)),
            ("what failed", failed(Doubt::None), cancelled(Doubt::None)),
            ("what only a person can look for", failed(Doubt::Ask), cancelled(Doubt::Ask)),
            ("what is worked on goes on", creating(Doubt::None), None),
            ("what has its ticket keeps it", step(State::Created, Doubt::None), None),
            ("what was cancelled already", step(State::Cancelled, Doubt::None), None),
            ("what needs none anyhow", step(State::Suppressed, Doubt::None), None),
        ],
    );
    assert_eq!(creating(Doubt::None).cancel(), Err(State::Creating), "who asked is told why not");
}

#[test]
fn only_what_certainly_has_no_ticket_moves_to_another_backend() {
    check(
        |step| step.change_backend(NOW, POLICY),
        [
            ("what waits", due(30, queued()), Some(anew(queued()))),
            ("what failed is tried there", failed(Doubt::None), Some(anew(queued()))),
            ("what may have a ticket stays", unknown(), None),
            ("what failed in doubt stays", failed(Doubt::Look), None),
            ("what only a person can look for stays", failed(Doubt::Ask), None),
            ("what is worked on stays", creating(Doubt::None), None),
            ("a search stays", creating(Doubt::Look), None),
            ("what has its ticket stays", step(State::Created, Doubt::None), None),
            ("what was cancelled stays", step(State::Cancelled, Doubt::None), None),
            ("what needs none stays", step(State::Suppressed, Doubt::None), None),
        ],
    );
}

type Change = Box<dyn Fn(&mut Step)>;

/// All changes, each with what it is called.
fn changes() -> Vec<(String, Change)> {
    let mut changes: Vec<(String, Change)> = vec![
        ("accepted again".into(), Box::new(|step| _ = step.accepted_again(true, NOW, POLICY))),
        ("reopened".into(), Box::new(|step| _ = step.reopen(NOW, POLICY))),
        ("time came".into(), Box::new(|step| step.time_came(at(1000)))),
        ("lease over".into(), Box::new(|step| step.lease_over(NOW))),
        ("hastened".into(), Box::new(|step| _ = step.hasten(NOW))),
        ("retried".into(), Box::new(|step| _ = step.retry(NOW, POLICY))),
        ("cancelled".into(), Box::new(|step| _ = step.cancel())),
        ("moved".into(), Box::new(|step| _ = step.change_backend(NOW, POLICY))),
        (
            "claimed".into(),
            Box::new(|step| {
                if step.is_ready() {
                    step.claim(NOW, LEASE, POLICY);
                }
            }),
        ),
    ];
    for result in results() {
        let settle = move |step: &mut Step| _ = step.settle(3, result, NOW, POLICY);
        changes.push((format!("{result:?}"), Box::new(settle)));
        let last = move |step: &mut Step| _ = step.settle(3, result, at(1000), POLICY);
        changes.push((format!("{result:?} at last"), Box::new(last)));
    }
    changes
}

#[test]
fn whatever_happens_what_may_have_a_ticket_does_not_wait_to_be_made() {
    for before in all() {
        for (name, change) in changes() {
            let mut after = before.clone();
            change(&mut after);
            assert!(is_valid(&after), "{name}: {before:?} became {after:?}");
        }
    }
}

#[test]
fn only_a_ticket_a_search_or_a_person_ends_a_doubt() {
    for before in all().filter(|step| step.doubt != Doubt::None) {
        for (name, change) in changes() {
            let mut after = before.clone();
            change(&mut after);
            let ends = match name.as_str() {
                "Created" | "NoTicket" | "Created at last" | "NoTicket at last" => {
                    before.state == State::Creating
                }
                "retried" => before.doubt == Doubt::Ask,
                _ => false,
            };
            assert_eq!(after.doubt == Doubt::None, ends, "{name}: {before:?} became {after:?}");
        }
    }
}

#[test]
fn only_a_search_makes_it_certain_that_there_is_no_ticket() {
    for before in all() {
        for (name, change) in changes() {
            let mut after = before.clone();
            change(&mut after);
            let searched = name.starts_with("NoTicket") && before.state == State::Creating;
            let stays = match name.as_str() {
                // They begin anew, if they do anything.
                "accepted again" | "reopened" | "retried" | "moved" => after == before,
                "lease over" | "time came" => before.state != State::Creating,
                name if name.starts_with("Unknown") || name.starts_with("Lost") => {
                    before.state != State::Creating
                }
                _ => true,
            };
            let expected = searched || before.certain && stays;
            assert_eq!(after.certain, expected, "{name}: {before:?} became {after:?}");
        }
    }
}

#[test]
fn what_was_certain_is_not_when_the_store_is_opened_anew() {
    for before in all() {
        let mut after = before.clone();
        after.opened();
        assert_eq!(after, Step { certain: false, ..before });
    }
}

#[test]
fn a_doubt_that_goes_on_is_as_old_as_it_was() {
    for before in all().filter(|step| step.doubt == Doubt::Look) {
        for (name, change) in changes() {
            let mut after = before.clone();
            change(&mut after);
            assert_eq!(after.settled, before.settled, "{name}: {before:?} became {after:?}");
        }
    }
}

#[test]
fn a_moment_is_never_before_the_first_and_never_overflows() {
    assert_eq!(at(5).since(at(2)), Duration::from_secs(3));
    assert_eq!(at(2).since(at(5)), Duration::ZERO);
    assert_eq!((at(1) + Duration::MAX).millis(), i64::MAX);
    assert!(Moment::NOW < NOW);
}

#[test]
fn each_state_is_known_by_its_name() {
    for state in State::ALL {
        assert_eq!(State::of(state.name()), Some(state));
        let is_final = !matches!(state, State::Queued | State::Creating | State::Unknown);
        assert_eq!(state.is_final(), is_final, "{state:?}");
    }
    assert_eq!(State::of("no such state"), None);
}

#[test]
fn each_try_of_an_update_may_have_written_so_that_what_it_did_settles_anew() {
    let mut update = Step::of_update(at(0), POLICY);
    update.claim(at(0), LEASE, POLICY);
    assert!(update.settle(1, Result::Unknown(Duration::ZERO), at(1), POLICY));
    assert_eq!((update.state, update.settled), (State::Unknown, at(1) + SETTLE));
    update.due = Some(Moment::NOW);
    update.claim(at(50), LEASE, POLICY);
    update.lease_over(at(60));
    assert_eq!((update.doubt, update.settled), (Doubt::Look, at(60) + SETTLE));
    // The search for a ticket changes nothing about it.
    let mut creation = Step { settle: SETTLE, ..unknown() };
    let settled = creation.settled;
    creation.claim(at(50), LEASE, POLICY);
    creation.lease_over(at(60));
    assert_eq!(creation.settled, settled);
}

#[test]
fn a_person_says_which_ticket_it_is_unless_it_has_one_or_is_being_made() {
    for state in State::ALL {
        let mut adopted = step(state, Doubt::Ask);
        let expected = match state {
            State::Creating | State::Created => Err(state),
            _ => Ok(()),
        };
        assert_eq!(adopted.adopt(), expected);
        if expected.is_ok() {
            let is = (adopted.state, adopted.doubt, adopted.due);
            assert_eq!(is, (State::Created, Doubt::None, None));
        }
    }
}

#[test]
fn only_what_failed_is_overtaken() {
    for state in State::ALL {
        let mut overtaken = step(state, Doubt::None);
        overtaken.overtake();
        let expected = if state == State::Failed { State::Suppressed } else { state };
        assert_eq!(overtaken.state, expected);
    }
}
