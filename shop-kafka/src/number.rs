//! The numbers of librdkafka, which are signed. Those of partitions and of records are never negative.

/// A number for librdkafka, at most its greatest one.
pub(crate) fn int32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A number of librdkafka.
pub(crate) fn unsigned<T: Default>(number: impl TryInto<T>) -> T {
    number.try_into().unwrap_or_default()
}
