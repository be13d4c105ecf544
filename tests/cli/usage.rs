//! Help, exit codes, completions.

use crate::harness::{rpp_node, run, stderr, succeed};

pub(crate) const COMMANDS: [&str; 19] = [
    "init",
    "run",
    "config",
    "publish",
    "fetch",
    "bench",
    "status",
    "sources",
    "top",
    "health",
    "list",
    "verify",
    "remove",
    "unpack",
    "introspect",
    "collect",
    "demo",
    "completions",
    "man",
];

#[test]
fn every_command_has_help_with_an_example() {
    let overview = succeed(["--help"]);
    for command in COMMANDS {
        assert!(overview.contains(&format!("  {command}")), "{command} is missing from\n{overview}");
        let path: &[&str] = if command == "config" { &["config", "check"] } else { &[command] };
        let help = succeed(path.iter().chain(&["--help"]));
        assert!(help.contains("Example") && help.contains(&format!("rpp-node {}", path.join(" "))), "{help}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["run"],
        &["run", "--config"],
        &["run", "--config", "x", "--no-such-flag"],
        &["publish", "--config", "x", "--height", "0", "y"],
        &["publish", "--config", "x", "--height", "minus", "y"],
        &["fetch", "--config", "x", "--peer"],
        &["bench", "--config", "x"],
        &["bench", "--config", "x", "--peer", "/ip4/10.0.0.7/tcp/4001"],
        &["fetch", "--config", "x", "--resume", "7", "--height", "1"],
        &["verify", "--config", "x", "not-a-root"],
        &["fetch", "--config", "x", "--mirror"],
        &["fetch", "--config", "x", "--resume", "7", "--mirror", "https://host/"],
        &["status", "--config", "x", "not-a-session"],
        &["sources", "--config", "x"],
        &["sources", "--config", "x", "not-a-session"],
        &["init", "--genesis", "short"],
        &["demo", "--size", "1"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn help_and_version_are_exit_code_0() {
    assert!(succeed(["--version"]).contains(env!("CARGO_PKG_VERSION")));
    assert!(succeed(["help", "fetch"]).contains("--peer"));
}

#[test]
fn help_that_cannot_be_written_is_exit_code_1_with_the_reason() {
    for arguments in [&["--help"][..], &["--version"], &["help"], &["help", "fetch"], &["fetch", "--help"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = rpp_node().args(arguments).stdout(full).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("error: cannot write to standard output: No space left"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_missing_configuration_is_exit_code_1_and_says_what_to_do() {
    for command in ["run", "list", "status"] {
        let output = run([command, "--config", "/nonexistent/node.toml"]);
        assert_eq!(output.status.code(), Some(1));
        let error = stderr(&output);
        assert!(error.contains("/nonexistent/node.toml") && error.contains("rpp-node init"), "{error}");
    }
}

#[test]
fn completions_for_every_shell_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

/// What a real bash offers for the last of these words.
fn offered_by_bash(script: &std::path::Path, words: &[&str]) -> Option<Vec<String>> {
    let ask = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
               complete -p rpp-node >&2 && _rpp__node rpp-node \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; \
               printf '%s\\n' \"${COMPREPLY[@]}\"";
    let bash = std::process::Command::new("bash")
        .args(["--norc", "--noprofile", "-c", ask, "bash"])
        .arg(script)
        .args(words)
        .output();
    let Ok(output) = bash else {
        eprintln!("there is no bash here");
        return None;
    };
    assert!(stderr(&output).contains("-F _rpp__node"), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[test]
fn bash_completes_commands_and_their_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("rpp-node");
    std::fs::write(&script, succeed(["completions", "bash"])).unwrap();
    for (words, offered) in [
        (&["rpp-node", "int"][..], "introspect"),
        (&["rpp-node", "fetch", "--res"], "--resume"),
        (&["rpp-node", "config", "che"], "check"),
        (&["rpp-node", "config", "check", "--js"], "--json"),
        (&["rpp-node", "completions", "ba"], "bash"),
    ] {
        let Some(found) = offered_by_bash(&script, words) else { return };
        assert_eq!(found, [offered], "{words:?}");
    }
}
