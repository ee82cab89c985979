//! Reads the parameter in the path of a request.

use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::pipeline::state::RequestState;

/// Returns the parameter in the path of the request with this `head`, decoded, or `None` if there
/// is none, or it is not UTF-8.
///
/// What an action adds to the parameter, such as `:refund`, belongs to the parameter here.
pub fn path_parameter(head: &Parts) -> Option<String> {
    let state = RequestState::from_extensions(&head.extensions).ok()?;
    let template = &state.route.as_ref()?.path;
    let (encoded_start, _) = template.split_once('{')?;

    // The path is the one below outer routers, as the template is.
    let rest = head.uri.path().get(encoded_start.len()..)?;
    let encoded = rest.split('/').next()?;
    let decoded = percent_decode_str(encoded).decode_utf8().ok()?;
    Some(decoded.into_owned())
}
