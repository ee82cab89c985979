//! `POST /buy`, `POST /v1/purchases`, and `POST /purchases`: accept a purchase.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use shop_core::json::write_member;
use shop_core::{PublishedPurchase, Purchase};

use crate::auth::{Action, Caller};
use crate::compat::purchase::write_purchase;
use crate::compat::{Dialect, Extras, ItemForm, PurchaseResponse, RequestDialect, members};
use crate::header_names::{PURCHASE_ID, REPLAYED};
use crate::request::purchase::{idempotency_key, read_purchase};
use crate::request::{self, Query};
use crate::response::{HttpResult, PURCHASE_BYTES, json_response, to_json};
use crate::routes::mount::Mount;
use crate::service::{IS_PENDING, PurchaseService, ServiceKind};

/// `POST /buy` and `POST /v1/purchases`: accepts a purchase into the log.
pub(crate) async fn post(
    State(purchases): State<Arc<PurchaseService>>,
    RequestDialect(dialect): RequestDialect,
    mount: Mount,
    mut request: Request,
) -> HttpResult {
    let bought = buy(&purchases, dialect, &mut request).await?;
    if dialect.logs_purchases && !bought.replayed {
        let Purchase { id, user_id, .. } = &bought.purchase;
        tracing::info!(purchase.id = %id, user.id = user_id.as_str(), "Published purchase");
    }
    Ok(respond(dialect, &mount, &bought))
}

/// `POST /purchases`: writes a purchase without the log.
pub(crate) async fn post_into_store(
    State(purchases): State<Arc<PurchaseService>>,
    RequestDialect(dialect): RequestDialect,
    mut request: Request,
) -> HttpResult {
    let bought = buy(&purchases, dialect, &mut request).await?;
    let mut stored = Vec::with_capacity(PURCHASE_BYTES);
    write_purchase(&mut stored, &bought.purchase, dialect.item);
    Ok(accepted(StatusCode::CREATED, &bought, stored))
}

async fn buy(
    role: &PurchaseService,
    dialect: &Dialect,
    request: &mut Request,
) -> HttpResult<PublishedPurchase> {
    let (bought, shows_position) = {
        let body = request::body::read(request, &role.options).await?;
        if dialect.is_strict {
            Query::refuse(request.uri())?;
        }
        let key = idempotency_key(request.headers())?;
        let mut new = if dialect.is_strict {
            read_purchase(&body, role)?
        } else {
            members::read_purchase(&body, dialect, role)?
        };
        new.key = key;
        let caller = Caller::of(request.extensions());
        let buy = Action::Buy(&new.user_id);
        let decision = match role.kind {
            ServiceKind::Facing => role.policy.decide(&caller, &buy),
            // Past the log.
            ServiceKind::Management => role.policy.decide(&caller, &Action::Operate),
        };
        caller.note(&buy, decision.is_ok());
        decision?;
        let shows_position = role.shows_positions(&caller);
        let bought = role.buy(new, request::context::request_context(request.headers()));
        // Before the purchase is published, as many requests wait there.
        drop(std::mem::take(request));
        (bought, shows_position)
    };
    let mut bought = bought.await?;
    bought.receipt.position = bought.receipt.position.filter(|_| shows_position);
    Ok(bought)
}

/// The response to an accepted purchase.
pub(super) fn respond(dialect: &Dialect, mount: &Mount, bought: &PublishedPurchase) -> Response {
    if dialect.is_strict {
        let id = bought.purchase.id;
        // It is stored a moment later, so the location waits for it.
        let location = mount.path(format_args!("/v1/purchases/{id}?wait_for={id}"));
        let body = to_json(bought, 2 * PURCHASE_BYTES);
        let (status, pending) = if bought.pending {
            (StatusCode::ACCEPTED, IS_PENDING)
        } else {
            (StatusCode::CREATED, None)
        };
        let accepted = accepted(status, bought, body);
        return ([(header::LOCATION, location)], pending, accepted).into_response();
    }
    let PurchaseResponse {
        code,
        status,
        message,
        purchase_as,
    } = dialect.bought;
    let form = ItemForm {
        extras: Extras::None,
        ..dialect.item
    };
    let mut json = Vec::with_capacity(3 * PURCHASE_BYTES);
    let mut purchase = Vec::with_capacity(PURCHASE_BYTES);
    write_purchase(&mut purchase, &bought.purchase, form);
    if let Some(status) = status {
        write_member(&mut json, "{\"status\":", status);
    }
    let start = if status.is_some() {
        ",\"message\":"
    } else {
        "{\"message\":"
    };
    write_member(&mut json, start, message);
    for name in purchase_as {
        write_member(&mut json, ",", *name);
        json.push(b':');
        json.extend_from_slice(&purchase);
    }
    json.push(b'}');
    accepted(code, bought, json)
}

/// Returns the response about a purchase, which says whether the request repeats one that was
/// acknowledged before.
fn accepted(code: StatusCode, bought: &PublishedPurchase, json: Vec<u8>) -> Response {
    let replayed = bought.replayed.then_some([(REPLAYED, "true")]);
    (
        code,
        [(PURCHASE_ID, bought.purchase.id.to_string())],
        replayed,
        json_response(json),
    )
        .into_response()
}
