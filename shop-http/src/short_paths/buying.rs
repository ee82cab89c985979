//! `POST /buy` and `POST /purchases`: accept a purchase in a form of the short paths.

use axum::http::StatusCode;
use shop_core::json::write_member;
use shop_core::{NewPurchase, Purchase};

use super::ShortPathHandlers;
use super::form::{BuyResponse, ExtraMembers, PurchaseForm, ShortPathForm};
use super::purchase::write_purchase;
use super::reading::read_purchase;
use crate::request::body;
use crate::request::purchase::idempotency_key;
use crate::request::write_request::WriteRequest;
use crate::resources::buy::{begin_buy, respond_with_purchase};
use crate::response::{HttpResult, PURCHASE_BYTES};

/// Handles `POST /buy`: accepts a purchase into the log of purchases.
///
/// The process logs a line for each purchase if the form asks for it. A repeated request, whose
/// purchase was accepted before, is not logged.
///
/// # Errors
/// The errors of [`body::read`], of an invalid purchase, and of [`begin_buy`].
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn stores its arguments twice in its future, which each buy allocates"
)]
pub(super) fn accept_into_log(
    handlers: ShortPathHandlers,
    mut request: WriteRequest,
) -> impl Future<Output = HttpResult> + Send {
    async move {
        let new_purchase = handlers.read_new_purchase(&mut request).await?;
        let published = begin_buy(&handlers.purchases, new_purchase, request)?.await?;

        if handlers.form.logs_purchases && !published.replayed {
            let purchase = &published.purchase;
            tracing::info!(
                purchase.id = %purchase.id,
                user.id = purchase.user_id.as_str(),
                "Published purchase"
            );
        }
        let body = handlers.form.write_buy_response(&published.purchase);
        let status = handlers.form.buy_response.status_code;
        Ok(respond_with_purchase(status, &published, body))
    }
}

/// Handles `POST /purchases`: writes a purchase into the store, without the log.
pub(super) async fn write_into_store(
    handlers: ShortPathHandlers,
    mut request: WriteRequest,
) -> HttpResult {
    let new_purchase = handlers.read_new_purchase(&mut request).await?;
    let published = begin_buy(&handlers.purchases, new_purchase, request)?.await?;

    let mut body = Vec::with_capacity(PURCHASE_BYTES);
    write_purchase(&mut body, &published.purchase, handlers.form.purchase);
    Ok(respond_with_purchase(StatusCode::CREATED, &published, body))
}

impl ShortPathHandlers {
    /// Reads the purchase in a request, with its idempotency key.
    async fn read_new_purchase(&self, request: &mut WriteRequest) -> HttpResult<NewPurchase> {
        let body = body::read(request, &self.purchases.options).await?;
        let key = idempotency_key(request.headers())?;
        let mut new_purchase = read_purchase(&body, self.form.reading, &self.purchases)?;
        new_purchase.key = key;
        Ok(new_purchase)
    }
}

impl ShortPathForm {
    /// Writes the body of the response to a buy.
    fn write_buy_response(&self, purchase: &Purchase) -> Vec<u8> {
        let BuyResponse {
            status,
            message,
            purchase_members,
            ..
        } = self.buy_response;
        let purchase_form = PurchaseForm {
            extras: ExtraMembers::None,
            ..self.purchase
        };
        let mut json = Vec::with_capacity(3 * PURCHASE_BYTES);
        let mut message_start = "{\"message\":";
        if let Some(status) = status {
            write_member(&mut json, "{\"status\":", status);
            message_start = ",\"message\":";
        }
        write_member(&mut json, message_start, message);

        // The purchase is written into the first member. The other members copy its text.
        let mut purchase_range = None;
        for name in purchase_members {
            write_member(&mut json, ",", *name);
            json.push(b':');
            match purchase_range.clone() {
                Some(range) => json.extend_from_within(range),
                None => {
                    let start = json.len();
                    write_purchase(&mut json, purchase, purchase_form);
                    purchase_range = Some(start..json.len());
                }
            }
        }
        json.push(b'}');
        json
    }
}
