//! What is accepted with which currency of the settings, after which answers of the store.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;

use super::idempotent::IdSource;
use super::{
    CurrencyState, CurrencyStore, IdempotentSink, PurchasePublisher as _, PurchaseSink,
    PurchaseStore as _, ShopCurrency,
};
use crate::domain::Currency;
use crate::lock::lock;
use crate::log::LogExt as _;
use crate::memory::{InMemoryLog, InMemorySink, InMemoryStore};
use crate::record::decode;
use crate::{
    Clock as _, Error, ErrorKind, NewPurchase, Outcome, Purchase, Result, Shop, SystemClock,
    Timestamp,
};

/// A store, or a service in front of one, that gives one answer until it gets another.
#[derive(Debug)]
struct Source {
    /// `away`, `none`, or a currency.
    answer: Mutex<&'static str>,
    is_service: bool,
}

#[async_trait]
impl CurrencyStore for Source {
    async fn currency(&self, adopted: Option<Currency>) -> Result<Option<Currency>> {
        let answer = *lock(&self.answer);
        if adopted.is_some() {
            assert_eq!(answer, "none", "asked before");
            if self.is_service {
                return Err(Error::new(ErrorKind::Unsupported, "by its own settings"));
            }
        }
        match answer {
            "away" => Err(Error::new(ErrorKind::Unavailable, "away on purpose")),
            "none" => Ok(adopted),
            currency => Ok(Some(currency.parse().unwrap())),
        }
    }
}

/// The ways to publish a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    WithoutKey,
    WithKey,
    Many,
    /// As a batch or a file with ids.
    ManyWithIds,
    Sink,
    SinkMany,
    Shop,
}

const WAYS: [Way; 7] = [
    Way::WithoutKey,
    Way::WithKey,
    Way::Many,
    Way::ManyWithIds,
    Way::Sink,
    Way::SinkMany,
    Way::Shop,
];

fn new_in(currency: Option<&str>) -> NewPurchase {
    let mut new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("5")
        .unwrap();
    new.details.currency = currency.map(|currency| currency.parse().unwrap());
    new
}

/// A log, its store, and a sink of a shop in `currency`.
struct Fixture {
    log: InMemoryLog,
    store: InMemoryStore,
    currency: ShopCurrency,
    sink: IdempotentSink<InMemorySink>,
}

impl Fixture {
    fn new(currency: &ShopCurrency) -> Self {
        let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
        let sink = IdempotentSink::new(log.sink(), Arc::new(store.clone()))
            .with_currency(currency.clone());
        Self {
            log,
            store,
            currency: currency.clone(),
            sink,
        }
    }

    async fn publish(&self, way: Way, new: NewPurchase) -> Result<()> {
        let purchase = |new: NewPurchase| {
            let id = SystemClock.fresh_id();
            new.into_purchase(SystemClock.now(), || id)
        };
        match way {
            Way::WithoutKey => self.sink.publish_new(new, None).await.map(drop),
            Way::WithKey => {
                let keyed = new.with_key("order-7").unwrap();
                self.sink.publish_new(keyed, None).await.map(drop)
            }
            Way::Many => {
                let mut results = self.sink.publish_new_many(vec![new], None).await;
                results.remove(0).map(drop)
            }
            Way::ManyWithIds => {
                let entries = vec![(purchase(new), IdSource::Caller)];
                let mut results = self.sink.publish_once_many(entries).await;
                results.remove(0).map(drop)
            }
            Way::Sink => self.sink.publish(&purchase(new)).await.map(drop),
            Way::SinkMany => {
                let mut results = self.sink.publish_many(&[purchase(new)]).await;
                results.remove(0).map(drop)
            }
            Way::Shop => {
                let shop =
                    Shop::in_currency(self.currency.clone(), self.log.sink(), self.store.clone());
                shop.buy(new).await.map(drop)
            }
        }
    }

    async fn records(&self) -> Vec<Purchase> {
        let batches: Vec<_> = self
            .log
            .scan_all()
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let mut purchases = Vec::new();
        for batch in &batches {
            for record in &batch.records {
                purchases.push(decode(record, &batch.partition).unwrap());
            }
        }
        purchases
    }
}

/// `no currency` or the currency of the record for a purchase that was accepted, `later` for one that
/// was refused and can be repeated, `never` for one that is wrong.
async fn outcome(currency: &ShopCurrency, way: Way, new: NewPurchase) -> String {
    let fixture = Fixture::new(currency);
    let published = fixture.publish(way, new).await;
    let records = fixture.records().await;
    assert_eq!(records.len(), usize::from(published.is_ok()));
    match published {
        Ok(()) => {
            let named = records[0].details.currency.as_ref();
            named.map_or("no currency".to_owned(), ToString::to_string)
        }
        Err(error) => {
            assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
            match error.kind() {
                ErrorKind::Unavailable => "later".to_owned(),
                ErrorKind::Invalid => "never".to_owned(),
                _ => panic!("{error}"),
            }
        }
    }
}

/// The outcomes of purchases without a currency, in EUR and in USD, which are the same in all ways,
/// and of a refund.
async fn outcomes(currency: &ShopCurrency) -> String {
    let mut outcomes = Vec::new();
    for named in [None, Some("EUR"), Some("USD")] {
        let expected = outcome(currency, Way::WithoutKey, new_in(named)).await;
        for way in WAYS {
            let mut result = outcome(currency, way, new_in(named)).await;
            // A sink publishes a purchase as it is.
            if matches!(way, Way::Sink | Way::SinkMany) && result == "no currency" {
                result.clone_from(&expected);
            }
            assert_eq!(result, expected, "{way:?} of {named:?} with {currency:?}");
        }
        outcomes.push(expected);
    }

    // A refund follows its purchase, whose currency the store accepted.
    let is_accepted = outcomes[0] != "later";
    for named in [None, Some("EUR")] {
        let fixture = Fixture::new(currency);
        let bought = new_in(None).into_purchase(Timestamp::MIN, || SystemClock.fresh_id());
        fixture.store.insert_one(bought.clone()).await.unwrap();
        let mut refund = bought.refund(None, SystemClock.now()).unwrap();
        refund.details.currency = named.map(|named: &str| named.parse().unwrap());
        let refunded = fixture.sink.publish_refund(refund).await;
        let is_of_shop = named.is_none() || outcomes[1] != "never" || outcomes[0] == "no currency";
        assert_eq!(refunded.is_ok(), is_accepted && is_of_shop, "{refunded:?}");
    }
    outcomes.join(", ")
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_follows_from_the_setting_and_the_answers() {
    let in_euros = "EUR, EUR, never";
    let without = "no currency, never, never";
    let nothing = "later, later, later";
    for (setting, source, answers, expected) in [
        // A store takes a purchase without a currency whatever its currency is.
        ("", "both", "", "no currency, later, later"),
        ("", "both", "away", "no currency, later, later"),
        ("", "both", "none", without),
        ("", "both", "EUR", in_euros),
        ("", "both", "away none", without),
        ("", "both", "away EUR", in_euros),
        ("", "both", "none EUR", in_euros),
        ("", "both", "EUR away", in_euros),
        ("", "both", "EUR none", without),
        ("", "both", "EUR USD", nothing),
        ("", "both", "EUR USD EUR", in_euros),
        ("EUR", "both", "", nothing),
        ("EUR", "both", "away", nothing),
        ("EUR", "both", "EUR", in_euros),
        ("EUR", "both", "USD", nothing),
        ("EUR", "both", "away EUR", in_euros),
        ("EUR", "both", "away USD", nothing),
        ("EUR", "both", "EUR away", in_euros),
        ("EUR", "both", "EUR USD", nothing),
        ("EUR", "both", "EUR USD away", nothing),
        ("EUR", "both", "EUR USD EUR", in_euros),
        // Its own store takes the setting. The store of a service does not.
        ("EUR", "store", "none", in_euros),
        ("EUR", "store", "away none", in_euros),
        ("EUR", "service", "none", nothing),
        ("EUR", "service", "away none", nothing),
        ("EUR", "service", "none EUR", in_euros),
        ("EUR", "service", "EUR none", nothing),
    ] {
        for is_service in [false, true] {
            if source == if is_service { "store" } else { "service" } {
                continue;
            }
            let configured = (!setting.is_empty()).then(|| setting.parse().unwrap());
            let currency = ShopCurrency::not_yet_known(configured);
            let asked = Source {
                answer: Mutex::new("away"),
                is_service,
            };
            for answer in answers.split_whitespace() {
                *lock(&asked.answer) = answer;
                let noted = currency.ask(&asked).await;
                let is_other = matches!(
                    currency.state(),
                    CurrencyState::Other {
                        stored: Some(_),
                        ..
                    }
                );
                let conflict = noted
                    .as_ref()
                    .is_err_and(|e| e.kind() == ErrorKind::Conflict);
                assert_eq!(conflict, is_other && answer != "away", "{noted:?}");
            }
            let context = format!("setting {setting:?}, {source}: {answers}");
            assert_eq!(outcomes(&currency).await, expected, "{context}");
            assert_eq!(
                currency.accepts_purchases(),
                expected != nothing,
                "{context}"
            );
            let is_known = !expected.contains("later");
            assert_eq!(currency.known().is_ok(), is_known, "{context}");
            assert_eq!(currency.state().problem().is_none(), is_known, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_is_asked_until_it_answers_and_on() {
    let currency = ShopCurrency::not_yet_known(Some("EUR".parse().unwrap()));
    let source = Arc::new(Source {
        answer: Mutex::new("away"),
        is_service: true,
    });
    let (asking, asked) = (currency.clone(), Arc::clone(&source));
    tokio::spawn(async move { asking.keep_asking(&*asked).await });
    for (answer, accepts) in [("EUR", true), ("USD", false), ("EUR", true), ("away", true)] {
        *lock(&source.answer) = answer;
        // Time passes by itself while nothing else happens.
        tokio::time::sleep(std::time::Duration::from_secs(11)).await;
        assert_eq!(currency.accepts_purchases(), accepts, "{answer}");
    }
}

/// In a batch, what names another currency does not keep the rest from being published.
#[tokio::test]
async fn purchases_in_another_currency_do_not_fail_their_batch() {
    let fixture = Fixture::new(&ShopCurrency::fixed(Some("EUR".parse().unwrap())));
    let batch = [Some("USD"), None, Some("EUR")]
        .map(|named| new_in(named).into_purchase(SystemClock.now(), || SystemClock.fresh_id()));
    let published = fixture.sink.publish_many(&batch).await;
    let are_accepted: Vec<_> = published.iter().map(Result::is_ok).collect();
    assert_eq!(are_accepted, [false, true, true]);
    let ids: Vec<_> = published
        .iter()
        .flatten()
        .map(|receipt| receipt.id)
        .collect();
    assert_eq!(ids, [batch[1].id, batch[2].id]);
    let many = batch.map(|purchase| (purchase, IdSource::Caller)).into();
    let published = fixture.sink.publish_once_many(many).await;
    let are_accepted: Vec<_> = published.iter().map(Result::is_ok).collect();
    assert_eq!(are_accepted, [false, true, true]);
}
