//! Reading the body of a request: JSON by its media type, with limits of size and time.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use shop_core::ErrorKind;
use shop_core::api::{NDJSON, RowFormat};

use crate::header_names::ACCEPT_POST;
use crate::options::HttpOptions;
use crate::permits::RequestPermit;
use crate::response::validation_error::ValidationError;
use crate::response::{HttpError, HttpResult};

/// How much of an oversized body is read and discarded, so that the client can finish and read the
/// response instead of finding the connection closed.
const READ_ON_BYTES: usize = 32 << 20;
/// How long an oversized body is read and discarded.
const READ_ON_TIME: Duration = Duration::from_secs(2);

/// The first bytes of a body that need no permit: most bodies are smaller.
const SMALL: usize = 16 << 10;

/// Takes the whole body of a write within the limits of `options`, and then acquires the permit of
/// the write: a body that is sent slowly occupies no room among the writes. A missing media type
/// counts as JSON.
pub(crate) async fn read(request: &mut Request, options: &HttpOptions) -> HttpResult<Bytes> {
    let permit = RequestPermit::of(request.extensions())?;
    let body = std::mem::take(request.body_mut());
    let headers = request.headers();
    if let Some(other) = other_media_type(headers) {
        read_on(headers, body).await;
        let text = format!("Content-Type must be application/json, not {other}");
        return Err(HttpError::unsupported_media_type(
            ACCEPT_POST,
            "application/json",
            text,
        ));
    }
    let mut body_permit = permit.empty_body_permit();
    let mut uncounted = SMALL;
    let limit = options.max_body_bytes;
    let body = read_up_to(headers, body, limit, options, |bytes| {
        let counted = bytes.saturating_sub(uncounted);
        uncounted = uncounted.saturating_sub(bytes);
        if counted == 0 {
            return Ok(());
        }
        body_permit.extend_for_write(counted)
    })
    .await?;
    permit.acquire_write(1)?;
    Ok(body)
}

/// Reads the whole body, of any media type, within `limit` and the time of `options`. `received` is
/// called with the length of each part before it is kept.
pub(crate) async fn read_up_to(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    options: &HttpOptions,
    received: impl FnMut(usize) -> HttpResult<()>,
) -> HttpResult<Bytes> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        read_on(headers, body).await;
        let text = "Content-Encoding must be left out: the body is read as it is";
        return Err(HttpError::unsupported_media_type(
            header::ACCEPT_ENCODING,
            "identity",
            text.to_owned(),
        ));
    }
    if declared_length(headers).is_some_and(|length| length > limit) {
        read_on(headers, body).await;
        return Err(body_too_large(limit));
    }
    let time = options.body_read_timeout;
    let body = collect(headers, body, limit, received);
    tokio::time::timeout(time, body)
        .await
        .unwrap_or_else(|_elapsed| {
            let text = format!(
                "Request body must be sent within {} seconds",
                time.as_secs()
            );
            Err(HttpError::with_kind(
                StatusCode::REQUEST_TIMEOUT,
                ErrorKind::DeadlineExceeded,
                text,
            ))
        })
}

async fn collect(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    mut received: impl FnMut(usize) -> HttpResult<()>,
) -> HttpResult<Bytes> {
    // Most bodies are one frame, which is not copied.
    let mut bytes = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            HttpError::not_an_object(ValidationError::no_json(
                bytes.len(),
                format!("it ended early: {error}"),
            ))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            read_on(headers, body).await;
            return Err(body_too_large(limit));
        }
        if let Err(failure) = received(data.len()) {
            read_on(headers, body).await;
            return Err(failure);
        }
        bytes = if bytes.is_empty() {
            data
        } else {
            let mut joined = BytesMut::from(bytes);
            joined.extend_from_slice(&data);
            joined.freeze()
        };
    }
    Ok(bytes)
}

fn body_too_large(limit: usize) -> HttpError {
    let text = format!("Request body must not have more than {limit} bytes");
    HttpError::too_large(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The media type, if it is not that of JSON.
fn other_media_type(headers: &HeaderMap) -> Option<String> {
    let essence = media_type(headers)?;
    if essence.is_empty() || essence.eq_ignore_ascii_case(b"application/json") {
        return None;
    }
    let other = String::from_utf8_lossy(essence).to_ascii_lowercase();
    let is_json = other.starts_with("application/") && other.ends_with("+json");
    (!is_json).then_some(other)
}

/// The media type without parameters.
fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    let given = headers.get(header::CONTENT_TYPE)?.as_bytes();
    Some(
        given
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii(),
    )
}

/// Whether a batch is NDJSON, and not a JSON array.
///
/// # Errors
/// When it is neither.
pub(crate) fn is_ndjson(headers: &HeaderMap) -> HttpResult<bool> {
    if media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case(NDJSON.as_bytes())) {
        return Ok(true);
    }
    other_media_type(headers).map_or(Ok(false), |other| {
        let text =
            format!("Content-Type must be application/x-ndjson or application/json, not {other}");
        Err(HttpError::unsupported_media_type(
            ACCEPT_POST,
            "application/json, application/x-ndjson",
            text,
        ))
    })
}

/// The format of a file of purchases.
///
/// # Errors
/// When it is neither CSV nor NDJSON.
pub(crate) fn row_format(headers: &HeaderMap) -> HttpResult<RowFormat> {
    let media_type = media_type(headers).unwrap_or_default();
    for format in RowFormat::ALL {
        if media_type.eq_ignore_ascii_case(format.media_type().as_bytes()) {
            return Ok(format);
        }
    }
    let text = "Content-Type must be text/csv or application/x-ndjson".to_owned();
    Err(HttpError::unsupported_media_type(
        ACCEPT_POST,
        "text/csv, application/x-ndjson",
        text,
    ))
}

/// Reads the rest of a body that is not used. Boxed: the future of a request is no larger for what
/// is rare.
pub(crate) fn read_on(headers: &HeaderMap, mut body: Body) -> BoxFuture<'static, ()> {
    // A client that expects 100 gets the response at once, and the rest of a far too long body is
    // not read.
    let asks_first = headers.contains_key(header::EXPECT);
    if asks_first || declared_length(headers).is_some_and(|length| length > READ_ON_BYTES) {
        return std::future::ready(()).boxed();
    }
    let rest = async move {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > READ_ON_BYTES {
                break;
            }
        }
    };
    // After that time the connection is closed.
    tokio::time::timeout(READ_ON_TIME, rest).map(drop).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_or_no_media_type_is_accepted() {
        let media_type = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            other_media_type(&headers)
        };
        assert_eq!(other_media_type(&HeaderMap::new()), None);
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "",
        ] {
            assert_eq!(media_type(json), None, "{json}");
        }
        for other in [
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "json",
            "application/jsonx",
        ] {
            assert_eq!(media_type(other).as_deref(), Some(other));
        }
    }
}
