//! Users and orders, each in a separate database.
//!
//! A row is a document `{_id, key, …, outbox: {number, time, key, headers, value}}`. Its `_id` is its number, and
//! `outbox` is its event until that is published: one write stores both, also on a server without transactions.
//! References to rows of the other service are in a second collection: `orders_of_users: {_id, user_id}` or
//! `known_users: {_id}`.

#[cfg(test)]
mod faults_test;
mod orders;
mod outbox;
#[cfg(test)]
mod races_test;
mod rows;
mod users;

pub use orders::MongoOrders;
pub use rows::MongoRows;
pub use users::MongoUsers;

use crate::mongo::error::mongo_error;
use bson::RawDocument;
use bson::raw::RawBsonRef;
use shop_core::{Error, ErrorKind};

/// Reads an integer member.
fn integer(document: &RawDocument, name: &str) -> Option<i64> {
    match document.get(name).ok()?? {
        RawBsonRef::Int32(number) => Some(i64::from(number)),
        RawBsonRef::Int64(number) => Some(number),
        _ => None,
    }
}

/// The error for a row that cannot be read.
fn unreadable(id: i64, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    mongo_error(ErrorKind::Corrupt, "a document cannot be read").with_context("id", id).with_source(error)
}
