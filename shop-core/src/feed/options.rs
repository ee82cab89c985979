//! Limits of a feed.

use crate::option_setters;

/// Limits of a [`PurchaseFeed`](super::PurchaseFeed).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeedOptions {
    /// The maximum number of subscriptions (default 1,000).
    pub max_subscriptions: usize,
    /// The maximum number of records behind the newest one at which a subscription continues (default 1,000,000).
    pub max_catch_up: u64,
    /// The maximum number of subscriptions that read old records of the log at a time (default 4). More wait.
    pub max_catch_ups: usize,
    /// The number of records that are kept for subscriptions that continue (default 4,096).
    pub kept_records: usize,
    /// The number of records that are kept until ingest passes them (default 65,536), in equal parts for the partitions.
    /// Later ones are read again.
    pub held_records: usize,
    /// How many purchases may wait for a subscription (default 1,024). One that is slower is ended, and can continue.
    pub queue: usize,
}

option_setters!(FeedOptions {
    max_subscriptions: usize,
    max_catch_up: u64,
    max_catch_ups: usize,
    kept_records: usize,
    held_records: usize,
    queue: usize,
});

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            max_subscriptions: 1_000,
            max_catch_up: 1_000_000,
            max_catch_ups: 4,
            kept_records: 4_096,
            held_records: 65_536,
            queue: 1_024,
        }
    }
}
