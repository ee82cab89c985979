//! Limits of a feed.

use crate::options;

options! {
    /// Limits of a [`PurchaseFeed`](super::PurchaseFeed).
    #[derive(Debug, Clone)]
    pub struct FeedOptions {
        /// The maximum number of subscriptions (default 1,000).
        pub max_subscriptions: usize = 1_000,
        /// The maximum number of records behind the newest one at which a subscription continues (default 1,000,000).
        pub max_catch_up: u64 = 1_000_000,
        /// The maximum number of subscriptions that read old records of the log at a time (default 4). More wait.
        pub max_catch_ups: usize = 4,
        /// The number of records that are kept for subscriptions that continue (default 4,096).
        pub kept_records: usize = 4_096,
        /// The number of records that are kept until ingest passes them (default 65,536), in equal parts for the
        /// partitions. Later ones are read again.
        pub held_records: usize = 65_536,
        /// How many purchases may wait for a subscription (default 1,024). One that is slower is ended, and can
        /// continue.
        pub queue: usize = 1_024,
    }
}
