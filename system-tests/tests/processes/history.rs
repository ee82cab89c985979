//! Calls of clients, which are recorded in a history.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use shop_client::{
    Durability, Error, Purchase, PurchaseId, Receipt, Summary, UserId, UserPurchases,
};
use shop_core::ports::{ListOrder, PageLimit};
use shop_core::{PublishedPurchase, id_from_key};
use shop_faults::history::{Acknowledgement, Call, History, Outcome, Sees, Verdict, summary_of};

use crate::prelude::*;

/// The purchases of a page: few, so that most listings have several.
const PAGE: u16 = 50;

/// The history of the calls that clients have made.
#[derive(Debug, Default)]
pub(crate) struct ClientHistory(History);

/// Returns the outcome of a purchase, which may be on its way to the store.
fn outcome_of(bought: Result<PublishedPurchase, Error>) -> Outcome {
    match bought {
        Ok(bought) => Outcome::Bought(Acknowledgement::of_publish(bought)),
        Err(error) if error.outcome() == shop_client::Outcome::NotApplied => Outcome::NotApplied,
        Err(_) => Outcome::Unknown,
    }
}

/// The purchases of a user, once the service has those that it is to wait for.
fn purchases(client: &ShopClient, user: &UserId, sees: Sees) -> UserPurchases {
    let purchases = client.shop().user(user.clone());
    match sees {
        Sees::Own(id) => purchases.wait_for(&Receipt::new(id, Durability::LocalDisk)),
        Sees::Earlier | Sees::All => purchases,
    }
}

impl ClientHistory {
    /// Buys with one attempt.
    pub(crate) async fn buy(&self, client: &ShopClient, new: NewPurchase) -> Outcome {
        let call = Call::Buy {
            // The key determines the id.
            id: new.key.as_ref().map(|key| id_from_key(&new.user_id, key)),
            user: new.user_id.clone(),
            price: new.price,
        };
        self.0
            .record(call, async { outcome_of(client.shop().buy(new).await) })
            .await
    }

    /// Refunds a purchase, whole or in part, with one attempt: a further entry of the same user.
    pub(crate) async fn refund(&self, client: &ShopClient, refund: Purchase) -> Outcome {
        let of = refund.details.of.unwrap();
        let amount = refund.price.negated();
        let call = Call::Buy {
            id: Some(refund.id),
            user: refund.user_id,
            price: refund.price,
        };
        let shop = client.shop();
        let refunded = shop.refund(of, Some(amount), None);
        self.0
            .record(call, async { outcome_of(refunded.await) })
            .await
    }

    /// Buys with a single request without a key.
    pub(crate) async fn post(&self, http: &reqwest::Client, url: &str, new: &NewPurchase) {
        let call = Call::Buy {
            id: None,
            user: new.user_id.clone(),
            price: new.price,
        };
        let body = json!({"username": new.user_name, "userid": new.user_id, "price": new.price});
        let request = http.post(format!("{url}/buy")).json(&body);
        let outcome = async {
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) if error.is_connect() => return Outcome::NotApplied,
                Err(_) => return Outcome::Unknown,
            };
            let is_bought = response.status() == 201;
            let id = response.headers().get("x-purchase-id").cloned();
            let body = response.text().await.unwrap_or_default();
            match id.filter(|_| is_bought) {
                Some(id) => Outcome::Bought(Acknowledgement {
                    id: id.to_str().unwrap().parse().unwrap(),
                    purchase: None,
                    position: None,
                    is_replayed: false,
                    is_stored: false,
                }),
                None if body.contains("not_sent") => Outcome::NotApplied,
                None => Outcome::Unknown,
            }
        };
        self.0.record(call, outcome).await;
    }

    /// Lists the purchases of a user.
    pub(crate) async fn list(
        &self,
        client: &ShopClient,
        user: &UserId,
        sees: Sees,
    ) -> Option<Vec<Purchase>> {
        let user = user.clone();
        let purchases = purchases(client, &user, sees)
            .oldest_first()
            .with_page_size(PageLimit::new(PAGE).unwrap());
        let order = ListOrder::OldestFirst;
        let call = self.0.begin(Call::List { user, sees, order });
        let listed = purchases.purchases().try_collect::<Vec<_>>().await.ok();
        let outcome = match &listed {
            Some(listed) => Outcome::Listed(listed.as_slice().into(), None),
            None => Outcome::NotApplied,
        };
        self.0.end(call, outcome);
        listed
    }

    /// Sums up the purchases of a user.
    pub(crate) async fn sum(
        &self,
        client: &ShopClient,
        user: &UserId,
        sees: Sees,
    ) -> Option<Summary> {
        let user = user.clone();
        let purchases = purchases(client, &user, sees);
        let call = self.0.begin(Call::Sum { user, sees });
        let summed = purchases.summary().await.ok();
        self.0
            .end(call, summed.map_or(Outcome::NotApplied, Outcome::Summed));
        summed
    }

    /// Waits until all acknowledged purchases are stored, reads them, and asserts that no call has returned what a
    /// correct service cannot. The error has the missing purchases.
    pub(crate) async fn settle(&self, client: &ShopClient) -> Result<(), BTreeSet<PurchaseId>> {
        let mut acknowledged = BTreeSet::new();
        let mut users = BTreeSet::new();
        for entry in self.0.entries() {
            if let Outcome::Bought(acknowledgement) = &entry.outcome {
                acknowledged.insert(acknowledgement.id);
            }
            if let Call::Buy { user, .. } = entry.call {
                users.insert(user);
            }
        }
        // A store without an index reads everything for each page.
        let patience =
            PATIENCE + Duration::from_millis(5) * u32::try_from(acknowledged.len()).unwrap();
        wait_for_all(client, acknowledged).await?;
        for user in users {
            let read = self.list_and_sum(client, &user);
            within(patience, "list what the sum is of", read).await;
        }
        self.assert_correct();
        Ok(())
    }

    /// Lists and sums up the purchases of a user until both agree: purchases with an unknown outcome may
    /// still be in flight, and a store that was killed with its service may need a moment.
    pub(crate) async fn list_and_sum(&self, client: &ShopClient, user: &UserId) {
        loop {
            let listed = self.list(client, user, Sees::All).await;
            let listed = listed.map(|listed| summary_of(&listed).unwrap());
            if listed.is_some() && listed == self.sum(client, user, Sees::All).await {
                return;
            }
            pause().await;
        }
    }

    /// Asserts that no call so far has returned what a correct service cannot.
    pub(crate) fn assert_correct(&self) {
        let verdict = self.judge();
        println!("{:?}", verdict.figures);
        assert_eq!(verdict.violations, Vec::<String>::new());
    }

    /// Judges all calls so far.
    pub(crate) fn judge(&self) -> Verdict {
        self.0.judge()
    }

    /// Counts a call that is judged elsewhere.
    pub(crate) fn count_call(&self) {
        self.0.count_call();
    }

    /// Returns the number of calls that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.0.ended()
    }
}

/// Waits until all of these are stored, or none was found for a while, and returns the missing ones. Reads one by one:
/// a store that scans everything for each page has no time left for inserts.
async fn wait_for_all(
    client: &ShopClient,
    mut missing: BTreeSet<PurchaseId>,
) -> Result<(), BTreeSet<PurchaseId>> {
    while let Some(id) = missing.first().copied() {
        let found = async {
            while !matches!(client.shop().get(&id).await, Ok(Some(_))) {
                pause().await;
            }
        };
        if tokio::time::timeout(PATIENCE, found).await.is_err() {
            return Err(missing);
        }
        missing.remove(&id);
    }
    Ok(())
}
