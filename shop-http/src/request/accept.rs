//! The media types and the encodings that a client accepts, with their weights.
//!
//! An element of a header such as `Accept` names a value and may end with its weight (RFC 9110,
//! 12.4.2), as in `text/csv;q=0.5`. The default weight is 1, and the weight 0 excludes the value. A
//! value only counts as accepted if the client names it: the wildcards of a browser, such as `*/*`,
//! select nothing here.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use shop_api::NDJSON;
use shop_api::files::RowFormat;
use shop_core::ErrorKind;

use crate::response::{HttpError, HttpResult};

/// Returns the weight of `media_type` in the header `Accept`, or 0 if the header does not name the
/// media type.
pub(crate) fn weight(headers: &HeaderMap, media_type: &str) -> f32 {
    weight_if_named(headers, header::ACCEPT, media_type).unwrap_or_default()
}

/// Returns the weight of `value` in a header such as `Accept-Encoding`, or `None` if the header
/// does not name the value.
pub(crate) fn weight_if_named(
    headers: &HeaderMap,
    header_name: HeaderName,
    value: &str,
) -> Option<f32> {
    headers
        .get_all(header_name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .find_map(|element| weight_in_element(element, value))
}

/// Chooses the format of a listing from the header `Accept`: a format of a file, or `None` for
/// JSON.
///
/// The value with the highest weight wins. JSON wins a tie, and is the default if the header names
/// none of the formats. CSV wins a tie with NDJSON.
///
/// # Errors
/// 406 if the header excludes JSON and accepts neither of the other formats.
pub(crate) fn row_format(headers: &HeaderMap) -> HttpResult<Option<RowFormat>> {
    let mut file_format = RowFormat::Csv;
    let mut file_weight = weight(headers, "text/csv");
    let ndjson_weight = weight(headers, NDJSON);
    if ndjson_weight > file_weight {
        file_format = RowFormat::Ndjson;
        file_weight = ndjson_weight;
    }

    let json_weight = weight_if_named(headers, header::ACCEPT, "application/json");
    if file_weight > json_weight.unwrap_or_default() {
        return Ok(Some(file_format));
    }
    if json_weight == Some(0.0) {
        return Err(HttpError::with_kind(
            StatusCode::NOT_ACCEPTABLE,
            ErrorKind::Invalid,
            "Accept must allow application/json, application/x-ndjson or text/csv",
        ));
    }
    Ok(None)
}

/// Returns the weight of an `element` of a header, if the element names `value`.
///
/// A weight that is not a number counts as 0.
fn weight_in_element(element: &str, value: &str) -> Option<f32> {
    let mut parts = element.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(value) {
        return None;
    }

    let weight_text =
        parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let default_weight = 1.0;
    Some(weight_text.map_or(default_weight, |text| text.parse().unwrap_or_default()))
}
