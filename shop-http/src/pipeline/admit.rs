//! Admits a request: finds out which client sends it, counts it towards the client's rate, and
//! acquires its permit.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;

use super::client::network;
use super::state::RequestState;
use crate::auth::Principal;
use crate::options::{HttpOptions, TrustedProxies};
use crate::permits::{ClientId, Pools, RequestPermit};
use crate::response::{ErrorWriter, HttpResult, RequestKind};
use crate::routes::route::RequestClass;

/// The scopes of services that send requests on behalf of many users. No fair share limits the
/// requests of such a service.
const SERVICE_SCOPES: [&str; 5] = [
    "observe",
    "operate",
    "purchases:read:any",
    "purchases:write:any",
    "purchases:refund:any",
];

/// Admits the requests of a router.
pub(crate) struct Admission {
    pub(crate) pools: Arc<Pools>,
    proxies: TrustedProxies,
    hasher: RandomState,
}

/// The mark of a response whose request [`Admission::admit`] has counted.
#[derive(Clone)]
struct IsCounted;

impl Admission {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        Self {
            pools: Pools::new(options),
            proxies: options.trusted_proxies.clone(),
            hasher: RandomState::new(),
        }
    }

    /// Returns the hash of the client's address, or `None` if the address of its connection is
    /// unknown.
    fn hash_address(&self, request: &Request, state: &RequestState) -> Option<u64> {
        let client = self
            .proxies
            .client_behind(state.peer?.ip(), request.headers());
        Some(self.hasher.hash_one(network(client)))
    }

    /// Returns the hash of the client's address, for [`count_if_rejected`](Self::count_if_rejected).
    ///
    /// Returns `None` if there are no rates, or if the address is unknown.
    pub(crate) fn counted_address(&self, request: &Request, state: &RequestState) -> Option<u64> {
        if !self.pools.rates.are_limited() {
            return None;
        }
        self.hash_address(request, state)
    }

    /// Returns `response`, and counts its request towards the rate of the client's address if the
    /// request was rejected before it was admitted, such as by authentication. Once the rate is
    /// reached, the response to a rejected request is replaced by a 429.
    ///
    /// An admitted request was counted in [`admit`](Self::admit), which marks its response. A
    /// successful write keeps its response even if a layer of the embedder removed the mark, because
    /// the purchase is recorded and the client must learn its id.
    pub(crate) fn count_if_rejected(
        &self,
        address: Option<u64>,
        kind: RequestKind,
        mut response: Response,
        write_error: ErrorWriter,
    ) -> Response {
        let is_counted = response.extensions().get::<IsCounted>().is_some();
        let is_recorded_write = kind == RequestKind::Write && response.status().is_success();
        if is_counted || is_recorded_write {
            return response;
        }

        let rates = &self.pools.rates;
        // The clients with unknown addresses are one client for the rates.
        let client_hash = address.unwrap_or_default();
        let mut remaining = None;
        match rates.count_requests(client_hash, kind, 1) {
            Ok(remaining_requests) => remaining = remaining_requests,
            Err(rate_error) => response = write_error(&rate_error),
        }
        rates.add_headers(&mut response, kind, remaining);
        response
    }

    /// Calls `handle` for a request and returns its response, if the rate of the client and the pools
    /// allow the request. If they do not, the response is the 429 or the 503.
    ///
    /// # Errors
    /// 503 if there is no room for the response of a read beside the others.
    pub(crate) async fn admit(
        &self,
        request: &mut Request,
        state: &mut RequestState,
        handle: impl AsyncFnOnce(&mut Request, &RequestState) -> Response,
    ) -> HttpResult {
        let client = self.identify_client(request, state);
        let permit = RequestPermit::new(&self.pools, client);
        state.permit = Some(permit.clone());
        let class = state.class;
        let write_error = state.write_error;

        let kind = class.kind();
        let mut remaining = None;
        let mut response = match self.count_and_acquire(client, class, &permit) {
            Ok(remaining_requests) => {
                remaining = remaining_requests;
                let response = handle(request, state).await;
                match kind {
                    RequestKind::Read => permit.track_response(response)?,
                    RequestKind::Write => response,
                }
            }
            Err(refusal) => write_error(&refusal),
        };

        let rates = &self.pools.rates;
        rates.add_headers(&mut response, kind, remaining);
        if rates.are_limited() {
            response.extensions_mut().insert(IsCounted);
        }
        Ok(response)
    }

    /// Counts a request of `class` towards the rate of `client`. If it is a read, also acquires room
    /// for it.
    ///
    /// Returns how many more requests the client may send now, or `None` if the number is unknown or
    /// there is no rate.
    ///
    /// # Errors
    /// - 429 if the client reached its rate
    /// - 503 if there is no room for a read of this client
    fn count_and_acquire(
        &self,
        client: ClientId,
        class: RequestClass,
        permit: &RequestPermit,
    ) -> HttpResult<Option<u32>> {
        let rates = &self.pools.rates;
        let remaining = rates.count_requests(client.hash(), class.kind(), 1)?;
        // A write acquires its permit when its body is read.
        if !class.writes() {
            permit.acquire_read()?;
        }
        if class == RequestClass::Batch {
            // How many writes remain is only known once the purchases of the batch are counted.
            return Ok(None);
        }
        Ok(remaining)
    }

    /// Returns the client of a request: its principal, or else the address that it comes from.
    ///
    /// A service sends the requests of many users, so no fair share limits it. The client is
    /// unknown if the address of its connection is unknown.
    fn identify_client(&self, request: &Request, state: &RequestState) -> ClientId {
        if let Some(principal) = request.extensions().get::<Principal>()
            && principal.name().is_some()
        {
            let hash = self.hasher.hash_one(principal.owner());
            let is_service = SERVICE_SCOPES
                .iter()
                .any(|scope| principal.has_scope(scope));
            if is_service {
                return ClientId::Service(hash);
            }
            return ClientId::Fair(hash);
        }
        self.hash_address(request, state)
            .map_or(ClientId::Unknown, ClientId::Fair)
    }
}
