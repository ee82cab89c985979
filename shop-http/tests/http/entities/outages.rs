//! Stores that fail: what can be repeated says how, and nobody is told what a store says of itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use serde_json::json;
use shop_core::entity::{Entity, EntityStore, Insertion};
use shop_core::orders::OrderNumber;
use shop_core::users::{UserNumber, UserOrders};
use shop_core::{Error, ErrorKind, Outcome, Result};
use shop_http::{Facing, HttpOptions, Management, OrdersRole, UsersRole, facing, management};
use tokio::time::Instant;

use super::{ADA, Entities, PEN, is, post_with_key};
use crate::shop::{get, post};

/// A store that does not do what it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Odd {
    Fails(ErrorKind, Outcome),
    Panics,
    NeverAnswers,
}

impl Odd {
    async fn answer<T>(self) -> Result<T> {
        match self {
            Self::Fails(kind, outcome) => Err(Error::new(kind, "hunter2 is away").with_outcome(outcome)),
            Self::Panics => panic!("a defect with details"),
            Self::NeverAnswers => std::future::pending().await,
        }
    }

    /// Management on such stores.
    pub(super) fn management(self) -> Router {
        let mut parts = Management::default();
        parts.users = Some(UsersRole::new(Arc::new(self)));
        parts.orders = Some(OrdersRole::new(Arc::new(self)));
        management(parts, HttpOptions::default())
    }

    fn facing(self) -> Router {
        let purchases = Arc::new(shop_core::memory::InMemoryStore::new());
        let mut parts = Facing::new(Arc::new(shop_core::memory::InMemoryLog::default().sink()), purchases);
        parts.users = Some(UsersRole::new(Arc::new(self)));
        parts.orders = Some(OrdersRole::new(Arc::new(self)));
        facing(parts, HttpOptions::default())
    }
}

#[async_trait]
impl<E: Entity> EntityStore<E> for Odd {
    async fn insert(&self, _new: &E::New) -> Result<Insertion<E>> {
        self.answer().await
    }

    async fn get(&self, _number: E::Number) -> Result<Option<E>> {
        self.answer().await
    }

    async fn check(&self) -> Result<()> {
        self.answer().await
    }
}

#[async_trait]
impl UserOrders for Odd {
    async fn orders_of(&self, _id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        self.answer().await
    }
}

const WRITES: [(&str, &str); 2] = [("/users", ADA), ("/orders", PEN)];
const READS: [(&str, &str); 3] =
    [("/users/1", "users"), ("/users/1/orders", "users"), ("/orders/1", "orders")];

#[tokio::test(start_paused = true)]
async fn what_was_not_written_can_be_repeated() {
    use ErrorKind::{DeadlineExceeded, Internal, Unavailable};

    for (odd, status, outcome) in [
        (Odd::Fails(Unavailable, Outcome::NotApplied), 503, "not_sent"),
        (Odd::Fails(Unavailable, Outcome::Unknown), 503, "unknown"),
        (Odd::Fails(DeadlineExceeded, Outcome::Unknown), 503, "unknown"),
        (Odd::Fails(Internal, Outcome::Unknown), 500, "unknown"),
        (Odd::Panics, 500, "unknown"),
        (Odd::NeverAnswers, 503, "unknown"),
    ] {
        for router in [odd.management(), odd.facing()] {
            for (path, body) in WRITES {
                let begun = Instant::now();
                let answer = post_with_key(&router, path, "k1", body).await;
                let expected =
                    json!({"detail": "Service Unavailable", "outcome": outcome, "idempotency_key": "k1"});
                is(&answer, status, &expected);
                assert_eq!(answer.header("idempotency-key"), Some("k1"), "{odd:?} {path}");
                assert_eq!(answer.header("retry-after").is_some(), status == 503, "{odd:?} {path}");
                assert!(begun.elapsed() <= Duration::from_secs(5), "{odd:?} {path}");
                let made = post(&router, path, body).await;
                let key = made.json()["idempotency_key"].as_str().unwrap().to_owned();
                assert_eq!(made.header("idempotency-key"), Some(&*key));
                assert_eq!(key.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_without_details() {
    use ErrorKind::{Corrupt, Denied, Invalid, Unavailable};

    for (odd, status, text) in [
        (Odd::Fails(Unavailable, Outcome::NotApplied), 503, "Service unavailable"),
        (Odd::Fails(Denied, Outcome::NotApplied), 503, "Service unavailable"),
        (Odd::Fails(Invalid, Outcome::NotApplied), 503, "Service unavailable"),
        (Odd::Fails(Corrupt, Outcome::NotApplied), 500, "Failed to fetch things"),
        (Odd::Panics, 500, "Failed to fetch things"),
        (Odd::NeverAnswers, 503, "Service timeout - please try again"),
    ] {
        for router in [odd.management(), odd.facing()] {
            for (path, what) in READS {
                let answer = get(&router, path).await;
                is(&answer, status, &json!({"detail": text.replace("things", what)}));
                assert_eq!(answer.header("retry-after").is_some(), status == 503, "{odd:?} {path}");
            }
        }
    }
}

#[tokio::test]
async fn the_log_is_not_asked() {
    // Nothing runs between the stores and the logs: the row and its event are safe all the same.
    let entities = Entities::new();
    let router = entities.management(HttpOptions::default());
    assert_eq!(post(&router, "/users", ADA).await.status, 201);
    let health = get(&router, "/health").await.json();
    assert_eq!((&health["users"]["store"], &health["users"]["outbox"]), (&json!(true), &json!(1)));
}

#[tokio::test]
async fn a_service_behind_that_lacks_the_role_is_as_none_at_all() {
    let odd = Odd::Fails(ErrorKind::Unsupported, Outcome::NotApplied);
    let nothing = json!({"detail": "Not Found"});
    for (path, body) in WRITES {
        is(&post_with_key(&odd.facing(), path, "k1", body).await, 404, &nothing);
    }
    for (path, _) in READS {
        is(&get(&odd.facing(), path).await, 404, &nothing);
    }
}
