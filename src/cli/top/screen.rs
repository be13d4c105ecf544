//! The terminal: reads keys and draws pictures. It is restored whatever ends the command: a key, a signal, an error, a
//! panic.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::sync::mpsc;

use super::{draw::View, look::Picture, shows::Shows};
use crate::cli::{
    api::{Api, ApiError},
    signals::Signals,
};

/// The events that the screen waits for.
enum Told {
    Looked(Result<Box<Picture>, ApiError>),
    Key(Event),
    Said(String),
}

/// The action of a key.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    End,
    Resume(u64),
    Cancel(u64),
}

/// Shows the node until a key or a signal ends the command.
pub(super) async fn run(api: Api, shows: Shows, every: Duration) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let api = Arc::new(api);
    let (tell, told) = mpsc::channel(16);
    tokio::spawn(look(Arc::clone(&api), every, tell.clone()));
    with_terminal(async |terminal| {
        let keys = tell.clone();
        // Reading a terminal blocks; the thread ends with the process.
        std::thread::spawn(move || {
            while let Ok(event) = event::read() {
                if keys.blocking_send(Told::Key(event)).is_err() {
                    return;
                }
            }
        });
        tokio::select! {
            ended = follow(terminal, shows, &api, told, &tell) => ended,
            // SIGHUP, too: the terminal is gone.
            _ = signals.next() => Ok(()),
        }
    })
    .await
}

/// Takes over the terminal and restores it. After a panic, [`ratatui::try_init`] restores it before the panic is
/// reported.
async fn with_terminal(show: impl AsyncFnOnce(&mut DefaultTerminal) -> anyhow::Result<()>) -> anyhow::Result<()> {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            // If the terminal is gone, there is nothing to restore.
            let _ = ratatui::try_restore();
        }
    }
    let mut terminal = ratatui::try_init().context("the terminal cannot be used; `--once` needs none")?;
    let _back = Back;
    show(&mut terminal).await
}

async fn look(api: Arc<Api>, every: Duration, tell: mpsc::Sender<Told>) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let picture = Picture::take(&api).await.map(Box::new);
        if tell.send(Told::Looked(picture)).await.is_err() {
            return;
        }
    }
}

async fn follow(
    terminal: &mut DefaultTerminal,
    shows: Shows,
    api: &Arc<Api>,
    mut told: mpsc::Receiver<Told>,
    tell: &mpsc::Sender<Told>,
) -> anyhow::Result<()> {
    let mut view = View::default();
    let mut silent = false;
    loop {
        let draw = |frame: &mut Frame<'_>| {
            frame.render_widget(&view, frame.area());
            shows.fit(frame.buffer_mut());
        };
        terminal.draw(draw).context("the terminal cannot be drawn on")?;
        match told.recv().await {
            Some(Told::Looked(Ok(picture))) => {
                if std::mem::take(&mut silent) {
                    view.said.clear();
                }
                view.show(*picture);
            }
            Some(Told::Looked(Err(error))) => {
                silent = true;
                view.said = error.to_string();
            }
            Some(Told::Said(text)) => view.said = text,
            Some(Told::Key(Event::Key(key))) if key.kind != KeyEventKind::Release => match press(&mut view, key) {
                Wish::Nothing => {}
                Wish::End => return Ok(()),
                Wish::Resume(session) => {
                    drop(tokio::spawn(resume(Arc::clone(api), session, view.named(session), tell.clone())));
                }
                Wish::Cancel(session) => {
                    drop(tokio::spawn(cancel(Arc::clone(api), session, view.named(session), tell.clone())));
                }
            },
            // The terminal's size changed: it is drawn again.
            Some(Told::Key(_)) => {}
            None => anyhow::bail!("nothing more can come"),
        }
    }
}

fn press(view: &mut View, key: KeyEvent) -> Wish {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if key.code == KeyCode::Char('c') && control {
        return Wish::End;
    }
    if let Some(session) = view.asking.take() {
        return if key.code == KeyCode::Char('y') { Wish::Cancel(session) } else { Wish::Nothing };
    }
    view.said.clear();
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Wish::End,
        KeyCode::Down | KeyCode::Char('j') => view.choose(1),
        KeyCode::Up | KeyCode::Char('k') => view.choose(-1),
        KeyCode::PageDown => view.choose(10),
        KeyCode::PageUp => view.choose(-10),
        KeyCode::Home => view.choose(isize::MIN),
        KeyCode::End => view.choose(isize::MAX),
        KeyCode::Char('r') => match view.session() {
            Some(session) if view.complete(session) => view.said = format!("{} is complete", view.named(session)),
            Some(session) => return Wish::Resume(session),
            None => {}
        },
        KeyCode::Char('x') => view.asking = view.session(),
        _ => {}
    }
    Wish::Nothing
}

async fn resume(api: Arc<Api>, session: u64, named: String, tell: mpsc::Sender<Told>) {
    let request = serde_json::json!({ "resume": { "session": session } });
    let said = match api.start(&request).await {
        Ok(_) => format!("{named} goes on"),
        Err(error) => format!("{named}: {error}"),
    };
    let _ = tell.send(Told::Said(said)).await;
}

async fn cancel(api: Arc<Api>, session: u64, named: String, tell: mpsc::Sender<Told>) {
    let said = match api.cancel(session).await {
        Ok(()) => format!("{named} is gone"),
        Err(error) => format!("{named}: {error}"),
    };
    let _ = tell.send(Told::Said(said)).await;
}

#[cfg(test)]
mod tests;
