//! Purchases in a collection of MongoDB.
//!
//! | module | what it holds |
//! |---|---|
//! | `options` | where the collection is, and how long a call may take |
//! | `connection` | the driver: its settings, calls with deadlines, indexes |
//! | `document` | a purchase as a document, and the documents of older systems |
//! | `command` | the insert command, written straight from purchases |
//! | `insert` | one outcome for each purchase of a batch |
//! | `codes` | which of the server's errors are of the document, and which of the moment |
//! | `select` | pages by keyset, in two stretches: what has a date, then what is still to be migrated |
//! | `totals` | exact counts and sums |
//! | `migrate` | documents of older systems, brought to our form in place |
//! | `error` | the driver's errors as the one error of the ports |
//!
//! A document is `{_id, userid, username, price: Decimal128, timestamp: Date}`; its `_id` is the purchase's id as
//! text, or the ObjectId that an older system gave it.

mod codes;
mod command;
mod connection;
#[cfg(feature = "containers")]
mod container;
mod document;
mod error;
#[cfg(test)]
mod faults_test;
#[cfg(test)]
mod faulty_server;
#[cfg(feature = "conformance")]
mod fixture;
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

#[cfg(feature = "conformance")]
pub use fixture::MongoFixture;
pub use migrate::Migration;
pub use options::MongoStoreOptions;
pub use store::MongoStore;
