//! Runs the README's quick start line by line, exactly as it is written.

use std::{collections::HashMap, fs, process::Command};

use crate::harness::{Running, repository, rpp_node, stderr};

/// Free ports for every node, as a reader would choose them if the default ones are taken.
const PORTS: [(&str, &str); 3] = [
    ("RPP_P2P_LISTEN", "/ip4/127.0.0.1/tcp/0"),
    ("RPP_RPC_LISTEN", "127.0.0.1:0"),
    ("RPP_INTROSPECTION_LISTEN", "127.0.0.1:0"),
];

/// A reader at two terminals: executes lines, and fills placeholders with earlier output.
struct Reader {
    folder: tempfile::TempDir,
    exported: HashMap<String, String>,
    known: HashMap<&'static str, String>,
    nodes: Vec<Running>,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config/provider/node.toml", "config/consumer/node.toml", "docs/README.md", "docs/limits.md"] {
            let copy = folder.path().join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(repository().join(file), copy).unwrap();
        }
        Self { folder, exported: HashMap::new(), known: HashMap::new(), nodes: Vec::new() }
    }

    fn follow(&mut self, line: &str) {
        let mut line = line.to_owned();
        for (name, value) in &self.known {
            line = line.replace(&format!("<{name}>"), value);
        }
        assert!(!line.contains('<'), "a placeholder is not known yet: {line}");
        if let Some((name, value)) = line.strip_prefix("export ").and_then(|rest| rest.split_once('=')) {
            self.exported.insert(name.to_owned(), value.to_owned());
            return;
        }
        let words: Vec<_> = line.trim_end_matches(" &").split_whitespace().collect();
        assert_eq!(words[0], "rpp-node", "{line}");
        let mut command = rpp_node();
        command.args(&words[1..]).current_dir(self.folder.path()).envs(PORTS).envs(&self.exported);
        if words[1] == "run" {
            self.run(&mut command);
        } else {
            self.finish(&mut command);
        }
    }

    fn run(&mut self, command: &mut Command) {
        let node = Running::start(command);
        self.known.entry("address").or_insert_with(|| node.address().to_owned());
        self.nodes.push(node);
    }

    fn finish(&mut self, command: &mut Command) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("genesis"), Some(value)) => drop(self.known.insert("genesis", value.to_owned())),
                (Some("root"), Some(value)) => drop(self.known.insert("root", value.to_owned())),
                _ => {}
            }
        }
    }
}

#[test]
fn the_quick_start_of_the_readme_works() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let mut reader = Reader::new();
    let mut lines = 0;
    for part in readme.split("<!-- quick start: terminal ").skip(1) {
        let block = part.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        for line in block.lines() {
            reader.follow(line);
            lines += 1;
        }
    }
    assert_eq!(lines, 10);
    let copy = reader.folder.path().join("docs-copy");
    for file in ["README.md", "limits.md"] {
        let original = fs::read(reader.folder.path().join("docs").join(file)).unwrap();
        assert_eq!(fs::read(copy.join(file)).unwrap(), original);
    }
}
