//! Tars: the warnings of `publish`, and the result of `unpack`.

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::{Place, eventually, json, repository, stderr};

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

fn payload(place: &Place, root: &str) -> PathBuf {
    place.path(&format!("data/snapshots/store/{root}/payload"))
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn links_are_named_before_any_work_and_left_out_when_asked() {
    let place = Place::new(&["--publisher"]);
    let input = place.path("state");
    fs::create_dir_all(input.join("bin")).unwrap();
    fs::write(input.join("bin/tool"), "tool").unwrap();
    fs::write(input.join("key"), "secret").unwrap();
    fs::set_permissions(input.join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    symlink("../bin/../bin/tool", input.join("bin/inside")).unwrap();
    symlink("/var/lib/example", input.join("current")).unwrap();
    let source = input.to_str().unwrap();

    let said = place.fail("publish", &["--height", "1", source]);
    assert!(said.contains("\"current\": its target is absolute") && said.contains("--allow-links"), "{said}");
    assert!(said.contains("\"key\" has mode 0600") && said.contains("--private"), "{said}");
    assert!(!said.contains("inside") && !said.contains("reading, hashing"), "{said}");
    assert!(!place.path("data/snapshots/chain").exists());

    let published = place.output("publish", &["--json", "--allow-links", "--height", "1", source]);
    assert!(published.status.success() && stderr(&published).contains("\"current\""), "{}", stderr(&published));
    let published = json(&String::from_utf8(published.stdout).unwrap());
    let (root, dest) = (text(&published, "root"), place.path("dest"));
    let dest_argument = dest.to_str().unwrap();
    let said = place.fail("unpack", &[root, dest_argument]);
    assert!(said.contains("\"current\" is refused: its target is absolute"), "{said}");
    assert!(!dest.exists());

    let output = place.output("unpack", &["--json", "--skip-refused", "--private", root, dest_argument]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("unpacking: 0 B of "), "{}", stderr(&output));
    let unpacked = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((text(&unpacked, "root"), text(&unpacked, "dest")), (root, dest_argument));
    assert_eq!((&unpacked["entries"], &unpacked["refused_total"]), (&4.into(), &1.into()));
    assert_eq!(unpacked["refused"], serde_json::json!([{ "path": "current", "reason": "its target is absolute" }]));
    assert_eq!(fs::read(dest.join("bin/inside")).unwrap(), b"tool");
    assert_eq!(["", "bin", "key"].map(|path| mode(&dest.join(path))), [0o700, 0o700, 0o600]);
    fs::remove_dir_all(&dest).unwrap();
    let lines = place.output("unpack", &["--skip-refused", root, dest_argument]);
    assert!(stderr(&lines).contains("left out \"current\""), "{}", stderr(&lines));
    fs::remove_dir_all(&dest).unwrap();

    // Changes one bit on the disk.
    let file = fs::File::options().read(true).write(true).open(payload(&place, root)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1030).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1030).unwrap();
    let said = place.fail("unpack", &["--skip-refused", root, dest_argument]);
    assert!(said.contains("changed on the disk") && said.contains(root), "{said}");
    assert!(!dest.exists());

    let removed = json(&place.succeed("remove", &["--json", root]));
    assert_eq!((text(&removed, "root"), &removed["bytes"]), (root, &published["bytes"]));
}

#[test]
fn a_tar_of_another_program_is_named_published_and_unpacked() {
    let place = Place::new(&["--publisher"]);
    let fixture = |name: &str| repository().join("tests/fixtures/tar").join(name);
    let absolute = fixture("absolute-link.tar");
    let output = place.output("publish", &["--height", "1", "--json", absolute.to_str().unwrap()]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let warned = said.find("\"current\": its target is absolute").unwrap_or_else(|| panic!("{said}"));
    assert!(warned < said.find("reading, hashing").unwrap(), "{said}");
    let root = json(&String::from_utf8(output.stdout).unwrap());
    let dest = place.path("dest");
    place.succeed("unpack", &["--skip-refused", text(&root, "root"), dest.to_str().unwrap()]);
    assert_eq!(fs::read_dir(&dest).unwrap().count(), 0);

    let gzipped = place.publish(2, &fixture("gzipped.tar.gz"));
    let other = place.path("other");
    let said = place.fail("unpack", &[text(&gzipped, "root"), other.to_str().unwrap()]);
    assert!(said.contains("gzip") && said.contains("trying to read it as a tar") && !other.exists(), "{said}");
    // If the destination exists, nothing is tried.
    let said = place.fail("unpack", &[text(&gzipped, "root"), dest.to_str().unwrap()]);
    assert!(said.contains("exists") && !said.contains("trying"), "{said}");
}

#[test]
fn a_sparse_directory_stays_sparse_and_a_killed_unpack_is_cleaned_up() {
    const LENGTH: u64 = 64 << 20;
    let place = Place::new(&["--publisher"]);
    let input = place.path("state");
    fs::create_dir(&input).unwrap();
    let file = fs::File::create(input.join("sparse")).unwrap();
    file.set_len(LENGTH).unwrap();
    for at in [0, 30 << 20, LENGTH - 8192] {
        file.write_all_at(&[7; 8192], at).unwrap();
    }
    let published = place.publish(1, &input);
    let (root, dest) = (text(&published, "root"), place.path("dest"));
    let allocated = |path: &Path| path.metadata().unwrap().blocks() * 512;
    assert!(allocated(&payload(&place, root)) <= 128 * 1024);

    // The consumer's copy takes as little space.
    let serving = place.start(&[]);
    let consumer = Place::new(&["--genesis", text(&published, "genesis")]);
    let consuming = consumer.start(&[]);
    consumer.succeed("fetch", &["--json", "--peer", serving.address()]);
    assert!(allocated(&payload(&consumer, root)) <= 128 * 1024);
    drop((serving, consuming));

    // `unpack` is killed as soon as its work is visible. If it ended before that, the test tries again.
    let left = || {
        let names = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".dest.unpacking-")).count()
    };
    eventually("a kill in the middle", || {
        let mut child = place
            .command("unpack")
            .args([root, dest.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while left() == 0 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if fs::remove_dir_all(&dest).is_ok() {
            return None;
        }
        (left() == 1).then_some(())
    });
    place.succeed("unpack", &[root, dest.to_str().unwrap()]);
    assert_eq!(left(), 0);
    assert!(allocated(&dest.join("sparse")) <= 128 * 1024);
    assert!(fs::read(dest.join("sparse")).unwrap() == fs::read(input.join("sparse")).unwrap());

    // A terminal gets a progress bar, anything else gets lines.
    let command = format!("{:?}", place.command("verify").arg(root)).replace('"', "'");
    let shown = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("verifying [") && shown.contains("MiB"), "{shown}");
    let lines = stderr(&place.output("verify", &[root]));
    assert!(lines.contains("verifying: 0 B of 64.0 MiB"), "{lines}");
}
