//! Calls that are recorded in a history.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use shop_client::{
    Durability, Error, Purchase, PurchaseId, Receipt, Summary, UserId, UserPurchases,
};
use shop_core::ports::PageLimit;
use shop_core::{PublishedPurchase, id_from_key};

use super::{Call, History, Outcome, Sees, judge};
use crate::prelude::*;

/// The purchases of a page: few, so that most listings have several.
const PAGE: u16 = 50;

impl Outcome {
    fn of(bought: Result<PublishedPurchase, Error>) -> Self {
        match bought {
            Ok(bought) => Self::Bought {
                id: bought.purchase.id,
                position: bought.receipt.position.map(|at| (at.partition, at.offset)),
            },
            Err(error) if error.outcome() == shop_client::Outcome::NotApplied => Self::NotApplied,
            Err(_) => Self::Unknown,
        }
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

impl History {
    /// Buys with one attempt.
    pub(crate) async fn buy(&self, client: &ShopClient, new: NewPurchase) -> Outcome {
        let call = Call::Buy {
            // The key determines the id.
            id: new.key.as_ref().map(|key| id_from_key(&new.user_id, key)),
            user: new.user_id.clone(),
            price: new.price,
        };
        self.record(call, async { Outcome::of(client.shop().buy(new).await) })
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
        self.record(call, async { Outcome::of(refunded.await) })
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
                Some(id) => Outcome::Bought {
                    id: id.to_str().unwrap().parse().unwrap(),
                    position: None,
                },
                None if body.contains("not_sent") => Outcome::NotApplied,
                None => Outcome::Unknown,
            }
        };
        self.record(call, outcome).await;
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
        let call = self.begin(Call::List { user, sees });
        let listed = purchases.purchases().try_collect::<Vec<_>>().await.ok();
        let outcome = listed.clone().map_or(Outcome::NotApplied, Outcome::Listed);
        self.end(call, outcome);
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
        let call = self.begin(Call::Sum { user, sees });
        let summed = purchases.summary().await.ok();
        self.end(call, summed.map_or(Outcome::NotApplied, Outcome::Summed));
        summed
    }

    /// Waits until all acknowledged purchases are stored, reads them, and asserts that no call has returned what a
    /// correct service cannot. The error has the missing purchases.
    pub(crate) async fn settle(&self, client: &ShopClient) -> Result<(), BTreeSet<PurchaseId>> {
        let acknowledged = self.calls.lock().unwrap().acknowledged.clone();
        // A store without an index reads everything for each page.
        let patience =
            PATIENCE + Duration::from_millis(5) * u32::try_from(acknowledged.len()).unwrap();
        wait_for_all(client, acknowledged).await?;
        let mut users = BTreeSet::new();
        for entry in self.entries() {
            if let Call::Buy { user, .. } = entry.call {
                users.insert(user);
            }
        }
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
            let listed = listed.map(|listed| judge::summary_of(&listed));
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

    pub(crate) fn judge(&self) -> judge::Verdict {
        judge::judge(&self.entries())
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
