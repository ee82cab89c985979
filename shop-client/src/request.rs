//! Requests that the program of the caller makes itself, for paths that no other call uses.
//!
//! A [`RawRequest`] is a [`Call`] that is built step by step. The first step that is not valid
//! makes the call an error, which [`RawRequest::send`] returns without sending anything. Otherwise
//! the call is sent like every call of a client, with the same limits, retries and reports.

use std::fmt::Display;

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shop_core::Bytes;

use crate::builder::insert_caller_header;
use crate::error::client_error;
use crate::response::Response;
use crate::transport::{Call, RequestBody, json_body};
use crate::{Error, ErrorKind, IdempotencyKey, Result, ShopClient};

/// A request for a path that no other call uses: see [`ShopClient::request`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RawRequest {
    client: ShopClient,
    /// The call, or the error of the first invalid part.
    call: Result<Call>,
}

/// The response to a [`RawRequest`].
#[derive(Debug)]
pub struct RawResponse(Response);

impl ShopClient {
    /// Creates a request for `path`, below the address of the service.
    ///
    /// The request uses the token, the headers, the request id, the time-outs, the retries and the
    /// observer of this client.
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
        let transport = &self.transport;
        let mut call = transport
            .query("request", path.trim_start_matches('/'), &[])
            .with_large_response();
        let is_below_address = call.url.path().starts_with(transport.base_url.path());

        let call = if is_below_address && !path.contains(['?', '#']) {
            if !method.is_safe() {
                call.timeout = transport.timeouts.buy;
            }
            call.is_repeatable = method.is_idempotent();
            call.expects_status = |status| status.is_success();
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
    /// Changes the call by `change`, unless an earlier part of the request was not valid.
    fn change_call(self, change: impl FnOnce(Call) -> Result<Call>) -> Self {
        Self {
            call: self.call.and_then(change),
            ..self
        }
    }

    /// Adds a query parameter.
    pub fn query(self, name: &str, value: impl Display) -> Self {
        self.change_call(|mut call| {
            call.url
                .query_pairs_mut()
                .append_pair(name, &value.to_string());
            Ok(call)
        })
    }

    /// Sets a header. Of the headers that the client sends itself, only `Accept` can be replaced.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.change_call(|mut call| {
            insert_caller_header(&mut call.headers, name, value, Some(&ACCEPT))?;
            Ok(call)
        })
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &impl Serialize) -> Self {
        self.change_call(|mut call| {
            call.body = Some(RequestBody::Json(json_body(body)?.into()));
            Ok(call)
        })
    }

    /// Sends `key`, with which the service applies the request only once. So the request is retried
    /// after a failure.
    pub fn idempotency_key(self, key: IdempotencyKey) -> Self {
        self.idempotent().change_call(|mut call| {
            call.idempotency_key = Some(key);
            Ok(call)
        })
    }

    /// Retries the request whatever its method is, because its effect is the same however often it
    /// is sent. By default, `POST` and `PATCH` are not retried.
    pub fn idempotent(self) -> Self {
        self.change_call(|mut call| {
            call.is_repeatable = true;
            Ok(call)
        })
    }

    /// Names the call in its span and in the events of the observer (default `request`).
    pub fn name(self, name: &'static str) -> Self {
        self.change_call(|mut call| {
            call.name = name;
            Ok(call)
        })
    }

    /// Expects the response of a call that creates or finds one entity: at most 64 KiB, with the
    /// status 200 if the method is safe, and 201 otherwise.
    pub fn expect_entity(self) -> Self {
        self.change_call(|mut call| {
            call.expects_status = if call.method.is_safe() {
                |status| status == StatusCode::OK
            } else {
                |status| status == StatusCode::CREATED
            };
            Ok(call.with_typical_response())
        })
    }

    /// Expects client errors with a problem of one of `types`, too. Such a client error is returned
    /// as a response, and not as an error. [`RawResponse::find_problem_type`] returns its type.
    pub fn expect_problems(self, types: &'static [&'static str]) -> Self {
        self.change_call(|mut call| {
            call.expected_problems = types;
            Ok(call)
        })
    }

    /// Sets the message of the error if there is no such path at the address of the service.
    pub fn not_found_hint(self, hint: &'static str) -> Self {
        self.change_call(|mut call| {
            call.not_found_hint = hint;
            Ok(call)
        })
    }

    /// Sends the request. At most 16 MiB of a response are read.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if a part of the request is not valid
    /// - An error with the [status and problem](crate::HttpErrorExt) of the response if its status
    ///   is not 2xx
    /// - The errors of other calls, such as a query if the method is safe, or else a buy
    ///
    /// # Cancel safety
    /// If the future is dropped, a request with a safe method, such as `GET`, is aborted. A request
    /// with another method is sent once the future was polled, and retried if it may be repeated,
    /// like a buy of a [`ShopClient`].
    pub async fn send(self) -> Result<RawResponse> {
        let Self { client, call } = self;
        let mut call = call?;

        let key = call.idempotency_key.clone();
        if key.is_some() {
            // A request with a key always has a body, also an empty one.
            call.body.get_or_insert(RequestBody::Json(Bytes::new()));
        }

        let result = if call.method.is_safe() {
            client.query(&call).await
        } else {
            let own_context = None;
            client.send(call, own_context).await
        };
        result.map(RawResponse).map_err(|error| match key {
            Some(key) => error.with_idempotency_key(key),
            None => error,
        })
    }
}

impl RawResponse {
    /// Returns the status, which is from 200 to 299, or the status of an expected problem.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status.as_u16()
    }

    /// Returns the headers, such as `Idempotent-Replayed` and `X-Purchase-Pending`.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Returns the body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.body
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if the body is not the JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        self.0.parse_json()
    }

    /// Returns the type of the problem in a client error, if it is one of `types`.
    #[must_use]
    pub fn find_problem_type(&self, types: &'static [&'static str]) -> Option<&'static str> {
        self.0.find_problem_type(types)
    }

    /// Returns whether the key of the request was used before, for the same content.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.0.is_replayed()
    }

    /// Returns the error of a response that cannot be understood. A write may have taken effect.
    #[must_use]
    pub fn unreadable_error(&self, message: &str) -> Error {
        self.0.unreadable_error(message)
    }

    /// Returns the number of attempts.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.0.attempts
    }
}
