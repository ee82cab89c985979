//! `POST /v1/purchases/{id}:refund`: refunds a purchase, once.
//!
//! The store decides over a refund. The response is 201 when the store has applied it, and 202 with
//! the header `X-Purchase-Pending` if the log has it and the store has not decided in time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Extensions;
use shop_core::ports::{Lookup, REFUND_TIMEOUT, Selector};
use shop_core::{Price, Purchase, PurchaseId};
use tokio::time::Instant;

use crate::auth::{Action, Caller};
use crate::compat::RequestDialect;
use crate::permits::RequestPermit;
use crate::request::purchase::RefundRequest;
use crate::request::{self, PathText, Query};
use crate::resources::{buy, v1_purchases};
use crate::response::validation_error::Location;
use crate::response::{HttpError, HttpResult};
use crate::routes::mount::Mount;
use crate::server::browsers::ForeignOrigin;
use crate::service::{PurchaseService, ServiceKind};

pub(crate) async fn post(
    State(purchases): State<Arc<PurchaseService>>,
    RequestDialect(dialect): RequestDialect,
    mount: Mount,
    path: PathText,
    mut request: Request,
) -> HttpResult {
    let until = Instant::now() + REFUND_TIMEOUT;
    let body = request::body::read(&mut request, &purchases.options).await?;
    Query::refuse(request.uri())?;
    // It is checked, but not needed: the id of a refund is derived from that of its purchase.
    request::purchase::idempotency_key(request.headers())?;
    let path = path.0.unwrap_or_default();
    let id = v1_purchases::read_id(path.strip_suffix(":refund").unwrap_or(&path))?;
    let RefundRequest { amount, reason } = request::purchase::read_refund(&body)?;
    let caller = Caller::of(request.extensions());
    check_sender(&purchases, &caller, request.extensions())?;
    let permit = RequestPermit::of(request.extensions())?;
    let context = request::context::request_context(request.headers());

    // It waits for the store, which may be slow: other writes have room meanwhile.
    permit
        .exchange_for_wait()
        .map_err(|_full| HttpError::overloaded(true))?;
    let mut refund = find_refundable(&purchases, &caller, &id, until)
        .await?
        .refund(amount, purchases.clock.now())
        .map_err(|error| Location::Member("amount".into()).error(error.message().to_owned()))?;
    refund.details.reason = reason;
    refund.context = context;

    let left = until.saturating_duration_since(Instant::now());
    let mut refunded = purchases.refund(refund, left).await?;
    if !purchases.shows_positions(&caller) {
        refunded.receipt.position = None;
    }
    Ok(buy::respond(dialect, &mount, &refunded))
}

/// Checks what does not depend on the purchase.
fn check_sender(
    purchases: &PurchaseService,
    caller: &Caller,
    extensions: &Extensions,
) -> HttpResult<()> {
    ForeignOrigin::refuse(extensions)?;
    if purchases.kind == ServiceKind::Management {
        // Past the log, as each write.
        purchases
            .policy
            .check_as(caller, &Action::Operate, "refund")?;
    }
    Ok(())
}

/// Returns the purchase with this id, if `caller` may refund it. Waits for one that is not stored
/// yet.
async fn find_refundable(
    purchases: &PurchaseService,
    caller: &Caller,
    id: &PurchaseId,
    until: Instant,
) -> HttpResult<Purchase> {
    let acknowledged = purchases.sink.acknowledged_purchase(id);
    if let Some(acknowledged) = &acknowledged {
        authorize(purchases, caller, acknowledged)?;
    }
    let bought = match purchases.wait_until_stored(id, until).await? {
        Lookup::Stored(bought) => bought,
        Lookup::Erased if purchases.policy.decide(caller, &Action::ReadErased).is_ok() => {
            return Err(HttpError::ERASED_PURCHASE);
        }
        Lookup::Missing if acknowledged.is_some() => return Err(HttpError::not_stored_yet()),
        _ => return Err(HttpError::UNKNOWN_PURCHASE),
    };
    authorize(purchases, caller, &bought)?;
    if bought.is_refund() || bought.price == Price::ZERO {
        return Err(HttpError::NOT_REFUNDABLE);
    }
    Ok(bought)
}

/// Checks whether `caller` may refund `bought`.
fn authorize(purchases: &PurchaseService, caller: &Caller, bought: &Purchase) -> HttpResult<()> {
    let refund = Action::Refund(&bought.user_id);
    let decision = match purchases.kind {
        ServiceKind::Facing => purchases.policy.decide(caller, &refund),
        // It was checked before.
        ServiceKind::Management => Ok(()),
    };
    caller.note(&refund, decision.is_ok());

    // A client does not learn which purchases of others exist.
    let owner = Selector::User(bought.user_id.clone());
    if decision.is_err() && v1_purchases::may_select(purchases, caller, &owner).is_err() {
        return Err(HttpError::UNKNOWN_PURCHASE);
    }
    decision
}
