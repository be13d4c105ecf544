//! Publishing with the real proof system.

use std::{fs, path::Path};

use rpp_p2p::{Hash, TrustAnchor};
use rpp_proofs::Signer;
use rpp_runtime::{
    publish::{PublishProgress, PublishRequest, Published, publish},
    store::Store,
    verify::verify,
};

fn publish_file(snapshots: &Path, input: &Path, height: u64, signer: &Signer) -> Published {
    let request = PublishRequest {
        snapshots_dir: snapshots,
        input,
        height,
        block_hash: None,
        chain_id: "example",
        signer,
        keep: 0,
        allow_links: false,
    };
    let mut last = None;
    let published = publish(&request, &mut |progress| last = Some(progress)).unwrap();
    assert_eq!(last, Some(PublishProgress::Placing));
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
    let trust = TrustAnchor::new(second.genesis);
    let store = Store::open(&snapshots).unwrap();
    for published in [&first, &second] {
        let report = verify(&store, &published.root, Some(&trust)).unwrap();
        assert!(report.ok, "{report:?}");
    }
    // Publishing the same file again makes no second proof. The proof of another snapshot is not accepted in its place.
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
