//! What users and orders have in common: for stores that keep rows of both kinds in the same way.

use std::fmt::Debug;

use crate::log::LogRecord;
use crate::record::{Event, Record};
use crate::{IdempotencyKey, Result};

/// A row that a store numbers from 1, with its event in an outbox: a [`User`](crate::users::User) or an
/// [`Order`](crate::orders::Order).
pub trait Entity: Event + PartialEq {
    /// What a row is made of.
    type New: Debug + Clone + Send + Sync + 'static;
    /// The events of the other service that its store consumes.
    type Other: Record;

    /// What makes adding it repeatable.
    fn key(new: &Self::New) -> &IdempotencyKey;

    /// The member, by its name, that beside the key no two rows may have the same of.
    fn unique(_new: &Self::New) -> Option<(&'static str, &str)> {
        None
    }

    /// The id of another service's row, without whose event the row is refused.
    fn requires(_new: &Self::New) -> Option<i64> {
        None
    }

    /// The row, once there is a number.
    fn with_number(new: &Self::New, number: i64) -> Self;

    /// Its number.
    fn number(&self) -> i64;

    /// The record of its event, with the request that brought `new` in.
    ///
    /// # Errors
    /// As [`Event::encode`].
    fn event(&self, new: &Self::New) -> Result<LogRecord>;

    /// What is kept of another service's row: its id, and the number of its owner among these rows, if it has one.
    fn reference(other: &Self::Other) -> (i64, Option<i64>);
}

/// The outcome of adding a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insertion<E> {
    /// It is stored now, with its event.
    Inserted(E),
    /// It was stored before with this key, and the same content.
    AlreadyInserted(E),
    /// The key was used for another row.
    KeyTaken,
    /// A unique member is taken, or what the row requires is not known.
    Refused,
}

impl<E: Entity> Insertion<E> {
    /// The outcome when `first` has the key of `new`.
    #[must_use]
    pub fn with_key_of(new: &E::New, first: E) -> Self {
        let is_same = first == E::with_number(new, first.number());
        if is_same { Self::AlreadyInserted(first) } else { Self::KeyTaken }
    }
}
