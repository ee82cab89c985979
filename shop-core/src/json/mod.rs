//! JSON as it is read leniently from any sender, and exact numbers in it.

mod form;
mod members;
mod scalar;

pub use form::{number, text};
pub use members::Members;
pub use scalar::Scalar;
