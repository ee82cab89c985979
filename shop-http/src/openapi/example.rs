//! The purchase in the examples.

use axum::response::Response;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::Value;
use shop_core::log::RecordPosition;
use shop_core::ports::{Durability, Page, Receipt};
use shop_core::{NewPurchase, Purchase, Timestamp};

/// A purchase, if the texts in this file are valid.
pub(super) fn purchase() -> Option<Purchase> {
    let id = "0190163d-8694-739b-aea5-966c26f8ad91".parse().ok()?;
    let new = NewPurchase::of("u1").named("ada").priced("29.99").ok()?;
    let at: Timestamp = "2026-03-01T09:00:00.250Z".parse().ok()?;
    Some(Purchase::new(id, new.user_id, new.user_name, new.price, at))
}

/// The receipt of `purchase`.
pub(super) fn receipt(purchase: &Purchase) -> Receipt {
    let position = RecordPosition::new("purchases".to_owned(), 0, 42);
    Receipt::new(purchase.id, Durability::LocalDisk).with_position(position)
}

/// A page with this purchase only.
pub(super) fn page() -> Page {
    Page::new(purchase().into_iter().collect(), None)
}

/// The body of `answer` as JSON.
pub(super) fn shown(answer: Response) -> Option<Value> {
    // The body is complete, so its future is ready.
    let body = answer.into_body().collect().now_or_never()?.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}
