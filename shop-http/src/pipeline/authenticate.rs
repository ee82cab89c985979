//! Authenticates a request: finds out from its token who sends it.

use std::sync::Arc;

use axum::extract::Request;

use super::state::RequestState;
use crate::auth::{Authenticate, Credential, Rejection, bearer};
use crate::response::{HttpError, HttpResult};
use crate::routes::route::{Access, RequestClass};

/// Identifies the sender of a request by its token, and adds the sender to the extensions of the
/// request. For a route with [`Access::Partial`], a request without a token passes as well.
///
/// # Errors
/// - 401 if there is no token, or the token is not valid
/// - 503 if tokens cannot be verified now
pub(crate) async fn authenticate_request(
    authenticate: &Arc<dyn Authenticate>,
    request: &mut Request,
    state: &RequestState,
) -> HttpResult<()> {
    let token = match bearer(request.headers()) {
        Some(Ok(token)) => token,
        Some(Err(reason)) => return Err(invalid_token(reason)),
        None if state.access == Access::Partial => return Ok(()),
        None => {
            let text =
                "Authentication is required: send Authorization: Bearer with a token or an API key";
            return Err(HttpError::unauthenticated("Bearer", text));
        }
    };

    let principal = match authenticate.principal(token).await {
        Ok(principal) => principal,
        Err(Rejection::Invalid(reason)) => return Err(invalid_token(&reason)),
        Err(Rejection::Unavailable) => return Err(HttpError::UNVERIFIABLE),
    };
    if let Some(trail) = &state.trail {
        trail.principal.get_or_init(|| principal.clone());
    }
    if state.class == RequestClass::Stream {
        let credential = Credential {
            authenticate: Arc::clone(authenticate),
            token: token.to_owned(),
        };
        request.extensions_mut().insert(credential);
    }
    request.extensions_mut().insert(principal);
    Ok(())
}

/// Returns the error of a token that is not valid. `reason` continues a sentence that begins with
/// "The token".
fn invalid_token(reason: &str) -> HttpError {
    HttpError::unauthenticated(
        "Bearer error=\"invalid_token\"",
        format!("The token {reason}"),
    )
}
