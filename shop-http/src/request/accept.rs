//! The media types that a client accepts.

use axum::http::{HeaderMap, HeaderName, header};
use shop_core::api::RowFormat;

/// The weight of a media type in the header `Accept`; 0 if it is not named.
pub(crate) fn weight(request: &HeaderMap, wanted: &str) -> f32 {
    weight_in(request, header::ACCEPT, wanted)
}

/// The weight of a value in a header such as `Accept-Encoding`; 0 if it is not named.
pub(crate) fn weight_in(request: &HeaderMap, name: HeaderName, wanted: &str) -> f32 {
    let accepts = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).find_map(|range| weight_of(range, wanted)).unwrap_or_default()
}

/// The form of a file in which the client prefers purchases, if it does not prefer JSON.
pub(crate) fn row_format(request: &HeaderMap) -> Option<RowFormat> {
    let weight = |format: RowFormat| weight(request, format.media_type());
    let csv = weight(RowFormat::Csv);
    let (format, most) = match weight(RowFormat::Ndjson) {
        ndjson if ndjson > csv => (RowFormat::Ndjson, ndjson),
        _ => (RowFormat::Csv, csv),
    };
    (most > 0.0 && most >= self::weight(request, "application/json")).then_some(format)
}

/// The weight of a media range (RFC 9110, 12.4.2), if it is of this type.
fn weight_of(range: &str, wanted: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    let is_wanted = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
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
            ("application/x-ndjson;q=0.2, text/csv;q=0.1", Some(RowFormat::Ndjson)),
            ("TEXT/CSV; header=present, application/json", Some(RowFormat::Csv)),
            ("application/json, text/csv;q=0.9", None),
            ("text/csv;q=0", None),
            ("text/html,application/xhtml+xml,*/*;q=0.8", None),
            ("*/*", None),
            ("", None),
        ] {
            let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
            assert_eq!(row_format(&headers), format, "{accept}");
        }
    }
}
