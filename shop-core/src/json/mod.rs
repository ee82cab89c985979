//! Reads lenient JSON of any sender, and writes JSON with exact numbers.
//!
//! - `members` and `scalar` read the members of an object and keep the digits of its numbers.
//! - `serde_with` represents domain types as text or as exact numbers, for derived serde
//!   implementations.
//! - `written` writes purchases and other values without the cost of formatting.

mod members;
mod scalar;
mod serde_with;
mod written;
#[cfg(test)]
mod written_test;

pub use members::{Members, strip_byte_order_mark};
pub use scalar::{RawScalar, is_json_number};
pub use serde_with::{number, text};
pub(crate) use written::write_json;
pub use written::{WriteJson, write_member, write_members};
