//! `POST /v1/purchases/{id}:refund`: refunds a purchase, once.

use std::sync::Arc;

use axum::extract::{Request, State};
use shop_core::ports::{Lookup, Selector};
use shop_core::{Price, Purchase, PurchaseId};

use crate::auth::{Action, Audited, Caller};
use crate::compat::RequestDialect;
use crate::request::{self, PathText, Query};
use crate::resources::{buy, v1_purchases};
use crate::response::validation_error::{Location, ValidationError};
use crate::response::{HttpError, HttpResult};
use crate::routes::mount::Mount;
use crate::service::{Purchases, ServiceKind};

pub(crate) async fn post(
    State(purchases): State<Arc<Purchases>>,
    RequestDialect(dialect): RequestDialect,
    mount: Mount,
    path: PathText,
    mut request: Request,
) -> HttpResult {
    let body = request::body::read(&mut request, &purchases.options).await?;
    Query::refuse(request.uri())?;
    // It is checked, but not needed: the id of a refund is derived from that of its purchase.
    request::purchase::idempotency_key(request.headers())?;
    let path = path.0.unwrap_or_default();
    let id = v1_purchases::read_id(path.strip_suffix(":refund").unwrap_or(&path))?;
    let (amount, reason) = request::purchase::read_refund(&body)?;
    let caller = Caller::of(request.extensions());
    let bought = refundable(&purchases, &caller, &id).await?;
    let refund = bought.refund(amount, purchases.clock.now());
    let mut refund = refund.map_err(|error| {
        let text = error.message().to_owned();
        ValidationError {
            text,
            ..Location::Member("amount".into()).invalid("")
        }
    })?;
    refund.details.reason = reason;
    refund.context = request::purchase::context(request.headers());
    let mut refunded = purchases.refund(refund).await?;
    let position = refunded.receipt.position.take();
    refunded.receipt.position = position.filter(|_| purchases.shows_positions(&caller));
    Ok(buy::respond(dialect, &mount, &refunded))
}

/// The purchase with this id, if `caller` may refund it.
async fn refundable(
    purchases: &Purchases,
    caller: &Caller,
    id: &PurchaseId,
) -> HttpResult<Purchase> {
    // Past the log, as each write.
    let is_operation = purchases.kind == ServiceKind::Management;
    if is_operation {
        let decision = purchases.policy.decide(caller, &Action::Operate);
        decision.inspect_err(|_denied| {
            caller.audit(Audited {
                action: "refund",
                ..Audited::default()
            });
        })?;
    }
    let bought = match purchases.look_up(id).await? {
        Lookup::Stored(bought) => bought,
        Lookup::Erased if purchases.policy.decide(caller, &Action::ReadErased).is_ok() => {
            return Err(HttpError::ERASED_PURCHASE);
        }
        _ => return Err(HttpError::UNKNOWN_PURCHASE),
    };
    let refund = Action::Refund(&bought.user_id);
    let decision = if is_operation {
        Ok(())
    } else {
        purchases.policy.decide(caller, &refund)
    };
    caller.note(&refund, decision.is_ok());
    let owner = Selector::User(bought.user_id.clone());
    // A client does not learn which purchases of others exist.
    if decision.is_err() && v1_purchases::may_select(purchases, caller, &owner).is_err() {
        return Err(HttpError::UNKNOWN_PURCHASE);
    }
    decision?;
    if bought.details.of.is_some() || bought.price == Price::ZERO {
        return Err(HttpError::NOT_REFUNDABLE);
    }
    Ok(bought)
}
