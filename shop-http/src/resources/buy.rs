//! `POST /buy`, `POST /v1/purchases`, and `POST /purchases`: accept a purchase.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use shop_core::{PublishedPurchase, Purchase, PurchaseId};

use crate::auth::{Action, Caller};
use crate::dialect::{Dialect, PurchaseResponse, RequestDialect, Timestamps};
use crate::header_names::{PURCHASE_ID, REPLAYED};
use crate::request;
use crate::request::Query;
use crate::response::{HttpResult, LegacyPurchase};
use crate::routes::mount::Mount;
use crate::service::{Purchases, ServiceKind};

/// `POST /buy` and `POST /v1/purchases`: accepts a purchase into the log.
pub(crate) async fn post(
    State(purchases): State<Arc<Purchases>>,
    RequestDialect(dialect): RequestDialect,
    mount: Mount,
    request: Request,
) -> HttpResult {
    let bought = buy(&purchases, dialect, dialect.timestamps, request).await?;
    if dialect.logs_purchases && !bought.replayed {
        let Purchase { id, user_id, .. } = &bought.purchase;
        tracing::info!(purchase.id = %id, user.id = user_id.as_str(), "Published purchase");
    }
    Ok(respond(dialect, &mount, &bought))
}

/// `POST /purchases`: writes a purchase without the log. The client's timestamp counts in every dialect.
pub(crate) async fn post_into_store(
    State(purchases): State<Arc<Purchases>>,
    RequestDialect(dialect): RequestDialect,
    request: Request,
) -> HttpResult {
    let PublishedPurchase { purchase, replayed, .. } =
        buy(&purchases, dialect, Timestamps::Lenient, request).await?;
    let stored = LegacyPurchase::in_listing(&purchase, dialect.item);
    Ok(accepted(StatusCode::CREATED, purchase.id, replayed, stored))
}

async fn buy(
    purchases: &Purchases,
    dialect: &Dialect,
    timestamps: Timestamps,
    request: Request,
) -> HttpResult<PublishedPurchase> {
    let (bought, shows_position) = {
        // Extracting the headers would copy them. The parts are dropped before the purchase is published, as many
        // requests wait there.
        let (parts, body) = request.into_parts();
        let body = request::body::read(&parts, body, &purchases.options).await?;
        let Parts { headers, uri, extensions, .. } = parts;
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
        let shows_position = purchases.shows_positions(&caller);
        (purchases.buy(new, request::purchase::context(&headers)), shows_position)
    };
    let mut bought = bought.await?;
    bought.receipt.position = bought.receipt.position.filter(|_| shows_position);
    Ok(bought)
}

/// The response to an accepted purchase.
fn respond(dialect: &Dialect, mount: &Mount, bought: &PublishedPurchase) -> Response {
    let (id, replayed) = (bought.purchase.id, bought.replayed);
    match dialect.bought {
        PurchaseResponse::PurchaseAndReceipt => {
            // It is stored a moment later, so the location waits for it.
            let location = mount.path(format_args!("/v1/purchases/{id}?wait_for={id}"));
            ([(header::LOCATION, location)], accepted(StatusCode::CREATED, id, replayed, bought))
                .into_response()
        }
        PurchaseResponse::Says { code, status, message, purchase_as } => {
            let purchase = LegacyPurchase::four_members(&bought.purchase, dialect.item);
            accepted(code, id, replayed, Recorded { status, message, purchase_as, purchase })
        }
    }
}

/// The response about the purchase `id`, which says whether the request repeats one that was acknowledged before.
fn accepted(code: StatusCode, id: PurchaseId, is_replayed: bool, body: impl Serialize) -> Response {
    let replayed = is_replayed.then_some([(REPLAYED, "true")]);
    (code, [(PURCHASE_ID, id.to_string())], replayed, Json(body)).into_response()
}

/// The texts about a purchase, and the purchase under each of these names.
struct Recorded<'a> {
    status: Option<&'static str>,
    message: &'static str,
    purchase_as: &'static [&'static str],
    purchase: LegacyPurchase<'a>,
}

impl Serialize for Recorded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        if let Some(status) = self.status {
            members.serialize_entry("status", status)?;
        }
        members.serialize_entry("message", self.message)?;
        for name in self.purchase_as {
            members.serialize_entry(name, &self.purchase)?;
        }
        members.end()
    }
}
