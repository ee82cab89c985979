//! [`Operations`]: what operators do with the log of a topic and with the store that it feeds.
//!
//! The program `management` calls these operations for its commands on a log or a store of
//! purchases, and the HTTP API calls them to list and resolve dead letters. A program of your own can
//! offer the same operations to its operators:
//!
//! ```
//! use futures_util::TryStreamExt as _;
//! use shop_core::log::DeadLetterFilter;
//! use shop_core::memory::{InMemoryLog, InMemoryStore};
//! use shop_core::operations::Operations;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
//! let operations = Operations::new(log.backend("purchase-group").with(store.backend()));
//!
//! assert_eq!(operations.status().await?.lag, 0);
//! let dead_letters = operations.dead_letters(DeadLetterFilter::default()).await?;
//! assert!(dead_letters.try_collect::<Vec<_>>().await?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! | operation | needs | result |
//! |---|---|---|
//! | [`dead_letters`](Operations::dead_letters) | the log | a stream of the pending dead letters |
//! | [`dead_letters_by_position`](Operations::dead_letters_by_position), [`dead_letter`](Operations::dead_letter) | the log | the pending dead letters in the order of a listing, and those at a position |
//! | [`forecast_replay`](Operations::forecast_replay) | for purchases the store | why a replayed record would become a dead letter again |
//! | [`resolve`](Operations::resolve) | the log | [`ResolveReport`]: replayed or discarded dead letters |
//! | [`park`](Operations::park) | the log and the group, for purchases also the store | [`ParkReport`]: records that are dead letters now |
//! | [`status`](Operations::status) | the log and the group | [`TopicStatus`]: the progress of the group, what is pending |
//! | [`unread_topic`](Operations::unread_topic) | the log and the group | [`UnreadTopic`]: records that nobody reads, if there are any |
//! | [`forget_group`](Operations::forget_group), [`reset_group`](Operations::reset_group) | a log that keeps its groups itself | where the next consumer of a group starts |
//! | [`replay_events`](Operations::replay_events) | the log | [`EventReplay`]: all events of the log, applied to a store |
//! | [`verify`](Operations::verify) | the log and the store | [`VerifyReport`]: differences between the log and the store |
//! | [`spot_check`](Operations::spot_check) | all three | [`SpotCheck`], which a service repeats |
//! | [`erase_purchases`](Operations::erase_purchases) | the log and the store | [`EraseReport`](crate::erase::EraseReport) |
//! | [`erase_records`](Operations::erase_records) | the log | the erasure of a user in a log without purchases |
//! | [`waiting_refunds`](Operations::waiting_refunds) | the store | the refunds that wait for their purchase |
//! | [`count_purchases`](Operations::count_purchases) | the store | how many purchases are stored |
//! | [`scan_store`](Operations::scan_store) | the store | a stream of all entries, also those that cannot be read |
//! | [`export`](Operations::export) | the store | a stream of purchases in an order in which they can be imported |
//!
//! Refunds and imports are published like purchases, so they are calls of a [`Shop`](crate::Shop).
//! [`run_retention`](crate::retention::run_retention) runs as long as a service.

mod dead_letters;
mod events;
mod groups;
mod status;
mod store;

pub use dead_letters::no_dead_letters_at;
pub use dead_letters::{ParkReport, ResolveReport};
pub use events::EventReplay;
pub use groups::GroupStart;
pub use status::{TopicStatus, UnreadTopic};
pub use status::{format_age, unread_age};

use crate::backend::Backend;
use crate::log::RecordType;
use crate::record::RecordDecoders;
#[cfg(doc)]
use crate::verify::{SpotCheck, VerifyReport};

/// The operations on the log of a topic, and on the store of the purchases in it.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - An operation on a part that the backend lacks returns
///   [`Unsupported`](crate::ErrorKind::Unsupported)
///   (`operations::a_missing_part_is_unsupported`).
/// - The status counts what the group has not consumed, and what is pending
///   (`operations::a_status_counts_lag_and_dead_letters`).
/// - A topic is unread if it has records that the group has not consumed, and the group has no member
///   (`operations::a_topic_without_a_reader_is_unread`).
/// - A record is parked unless it needs no dead letter, and of several none is, if one of them
///   needs none (`operations::parked_records_are_dead_letters`).
/// - Dead letters are listed in the order of their positions, page by page
///   (`operations::dead_letters_are_listed_by_position`).
/// - A forecast of a replay says which purchases would become dead letters again
///   (`operations::a_forecast_says_what_becomes_a_dead_letter_again`).
/// - Resolving counts what was resolved, and names what was not
///   (`operations::resolved_dead_letters_are_counted`).
/// - An export yields each purchase before its refund
///   (`operations::an_export_yields_purchases_before_refunds`).
/// - After an erasure, the log and the store agree, and nothing of the user is left
///   (`operations::an_erased_user_leaves_nothing`).
///
/// A value opens nothing and holds no state: two of them, also in two processes, can be used at the
/// same time, beside running services.
#[derive(Debug, Clone, Default)]
pub struct Operations {
    backend: Backend,
}

impl Operations {
    /// Creates the operations on the log and the store of `backend`, or on the one that it has.
    #[must_use]
    pub const fn new(backend: Backend) -> Self {
        Self { backend }
    }

    /// Returns the topic of the log, if the backend has a log.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.backend.log.as_ref().map(|_log| &*self.backend.topic)
    }

    /// Returns the type of the records of the log, if the backend has a log.
    #[must_use]
    pub fn record_type(&self) -> Option<RecordType> {
        self.backend
            .log
            .as_ref()
            .map(|_log| self.backend.record_type)
    }

    /// Returns the decoders of the purchases in the log.
    #[must_use]
    pub const fn decoders(&self) -> &RecordDecoders {
        &self.backend.decoders
    }
}
