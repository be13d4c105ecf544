//! Publishing with the real proof system, and a disk that is really full.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rpp_p2p::{Hash, TrustAnchor, VerifiedChunk};
use rpp_proofs::Signer;
use rpp_runtime::{
    config::Durability,
    publish::{Progress, PublishRequest, Published, publish},
    store::{Offer, Store, StoreError},
    verify::verify,
};

fn publish_file(snapshots: &Path, input: &Path, height: u64, signer: &Signer) -> Published {
    let request =
        PublishRequest { snapshots_dir: snapshots, input, height, block_hash: None, chain_id: "example", signer, keep: 0 };
    let mut last = None;
    let published = publish(&request, &mut |progress| last = Some(progress)).unwrap();
    assert_eq!(last, Some(Progress::Placing));
    published
}

#[test]
fn what_is_really_published_verifies_offline_down_to_the_proof() {
    let temp = tempfile::tempdir().unwrap();
    let (snapshots, file) = (temp.path().join("snapshots"), temp.path().join("file"));
    let signer = Signer::generate();
    fs::write(&file, vec![1; 300_000]).unwrap();
    let first = publish_file(&snapshots, &file, 10, &signer);
    fs::write(&file, vec![2; 300_000]).unwrap();
    let second = publish_file(&snapshots, &file, 20, &signer);
    assert_eq!((first.step, second.step), (1, 2));
    let trust = TrustAnchor { genesis: second.genesis, ..TrustAnchor::default() };
    let store = Store::open(&snapshots).unwrap();
    for published in [&first, &second] {
        let report = verify(&store, &published.root, Some(&trust)).unwrap();
        assert!(report.ok, "{report:?}");
    }
    // A second publish of the same makes no second proof, and another one's does not pass.
    assert_eq!(publish_file(&snapshots, &file, 20, &signer), second);
    let path = snapshots.join("store").join(second.root.to_string()).join("manifest.json");
    let other = snapshots.join("store").join(first.root.to_string()).join("manifest.json");
    let proof = |path: &Path| {
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        manifest["offers"][0]["updates"][0]["recursive_proof"].as_str().unwrap().to_owned()
    };
    let text = fs::read_to_string(&path).unwrap().replace(&proof(&path), &proof(&other));
    let body = &text[..text.rfind(",\"checksum\"").unwrap()];
    let checksum = Hash::from(blake3::hash(format!("{body}}}").as_bytes()));
    fs::write(&path, format!("{body},\"checksum\":\"{checksum}\"}}\n")).unwrap();
    store.refresh().unwrap();
    let report = verify(&store, &second.root, Some(&trust)).unwrap();
    assert!(!report.ok && !report.offers[0].proof.is_ok() && report.offers[0].signatures.is_ok(), "{report:?}");
}

const CHILD: &str = "RPP_TEST_FULL_CHILD";

/// Not a test of its own: runs with a file size limit, as [`a_really_full_disk_is_reported_and_gone_on_from`] starts it.
#[test]
fn full_disk_child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let folder = PathBuf::from(folder);
    let provider = Store::open(&folder.join("provider")).unwrap();
    let (stored, offer) = provider.best_offer(None, None).unwrap();
    let plan = offer.plan(65_536).unwrap();
    let updates: Vec<_> = (0..plan.total_updates).map(|index| offer.update(index).unwrap()).collect();
    let chunk = |index| {
        let (bytes, proof) = stored.read_chunk(index, 65_536).unwrap();
        VerifiedChunk::verify(&stored.root(), stored.bytes(), 65_536, index, bytes, proof).unwrap()
    };
    let consumer = Store::open(&folder.join("consumer")).unwrap();
    let mut partial = consumer.partial(&plan, &updates).unwrap();
    let mut index = 0;
    let stopped = loop {
        match partial.write(&chunk(index)) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(stopped, StoreError::Full { .. }), "{stopped}");
    assert!(index >= 4 && index < plan.total_chunks);
    assert_eq!(partial.sync(Durability::Strict).unwrap(), index * 65_536);
    // Room again: the soft limit goes up to the hard one.
    let limit = rustix::process::Rlimit { current: None, maximum: None };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    for index in index..plan.total_chunks {
        partial.write(&chunk(index)).unwrap();
    }
    let mirrored = partial.finish(Offer::from_plan(&plan, &updates)).unwrap();
    assert_eq!(fs::read(mirrored.payload_path()).unwrap(), fs::read(stored.payload_path()).unwrap());
    fs::write(folder.join("done"), "").unwrap();
}

#[test]
fn a_really_full_disk_is_reported_and_gone_on_from() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, (0..250_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    publish_file(&temp.path().join("provider"), &file, 1, &Signer::generate());
    // The shell sets the limit (in units of 512 or 1024 bytes, as it likes) and keeps the signal from killing.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 600; exec \"$0\" --exact full_disk_child"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, temp.path())
        .output()
        .unwrap();
    assert!(temp.path().join("done").exists(), "{}", String::from_utf8_lossy(&output.stdout));
}
