//! A store of purchases in PostgreSQL, 15 or later.
//!
//! | module | content |
//! |---|---|
//! | `tls` | `sslmode` and `sslrootcert` of the URL |
//! | `url` | the URL, in the forms of libpq |
//! | `connector` | sessions with the server that takes writes, also after a promotion |
//! | `connection` | the options of a store, its two pools of connections, and statements with deadlines |
//! | `schema` | creation of tables and indexes in the background |
//! | `inspect` | an inspection of the tables and the rights in a database, which changes nothing |
//! | `rows` | conversion of rows to purchases |
//! | `imported_files` | how the files were read that were imported into the store |
//! | `insert` | inserts with one outcome for each row |
//! | `select` | the port for queries: pages, exact counts and sums, reads by id, and scans of the whole table |
//! | `sums` | answers to questions for totals from sums that the database keeps |
//! | `fold` | the background task that brings these sums up to date |
//! | `refunds` | refunds, the refunds that wait for their purchase, and the currency of the store |
//! | `erase` | erasure of a user's purchases, and deletion of old purchases |
//! | `store` | [`PostgresStore`], and its port for inserts |
//! | `database` | what other crates of this workspace need for tables of their own |
//! | `sqlstate` | classification of the server's error codes |
//! | `error` | conversion of the driver's errors |
//!
//! A statement passes through the modules in this order: a port (`store`, `select`, `erase`,
//! `refunds`) builds it, `connection` takes a session from a pool, `connector` starts the session
//! if the pool is empty, and `error` converts a failure.
//!
//! The table of purchases is `purchases (id text, userid text, username text, price numeric,
//! timestamp timestamptz(3), details json)` in the first schema of the `search_path`. The row of an
//! erased purchase keeps its id, and its other columns are null.
//! `sums.sql` has the tables of the kept sums, and the triggers that record each change.
//!
//! # URL
//!
//! `postgresql://user:password@host:port/database?option=value`, as `libpq` reads it, with these
//! options: `sslmode`, `sslrootcert`, `connect_timeout`, `target_session_attrs`, `options` and the
//! others of [`tokio_postgres::Config`].
//!
//! Several hosts are separated by commas. For each new session, the store asks all hosts at the
//! same time, and uses the host that takes writes. It skips hosts that are read-only, such as
//! standbys. If several hosts take writes, it uses the host on the highest timeline, which was
//! promoted last. `connect_timeout` (default 3 s) limits the start of a session with each host. If
//! the URL names one host only, the store also uses it while it is read-only, and its writes fail.
//!
//! `target_session_attrs` does not change this choice. The values `any`, `read-write` and `primary`
//! are accepted and ignored, so that a URL for libpq can be used as it is. Any other value, such as
//! `standby`, is an error.
//!
//! | `sslmode` | connection |
//! |---|---|
//! | `disable` | without TLS |
//! | `prefer` (default) | with TLS if the server has it; its certificate is not verified |
//! | `require` | with TLS; the certificate is not verified |
//! | `verify-full` | with TLS; the certificate must be for the host, from an authority of the system |
//!
//! With `sslrootcert`, a PEM file, the certificate is verified in every mode with TLS, by the
//! authorities in the file. `verify-ca` and client certificates are not supported.
//!
//! # Durability
//!
//! The server acknowledges a write at the level of its setting `synchronous_commit`, but never
//! below `on`. Each write raises `off`, `local` and `remote_write` to `on` in its own transaction,
//! so this also works behind a pooler that gives each transaction another session. If
//! `synchronous_standby_names` is set, `on` waits for the standby too.

mod connection;
mod connector;
pub mod database;
mod erase;
mod error;
#[cfg(test)]
mod faults_test;
#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
mod fixture;
mod fold;
mod imported_files;
mod insert;
mod inspect;
#[cfg(test)]
mod outage_test;
#[cfg(test)]
mod plans_test;
mod refunds;
mod rows;
mod schema;
#[cfg(test)]
mod schema_test;
mod select;
mod sqlstate;
#[cfg(test)]
mod standby_test;
mod store;
mod sums;
#[cfg(test)]
mod sums_model_test;
#[cfg(test)]
mod sums_test;
mod tls;
mod url;
mod waiting;
#[cfg(test)]
mod waiting_test;

pub use connection::PostgresStoreOptions;
pub use store::PostgresStore;

/// The driver of PostgreSQL, for tables of your own beside those of a store.
pub use tokio_postgres;
