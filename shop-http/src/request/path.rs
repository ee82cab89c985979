//! Reads the parameter in the path of a request.

use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::pipeline::state::RequestState;

/// Returns the decoded parameter in the path of the request with this `head`. Returns `None` if the
/// path has no parameter, or if the parameter is not UTF-8.
///
/// The parameter includes the name of an action behind it, such as `:refund`.
pub fn path_parameter(head: &Parts) -> Option<String> {
    let state = RequestState::from_extensions(&head.extensions).ok()?;
    let template = &state.route.as_ref()?.path;
    let (text_before_parameter, _rest) = template.split_once('{')?;

    // The template and this path are both below the prefix of outer routers.
    let rest_of_path = head.uri.path().get(text_before_parameter.len()..)?;
    let encoded_parameter = rest_of_path.split('/').next()?;
    let parameter = percent_decode_str(encoded_parameter).decode_utf8().ok()?;
    Some(parameter.into_owned())
}
