//! `GET /v1/summary`: how many purchases, and what they cost together, exactly.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use shop_core::json::SummaryBody;
use shop_core::ports::Selector;

use crate::dialect::Speaks;
use crate::failure::Failure;
use crate::json_answer::Json;
use crate::parameters::Parameters;
use crate::service::Service;

pub(crate) async fn get(State(service): State<Arc<Service>>, Speaks(dialect): Speaks, uri: Uri) -> Response {
    let summary = async {
        let parameters = Parameters::of(&uri)?;
        let selector = parameters.selector()?;
        if selector == Selector::All {
            return Err(Failure::field("userid", "or username must be given"));
        }
        let sight = service.wait(&parameters, std::slice::from_ref(&selector)).await?;
        let summary = service.ask(service.query.summary(&selector)).await?;
        Ok(sight.mark(Json(SummaryBody::from(summary)).into_response()))
    };
    summary.await.unwrap_or_else(|failure| failure.respond(dialect))
}
