//! Stores of purchases, users and orders in PostgreSQL, 15 or later.
//!
//! | module | content |
//! |---|---|
//! | `tls` | `sslmode` and `sslrootcert` of the URL |
//! | `url` | the URL, in the forms of libpq |
//! | `connector` | sessions with the server that takes writes, also after a promotion |
//! | `connection` | number of connections and timeouts; the pools, and statements with timeouts |
//! | `schema` | creation of tables and indexes in the background |
//! | `inspect` | what is in the database, and which rights are missing |
//! | `rows` | conversion between purchases and rows |
//! | `insert` | inserts with one outcome for each row |
//! | `select` | the port for queries; keyset pagination, exact counts and sums, reads by id, and of the whole table in the order of the primary key |
//! | `erase` | erasure of a user's purchases, and deletion of old ones |
//! | `accounts` | users and orders, and the outbox, also in a database of your own |
//! | `sqlstate` | classification of the server's error codes |
//! | `error` | mapping of the driver's errors |
//!
//! The table of purchases is `purchases (id text, userid text, username text, price numeric, timestamp timestamptz(3))` in the first
//! schema of the `search_path`. The row of an erased purchase has its id only.
//!
//! # URL
//!
//! `postgresql://user:password@host:port/database?option=value`, as `libpq` reads it, with these options: `sslmode`,
//! `sslrootcert`, `connect_timeout`, `target_session_attrs`, `options` and the others of [`tokio_postgres::Config`].
//! Several hosts, separated by commas, are tried in turn; `target_session_attrs=read-write` skips a standby.
//!
//! | `sslmode` | connection |
//! |---|---|
//! | `disable` | without TLS |
//! | `prefer` (default) | with TLS if the server has it; its certificate is not verified |
//! | `require` | with TLS; the certificate is not verified |
//! | `verify-full` | with TLS; the certificate must be for the host, from an authority of the system |
//!
//! With `sslrootcert`, a PEM file, the certificate is verified in every mode with TLS, by the authorities of the file.
//! `verify-ca` and client certificates are not supported.
//!
//! # Durability
//!
//! Writes are acknowledged by the server's `synchronous_commit`, but never at a lower level than `on`: `off`, `local` and
//! `remote_write` are raised to `on` in the transaction of each write, also behind a pooler of transactions. With `synchronous_standby_names`, `on` includes the standby.

#[cfg(feature = "accounts")]
mod accounts;
mod connection;
mod connector;
mod erase;
mod error;
#[cfg(test)]
mod faults_test;
#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
mod fixture;
mod insert;
mod inspect;
#[cfg(test)]
mod outage_test;
#[cfg(test)]
mod plans_test;
mod refunds;
mod rows;
mod schema;
mod select;
#[cfg(test)]
mod skipped_test;
mod sqlstate;
#[cfg(test)]
mod standby_test;
mod store;
mod tls;
mod url;

#[cfg(feature = "accounts")]
pub use accounts::{PostgresEntities, PostgresOrders, PostgresOutbox, PostgresUsers};
pub use connection::PostgresStoreOptions;
pub use inspect::DatabaseInspection;
pub use store::PostgresStore;

/// The driver, whose transactions `PostgresOutbox::write` takes.
pub use tokio_postgres;
