//! Users and orders: each in a file of its own, with an outbox in it.

mod orders;
mod outbox;
mod rows;
mod users;

pub use orders::EmbeddedOrders;
pub use rows::EmbeddedRows;
pub use users::EmbeddedUsers;

use rusqlite::types::Type;

/// What was read from `column` is not what we write there.
fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
