//! Publishers' authority over a tip.

use rpp_proofs::{CheckpointSignature, Commitment, Genesis, MAX_SIGNATURES, SignatureError, Signer, verify_signatures};

const HEIGHT: u64 = 1200;
const STEP: u64 = 118;

struct Fixture {
    genesis: Genesis,
    tip: Commitment,
    signers: Vec<Signer>,
}

impl Fixture {
    /// Three publishers, two of whom must sign.
    fn new() -> Self {
        let mut signers: Vec<_> = (1..=3).map(|n| Signer::from_seed([n; 32])).collect();
        signers.sort_by_key(Signer::public);
        let publishers = signers.iter().map(Signer::public).collect();
        let genesis = Genesis::new("example".into(), publishers, 2).unwrap();
        Self { genesis, tip: Commitment::from_bytes([5; 32]).unwrap(), signers }
    }

    fn sign(&self, index: usize) -> CheckpointSignature {
        self.signers[index].sign(&self.genesis.commitment(), &self.tip, HEIGHT, STEP)
    }

    fn verify(&self, signatures: &[CheckpointSignature], revoked: &[[u8; 32]]) -> Result<usize, SignatureError> {
        verify_signatures(&self.genesis, &self.tip, HEIGHT, STEP, signatures, revoked)
    }
}

/// What was wrong, as `[valid, wrong, unknown, revoked, repeated]`.
fn below(counts: [usize; 5]) -> SignatureError {
    let [valid, wrong, unknown, revoked, repeated] = counts;
    SignatureError::BelowThreshold { valid, threshold: 2, wrong, unknown, revoked, repeated }
}

#[test]
fn enough_publishers_give_authority() {
    let fixture = Fixture::new();
    let [first, second, third] = [0, 1, 2].map(|index| fixture.sign(index));
    assert_eq!(fixture.verify(&[first, second], &[]), Ok(2));
    assert_eq!(fixture.verify(&[third, first], &[]), Ok(2), "in any order");
    assert_eq!(fixture.verify(&[first, second, third], &[]), Ok(3));
}

#[test]
fn missing_signatures_are_refused() {
    let fixture = Fixture::new();
    assert_eq!(fixture.verify(&[], &[]), Err(below([0, 0, 0, 0, 0])));
    assert_eq!(fixture.verify(&[fixture.sign(0)], &[]), Err(below([1, 0, 0, 0, 0])));
}

#[test]
fn a_publisher_counts_once() {
    let fixture = Fixture::new();
    let first = fixture.sign(0);
    assert_eq!(fixture.verify(&[first, first, first], &[]), Err(below([1, 0, 0, 0, 2])));
    assert_eq!(fixture.verify(&[first, first, fixture.sign(1)], &[]), Ok(2));
}

#[test]
fn strangers_do_not_count() {
    let fixture = Fixture::new();
    let stranger = Signer::generate().sign(&fixture.genesis.commitment(), &fixture.tip, HEIGHT, STEP);
    assert_eq!(fixture.verify(&[fixture.sign(0), stranger], &[]), Err(below([1, 0, 1, 0, 0])));
    assert_eq!(fixture.verify(&[stranger, fixture.sign(0), fixture.sign(1)], &[]), Ok(2));
}

#[test]
fn revoked_publishers_do_not_count() {
    let fixture = Fixture::new();
    let signatures = [fixture.sign(0), fixture.sign(1)];
    let revoked = [fixture.signers[1].public()];
    assert_eq!(fixture.verify(&signatures, &revoked), Err(below([1, 0, 0, 1, 0])));
    assert_eq!(fixture.verify(&[signatures[0], signatures[1], fixture.sign(2)], &revoked), Ok(2));
}

#[test]
fn signatures_of_something_else_are_wrong() {
    let fixture = Fixture::new();
    let (genesis, tip) = (fixture.genesis.commitment(), fixture.tip);
    let other = Commitment::from_bytes([6; 32]).unwrap();
    let signer = &fixture.signers[1];
    let elsewhere = [
        signer.sign(&other, &tip, HEIGHT, STEP),
        signer.sign(&genesis, &other, HEIGHT, STEP),
        signer.sign(&genesis, &tip, HEIGHT + 1, STEP),
        signer.sign(&genesis, &tip, HEIGHT, STEP + 1),
        CheckpointSignature { publisher: signer.public(), ..fixture.sign(0) },
    ];
    for signature in elsewhere {
        assert_eq!(fixture.verify(&[fixture.sign(0), signature], &[]), Err(below([1, 1, 0, 0, 0])));
    }
    // A wrong signature beside the right one does not invalidate it.
    assert_eq!(fixture.verify(&[fixture.sign(0), elsewhere[0], fixture.sign(1)], &[]), Ok(2));
}

#[test]
fn every_changed_bit_makes_a_signature_wrong() {
    let fixture = Fixture::new();
    let valid = fixture.sign(1);
    for bit in 0..512 {
        let mut changed = valid;
        changed.signature[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(fixture.verify(&[fixture.sign(0), changed], &[]), Err(below([1, 1, 0, 0, 0])), "bit {bit}");
    }
}

#[test]
fn a_flood_of_signatures_is_refused_unread() {
    let fixture = Fixture::new();
    let mut signatures = vec![fixture.sign(0); MAX_SIGNATURES - 1];
    signatures.push(fixture.sign(1));
    assert_eq!(fixture.verify(&signatures, &[]), Ok(2));
    signatures.push(fixture.sign(1));
    assert_eq!(fixture.verify(&signatures, &[]), Err(SignatureError::TooMany { found: MAX_SIGNATURES + 1 }));
}

#[test]
fn a_signer_keeps_its_seed_and_shows_only_its_public_key() {
    let signer = Signer::generate();
    assert_eq!(Signer::from_seed(*signer.seed()).public(), signer.public());
    let shown = format!("{signer:?}");
    assert!(shown.contains(&hex::encode(signer.public())));
    assert!(!shown.contains(&hex::encode(*signer.seed())));
}
