//! `GET /v1/whoami`: who sends the request, and what they may do, for clients that show what works alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use shop_core::ports::Selector;

use crate::auth::{Action, Caller};
use crate::service::Service;

pub(crate) async fn get(State(service): State<Arc<Service>>, caller: Caller) -> Json<Value> {
    let may = |action: &Action<'_>| service.policy.decide(&caller, action).is_ok();
    let of_others = || {
        "any"
            .parse()
            .is_ok_and(|name| may(&Action::ReadPurchases(&Selector::Name(name))))
    };
    let allowed: Vec<_> = [
        ("observe", may(&Action::Observe)),
        ("operate", may(&Action::Operate)),
        ("list_any_user", of_others()),
        ("list_everyone", may(&Action::ReadPurchases(&Selector::All))),
    ]
    .into_iter()
    .filter_map(|(name, may)| may.then_some(name))
    .collect();
    let principal = &caller.principal;
    Json(json!({"name": principal.name(), "subject": principal.subject(), "may": allowed}))
}
