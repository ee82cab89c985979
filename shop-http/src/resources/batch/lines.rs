//! Splits the body of a batch into purchases, without reading these.

use std::fmt;

use axum::http::StatusCode;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use shop_core::ErrorKind;
use shop_core::json::strip_byte_order_mark;

use crate::response::{HttpError, HttpResult};

/// The text of a purchase, and the index of its line or element.
pub(super) type BatchLine<'a> = (usize, &'a [u8]);

/// The lines of NDJSON that are not blank.
///
/// # Errors
/// When there are more than `limit`.
pub(super) fn of_ndjson(body: &[u8], limit: usize) -> HttpResult<Vec<BatchLine<'_>>> {
    let lines: Vec<_> = shop_core::api::split_lines(body)
        .map(<[u8]>::trim_ascii)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .take(limit.saturating_add(1))
        .collect();
    if lines.len() > limit {
        Err(too_many_purchases(limit))
    } else {
        Ok(lines)
    }
}

/// The elements of a JSON array.
///
/// # Errors
/// When it is none, or has more than `limit`.
pub(super) fn of_array(body: &[u8], limit: usize) -> HttpResult<Vec<BatchLine<'_>>> {
    let text = std::str::from_utf8(body).map_err(|error| no_array(&error))?;
    let mut json = serde_json::Deserializer::from_str(strip_byte_order_mark(text));
    let elements = json
        .deserialize_seq(Elements { limit })
        .and_then(|elements| json.end().map(|()| elements))
        .map_err(|error| no_array(&error))?;
    if elements.len() > limit {
        Err(too_many_purchases(limit))
    } else {
        Ok(elements)
    }
}

fn too_many_purchases(limit: usize) -> HttpError {
    let text = format!("A batch must not have more than {limit} purchases");
    HttpError::too_large(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn no_array(error: &dyn fmt::Display) -> HttpError {
    let text = format!("Request body must be a JSON array: {error}");
    HttpError::with_kind(StatusCode::BAD_REQUEST, ErrorKind::Invalid, text)
}

/// Reads the elements of an array, and keeps at most one more than `limit`.
struct Elements {
    limit: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<BatchLine<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element::<&RawValue>()? {
            if elements.len() <= self.limit {
                elements.push((elements.len(), element.get().as_bytes()));
            }
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_count_but_have_no_result() {
        let lines = of_ndjson(b"{}\r\n\n  {\"a\":1} \r[\r\r\n", 3).unwrap();
        assert_eq!(lines, [(0, &b"{}"[..]), (2, b"{\"a\":1}"), (3, b"[")]);
        assert!(of_ndjson(b" \n", 0).unwrap().is_empty());
        assert_eq!(
            of_ndjson(b"1\n2\n", 1).unwrap_err().status,
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }

    #[test]
    fn the_elements_of_an_array_are_its_lines() {
        assert_eq!(
            of_array(b" [{\"a\": [1, 2]} , 5]", 2).unwrap(),
            [(0, &b"{\"a\": [1, 2]}"[..]), (1, b"5")]
        );
        assert_eq!(
            of_array(b"[1,2,3]", 2).unwrap_err().status,
            StatusCode::PAYLOAD_TOO_LARGE
        );
        let deep = "[".repeat(100_000);
        for text in ["", "{}", "[1", "[1]x", "[1 2]", &deep] {
            let error = of_array(text.as_bytes(), 9).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST, "{text:.10}");
        }
        assert!(of_array(b"[\"\xff\"]", 9).is_err());
    }
}
