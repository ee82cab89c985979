//! Errors as FastAPI writes them, for the two systems that used it: `ecommerce` and
//! `shopping-system`.
//!
//! An error is `{"detail": text}`. An invalid request is 422 with a list of pydantic's entries: with
//! a type, a `loc`, a message, and the input.

use std::borrow::Cow;

use serde_json::{Value, json};
use shop_http::axum::http::StatusCode;
use shop_http::axum::response::Response;
use shop_http::toolkit::{
    HttpError, Location, Outage, Outages, ValidationError, ValidationErrorKind, error_response,
};

/// The maximum size of a value that is sent back.
///
/// The input of a missing member is the whole body, which would be sent back once per missing
/// member.
const MAX_INPUT_BYTES: usize = 8 << 10;

/// The responses to failures of the log or the store.
pub(crate) const OUTAGES: Outages = Outages {
    failed_publish: Outage::unavailable("Service Unavailable"),
    failed_write: Outage::unavailable("Service Unavailable"),
    ..Outages::DEFAULT
};

/// Writes an error, with the status 503 for an unavailable store.
pub(crate) fn write_error(error: &HttpError) -> Response {
    write_error_with(error, &OUTAGES)
}

/// Writes an error, with `outages` as the responses to failures of the log or the store.
///
/// Validation errors are always 422, with a list of pydantic's entries.
pub(crate) fn write_error_with(error: &HttpError, outages: &Outages) -> Response {
    let (status, text) = outages.status_and_text(error, StatusCode::UNPROCESSABLE_ENTITY);
    if error.errors().is_empty() {
        return error_response(error, status, json!({"detail": text}));
    }

    let entries: Vec<_> = error.errors().iter().map(pydantic_entry).collect();
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    error_response(error, status, json!({"detail": entries}))
}

/// Returns the entry of `error` in pydantic's list.
fn pydantic_entry(error: &ValidationError) -> Value {
    let (error_type, message) = type_and_message(error);
    let mut entry = json!({
        "type": error_type,
        "loc": location_path(&error.location),
        "msg": message,
        "input": sent_value(error),
    });
    // The parameter of the message, such as a maximum length.
    if let ValidationErrorKind::Custom(_, Some(context)) = &error.kind {
        let (name, value) = &**context;
        entry["ctx"] = json!({*name: value});
    }
    entry
}

/// Returns pydantic's path to `location`.
fn location_path(location: &Location) -> Value {
    match location {
        Location::Body => json!(["body"]),
        Location::Byte(byte) => json!(["body", byte]),
        Location::Member(name) => json!(["body", name]),
        Location::InnerMember(object, name) => json!(["body", object, name]),
        Location::Path(name) => json!(["path", name]),
        Location::Header(name) => json!(["header", name]),
        Location::Query => json!(["query", "query"]),
        Location::Parameter(name) => json!(["query", name]),
    }
}

/// Returns pydantic's type of `error`, and its message.
fn type_and_message(error: &ValidationError) -> (&'static str, Cow<'_, str>) {
    let (error_type, message) = match &error.kind {
        ValidationErrorKind::Missing => ("missing", "Field required"),
        ValidationErrorKind::NoText => ("string_type", "Input should be a valid string"),
        ValidationErrorKind::NoNumber if error.input.starts_with('"') => (
            "float_parsing",
            "Input should be a valid number, unable to parse string as a number",
        ),
        ValidationErrorKind::NoNumber => ("float_type", "Input should be a valid number"),
        ValidationErrorKind::Value => {
            return ("value_error", format!("Value error, {}", error.text).into());
        }
        ValidationErrorKind::Unknown => ("extra_forbidden", "Extra inputs are not permitted"),
        ValidationErrorKind::NoJson => ("json_invalid", "JSON decode error"),
        ValidationErrorKind::NoObject => (
            "model_attributes_type",
            "Input should be a valid dictionary or object to extract fields from",
        ),
        ValidationErrorKind::Custom(error_type, _) => (*error_type, &*error.text),
    };
    (error_type, message.into())
}

/// Returns the value that was sent, or null if it is too large or nested too deeply.
fn sent_value(error: &ValidationError) -> Value {
    if error.input.len() > MAX_INPUT_BYTES {
        return Value::Null;
    }
    // The only error of a part of a parsed body is that it is nested too deeply.
    serde_json::from_str(&error.input).unwrap_or_default()
}
