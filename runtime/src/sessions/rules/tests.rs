use std::time::Duration;

use super::*;
use crate::db::DbError;

type Calls = Rules<u32>;

fn id(number: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(number).unwrap()
}

fn root(number: u8) -> Hash {
    Hash([number; 32])
}

fn full() -> RecordError {
    DbError::Write { path: "sessions".into(), reason: crate::DbFault::Closed }.into()
}

fn unfit() -> RecordError {
    DbError::Encode(serde_json::from_str::<u8>("x").unwrap_err()).into()
}

/// All actions, except those that only inform.
fn todo(rules: &mut Calls) -> Vec<Action<u32>> {
    let mut actions = Vec::new();
    while let Some(action) = rules.poll_action() {
        if !matches!(action, Action::Show { .. } | Action::Dismiss { .. }) {
            actions.push(action);
        }
    }
    actions
}

fn record(number: u64, lane: Lane, epoch: u64) -> Action<u32> {
    Action::Record { session: id(number), lane, epoch }
}

/// Active sessions with these numbers. The root of each is made from its number.
fn active(numbers: &[u64]) -> Calls {
    let (mut rules, now) = (Rules::new(numbers.len()), Instant::now());
    for number in numbers {
        rules.start(id(*number), Hold::Turn, 0);
        rules.handle_recorded(now, None, id(*number), Ok(()));
        rules.planned(id(*number), root(*number as u8));
        rules.handle_recorded(now, Some(root(*number as u8)), id(*number), Ok(()));
    }
    todo(&mut rules);
    rules
}

#[test]
fn a_session_begins_and_its_call_is_answered_when_its_record_is_durable() {
    let (mut rules, now) = (Rules::new(1), Instant::now());
    rules.start(id(7), Hold::Turn, 1);
    assert_eq!(todo(&mut rules), [record(7, None, 0)]);
    assert!(rules.standing(id(7)).is_recording);
    rules.start_again(id(7), 2);
    rules.changed(id(7));
    assert_eq!(todo(&mut rules), [], "one record of a session is written at a time");
    rules.handle_recorded(now, None, id(7), Ok(()));
    let started = |call| Action::Answer { call, outcome: Outcome::Started(id(7)) };
    let begin = Action::Begin { session: id(7), epoch: 1 };
    assert_eq!(todo(&mut rules), [started(1), started(2), record(7, None, 0), begin]);
    assert!(rules.standing(id(7)).is_recording, "what changed meanwhile is not shown either");
    rules.handle_recorded(now, None, id(7), Ok(()));
    assert!(!rules.standing(id(7)).is_recording);
    rules.start_again(id(7), 3);
    assert_eq!(todo(&mut rules), [started(3)]);
}

#[test]
fn a_record_that_cannot_be_written_is_told_and_tried_again() {
    let (mut rules, now) = (Rules::new(1), Instant::now());
    rules.start(id(7), Hold::Turn, 1);
    todo(&mut rules);
    let error = full();
    rules.handle_recorded(now, None, id(7), Err(error.clone()));
    assert_eq!(todo(&mut rules), [Action::Answer { call: 1, outcome: Outcome::Started(id(7)) }]);
    let next = Some(now + RECORD_RETRY);
    assert_eq!(rules.standing(id(7)).unwritten, Some(&Unwritten { since: now, next, error }));
    assert_eq!(rules.poll_timeout(), next);
    rules.handle_timeout(now + RECORD_RETRY - Duration::from_millis(1));
    assert_eq!(todo(&mut rules), [], "it is not its time yet, and there is no turn before it is recorded");
    rules.handle_timeout(now + RECORD_RETRY);
    assert_eq!((todo(&mut rules), rules.poll_timeout()), (vec![record(7, None, 0)], None));
    rules.handle_recorded(now + RECORD_RETRY, None, id(7), Ok(()));
    assert_eq!(todo(&mut rules), [Action::Begin { session: id(7), epoch: 1 }]);
    assert!(rules.standing(id(7)).unwritten.is_none());
    // If the session is active, its download is told.
    rules.changed(id(7));
    todo(&mut rules);
    let error = full();
    rules.handle_recorded(now, None, id(7), Err(error.clone()));
    assert_eq!(todo(&mut rules), [Action::Paused { session: id(7), error }]);
}

#[test]
fn a_session_that_can_never_be_recorded_does_not_exist() {
    let (mut rules, now) = (Rules::new(1), Instant::now());
    rules.start(id(7), Hold::Turn, 1);
    rules.start_again(id(7), 2);
    todo(&mut rules);
    let error = unfit();
    rules.handle_recorded(now, None, id(7), Err(error.clone()));
    let refused = |call| Action::Answer { call, outcome: Outcome::NotRecorded(error.clone()) };
    assert_eq!(todo(&mut rules), [Action::Drop { session: id(7) }, refused(1), refused(2)]);
    assert!(!rules.is_taken(id(7)));
    let mut rules = active(&[7]);
    rules.changed(id(7));
    todo(&mut rules);
    rules.handle_recorded(now, Some(root(7)), id(7), Err(error.clone()));
    assert_eq!(todo(&mut rules), [Action::Unrecordable { session: id(7), error }]);
}

#[test]
fn turns_go_to_the_lowest_ids_and_pass_on_when_an_end_is_durable() {
    let (mut rules, now) = (Calls::new(2), Instant::now());
    for number in [5, 3, 9] {
        assert!(rules.load(id(number), Loaded::Held(Hold::Turn), Some(root(number as u8))));
    }
    assert!(rules.load(id(1), Loaded::Held(Hold::Operator), None));
    let begin = |number| Action::Begin { session: id(number), epoch: 1 };
    assert_eq!(todo(&mut rules), [begin(3), begin(5)]);
    assert_eq!(rules.standing(id(9)).hold, Some(Hold::Turn));
    assert_eq!(rules.standing(id(1)).hold, Some(Hold::Operator));
    rules.ended(id(5), true);
    assert_eq!(todo(&mut rules), [record(5, Some(root(5)), 1)]);
    rules.handle_recorded(now, Some(root(5)), id(5), Ok(()));
    assert_eq!(todo(&mut rules), [Action::Retire { session: id(5) }, begin(9)]);
    rules.resume(id(1));
    assert_eq!(todo(&mut rules), [Action::Retire { session: id(1) }, record(1, None, 0)], "it waits for its turn");
    assert_eq!(rules.standing(id(1)).hold, Some(Hold::Turn));
}

#[test]
fn an_end_is_over_when_its_newest_record_is_durable() {
    let (mut rules, now) = (active(&[7]), Instant::now());
    rules.changed(id(7));
    rules.ended(id(7), false);
    assert_eq!(todo(&mut rules), [record(7, Some(root(7)), 1)]);
    rules.handle_recorded(now, Some(root(7)), id(7), Ok(()));
    assert_eq!(todo(&mut rules), [record(7, Some(root(7)), 1)], "the record that was under way did not have the end");
    assert!(!rules.is_evictable(id(7)));
    rules.handle_recorded(now, Some(root(7)), id(7), Ok(()));
    assert_eq!(todo(&mut rules), [Action::Retire { session: id(7) }]);
    assert!(rules.is_evictable(id(7)));
}

#[test]
fn one_session_writes_a_root() {
    let (mut rules, now) = (active(&[7, 8]), Instant::now());
    rules.planned(id(8), root(7));
    rules.handle_recorded(now, Some(root(7)), id(8), Ok(()));
    todo(&mut rules);
    rules.open(id(7));
    assert_eq!(todo(&mut rules), [Action::Open { session: id(7), root: root(7), epoch: 1 }]);
    rules.open(id(8));
    assert_eq!(todo(&mut rules), [Action::HeldBy { session: id(8), holder: id(7) }]);
    rules.handle_opened(Some(root(7)), id(7), true);
    // Trouble with the disk closes the payload, but the session still holds the root.
    rules.handle_trouble(Some(root(7)), id(7));
    rules.open(id(8));
    assert_eq!(todo(&mut rules), [Action::HeldBy { session: id(8), holder: id(7) }]);
    rules.open(id(7));
    rules.handle_opened(Some(root(7)), id(7), true);
    rules.ended(id(7), false);
    todo(&mut rules);
    rules.open(id(8));
    assert_eq!(todo(&mut rules), [Action::HeldBy { session: id(8), holder: id(7) }], "its end is not durable yet");
    rules.handle_recorded(now, Some(root(7)), id(7), Ok(()));
    let close = Action::Close { session: id(7), root: root(7) };
    assert_eq!(todo(&mut rules), [close, Action::Retire { session: id(7) }]);
    rules.open(id(8));
    assert_eq!(todo(&mut rules), [Action::Open { session: id(8), root: root(7), epoch: 1 }], "after the closing");
}

#[test]
fn a_worker_is_dismissed_with_empty_hands() {
    let (mut rules, now, lane) = (active(&[7]), Instant::now(), Some(root(7)));
    let dismissed = |rules: &mut Calls| {
        let mut found = false;
        while let Some(action) = rules.poll_action() {
            found |= matches!(action, Action::Dismiss { lane: of } if of == lane);
        }
        found
    };
    rules.open(id(7));
    rules.changed(id(7));
    rules.handle_recorded(now, lane, id(7), Ok(()));
    assert!(!dismissed(&mut rules), "the opening is under way");
    rules.handle_opened(lane, id(7), true);
    assert!(!dismissed(&mut rules), "it is open");
    rules.ended(id(7), true);
    rules.handle_recorded(now, lane, id(7), Ok(()));
    assert!(!dismissed(&mut rules), "the closing is under way");
    rules.handle_closed(lane, id(7));
    assert!(dismissed(&mut rules));
    // An opening that is requested while the payload is still being closed is carried out.
    rules.resume(id(7));
    rules.handle_recorded(now, lane, id(7), Ok(()));
    todo(&mut rules);
    rules.open(id(7));
    rules.ended(id(7), false);
    rules.handle_recorded(now, lane, id(7), Ok(()));
    rules.resume(id(7));
    rules.handle_recorded(now, lane, id(7), Ok(()));
    rules.open(id(7));
    rules.handle_opened(lane, id(7), true);
    rules.handle_closed(lane, id(7));
    assert!(!dismissed(&mut rules), "the second opening is under way");
    rules.handle_closed(lane, id(7));
    rules.handle_opened(lane, id(7), false);
    assert!(dismissed(&mut rules), "nothing is open");
}

#[test]
fn a_removal_waits_for_the_record_that_is_under_way() {
    let (mut rules, now) = (active(&[7]), Instant::now());
    rules.changed(id(7));
    todo(&mut rules);
    assert!(rules.cancel(id(7), 1, true));
    assert_eq!(todo(&mut rules), [], "what is written after the removal would come back");
    assert!(rules.is_taken(id(7)), "its id is not given away before it is gone");
    rules.handle_recorded(now, Some(root(7)), id(7), Ok(()));
    assert_eq!(todo(&mut rules), [Action::Remove { session: id(7), lane: Some(root(7)), payload: true }]);
    rules.handle_removed(Some(root(7)), id(7), Ok(()));
    let removed = Action::Answer { call: 1, outcome: Outcome::Removed };
    assert_eq!(todo(&mut rules), [removed, Action::Removed { session: id(7) }]);
    assert!(!rules.is_taken(id(7)));
}

#[test]
fn a_payload_stays_while_another_session_needs_it() {
    let (mut rules, now, lane) = (active(&[7, 8]), Instant::now(), Some(root(7)));
    rules.planned(id(8), root(7));
    rules.handle_recorded(now, lane, id(8), Ok(()));
    rules.open(id(7));
    rules.handle_opened(lane, id(7), true);
    todo(&mut rules);
    rules.cancel(id(7), 1, true);
    assert_eq!(todo(&mut rules), [Action::Remove { session: id(7), lane, payload: false }]);
    rules.open(id(8));
    assert_eq!(todo(&mut rules), [Action::Open { session: id(8), root: root(7), epoch: 1 }], "it is free at once");
    rules.handle_removed(lane, id(7), Ok(()));
    rules.handle_opened(lane, id(8), true);
    rules.ended(id(8), true);
    rules.handle_recorded(now, lane, id(8), Ok(()));
    todo(&mut rules);
    rules.cancel(id(8), 2, true);
    assert_eq!(todo(&mut rules), [Action::Remove { session: id(8), lane, payload: false }], "what is stored stays");
}

#[test]
fn a_session_cancelled_before_the_database_could_be_read_does_not_turn_up() {
    let (mut rules, now) = (Calls::new(1), Instant::now());
    rules.load(id(7), Loaded::Held(Hold::Operator), Some(root(7)));
    assert!(rules.cancel(id(7), 1, false));
    todo(&mut rules);
    assert!(!rules.load(id(7), Loaded::Held(Hold::Turn), Some(root(7))), "its removal is under way");
    rules.handle_removed(Some(root(7)), id(7), Ok(()));
    assert!(!rules.load(id(7), Loaded::Held(Hold::Turn), Some(root(7))));
    assert!(rules.load(id(7), Loaded::Held(Hold::Turn), Some(root(7))), "it is remembered for one look");
    let _ = now;
}

#[test]
fn what_nobody_was_told_of_cannot_be_cancelled() {
    let (mut rules, now) = (Calls::new(1), Instant::now());
    rules.start(id(7), Hold::Turn, 1);
    todo(&mut rules);
    let unknown = |call| Action::Answer { call, outcome: Outcome::Unknown(id(7)) };
    assert!(!rules.cancel(id(7), 2, true));
    assert_eq!(todo(&mut rules), [unknown(2)]);
    rules.handle_recorded(now, None, id(7), Err(full()));
    todo(&mut rules);
    assert!(rules.cancel(id(7), 3, true), "its caller knows it by now");
    assert_eq!(todo(&mut rules), [Action::Remove { session: id(7), lane: None, payload: false }]);
    rules.handle_removed(None, id(7), Ok(()));
    todo(&mut rules);
    assert!(!rules.cancel(id(7), 4, true));
    assert_eq!(todo(&mut rules), [unknown(4)]);
}

#[test]
fn a_session_that_waits_may_be_given_up() {
    let mut rules = Calls::new(0);
    rules.load(id(7), Loaded::Held(Hold::Turn), None);
    rules.give_up(id(7));
    assert_eq!(todo(&mut rules), [record(7, None, 0)]);
    assert_eq!(rules.standing(id(7)).hold, None);
    rules.handle_recorded(Instant::now(), None, id(7), Ok(()));
    assert!(rules.is_evictable(id(7)));
    rules.evict(id(7));
    assert_eq!(todo(&mut rules), [Action::Remove { session: id(7), lane: None, payload: false }]);
}

#[test]
fn a_session_without_a_provider_waits_for_one_and_gives_back_its_turn_and_root() {
    let (mut rules, now, lane) = (Calls::new(1), Instant::now(), Some(root(7)));
    rules.start(id(7), Hold::Seek, 1);
    rules.handle_recorded(now, None, id(7), Ok(()));
    todo(&mut rules);
    assert_eq!(rules.standing(id(7)).hold, Some(Hold::Seek));
    rules.found(id(7));
    assert_eq!(todo(&mut rules), [record(7, None, 0), Action::Begin { session: id(7), epoch: 1 }]);
    rules.handle_recorded(now, None, id(7), Ok(()));
    rules.planned(id(7), root(7));
    rules.handle_recorded(now, lane, id(7), Ok(()));
    rules.open(id(7));
    rules.handle_opened(lane, id(7), true);
    todo(&mut rules);
    rules.seek_again(id(7));
    let close = Action::Close { session: id(7), root: root(7) };
    assert_eq!(todo(&mut rules), [close, Action::Retire { session: id(7) }, record(7, lane, 1)]);
    assert_eq!(rules.standing(id(7)).hold, Some(Hold::Seek), "and its turn is free for others");
    assert!(!rules.is_active(id(7)));
}
