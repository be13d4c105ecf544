//! The demo does what it says, also when it is small.

use crate::harness::{rpp_node, run, stderr};

#[test]
fn the_demo_tells_its_story_and_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let output = rpp_node().args(["demo", "--size", "32"]).env("TMPDIR", temporary.path()).output().unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for said in [
        "Published a directory",
        "SIGKILL after",
        "went on by itself",
        "lead back to the genesis",
        "all equal byte by byte",
        "exit code 0",
    ] {
        assert!(text.contains(said), "{said} is missing from\n{text}");
    }
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
