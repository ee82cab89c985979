//! `POST /buy`, `POST /v1/purchases`, and `POST /purchases`: accept a purchase.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use shop_core::{PublishedPurchase, Purchase};

use crate::auth::{Action, Caller};
use crate::dialect::{Dialect, PurchaseResponse, RequestDialect, Timestamps};
use crate::request;
use crate::request::Query;
use crate::response::purchase_answer::PurchaseAnswer;
use crate::response::{HttpError, LegacyPurchase};
use crate::routes::mount::Mount;
use crate::service::Purchases;
use crate::service::ServiceKind;

/// `POST /buy` and `POST /v1/purchases`: accepts a purchase into the log.
pub(crate) async fn post(
    State(purchases): State<Arc<Purchases>>,
    RequestDialect(dialect): RequestDialect,
    mount: Mount,
    request: Request,
) -> Result<Response, HttpError> {
    let bought = buy(&purchases, dialect, dialect.timestamps, request).await?;
    if dialect.logs_purchases() && !bought.replayed {
        let Purchase { id, user_id, .. } = &bought.purchase;
        tracing::info!(purchase.id = %id, user.id = user_id.as_str(), "Published purchase");
    }
    Ok(answer(dialect, &mount, bought))
}

/// `POST /purchases`: writes a purchase without the log. The client's timestamp counts in every dialect.
pub(crate) async fn post_into_store(
    State(purchases): State<Arc<Purchases>>,
    RequestDialect(dialect): RequestDialect,
    request: Request,
) -> Result<Response, HttpError> {
    let PublishedPurchase { purchase, replayed, .. } =
        buy(&purchases, dialect, Timestamps::Lenient, request).await?;
    let stored = LegacyPurchase::in_listing(&purchase, dialect.item);
    Ok(PurchaseAnswer::new(purchase.id, replayed).respond(StatusCode::CREATED, &stored))
}

async fn buy(
    purchases: &Purchases,
    dialect: &Dialect,
    timestamps: Timestamps,
    request: Request,
) -> Result<PublishedPurchase, HttpError> {
    let bought = {
        // Extracting the headers would copy them. The parts are dropped before the purchase is published, as many
        // requests wait there.
        let (Parts { headers, uri, extensions, .. }, body) = request.into_parts();
        let body = request::body::read(&headers, body, &purchases.options).await?;
        if dialect.is_strict {
            Query::refuse(&uri)?;
        }
        let key = request::purchase::idempotency_key(&headers)?;
        let times = request::purchase::accepted_times(purchases);
        let new = request::purchase::read(&body, dialect, timestamps, key, &times)?;
        let (caller, buy) = (Caller::of(&extensions), Action::Buy(&new.user_id));
        let decision = match purchases.kind {
            ServiceKind::Facing => purchases.policy.decide(&caller, &buy),
            // Past the log.
            ServiceKind::Management => purchases.policy.decide(&caller, &Action::Operate),
        };
        caller.note(&buy, decision.is_ok());
        decision?;
        purchases.buy(new, request::purchase::context(&headers))
    };
    bought.await
}

/// The response to an accepted purchase.
pub(crate) fn answer(dialect: &Dialect, mount: &Mount, bought: PublishedPurchase) -> Response {
    let purchase = &bought.purchase;
    let mut answer = PurchaseAnswer::new(purchase.id, bought.replayed);
    match dialect.bought {
        PurchaseResponse::PurchaseAndReceipt => {
            // It is stored a moment later, so the location waits for it.
            answer.header(
                header::LOCATION,
                format_args!("{0}/v1/purchases/{1}?wait_for={1}", mount.prefix(), purchase.id),
            );
            answer.respond(StatusCode::CREATED, &bought)
        }
        PurchaseResponse::Says { code, status, message, purchase_as } => {
            let texts = [("status", status), ("message", Some(message))];
            answer.respond_with(code, |text| {
                text.push(b'{');
                for (name, value) in texts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                    append_name(text, name);
                    serde_json::to_writer(&mut *text, value)?;
                }
                append_members(text, purchase_as, |text| {
                    LegacyPurchase::write_four_members(purchase, dialect.item, text)
                })
            })
        }
    }
}

/// Appends members with the same value, which is written once, and ends the object.
fn append_members(
    text: &mut Vec<u8>,
    names: &[&str],
    write: impl Fn(&mut Vec<u8>) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    let mut written = None;
    for name in names {
        append_name(text, name);
        let start = text.len();
        match written.clone() {
            Some(first) => text.extend_from_within(first),
            None => write(text)?,
        }
        written.get_or_insert(start..text.len());
    }
    text.push(b'}');
    Ok(())
}

/// Appends the name of the next member of an object. Names of dialects need no escapes.
fn append_name(text: &mut Vec<u8>, name: &str) {
    if !text.ends_with(b"{") {
        text.push(b',');
    }
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
}
