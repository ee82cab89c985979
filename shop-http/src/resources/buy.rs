//! `POST /v1/purchases`: accepts a purchase.
//!
//! The parts [`begin_buy`] and [`respond_with_purchase`] also serve the short paths, which read
//! and write a purchase in other forms.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryFutureExt;
use percent_encoding::utf8_percent_encode;
use shop_core::{NewPurchase, PublishedPurchase, Purchase};

use crate::auth::Action;
use crate::header_names::{PURCHASE_ID, REPLAYED};
use crate::request::purchase::{idempotency_key, read_purchase};
use crate::request::write_request::WriteRequest;
use crate::request::{self, Query};
use crate::response::validation_error::QUERY_ENCODE_SET;
use crate::response::{HttpResult, PURCHASE_BYTES, json_response, to_json};
use crate::routes::mount::Mount;
use crate::service::{IS_PENDING, PurchaseService, ServiceKind};

/// Handles `POST /v1/purchases`: accepts a purchase into the log, or into the store of management.
pub(crate) async fn post(purchases: Arc<PurchaseService>, mut request: WriteRequest) -> HttpResult {
    let mount = request.mount();
    let new_purchase = read_new_purchase(&purchases, &mut request).await?;
    let published = begin_buy(&purchases, new_purchase, request)?.await?;
    Ok(respond(&mount, &published))
}

/// Reads the purchase in a request, with its idempotency key.
async fn read_new_purchase(
    purchases: &PurchaseService,
    request: &mut WriteRequest,
) -> HttpResult<NewPurchase> {
    let body = request::body::read(request, &purchases.options).await?;
    Query::refuse(request.uri())?;
    let key = idempotency_key(request.headers())?;

    let mut new_purchase = read_purchase(&body, purchases)?;
    new_purchase.key = key;
    Ok(new_purchase)
}

/// Checks that the sender of `request` may buy `new_purchase`, and assigns the id and the time.
/// Returns a future that publishes the purchase.
///
/// The request is dropped before the purchase is published, because many requests wait there.
///
/// # Errors
/// 403 if the policy denies the buy.
pub(crate) fn begin_buy(
    purchases: &PurchaseService,
    new_purchase: NewPurchase,
    request: WriteRequest,
) -> HttpResult<impl Future<Output = HttpResult<PublishedPurchase>>> {
    let caller = request.caller();
    let buy = Action::Buy(&new_purchase.user_id);
    let action = match purchases.kind {
        ServiceKind::Facing => buy,
        // Management writes the purchase into its store without the log, which only operators may
        // do. The audit log still records a buy.
        ServiceKind::Management => Action::Operate,
    };
    let decision = purchases.policy.decide(&caller, &action);
    caller.audit_action(&buy, decision.is_ok());
    decision?;

    let shows_position = purchases.shows_positions(&caller);
    let context = request::context::request_context(request.headers());
    let publishing = purchases.buy(new_purchase, context);
    drop(request);
    Ok(publishing.map_ok(move |mut published| {
        if !shows_position {
            published.receipt.position = None;
        }
        published
    }))
}

/// Returns the response to an accepted purchase, or to a refund.
pub(super) fn respond(mount: &Mount, bought: &PublishedPurchase) -> Response {
    let id = bought.purchase.id;
    // The purchase is stored a moment later, so the location waits for it.
    let mut location = mount.path(format_args!("/v1/purchases/{id}?wait_for={id}"));
    if bought.pending {
        location.push_str(&refund_parameters(&bought.purchase));
    }
    let location = [(header::LOCATION, location)];
    let body = to_json(bought, 2 * PURCHASE_BYTES);
    if bought.pending {
        let response = respond_with_purchase(StatusCode::ACCEPTED, bought, body);
        return (location, IS_PENDING, response).into_response();
    }
    (
        location,
        respond_with_purchase(StatusCode::CREATED, bought, body),
    )
        .into_response()
}

/// Returns the parameters that name a pending `refund` in its location.
///
/// Another refund of the same purchase has the same id, and the store may apply that refund instead.
/// With these parameters, the location reports the outcome of this refund.
fn refund_parameters(refund: &Purchase) -> String {
    let mut parameters = String::new();
    let Some(purchase_id) = refund.details.of else {
        return parameters;
    };
    let mut append = |name: &str, value: &str| {
        let encoded_value = utf8_percent_encode(value, &QUERY_ENCODE_SET);
        parameters.push_str(&format!("&{name}={encoded_value}"));
    };
    append("of", &purchase_id.to_string());
    append("amount", &refund.price.negated().to_string());
    if let Some(reason) = &refund.details.reason {
        append("reason", reason.as_str());
    }
    append("timestamp", &refund.timestamp.to_string());
    parameters
}

/// Returns the response about a published purchase, with the body `json`. A header says whether the
/// purchase was acknowledged before, with the same key.
pub(crate) fn respond_with_purchase(
    status: StatusCode,
    bought: &PublishedPurchase,
    json: Vec<u8>,
) -> Response {
    let replayed = bought.replayed.then_some([(REPLAYED, "true")]);
    (
        status,
        [(PURCHASE_ID, bought.purchase.id.to_string())],
        replayed,
        json_response(json),
    )
        .into_response()
}
