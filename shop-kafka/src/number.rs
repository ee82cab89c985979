//! Conversions of the numbers of librdkafka, which are signed.
//!
//! The partitions and offsets of records are never negative, so this crate uses unsigned numbers.

/// Converts a number to librdkafka's type. A number out of range becomes [`i32::MAX`].
pub(crate) fn int32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Converts a number of librdkafka, such as an offset or a partition, to an unsigned type. A number
/// out of range becomes zero.
pub(crate) fn unsigned<T: Default>(number: impl TryInto<T>) -> T {
    number.try_into().unwrap_or_default()
}
