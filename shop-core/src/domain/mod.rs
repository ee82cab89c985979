//! Purchases: validated types, and the rules of identity and equality of content.

mod context;
mod convert;
mod details;
mod draft;
mod identity;
mod invalid;
mod price;
mod purchase;
pub(crate) mod text;
mod timestamp;

pub use {
    context::{RecordOrigin, RequestContext},
    details::{Currency, DetailMembers, Details, Item, Quantity, Reference, RefundReason},
    draft::NewPurchaseDraft,
    identity::{IdempotencyKey, PurchaseId, id_from_key},
    invalid::{IntoValid, Invalid, InvalidKind},
    price::{Price, Total, TotalOverflow},
    purchase::{NewPurchase, Purchase},
    text::{UserId, UserName},
    timestamp::Timestamp,
};
pub(crate) use {
    convert::{form, try_from_text},
    identity::hashed,
};
