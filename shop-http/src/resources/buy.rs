//! `POST /buy`, `POST /v1/purchases`, and `POST /purchases`: accept a purchase.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use shop_core::api::PublishedBody;
use shop_core::ports::Receipt;
use shop_core::{Purchase, PurchaseId};

use crate::auth::{Action, Caller};
use crate::dialect::{Dialect, PurchaseResponse, RequestDialect, Timestamps};
use crate::header_names::{PURCHASE_ID, REPLAYED};
use crate::request;
use crate::request::Strict;
use crate::response::{Failure, Json, LegacyPurchase, no_json};
use crate::routes::mount::Mount;
use crate::service::{Acknowledged, Purchases};
use crate::service_kind::ServiceKind;

pub(crate) async fn post(
    State(purchases): State<Arc<Purchases>>,
    RequestDialect(dialect): RequestDialect,
    mount: Mount,
    request: Request,
) -> Response {
    match buy(&purchases, dialect, dialect.timestamps, request).await {
        Ok(Acknowledged { purchase, receipt, is_replayed }) => {
            with_id(purchase.id, is_replayed, answer(dialect, &mount, purchase, receipt))
        }
        Err(failure) => failure.respond(dialect),
    }
}

/// `POST /purchases`: writes a purchase without the log. The client's timestamp counts in every dialect.
pub(crate) async fn post_into_store(
    State(purchases): State<Arc<Purchases>>,
    RequestDialect(dialect): RequestDialect,
    request: Request,
) -> Response {
    match buy(&purchases, dialect, Timestamps::Lenient, request).await {
        Ok(Acknowledged { purchase, is_replayed, .. }) => {
            let stored = Json(LegacyPurchase::in_listing(&purchase, dialect.item));
            with_id(purchase.id, is_replayed, (StatusCode::CREATED, stored).into_response())
        }
        Err(failure) => failure.respond(dialect),
    }
}

async fn buy(
    purchases: &Purchases,
    dialect: &Dialect,
    timestamps: Timestamps,
    request: Request,
) -> Result<Acknowledged, Failure> {
    let bought = {
        // Extracting the headers would copy them. The parts are dropped before the purchase is published, as many
        // requests wait there.
        let (Parts { headers, uri, extensions, .. }, body) = request.into_parts();
        let body = request::body::read(&headers, body, &purchases.options).await?;
        if dialect.is_strict {
            Strict::from_uri(&uri, &[])?.finish(Some(()))?;
        }
        let key = request::purchase::idempotency_key(&headers)?;
        let new = request::purchase::read(&body, dialect, timestamps, key, &*purchases.clock)?;
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

/// The response to an accepted purchase in dialects with texts.
struct PublishedMembers {
    status: Option<&'static str>,
    message: &'static str,
    purchase_as: &'static [&'static str],
    /// Serialized once, for all names of the member.
    purchase: Box<RawValue>,
}

impl Serialize for PublishedMembers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_map(None)?;
        if let Some(status) = self.status {
            body.serialize_entry("status", status)?;
        }
        body.serialize_entry("message", self.message)?;
        for name in self.purchase_as {
            body.serialize_entry(name, &self.purchase)?;
        }
        body.end()
    }
}

pub(crate) fn answer(dialect: &Dialect, mount: &Mount, purchase: Purchase, receipt: Receipt) -> Response {
    match dialect.bought {
        PurchaseResponse::PurchaseAndReceipt => {
            // It is stored a moment later, so the location waits for it.
            let location = mount.path(format_args!("/v1/purchases/{0}?wait_for={0}", purchase.id));
            let location = [(header::LOCATION, location)];
            (StatusCode::CREATED, location, Json(PublishedBody::new(purchase, receipt))).into_response()
        }
        PurchaseResponse::Says { code, status, message, purchase_as } => {
            match to_raw_value(&LegacyPurchase::four_members(&purchase, dialect.item)) {
                Ok(purchase) => {
                    (code, Json(PublishedMembers { status, message, purchase_as, purchase })).into_response()
                }
                Err(error) => no_json(&error),
            }
        }
    }
}

/// Adds the purchase's id to `response`, and whether the request repeats one that was acknowledged before.
pub(crate) fn with_id(id: PurchaseId, is_replayed: bool, response: Response) -> Response {
    let replayed = is_replayed.then_some([(REPLAYED, "true")]);
    (replayed, [(PURCHASE_ID, id.to_string())], response).into_response()
}
