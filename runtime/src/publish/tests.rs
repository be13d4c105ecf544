use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    fake::{OPEN, bytes, publish, publish_bytes, request, signer},
    *,
};
use crate::{files::Dir, store::Quota, tar, unpack, verify::verify_with};

/// Everything in a folder, with contents, except the files that every publish may touch.
fn image(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push((entry.path(), fs::read(entry.path()).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn assert_sound(snapshots: &Path, root: &Hash) {
    let store = Store::open(snapshots).unwrap();
    let report = verify_with(&store, root, None, &fake::check_proof, &mut |_, _| {}).unwrap();
    assert!(report.ok, "{report:?}");
}

#[test]
fn a_file_and_a_folder_are_published_with_their_formats() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = temp.path().join("data/snapshots");
    let file = temp.path().join("file");
    for (height, length) in [(3, 0), (7, 1), (8, 16_384), (9, 16_385), (20, 9_000_000)] {
        fs::write(&file, bytes(length, height)).unwrap();
        let published = publish(&snapshots, &file, height).unwrap();
        assert_eq!(published.root, blake3::hash(&bytes(length, height)).into());
        assert_eq!((published.height, published.bytes), (height, length as u64));
        assert_eq!(published.format, PayloadFormat::Raw);
        assert_eq!(published.genesis.0, fake::genesis().commitment().to_bytes());
        assert_sound(&snapshots, &published.root);
    }
    let folder = temp.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("content"), bytes(5_000_000, 1)).unwrap();
    let mut packed = Vec::new();
    tar::pack(&folder, &mut packed).unwrap();
    let mut seen = Vec::new();
    let progress = &mut |progress| seen.push(progress);
    let published = run(&request(&snapshots, &folder, 21, &signer()), Arc::new(DiskSpace), OPEN, progress).unwrap();
    assert_eq!(published.root, blake3::hash(&packed).into());
    assert_eq!((published.format, published.step), (PayloadFormat::Tar, 6));
    assert_sound(&snapshots, &published.root);
    let total = packed.len() as u64;
    assert_eq!(seen[0], PublishProgress::Reading { done: 0, total });
    assert!(seen.contains(&PublishProgress::Reading { done: total, total }));
    let stages =
        [PublishProgress::Preparing, PublishProgress::Extending, PublishProgress::Proving, PublishProgress::Placing];
    assert!(seen.ends_with(&stages) && seen[seen.len() - 5] == PublishProgress::Flushing);
    let json = serde_json::to_string(&published).unwrap();
    let keys: Vec<_> = json.split('"').skip(1).step_by(2).filter(|word| word.len() < 12 && *word != "tar").collect();
    assert_eq!(keys, ["root", "height", "step", "bytes", "format", "commitment", "genesis", "publisher"]);
}

#[test]
fn the_same_again_gives_the_same_answer_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    fs::write(&file, bytes(100_000, 1)).unwrap();
    let first = publish(&snapshots, &file, 5).unwrap();
    publish_bytes(&snapshots, &bytes(1000, 2), 6);
    let before = image(&snapshots);
    assert_eq!(publish(&snapshots, &file, 5).unwrap(), first);
    assert_eq!(image(&snapshots), before);
}

#[test]
fn any_other_height_not_above_the_last_is_refused_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    publish_bytes(&snapshots, &bytes(1000, 1), 5);
    publish_bytes(&snapshots, &bytes(1000, 2), 9);
    fs::write(&file, bytes(1000, 2)).unwrap();
    let before = image(&snapshots);
    for height in [1, 4, 5, 6, 8] {
        let error = publish(&snapshots, &file, height).unwrap_err();
        assert!(matches!(error, PublishError::NotAbove { last: 9, .. }), "{height}: {error}");
    }
    assert!(matches!(publish(&snapshots, &file, 0), Err(PublishError::HeightZero)));
    let signer = signer();
    let other_block = PublishRequest { block_hash: Some(Hash([1; 32])), ..request(&snapshots, &file, 9, &signer) };
    let error = run(&other_block, Arc::new(DiskSpace), OPEN, &mut |_| {}).unwrap_err();
    assert!(matches!(error, PublishError::NotAbove { .. }), "{error}");
    assert_eq!(image(&snapshots), before);
    publish(&snapshots, &file, 9).unwrap();
}

#[test]
fn a_removed_payload_comes_back_with_the_same_answer() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    fs::write(&file, bytes(100_000, 1)).unwrap();
    let first = publish(&snapshots, &file, 5).unwrap();
    let before = image(&snapshots);
    Store::open(&snapshots).unwrap().remove(&first.root, false).unwrap();
    assert_eq!(publish(&snapshots, &file, 5).unwrap(), first);
    assert_eq!(image(&snapshots), before);
}

#[test]
fn only_the_newest_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    let signer = signer();
    for height in 1..=4 {
        fs::write(&file, bytes(1000, height)).unwrap();
        let keeping = PublishRequest { keep: 2, ..request(&snapshots, &file, height, &signer) };
        run(&keeping, Arc::new(DiskSpace), OPEN, &mut |_| {}).unwrap();
    }
    let store = Store::open(&snapshots).unwrap();
    let mut heights: Vec<u64> =
        store.list().iter().map(|stored| stored.offers()[0].snapshot.checkpoint.height).collect();
    heights.sort_unstable();
    assert_eq!(heights, [3, 4]);
}

#[test]
fn another_key_or_chain_cannot_continue_the_chain() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    publish_bytes(&snapshots, b"one", 1);
    fs::write(&file, "two").unwrap();
    let (signer, other) = (signer(), rpp_proofs::Signer::from_seed([8; 32]));
    for wrong in [
        PublishRequest { chain_id: "other", ..request(&snapshots, &file, 2, &signer) },
        request(&snapshots, &file, 2, &other),
    ] {
        let error = run(&wrong, Arc::new(DiskSpace), OPEN, &mut |_| {}).unwrap_err();
        assert!(matches!(error, PublishError::OtherChain { .. }), "{error}");
    }
    let invalid = PublishRequest { chain_id: "not a name", ..request(&snapshots, &file, 2, &signer) };
    assert!(matches!(run(&invalid, Arc::new(DiskSpace), OPEN, &mut |_| {}), Err(PublishError::Genesis(_))));
}

#[test]
fn one_publish_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = temp.path().join("snapshots");
    publish_bytes(&snapshots, b"one", 1);
    let file = temp.path().join("file");
    fs::write(&file, "two").unwrap();
    let _held = ChainFolder::open(&snapshots.join("chain"), &fake::genesis()).unwrap();
    assert!(matches!(publish(&snapshots, &file, 2), Err(PublishError::InUse { .. })));
}

#[test]
fn a_full_disk_is_refused_before_and_while_copying_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    fs::write(&file, bytes(9_000_000, 1)).unwrap();
    let signer = signer();
    let attempt = |quota: Arc<dyn Space>| run(&request(&snapshots, &file, 1, &signer), quota, OPEN, &mut |_| {});
    match attempt(Arc::new(Quota::new(9_000_000))) {
        Err(PublishError::Full { needed, free: 9_000_000, .. }) => assert!(needed > 9_000_000),
        other => panic!("{other:?}"),
    }
    #[derive(Debug)]
    struct FillsUp(Quota);
    impl Space for FillsUp {
        fn free_bytes(&self, _: &Path) -> std::io::Result<u64> {
            Ok(1 << 40)
        }
        fn before_write(&self, bytes: u64) -> std::io::Result<()> {
            self.0.before_write(bytes)
        }
    }
    let error = attempt(Arc::new(FillsUp(Quota::new(5_000_000)))).unwrap_err();
    assert!(matches!(error, PublishError::NoRoom { .. }), "so much is free that bytes are not lacking: {error}");
    assert!(!snapshots.join("chain").join(chain::STAGING).exists());
    assert!(Store::open(&snapshots).unwrap().list().is_empty());
    attempt(Arc::new(DiskSpace)).unwrap();
}

#[test]
fn what_cannot_be_published_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = temp.path().join("snapshots");
    let fifo = temp.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert!(matches!(publish(&snapshots, &fifo, 1), Err(PublishError::Unsupported { .. })));
    let missing = temp.path().join("missing");
    let error = publish(&snapshots, &missing, 1).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    let folder = temp.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::rename(&fifo, folder.join("fifo")).unwrap();
    let error = publish(&snapshots, &folder, 1).unwrap_err();
    assert!(error.to_string().contains("folder/fifo"), "{error}");
}

#[test]
fn links_that_nobody_could_unpack_are_named_before_any_work() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, folder) = (temp.path().join("snapshots"), temp.path().join("folder"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("key"), "k").unwrap();
    fs::set_permissions(folder.join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("/var/lib/example", folder.join("current")).unwrap();
    let signer = signer();
    let mut seen = Vec::new();
    let mut attempt = |allow_links: bool| {
        seen.clear();
        let request = PublishRequest { allow_links, ..request(&snapshots, &folder, 1, &signer) };
        let result = run(&request, Arc::new(DiskSpace), OPEN, &mut |progress| seen.push(progress));
        (result, seen.clone())
    };
    let (result, seen) = attempt(false);
    let error = result.unwrap_err();
    assert!(matches!(&error, PublishError::RefusedLinks(links) if links.total == 1), "{error}");
    assert!(error.to_string().contains("\"current\"") && error.to_string().contains("--allow-links"), "{error}");
    // Nothing was read, and nothing was made.
    let [PublishProgress::Surveyed(survey)] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((survey.refused.first[0].0.as_str(), survey.private.first[0].0.as_str()), ("current", "key"));
    assert!(!snapshots.exists());

    let (result, seen) = attempt(true);
    assert!(matches!(&seen[0], PublishProgress::Surveyed(survey) if survey.is_folder));
    let stored = Store::open(&snapshots).unwrap().get(&result.unwrap().root).unwrap();
    let dest = temp.path().join("dest");
    let options = unpack::Options::default();
    let error = unpack::unpack_stored(&stored, &dest, &options, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, unpack::UnpackError::Refused { .. }), "{error}");
    let skipping = unpack::Options { skip_refused: true, ..options };
    let unpacked = unpack::unpack_stored(&stored, &dest, &skipping, &mut |_, _| {}).unwrap();
    assert_eq!((unpacked.entries, unpacked.refused[0].path.as_str()), (1, "current"));
}

#[test]
fn a_sparse_input_stays_sparse_in_the_store_and_needs_no_more_room() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, folder) = (temp.path().join("snapshots"), temp.path().join("folder"));
    fs::create_dir(&folder).unwrap();
    let file = fs::File::create(folder.join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    for at in [0, 20 << 20, (64 << 20) - 8192] {
        file.write_all_at(&bytes(8192, at), at).unwrap();
    }
    let signer = signer();
    for (height, input) in [(1, folder.join("sparse")), (2, folder.clone())] {
        // Less than the length, but more than the data and the outboard.
        let quota = Arc::new(Quota::new(8 << 20));
        let published = run(&request(&snapshots, &input, height, &signer), quota, OPEN, &mut |_| {}).unwrap();
        if height == 1 {
            assert_eq!(published.root, blake3::hash(&fs::read(&input).unwrap()).into());
        }
        assert_sound(&snapshots, &published.root);
        let stored = Store::open(&snapshots).unwrap().get(&published.root).unwrap();
        let meta = stored.payload_path().metadata().unwrap();
        assert_eq!(meta.len(), published.bytes);
        assert!(meta.blocks() * 512 <= 128 * 1024, "{} bytes", meta.blocks() * 512);
    }
    // Data without holes needs more space than there is.
    let full = Arc::new(Quota::new(4 << 20));
    fs::write(folder.join("more"), bytes(1_000_000, 9)).unwrap();
    let result = run(&request(&snapshots, &folder, 3, &signer), full, OPEN, &mut |_| {});
    assert!(matches!(result, Err(PublishError::Full { .. })), "{result:?}");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    let signer = signer();
    for change in
        [|file: &Path| fs::write(file, "short").unwrap(), |file: &Path| fs::write(file, bytes(9_000_001, 2)).unwrap()]
    {
        fs::write(&file, bytes(9_000_000, 1)).unwrap();
        let mut pending = Some(change);
        let meddle = &mut |progress| {
            if matches!(progress, PublishProgress::Reading { .. })
                && let Some(change) = pending.take()
            {
                change(&file);
            }
        };
        let result = run(&request(&snapshots, &file, 1, &signer), Arc::new(DiskSpace), OPEN, meddle);
        assert!(matches!(result, Err(PublishError::Input(TarError::Changed { .. }))), "{result:?}");
    }
    // A file whose length is known only after reading it is refused as well.
    let result =
        run(&request(&snapshots, Path::new("/proc/version"), 1, &signer), Arc::new(DiskSpace), OPEN, &mut |_| {});
    assert!(matches!(result, Err(PublishError::Input(TarError::Sizeless { .. }))), "{result:?}");
    assert!(Store::open(&snapshots).unwrap().list().is_empty());
}

/// Leaves the same files as a publish that was killed after some step, and returns what that publish would have
/// answered.
fn killed_at(snapshots: &Path, file: &Path, height: u64, stop: PublishProgress) -> Published {
    struct Killed;
    let signer = signer();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(&request(snapshots, file, height, &signer), Arc::new(DiskSpace), OPEN, &mut |progress| {
            if progress == stop {
                std::panic::resume_unwind(Box::new(Killed));
            }
        })
    }));
    assert!(caught.is_err());
    let elsewhere = tempfile::tempdir().unwrap();
    publish_bytes(elsewhere.path(), b"first", 1);
    publish(elsewhere.path(), file, height).unwrap()
}

#[test]
fn whatever_a_killed_publish_left_the_next_one_completes_or_cleans_up() {
    for (stop, completed) in [
        (PublishProgress::Flushing, false),
        (PublishProgress::Preparing, false),
        (PublishProgress::Extending, false),
        (PublishProgress::Proving, true),
        (PublishProgress::Placing, true),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
        publish_bytes(&snapshots, b"first", 1);
        fs::write(&file, bytes(100_000, 2)).unwrap();
        let expected = killed_at(&snapshots, &file, 2, stop.clone());
        assert!(Store::open(&snapshots).unwrap().get(&expected.root).is_none());
        // A different publish comes next.
        let third = publish_bytes(&snapshots, b"third", 3);
        assert_eq!(third.step, if completed { 3 } else { 2 }, "{stop:?}");
        let stored = Store::open(&snapshots).unwrap().get(&expected.root);
        assert_eq!(stored.is_some(), completed, "{stop:?}");
        if completed {
            assert_sound(&snapshots, &expected.root);
            assert_eq!(publish(&snapshots, &file, 2).unwrap(), expected);
        }
        let left = Dir::open(&snapshots.join("chain")).unwrap().names().unwrap();
        assert_eq!(left, [".lock", "history", "prover"]);
    }
}

#[test]
fn the_same_publish_after_a_kill_gives_the_answer_it_would_have_given() {
    for stop in [
        PublishProgress::Flushing,
        PublishProgress::Preparing,
        PublishProgress::Extending,
        PublishProgress::Proving,
        PublishProgress::Placing,
    ] {
        let temp = tempfile::tempdir().unwrap();
        let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
        publish_bytes(&snapshots, b"first", 1);
        fs::write(&file, bytes(100_000, 2)).unwrap();
        let expected = killed_at(&snapshots, &file, 2, stop.clone());
        assert_eq!(publish(&snapshots, &file, 2).unwrap(), expected, "{stop:?}");
        assert_sound(&snapshots, &expected.root);
    }
}

const CHILD: &str = "RPP_TEST_PUBLISH_CHILD";

/// Not a test of its own: the process that [`sigkill_at_random_moments_loses_nothing`] kills.
#[test]
fn publishing_child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let folder = PathBuf::from(folder);
    let height = fs::read_to_string(folder.join("height")).unwrap().parse().unwrap();
    publish(&folder.join("snapshots"), &folder.join("file"), height).unwrap();
    fs::write(folder.join("done"), "").unwrap();
}

/// `RPP_TEST_KILLS` says how often.
#[test]
fn sigkill_at_random_moments_loses_nothing() {
    let kills: u64 = std::env::var("RPP_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12);
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    let mut published = vec![publish_bytes(&snapshots, b"first", 1)];
    let mut longest = Duration::from_millis(20);
    for height in 2..2 + kills {
        fs::write(&file, bytes(6_000_000, height)).unwrap();
        fs::write(temp.path().join("height"), height.to_string()).unwrap();
        let started = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "publish::tests::publishing_child"])
            .env(CHILD, temp.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let patience = longest.mul_f64(rand::random_range(0.0..1.2));
        while started.elapsed() < patience && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if fs::remove_file(temp.path().join("done")).is_ok() {
            longest = started.elapsed();
        } else {
            longest = longest.max(patience.mul_f64(1.1));
        }
        // Everything stored is complete, and the same publish now gives its answer.
        for stored in Store::open(&snapshots).unwrap().list() {
            assert_sound(&snapshots, &stored.root());
        }
        let again = publish(&snapshots, &file, height).unwrap();
        assert_eq!((again.step, again.root), (height, blake3::hash(&bytes(6_000_000, height)).into()));
        published.push(again);
    }
    let store = Store::open(&snapshots).unwrap();
    assert!(store.damaged().is_empty());
    assert_eq!(store.list().len(), published.len());
    for each in &published {
        assert_sound(&snapshots, &each.root);
    }
    assert_eq!(store.best_offer(None, Some(1)).unwrap().1.tip.commitment, published.last().unwrap().commitment);
}

/// `cargo test -p rpp-runtime --lib publish_speed -- --ignored --nocapture`; `RPP_TEST_MIB` is the size.
#[test]
#[ignore = "a measurement, not a test"]
fn publish_speed() {
    let mib: usize = std::env::var("RPP_TEST_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(1024);
    let temp = tempfile::tempdir_in(std::env::var("RPP_TEST_DIR").unwrap_or("/var/tmp".to_owned())).unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    let piece = bytes(1024 * 1024, 1);
    let mut out = fs::File::create(&file).unwrap();
    for _ in 0..mib {
        std::io::Write::write_all(&mut out, &piece).unwrap();
    }
    out.sync_all().unwrap();
    let mut marks = Vec::new();
    let started = Instant::now();
    run(&request(&snapshots, &file, 1, &signer()), Arc::new(DiskSpace), OPEN, &mut |progress| {
        if !matches!(progress, PublishProgress::Reading { done: 1.., .. }) {
            marks.push((started.elapsed(), progress));
        }
    })
    .unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{mib} MiB: {:.0} MiB/s, {peak}, {marks:?}", mib as f64 / started.elapsed().as_secs_f64());
}
