//! The circuit compared with the chain outside it, and with witnesses that cheat.

use nova_snark::frontend::{Variable, solver::SatisfyingAssignment, test_cs::TestConstraintSystem};
use proptest::prelude::*;

use super::*;
use crate::{chain::next_commitment, commitment::Commitment, curve::Pallas};

fn tip(height: u64) -> Tip {
    Tip { step: 1, height, commitment: Commitment::from_bytes([0x21; 32]).unwrap() }
}

fn checkpoint(height: u64) -> Checkpoint {
    Checkpoint { step: 2, height, block_hash: [3; 32], state_root: [4; 32], payload_bytes: 5 }
}

/// What comes out of the circuit for this witness.
fn run<CS: ConstraintSystem<Scalar>>(cs: &mut CS, before: &Tip, link: &ChainStep) -> Vec<Scalar> {
    let inputs = [before.commitment.scalar(), Scalar::from(before.height)];
    let z: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, value)| AllocatedNum::alloc_infallible(cs.namespace(|| format!("z {index}")), || *value))
        .collect();
    link.synthesize(cs, &z).unwrap().iter().map(|number| number.get_value().unwrap()).collect()
}

fn is_satisfied(before: &Tip, link: &ChainStep) -> bool {
    let mut cs = TestConstraintSystem::new();
    run(&mut cs, before, link);
    cs.which_is_unsatisfied().is_none()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The circuit, the generator of its witness and the code outside it compute the same commitment.
    #[test]
    fn the_circuit_computes_the_native_commitment(
        height in 0..u64::MAX,
        gap: u64,
        block_hash: [u8; 32],
        state_root: [u8; 32],
        payload_bytes: u64,
    ) {
        let before = tip(height);
        let height = height.saturating_add(gap).saturating_add(1);
        let checkpoint = Checkpoint { step: 2, height, block_hash, state_root, payload_bytes };
        let expected = vec![
            next_commitment(&before.commitment, &checkpoint).scalar(),
            Scalar::from(height),
        ];
        let link = ChainStep::new(&before, &checkpoint);

        let mut constrained = TestConstraintSystem::new();
        prop_assert_eq!(&run(&mut constrained, &before, &link), &expected);
        prop_assert!(constrained.which_is_unsatisfied().is_none());
        let mut witness = SatisfyingAssignment::<Pallas>::new();
        prop_assert_eq!(&run(&mut witness, &before, &link), &expected);
    }
}

#[test]
fn a_height_that_does_not_rise_satisfies_no_witness() {
    for (before, after) in [(5, 5), (5, 4), (5, 0), (u64::MAX, 0), (1, 0), (0, 0)] {
        let before = tip(before);
        let honest = ChainStep::new(&before, &checkpoint(after));
        assert!(!is_satisfied(&before, &honest), "{} -> {after}", before.height);
        for gap in [0, 1, u64::MAX] {
            assert!(!is_satisfied(&before, &ChainStep { gap, ..honest.clone() }), "{} -> {after}", before.height);
        }
    }
    for (before, after) in [(0, 1), (5, 6), (0, u64::MAX), (u64::MAX - 1, u64::MAX)] {
        assert!(is_satisfied(&tip(before), &ChainStep::new(&tip(before), &checkpoint(after))), "{before} -> {after}");
    }
}

#[test]
fn a_gap_that_does_not_lead_to_the_height_is_unsatisfied() {
    let before = tip(10);
    let link = ChainStep::new(&before, &checkpoint(20));
    for gap in [8, 10, 0, u64::MAX] {
        assert!(!is_satisfied(&before, &ChainStep { gap, ..link.clone() }), "gap {gap}");
    }
}

/// Every constraint matters: changing any single variable of the step breaks one.
#[test]
fn no_variable_of_the_step_is_free() {
    let before = tip(10);
    let link = ChainStep::new(&before, &checkpoint(20));
    let mut counted = Changed { inner: TestConstraintSystem::new(), target: usize::MAX, allocated: 0 };
    run(&mut counted, &before, &link);
    assert!(counted.inner.which_is_unsatisfied().is_none());
    assert!(counted.allocated > 64 + 5 + 2, "{}", counted.allocated);
    for target in 0..counted.allocated {
        let mut changed = Changed { inner: TestConstraintSystem::new(), target, allocated: 0 };
        run(&mut changed, &before, &link);
        assert!(changed.inner.which_is_unsatisfied().is_some(), "variable {target} is not constrained");
    }
}

/// Assigns to one variable a value that the circuit did not intend.
struct Changed {
    inner: TestConstraintSystem<Scalar>,
    target: usize,
    allocated: usize,
}

impl ConstraintSystem<Scalar> for Changed {
    type Root = Self;

    fn alloc<F, A, AR>(&mut self, annotation: A, value: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        let change = if self.allocated == self.target { Scalar::one() } else { Scalar::zero() };
        self.allocated += 1;
        self.inner.alloc(annotation, || Ok(value()? + change))
    }

    fn alloc_input<F, A, AR>(&mut self, annotation: A, value: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        self.inner.alloc_input(annotation, value)
    }

    fn enforce<A, AR, LA, LB, LC>(&mut self, annotation: A, a: LA, b: LB, c: LC)
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
        LA: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LB: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LC: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
    {
        self.inner.enforce(annotation, a, b, c);
    }

    fn push_namespace<NR: Into<String>, N: FnOnce() -> NR>(&mut self, name: N) {
        self.inner.push_namespace(name);
    }

    fn pop_namespace(&mut self) {
        self.inner.pop_namespace();
    }

    fn get_root(&mut self) -> &mut Self::Root {
        self
    }
}
