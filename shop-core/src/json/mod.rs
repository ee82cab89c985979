//! Lenient JSON of any sender, with exact numbers.

mod members;
mod scalar;
mod serde_with;
mod written;

pub use members::Members;
pub use scalar::RawScalar;
pub use serde_with::{number, text};
pub use written::{write_acknowledged, write_members};
