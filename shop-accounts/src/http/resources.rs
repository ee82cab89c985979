//! `POST /users`, `GET /users/{user_id}` and `GET /users/{user_id}/orders`, `POST /orders` and
//! `GET /orders/{order_id}`: users and orders, under `/v1` and in the forms of other roles.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use shop_api::problem;
use shop_core::{
    Bytes, Error, ErrorKind, IdempotencyKey, RequestContext, Result as PortResult, with_failpoints,
};
use shop_http::Action;
use shop_http::axum::Json;
use shop_http::axum::http::request::Parts;
use shop_http::axum::http::{StatusCode, header};
use shop_http::axum::response::IntoResponse;
use shop_http::toolkit::{
    Caller, HttpError, HttpResult, Mount, REPLAYED, Service, Subject, WriteRequest,
    idempotency_key, not_found, path_parameter, read_body, request_context, within,
};

use super::form::{OrderFields, RequestForm, UserFields};
use crate::entity::{Entity, EntityStore, Insertion};
use crate::orders::{NewOrder, Order, OrderNumber, place_order};
use crate::users::{NewUser, UserNumber, UserOrdersBody, UserStore};

/// How long before the timeout of the call the last attempt to place an order of an unknown user
/// begins.
const LAST_ATTEMPT_TIME: Duration = Duration::from_millis(50);

/// The noun, and the names of a failed write and of a failed query in the log.
const USER: Subject = Subject::Other(["user", "write user", "query users"]);
const ORDER: Subject = Subject::Other(["order", "write order", "query orders"]);
/// There is no such user, or its event has not been received yet.
const UNKNOWN_USER: HttpError = not_found(problem::UNKNOWN_USER, "User not found");
const UNKNOWN_ORDER: HttpError = not_found(problem::UNKNOWN_ORDER, "Order not found");
const EMAIL_TAKEN: HttpError = HttpError::new(
    StatusCode::CONFLICT,
    Some(problem::EMAIL_TAKEN),
    "Email already registered",
)
.with_status_outside_v1(StatusCode::BAD_REQUEST);

/// The state of the handlers of users or of orders, with their store `S`.
#[derive(Clone)]
pub(super) struct EntityState<S> {
    pub(super) store: S,
    pub(super) service: Arc<Service>,
    /// The form of the requests: how values are read from paths and bodies.
    pub(super) form: &'static dyn RequestForm,
    /// How long an order of an unknown user waits for the event that registers the user.
    pub(super) unknown_user_wait: Duration,
}

/// The state of the handlers of users.
type UsersState = EntityState<Arc<dyn UserStore>>;
/// The state of the handlers of orders.
type OrdersState = EntityState<Arc<dyn EntityStore<Order>>>;

/// A request for a row, with an unparsed body.
struct CreateRequest {
    body: Bytes,
    key: IdempotencyKey,
    context: Option<Box<RequestContext>>,
}

impl CreateRequest {
    /// Reads `request`, and generates a key if the request contains none.
    ///
    /// # Errors
    /// - the errors of [`read_body`]
    /// - 422 for an invalid key, or a query that the form refuses
    async fn read(
        service: &Service,
        form: &dyn RequestForm,
        mut request: WriteRequest,
    ) -> HttpResult<Self> {
        let body = read_body(&mut request, service.options()).await?;
        form.check_query(request.uri())?;
        let key = idempotency_key(request.headers())?;
        Ok(Self {
            body,
            key: key.unwrap_or_else(|| service.fresh_key()),
            context: request_context(request.headers()),
        })
    }

    /// Reads a user from the body.
    ///
    /// # Errors
    /// 400 or 422 for an invalid body.
    fn into_user(self, form: &dyn RequestForm) -> HttpResult<NewUser> {
        let UserFields { email, name } = form.read_user(&self.body)?;
        Ok(NewUser::new(self.key, email, name).with_context(self.context))
    }

    /// Reads an order from the body.
    ///
    /// # Errors
    /// 400 or 422 for an invalid body.
    fn into_order(self, form: &dyn RequestForm) -> HttpResult<NewOrder> {
        let OrderFields {
            user_id,
            product,
            quantity,
            total_price,
        } = form.read_order(&self.body)?;
        let new_order = NewOrder::new(self.key, user_id, product, quantity, total_price);
        Ok(new_order.with_context(self.context))
    }
}

/// Reads the number in the path of the request with this `head`. `name` is the name of the path's
/// variable, such as `user_id`, for the text of an error.
///
/// # Errors
/// 422 if the segment is not a number, or the form refuses the query.
async fn read_number(form: &dyn RequestForm, name: &'static str, head: Parts) -> HttpResult<i64> {
    let segment = path_parameter(&head);
    form.read_number(name, segment, &head.uri)
}

/// Handles `POST /users`: registers a user.
///
/// # Errors
/// - 403 if the policy denies it
/// - 409 if the address is taken, or if the key was used for another user
/// - the errors of the request, and of a failed write
pub(super) async fn post_user(state: UsersState, request: WriteRequest) -> HttpResult {
    let service = &state.service;
    let caller = request.caller();
    service.check(&caller, &Action::RegisterUser)?;

    let mount = request.mount();
    let mut new_user = CreateRequest::read(service, state.form, request)
        .await?
        .into_user(state.form)?;
    let request_key = new_user.key.clone();
    // The keys of different owners are independent of each other. The keys of anonymous callers,
    // who have no owner, are one common set.
    if let Some(owner) = caller.owner() {
        new_user.key = request_key.scoped_to_owner(owner);
    }

    let insert = with_failpoints("row", state.store.insert(&new_user));
    let to_http_error = |error| HttpError::failed_write(error, USER, request_key);
    let insertion = insert_in_time(service, "users", insert, to_http_error).await?;
    state.respond_to_insert(insertion, "/v1/users", USER, EMAIL_TAKEN, &mount)
}

/// Handles `POST /orders`: places an order. Waits for a user who is unknown here, because the event
/// that registers the user may be on its way.
///
/// # Errors
/// - 403 if the policy denies it
/// - 404 if the user is still unknown after the wait
/// - 409 if the key was used for another order
/// - the errors of the request, and of a failed write
pub(super) async fn post_order(state: OrdersState, request: WriteRequest) -> HttpResult {
    let service = &state.service;
    let caller = request.caller();
    let mount = request.mount();
    let new_order = CreateRequest::read(service, state.form, request)
        .await?
        .into_order(state.form)?;
    service.check(&caller, &Action::PlaceOrder(new_order.user_id.get()))?;

    // The wait for an unknown user ends before the whole call times out. The response is then the
    // definite 404, and not a 503 that leaves open whether the order was placed.
    let max_wait_for_user = service
        .options()
        .publish_timeout
        .saturating_sub(LAST_ATTEMPT_TIME)
        .min(state.unknown_user_wait);
    let placement = place_order(&*state.store, &new_order, max_wait_for_user);
    let to_http_error = |error| HttpError::failed_write(error, ORDER, new_order.key.clone());
    let insertion = insert_in_time(service, "orders", placement, to_http_error).await?;
    state.respond_to_insert(insertion, "/v1/orders", ORDER, UNKNOWN_USER, &mount)
}

/// Runs `insert`, the insert of a row, with the timeout of a publish. Records the result for the
/// part of `/health` that is named `part`.
///
/// # Errors
/// - 404 if the backend does not support this role
/// - the error of `insert` or of its timeout, as `to_http_error` converts it
async fn insert_in_time<T: Send>(
    service: &Service,
    part: &'static str,
    insert: impl Future<Output = PortResult<T>> + Send,
    to_http_error: impl FnOnce(Error) -> HttpError + Send,
) -> HttpResult<T> {
    let result = within(service.options().publish_timeout, insert).await;
    if is_unsupported(&result) {
        return Err(HttpError::NO_ROUTE);
    }
    service.record_write(part, result).map_err(to_http_error)
}

/// Runs `call`, a query of a store of users or orders, with the timeout of a query.
///
/// # Errors
/// - 404 if the backend does not support this role
/// - otherwise, the errors of [`HttpError::failed_query`]
async fn query_in_time<T>(
    service: &Service,
    subject: Subject,
    call: impl Future<Output = PortResult<T>> + Send,
) -> HttpResult<T> {
    let result = within(service.options().query_timeout, call).await;
    if is_unsupported(&result) {
        return Err(HttpError::NO_ROUTE);
    }
    result.map_err(|error| HttpError::failed_query(error, subject))
}

/// Returns whether `result` is the error of a backend that does not support a role.
fn is_unsupported<T>(result: &PortResult<T>) -> bool {
    let error = result.as_ref().err();
    error.is_some_and(|error| error.kind() == ErrorKind::Unsupported)
}

impl<S> EntityState<S> {
    /// Returns the response to an insert: 201 with the row. The header `Location` names the path of
    /// the row below `parent_path`, with the prefix that `mount` puts before all paths.
    ///
    /// # Errors
    /// - 409 if the key was used for another row
    /// - `refusal` if the store refused the row
    fn respond_to_insert<E: Entity + Serialize>(
        &self,
        insertion: Insertion<E>,
        parent_path: &str,
        subject: Subject,
        refusal: HttpError,
        mount: &Mount,
    ) -> HttpResult {
        let (row, is_replayed) = match insertion {
            Insertion::Inserted(row) => (row, false),
            Insertion::AlreadyInserted(row) => (row, true),
            Insertion::KeyTaken => {
                return Err(HttpError::key_taken(problem::KEY_TAKEN, subject));
            }
            Insertion::Refused => return Err(refusal),
        };

        let mut location = None;
        if self.form.has_location() {
            let path = mount.path(format_args!("{parent_path}/{}", row.number()));
            location = Some([(header::LOCATION, path)]);
        }
        let replayed_header = is_replayed.then_some([(REPLAYED, "true")]);
        Ok((StatusCode::CREATED, location, replayed_header, Json(row)).into_response())
    }
}

/// Handles `GET /users/{user_id}`: returns a user.
///
/// # Errors
/// - 403 if the policy denies it
/// - 404 if there is no such user
/// - the errors of a query
pub(super) async fn get_user(state: UsersState, head: Parts) -> HttpResult {
    let service = &state.service;
    let caller = Caller::from_extensions(&head.extensions);
    let id = read_number(state.form, "user_id", head).await?;
    service.check(&caller, &Action::ReadUser(id))?;

    let user = query_in_time(service, USER, state.store.get(UserNumber::new(id))).await?;
    Ok(Json(user.ok_or(UNKNOWN_USER)?).into_response())
}

/// Handles `GET /users/{user_id}/orders`: returns the numbers of the orders of a user, as far as
/// the events of the orders arrived here.
///
/// # Errors
/// - 403 if the policy denies it
/// - 404 if there is no such user, or the event of the user has not arrived
/// - the errors of a query
pub(super) async fn get_orders_of_user(state: UsersState, head: Parts) -> HttpResult {
    let service = &state.service;
    let caller = Caller::from_extensions(&head.extensions);
    let id = read_number(state.form, "user_id", head).await?;
    service.check(&caller, &Action::ReadOrders(id))?;

    let user_id = UserNumber::new(id);
    let orders = query_in_time(service, USER, state.store.orders_of(user_id))
        .await?
        .ok_or(UNKNOWN_USER)?;
    Ok(Json(UserOrdersBody { user_id, orders }).into_response())
}

/// Handles `GET /orders/{order_id}`: returns an order.
///
/// # Errors
/// - 404 if there is no such order, or if the policy denies it
/// - the errors of a query
pub(super) async fn get_order(state: OrdersState, head: Parts) -> HttpResult {
    let service = &state.service;
    let caller = Caller::from_extensions(&head.extensions);
    let id = read_number(state.form, "order_id", head).await?;
    let order = query_in_time(service, ORDER, state.store.get(OrderNumber::new(id)))
        .await?
        .ok_or(UNKNOWN_ORDER)?;

    service
        .check(&caller, &Action::ReadOrders(order.user_id.get()))
        // A 403 would tell the client which orders of others exist.
        .map_err(|_denied| UNKNOWN_ORDER)?;
    Ok(Json(order).into_response())
}
