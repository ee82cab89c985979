//! Reading the body of a request: JSON by its media type, with limits of size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::options::HttpOptions;
use crate::response::Failure;
use crate::response::validation_error::NoObject;

/// How much of an oversized body is read and discarded, so that the client can finish and read the response instead of
/// finding the connection closed.
const READ_ON_BYTES: usize = 32 << 20;
/// How long an oversized body is read and discarded.
const READ_ON_TIME: Duration = Duration::from_secs(2);

/// Reads the whole body within the limits of `options`. A missing media type counts as JSON.
pub(crate) async fn read(headers: &HeaderMap, body: Body, options: &HttpOptions) -> Result<Bytes, Failure> {
    let limit = options.max_body_bytes;
    if let Some(other) = other_media_type(headers) {
        read_on(headers, body).await;
        return Err(Failure::MediaType(other));
    }
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        read_on(headers, body).await;
        return Err(Failure::ContentEncoding);
    }
    if declared_length(headers).is_some_and(|length| length > limit) {
        read_on(headers, body).await;
        return Err(Failure::BodyTooLarge(limit));
    }
    let time = options.body_read_timeout;
    tokio::time::timeout(time, collect(headers, body, limit)).await.unwrap_or(Err(Failure::BodyTooSlow(time)))
}

async fn collect(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::Syntax(format!("it ended early: {error}"), NoObject::NoJson(bytes.len()))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            read_on(headers, body).await;
            return Err(Failure::BodyTooLarge(limit));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media type, if it is not that of JSON.
fn other_media_type(headers: &HeaderMap) -> Option<String> {
    let given = String::from_utf8_lossy(headers.get(header::CONTENT_TYPE)?.as_bytes()).into_owned();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = |kind: &str| kind == "json" || kind.ends_with("+json");
    let json = essence.is_empty() || essence.strip_prefix("application/").is_some_and(is_json);
    (!json).then_some(essence)
}

async fn read_on(headers: &HeaderMap, mut body: Body) {
    // A client that expects 100 gets the response at once, and the rest of a far too long body is not read.
    let asks_first = headers.contains_key(header::EXPECT);
    if asks_first || declared_length(headers).is_some_and(|length| length > READ_ON_BYTES) {
        return;
    }
    let mut read = 0;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > READ_ON_BYTES {
                break;
            }
        }
    };
    // After that time the connection is closed.
    drop(tokio::time::timeout(READ_ON_TIME, rest).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_says_so_or_says_nothing() {
        let media_type = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            other_media_type(&headers)
        };
        assert_eq!(other_media_type(&HeaderMap::new()), None);
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", ""] {
            assert_eq!(media_type(json), None, "{json}");
        }
        for other in
            ["text/plain", "text/json", "application/x-www-form-urlencoded", "json", "application/jsonx"]
        {
            assert_eq!(media_type(other).as_deref(), Some(other));
        }
    }
}
