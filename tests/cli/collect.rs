//! `collect`: the collector from its operator's view.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
};

use crate::harness::{fail, json, rpp_node};

/// Killed when dropped.
struct Collector {
    child: Child,
    listen: String,
}

impl Collector {
    fn start(folder: &std::path::Path) -> Self {
        let mut child = rpp_node()
            .args(["collect", "--listen=127.0.0.1:0", "--http=127.0.0.1:0", "--json", "--db"])
            .arg(folder.join("cuts.sqlite"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listen = json(&line)["listen"].as_str().unwrap().to_owned();
        Self { child, listen }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_program_of_the_later_protocol_is_refused_with_a_line_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(folder.path());
    let mut moire = TcpStream::connect(&collector.listen).unwrap();
    moire.write_all(b"MOIR\x01\x00\x00\x00").unwrap();
    let from = moire.local_addr().unwrap().to_string();
    let mut log = BufReader::new(collector.child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = log.find(|line| line.contains("moire")).expect("a line about it");
    assert!(line.contains("WARN") && line.contains("refused") && line.contains(&from), "{line}");
}

#[test]
fn a_database_that_cannot_be_opened_is_told_with_its_file_and_the_systems_error() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "These are notes, and no database at all.\n".repeat(10)).unwrap();
    let directory = folder.path().join("directory");
    std::fs::create_dir(&directory).unwrap();
    for (db, words) in [
        (folder.path().join("missing/cuts.sqlite"), "No such file or directory (os error 2); its folder must exist"),
        (directory.clone(), "Is a directory"),
        (text.clone(), "is no SQLite database: name another file"),
    ] {
        let said = fail(["collect", "--listen=127.0.0.1:0", "--http=127.0.0.1:0", "--db", db.to_str().unwrap()]);
        assert!(said.contains(db.to_str().unwrap()) && said.contains(words), "{said}");
        assert!(!said.contains("Error code") && said.matches(words).count() == 1, "{said}");
    }
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("These are notes"));
}
