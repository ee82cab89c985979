//! What this process remembers about the collection of waiting refunds.

use std::sync::atomic::{AtomicBool, AtomicI64};

/// The position before the first waiting refund.
pub(super) const SWEEP_START: i64 = i64::MIN;

/// What a store remembers about its collection of waiting refunds.
#[derive(Debug)]
pub(super) struct WaitingState {
    /// The sequence number of the waiting refund behind which the next sweep continues.
    pub(super) sweep_position: AtomicI64,
    /// Whether this process has created the indexes of the collection.
    pub(super) has_indexes: AtomicBool,
}

impl Default for WaitingState {
    fn default() -> Self {
        Self {
            sweep_position: AtomicI64::new(SWEEP_START),
            has_indexes: AtomicBool::new(false),
        }
    }
}
