//! `mirror`.

use std::fs;

use crate::harness::{Place, fail, json};

#[test]
fn what_is_stored_is_copied_once_and_a_wrong_url_is_not_repeated() {
    let place = Place::new(&["--publisher"]);
    let input = place.path("input");
    fs::write(&input, vec![7; 300_000]).unwrap();
    let root = place.publish(1, &input)["root"].as_str().unwrap().to_owned();
    let to = place.path("mirror");
    let url = format!("file://{}", to.display());
    let config = place.config();
    let run = |more: &[&str]| {
        let fixed = ["mirror", "--config", config.to_str().unwrap(), "--json"];
        json(&crate::harness::succeed(fixed.iter().chain(more)))
    };
    let looked = run(&["--dry-run", &url]);
    assert_eq!(looked["sent"][0], root.as_str());
    assert!(!to.exists(), "nothing is changed");
    let done = run(&[&url, &root]);
    assert_eq!((&done["bytes"], &done["snapshots"][0]["bytes"]), (&looked["bytes"], &300_000.into()));
    let list = json(&fs::read_to_string(to.join("snapshots.json")).unwrap());
    assert_eq!(list["snapshots"], done["snapshots"]);
    for file in ["payload", "outboard", "manifest.json"] {
        let stored = place.path("data/snapshots/store").join(&root).join(file);
        assert!(fs::read(to.join(&root).join(file)).unwrap() == fs::read(stored).unwrap(), "{file}");
    }
    assert_eq!(run(&[&url])["bytes"], 0, "everything is there");
    for wrong in ["https://user:word@host/a#b", "ftp://user:word@host", "s3:///word"] {
        let said = fail(["mirror", "--config", config.to_str().unwrap(), wrong]);
        assert!(said.contains("DEST") && !said.contains("word"), "{said}");
    }
}
