//! `POST /orders` and `GET /orders/{order_id}`: orders, under `/v1` and as in the replaced system.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use shop_core::Result as PortResult;
use shop_core::api::OrderBody;
use shop_core::orders::{NewOrder, OrderNumber, OrderStore, Placement};
use tokio::time::{Instant, sleep};

use crate::auth::{Action, Caller};
use crate::dialect::{Dialect, RequestDialect};
use crate::options::HttpOptions;
use crate::request::entity::{CreateRequest, number};
use crate::resources::users::{created, replayed};
use crate::response::failure::{Failure, Subject};
use crate::response::json::Json;
use crate::routes::mount::Mount;
use crate::service::Service;
use crate::service::entity_role::OrdersRole;

/// The bounds of the pauses between two attempts to place an order of an unknown user: short at first, as the user's
/// event usually is in flight.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn post(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    mount: Mount,
    request: Request,
) -> Response {
    order(&service, dialect, &mount, request).await.unwrap_or_else(|failure| failure.respond(dialect))
}

async fn order(
    service: &Service,
    dialect: &'static Dialect,
    mount: &Mount,
    request: Request,
) -> Result<Response, Failure> {
    let store = &role(service)?.store;
    let caller = Caller::of(request.extensions());
    let new = CreateRequest::from_request(service, dialect, request).await?.order()?;
    service.policy.check(&caller, &Action::PlaceOrder(new.user_id))?;
    let placing = place(&**store, &new, &service.options);
    match service.write(Subject::Order, &new.key, placing).await? {
        Placement::Placed(order) => Ok(created(dialect, mount, ("orders", order.id), OrderBody::from(order))),
        Placement::AlreadyPlaced(order) => {
            Ok(replayed(created(dialect, mount, ("orders", order.id), OrderBody::from(order))))
        }
        Placement::UnknownUser => Err(Failure::UnknownUser),
        Placement::KeyTaken => Err(Failure::KeyTaken(Subject::Order)),
        _ => Err(Failure::unknown_outcome(new.key, Subject::Order)),
    }
}

/// Places an order, with retries while its user is unknown and there is time.
async fn place(store: &dyn OrderStore, new: &NewOrder, options: &HttpOptions) -> PortResult<Placement> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let placement = store.place(new).await?;
        let waited = begun.elapsed();
        let pause_left = pause.min(options.unknown_user_wait.saturating_sub(waited));
        // No attempt starts that the time-out would cut off: the user is known to be unknown.
        let is_over = pause_left.is_zero() || waited + pause >= options.publish_timeout;
        if placement != Placement::UnknownUser || is_over {
            return Ok(placement);
        }
        sleep(pause_left).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Response {
    let order = async {
        let (store, id) = (&role(&service)?.store, number(path, "order_id", dialect, &uri)?);
        let found = service.query_for(Subject::Order, store.order(OrderNumber::new(id))).await?;
        let order = found.ok_or(Failure::UnknownOrder)?;
        let may = service.policy.check(&caller, &Action::ReadOrders(order.user_id));
        // A client does not learn which orders of others exist.
        may.map_err(|_denied| Failure::UnknownOrder)?;
        Ok::<_, Failure>(Json(OrderBody::from(order)).into_response())
    };
    order.await.unwrap_or_else(|failure| failure.respond(dialect))
}

/// The role exists wherever these routes do.
fn role(service: &Service) -> Result<&OrdersRole, Failure> {
    service.orders.as_ref().ok_or(Failure::NoRoute)
}
