//! The two curves in the form that nova-snark's traits require. All types are the library's own, except that
//! [`crate::msm`] computes multi-scalar multiplications, which take most of the time of a verification.

use std::ops::{Add, AddAssign, Mul, MulAssign, Sub, SubAssign};

use nova_snark::{
    provider::{
        keccak::Keccak256Transcript,
        pasta::{pallas, vesta},
        pedersen::CommitmentEngine,
        traits::{DlogGroup, DlogGroupExt},
    },
    traits::{CustomSerdeTrait, Engine, Group},
};
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::ToPrimitive;
use serde::{Deserialize, Serialize};

use crate::{
    generators::{self, Half},
    msm::{self, few},
    oracle::{Oracle, OracleCircuit},
};

/// An element of the library's group `G`, in its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Element<G>(G);

/// Up to this number of terms, [`few::sum`] does the multiplication. The library multiplies so few one by one.
const FEW: usize = 16;

/// Above this number of terms, [`msm::sum`] does it: for fewer its tables are not worth their cost, and the library does it.
const SOME: usize = 512;

impl<G: Group> Group for Element<G> {
    type Base = G::Base;
    type Scalar = G::Scalar;

    fn group_params() -> (Self::Base, Self::Base, BigInt, BigInt) {
        G::group_params()
    }
}

impl<G> CustomSerdeTrait for Element<G> where G: Serialize + for<'de> Deserialize<'de> {}

/// A curve of the library with [`Element`] as its group. A macro, because the bounds of the library's traits would be
/// circular for a generic group.
macro_rules! curve {
    ($(#[$doc:meta])* $name:ident, $curve:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) struct $name;

        impl Engine for $name {
            type Base = $curve::Base;
            type Scalar = $curve::Scalar;
            type GE = Element<$curve::Point>;
            type RO = Oracle<Self::Base>;
            type ROCircuit = OracleCircuit<Self::Base>;
            type RO2 = Oracle<Self::Scalar>;
            type RO2Circuit = OracleCircuit<Self::Scalar>;
            type TE = Keccak256Transcript<Self>;
            type CE = CommitmentEngine<Self>;
        }

        impl DlogGroup for Element<$curve::Point> {
            type AffineGroupElement = $curve::Affine;

            fn from_label(label: &'static [u8], n: usize) -> Vec<Self::AffineGroupElement> {
                generators::known(Half::$name, label, n).unwrap_or_else(|| $curve::Point::from_label(label, n))
            }

            fn affine(&self) -> Self::AffineGroupElement {
                self.0.affine()
            }

            fn group(point: &Self::AffineGroupElement) -> Self {
                Self($curve::Point::group(point))
            }

            fn zero() -> Self {
                Self($curve::Point::zero())
            }

            fn r#gen() -> Self {
                Self($curve::Point::r#gen())
            }

            fn to_coordinates(&self) -> (Self::Base, Self::Base, bool) {
                self.0.to_coordinates()
            }
        }

        impl DlogGroupExt for Element<$curve::Point> {
            fn vartime_multiscalar_mul(scalars: &[Self::Scalar], bases: &[Self::AffineGroupElement]) -> Self {
                Self(match scalars.len() {
                    ..=FEW => few::sum(scalars, bases),
                    ..=SOME => $curve::Point::vartime_multiscalar_mul(scalars, bases),
                    _ => msm::sum(scalars, bases),
                })
            }

            fn vartime_multiscalar_mul_small<T: Integer + Into<u64> + Copy + Sync + ToPrimitive>(
                scalars: &[T],
                bases: &[Self::AffineGroupElement],
            ) -> Self {
                Self($curve::Point::vartime_multiscalar_mul_small(scalars, bases))
            }

            fn vartime_multiscalar_mul_small_with_max_num_bits<
                T: Integer + Into<u64> + Copy + Sync + ToPrimitive,
            >(
                scalars: &[T],
                bases: &[Self::AffineGroupElement],
                max_num_bits: usize,
            ) -> Self {
                Self($curve::Point::vartime_multiscalar_mul_small_with_max_num_bits(scalars, bases, max_num_bits))
            }
        }
    };
}

curve! {
    /// Pallas; the chain consists of its scalars.
    Pallas, pallas
}

curve! {
    /// Vesta, the other curve of the cycle.
    Vesta, vesta
}

/// The group's operation and its inverse, for elements and for references to them.
macro_rules! operator {
    ($operator:ident, $function:ident, $assigning:ident, $assign:ident) => {
        impl<G: $operator<Output = G>> $operator for Element<G> {
            type Output = Self;

            fn $function(self, other: Self) -> Self {
                Self(self.0.$function(other.0))
            }
        }

        impl<'r, G: $operator<&'r G, Output = G>> $operator<&'r Self> for Element<G> {
            type Output = Self;

            fn $function(self, other: &'r Self) -> Self {
                Self(self.0.$function(&other.0))
            }
        }

        impl<G: $assigning> $assigning for Element<G> {
            fn $assign(&mut self, other: Self) {
                self.0.$assign(other.0);
            }
        }

        impl<'r, G: $assigning<&'r G>> $assigning<&'r Self> for Element<G> {
            fn $assign(&mut self, other: &'r Self) {
                self.0.$assign(&other.0);
            }
        }
    };
}

operator!(Add, add, AddAssign, add_assign);
operator!(Sub, sub, SubAssign, sub_assign);

impl<S, G: Mul<S, Output = G>> Mul<S> for Element<G> {
    type Output = Self;

    fn mul(self, scalar: S) -> Self {
        Self(self.0 * scalar)
    }
}

impl<S, G: MulAssign<S>> MulAssign<S> for Element<G> {
    fn mul_assign(&mut self, scalar: S) {
        self.0 *= scalar;
    }
}
