//! Lenient JSON of any sender, with exact numbers.

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
