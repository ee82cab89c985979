//! Purchases: validated types, and the rules of identity and equality of content.

mod context;
mod convert;
mod draft;
mod id;
mod identity;
mod invalid;
mod key;
mod number;
mod price;
mod purchase;
mod serialize;
mod text;
mod timestamp;

pub use context::RequestContext;
pub use draft::NewPurchaseDraft;
pub use id::PurchaseId;
pub(crate) use identity::hashed;
pub use identity::id_from_key;
pub use invalid::{IntoValid, Invalid, InvalidKind};
pub use key::IdempotencyKey;
pub(crate) use number::row_number;
pub use price::{Price, Total, TotalOverflow};
pub use purchase::{NewPurchase, Purchase};
pub use text::{UserId, UserName};
pub(crate) use text::{short, text_type};
pub use timestamp::Timestamp;
