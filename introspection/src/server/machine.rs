//! What one client asked for, and what is sent to it. Pure: time is an argument.
//!
//! ```text
//!             ready (text, REQUEST/STATE), or a standing one (PUSH_ENABLE/STATE, not paused)
//! newest state not sent yet  ------------------------------------------------->  sent, ready is used up
//! newest state sent          ---- ready is remembered, once ---- next one ---->  sent, ready is used up
//! ```
//! The first state of a connection needs no ready and uses up none.

use std::{collections::VecDeque, sync::Arc};

use prost::Message as _;

use crate::{
    envelope::VERSION,
    events::Frame,
    limits::{
        DEFAULT_INTERVAL_MS, DEFAULT_RETENTION_MS, EVENT_BUFFER, INTERVAL_MS, MAX_CLIENT_MESSAGE_BYTES, RETENTION_MS,
    },
    proto::{
        ClientCommand, CommandResponse, Configuration,
        client_command::{Command, Source},
        command_response,
    },
};

/// The effective configuration of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) interval_ms: u64,
    pub(crate) retention_ms: u64,
}

impl Effective {
    fn message(self) -> Configuration {
        Configuration { retention_period_ms: self.retention_ms, state_snapshot_interval_ms: self.interval_ms }
    }
}

/// What clients may ask for.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) interval_ms: std::ops::RangeInclusive<u64>,
    pub(crate) retention_ms: std::ops::RangeInclusive<u64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { interval_ms: INTERVAL_MS, retention_ms: RETENTION_MS }
    }
}

/// The client broke the rules and is disconnected. The client is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The WebSocket close code.
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

pub(crate) const TOO_LARGE: Violation = Violation { code: 1009, reason: "a message may have at most 64 KiB" };
pub(crate) const MALFORMED: Violation =
    Violation { code: 1007, reason: "a binary message must be one ClientCommand, a text message UTF-8" };
pub(crate) const NO_HELLO: Violation = Violation { code: 1008, reason: "HELLO must be the first binary command" };

/// The next output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    Runtime,
    /// The newest state.
    State,
    Response(CommandResponse),
    /// Events were discarded.
    Notice,
    Event(Arc<Frame>),
}

/// One client.
#[derive(Debug)]
pub(crate) struct Machine {
    bounds: Bounds,
    config: Effective,
    greeted: bool,
    /// The answer to the command that was handled last.
    response: Option<CommandResponse>,
    runtime_due: bool,
    first_state_due: bool,
    ready: bool,
    push_state: bool,
    push_events: bool,
    paused: bool,
    /// The newest generation that was sent.
    sent: u64,
    events: VecDeque<Arc<Frame>>,
    discarded: bool,
}

impl Machine {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let clamp = |value: u64, range: &std::ops::RangeInclusive<u64>| value.clamp(*range.start(), *range.end());
        let config = Effective {
            interval_ms: clamp(DEFAULT_INTERVAL_MS, &bounds.interval_ms),
            retention_ms: clamp(DEFAULT_RETENTION_MS, &bounds.retention_ms),
        };
        Self {
            bounds,
            config,
            greeted: false,
            response: None,
            runtime_due: true,
            first_state_due: true,
            ready: false,
            push_state: false,
            push_events: false,
            paused: false,
            sent: 0,
            events: VecDeque::new(),
            discarded: false,
        }
    }

    pub(crate) fn config(&self) -> Effective {
        self.config
    }

    /// Whether this machine wants events.
    pub(crate) fn wants_events(&self) -> bool {
        self.push_events
    }

    /// Handles a text message, whatever its text is.
    pub(crate) fn handle_text(&mut self, text: &str) -> Result<(), Violation> {
        if text.len() > MAX_CLIENT_MESSAGE_BYTES {
            return Err(TOO_LARGE);
        }
        self.ready = true;
        Ok(())
    }

    pub(crate) fn handle_binary(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if bytes.len() > MAX_CLIENT_MESSAGE_BYTES {
            return Err(TOO_LARGE);
        }
        let command = ClientCommand::decode(bytes).map_err(|_| MALFORMED)?;
        let kind = Command::try_from(command.command).ok();
        if !self.greeted && kind != Some(Command::Hello) {
            return Err(NO_HELLO);
        }
        self.response = Some(match self.obey(kind, &command) {
            Ok(effective_config) => CommandResponse { id: command.id, effective_config, ..CommandResponse::default() },
            Err(error) => CommandResponse {
                id: command.id,
                result: command_response::Result::Err.into(),
                error: error.to_owned(),
                effective_config: None,
            },
        });
        Ok(())
    }

    /// Handles an event that happened.
    pub(crate) fn handle_event(&mut self, event: Arc<Frame>) {
        if !self.push_events {
            return;
        }
        if self.events.len() >= EVENT_BUFFER {
            self.events.pop_front();
            self.discarded = true;
        }
        self.events.push_back(event);
    }

    /// Events happened that could not be delivered to this machine.
    pub(crate) fn handle_lost_events(&mut self) {
        self.discarded |= self.push_events;
    }

    /// The next output. `newest` is the newest generation of the state; `room` says whether events may be sent, too.
    pub(crate) fn poll(&mut self, now_ms: u64, newest: Option<u64>, room: bool) -> Option<Output> {
        if let Some(response) = self.response.take() {
            return Some(Output::Response(response));
        }
        if std::mem::take(&mut self.runtime_due) {
            return Some(Output::Runtime);
        }
        if self.takes_state(newest) {
            return Some(Output::State);
        }
        self.drop_old_events(now_ms);
        if self.paused || !room {
            return None;
        }
        if std::mem::take(&mut self.discarded) {
            return Some(Output::Notice);
        }
        self.events.pop_front().map(Output::Event)
    }

    fn takes_state(&mut self, newest: Option<u64>) -> bool {
        let Some(newest) = newest.filter(|newest| *newest > self.sent) else { return false };
        if self.first_state_due {
            self.first_state_due = false;
        } else if self.ready || (self.push_state && !self.paused) {
            self.ready = false;
        } else {
            return false;
        }
        self.sent = newest;
        true
    }

    fn drop_old_events(&mut self, now_ms: u64) {
        let horizon_ms = now_ms.saturating_sub(self.config.retention_ms);
        while self.events.front().is_some_and(|event| event.at_ms < horizon_ms) {
            self.events.pop_front();
            self.discarded = true;
        }
    }

    /// Executes a command. Returns the configuration to answer with, or what is wrong with the command.
    fn obey(&mut self, kind: Option<Command>, command: &ClientCommand) -> Result<Option<Configuration>, &'static str> {
        if command.version.is_some_and(|version| version.version > VERSION) {
            return Err("only schema version 1 is spoken here");
        }
        let source = Source::try_from(command.source).map_err(|_| "unknown source");
        match kind.ok_or("unknown command")? {
            Command::Hello => {
                self.greeted = true;
                return Ok(Some(self.configure(command.config)));
            }
            Command::UpdateConfig => return Ok(Some(self.configure(command.config))),
            Command::Request => match source? {
                Source::State => self.ready = true,
                Source::Runtime => self.runtime_due = true,
                Source::Events => return Err("events cannot be requested: use PUSH_ENABLE"),
            },
            Command::PushEnable => self.push(source?, true)?,
            Command::PushDisable => self.push(source?, false)?,
            Command::PushPause => self.paused = true,
            Command::PushResume => self.paused = false,
        }
        Ok(None)
    }

    fn push(&mut self, source: Source, on: bool) -> Result<(), &'static str> {
        match source {
            Source::State => self.push_state = on,
            Source::Events => {
                self.push_events = on;
                if !on {
                    self.events = VecDeque::new();
                    self.discarded = false;
                }
            }
            Source::Runtime => return Err("the runtime is not pushed: use REQUEST"),
        }
        Ok(())
    }

    /// Zero means that nothing was asked for.
    fn configure(&mut self, asked: Option<Configuration>) -> Configuration {
        let asked = asked.unwrap_or_default();
        let pick = |asked: u64, now: u64, range: &std::ops::RangeInclusive<u64>| match asked {
            0 => now,
            asked => asked.clamp(*range.start(), *range.end()),
        };
        self.config = Effective {
            interval_ms: pick(asked.state_snapshot_interval_ms, self.config.interval_ms, &self.bounds.interval_ms),
            retention_ms: pick(asked.retention_period_ms, self.config.retention_ms, &self.bounds.retention_ms),
        };
        self.config.message()
    }
}

#[cfg(test)]
mod tests;
