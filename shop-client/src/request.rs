//! Requests of the caller's own.

use std::fmt::Display;

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shop_core::Bytes;

use crate::builder::further_header;
use crate::error::client_error;
use crate::response::Response;
use crate::transport::{Call, Sent, json};
use crate::{Error, ErrorKind, IdempotencyKey, Result, ShopClient};

/// A request for a path that no other call has: see [`ShopClient::request`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RawRequest {
    client: ShopClient,
    call: Result<Call>,
}

/// The response to a [`RawRequest`].
#[derive(Debug)]
pub struct RawResponse(Response);

impl ShopClient {
    /// A request for `path`, below the address of the service. It has the token, the headers, the request id, the
    /// time-outs, the retries and the observer of this client.
    ///
    /// ```no_run
    /// use shop_client::ShopClient;
    /// use shop_client::reqwest::Method;
    ///
    /// # async fn example(client: ShopClient) -> Result<(), shop_client::Error> {
    /// let response = client.request(Method::GET, "v1/summary").query("userid", "u1").send().await?;
    /// let summary: shop_client::Summary = response.json()?;
    /// println!("{} purchases", summary.count);
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, method: Method, path: &str) -> RawRequest {
        let transport = &self.inner.transport;
        let mut call = transport
            .query("request", path.trim_start_matches('/'), &[])
            .large();
        let is_below =
            call.url.path().starts_with(transport.base.path()) && !path.contains(['?', '#']);
        let call = if is_below {
            if !method.is_safe() {
                call.timeout = transport.timeouts.buy;
            }
            call.repeats = method.is_idempotent();
            call.accepts = |status: StatusCode| status.is_success();
            call.method = method;
            Ok(call)
        } else {
            let message = "the path leads elsewhere or has a query: add parameters by query";
            Err(client_error(ErrorKind::Invalid, message))
        };
        RawRequest {
            client: self.clone(),
            call,
        }
    }
}

impl RawRequest {
    fn with(self, change: impl FnOnce(Call) -> Result<Call>) -> Self {
        Self {
            call: self.call.and_then(change),
            ..self
        }
    }

    /// Adds a query parameter.
    pub fn query(self, name: &str, value: impl Display) -> Self {
        self.with(|mut call| {
            call.url
                .query_pairs_mut()
                .append_pair(name, &value.to_string());
            Ok(call)
        })
    }

    /// Sets a header. Of those that the client sends itself, only `Accept` can be replaced.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(|mut call| {
            let (name, value) = further_header(name, value, Some(&ACCEPT))?;
            call.head.insert(name, value);
            Ok(call)
        })
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &impl Serialize) -> Self {
        self.with(|mut call| {
            call.sent = Some(Sent::One(json(body)?.into()));
            Ok(call)
        })
    }

    /// Sends this key, with which the service applies the request once: it is then retried.
    pub fn idempotency_key(self, key: IdempotencyKey) -> Self {
        self.idempotent().with(|mut call| {
            call.key = Some(key);
            Ok(call)
        })
    }

    /// Retries the request whatever its method, because its effect is the same however often it is sent. `POST` and
    /// `PATCH` are not retried otherwise.
    pub fn idempotent(self) -> Self {
        self.with(|mut call| {
            call.repeats = true;
            Ok(call)
        })
    }

    /// Sends the request. At most 16 MiB of a response are read.
    ///
    /// # Errors
    /// Those of other calls: a status other than 2xx is an error with the
    /// [status and problem](crate::HttpErrorExt) of the response. [`Invalid`](ErrorKind::Invalid) when a part of the
    /// request is not valid.
    ///
    /// # Cancel safety
    /// As a buy of a [`ShopClient`], unless the method is safe, such as `GET`.
    pub async fn send(self) -> Result<RawResponse> {
        let Self { client, call } = self;
        let mut call = call?;
        let key = call.key.clone();
        if key.is_some() {
            call.sent.get_or_insert(Sent::One(Bytes::new()));
        }
        let answer = if call.method.is_safe() {
            client.query(&call).await
        } else {
            client.send(call, None).await
        };
        answer
            .map(RawResponse)
            .map_err(|error| key.into_iter().fold(error, Error::with_idempotency_key))
    }
}

impl RawResponse {
    /// The status, from 200 to 299.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status.as_u16()
    }

    /// The headers, such as `Idempotent-Replayed` and `X-Purchase-Pending`.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.body
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when it is not the JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        self.0.parsed()
    }

    /// The number of attempts.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.0.attempts
    }
}
