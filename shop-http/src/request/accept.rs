//! The media types that a client accepts.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use shop_core::ErrorKind;
use shop_core::api::{NDJSON, RowFormat};

use crate::response::{HttpError, HttpResult};

/// The weight of a media type in the header `Accept`; 0 if it is not named.
pub(crate) fn weight(request: &HeaderMap, wanted: &str) -> f32 {
    named(request, header::ACCEPT, wanted).unwrap_or_default()
}

/// The weight of a value in a header such as `Accept-Encoding`, if it is named.
pub(crate) fn named(request: &HeaderMap, name: HeaderName, wanted: &str) -> Option<f32> {
    request
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|range| weight_of(range, wanted))
}

/// The form of a file in which the client prefers purchases to JSON, by its name.
///
/// # Errors
/// When it accepts neither.
pub(crate) fn row_format(request: &HeaderMap) -> HttpResult<Option<RowFormat>> {
    let csv = weight(request, "text/csv");
    let ndjson = weight(request, NDJSON);
    let (format, most) = if ndjson > csv {
        (RowFormat::Ndjson, ndjson)
    } else {
        (RowFormat::Csv, csv)
    };
    match named(request, header::ACCEPT, "application/json") {
        json if most > json.unwrap_or_default() => Ok(Some(format)),
        Some(0.0) => Err(HttpError::with_kind(
            StatusCode::NOT_ACCEPTABLE,
            ErrorKind::Invalid,
            "Accept must allow application/json, application/x-ndjson or text/csv",
        )),
        _ => Ok(None),
    }
}

/// The weight of a media range (RFC 9110, 12.4.2), if it is of this type.
fn weight_of(range: &str, wanted: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    let is_wanted = parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case(wanted));
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    is_wanted.then(|| weight.map_or(1.0, |weight| weight.parse().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_preferred_by_name_only() {
        for (accept, format) in [
            ("text/csv", Some(RowFormat::Csv)),
            (
                "application/x-ndjson;q=0.2, text/csv;q=0.1",
                Some(RowFormat::Ndjson),
            ),
            ("TEXT/CSV; header=present, */*", Some(RowFormat::Csv)),
            ("text/csv, application/json", None),
            ("application/json;q=0, text/csv;q=0.1", Some(RowFormat::Csv)),
            ("application/json, text/csv;q=0.9", None),
            ("text/csv;q=0", None),
            ("text/html,application/xhtml+xml,*/*;q=0.8", None),
            ("*/*", None),
            ("", None),
        ] {
            let headers = [(header::ACCEPT, accept.parse().unwrap())]
                .into_iter()
                .collect();
            assert_eq!(row_format(&headers).unwrap(), format, "{accept}");
        }
        let headers = [(
            header::ACCEPT,
            "application/json;q=0, text/csv;q=0".parse().unwrap(),
        )]
        .into_iter()
        .collect();
        assert_eq!(
            row_format(&headers).unwrap_err().status,
            StatusCode::NOT_ACCEPTABLE
        );
    }
}
