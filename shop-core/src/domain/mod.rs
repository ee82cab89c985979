//! Purchases: validated types, and the rules of identity and equality of content.

mod context;
mod convert;
mod details;
mod draft;
mod id;
mod identity;
mod invalid;
mod price;
mod purchase;
mod serialize;
pub(crate) mod text;
mod timestamp;

pub use context::{RecordOrigin, RequestContext};
pub(crate) use convert::try_from_text;
pub use details::{Currency, DetailMembers, Details, Item, Quantity, Reference, RefundReason};
pub use draft::NewPurchaseDraft;
pub use id::PurchaseId;
pub(crate) use identity::hashed;
pub use identity::{IdempotencyKey, id_from_key};
pub use invalid::{IntoValid, Invalid, InvalidKind};
pub use price::{Price, Total, TotalOverflow};
pub use purchase::{NewPurchase, Purchase};
pub(crate) use serialize::form;
pub use text::{UserId, UserName};

pub use timestamp::Timestamp;
