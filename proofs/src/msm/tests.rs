//! Compares results with the library's, with all the special cases of addition: equal and opposite points, the
//! identity, and scalars whose digits are all equal.

use ff::{Field, PrimeField};
use halo2curves::{
    CurveAffine,
    group::{Curve, Group},
};
use nova_snark::provider::{
    msm::msm,
    pasta::{pallas, vesta},
};
use proptest::prelude::*;

use super::{NUMBER_BITS, Number, digit, few, sum, width};

/// One of a few scalars: small ones, negative ones, halves, and any.
pub(super) fn number<F: PrimeField>() -> impl Strategy<Value = F> {
    let small = any::<u64>().prop_map(F::from);
    let any = any::<[u64; 4]>()
        .prop_map(|limbs| limbs.iter().fold(F::ZERO, |sum, limb| sum * F::from(u64::MAX) + F::from(*limb)));
    let few = (0..5_u64).prop_map(F::from);
    prop_oneof![
        few.clone(),
        few.prop_map(|number| -number),
        small.clone(),
        small.prop_map(|number| -number * F::TWO_INV),
        any
    ]
}

/// Terms with few different points, so that many are equal or opposite, and with the identity.
fn terms<C: CurveAffine>() -> impl Strategy<Value = (Vec<C::Scalar>, Vec<C>)> {
    let point =
        (0..40_u64).prop_map(|number| (C::generator() * (C::Scalar::from(number) - C::Scalar::from(20))).to_affine());
    prop::collection::vec((number::<C::Scalar>(), point), 0..700).prop_map(|terms| terms.into_iter().unzip())
}

fn library<C: CurveAffine>(scalars: &[C::Scalar], points: &[C]) -> C::CurveExt {
    scalars.iter().zip(points).fold(C::CurveExt::identity(), |sum, (scalar, point)| sum + *point * *scalar)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pallas_sums_are_what_their_terms_add_up_to((scalars, points) in terms::<pallas::Affine>()) {
        prop_assert_eq!(sum(&scalars, &points), library(&scalars, &points));
    }

    #[test]
    fn vesta_sums_are_what_their_terms_add_up_to((scalars, points) in terms::<vesta::Affine>()) {
        prop_assert_eq!(sum(&scalars, &points), library(&scalars, &points));
    }

    #[test]
    fn sums_of_a_few_terms_are_what_these_add_up_to(
        (scalars, points) in terms::<pallas::Affine>(), (others, bases) in terms::<vesta::Affine>()
    ) {
        let (scalars, others) = (&scalars[..scalars.len().min(16)], &others[..others.len().min(16)]);
        prop_assert_eq!(few::sum(scalars, &points), library(scalars, &points));
        prop_assert_eq!(few::sum(others, &bases), library(others, &bases));
    }

    /// The digits of a scalar add up to it, for every width.
    #[test]
    fn digits_make_up_their_number(number in number::<pallas::Scalar>(), width in 2_usize..=14) {
        let base = pallas::Scalar::from(1 << width);
        let sum = (0..=NUMBER_BITS / width).rev().fold(pallas::Scalar::ZERO, |sum, window| {
            let digit = digit(&number.to_repr(), window, width);
            assert!(digit.unsigned_abs() <= 1 << (width - 1));
            let size = pallas::Scalar::from(u64::from(digit.unsigned_abs()));
            sum * base + if digit < 0 { -size } else { size }
        });
        prop_assert_eq!(sum, number);
    }
}

/// As many different points as a verification has, on both curves.
#[test]
fn sums_of_many_points_are_the_librarys() {
    fn check<C: CurveAffine<ScalarExt: PrimeField<Repr = Number>>>() {
        let mut points = vec![C::identity(); 1 << 14];
        let multiples = (0..1 << 14).scan(C::generator().to_curve(), |point, _| {
            *point = point.double() + C::generator();
            Some(*point)
        });
        let multiples: Vec<_> = multiples.collect();
        C::CurveExt::batch_normalize(&multiples, &mut points);
        let scalars: Vec<_> = (3..).map(|number| C::Scalar::from(number).invert().unwrap()).take(1 << 14).collect();
        assert_eq!(sum(&scalars, &points), msm(&scalars, &points));
    }
    check::<pallas::Affine>();
    check::<vesta::Affine>();
}

/// A group in which everything cancels, beside one in which all points are equal.
#[test]
fn points_that_cancel_leave_the_others() {
    let point = pallas::Affine::generator();
    let mut points = vec![point; 1000];
    points.extend([-point; 999]);
    let ones = vec![pallas::Scalar::ONE; points.len()];
    assert_eq!(sum(&ones, &points), point.into());
    assert_eq!(sum(&ones[..1998], &points[1..]), pallas::Point::identity());
    assert_eq!(sum::<pallas::Affine>(&[], &[]), pallas::Point::identity());
}

#[test]
fn digits_are_never_wider_than_can_be_read() {
    assert_eq!((width(0), width(512), width(1 << 14), width(1 << 30)), (2, 7, 12, 14));
}
