//! Users and orders, each kind in a database of its own.
//!
//! A row is one document `{_id, key, …, outbox: {number, time, key, headers, value}}`: its `_id` is its number, and in
//! `outbox` lies its event until it is published. So one write stores both, on a server without transactions, too.
//! What is known of the other kind stands in a collection beside it: `orders_of_users: {_id, user_id}`, and
//! `known_users: {_id}`.

mod event;
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

/// The integer under this name.
fn integer(document: &RawDocument, name: &str) -> Option<i64> {
    match document.get(name).ok()?? {
        RawBsonRef::Int32(number) => Some(i64::from(number)),
        RawBsonRef::Int64(number) => Some(number),
        _ => None,
    }
}

/// The document of a row is not what we write.
fn unreadable(id: i64, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    mongo_error(ErrorKind::Corrupt, "a document cannot be read").with_context("id", id).with_source(error)
}
