//! The common part of users and orders: the trait [`Entity`] of both, and [`EntityStore`], the port
//! of the stores that own them.
//!
//! A store numbers its rows from 1 without gaps, and writes each row together with its event. It
//! also consumes the events of the other service: a store of orders learns of users, and a store of
//! users learns of orders.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use shop_core::log::{Log, LogRecord, Offsets, ScanEnd};
use shop_core::record::{Event, Record, header};
use shop_core::{Error, ErrorKind, IdempotencyKey, RequestContext, Result};
use tokio::time::timeout;

/// The number of events at the end of each partition among which [`highest_published`] looks for
/// the highest number. Relays publish events in the order of their numbers, but two relays may
/// publish some events again after later ones.
const LAST_EVENTS: u64 = 1_000;
/// The maximum time that [`highest_published`] waits for the next event. The end of a partition may
/// be behind its last event, so that no event comes.
const NEXT_EVENT_TIMEOUT: Duration = Duration::from_secs(2);

/// A row that a store numbers from 1, with its event in an outbox: a [`User`](crate::users::User) or
/// an [`Order`](crate::orders::Order).
pub trait Entity: Event + PartialEq {
    /// The type of the number of a row. Numbers begin at 1, without gaps.
    type Number: Copy + Ord + Debug + Display + From<i64> + Into<i64> + Send + Sync + 'static;
    /// The input for a new row.
    type New: Debug + Clone + Send + Sync + 'static;
    /// The type of the other service's events, which the store of these rows consumes.
    type ForeignEvent: Record;

    /// Returns the idempotency key of the request.
    fn key(new: &Self::New) -> &IdempotencyKey;

    /// Returns the context of the request, which becomes part of the event.
    fn context(new: &Self::New) -> Option<&RequestContext>;

    /// Returns the key that is unique in the store (default: the [`key`](Self::key)).
    fn stored_key(new: &Self::New) -> IdempotencyKey {
        Self::key(new).clone()
    }

    /// Returns the name and value of the member that must be unique in the store, if there is one,
    /// such as the address of a user.
    fn unique(_new: &Self::New) -> Option<(&'static str, &str)> {
        None
    }

    /// Returns the id of the other service's row that the store must know first, if there is one,
    /// such as the user of an order.
    fn requires(_new: &Self::New) -> Option<i64> {
        None
    }

    /// Creates the row from the input and its number.
    fn with_number(new: &Self::New, number: Self::Number) -> Self;

    /// Returns the number of this row.
    fn number(&self) -> Self::Number;

    /// Encodes the event of this row as a record, with the context of the request `new` that
    /// created the row.
    ///
    /// # Errors
    /// The errors of [`Event::encode`].
    fn event(&self, new: &Self::New) -> Result<LogRecord> {
        let record = self.encode()?;
        let headers = record.headers.to_builder();
        let headers = header::add_request_context(headers, Self::context(new)).build();
        Ok(record.with_headers(headers))
    }

    /// Returns the reference that a store keeps to the row of the other service in the event
    /// `other`: the id of that row, and the number of the row in this store that owns it, if there
    /// is one. A user owns its orders, and a user has no owner.
    fn reference(other: &Self::ForeignEvent) -> (i64, Option<i64>);
}

/// Inserts and finds users, or orders. A store of orders learns of users from their events.
///
/// Every call completes within a time that the implementation bounds.
///
/// # Behavior
/// Each line names the functions of the conformance kit that check it.
///
/// - Rows are numbered from 1 without gaps, regardless of refused rows
///   (`entity::only_new_rows_take_a_number_and_have_an_event`) and of concurrent calls
///   (`entity::racing_inserts_leave_no_gap`).
/// - A row that was inserted is found, unchanged (`entity::an_inserted_row_is_found`).
/// - Of concurrent inserts of users with one address, one succeeds and the others are refused
///   (`entity::racing_inserts_leave_no_gap`). Addresses that differ in the case of a letter before
///   the domain are different (`entity::an_inserted_row_is_found`).
/// - An order is refused until an event of its user was applied
///   (`orders::an_order_waits_for_the_event_of_its_user`).
/// - An insert with the same key and the same content returns the first row
///   and writes no event. With other content, the key is taken
///   (`entity::only_new_rows_take_a_number_and_have_an_event`). Keys of orders count per user, unless
///   they are UUIDs of version 4 or 7 (`orders::keys_count_per_user`).
/// - A row and its event in the outbox are written atomically, one event per row
///   (`entity::only_new_rows_take_a_number_and_have_an_event`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait EntityStore<E: Entity>: Debug + Send + Sync + 'static {
    /// Inserts a row with the next number and its event, unless its key or its unique member is
    /// taken, or the row that it requires is unknown.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) and other transient errors. The
    /// [`outcome`](shop_core::Error::outcome) of the error states whether the row may have been
    /// inserted. Retrying with the same key is safe.
    ///
    /// # Cancel safety
    /// Dropping the future inserts the row with its event, or neither.
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>>;

    /// Returns the row with this number, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) and other transient errors.
    async fn get(&self, number: E::Number) -> Result<Option<E>>;

    /// Checks whether a row can be inserted now, for the health of the service. Inserts nothing.
    ///
    /// # Errors
    /// The reason why no row can be inserted.
    async fn check(&self) -> Result<()>;

    /// Sets the log to which the events of the rows are published.
    ///
    /// A store whose database can lose rows in a fail-over reads this log, so that it assigns no
    /// published number again. The default ignores the log.
    fn set_event_log(&self, log: Arc<dyn Log>) {
        let _ignored_log = log;
    }
}

/// Returns the highest number of the rows whose events are at the end of `log`, or 0 without such
/// events.
///
/// A store whose database may have lost rows in a fail-over calls this, so that it assigns no
/// published number again. Reads the last 1,000 events of each partition.
///
/// # Errors
/// [`Unavailable`](shop_core::ErrorKind::Unavailable) if the log cannot be reached, or does not
/// deliver an event of each partition in time.
pub async fn highest_published<E: Entity>(log: &dyn Log) -> Result<i64> {
    // The first scan only asks for the ends of the partitions. An end is removed once its partition
    // is read up to the end.
    let mut unread_ends = log.scan(&Offsets::new(), ScanEnd::Never).await?.end;
    let start = unread_ends
        .iter()
        .map(|(partition, end)| (*partition, end.saturating_sub(LAST_EVENTS)))
        .collect();
    let mut events = log.scan(&start, ScanEnd::Never).await?;
    // A partition with nothing to read is left out: it is empty, or the log has deleted its events.
    unread_ends
        .retain(|partition, end| events.start.get(partition).is_some_and(|start| start < end));
    let mut silent_partitions: BTreeSet<u32> = unread_ends.keys().copied().collect();

    let mut highest = 0;
    while !unread_ends.is_empty() {
        let Ok(next_batch) = timeout(NEXT_EVENT_TIMEOUT, events.batches.try_next()).await else {
            // No event came in time. The last offsets of a partition may be without an event, but
            // not all 1,000 of them. So the read is complete if each partition has delivered an
            // event.
            if silent_partitions.is_empty() {
                break;
            }
            let message = "the end of the event log was not delivered in time";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let Some(batch) = next_batch? else {
            break;
        };

        silent_partitions.remove(&batch.partition.index);
        for record in &batch.records {
            // A record that is no event of this type has no number.
            if let Ok(row) = E::decode(record, &batch.partition) {
                highest = highest.max(row.number().into());
            }
            unread_ends.retain(|partition, end| {
                *partition != batch.partition.index || record.offset + 1 < *end
            });
        }
    }
    Ok(highest)
}

/// The outcome of [inserting](EntityStore::insert) a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insertion<E> {
    /// The row was inserted now, durably. Its event will be published.
    Inserted(E),
    /// The row was already inserted with this key and the same content.
    AlreadyInserted(E),
    /// The key was used for another row.
    KeyTaken,
    /// Another user uses the address, or no event of the order's user has been received yet.
    Refused,
}

impl<E: Entity> Insertion<E> {
    /// Returns the outcome of an insert of `new`, whose key the stored row `first_row` uses
    /// already:
    /// [`AlreadyInserted`](Self::AlreadyInserted) if the contents are equal, or else
    /// [`KeyTaken`](Self::KeyTaken).
    #[must_use]
    pub fn with_key_of(new: &E::New, first_row: E) -> Self {
        let has_same_content = first_row == E::with_number(new, first_row.number());
        if has_same_content {
            Self::AlreadyInserted(first_row)
        } else {
            Self::KeyTaken
        }
    }
}

/// Defines the type of the numbers of one kind of row, by which clients name the rows.
macro_rules! row_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
        )]
        pub struct $name(i64);

        shop_core::format_as!($name: |this| Display = Display(this.0));

        impl $name {
            /// Wraps the integer `number`.
            #[must_use]
            pub const fn new(number: i64) -> Self {
                Self(number)
            }

            /// Returns the number as an integer.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }

        impl From<$name> for i64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }
    };
}

pub(crate) use row_number;
