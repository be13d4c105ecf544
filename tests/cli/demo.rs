//! The demo does what it says, even when it is small.

use crate::harness::{repository, rpp_node, run, stderr};

/// The words of each line without measured or random ones: numbers, hashes, paths and units. The line about chunks that
/// came twice is left out, because it has other words when none did.
fn form(text: &str) -> Vec<String> {
    let unit =
        |word: &str| ["s", "ms", "min", "h", "B", "KiB", "MiB", "GiB", "KiB/s", "MiB/s", "GiB/s"].contains(&word);
    let same = |word: &&str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        !word.starts_with('/') && !word.contains(|c: char| c.is_ascii_digit()) && !unit(bare)
    };
    let lines = text.trim().lines().filter(|line| !line.contains("came twice"));
    lines.map(|line| line.split_whitespace().filter(same).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_demo_tells_its_story_and_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let output = rpp_node().args(["demo", "--size", "32"]).env("TMPDIR", temporary.path()).output().unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let shown = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(shown.contains("SIGKILL after") && shown.contains("all equal byte by byte"), "{shown}");
    assert_eq!(form(&text), form(shown), "the README shows another story than\n{text}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_demo_that_fails_says_where_its_logs_are() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("here");
    let output = run(["demo", "--input", "/nonexistent", "--dir", dir.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(dir.to_str().unwrap()) && dir.is_dir(), "{}", stderr(&output));
}
