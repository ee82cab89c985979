//! The purchase that the examples are about.

use axum::response::Response;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::Value;
use shop_core::log::RecordPosition;
use shop_core::ports::{Durability, Page, Receipt};
use shop_core::{NewPurchase, Purchase, Timestamp};

/// A purchase, if the texts of this file can be read.
pub(super) fn purchase() -> Option<Purchase> {
    let id = "0190163d-8694-739b-aea5-966c26f8ad91".parse().ok()?;
    let new = NewPurchase::new("u1".parse().ok()?, "ada".parse().ok()?, "29.99".parse().ok()?);
    let at: Timestamp = "2026-03-01T09:00:00.250Z".parse().ok()?;
    Some(Purchase::new(id, new.user_id, new.user_name, new.price, at))
}

/// Its receipt.
pub(super) fn receipt(purchase: &Purchase) -> Receipt {
    let position = RecordPosition::new("purchases".to_owned(), 0, 42);
    Receipt::new(purchase.id, Durability::LocalDisk).with_position(position)
}

/// A page with nothing else.
pub(super) fn page() -> Page {
    Page::new(purchase().into_iter().collect(), None)
}

/// What an answer says, as JSON.
pub(super) fn shown(answer: Response) -> Option<Value> {
    // What is written already is there at once.
    let body = answer.into_body().collect().now_or_never()?.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}
