//! The rate of a client, and its place among the others.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use crate::auth::Principal;
use crate::options::HttpOptions;
use crate::options::proxies::TrustedProxies;
use crate::response::{HttpError, HttpResult};
use crate::routes::matched::Matched;
use crate::routes::route::RequestClass;
use crate::server::client::network;
use crate::server::pools::{Client, Pools, Slot};

/// Scopes of services, which ask on behalf of many: their requests have no share.
const FOR_OTHERS: [&str; 5] = [
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

/// Marks the response to a request that counts for the rate of its principal.
#[derive(Debug, Clone, Copy)]
struct IsCounted;

impl Admission {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        Self {
            pools: Pools::new(options),
            proxies: options.trusted_proxies.clone(),
            hasher: RandomState::new(),
        }
    }

    /// The address of a client; `None` if that of its connection is unknown.
    fn address(&self, request: &Request) -> Option<u64> {
        let address: IpAddr = network(self.proxies.client_of(request)?);
        Some(self.hasher.hash_one(address))
    }

    /// Counts a request that was not [admitted](Self::admit), such as one that authentication has rejected: for the rate of its
    /// address. Valid tokens from the same address are not affected. The response to a write that was accepted stays, also if
    /// a layer of the embedder has removed the mark.
    pub(crate) fn count(&self, address: Option<u64>, writes: bool, response: Response) -> Response {
        let is_counted = response.extensions().get::<IsCounted>().is_some();
        let is_done = writes && response.status().is_success();
        let rates = self
            .pools
            .rates
            .as_ref()
            .filter(|_| !is_counted && !is_done);
        let Some(rates) = rates else { return response };
        let (mut response, left) = match rates.check(address.unwrap_or_default(), writes) {
            Ok(left) => (response, left),
            Err(failure) => (failure.into_response(), None),
        };
        rates.describe(&mut response, writes, left);
        response
    }

    /// The address, if requests are counted.
    pub(crate) fn counted_address(&self, request: &Request) -> Option<u64> {
        self.pools
            .rates
            .as_ref()
            .and_then(|_| self.address(request))
    }

    /// The response that `handle` makes of a request, if the rate of its client and the pools have room for it.
    pub(crate) async fn admit(
        &self,
        request: &mut Request,
        handle: impl AsyncFnOnce(&mut Request) -> Response,
    ) -> HttpResult {
        let class = Matched::of(request.extensions())?.class;
        let writes = class.writes();
        let (mut response, left) = match self.enter(request, class) {
            Ok((slot, left)) => {
                let response = handle(request).await;
                (
                    if writes {
                        response
                    } else {
                        self.pools.hold(response, &slot)?
                    },
                    left,
                )
            }
            Err(failure) => (failure.into_response(), None),
        };
        if let Some(rates) = &self.pools.rates {
            rates.describe(&mut response, writes, left);
            response.extensions_mut().insert(IsCounted);
        }
        Ok(response)
    }

    /// The slot of a request, and how many more its client may send now, if that is known and there is a rate.
    fn enter(&self, request: &mut Request, class: RequestClass) -> HttpResult<(Slot, Option<u32>)> {
        let principal = request
            .extensions()
            .get::<Principal>()
            .filter(|principal| principal.name().is_some());
        let client = match principal {
            Some(principal) => {
                let hash = self.hasher.hash_one(principal.owner());
                if FOR_OTHERS.iter().any(|scope| principal.has_scope(scope)) {
                    Client::ForOthers(hash)
                } else {
                    Client::Limited(hash)
                }
            }
            None => self
                .address(request)
                .map_or(Client::Unlimited, Client::Limited),
        };
        let mut left = None;
        if let Some(rates) = &self.pools.rates {
            let checked = rates.check(client.id(), class.writes())?;
            // What is left is known when the batch was read.
            left = checked.filter(|_| class != RequestClass::Batch);
        }
        let slot = Slot::new(&self.pools, client);
        // The slot of a write is taken when its body is read.
        if !class.writes() {
            slot.read()?;
        }
        let matched = request
            .extensions_mut()
            .get_mut::<Matched>()
            .ok_or(HttpError::PANICKED)?;
        matched.slot = Some(slot.clone());
        Ok((slot, left))
    }
}
