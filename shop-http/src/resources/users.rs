//! `POST /users`, `GET /users/{user_id}` and `GET /users/{user_id}/orders`: users, under `/v1` and as in the replaced
//! system.

use std::fmt::Display;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shop_core::api::{UserBody, UserOrdersBody};
use shop_core::users::{Registration, UserNumber};

use crate::auth::{Action, Caller};
use crate::dialect::{Dialect, RequestDialect};
use crate::header_names::REPLAYED;
use crate::request::entity::{CreateRequest, number};
use crate::response::failure::{Failure, Subject};
use crate::response::json::Json;
use crate::routes::mount::Mount;
use crate::service::Service;
use crate::service::entity_role::UsersRole;

pub(crate) async fn post(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    mount: Mount,
    request: Request,
) -> Response {
    register(&service, dialect, &mount, request).await.unwrap_or_else(|failure| failure.respond(dialect))
}

async fn register(
    service: &Service,
    dialect: &'static Dialect,
    mount: &Mount,
    request: Request,
) -> Result<Response, Failure> {
    let store = &role(service)?.store;
    let caller = Caller::of(request.extensions());
    service.policy.check(&caller, &Action::RegisterUser)?;
    let mut new = CreateRequest::from_request(service, dialect, request).await?.user()?;
    // Anonymous callers share their keys.
    let own = caller.name().map_or_else(|| new.key.clone(), |name| new.key.of_owner(name));
    let key = std::mem::replace(&mut new.key, own);
    match service.write(Subject::User, &key, store.register(&new)).await? {
        Registration::Registered(user) => {
            Ok(created(dialect, mount, ("users", user.id), UserBody::from(user)))
        }
        Registration::AlreadyRegistered(user) => {
            Ok(replayed(created(dialect, mount, ("users", user.id), UserBody::from(user))))
        }
        Registration::EmailTaken => Err(Failure::EmailTaken),
        Registration::KeyTaken => Err(Failure::KeyTaken(Subject::User)),
        _ => Err(Failure::unknown_outcome(key, Subject::User)),
    }
}

/// The response for a created row, one of `rows` with this number. Under `/v1` it has a location.
pub(super) fn created(
    dialect: &Dialect,
    mount: &Mount,
    (rows, number): (&str, impl Display),
    row: impl Serialize,
) -> Response {
    let location = || [(header::LOCATION, mount.path(format_args!("/v1/{rows}/{number}")))];
    let location = dialect.is_strict.then(location);
    (StatusCode::CREATED, location, Json(row)).into_response()
}

/// Marks `response` as that of a row that was created before with the same key.
pub(super) fn replayed(response: Response) -> Response {
    ([(REPLAYED, "true")], response).into_response()
}

pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Response {
    let user = async {
        let (store, id) = (&role(&service)?.store, UserNumber::new(number(path, "user_id", dialect, &uri)?));
        service.policy.check(&caller, &Action::ReadUser(id))?;
        let found = service.query_for(Subject::User, store.user(id)).await?;
        Ok::<_, Failure>(Json(UserBody::from(found.ok_or(Failure::UnknownUser)?)).into_response())
    };
    user.await.unwrap_or_else(|failure| failure.respond(dialect))
}

/// `GET /users/{user_id}/orders`: the known orders of a user.
pub(crate) async fn orders(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Response {
    let orders = async {
        let (store, id) = (&role(&service)?.store, UserNumber::new(number(path, "user_id", dialect, &uri)?));
        service.policy.check(&caller, &Action::ReadOrders(id))?;
        let found = service.query_for(Subject::User, store.orders_of(id)).await?;
        let orders = found.ok_or(Failure::UnknownUser)?;
        Ok::<_, Failure>(Json(UserOrdersBody::new(id, &orders)).into_response())
    };
    orders.await.unwrap_or_else(|failure| failure.respond(dialect))
}

/// The role exists wherever these routes do.
fn role(service: &Service) -> Result<&UsersRole, Failure> {
    service.users.as_ref().ok_or(Failure::NoRoute)
}
