//! The parts of a store in PostgreSQL: a connection, its statements, the definition of its tables,
//! and batches of inserts.
//!
//! This module is for crates of this workspace that store more than purchases. The documentation
//! of the crate hides it, and it may change in any version.

pub use super::connection::{DURABLE, PostgresConnection, SqlValue, Statement, confirmed};
pub use super::error::{from_driver, postgres_error};
pub use super::insert::{Insertable, TargetTable, column_values, insert};
pub use super::rows::{answer_column, parse_column, read_column};
pub use super::schema::{SchemaDefinition, SchemaTable};
pub use super::sqlstate::{is_invalid_text, is_unique_violation};
