//! `GET /v1/whoami`: who sends the request, and what they may do.
//!
//! Clients use it to show only what works. The page for browsers calls it whenever the page holds a
//! key.

use std::sync::Arc;

use axum::Json;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde_json::json;
use shop_core::ports::Selector;

use crate::auth::{Action, Caller};
use crate::response::HttpResult;
use crate::service::Service;

/// Handles `GET /v1/whoami`: lists the actions that the policy allows to the caller.
pub(crate) async fn get(service: Arc<Service>, head: Parts) -> HttpResult {
    let caller = Caller::from_extensions(&head.extensions);
    // A selection by a name may include other users, whatever the name is.
    let any_user = "any".parse().map(Selector::Name);
    let everyone = Selector::All;
    let mut actions = vec![("observe", Action::Observe), ("operate", Action::Operate)];
    if let Ok(any_user) = &any_user {
        actions.push(("list_any_user", Action::ReadPurchases(any_user)));
    }
    actions.push(("list_everyone", Action::ReadPurchases(&everyone)));

    actions.retain(|(_name, action)| service.policy.allows(&caller, action));
    let allowed_names: Vec<_> = actions.iter().map(|(name, _action)| name).collect();
    let principal = &caller.principal;
    let body = json!({
        "name": principal.name(),
        "subject": principal.subject(),
        "may": allowed_names,
    });
    Ok(Json(body).into_response())
}
