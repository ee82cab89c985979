//! The way into the log.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::log::RecordPosition;
use crate::{Purchase, PurchaseId, Result};

/// Where purchases go to become durable: the writing end of a log.
///
/// Every call ends by itself in a time that the implementation bounds.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - `publish` answers `Ok` only when the purchase is as durable as the receipt says
///   (`log::published_records_are_delivered`).
/// - The receipt names the purchase's own id (`log::receipts_name_their_purchase`).
/// - A receipt promises at least what `durability` said before the publish
///   (`log::receipts_promise_what_the_sink_does`).
/// - Publishing the same purchase again is harmless: the log may hold it twice, with the same id
///   (`log::publishing_again_keeps_the_id`).
/// - The record holds what was published: user, name, price with its scale, time, and the request's context
///   in its headers (`log::records_hold_what_was_published`).
/// - Purchases of one user are delivered in the order in which they were acknowledged
///   (`log::one_users_records_keep_their_order`).
/// - Dropping the future of a publish that was polled once does not take the purchase back
///   (`log::a_dropped_publish_is_not_taken_back`).
/// - After `close`, `publish` answers [`Closed`](crate::ErrorKind::Closed), and what was acknowledged before
///   stays (`log::a_closed_sink_refuses_and_keeps`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait PurchaseSink: Debug + Send + Sync + 'static {
    /// Makes a purchase durable.
    ///
    /// The first poll puts it in the queue; a full queue is answered at once.
    ///
    /// # Errors
    /// [`Overloaded`](crate::ErrorKind::Overloaded) when the queue is full,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached or written,
    /// [`TooLarge`](crate::ErrorKind::TooLarge) when it refuses the size. The error's
    /// [`outcome`](crate::Error::outcome) says whether the purchase may be in the log all the same.
    ///
    /// # Cancel safety
    /// Dropping the future before its first poll publishes nothing; afterwards it only gives up the receipt.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt>;

    /// What a receipt of this sink promises at least, as far as is known now. Does not wait, and asks no server.
    fn durability(&self) -> Durability;

    /// Whether a publish has a chance now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<()>;

    /// Refuses new purchases and waits until those in the queue are durable, at most for `deadline`.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) when some were not durable by then.
    async fn close(&self, deadline: Duration) -> Result<()>;
}

/// The proof that a purchase is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The purchase that it is about.
    pub id: PurchaseId,
    /// What the purchase survives.
    pub durability: Durability,
    /// Where it stands in the log, if the sink knows.
    pub position: Option<RecordPosition>,
}

impl Receipt {
    /// A receipt without a position.
    #[must_use]
    pub const fn new(id: PurchaseId, durability: Durability) -> Self {
        Self { id, durability, position: None }
    }

    /// The same receipt, with the record's position.
    #[must_use]
    pub fn with_position(mut self, position: RecordPosition) -> Self {
        self.position = Some(position);
        self
    }
}

/// What an acknowledged purchase survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing but this process: for tests.
    Memory,
    /// A crash of process and machine: it is on the machine's disk.
    LocalDisk,
    /// The loss of all but one of the brokers that acknowledged it.
    Broker {
        /// How many brokers acknowledge a purchase at least: the `min.insync.replicas` of the topic, which is what
        /// `acks=all` guarantees. `None` when the topic's settings are not known or may not be read.
        replicas: Option<u32>,
    },
    /// The loss of a minority of the store's servers: a majority has it in its journal. The majority of a single
    /// server is that server.
    Replicated,
}
