//! Identifies the sender of a request.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Request;

use crate::auth::{Authenticate, Credential, Rejection, bearer};
use crate::response::{HttpError, HttpResult};
use crate::routes::matched::Matched;
use crate::routes::route::{Access, RequestClass};

/// Adds the sender to `request`. A route with [`Access::Partial`] needs none.
pub(crate) async fn identify(
    authenticate: &Arc<dyn Authenticate>,
    request: &mut Request,
) -> HttpResult<()> {
    let invalid = |reason: Cow<'static, str>| {
        HttpError::unauthenticated(
            "Bearer error=\"invalid_token\"",
            format!("The token {reason}"),
        )
    };
    let matched = Matched::of(request.extensions())?;
    let token = match bearer(request.headers()) {
        None if matched.access == Access::Partial => return Ok(()),
        None => {
            let text =
                "Authentication is required: send Authorization: Bearer with a token or an API key";
            return Err(HttpError::unauthenticated("Bearer", text));
        }
        Some(Err(reason)) => return Err(invalid(reason.into())),
        Some(Ok(token)) => token,
    };
    let principal = authenticate
        .principal(token)
        .await
        .map_err(|rejection| match rejection {
            Rejection::Invalid(reason) => invalid(reason),
            Rejection::Unavailable => HttpError::UNVERIFIABLE,
        })?;
    if let Some(trail) = &matched.trail {
        trail.principal.get_or_init(|| principal.clone());
    }
    if matched.class == RequestClass::Stream {
        let credential = Credential {
            authenticate: Arc::clone(authenticate),
            token: token.to_owned(),
        };
        request.extensions_mut().insert(credential);
    }
    request.extensions_mut().insert(principal);
    Ok(())
}
