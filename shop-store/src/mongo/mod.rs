//! Purchases in a MongoDB collection.
//!
//! | module | content |
//! |---|---|
//! | `connection` | URI, database, collection and timeouts; the driver: its configuration, and calls with timeouts |
//! | `uri` | the options of the URI that the driver does not have |
//! | `servers` | what the driver's events tell about the servers, and why none of them serves a call |
//! | `inspect` | an inspection of the collections and the rights, which changes nothing |
//! | `collection_form` | the options and indexes of a collection that loses or rejects documents |
//! | `indexes` | creation of the listing indexes in the background |
//! | `document` | the form of the documents that this store writes |
//! | `reader` | reads purchases from documents, with a [`DocumentDecoder`] also from those of other programs |
//! | `imported_files` | how the files were read that were imported into the store |
//! | `write` | the one function that inserts, updates and deletes documents: durability, limits of a command |
//! | `refusal` | documents that the server refused, and whose fault that is |
//! | `insert` | inserts of purchases, with one outcome for each |
//! | `select` | the port for queries; keyset pagination in two ranges: documents with a date, then documents of other programs without a date |
//! | `scan` | reads the whole collection in the order of `_id` |
//! | `totals` | exact counts and sums |
//! | `erase` | erasure of a user's purchases, and deletion of old ones |
//! | `migrate` | conversion of other programs' documents to the form of this store and back |
//! | `refunds` | refunds, and the currency |
//! | `waiting` | the collection of refunds that wait for their purchase |
//! | `store` | [`MongoStore`], and its port for inserts |
//! | `error` | mapping of the driver's errors without the text of the server, and classes of its codes |
//!
//! The document of a purchase is `{_id, userid, username, price: Decimal128, timestamp: Date}`. Its
//! `_id` is the purchase's id as text, or the ObjectId under which another program stored it.

mod collection_form;
mod connection;
#[cfg(test)]
mod decoder_fixture;
mod document;
mod erase;
mod error;
#[cfg(test)]
#[path = "../../tests/support/fail_points.rs"]
mod fail_points;
#[cfg(test)]
mod faults_test;
#[cfg(test)]
#[path = "../../tests/support/faulty_server.rs"]
mod faulty_server;
#[cfg(test)]
#[path = "../../tests/support/mongo.rs"]
mod fixture;
#[cfg(test)]
mod foreign_documents_test;
mod imported_files;
mod indexes;
mod insert;
mod inspect;
#[cfg(test)]
mod inspect_test;
mod migrate;
#[cfg(test)]
mod plans_test;
mod reader;
#[cfg(test)]
mod reads_test;
mod refunds;
mod refusal;
mod scan;
mod select;
#[cfg(test)]
mod server_test;
mod servers;
#[cfg(test)]
mod servers_test;
mod store;
mod totals;
mod uri;
mod waiting;
#[cfg(test)]
mod waiting_test;
mod write;
#[cfg(test)]
mod writes_test;

/// The crate of the values in documents.
pub use bson::Bson;
pub use connection::MongoStoreOptions;
pub use migrate::{DocumentFormat, Migration};
pub use reader::DocumentDecoder;
pub use store::MongoStore;
