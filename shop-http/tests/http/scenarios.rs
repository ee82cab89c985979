//! The scenarios of purchases: what clients send, and what they get.

use std::time::Duration;

use axum::Router;
use shop_core::conformance::fault::{Call, Fault};
use shop_core::ports::PurchaseErase as _;
use shop_core::{Error, ErrorKind, Purchase};
use shop_http::{Dialect, HttpOptions};

use crate::scenario::{Scene, scenarios};
use crate::shop::{Shop, purchase};

scenarios! {
    Shops:
    refunds
}

/// Shops, each with a log and a store in memory, and both services.
struct Shops {
    /// The first one has no name.
    shops: Vec<(String, Shop)>,
}

impl Default for Shops {
    fn default() -> Self {
        Self {
            shops: vec![(String::new(), Shop::new())],
        }
    }
}

impl Scene for Shops {
    /// `facing`, `management`, and those of the shop NAME, `facing.NAME` and `management.NAME`. `another-facing` is
    /// that of a process that has just started, on the same log and store.
    async fn service(&mut self, host: &str) -> Router {
        let (service, shop_name) = host.split_once('.').unwrap_or((host, ""));
        let shop = self.shops.iter().find(|(name, _)| name == shop_name);
        let (_, shop) = shop.unwrap_or_else(|| panic!("there is no shop {shop_name}"));
        match service {
            "facing" => shop.facing.clone(),
            "management" => shop.management.clone(),
            "another-facing" => shop.another_facing(),
            _ => panic!("there is no service {service}"),
        }
    }

    /// - `options NAME=VALUE ...` sets the options of the shop without a name, which is empty then
    /// - `shop NAME NAME=VALUE ...` adds a shop with these options
    /// - `stored USER NUMBER..NUMBER name=NAME price=PRICE` stores purchases, one a second
    /// - `erase USER`
    /// - `ingest` starts ingest; `await-stored COUNT` waits until it has stored so many purchases
    /// - `fault CALL FAULT` is in force until `fault CALL none`
    /// - `counts` shows how many records the log has, and how many purchases the store
    async fn direct(&mut self, name: &str, argument: &str) -> Option<String> {
        match name {
            "options" => self.shops[0].1 = Shop::with(options(argument)),
            "shop" => {
                let (name, argument) = argument.split_once(' ').unwrap();
                self.shops
                    .push((name.to_owned(), Shop::with(options(argument))));
            }
            _ => {
                let mut shown = Vec::new();
                for (_, shop) in &self.shops {
                    shown.extend(direct(shop, name, argument).await);
                }
                return (!shown.is_empty()).then(|| shown.join("; "));
            }
        }
        None
    }
}

fn options(assignments: &str) -> HttpOptions {
    let mut options = HttpOptions::default();
    for assignment in assignments.split(' ') {
        let (name, value) = assignment.split_once('=').unwrap();
        match name {
            "dialect" => options.dialect = Dialect::from_name(value).unwrap(),
            "refunds" => options.refunds = value == "on",
            "currency" => options.currency = Some(value.parse().unwrap()),
            "hosts" => options.hosts = value.parse().unwrap(),
            "purchase_retention" => {
                options.purchase_retention = Some(Duration::from_secs(value.parse().unwrap()));
            }
            "read_your_writes" => options.read_your_writes = value == "on",
            "max_batch_bytes" => options.max_batch_bytes = value.parse().unwrap(),
            "max_batch_purchases" => options.max_batch_purchases = value.parse().unwrap(),
            "max_batches_bytes" => options.max_batches_bytes = value.parse().unwrap(),
            "max_import_bytes" => options.max_import_bytes = value.parse().unwrap(),
            _ => panic!("there is no option {name}"),
        }
    }
    options
}

async fn direct(shop: &Shop, name: &str, argument: &str) -> Option<String> {
    match name {
        "stored" => shop.stored(&purchases(argument)).await,
        "erase" => drop(
            shop.store
                .erase(&argument.parse().unwrap(), 10)
                .await
                .unwrap(),
        ),
        "ingest" => shop.ingest(),
        "await-stored" => {
            while shop.store.all().len() < argument.parse().unwrap() {
                tokio::task::yield_now().await;
            }
        }
        "fault" => set_fault(shop, argument),
        "counts" => {
            let records = shop.published().await;
            let purchases = shop.store.all().len();
            return Some(format!("{records} in the log, {purchases} in the store"));
        }
        _ => panic!("there is no directive {name}"),
    }
    None
}

/// `u1 1`, `u1 0..30`, `005 1..3 name=joe price=10.50`
fn purchases(argument: &str) -> Vec<Purchase> {
    let mut words = argument.split(' ');
    let user = words.next().unwrap();
    let numbers = words.next().unwrap();
    let (first, end) = match numbers.split_once("..") {
        Some((first, end)) => (first.parse().unwrap(), end.parse().unwrap()),
        None => (
            numbers.parse().unwrap(),
            numbers.parse::<u64>().unwrap() + 1,
        ),
    };
    let mut purchases: Vec<_> = (first..end).map(|number| purchase(user, number)).collect();
    for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
        for purchase in &mut purchases {
            match name {
                "id" => purchase.id = value.parse().unwrap(),
                "name" => purchase.user_name = value.replace('+', " ").parse().unwrap(),
                "price" => purchase.price = value.parse().unwrap(),
                "timestamp" => purchase.timestamp = value.parse().unwrap(),
                _ => panic!("no purchase has {name}"),
            }
        }
    }
    purchases
}

fn set_fault(shop: &Shop, argument: &str) {
    let (call, fault) = argument.split_once(' ').unwrap();
    let call = match call {
        "publish" => Call::Publish,
        "insert" => Call::Insert,
        "query" => Call::Query,
        "check" => Call::Check,
        _ => panic!("there is no fault of {call}"),
    };
    let fault = match fault {
        "none" => return shop.faults.clear(call),
        "unavailable" => Fault::unavailable(),
        "overloaded" => Fault::Refuse(Error::new(ErrorKind::Overloaded, "the queue is full")),
        "a lost answer" => Fault::LoseAnswer,
        "a minute" => Fault::Delay(Duration::from_secs(60)),
        "a partial insert" => Fault::PartialInsert,
        _ => panic!("there is no fault {fault}"),
    };
    shop.faults.always(call, fault);
}
