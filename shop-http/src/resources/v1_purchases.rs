//! `GET /v1/purchases`, `GET /v1/purchases/{id}`, `GET /v1/summary`, `GET /v1/totals` and
//! `GET /v1/usernames`: purchases in the native API.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use shop_core::api::{RowFormat, TotalsBody};
use shop_core::json::write_member;
use shop_core::ports::{Lookup, Period, Selector, TotalsRequest};
use shop_core::{Invalid, PurchaseId};

use crate::auth::{Action, Caller};
use crate::permits::RequestPermit;
use crate::request::accept::row_format;
use crate::request::{PathText, Query};
use crate::resources::listing_body::{self, StreamForm};
use crate::response::validation_error::{Location, ValidationError};
use crate::response::{HttpError, HttpResult, PURCHASE_BYTES, json_response, to_json};
use crate::service::{IS_PENDING, PendingHeader, PurchaseService, ServiceKind};

/// Only management lists all users' purchases. The policy decides the rest.
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

/// What the handlers get of a request.
type ReadRequest = (State<Arc<PurchaseService>>, Caller, RequestPermit, Uri);

/// The selection of a request and what else is `read` from its parameters, of which these are
/// `known`. Returns when the purchase that it waits for is visible, or the wait is over.
async fn selected<T>(
    (State(purchases), caller, permit, uri): &ReadRequest,
    known: &[&'static str],
    read: impl FnOnce(&mut Query) -> T,
) -> HttpResult<(PendingHeader, Selector, T)> {
    let ((selector, read), wait) = Query::read_from(uri, known, |query| {
        let selector = query.selector();
        let read = read(query);
        Some((selector?, read))
    })?;
    may_select(purchases, caller, &selector)?;
    let pending = purchases
        .wait(caller, permit, wait, std::slice::from_ref(&selector))
        .await?;
    Ok((pending, selector, read))
}

pub(crate) async fn list(read: ReadRequest, headers: HeaderMap) -> HttpResult {
    let format = row_format(&headers)?;
    let page = if format.is_some() {
        Query::whole
    } else {
        Query::page
    };
    let (pending, selector, request) = selected(&read, Query::LISTING, page).await?;
    let State(purchases) = read.0;
    let page = purchases.page(&selector, &request).await?;
    let mut response = match format {
        None => json_response(to_json(&page, 100 + page.items.len() * PURCHASE_BYTES)),
        Some(format) => {
            let form = StreamForm::Rows(format);
            let body = listing_body::whole(purchases, form, selector, request, &page)?;
            file(format, body)
        }
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    Ok((pending, response).into_response())
}

/// A file to download.
fn file(format: RowFormat, content: Body) -> Response {
    let (media_type, name) = match format {
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
        (header::CONTENT_DISPOSITION, name),
    ];
    (headers, content).into_response()
}

/// `GET /v1/summary`: the number of purchases and their exact sum.
pub(crate) async fn summary(read: ReadRequest) -> HttpResult {
    let (pending, selector, range) = selected(&read, Query::SUMMARY, Query::range).await?;
    let (State(purchases), _, permit, _) = &read;
    let whole = purchases
        .totals(permit, &selector, &TotalsRequest::new(range, Period::Whole))
        .await?;
    let summary = whole.first().map(|whole| whole.summary).unwrap_or_default();
    Ok((pending, Json(summary)).into_response())
}

/// `GET /v1/totals`: the number of purchases and their exact sum per hour, day or month.
pub(crate) async fn totals(read: ReadRequest) -> HttpResult {
    let (pending, selector, request) = selected(&read, Query::TOTALS, Query::totals).await?;
    let (State(purchases), _, permit, _) = &read;
    let buckets = purchases.totals(permit, &selector, &request).await?;
    Ok((pending, Json(TotalsBody::from(buckets))).into_response())
}

/// `GET /v1/usernames`: the names of users that begin with a prefix. They are as personal as all
/// purchases.
pub(crate) async fn names(
    State(purchases): State<Arc<PurchaseService>>,
    caller: Caller,
    uri: Uri,
) -> HttpResult {
    let (prefix, _no_wait) = Query::read_from(&uri, Query::NAMES, Query::prefix)?;
    may_select(&purchases, &caller, &Selector::All)?;
    Ok(Json(purchases.names(&prefix).await?).into_response())
}

/// The id in a path.
pub(super) fn read_id(text: &str) -> Result<PurchaseId, ValidationError> {
    let invalid =
        |error: Invalid| Location::Path("id").invalid(format!("is not valid: {}", error.reason()));
    text.parse().map_err(invalid)
}

pub(crate) async fn get(
    (State(purchases), caller, permit, uri): ReadRequest,
    path: PathText,
) -> HttpResult {
    let id = read_id(&path.0.unwrap_or_default());
    let (id, wait) = Query::read_from(&uri, Query::PURCHASE, |query| query.note(id))?;
    let pending = purchases.wait(&caller, &permit, wait, &[]).await?;
    let may_read = |owner| may_select(&purchases, &caller, &Selector::User(owner)).is_ok();
    // A client does not learn which purchases of others exist.
    let response = match purchases.look_up(&id).await? {
        Lookup::Stored(purchase) if may_read(purchase.user_id.clone()) => {
            let mut json = to_json(&purchase, PURCHASE_BYTES);
            if let Some(refund) = purchases.find_refund(&purchase).await? {
                json.pop();
                write_member(&mut json, ",\"refunded\":", &refund.price.negated());
                json.push(b'}');
            }
            json_response(json)
        }
        Lookup::Waiting(refund) if may_read(refund.user_id.clone()) => {
            (IS_PENDING, HttpError::WAITING_REFUND).into_response()
        }
        Lookup::Erased if purchases.policy.allows(&caller, &Action::ReadErased) => {
            HttpError::ERASED_PURCHASE.into_response()
        }
        _ => HttpError::UNKNOWN_PURCHASE.into_response(),
    };
    Ok((pending, response).into_response())
}
