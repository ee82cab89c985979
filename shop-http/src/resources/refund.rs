//! `POST /v1/purchases/{id}:refund`: refunds a purchase, once.
//!
//! The store decides on a refund. The response is 201 when the store applied the refund, and 202
//! with the header `X-Purchase-Pending` if the log contains the refund and the store did not decide
//! in time.

use std::sync::Arc;

use axum::http::Extensions;
use shop_core::ports::Lookup;
use shop_core::{Price, Purchase, PurchaseId};

use super::{buy, v1_purchases};
use crate::auth::{Action, Caller};
use crate::pipeline::browsers::ForeignOrigin;
use crate::request::path::path_parameter;
use crate::request::purchase::RefundRequest;
use crate::request::write_request::WriteRequest;
use crate::request::{self, Query};
use crate::response::{HttpError, HttpResult, RequestKind};
use crate::routes::mount::Mount;
use crate::service::{PurchaseService, ServiceKind};

/// Handles `POST /v1/purchases/{id}:refund`: refunds a purchase.
pub(crate) async fn post(purchases: Arc<PurchaseService>, mut request: WriteRequest) -> HttpResult {
    let body = request::body::read(&mut request, &purchases.options).await?;
    let permit = request.permit()?;
    let (head, _body) = request.into_request().into_parts();
    Query::refuse(&head.uri)?;
    // The key is checked, but not needed: the id of a refund is derived from the id of its
    // purchase.
    request::purchase::idempotency_key(&head.headers)?;
    let path = path_parameter(&head).unwrap_or_default();
    let id = v1_purchases::read_id(path.strip_suffix(":refund").unwrap_or(&path))?;
    let RefundRequest { amount, reason } = request::purchase::read_refund(&body)?;

    let caller = Caller::from_extensions(&head.extensions);
    check_sender(&purchases, &caller, &head.extensions)?;
    // The refund waits for the store, which may be slow. Other writes find room during this wait.
    permit
        .exchange_for_wait()
        .map_err(|_full| HttpError::overloaded(RequestKind::Write))?;
    let purchase = find_refundable(&purchases, &caller, &id).await?;
    let context = request::context::request_context(&head.headers);
    let mut published_refund = purchases.refund(&purchase, amount, reason, context).await?;
    if !purchases.shows_positions(&caller) {
        published_refund.receipt.position = None;
    }
    let mount = Mount::from_request(&head.uri, &head.extensions);
    Ok(buy::respond(&mount, &published_refund))
}

/// Checks whether the sender may refund at all, whatever the purchase is.
///
/// # Errors
/// 403 for a page of another origin, or if the policy denies operations on management.
fn check_sender(
    purchases: &PurchaseService,
    caller: &Caller,
    extensions: &Extensions,
) -> HttpResult<()> {
    ForeignOrigin::refuse(extensions)?;
    if purchases.kind == ServiceKind::Management {
        // Management writes the refund into its store without the log, which only operators may do.
        purchases
            .policy
            .check_as(caller, &Action::Operate, "refund")?;
    }
    Ok(())
}

/// Returns the purchase with this id, if `caller` may refund it. Waits for a purchase that is not
/// stored yet.
///
/// # Errors
/// - 404 if there is no such purchase, or `caller` must not learn that there is
/// - 403 if the policy denies the refund
/// - 409 if nothing was paid that can be refunded
/// - 410 if the purchase was erased and `caller` may learn that, else 404
/// - 503 if an acknowledged purchase is not stored in time
async fn find_refundable(
    purchases: &PurchaseService,
    caller: &Caller,
    id: &PurchaseId,
) -> HttpResult<Purchase> {
    let acknowledged = purchases.shop.acknowledged(id);
    // A caller who may not refund the purchase does not wait for it.
    if let Some(acknowledged) = &acknowledged {
        authorize(purchases, caller, acknowledged)?;
    }
    let purchase = match purchases.look_up_acknowledged(id).await? {
        Lookup::Stored(purchase) => purchase,
        Lookup::Erased if purchases.policy.allows(caller, &Action::ReadErased) => {
            return Err(HttpError::ERASED_PURCHASE);
        }
        Lookup::Missing if acknowledged.is_some() => return Err(HttpError::not_stored_yet()),
        // There is no such purchase, or `caller` must not learn about it.
        _ => return Err(HttpError::UNKNOWN_PURCHASE),
    };
    authorize(purchases, caller, &purchase)?;
    if purchase.is_refund() || purchase.price == Price::ZERO {
        return Err(HttpError::NOT_REFUNDABLE);
    }
    Ok(purchase)
}

/// Checks that `caller` may refund `purchase`, and records the decision for the audit log.
///
/// # Errors
/// - 403 if the policy denies the refund
/// - 404 if the policy also denies reading the purchase
fn authorize(purchases: &PurchaseService, caller: &Caller, purchase: &Purchase) -> HttpResult<()> {
    let refund = Action::Refund(&purchase.user_id);
    let decision = match purchases.kind {
        ServiceKind::Facing => purchases.policy.decide(caller, &refund),
        // On management, `check_sender` has checked that the caller is an operator.
        ServiceKind::Management => Ok(()),
    };
    caller.audit_action(&refund, decision.is_ok());

    // A client does not learn which purchases of others exist.
    if decision.is_err() && !v1_purchases::may_read(purchases, caller, purchase) {
        return Err(HttpError::UNKNOWN_PURCHASE);
    }
    decision
}
