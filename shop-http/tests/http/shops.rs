//! The shops that the scenarios of purchases send requests to.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::feed::FeedOptions;
use shop_core::log::{Log as _, LogRecord};
use shop_core::memory::InMemoryStore;
use shop_core::ports::{CurrencyStore as _, PurchaseErase as _, ShopCurrency};
use shop_core::{Error, ErrorKind, Outcome, Purchase};
use shop_http::{
    Authenticate, HttpOptions, Principal, Rejection, Scopes, async_trait, router, routes,
};

use crate::dead_letters::{self, shop_with_dead_letters};
use crate::events::shop_with_feed;
use crate::scenario::Scene;
use crate::shop::{Shop, purchase};

/// Shops, each with a log and a store in memory, and both services.
pub(crate) struct Shops {
    /// The first one has no name.
    shops: Vec<(String, Shop)>,
    restarted: Option<Router>,
}

impl Default for Shops {
    fn default() -> Self {
        Self {
            shops: vec![(String::new(), Shop::new())],
            restarted: None,
        }
    }
}

impl Scene for Shops {
    /// `facing`, `management`, and those of the shop NAME, `facing.NAME` and `management.NAME`. `another-facing` is
    /// that of a process that has just started, on the same log and store, and `restarted-facing` remains that of one.
    async fn service(&mut self, host: &str) -> Router {
        let (service, shop_name) = host.split_once('.').unwrap_or((host, ""));
        let shop = self.shops.iter().find(|(name, _)| name == shop_name);
        let (_, shop) = shop.unwrap_or_else(|| panic!("there is no shop {shop_name}"));
        match service {
            "facing" => shop.facing.clone(),
            "management" => shop.management.clone(),
            "another-facing" => shop.another_facing(),
            "restarted-facing" => {
                let restarted = &mut self.restarted;
                restarted
                    .get_or_insert_with(|| shop.another_facing())
                    .clone()
            }
            _ => panic!("there is no service {service}"),
        }
    }

    /// - `options KIND` makes the shop without a name an empty one of this kind, `shop NAME KIND` adds a shop:
    ///   see [`shop_of_kind`]
    /// - `stored USER NUMBER..NUMBER name=NAME price=PRICE` stores purchases, one a second
    /// - `erase USER`
    /// - `dead-letter OFFSET VALUE` is parked, `conflict OFFSET ID VALUE` contradicts the purchase with this id, and
    ///   `gap OFFSET..OFFSET` is a loss; `dead-letters` shows where they are, and why
    /// - `ingest` starts ingest; `await-stored COUNT` waits until the shop without a name has stored so many purchases
    /// - `answer CURRENCY` lets another store answer, which has this currency; `answer own` lets its own store do so
    /// - `sleep SECONDS`
    /// - `fault CALL FAULT` is in force until `fault CALL none`
    /// - `counts` shows how many records the log has, and how many purchases the store; `records` shows the records
    async fn direct(&mut self, name: &str, argument: &str) -> Option<String> {
        match name {
            "shop" => {
                let (name, kind) = argument.split_once(' ').unwrap();
                self.shops.push((name.to_owned(), shop_of_kind(kind).await));
            }
            "options" => self.shops[0].1 = shop_of_kind(argument).await,
            "await-stored" => {
                while self.shops[0].1.store.all().len() < argument.parse().unwrap() {
                    tokio::task::yield_now().await;
                }
            }
            "sleep" => tokio::time::sleep(Duration::from_secs(argument.parse().unwrap())).await,
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

/// Accepts each token but `unknown`: a name, and scopes behind it. Panics at `panic`.
#[derive(Debug)]
pub(crate) struct SubjectAndScopes;

#[async_trait]
impl Authenticate for SubjectAndScopes {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        assert_ne!(token, "panic", "on purpose");
        if token == "unknown" {
            return Err(Rejection::invalid("is unknown"));
        }
        let mut words = token.split(' ');
        let subject = words.next().unwrap_or_default();
        Ok(Principal::new(subject).with_scopes(words))
    }
}

/// Returns a shop that authenticates and authorizes (`tokens`, of a name and scopes), has an authentication of its embedder
/// (`layer-that-panics`), has more routes (`dead-letters`, `feed`), or has options: `NAME=VALUE ...`.
async fn shop_of_kind(kind: &str) -> Shop {
    match kind {
        "dead-letters" => shop_with_dead_letters().await,
        "feed" => {
            let build = |parts| routes(parts).build();
            shop_with_feed(FeedOptions::default(), build).0
        }
        "layer-that-panics" => shop_with_panicking_layer(),
        "tokens" => shop_with_tokens(),
        _ => shop_with_options(kind).await,
    }
}

/// Returns a shop with these options. With `currency=EUR` its store has this currency. With `blind=EUR`, or `blind=none`
/// without the setting, its store has not answered what its currency is.
async fn shop_with_options(assignments: &str) -> Shop {
    let mut configured = None;
    let mut has_answered = true;
    let mut others = Vec::new();
    for assignment in assignments.split_whitespace() {
        match assignment.split_once('=').unwrap() {
            (name @ ("currency" | "blind"), value) => {
                configured = value.parse().ok();
                has_answered = name == "currency";
            }
            _ => others.push(assignment),
        }
    }

    let roles = crate::take_roles(&mut others);
    let options = options(&others.join(" "));
    let currency = ShopCurrency::not_yet_known(configured);
    let shop = Shop::in_currency(currency, |mut parts| {
        parts.roles = roles.clone();
        router(parts, options.clone())
    });
    if has_answered {
        shop.currency.ask(&shop.store).await.unwrap();
    }
    shop
}

fn shop_with_tokens() -> Shop {
    Shop::built_by(|parts| {
        routes(parts)
            .authenticate(SubjectAndScopes)
            .authorize(Scopes)
            .build()
    })
}

fn shop_with_panicking_layer() -> Shop {
    let layer = from_fn(async |_: Request, _: Next| -> StatusCode { panic!("on purpose") });
    Shop::built_by(|parts| routes(parts).auth_layer(layer.clone()).build())
}

pub(crate) fn options(assignments: &str) -> HttpOptions {
    let mut options = HttpOptions::default();
    for assignment in assignments.split_whitespace() {
        let (name, value) = assignment.split_once('=').unwrap();
        match name {
            "refunds" => options.refunds = value == "on",
            "access_log" => options.access_log = value.parse().unwrap(),
            "cors" => options.cors = value.parse().unwrap(),
            "max_requests" => options.max_requests = value.parse().unwrap(),
            "request_timeout" => {
                options.request_timeout = Duration::from_secs(value.parse().unwrap());
            }
            "rate_reads" => options.rate_reads = NonZeroU32::new(value.parse().unwrap()),
            "rate_writes" => options.rate_writes = NonZeroU32::new(value.parse().unwrap()),
            "trusted_proxies" => options.trusted_proxies = value.parse().unwrap(),
            "hosts" => options.hosts = value.parse().unwrap(),
            "purchase_retention" => {
                options.purchase_retention = Some(Duration::from_secs(value.parse().unwrap()));
            }
            "read_your_writes" => options.read_your_writes = value == "on",
            "max_batch_bytes" => options.max_batch_bytes = value.parse().unwrap(),
            "max_batches_bytes" => options.max_batches_bytes = value.parse().unwrap(),
            "max_batch_purchases" => options.max_batch_purchases = value.parse().unwrap(),
            "max_import_bytes" => options.max_import_bytes = value.parse().unwrap(),
            _ => panic!("there is no option {name}"),
        }
    }
    options
}

async fn direct(shop: &Shop, name: &str, argument: &str) -> Option<String> {
    match name {
        "dead-letter" | "conflict" | "gap" => {
            let letter = dead_letters::parse(name, argument);
            shop.log.put_dead_letters(&[letter]).await.unwrap();
        }
        "stored" => shop.stored(&purchases(argument)).await,
        "erase" => drop(
            shop.store
                .erase(&argument.parse().unwrap(), 10)
                .await
                .unwrap(),
        ),
        "ingest" => shop.ingest(),
        "answer" if argument == "own" => shop.currency.ask(&shop.store).await.unwrap(),
        "answer" => {
            let answering = InMemoryStore::new();
            let currency = argument.parse().unwrap();
            answering.currency(Some(currency)).await.unwrap();
            drop(shop.currency.ask(&answering).await);
        }
        "fault" => set_fault(&shop.faults, argument),
        "counts" => {
            let records = shop.published().await;
            let purchases = shop.store.all().len();
            return Some(format!("{records} in the log, {purchases} in the store"));
        }
        "dead-letters" => return Some(dead_letters::reasons(shop).await),
        "records" => return Some(shop.records().await.iter().map(show_record).collect()),
        _ => panic!("there is no directive {name}"),
    }
    None
}

/// Returns a line for the key of a record, for each header, and for the value.
fn show_record(record: &LogRecord) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut shown = format!("\n\nkey: {}", text(record.key.as_deref().unwrap()));
    for (name, value) in record.headers.iter() {
        write!(shown, "\n{name}: {}", text(value.unwrap())).unwrap();
    }
    write!(shown, "\n{}", text(record.value.as_deref().unwrap())).unwrap();
    shown
}

/// Purchase 1 of `u1 1`; purchases 0 to 29 of `u1 0..30`, and every tenth of them of `u1 0..30/10`. A `+` is a
/// space.
pub(crate) fn purchases(argument: &str) -> Vec<Purchase> {
    let mut words = argument.split(' ');
    let user = words.next().unwrap().replace('+', " ");
    let numbers = words.next().unwrap();
    let (numbers, step) = numbers.split_once('/').unwrap_or((numbers, "1"));
    let (first, end) = numbers.split_once("..").unwrap_or((numbers, ""));
    let first: u64 = first.parse().unwrap();
    let end = end.parse().unwrap_or(first + 1);

    let mut purchases: Vec<_> = (first..end)
        .step_by(step.parse().unwrap())
        .map(|number| purchase(&user, number))
        .collect();
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

pub(crate) fn set_fault(faults: &Faults, argument: &str) {
    let (call, fault) = argument.split_once(' ').unwrap();
    let call = match call {
        "publish" => Call::Publish,
        "insert" => Call::Insert,
        "query" => Call::Query,
        "next" => Call::Next,
        "check" => Call::Check,
        _ => panic!("there is no fault of {call}"),
    };
    let fault = match fault {
        "none" => return faults.clear(call),
        "unavailable" => Fault::unavailable(),
        "overloaded" => Fault::Refuse(Error::new(ErrorKind::Overloaded, "the queue is full")),
        "refused as admin:hunter2" => {
            let error = Error::new(
                ErrorKind::Unavailable,
                "cannot reach 10.1.2.3 as admin:hunter2",
            );
            Fault::Refuse(error.with_outcome(Outcome::NotApplied))
        }
        "a lost answer" => Fault::LoseAnswer,
        "denied" => Fault::Refuse(Error::new(ErrorKind::Denied, "hunter2 is denied")),
        "invalid" => Fault::Refuse(Error::new(ErrorKind::Invalid, "hunter2 is invalid")),
        "a partial insert" => Fault::PartialInsert,
        _ => {
            let seconds = fault.strip_suffix(" seconds");
            let seconds = seconds.unwrap_or_else(|| panic!("there is no fault {fault}"));
            Fault::Delay(Duration::from_secs_f64(seconds.parse().unwrap()))
        }
    };
    faults.always(call, fault);
}
