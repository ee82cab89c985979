//! The types of a purchase, and the rules that hold for every log and store.
//!
//! Each type is validated when it is made: a [`UserId`], a [`Price`] or a [`Timestamp`] that exists
//! is valid, and the error of every conversion is [`Invalid`]. A client gives a [`NewPurchase`],
//! which [`NewPurchaseDraft`] builds member by member. It becomes a [`Purchase`] when an id is
//! assigned by the rules of [`PurchaseId`]. [`Purchase::same_content`] tells apart a repeated
//! purchase and a conflict.

mod context;
mod convert;
mod details;
mod draft;
mod identity;
mod invalid;
mod price;
mod purchase;
mod stated_time;
pub(crate) mod text;
mod timestamp;
mod unknown_members;

pub use text::validate_length;
pub use {
    context::{RecordOrigin, RequestContext},
    details::{Currency, DetailMembers, Details, Item, Quantity, Reference, RefundReason},
    draft::NewPurchaseDraft,
    identity::{IdempotencyKey, PurchaseId, id_from_key, id_from_values},
    invalid::{Invalid, InvalidKind},
    price::{Price, Total, TotalOverflow},
    purchase::{NewPurchase, Purchase},
    stated_time::StatedTime,
    text::{UserId, UserName},
    timestamp::Timestamp,
    unknown_members::InvalidMembers,
};
pub(crate) use {convert::try_from_text, identity::uuid_from_parts};
