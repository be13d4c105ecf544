//! The work of `introspect`: watch, record, replay.

use std::{
    future::Future,
    io::{self, Write},
    path::Path,
};

use super::{
    connection::{ClientError, Connection},
    format::instant,
    json,
    recording::{Recorder, Recording, RecordingError},
    view::{self, View},
};
use crate::{
    envelope::Part,
    proto::{
        Configuration, ServerMessage,
        client_command::{Command, Source},
        server_message::Payload,
    },
};

/// Why a client's work ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The node, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The file.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The output.
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
}

/// How watched messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Lines, one block for each state.
    Plain,
    /// One JSON object a line for each message.
    Json,
    /// A screen of this size that is drawn again with each state.
    Screen {
        /// Characters in a line.
        columns: usize,
        /// Lines.
        rows: usize,
    },
}

/// Until `stop`, shows each state and then asks for the next one.
///
/// # Errors
/// The connection ended, or the output cannot be written.
pub async fn watch(
    connection: Connection,
    style: impl Fn() -> Style,
    out: &mut impl Write,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut seen = View::default();
    pull(connection, stop, |part| {
        if style() == Style::Json {
            json_line(&part.message, out)?;
            return Ok(out.flush()?);
        }
        if let (Style::Plain, Some(Payload::Event(event))) = (style(), &part.message.payload) {
            writeln!(out, "event {}", view::event_line(event))?;
        }
        if seen.handle(part.message) {
            draw(&seen, style(), out)?;
        }
        Ok(())
    })
    .await
}

fn json_line(message: &ServerMessage, out: &mut impl Write) -> io::Result<()> {
    match json::object(message) {
        Some(object) => writeln!(out, "{object}"),
        None => Ok(()),
    }
}

fn draw(view: &View, style: Style, out: &mut impl Write) -> io::Result<()> {
    match style {
        Style::Json => {} // Written as it arrives.
        Style::Plain => {
            for line in view.plain() {
                writeln!(out, "{line}")?;
            }
        }
        Style::Screen { columns, rows } => {
            // Cursor home, each line cleared after its end, the rest of the screen cleared: no flicker.
            write!(out, "\x1b[H")?;
            let lines = view.screen(columns, rows.saturating_sub(1));
            for line in lines {
                write!(out, "{line}\x1b[K\r\n")?;
            }
            write!(out, "\x1b[J")?;
        }
    }
    out.flush()
}

/// Until `stop`, appends to a file what the node sends: runtime, the effective configuration, then states, events and
/// notices. Returns how many messages were appended.
///
/// # Errors
/// The connection ended, or the file cannot be written.
pub async fn record(
    connection: Connection,
    recorder: &mut Recorder,
    stop: impl Future<Output = ()>,
) -> Result<u64, RunError> {
    let mut count = 0;
    // The first state comes before the answer to HELLO. It is held back so that the configuration directly follows the
    // runtime.
    let (mut configured, mut held) = (false, Vec::new());
    pull(connection, stop, |part| {
        let is_config = is_configuration(&part.message);
        if !configured && !is_config && !matches!(part.message.payload, Some(Payload::Runtime(_))) {
            if held.len() < MAX_HELD {
                held.push(part);
            }
            return Ok(());
        }
        count += u64::from(recorder.append(&part)?);
        configured |= is_config;
        if configured {
            for part in held.drain(..) {
                count += u64::from(recorder.append(&part)?);
            }
        }
        Ok(())
    })
    .await?;
    for part in held {
        count += u64::from(recorder.append(&part)?);
    }
    Ok(count)
}

/// The most messages before the configuration: the runtime, a state and responses. A node that sends more is not one of
/// ours.
const MAX_HELD: usize = 16;

fn is_configuration(message: &ServerMessage) -> bool {
    matches!(&message.payload, Some(Payload::Response(response)) if response.effective_config.is_some())
}

/// Prints a recording.
///
/// # Errors
/// The file cannot be read, is not a recording, or is damaged. Everything before the damage is printed.
pub fn replay(path: &Path, out: &mut impl Write) -> Result<(), RunError> {
    for message in Recording::open(path)? {
        print(&message?, out)?;
    }
    Ok(out.flush()?)
}

/// Prints a recording as one JSON object for each message, one in a line.
///
/// # Errors
/// As [`replay`].
pub fn replay_json(path: &Path, out: &mut impl Write) -> Result<(), RunError> {
    for message in Recording::open(path)? {
        json_line(&message?, out)?;
    }
    Ok(out.flush()?)
}

fn print(message: &ServerMessage, out: &mut impl Write) -> io::Result<()> {
    match &message.payload {
        Some(Payload::Runtime(runtime)) => writeln!(out, "runtime {}", view::runtime_line(runtime)),
        Some(Payload::Event(event)) => writeln!(out, "event {}", view::event_line(event)),
        Some(Payload::State(state)) => {
            writeln!(out, "state {} {}", instant(state.instant_ts), view::traffic(state.traffic.as_ref()))?;
            let connections = state.subsystems.iter().flat_map(|all| &all.connections).flat_map(view::connection_lines);
            let dht = state.subsystems.iter().filter_map(|all| all.dht.as_ref()).flat_map(view::dht_lines);
            connections.chain(dht).try_for_each(|line| writeln!(out, "{line}"))
        }
        Some(Payload::Notice(_)) => writeln!(out, "notice some events were discarded"),
        Some(Payload::Response(response)) => match &response.effective_config {
            Some(config) => writeln!(
                out,
                "configuration a state every {} ms, kept for {} ms",
                config.state_snapshot_interval_ms, config.retention_period_ms
            ),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// Receives states and events, and asks for the next state when `take` has handled one.
async fn pull(
    mut connection: Connection,
    stop: impl Future<Output = ()>,
    mut take: impl FnMut(Part) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let mut stop = std::pin::pin!(stop);
    connection.hello(Configuration::default()).await?;
    connection.command(Command::PushEnable, Source::Events).await?;
    loop {
        let part = tokio::select! {
            biased;
            () = &mut stop => break,
            part = connection.next() => part?,
        };
        let is_state = matches!(part.message.payload, Some(Payload::State(_)));
        take(part)?;
        if is_state {
            connection.command(Command::Request, Source::State).await?;
        }
    }
    connection.close().await;
    Ok(())
}
