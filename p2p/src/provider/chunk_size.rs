//! Which chunk size suits both sides.

use crate::{
    limits::{DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, MIN_CHUNK_SIZE},
    messages::PlanWishes,
};

/// The chunk sizes that one side accepts. They need not be powers of two: minima are rounded up, maxima down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkBounds {
    /// Smallest.
    pub min: u64,
    /// Largest.
    pub max: u64,
}

impl Default for ChunkBounds {
    fn default() -> Self {
        Self { min: MIN_CHUNK_SIZE, max: MAX_CHUNK_SIZE }
    }
}

/// No chunk size is acceptable to both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkSizeError {
    /// 0 was asked for.
    #[error("chunk_size must be positive")]
    Zero,
    /// The bounds do not overlap.
    #[error(
        "no chunk size suits both sides: the consumer takes {} to {}, the provider {} to {} (powers of two)",
        .consumer.min, .consumer.max, .provider.min, .provider.max
    )]
    NoOverlap {
        /// The consumer's.
        consumer: ChunkBounds,
        /// The provider's.
        provider: ChunkBounds,
    },
}

/// The largest power of two that is not above the requested size (1 MiB by default), within both sides' bounds.
///
/// # Errors
/// 0 was asked for, or the bounds do not overlap.
pub fn choose_chunk_size(
    asked: Option<u64>,
    consumer: ChunkBounds,
    provider: ChunkBounds,
) -> Result<u64, ChunkSizeError> {
    let asked = asked.unwrap_or(DEFAULT_CHUNK_SIZE);
    if asked == 0 {
        return Err(ChunkSizeError::Zero);
    }
    let (min, max) = common(consumer, provider).ok_or(ChunkSizeError::NoOverlap { consumer, provider })?;
    Ok(floor_power(asked).clamp(min, max))
}

impl PlanWishes {
    /// The chunk size in bytes of a plan that fits these wishes. `provider`: the bounds of the plan's maker. See
    /// [`choose_chunk_size`].
    ///
    /// # Errors
    /// As [`choose_chunk_size`]'s.
    pub fn fit_chunk_size(&self, provider: ChunkBounds) -> Result<u64, ChunkSizeError> {
        let any = ChunkBounds::default();
        let consumer =
            ChunkBounds { min: self.min_chunk_size.unwrap_or(any.min), max: self.max_chunk_size.unwrap_or(any.max) };
        choose_chunk_size(self.chunk_size, consumer, provider)
    }
}

/// The powers of two that both sides accept, within the protocol's own bounds.
fn common(consumer: ChunkBounds, provider: ChunkBounds) -> Option<(u64, u64)> {
    let min = consumer.min.max(provider.min).clamp(MIN_CHUNK_SIZE, MAX_CHUNK_SIZE + 1).next_power_of_two();
    let max = floor_power(consumer.max.min(provider.max).min(MAX_CHUNK_SIZE));
    (min <= max).then_some((min, max))
}

/// The largest power of two not above `n`; 0 for 0.
fn floor_power(n: u64) -> u64 {
    n.checked_ilog2().map_or(0, |log| 1 << log)
}
