//! Converts limits on numbers of rows for the databases.

/// Returns `limit` as a signed integer, which is the type that the databases take. A larger limit
/// becomes the maximum.
pub fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
