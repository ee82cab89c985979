//! Purchases in a collection of MongoDB; users and orders in databases of their own.
//!
//! | module | what it holds |
//! |---|---|
//! | `options` | where the collection is, and how long a call may take |
//! | `connection` | the driver: its settings, calls with deadlines |
//! | `indexes` | the indexes of listings, made in the background |
//! | `document` | a purchase as a document, and the documents of older systems |
//! | `command` | the insert command, written straight from what is inserted |
//! | `insert` | one outcome for each document of a batch |
//! | `codes` | which of the server's errors are of the document, and which of the moment |
//! | `select` | pages by keyset, in two stretches: what has a date, then what is still to be migrated |
//! | `totals` | exact counts and sums |
//! | `unreadable` | documents that are no purchases: logged once, and counted |
//! | `migrate` | documents of older systems, brought to our form in place |
//! | `entities` | users and orders: rows with numbers, each with its event in it |
//! | `error` | the driver's errors as the one error of the ports |
//!
//! The document of a purchase is `{_id, userid, username, price: Decimal128, timestamp: Date}`; its `_id` is the
//! purchase's id as text, or the ObjectId that an older system gave it.

mod codes;
mod command;
mod connection;
mod document;
mod entities;
mod error;
#[cfg(test)]
mod faults_test;
#[cfg(test)]
#[path = "../../tests/support/faulty_server.rs"]
mod faulty_server;
#[cfg(test)]
#[path = "../../tests/support/mongo.rs"]
mod fixture;
mod indexes;
mod insert;
mod migrate;
#[cfg(test)]
mod old_documents_test;
mod options;
#[cfg(test)]
mod plans_test;
mod select;
mod store;
mod totals;
mod unreadable;
mod uri;

pub use entities::{MongoOrders, MongoRows, MongoUsers};
pub use migrate::Migration;
pub use options::{MongoEntityOptions, MongoStoreOptions};
pub use store::MongoStore;
pub use uri::database_in_uri;
