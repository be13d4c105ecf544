//! Multi-scalar multiplication: `scalars[0] * points[0] + scalars[1] * points[1] + ...`.
//!
//! The method is Pippenger's with signed digits. Points are added in affine coordinates, and additions share their
//! inversions (Montgomery's trick), so that each takes six multiplications. One multi-scalar multiplication of 2^14
//! points on each curve takes nearly all of the time of a verification. It does not run in constant time, because
//! nothing here is secret.

pub(crate) mod few;

use std::sync::Mutex;

use ff::{Field, PrimeField};
use halo2curves::{Coordinates, CurveAffine, group::Group, serde::Repr};
use rayon::prelude::*;

/// The least number of additions that share an inversion: as many as the cache of a core holds.
const RUN: usize = 4096;

/// The bytes of a scalar, little-endian.
type Number = Repr<32>;

/// The bits of a scalar.
const NUMBER_BITS: usize = 256;

/// The sum of `scalars[i] * points[i]`. If the lengths differ, the shorter one counts. The curve has `a = 0` and fields
/// of at most 255 bits.
pub(crate) fn sum<C>(scalars: &[C::Scalar], points: &[C]) -> C::CurveExt
where
    C: CurveAffine<ScalarExt: PrimeField<Repr = Number>>,
{
    let terms = scalars.par_iter().zip(points).map(|(scalar, point)| match Point::new(point) {
        Some(point) => (scalar.to_repr(), point),
        // The identity adds nothing: its digits are zero, so it is never added.
        None => (Number::default(), Point { x: C::Base::ZERO, y: C::Base::ZERO }),
    });
    let (mut numbers, mut points) = (vec![], vec![]);
    terms.unzip_into_vecs(&mut numbers, &mut points);
    let width = width(points.len());
    let windows = (0..NUMBER_BITS / width + 1).into_par_iter().with_max_len(1);
    let workspaces = Mutex::new(Vec::new());
    let window_sum = |window| {
        let mut workspace: Workspace<C::Base> =
            workspaces.lock().ok().and_then(|mut free| free.pop()).unwrap_or_default();
        let sum = workspace.window_sum::<C>(&numbers, &points, window, width);
        if let Ok(mut free) = workspaces.lock() {
            free.push(workspace);
        }
        sum
    };
    let sums: Vec<_> = windows.map(window_sum).collect();
    sums.into_iter().rev().fold(C::CurveExt::identity(), |sum, window| double(sum, width) + window)
}

/// Bits of a digit. Wider digits mean fewer additions but more buckets.
fn width(terms: usize) -> usize {
    let bits = terms.checked_ilog2().unwrap_or_default() as usize;
    bits.saturating_sub(2).clamp(2, 14)
}

/// The memory for the sum of one window. It is used again for others, because an allocator returns large blocks late.
#[derive(Default)]
struct Workspace<F> {
    digits: Vec<i32>,
    buckets: Buckets,
    adder: Adder<F>,
    /// The sum of each bucket, of each row of buckets, and of each column.
    sums: [Vec<Option<Point<F>>>; 3],
}

impl<F: Field> Workspace<F> {
    /// The sum of the points, each multiplied by one digit of its scalar.
    fn window_sum<C: CurveAffine<Base = F>>(
        &mut self,
        numbers: &[Number],
        points: &[Point<F>],
        window: usize,
        width: usize,
    ) -> C::CurveExt {
        self.sums.iter_mut().for_each(Vec::clear);
        let Self { digits, buckets, adder, sums: [sums, row_sums, column_sums] } = self;
        digits.clear();
        digits.extend(numbers.iter().map(|number| digit(number, window, width)));
        buckets.sort(digits, 1 << (width - 1));
        for [positive, negative] in buckets.iter() {
            let point = |term: &u32| points[*term as usize];
            adder.group(positive.iter().map(point).chain(negative.iter().map(|term| point(term).negated())));
            if adder.points.len() >= RUN {
                adder.finish(sums);
            }
        }
        adder.finish(sums);
        // The points of bucket `row * columns + column` count `row * columns + column + 1` times. Summing by rows and
        // columns needs fewer additions.
        let (columns, columns_log2) = (1 << (width / 2), width / 2);
        sums.chunks(columns).for_each(|row| adder.group(row.iter().flatten().copied()));
        adder.finish(row_sums);
        (0..columns).for_each(|column| adder.group(sums.iter().skip(column).step_by(columns).flatten().copied()));
        adder.finish(column_sums);
        double(weighted::<C>(&row_sums[1..]), columns_log2) + weighted::<C>(column_sums)
    }
}

/// Digit number `window`, from `-2^(width - 1)` to `2^(width - 1)`: the bits of the window, minus `2^width` if its
/// highest bit is set, plus one if the highest bit below it is set (Booth's encoding).
fn digit(number: &Number, window: usize, width: usize) -> i32 {
    let lowest = window * width;
    // One more bit, below the window.
    let from = lowest.saturating_sub(1);
    let mut bytes = [0; 4];
    number.as_ref()[from / 8..].iter().zip(&mut bytes).for_each(|(from, to)| *to = *from);
    let bits = (i32::from_le_bytes(bytes) >> (from % 8)) << usize::from(lowest == 0);
    let bits = bits & ((2 << width) - 1);
    ((bits + 1) >> 1) - ((bits >> width) << width)
}

/// The terms sorted by their digit, with a counting sort.
#[derive(Default)]
struct Buckets {
    /// Terms by the absolute value of their digit; for each value those with a positive digit come first.
    terms: Vec<u32>,
    /// The ends of the groups: `ends[2 * size]` for positive digits, `ends[2 * size + 1]` for negative ones. No term
    /// has digit 0.
    ends: Vec<usize>,
}

impl Buckets {
    fn sort(&mut self, digits: &[i32], largest: usize) {
        let Self { terms, ends } = self;
        let key = |digit: &i32| 2 * digit.unsigned_abs() as usize + usize::from(*digit < 0);
        ends.clear();
        ends.resize(2 * largest + 2, 0);
        digits.iter().for_each(|digit| ends[key(digit)] += 1);
        ends[0] = 0;
        let mut start = 0;
        for end in &mut *ends {
            (start, *end) = (start + *end, start);
        }
        terms.clear();
        terms.resize(start, 0);
        for (term, digit) in (0..).zip(digits).filter(|(_, digit)| **digit != 0) {
            let end = &mut ends[key(digit)];
            terms[*end] = term;
            *end += 1;
        }
    }

    /// For each digit from 1 on, the terms that have it, and the terms that have its negative.
    fn iter(&self) -> impl Iterator<Item = [&[u32]; 2]> {
        let bounds = self.ends[1..].windows(3).step_by(2);
        bounds.map(|ends| [&self.terms[ends[0]..ends[1]], &self.terms[ends[1]..ends[2]]])
    }
}

/// The first point once, the second twice, and so on.
fn weighted<C: CurveAffine>(points: &[Option<Point<C::Base>>]) -> C::CurveExt {
    let (mut running, mut sum) = (C::CurveExt::identity(), C::CurveExt::identity());
    for point in points.iter().rev() {
        if let Some(point) = point {
            // Always on the curve, because it is a sum of points on the curve.
            running += C::from_xy(point.x, point.y).unwrap_or(C::identity());
        }
        sum += running;
    }
    sum
}

fn double<G: Group>(point: G, times: usize) -> G {
    (0..times).fold(point, |point, _| point.double())
}

/// Affine coordinates of a point that is not the identity.
#[derive(Clone, Copy)]
struct Point<F> {
    x: F,
    y: F,
}

impl<F: Field> Point<F> {
    fn new<C: CurveAffine<Base = F>>(point: &C) -> Option<Self> {
        if point.is_identity().into() {
            return None;
        }
        let point: Coordinates<C> = Option::from(point.coordinates())?;
        Some(Self { x: *point.x(), y: *point.y() })
    }

    fn negated(self) -> Self {
        Self { x: self.x, y: -self.y }
    }

    /// The denominator of the slope through two points, or of the tangent if they are equal; zero when the points
    /// cancel.
    fn denominator(&self, other: &Self) -> F {
        if self.x == other.x { self.y + other.y } else { other.x - self.x }
    }

    /// The numerator of that slope.
    fn numerator(&self, other: &Self) -> F {
        if self.x == other.x {
            let square = self.x.square();
            square.double() + square
        } else {
            other.y - self.y
        }
    }
}

/// Adds up the points of many groups at once, in pairs, so that all additions of a round share one inversion.
///
/// Two additions are always computed together, so that the processor does not wait for the products of the first.
struct Adder<F> {
    points: Vec<Point<F>>,
    /// The indices of each group's points, group by group.
    members: Vec<usize>,
    /// The number of points in each group.
    sizes: Vec<usize>,
    /// The additions of this round: the second point is added to the first.
    pairs: Vec<[usize; 2]>,
    /// The inverses of the pairs' denominators; zero for points that cancel.
    inverses: Vec<F>,
    /// The products of the preceding denominators, for every other pair.
    products: Vec<F>,
}

impl<F> Default for Adder<F> {
    fn default() -> Self {
        Self { points: vec![], members: vec![], sizes: vec![], pairs: vec![], inverses: vec![], products: vec![] }
    }
}

impl<F: Field> Adder<F> {
    fn group(&mut self, points: impl Iterator<Item = Point<F>>) {
        let before = self.points.len();
        self.points.extend(points);
        self.members.extend(before..self.points.len());
        self.sizes.push(self.points.len() - before);
    }

    /// Appends the sum of each group (`None`: the identity) and clears the groups.
    fn finish(&mut self, sums: &mut Vec<Option<Point<F>>>) {
        while self.sizes.iter().any(|size| *size > 1) {
            self.make_pairs();
            self.invert_denominators();
            self.add_pairs();
            self.keep_sums();
        }
        let mut members = self.members.drain(..);
        sums.extend(
            self.sizes.drain(..).map(|size| if size == 0 { None } else { members.next().map(|at| self.points[at]) }),
        );
        drop(members);
        self.points.clear();
    }

    fn make_pairs(&mut self) {
        self.pairs.clear();
        let mut rest = self.members.as_slice();
        for size in &self.sizes {
            let (group, others) = rest.split_at(*size);
            rest = others;
            self.pairs.extend(group.as_chunks().0);
        }
    }

    fn invert_denominators(&mut self) {
        let points = &self.points;
        self.inverses.clear();
        self.inverses.extend(self.pairs.iter().map(|[one, other]| points[*one].denominator(&points[*other])));
        self.products.clear();
        self.products.resize(self.inverses.len() + 2, F::ONE);
        let mut products = self.products.as_mut_slice();
        for denominator in &self.inverses {
            let [before, _, after, ..] = products else { break };
            *after = if *denominator == F::ZERO { *before } else { *before * denominator };
            products = &mut products[1..];
        }
        let [.., last_but_one, last] = self.products[..] else { return };
        // Never zero, because such factors were left out.
        let both = (last_but_one * last).invert().unwrap_or(F::ZERO);
        let mut inverses = [both * last, both * last_but_one];
        let count = self.inverses.len();
        for (at, (denominator, product)) in self.inverses.iter_mut().zip(&self.products).enumerate().rev() {
            let inverse = &mut inverses[(count - at) % 2];
            if *denominator != F::ZERO {
                let before = *inverse * *denominator;
                *denominator = *inverse * product;
                *inverse = before;
            }
        }
    }

    fn add_pairs(&mut self) {
        let (twos, rest) = self.pairs.as_chunks::<2>();
        let (inverses, rest_inverses) = self.inverses.as_chunks::<2>();
        for (pairs, inverses) in twos.iter().zip(inverses) {
            add(&mut self.points, pairs, inverses);
        }
        for (pair, inverse) in rest.iter().zip(rest_inverses) {
            add(&mut self.points, &[*pair], &[*inverse]);
        }
    }

    /// Keeps the sum of each pair, unless it is the identity, and each unpaired point.
    fn keep_sums(&mut self) {
        let (mut from, mut to) = (0, 0);
        let mut inverses = self.inverses.iter();
        for size in &mut self.sizes {
            let (start, end) = (to, from + *size);
            for first in (from..end).step_by(2) {
                let odd = first + 1 == end;
                if odd || inverses.next().is_some_and(|inverse| *inverse != F::ZERO) {
                    self.members[to] = self.members[first];
                    to += 1;
                }
            }
            (from, *size) = (end, to - start);
        }
        self.members.truncate(to);
    }
}

/// Writes the sums of pairs to the places of their first points. No two pairs share a place.
fn add<F: Field, const N: usize>(points: &mut [Point<F>], pairs: &[[usize; 2]; N], inverses: &[F; N]) {
    let mut slopes = [F::ZERO; N];
    for ((slope, [one, other]), inverse) in slopes.iter_mut().zip(pairs).zip(inverses) {
        *slope = points[*one].numerator(&points[*other]) * inverse;
    }
    let mut widths = [F::ZERO; N];
    for ((width, slope), [one, other]) in widths.iter_mut().zip(&slopes).zip(pairs) {
        let x = slope.square() - points[*one].x - points[*other].x;
        *width = points[*one].x - x;
        points[*one].x = x;
    }
    for ((width, slope), [one, _]) in widths.iter().zip(&slopes).zip(pairs) {
        points[*one].y = *slope * width - points[*one].y;
    }
}

#[cfg(test)]
mod tests;
