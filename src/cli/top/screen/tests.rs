use std::process::{Command, Stdio};

use ratatui::crossterm::event::{KeyEvent, KeyModifiers};

use super::*;

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

#[test]
fn nothing_is_cancelled_without_a_yes() {
    let mut view = View::default();
    assert_eq!(press(&mut view, key(KeyCode::Char('x'))), Wish::Nothing, "there is none");
    assert_eq!(view.asking, None);
    view.asking = Some(7);
    assert_eq!(press(&mut view, key(KeyCode::Char('n'))), Wish::Nothing);
    assert_eq!(press(&mut view, key(KeyCode::Char('y'))), Wish::Nothing, "it was declined");
    view.asking = Some(7);
    assert_eq!(press(&mut view, key(KeyCode::Char('y'))), Wish::Cancel(7));
    assert_eq!(press(&mut view, key(KeyCode::Char('q'))), Wish::End);
    assert_eq!(press(&mut view, KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::End);
}

/// Not a test: the test below runs this in a terminal of its own.
#[tokio::test]
#[ignore = "panics, for the test below"]
async fn panics_in_a_terminal() {
    let _ = with_terminal(async |_| panic!("as intended")).await;
}

#[test]
fn a_panic_gives_the_terminal_back() {
    let itself = std::env::current_exe().unwrap();
    let test = "cli::top::screen::tests::panics_in_a_terminal";
    let command = format!("'{}' --exact {test} --ignored --nocapture", itself.display());
    let shown = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output();
    let Ok(shown) = shown else { return eprintln!("there is no script(1) here") };
    let text = String::from_utf8_lossy(&shown.stdout);
    let (taken, back) = (text.find("\u{1b}[?1049h"), text.find("\u{1b}[?1049l"));
    let told = text.rfind("as intended");
    assert!(taken.is_some() && taken < back && back < told, "{text:?}");
}
