//! Limits as the databases take them.

/// Returns `limit` as an integer of a database, which is signed.
pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
