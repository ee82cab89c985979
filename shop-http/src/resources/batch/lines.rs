//! Splits the body of a batch into the texts of its purchases.
//!
//! The body is NDJSON, with one purchase per line, or a JSON array, with one purchase per element.
//! The purchases themselves are not read here, so an invalid purchase does not prevent the others.
//! The index of its line or element identifies a purchase in the response.

use std::fmt;

use axum::http::StatusCode;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use shop_core::ErrorKind;
use shop_core::json::strip_byte_order_mark;

use super::BatchLine;
use crate::request::fields::utf16_problem;
use crate::response::{HttpError, HttpResult};

/// Returns the lines of an NDJSON `body` that are not blank, or the elements of a JSON array.
///
/// # Errors
/// - 400 if `body` is neither NDJSON nor a JSON array
/// - 413 if there are more than `max_purchases` lines or elements
pub(super) fn split_body(
    body: &[u8],
    is_ndjson: bool,
    max_purchases: usize,
) -> HttpResult<Vec<BatchLine<'_>>> {
    let lines = if is_ndjson {
        split_ndjson(body, max_purchases)
    } else {
        split_array(body, max_purchases)?
    };

    if lines.len() > max_purchases {
        let text = format!("A batch must not have more than {max_purchases} purchases");
        return Err(HttpError::too_large(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    Ok(lines)
}

/// Returns the lines that are not blank, but at most one more than `max_purchases`, which shows that
/// there are too many.
fn split_ndjson(body: &[u8], max_purchases: usize) -> Vec<BatchLine<'_>> {
    split_lines(body)
        .enumerate()
        .map(|(index, line)| BatchLine {
            index,
            text: line.trim_ascii(),
        })
        .filter(|line| !line.text.is_empty())
        .take(max_purchases.saturating_add(1))
        .collect()
}

/// Returns the lines of `text`, without their ends.
///
/// A line ends with LF, CR LF or CR alone, so that a file of any system can be read. In JSON, these
/// characters are escaped within a value, so that they only separate lines.
fn split_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut remaining_text = Some(text);
    std::iter::from_fn(move || {
        let text = remaining_text?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            return remaining_text.take();
        };

        let next_lines = text[end..].strip_prefix(b"\r\n");
        remaining_text = next_lines.or(Some(&text[end + 1..]));
        Some(&text[..end])
    })
}

/// Returns the elements of a JSON array, but at most one more than `max_purchases`.
///
/// # Errors
/// 400 if `body` is not a JSON array.
fn split_array(body: &[u8], max_purchases: usize) -> HttpResult<Vec<BatchLine<'_>>> {
    if let Some(problem) = utf16_problem(body) {
        return Err(not_an_array(problem));
    }
    let text = std::str::from_utf8(body).map_err(not_an_array)?;
    let mut json = serde_json::Deserializer::from_str(strip_byte_order_mark(text));
    let elements = json
        .deserialize_seq(ElementsVisitor { max_purchases })
        .map_err(not_an_array)?;
    json.end().map_err(not_an_array)?;
    Ok(elements)
}

/// Returns the error 400 of a body that is not a JSON array. `error` says why it is not.
fn not_an_array(error: impl fmt::Display) -> HttpError {
    let text = format!("Request body must be a JSON array: {error}");
    HttpError::with_kind(StatusCode::BAD_REQUEST, ErrorKind::Invalid, text)
}

/// Reads a JSON array to its end, and keeps at most one more element than `max_purchases`.
struct ElementsVisitor {
    max_purchases: usize,
}

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Vec<BatchLine<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element::<&RawValue>()? {
            // One element more than the limit shows that the batch is too large. The others are
            // read, so that the rest of the text is checked, and dropped.
            let index = elements.len();
            if index <= self.max_purchases {
                elements.push(BatchLine {
                    index,
                    text: element.get().as_bytes(),
                });
            }
        }
        Ok(elements)
    }
}
