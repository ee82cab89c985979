//! Limits of a feed.

use std::time::Duration;

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
    /// How many of the newest records of each partition are looked at when the log is opened (default 256): one that was
    /// published before a subscription and becomes visible after it is yielded. With a longer lag of ingest, it is not.
    pub lookback: u64,
    /// The number of records that are kept for subscriptions that continue (default 4,096).
    pub kept_records: usize,
    /// How many purchases may wait for a subscription (default 1,024). One that is slower is ended, and can continue.
    pub queue: usize,
    /// After this time a record is not waited for if later ones of its partition are visible (default 60 s): it became a
    /// dead letter.
    pub skip_after: Duration,
}

option_setters!(FeedOptions {
    max_subscriptions: usize,
    max_catch_up: u64,
    max_catch_ups: usize,
    lookback: u64,
    kept_records: usize,
    queue: usize,
    skip_after: Duration,
});

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            max_subscriptions: 1_000,
            max_catch_up: 1_000_000,
            max_catch_ups: 4,
            lookback: 256,
            kept_records: 4_096,
            queue: 1_024,
            skip_after: Duration::from_secs(60),
        }
    }
}
