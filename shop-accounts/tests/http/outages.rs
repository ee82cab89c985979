//! Stores that fail: failed requests have what a retry needs, and errors expose no details.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use serde_json::json;
use shop_accounts::entity::{Entity, EntityStore, Insertion};
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::orders::OrderNumber;
use shop_accounts::users::{UserNumber, UserOrders};
use shop_core::ErrorKind::{
    Corrupt, DeadlineExceeded, Denied, Internal, Invalid, Unavailable, Unsupported,
};
use shop_core::Outcome::{NotApplied, Unknown};
use shop_core::{Error, ErrorKind, Outcome, Result};
use shop_http::{HttpOptions, Parts, router};
use tokio::time::Instant;

use self::Misbehaving::{Fails, NeverAnswers, Panics};
use crate::entities::{Entities, management};
use crate::shop::{get, post};
use crate::{ADA, PEN, post_with_key};

/// A store that fails every call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Misbehaving {
    Fails(ErrorKind, Outcome),
    Panics,
    NeverAnswers,
}

impl Misbehaving {
    async fn result<T>(self) -> Result<T> {
        match self {
            Self::Fails(kind, outcome) => {
                Err(Error::new(kind, "hunter2 is away").with_outcome(outcome))
            }
            Self::Panics => panic!("a defect with details"),
            Self::NeverAnswers => std::future::pending().await,
        }
    }

    /// Management with this store.
    pub(super) fn management(self) -> Router {
        management(self.accounts(), HttpOptions::default())
    }

    fn accounts(self) -> Accounts {
        Accounts {
            users: Some(UsersRole::new(Arc::new(self))),
            orders: Some(OrdersRole::new(Arc::new(self))),
            ..Accounts::default()
        }
    }

    fn facing(self) -> Router {
        let purchases = Arc::new(shop_core::memory::InMemoryStore::new());
        let mut parts = Parts::facing(
            Arc::new(shop_core::memory::InMemoryLog::default().sink()),
            purchases,
        );
        parts.roles.push(Arc::new(self.accounts()));
        router(parts, HttpOptions::default())
    }
}

#[async_trait]
impl<E: Entity> EntityStore<E> for Misbehaving {
    async fn insert(&self, _new: &E::New) -> Result<Insertion<E>> {
        self.result().await
    }

    async fn get(&self, _number: E::Number) -> Result<Option<E>> {
        self.result().await
    }

    async fn check(&self) -> Result<()> {
        self.result().await
    }
}

#[async_trait]
impl UserOrders for Misbehaving {
    async fn orders_of(&self, _id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        self.result().await
    }
}

const WRITES: [(&str, &str); 2] = [("/users", ADA), ("/orders", PEN)];
const READS: [(&str, &str); 3] = [
    ("/users/1", "users"),
    ("/users/1/orders", "users"),
    ("/orders/1", "orders"),
];

#[tokio::test(start_paused = true)]
async fn failed_writes_have_an_outcome_and_a_key() {
    for (misbehaving, status, outcome) in [
        (Fails(Unavailable, NotApplied), 503, "not_sent"),
        (Fails(Unavailable, Unknown), 503, "unknown"),
        (Fails(DeadlineExceeded, Unknown), 503, "unknown"),
        (Fails(Internal, Unknown), 500, "unknown"),
        (Panics, 500, "unknown"),
        (NeverAnswers, 503, "unknown"),
    ] {
        for router in [misbehaving.management(), misbehaving.facing()] {
            for (path, body) in WRITES {
                let begun = Instant::now();
                let response = post_with_key(&router, path, "k1", body).await;
                let expected = json!({"detail": "Service Unavailable", "outcome": outcome, "idempotency_key": "k1"});
                response.is(status, &expected);
                assert_eq!(
                    response.header("idempotency-key"),
                    Some("k1"),
                    "{misbehaving:?} {path}"
                );
                assert_eq!(
                    response.header("retry-after").is_some(),
                    status == 503,
                    "{misbehaving:?} {path}"
                );
                assert!(
                    begun.elapsed() <= Duration::from_secs(5),
                    "{misbehaving:?} {path}"
                );
                let made = post(&router, path, body).await;
                let key = made.json()["idempotency_key"].as_str().unwrap().to_owned();
                assert_eq!(made.header("idempotency-key"), Some(&*key));
                assert_eq!(key.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failed_reads_expose_no_details() {
    for (misbehaving, status, text) in [
        (Fails(Unavailable, NotApplied), 503, "Service unavailable"),
        (Fails(Denied, NotApplied), 503, "Service unavailable"),
        (Fails(Invalid, NotApplied), 503, "Service unavailable"),
        (Fails(Corrupt, NotApplied), 500, "Failed to fetch things"),
        (Panics, 500, "Failed to fetch things"),
        (NeverAnswers, 503, "Service timeout - please try again"),
    ] {
        for router in [misbehaving.management(), misbehaving.facing()] {
            for (path, what) in READS {
                let response = get(&router, path).await;
                response.is(status, &json!({"detail": text.replace("things", what)}));
                assert_eq!(
                    response.header("retry-after").is_some(),
                    status == 503,
                    "{misbehaving:?} {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn writes_do_not_need_the_log() {
    // Neither relay nor ingest runs: the row and its event are stored nevertheless.
    let entities = Entities::new();
    let router = entities.management(HttpOptions::default());
    assert_eq!(post(&router, "/users", ADA).await.status, 201);
    let health = get(&router, "/health").await.json();
    assert_eq!(
        (&health["users"]["store"], &health["users"]["outbox"]),
        (&json!(true), &json!(1))
    );
}

#[tokio::test]
async fn a_role_that_management_lacks_is_a_404() {
    let misbehaving = Fails(Unsupported, NotApplied);
    let nothing = json!({"detail": "Not Found"});
    for (path, body) in WRITES {
        post_with_key(&misbehaving.facing(), path, "k1", body)
            .await
            .is(404, &nothing);
    }
    for (path, _) in READS {
        get(&misbehaving.facing(), path).await.is(404, &nothing);
    }
}
