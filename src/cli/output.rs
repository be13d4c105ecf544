//! Writing to the terminal or a pipe.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use indicatif::ProgressBar;
use rpp_runtime::files;
use serde::Serialize;

/// Prints a line to standard output. If the reader went away, the command ends quietly.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Prints one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value).context("the answer cannot be written as JSON")?)
}

/// Writes to standard output.
pub(crate) fn bytes(content: &[u8]) -> anyhow::Result<()> {
    written(try_bytes(content))
}

/// Prints the answer to `--help` or `--version` to standard output.
pub(crate) fn help(answer: &clap::Error) -> anyhow::Result<()> {
    written(answer.print().and_then(|()| io::stdout().flush()))
}

fn written(done: io::Result<()>) -> anyhow::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        done => done.context("cannot write to standard output"),
    }
}

/// The same for a command that goes on when its reader went away.
pub(crate) fn try_bytes(content: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(content)?;
    out.flush()
}

/// Prints a note for the operator to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints what failed and why, each on one line.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut shown = String::new();
    let mut text = String::from("error: ");
    for (depth, cause) in error.chain().enumerate() {
        let cause = cause.to_string();
        let cause = files::not_said_twice(&shown, &cause);
        // Many of our errors already contain the text of their source.
        if depth > 0 && shown.contains(cause) {
            continue;
        }
        if depth > 0 {
            text.push_str(": ");
        }
        text.push_str(cause);
        shown.push_str(cause);
    }
    // The last output of the process: a stalled reader must not keep it from ending.
    let (said, heard) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        note(&text);
        let _ = said.send(());
    });
    let _ = heard.recv_timeout(LAST_WORD);
}

/// Time for the last output.
const LAST_WORD: Duration = Duration::from_secs(1);

/// While it lives, shows on a terminal that something is in progress.
pub(crate) struct Busy(Option<ProgressBar>);

impl Busy {
    pub(crate) fn with(what: &'static str) -> Self {
        let bar = is_terminal().then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.set_message(what);
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self(bar)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Text from outside, escaped so that it can be shown.
pub(crate) fn escape(text: &str) -> String {
    rpp_p2p::text::escape(text)
}

/// Escapes sentences of the operator's own node. They may be long and end with the advice, so they are not cut; only
/// single words that are too long are.
pub(crate) fn escape_sentences(text: &str) -> String {
    text.split(' ').map(escape).collect::<Vec<_>>().join(" ")
}

/// Whether standard error is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}
