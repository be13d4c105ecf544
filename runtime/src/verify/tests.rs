use std::os::unix::fs::FileExt as _;

use rpp_p2p::TrustAnchor;

use super::*;
use crate::publish::fake::{self, bytes, publish_bytes};

struct Place {
    temp: tempfile::TempDir,
    root: Hash,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = publish_bytes(temp.path(), &bytes(100_000, 1), 1).root;
        Self { temp, root }
    }

    fn report(&self, trust: Option<&TrustAnchor>) -> VerifyReport {
        let store = Store::open(self.temp.path()).unwrap();
        verify_with(&store, &self.root, trust, &fake::check_proof, &mut |_, _| {}).unwrap()
    }

    fn flip(&self, name: &str, at: u64) {
        let path = self.temp.path().join("store").join(self.root.to_string()).join(name);
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    }

    /// Rewrites the manifest with a changed offer and a correct checksum.
    fn change(&self, change: impl FnOnce(&mut Offer)) {
        let path = self.temp.path().join("store").join(self.root.to_string()).join("manifest.json");
        let mut manifest: crate::store::Manifest = crate::files::sealed::open(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut manifest.offers[0]);
        std::fs::write(&path, crate::files::sealed::seal(&manifest).unwrap()).unwrap();
    }
}

#[test]
fn what_was_published_passes_under_its_own_anchor_only() {
    let place = Place::new();
    let report = place.report(None);
    assert!(report.ok && report.offers[0].trusted.is_none(), "{report:?}");
    let mut trust = TrustAnchor::new(report.offers[0].genesis);
    assert!(place.report(Some(&trust)).ok);
    trust.revoked = vec![Hash(fake::signer().public())];
    let report = place.report(Some(&trust));
    assert!(!report.ok && !report.offers[0].signatures.is_ok());
    let other = TrustAnchor::new(Hash([1; 32]));
    let report = place.report(Some(&other));
    assert!(!report.ok && report.offers[0].trusted == Some(false));
}

#[test]
fn each_kind_of_damage_is_named() {
    let place = Place::new();
    place.flip("payload", 50_000);
    let report = place.report(None);
    assert!(!report.ok && !report.payload.is_ok() && report.offers[0].is_ok());

    let place = Place::new();
    place.flip("outboard", 70);
    let report = place.report(None);
    assert_eq!(report.outboard, Check::Failed("it differs from what the payload makes at byte 70".to_owned()));
    assert!(!report.ok && report.payload.is_ok());

    let place = Place::new();
    place.change(|offer| offer.updates[0].signatures.clear());
    let report = place.report(None);
    assert!(!report.ok && !report.offers[0].signatures.is_ok() && report.offers[0].chain.is_ok());

    let place = Place::new();
    place.change(|offer| offer.updates[0].recursive_proof = Some("another proof".into()));
    let report = place.report(None);
    assert!(!report.ok && !report.offers[0].proof.is_ok() && report.offers[0].signatures.is_ok());

    let place = Place::new();
    place.change(|offer| {
        offer.snapshot.checkpoint.height = 2;
        offer.tip.height = 2;
        offer.updates[0].checkpoint.height = 2;
    });
    assert!(!place.report(None).ok);

    let place = Place::new();
    place.change(|offer| offer.genesis.threshold = 9);
    let report = place.report(None);
    assert!(!report.ok && !report.offers[0].chain.is_ok());
}

#[test]
fn what_is_not_there_or_left_out_is_an_error() {
    let place = Place::new();
    let store = Store::open(place.temp.path()).unwrap();
    let unknown = verify_with(&store, &Hash([1; 32]), None, &fake::check_proof, &mut |_, _| {});
    assert!(matches!(unknown, Err(VerifyError::Unknown { .. })));
    place.flip("manifest.json", 20);
    store.refresh().unwrap();
    let damaged = verify_with(&store, &place.root, None, &fake::check_proof, &mut |_, _| {});
    assert!(matches!(damaged, Err(VerifyError::Damaged { .. })), "{damaged:?}");
}
