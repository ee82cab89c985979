//! `GET /v1/purchases`, `GET /v1/purchases/{id}`, `GET /v1/summary`, `GET /v1/totals` and
//! `GET /v1/usernames`: purchases in the native API.
//!
//! Each handler reads the parameters of the query, asks the policy, and may wait until a purchase
//! that the client just made is visible.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shop_api::files::RowFormat;
use shop_api::{PurchaseBody, TotalsBody};
use shop_core::ports::{Lookup, Period, RefundState, Selector, TotalsRequest};
use shop_core::{ErrorKind, Invalid, Purchase, PurchaseId};

use super::listing_body::stream_listing;
use crate::auth::{Action, Caller};
use crate::permits::RequestPermit;
use crate::request::Query;
use crate::request::accept::row_format;
use crate::request::path::path_parameter;
use crate::request::query::RequestedRefund;
use crate::response::{
    HttpError, HttpResult, Location, PURCHASE_BYTES, ValidationError, json_response, to_json,
};
use crate::service::{IS_PENDING, PendingHeader, PurchaseService, ServiceKind};

/// Checks that `caller` may read the purchases of `selector`.
///
/// # Errors
/// 403 if the policy denies it, or for all users' purchases on facing.
pub(crate) fn may_select(
    purchases: &PurchaseService,
    caller: &Caller,
    selector: &Selector,
) -> HttpResult<()> {
    match (purchases.kind, selector) {
        (ServiceKind::Facing, Selector::All) => Err(HttpError::NOT_FOR_EVERYONE),
        _ => purchases
            .policy
            .check(caller, &Action::ReadPurchases(selector)),
    }
}

/// The purchases that a request selects, and the other parameters of the request.
struct Selection<T> {
    selector: Selector,
    parameters: T,
    permit: RequestPermit,
    /// The header of the response if the client waited for a purchase that is still not visible.
    pending: PendingHeader,
}

/// Reads the selection and the other parameters of a request. Then waits until the purchase is
/// visible that the client wants to wait for, if it names one.
///
/// `allowed_names` are the names of all parameters that the request may contain. `read_parameters`
/// reads the parameters that do not select purchases.
///
/// # Errors
/// - 422 for invalid parameters
/// - 403 if the policy denies the read
/// - 503 if there is no room for one more request that waits
async fn read_selection<T>(
    purchases: &PurchaseService,
    head: Parts,
    allowed_names: &[&'static str],
    read_parameters: fn(&mut Query) -> T,
) -> HttpResult<Selection<T>> {
    let ((selector, parameters), wait) = Query::read_from(&head.uri, allowed_names, |query| {
        let selector = query.selector();
        let parameters = read_parameters(query);
        Some((selector?, parameters))
    })?;
    let caller = Caller::from_extensions(&head.extensions);
    may_select(purchases, &caller, &selector)?;

    let permit = RequestPermit::from_extensions(&head.extensions)?;
    // The head is not needed during the wait, and many requests may wait.
    drop(head);
    let pending = purchases
        .wait(&caller, &permit, wait, std::slice::from_ref(&selector))
        .await?;
    Ok(Selection {
        selector,
        parameters,
        permit,
        pending,
    })
}

/// Handles `GET /v1/purchases`: lists a page of purchases, or a whole listing as a file.
pub(crate) async fn list(purchases: Arc<PurchaseService>, head: Parts) -> HttpResult {
    let format = row_format(&head.headers)?;
    let read_parameters = match format {
        Some(_) => Query::whole_listing,
        None => Query::page,
    };
    let selection = read_selection(&purchases, head, Query::LISTING, read_parameters).await?;
    let Selection {
        selector,
        parameters: request,
        pending,
        ..
    } = selection;

    let page = purchases.page(&selector, &request).await?;
    let mut response = match format {
        None => json_response(to_json(&page, 100 + page.items.len() * PURCHASE_BYTES)),
        Some(format) => {
            let body = stream_listing(purchases, format, selector, request, &page)?;
            file_response(format, body)
        }
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    Ok((pending, response).into_response())
}

/// Returns the response with a file to download.
fn file_response(format: RowFormat, content: Body) -> Response {
    let (media_type, disposition) = match format {
        RowFormat::Csv => (
            "text/csv; charset=utf-8; header=present",
            "attachment; filename=\"purchases.csv\"",
        ),
        _ => (
            format.media_type(),
            "attachment; filename=\"purchases.ndjson\"",
        ),
    };
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, content).into_response()
}

/// Handles `GET /v1/summary`: returns the number of purchases and their exact sum.
pub(crate) async fn summary(purchases: Arc<PurchaseService>, head: Parts) -> HttpResult {
    let selection = read_selection(&purchases, head, Query::SUMMARY, Query::range).await?;
    let request = TotalsRequest::new(selection.parameters, Period::Whole);
    let totals = purchases
        .totals(&selection.permit, &selection.selector, &request)
        .await?;

    // The whole range is one bucket. Without purchases, there is no bucket, and the sum is 0.
    let summary = totals
        .first()
        .map(|bucket| bucket.summary)
        .unwrap_or_default();
    Ok((selection.pending, Json(summary)).into_response())
}

/// Handles `GET /v1/totals`: returns the number of purchases and their exact sum per hour, day or
/// month.
///
/// # Errors
/// The errors of [`read_selection`], and of the query.
pub(crate) async fn totals(purchases: Arc<PurchaseService>, head: Parts) -> HttpResult {
    let selection = read_selection(&purchases, head, Query::TOTALS, Query::totals).await?;
    let totals = purchases
        .totals(
            &selection.permit,
            &selection.selector,
            &selection.parameters,
        )
        .await?;
    Ok((selection.pending, Json(TotalsBody::from(totals))).into_response())
}

/// Handles `GET /v1/usernames`: returns the names of users that begin with a prefix. The names are as
/// personal as all purchases, so the caller must be allowed to read all purchases.
pub(crate) async fn names(purchases: Arc<PurchaseService>, head: Parts) -> HttpResult {
    let (prefix, _no_wait) = Query::read_from(&head.uri, Query::NAMES, Query::prefix)?;
    let caller = Caller::from_extensions(&head.extensions);
    may_select(&purchases, &caller, &Selector::All)?;
    Ok(Json(purchases.names(&prefix).await?).into_response())
}

/// Reads the id of a purchase in a path.
///
/// # Errors
/// The error of a text that is not an id.
pub(super) fn read_id(text: &str) -> Result<PurchaseId, ValidationError> {
    text.parse().map_err(|error: Invalid| {
        Location::Path("id").invalid(format!("is not valid: {}", error.reason()))
    })
}

/// Handles `GET /v1/purchases/{id}`: returns one purchase or refund, or the state of a refund that
/// is pending.
///
/// # Errors
/// - 422 for an invalid id or parameter
/// - 404 if there is no such purchase, or it belongs to another user: a client does not learn
///   which purchases of others exist
/// - 410 for an erased purchase, if the policy lets the caller read that
/// - The errors of [`respond_with_state`] for a refund that is pending
pub(crate) async fn get(purchases: Arc<PurchaseService>, head: Parts) -> HttpResult {
    let id_result = read_id(&path_parameter(&head).unwrap_or_default());
    let ((id, requested_refund), wait) = Query::read_from(&head.uri, Query::PURCHASE, |query| {
        let requested_refund = query.refund();
        Some((query.value_or_note(id_result)?, requested_refund))
    })?;
    let caller = Caller::from_extensions(&head.extensions);
    let permit = RequestPermit::from_extensions(&head.extensions)?;
    // The head is not needed during the wait, and many requests may wait.
    drop(head);
    // Only a wait that the client requests delays the response, because no purchases are selected.
    let no_selectors = [];
    let pending = purchases
        .wait(&caller, &permit, wait, &no_selectors)
        .await?;

    if let Some(requested_refund) = requested_refund
        && let Some(refund) =
            make_requested_refund(&purchases, &caller, &id, requested_refund).await?
    {
        return respond_with_state(&purchases, &caller, refund).await;
    }
    match purchases.look_up(&id).await? {
        Lookup::Stored(purchase) if may_read(&purchases, &caller, &purchase) => {
            let refund = purchases.find_refund(&purchase).await?;
            let body = PurchaseBody {
                purchase: &purchase,
                refunded: refund.map(|refund| refund.price.negated()),
            };
            Ok((pending, Json(body)).into_response())
        }
        Lookup::Waiting(refund) if may_read(&purchases, &caller, &refund) => {
            respond_with_state(&purchases, &caller, refund).await
        }
        Lookup::Erased if purchases.policy.allows(&caller, &Action::ReadErased) => {
            Err(HttpError::ERASED_PURCHASE.with_pending(pending))
        }
        // It does not exist, or the caller must not learn about it.
        _ => Err(HttpError::UNKNOWN_PURCHASE.with_pending(pending)),
    }
}

/// Makes the refund that the `Location` of a pending refund names. Returns `None` if the purchase of
/// the refund is not stored, or if `caller` may not read this purchase.
///
/// # Errors
/// - 404 if `id` is not the id of a refund of this purchase
/// - 409 if the purchase cannot be refunded so
async fn make_requested_refund(
    purchases: &PurchaseService,
    caller: &Caller,
    id: &PurchaseId,
    requested: RequestedRefund,
) -> HttpResult<Option<Purchase>> {
    if requested.purchase_id.refund_id() != *id {
        return Err(HttpError::UNKNOWN_PURCHASE);
    }
    let Lookup::Stored(purchase) = purchases.look_up(&requested.purchase_id).await? else {
        return Ok(None);
    };
    if !may_read(purchases, caller, &purchase) {
        return Ok(None);
    }

    let mut refund = purchase
        .refund(Some(requested.amount), requested.timestamp)
        .map_err(|error| refused_refund(error.message().to_owned()))?;
    refund.details.reason = requested.reason;
    Ok(Some(refund))
}

/// Returns the response about a refund that was pending. The status depends on the decision of the
/// store: 200 with the stored refund, or 202 with `refund` while the store has not decided.
///
/// # Errors
/// - 409 with the reason if the store refused the refund: it applied another refund of the purchase,
///   or the refund contradicts its purchase
/// - 410 if the purchase was erased and `caller` may learn that, else 404
async fn respond_with_state(
    purchases: &PurchaseService,
    caller: &Caller,
    refund: Purchase,
) -> HttpResult {
    match purchases.refund_state(&refund).await? {
        RefundState::Applied(stored) => Ok(json_response(to_json(&stored, PURCHASE_BYTES))),
        RefundState::Waiting | RefundState::Undecided => {
            let body = json_response(to_json(&refund, PURCHASE_BYTES));
            Ok((StatusCode::ACCEPTED, IS_PENDING, body).into_response())
        }
        RefundState::Conflict => Err(HttpError::OTHER_REFUND),
        RefundState::Refused(invalid) => Err(refused_refund(invalid.to_string())),
        RefundState::Erased if purchases.policy.allows(caller, &Action::ReadErased) => {
            Err(HttpError::ERASED_PURCHASE)
        }
        RefundState::Erased => Err(HttpError::UNKNOWN_PURCHASE),
    }
}

/// Returns the error 409 of a refund that the store can never apply, because of `reason`.
fn refused_refund(reason: String) -> HttpError {
    HttpError::with_kind(StatusCode::CONFLICT, ErrorKind::Conflict, reason)
}

/// Returns whether `caller` may read `purchase`.
pub(super) fn may_read(purchases: &PurchaseService, caller: &Caller, purchase: &Purchase) -> bool {
    let owner = Selector::User(purchase.user_id.clone());
    may_select(purchases, caller, &owner).is_ok()
}
