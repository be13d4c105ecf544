//! `top`, through the binary, on a real node and in a real terminal.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::JoinHandle,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{DEADLINE, Place, eventually, json, rpp_node, stderr};

const NOBODY: &str = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

#[test]
fn a_plain_picture_shows_the_node_and_a_download_that_waits() {
    let genesis = "11".repeat(32);
    let place = Place::new(&["--genesis", &genesis]);
    let error = place.fail("top", &["--once"]);
    assert!(error.contains("is it running"), "{error}");
    let _node = place.start(&[]);
    let peer = place.made["peer_id"].as_str().unwrap();
    let text = place.succeed("top", &["--once"]);
    assert!(text.contains(&peer[..6]) && text.contains("ready") && text.contains("none: `rpp-node fetch`"), "{text}");
    let mut fetch = place.command("fetch");
    let mut fetch = fetch.args(["--peer", NOBODY]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let text = eventually("the download to be shown", || {
        // Standard output is no terminal, so `--once` is implied.
        let text = place.succeed("top", &[]);
        (text.contains("Downloads (1)") && text.contains("from 12D3Ko")).then_some(text)
    });
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let seen = json(&place.succeed("top", &["--json"]));
    assert_eq!((&seen["identity"]["peer_id"], seen["sessions"].as_array().unwrap().len()), (&peer.into(), 1));
    eventually("the event", || {
        let events = json(&place.succeed("top", &["--json"]))["events"].clone();
        let backs_off = events.as_array().unwrap().iter().any(|event| event["state"] == "backing_off");
        backs_off.then_some(())
    });
    fetch.kill().unwrap();
    fetch.wait().unwrap();
}

/// The command in a terminal of its own, 80 by 24.
struct Terminal {
    script: Child,
    output: JoinHandle<String>,
}

impl Terminal {
    /// Returns once the node is shown.
    fn open(place: &Place) -> Option<Self> {
        Self::with(place, &[], "0/0")
    }

    /// The same with these variables, once the text is shown.
    fn with(place: &Place, variables: &[(&str, &str)], shown: &'static str) -> Option<Self> {
        let inside = place.command("top");
        let words = std::iter::once(inside.get_program()).chain(inside.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let line = format!("stty rows 24 cols 80; exec {}", words.join(" "));
        let mut script = Command::new("script");
        script.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm-256color").env_remove("RPP_RPC_TOKEN");
        script.envs(variables.iter().copied());
        let Ok(mut script) = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
            eprintln!("there is no script(1) here");
            return None;
        };
        let mut out = script.stdout.take().unwrap();
        let (tell, begun) = mpsc::sync_channel(1);
        let output = std::thread::spawn(move || {
            let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                all.extend_from_slice(&buffer[..length]);
                if String::from_utf8_lossy(&all).contains(shown) {
                    let _ = tell.try_send(());
                }
            }
            String::from_utf8_lossy(&all).into_owned()
        });
        begun.recv_timeout(DEADLINE).unwrap();
        Some(Self { script, output })
    }

    /// The process inside the terminal.
    fn inside(&self) -> Pid {
        let own = self.script.id().to_string();
        let child = std::fs::read_dir("/proc").unwrap().find_map(|entry| {
            let entry = entry.ok()?.file_name().into_string().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{entry}/stat")).ok()?;
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
            (parent == own).then(|| entry.parse().unwrap())
        });
        Pid::from_raw(child.unwrap()).unwrap()
    }

    fn press(&mut self, keys: &[u8]) {
        self.script.stdin.as_mut().unwrap().write_all(keys).unwrap();
    }

    /// Waits for the end and returns all output. The command must succeed.
    fn output(mut self) -> String {
        let status = eventually("the command to end", || self.script.try_wait().unwrap());
        let text = self.output.join().unwrap();
        assert!(status.success(), "{status}: {text:?}");
        text
    }

    /// The same for a command that must restore the terminal, too.
    fn ends_well(self) -> String {
        let text = self.output();
        let taken = text.find("\u{1b}[?1049h").unwrap();
        let back = text.rfind("\u{1b}[?1049l").unwrap_or_else(|| panic!("not given back: {text:?}"));
        assert!(taken < back && text[back..].contains("\u{1b}[?25h"), "the cursor is shown again: {text:?}");
        text
    }
}

#[test]
fn it_gives_the_terminal_back_on_q_ctrl_c_and_sigterm() {
    let place = Place::new(&[]);
    let node = place.start(&[]);
    let Some(mut terminal) = Terminal::open(&place) else { return };
    terminal.press(b"jkq");
    assert!(terminal.ends_well().contains("ready"));
    let mut terminal = Terminal::open(&place).unwrap();
    terminal.press(b"\x03");
    terminal.ends_well();
    let terminal = Terminal::open(&place).unwrap();
    kill_process(terminal.inside(), Signal::TERM).unwrap();
    terminal.ends_well();
    // The screen stays when the node ends.
    let mut terminal = Terminal::open(&place).unwrap();
    drop(node);
    terminal.press(b"q");
    terminal.ends_well();
    let output = rpp_node().args(["top", "--interval", "0", "--config"]).arg(place.config()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

/// The parameters of all escape sequences that set colours or styles.
fn styles(text: &str) -> Vec<&str> {
    let sequences = text.split("\u{1b}[").skip(1);
    let ends = |rest: &str| rest.find(|one: char| one.is_ascii_alphabetic());
    sequences
        .filter_map(|rest| ends(rest).filter(|end| rest[*end..].starts_with('m')).map(|end| &rest[..end]))
        .collect()
}

#[test]
fn a_terminal_is_given_only_what_it_can_show() {
    let place = Place::new(&[]);
    let _node = place.start(&[]);
    // No screen: the picture is printed once, and the command ends by itself.
    let Some(dumb) = Terminal::with(&place, &[("TERM", "dumb")], "Recent events") else { return };
    let text = dumb.output();
    assert!(text.contains("none: `rpp-node fetch` starts one") && !text.contains('\u{1b}'), "{text:?}");
    let mut plain = Terminal::with(&place, &[("NO_COLOR", "1"), ("LC_ALL", "C")], "0/0").unwrap();
    plain.press(b"q");
    let text = plain.ends_well();
    assert!(text.is_ascii() && text.contains("0/0  q ends  ^v choose"), "{text:?}");
    let colours =
        |code: &&str| code.split(';').any(|one| one.starts_with(['3', '4', '9']) && !["39", "49"].contains(&one));
    assert_eq!(styles(&text).into_iter().find(colours), None, "{text:?}");
    let first = |columns: &str| {
        let output = place.command("top").env("COLUMNS", columns).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    };
    assert!(!first("60").contains("serves") && first("100").contains("serves"));
}
