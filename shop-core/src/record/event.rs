//! The JSON codec and headers that all events share.

use std::fmt::Display;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DecodeError, SCHEMA_VERSION, header};
use crate::log::{Headers, LogRecord};
use crate::{Error, ErrorKind, RequestContext, Result, Timestamp};

/// The record of an event with `body`, and the context of the request that caused it.
pub(crate) fn encode(
    key: impl Display,
    body: &impl Serialize,
    context: Option<&RequestContext>,
) -> Result<LogRecord> {
    let value = serde_json::to_vec(body).map_err(|error| {
        Error::new(ErrorKind::Internal, "an event could not be written as JSON").with_source(error)
    })?;
    let headers = Headers::builder().with(header::SCHEMA, Some(SCHEMA_VERSION.as_bytes()));
    // The log assigns offset and timestamp.
    Ok(LogRecord::new(0, Timestamp::MIN, Some(value.into()))
        .with_key(Some(Bytes::from(key.to_string())))
        .with_headers(header::from_request(headers, context).build()))
}

/// Decodes the value of `record`.
pub(crate) fn decode<'a, B: Deserialize<'a>>(record: &'a LogRecord) -> Result<B, DecodeError> {
    let value = record.value.as_deref().ok_or(DecodeError::Empty)?;
    if let Some(version) = record.headers.get(header::SCHEMA)
        && version != SCHEMA_VERSION.as_bytes()
    {
        return Err(DecodeError::UnknownSchema(String::from_utf8_lossy(version).into_owned()));
    }
    serde_json::from_slice(value).map_err(|error| DecodeError::NotAnEvent(error.to_string()))
}
