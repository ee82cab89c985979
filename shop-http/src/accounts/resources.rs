//! `POST /users`, `GET /users/{user_id}` and `GET /users/{user_id}/orders`, `POST /orders` and
//! `GET /orders/{order_id}`: users and orders, under `/v1` and as in the replaced system.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use serde::Serialize;
use shop_core::api::{UserOrdersBody, problem};
use shop_core::entity::{Entity, EntityStore, Insertion};
use shop_core::orders::{NewOrder, Order, OrderNumber};
use shop_core::users::UserNumber;
use shop_core::{Error, ErrorKind, Result as PortResult, with_failpoints};
use tokio::time::{Instant, sleep};

use super::request::{CreateRequest, number};
use super::role::{OrdersRole, UsersRole};
use crate::auth::{Action, Caller};
use crate::compat::{Dialect, RequestDialect};
use crate::header_names::REPLAYED;
use crate::options::HttpOptions;
use crate::request::PathText;
use crate::response::error::{key_taken_text, not_found};
use crate::response::{HttpError, HttpResult, Subject};
use crate::routes::mount::Mount;
use crate::service::{Service, within};

/// The bounds of the pauses between two attempts to place an order of an unknown user: short at
/// first, as the user's event usually is in flight.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(50);

const USER: Subject = Subject::Other(["user", "write user", "query users"]);
const ORDER: Subject = Subject::Other(["order", "write order", "query orders"]);
/// There is no such user, or its event has not been received yet.
const UNKNOWN_USER: HttpError = not_found(problem::UNKNOWN_USER, "User not found");
const UNKNOWN_ORDER: HttpError = not_found(problem::UNKNOWN_ORDER, "Order not found");
const EMAIL_TAKEN: HttpError = HttpError::new(
    StatusCode::CONFLICT,
    Some(problem::EMAIL_TAKEN),
    "Email already registered",
);

/// What the handlers get of a request.
type EntityReadRequest = (State<Arc<Service>>, RequestDialect, Caller, PathText, Uri);
type EntityWriteRequest = (State<Arc<Service>>, RequestDialect, Mount, Request);

pub(crate) async fn post_user(
    (State(service), RequestDialect(dialect), mount, request): EntityWriteRequest,
) -> HttpResult {
    let store = &users(&service)?.store;
    let caller = Caller::of(request.extensions());
    service.policy.check(&caller, &Action::RegisterUser)?;
    let mut new = CreateRequest::from_request(&service, dialect, request)
        .await?
        .user()?;
    // Anonymous callers share their keys.
    let own = caller
        .principal
        .owner()
        .map_or_else(|| new.key.clone(), |name| new.key.scoped_to_owner(name));
    let key = std::mem::replace(&mut new.key, own);
    let inserting = with_failpoints("row", store.insert(&new));
    let failure = |error| HttpError::failed_write(error, USER, key);
    let inserted = in_time(service.options.publish_timeout, inserting, failure).await?;
    created(inserted, "/v1/users", USER, EMAIL_TAKEN, dialect, &mount)
}

pub(crate) async fn post_order(
    (State(service), RequestDialect(dialect), mount, request): EntityWriteRequest,
) -> HttpResult {
    let store = &orders(&service)?.store;
    let caller = Caller::of(request.extensions());
    let new = CreateRequest::from_request(&service, dialect, request)
        .await?
        .order()?;
    service
        .policy
        .check(&caller, &Action::PlaceOrder(new.user_id.get()))?;
    let placing = place(&**store, &new, &service.options);
    let failure = |error| HttpError::failed_write(error, ORDER, new.key.clone());
    let inserted = in_time(service.options.publish_timeout, placing, failure).await?;
    created(inserted, "/v1/orders", ORDER, UNKNOWN_USER, dialect, &mount)
}

/// The result of a call of a store of these, if it is known in `time`.
async fn in_time<T>(
    time: Duration,
    call: impl Future<Output = PortResult<T>> + Send,
    failure: impl FnOnce(Error) -> HttpError + Send,
) -> HttpResult<T> {
    within(time, call)
        .await
        .map_err(|error| match error.kind() {
            // The backend does not have this role.
            ErrorKind::Unsupported => HttpError::NO_ROUTE,
            _ => failure(error),
        })
}

/// The result of a query of a store of these, if it completes in time.
async fn query<T>(
    service: &Service,
    subject: Subject,
    call: impl Future<Output = PortResult<T>> + Send,
) -> HttpResult<T> {
    in_time(service.options.query_timeout, call, |error| {
        HttpError::failed_query(error, subject)
    })
    .await
}

/// Places an order, with retries while its user is unknown and there is time.
async fn place(
    store: &dyn EntityStore<Order>,
    new: &NewOrder,
    options: &HttpOptions,
) -> PortResult<Insertion<Order>> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let placed = with_failpoints("row", store.insert(new)).await?;
        let waited = begun.elapsed();
        let pause_left = pause.min(options.unknown_user_wait.saturating_sub(waited));
        // No attempt starts that the time-out would cut off: the user is known to be unknown.
        let is_over = pause_left.is_zero() || waited + pause >= options.publish_timeout;
        if placed != Insertion::Refused || is_over {
            return Ok(placed);
        }
        sleep(pause_left).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// The response to an insert at `path`. Under `/v1` it has a location, and says whether the key was
/// used before.
fn created<E: Entity + Serialize>(
    insertion: Insertion<E>,
    path: &str,
    subject: Subject,
    refused: HttpError,
    dialect: &Dialect,
    mount: &Mount,
) -> HttpResult {
    let (row, is_replayed) = match insertion {
        Insertion::Inserted(row) => (row, false),
        Insertion::AlreadyInserted(row) => (row, true),
        Insertion::KeyTaken => {
            let mut error = HttpError::new(StatusCode::CONFLICT, Some(problem::KEY_TAKEN), "");
            error.text = key_taken_text(subject).into();
            return Err(error);
        }
        Insertion::Refused => return Err(refused),
    };
    let location = dialect.is_strict.then(|| {
        let path = mount.path(format_args!("{path}/{}", row.number()));
        [(header::LOCATION, path)]
    });
    let replayed = is_replayed.then_some([(REPLAYED, "true")]);
    Ok((StatusCode::CREATED, location, replayed, Json(row)).into_response())
}

pub(crate) async fn get_user(
    (State(service), RequestDialect(dialect), caller, path, uri): EntityReadRequest,
) -> HttpResult {
    let users = users(&service)?;
    let id = UserNumber::new(number(path, "user_id", dialect, &uri)?);
    service.policy.check(&caller, &Action::ReadUser(id.get()))?;
    let found = query(&service, USER, users.store.get(id)).await?;
    Ok(Json(found.ok_or(UNKNOWN_USER)?).into_response())
}

/// `GET /users/{user_id}/orders`: the known orders of a user.
pub(crate) async fn get_orders_of_user(
    (State(service), RequestDialect(dialect), caller, path, uri): EntityReadRequest,
) -> HttpResult {
    let users = users(&service)?;
    let id = UserNumber::new(number(path, "user_id", dialect, &uri)?);
    service
        .policy
        .check(&caller, &Action::ReadOrders(id.get()))?;
    let orders = query(&service, USER, users.store.orders_of(id))
        .await?
        .ok_or(UNKNOWN_USER)?;
    Ok(Json(UserOrdersBody {
        user_id: id,
        orders,
    })
    .into_response())
}

pub(crate) async fn get_order(
    (State(service), RequestDialect(dialect), caller, path, uri): EntityReadRequest,
) -> HttpResult {
    let orders = orders(&service)?;
    let id = OrderNumber::new(number(path, "order_id", dialect, &uri)?);
    let order = query(&service, ORDER, orders.store.get(id))
        .await?
        .ok_or(UNKNOWN_ORDER)?;
    service
        .policy
        .check(&caller, &Action::ReadOrders(order.user_id.get()))
        // A client does not learn which orders of others exist.
        .map_err(|_denied| UNKNOWN_ORDER)?;
    Ok(Json(order).into_response())
}

/// The role exists wherever its routes do.
fn users(service: &Service) -> HttpResult<&UsersRole> {
    service.accounts.users.as_ref().ok_or(HttpError::NO_ROUTE)
}

/// The role exists wherever its routes do.
fn orders(service: &Service) -> HttpResult<&OrdersRole> {
    service.accounts.orders.as_ref().ok_or(HttpError::NO_ROUTE)
}
