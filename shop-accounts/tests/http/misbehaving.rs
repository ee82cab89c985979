//! A store of users and orders that fails every call.

use std::sync::Arc;

use async_trait::async_trait;
use shop_accounts::entity::{Entity, EntityStore, Insertion};
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::orders::OrderNumber;
use shop_accounts::users::{UserNumber, UserOrders};
use shop_core::{Error, ErrorKind, Outcome, Result};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Misbehaving {
    Fails(ErrorKind, Outcome),
    Panics,
    NeverAnswers,
}

impl Misbehaving {
    /// `unavailable`, or `unavailable unknown` if the outcome of a write is.
    pub(crate) fn from_name(name: &str) -> Self {
        let (kind, outcome) = name.split_once(' ').unwrap_or((name, ""));
        let outcome = match outcome {
            "unknown" => Outcome::Unknown,
            _ => Outcome::NotApplied,
        };
        let kind = match kind {
            "unavailable" => ErrorKind::Unavailable,
            "late" => ErrorKind::DeadlineExceeded,
            "internal" => ErrorKind::Internal,
            "denied" => ErrorKind::Denied,
            "invalid" => ErrorKind::Invalid,
            "corrupt" => ErrorKind::Corrupt,
            "unsupported" => ErrorKind::Unsupported,
            "panics" => return Self::Panics,
            "never-answers" => return Self::NeverAnswers,
            _ => panic!("there is no failure {name}"),
        };
        Self::Fails(kind, outcome)
    }

    async fn result<T>(self) -> Result<T> {
        match self {
            Self::Fails(kind, outcome) => {
                Err(Error::new(kind, "hunter2 is away").with_outcome(outcome))
            }
            Self::Panics => panic!("a defect with details"),
            Self::NeverAnswers => std::future::pending().await,
        }
    }

    /// Both roles on this store.
    pub(crate) fn accounts(self) -> Accounts {
        Accounts {
            users: Some(UsersRole::new(Arc::new(self))),
            orders: Some(OrdersRole::new(Arc::new(self))),
            ..Accounts::default()
        }
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
