//! JSON as it is read leniently from any sender, and exact numbers in it.

mod members;
mod scalar;
mod serde_with;

pub use members::RawPurchase;
pub use scalar::RawScalar;
pub use serde_with::{number, text};
