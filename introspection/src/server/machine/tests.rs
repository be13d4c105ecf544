use bytes::Bytes;

use super::*;
use crate::proto::Version;

/// A machine that has sent the runtime and generation 1.
fn connected() -> Machine {
    let mut machine = Machine::new(Bounds::default());
    assert_eq!(machine.poll(0, None, true), Some(Output::Runtime));
    assert_eq!(machine.poll(0, Some(1), true), Some(Output::State));
    assert_eq!(machine.poll(0, Some(1), true), None);
    machine
}

fn send(machine: &mut Machine, command: Command, source: Source) -> CommandResponse {
    send_with(machine, command, source, None)
}

fn send_with(
    machine: &mut Machine,
    command: Command,
    source: Source,
    config: Option<Configuration>,
) -> CommandResponse {
    let message = ClientCommand {
        version: Some(Version { version: 1 }),
        id: 9,
        command: command.into(),
        source: source.into(),
        config,
    };
    machine.handle_binary(&message.encode_to_vec()).unwrap();
    let Some(Output::Response(response)) = machine.poll(0, None, false) else { panic!("no response") };
    assert_eq!(response.id, 9);
    response
}

fn greeted() -> Machine {
    let mut machine = connected();
    send(&mut machine, Command::Hello, Source::State);
    machine
}

fn event(at_ms: u64) -> Arc<Frame> {
    Arc::new(Frame { at_ms, bytes: Bytes::new() })
}

fn is_ok(response: &CommandResponse) -> bool {
    response.result() == command_response::Result::Ok && response.error.is_empty()
}

#[test]
fn without_ready_nothing_follows_the_first_state() {
    let mut machine = connected();
    assert!((2..1_000).all(|generation| machine.poll(0, Some(generation), true).is_none()));
}

#[test]
fn a_state_goes_out_once_and_ready_is_used_up() {
    let mut machine = connected();
    machine.handle_text("ready").unwrap();
    assert_eq!(machine.poll(0, Some(1), true), None, "generation 1 was sent");
    machine.handle_text("").unwrap();
    assert_eq!(machine.poll(0, Some(2), true), Some(Output::State));
    assert_eq!(machine.poll(0, Some(2), true), None);
    assert_eq!(machine.poll(0, Some(3), true), None, "ready twice is ready once");
}

#[test]
fn a_late_client_gets_the_newest_and_no_backlog() {
    let mut machine = connected();
    assert_eq!(machine.poll(0, Some(50), true), None);
    machine.handle_text("ready").unwrap();
    assert_eq!(machine.poll(0, Some(50), true), Some(Output::State));
    assert_eq!(machine.poll(0, Some(50), true), None);
}

#[test]
fn a_ready_before_the_first_state_is_not_lost() {
    let mut machine = Machine::new(Bounds::default());
    machine.handle_text("ready").unwrap();
    machine.poll(0, None, true);
    assert_eq!(machine.poll(0, Some(1), true), Some(Output::State));
    assert_eq!(machine.poll(0, Some(2), true), Some(Output::State));
    assert_eq!(machine.poll(0, Some(3), true), None);
}

#[test]
fn push_is_a_standing_ready_that_pause_suspends() {
    let mut machine = greeted();
    send(&mut machine, Command::PushEnable, Source::State);
    assert_eq!(machine.poll(0, Some(2), true), Some(Output::State));
    send(&mut machine, Command::PushPause, Source::State);
    send(&mut machine, Command::PushPause, Source::State);
    assert_eq!(machine.poll(0, Some(3), true), None);
    send(&mut machine, Command::Request, Source::State);
    assert_eq!(machine.poll(0, Some(3), true), Some(Output::State), "asked for, not pushed");
    send(&mut machine, Command::PushResume, Source::State);
    assert_eq!(machine.poll(0, Some(4), true), Some(Output::State));
    send(&mut machine, Command::PushDisable, Source::State);
    assert_eq!(machine.poll(0, Some(5), true), None);
}

#[test]
fn other_commands_before_hello_disconnect() {
    let mut machine = connected();
    let command = ClientCommand { command: Command::Request.into(), ..ClientCommand::default() };
    assert_eq!(machine.handle_binary(&command.encode_to_vec()), Err(NO_HELLO));
    let unknown = ClientCommand { command: 6, ..ClientCommand::default() };
    assert_eq!(machine.handle_binary(&unknown.encode_to_vec()), Err(NO_HELLO));
}

#[test]
fn what_cannot_be_parsed_or_is_too_large_disconnects() {
    let mut machine = greeted();
    assert_eq!(machine.handle_binary(&[0xff; 9]), Err(MALFORMED));
    assert_eq!(machine.handle_binary(&vec![0; MAX_CLIENT_MESSAGE_BYTES + 1]), Err(TOO_LARGE));
    assert_eq!(machine.handle_text(&"x".repeat(MAX_CLIENT_MESSAGE_BYTES + 1)), Err(TOO_LARGE));
    assert_eq!(machine.handle_text(&"x".repeat(MAX_CLIENT_MESSAGE_BYTES)), Ok(()));
}

#[test]
fn requests_are_answered_as_the_rules_say() {
    let mut machine = greeted();
    assert!(is_ok(&send(&mut machine, Command::Request, Source::State)));
    assert_eq!(machine.poll(0, Some(2), true), Some(Output::State));
    assert!(is_ok(&send(&mut machine, Command::Request, Source::Runtime)));
    assert_eq!(machine.poll(0, Some(2), true), Some(Output::Runtime));
    for (command, source) in [
        (Command::Request, Source::Events),
        (Command::PushEnable, Source::Runtime),
        (Command::PushDisable, Source::Runtime),
    ] {
        assert!(!is_ok(&send(&mut machine, command, source)), "{command:?} {source:?}");
    }
    let unknown = ClientCommand { id: 4, command: 6, ..ClientCommand::default() };
    machine.handle_binary(&unknown.encode_to_vec()).unwrap();
    let Some(Output::Response(response)) = machine.poll(0, None, true) else { panic!() };
    assert!(response.id == 4 && !is_ok(&response));
}

#[test]
fn the_effective_configuration_is_what_the_bounds_allow() {
    let mut machine = connected();
    let hello = send(&mut machine, Command::Hello, Source::State).effective_config.unwrap();
    assert_eq!((hello.state_snapshot_interval_ms, hello.retention_period_ms), (2_000, 120_000));
    let mut ask = |interval, retention| {
        let asked = Configuration { retention_period_ms: retention, state_snapshot_interval_ms: interval };
        let answer = send_with(&mut machine, Command::UpdateConfig, Source::State, Some(asked));
        let effective = answer.effective_config.unwrap();
        (effective.state_snapshot_interval_ms, effective.retention_period_ms)
    };
    assert_eq!(ask(1, 1), (200, 1_000));
    assert_eq!(ask(0, 5_000), (200, 5_000), "zero leaves a value as it is");
    assert_eq!(ask(u64::MAX, u64::MAX), (60_000, 3_600_000));
}

#[test]
fn events_come_in_order_and_only_while_enabled() {
    let mut machine = greeted();
    machine.handle_event(event(1));
    assert_eq!(machine.poll(1, Some(1), true), None);
    send(&mut machine, Command::PushEnable, Source::Events);
    machine.handle_event(event(2));
    machine.handle_event(event(3));
    assert_eq!(machine.poll(3, Some(1), false), None, "no room");
    assert_eq!(machine.poll(3, Some(1), true), Some(Output::Event(event(2))));
    send(&mut machine, Command::PushDisable, Source::Events);
    assert_eq!(machine.poll(3, Some(1), true), None);
}

#[test]
fn an_overflow_drops_the_oldest_and_says_so_once() {
    let mut machine = greeted();
    send(&mut machine, Command::PushEnable, Source::Events);
    send(&mut machine, Command::PushPause, Source::State);
    let extra = 10;
    for at_ms in 0..(EVENT_BUFFER as u64 + extra) {
        machine.handle_event(event(at_ms));
    }
    assert_eq!(machine.poll(2_000, Some(1), true), None, "paused");
    send(&mut machine, Command::PushResume, Source::State);
    assert_eq!(machine.poll(2_000, Some(1), true), Some(Output::Notice));
    let rest: Vec<_> = std::iter::from_fn(|| machine.poll(2_000, Some(1), true)).collect();
    assert_eq!(rest.len(), EVENT_BUFFER);
    assert_eq!(rest[0], Output::Event(event(extra)));
}

#[test]
fn events_older_than_the_retention_are_dropped_and_that_is_said() {
    let mut machine = greeted();
    send(&mut machine, Command::PushEnable, Source::Events);
    machine.handle_event(event(0));
    machine.handle_event(event(1_000));
    assert_eq!(machine.poll(DEFAULT_RETENTION_MS + 1, Some(1), true), Some(Output::Notice));
    assert_eq!(machine.poll(DEFAULT_RETENTION_MS + 1, Some(1), true), Some(Output::Event(event(1_000))));
}
