//! `GET /v1/summary`: how many purchases, and what they cost together, exactly.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use shop_core::api::SummaryBody;

use crate::dialect::RequestDialect;
use crate::request::Strict;
use crate::resources::v1_purchases::may_select;
use crate::response::{Failure, Json};
use crate::service::Purchases;

pub(crate) async fn get(
    State(purchases): State<Arc<Purchases>>,
    RequestDialect(dialect): RequestDialect,
    uri: Uri,
) -> Response {
    let summary = async {
        let mut asked = Strict::of(&uri, Strict::SUMMARY)?;
        let selector = asked.selector();
        let (parameters, selector) = asked.finish(selector)?;
        may_select(&purchases, &selector)?;
        let visibility = purchases.wait(parameters.wait()?, std::slice::from_ref(&selector)).await?;
        let summary = purchases.summary(&selector).await?;
        Ok::<_, Failure>(visibility.mark(Json(SummaryBody::from(summary)).into_response()))
    };
    summary.await.unwrap_or_else(|failure| failure.respond(dialect))
}
