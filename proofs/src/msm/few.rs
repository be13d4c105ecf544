//! The same sum for a few terms. A proof needs some 33,000 sums of two: each round of the inner-product argument folds the
//! bases, two into one.
//!
//! The method is Straus's: the terms share their doublings. Digits are odd or zero (the width-5 non-adjacent form), so on
//! average one in six doublings is followed by an addition for each term.

use ff::PrimeField;
use halo2curves::{CurveAffine, group::Group};

use super::{NUMBER_BITS, Number};

/// Bits of a digit. Narrower ones mean more additions, wider ones larger tables.
const WIDTH: usize = 5;
/// A point times 1, 3, 5 ... 15: what a digit may be.
const MULTIPLES: usize = 1 << (WIDTH - 2);

/// The sum of `scalars[i] * points[i]`. If the lengths differ, the shorter one counts. The fields have at most 255 bits.
pub(crate) fn sum<C>(scalars: &[C::Scalar], points: &[C]) -> C::CurveExt
where
    C: CurveAffine<ScalarExt: PrimeField<Repr = Number>>,
{
    let terms = scalars.iter().zip(points);
    let terms: Vec<_> = terms.map(|(scalar, point)| (digits(&scalar.to_repr()), odd_multiples(*point))).collect();
    let mut sum = C::CurveExt::identity();
    for at in (0..NUMBER_BITS).rev() {
        sum = sum.double();
        for (digits, multiples) in &terms {
            let digit = digits[at];
            let multiple = &multiples[usize::from(digit.unsigned_abs()) / 2];
            if digit > 0 {
                sum += multiple;
            } else if digit < 0 {
                sum -= multiple;
            }
        }
    }
    sum
}

/// The digit at each bit: zero, or odd and below `2^(WIDTH - 1)`. After one that is not zero, [`WIDTH`] - 1 are.
fn digits(number: &Number) -> [i8; NUMBER_BITS] {
    let bit = |at: usize| number.as_ref().get(at / 8).map_or(0, |byte| (byte >> (at % 8) & 1).cast_signed());
    let mut digits = [0; NUMBER_BITS];
    let (mut at, mut carry) = (0, 0);
    while at < NUMBER_BITS {
        if bit(at) == carry {
            // Zero, or two of which one is carried on.
            at += 1;
            continue;
        }
        let window = (0..WIDTH).fold(carry, |window, above| window + (bit(at + above) << above));
        carry = i8::from(window >= 1 << (WIDTH - 1));
        digits[at] = window - (carry << WIDTH);
        at += WIDTH;
    }
    digits
}

fn odd_multiples<C: CurveAffine>(point: C) -> [C::CurveExt; MULTIPLES] {
    let twice = point.to_curve().double();
    let mut multiple = point.to_curve();
    std::array::from_fn(|at| {
        if at > 0 {
            multiple += twice;
        }
        multiple
    })
}

#[cfg(test)]
mod tests {
    use ff::Field;
    use nova_snark::provider::pasta::pallas::Scalar;
    use proptest::prelude::*;

    use super::*;
    use crate::msm::tests::number;

    proptest! {
        /// The digits of a scalar add up to it, and two that are not zero are far enough apart.
        #[test]
        fn digits_make_up_their_number(number in number::<Scalar>()) {
            let digits = digits(&number.to_repr());
            let sum = digits.iter().rev().fold(Scalar::ZERO, |sum, digit| {
                let size = Scalar::from(u64::from(digit.unsigned_abs()));
                sum.double() + if *digit < 0 { -size } else { size }
            });
            prop_assert_eq!(sum, number);
            for (at, digit) in digits.iter().enumerate().filter(|(_, digit)| **digit != 0) {
                prop_assert!(digit % 2 != 0 && usize::from(digit.unsigned_abs()) < 2 * MULTIPLES, "{}", digit);
                prop_assert!(digits[at + 1..].iter().take(WIDTH - 1).all(|next| *next == 0), "at {}", at);
            }
        }
    }
}
