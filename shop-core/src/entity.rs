//! The common properties of users and orders, for stores that implement both.

use std::fmt::Debug;

use crate::log::LogRecord;
use crate::record::{Event, Record};
use crate::{IdempotencyKey, Result};

/// A row that a store numbers from 1, with its event in an outbox: a [`User`](crate::users::User) or an
/// [`Order`](crate::orders::Order).
pub trait Entity: Event + PartialEq {
    /// The input for a new row.
    type New: Debug + Clone + Send + Sync + 'static;
    /// The events of the other service that its store consumes.
    type Other: Record;

    /// Its idempotency key.
    fn key(new: &Self::New) -> &IdempotencyKey;

    /// The key that is unique in the store (default: the [`key`](Self::key)).
    fn stored_key(new: &Self::New) -> IdempotencyKey {
        Self::key(new).clone()
    }

    /// The name and value of its unique member, if any.
    fn unique(_new: &Self::New) -> Option<(&'static str, &str)> {
        None
    }

    /// The id of another service's row that has to be known first, if any.
    fn requires(_new: &Self::New) -> Option<i64> {
        None
    }

    /// The row with its number.
    fn with_number(new: &Self::New, number: i64) -> Self;

    /// Its number.
    fn number(&self) -> i64;

    /// The record of its event, with the context of the request that created it.
    ///
    /// # Errors
    /// As [`Event::encode`].
    fn event(&self, new: &Self::New) -> Result<LogRecord>;

    /// The stored reference to another service's row: its id, and the number of its owner among these rows.
    fn reference(other: &Self::Other) -> (i64, Option<i64>);
}

/// The outcome of inserting a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insertion<E> {
    /// Inserted now, with its event.
    Inserted(E),
    /// Already inserted with this key and the same content.
    AlreadyInserted(E),
    /// The key was used for another row.
    KeyTaken,
    /// The unique member is taken, or the required row is not known.
    Refused,
}

impl<E: Entity> Insertion<E> {
    /// The outcome when the row `first` has the key of `new`.
    #[must_use]
    pub fn with_key_of(new: &E::New, first: E) -> Self {
        let is_same = first == E::with_number(new, first.number());
        if is_same { Self::AlreadyInserted(first) } else { Self::KeyTaken }
    }
}
