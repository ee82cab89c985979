//! Rows that a service owns and numbers: users and orders.

use std::fmt::Display;
use std::marker::PhantomData;

use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shop_core::api::problem::{EMAIL_TAKEN, KEY_TAKEN, UNKNOWN_ORDER, UNKNOWN_USER};
use shop_core::api::{OrderBody, UserBody};
use shop_core::entity::{Entity, Insertion};

use crate::response::Response;
use crate::transport::Call;
use crate::{Error, Order, OrderNumber, RequestContext, Result, ShopClient, User, UserNumber};

/// The rows of one kind that a service owns: [`Users`](crate::Users) or [`Orders`](crate::Orders).
#[derive(Debug, Clone)]
#[must_use = "no request is sent until a row is read or created"]
pub struct Resource<K> {
    pub(crate) client: ShopClient,
    kind: PhantomData<fn() -> K>,
}

/// A row that a service numbers.
pub trait Kind: Entity {
    /// Its number.
    type Number: Display + PartialEq + Send;
    /// The row in an answer.
    type Body: DeserializeOwned + Into<Self>;
    /// The path of the rows.
    const PATH: &'static str;
    /// The noun for one of them.
    const ROW: &'static str;
    /// The problem type for an unknown number.
    const UNKNOWN: &'static str;
    /// The problem types of a create request that are outcomes rather than errors.
    const REFUSALS: &'static [&'static str];
    /// The error message when the path does not exist.
    const NOT_FOUND_HINT: &'static str;

    /// The number of the row.
    fn typed_number(&self) -> Self::Number;
}

impl Kind for User {
    type Number = UserNumber;
    type Body = UserBody;
    const PATH: &'static str = "v1/users";
    const ROW: &'static str = "user";
    const UNKNOWN: &'static str = UNKNOWN_USER;
    const REFUSALS: &'static [&'static str] = &[EMAIL_TAKEN, KEY_TAKEN];
    const NOT_FOUND_HINT: &'static str =
        "the service at this address does not have the role of users: check both";

    fn typed_number(&self) -> UserNumber {
        self.id
    }
}

impl Kind for Order {
    type Number = OrderNumber;
    type Body = OrderBody;
    const PATH: &'static str = "v1/orders";
    const ROW: &'static str = "order";
    const UNKNOWN: &'static str = UNKNOWN_ORDER;
    const REFUSALS: &'static [&'static str] = &[UNKNOWN_USER, KEY_TAKEN];
    const NOT_FOUND_HINT: &'static str =
        "the service at this address does not have the role of orders: check both";

    fn typed_number(&self) -> OrderNumber {
        self.id
    }
}

impl<K: Kind> Resource<K> {
    pub(crate) const fn new(client: ShopClient) -> Self {
        Self { client, kind: PhantomData }
    }

    /// Finds the user or the order with this number.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and others when the query fails, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the service does not have the role.
    pub async fn get(&self, id: K::Number) -> Result<Option<K>> {
        let Some(answer) = self.find(K::ROW, &format!("/{id}")).await? else { return Ok(None) };
        let row: K = answer.parsed::<K::Body>()?.into();
        if row.typed_number() == id { Ok(Some(row)) } else { Err(Self::another(&answer)) }
    }

    /// The response at `path` below that of the rows; `None` when the row is unknown.
    pub(crate) async fn find(&self, name: &'static str, path: &str) -> Result<Option<Response>> {
        let transport = &self.client.inner.transport;
        let url = transport.url(&format!("{}{path}", K::PATH), &[]);
        let mut call = Call::query(name, url, transport.timeouts.get);
        call.outcomes = &[K::UNKNOWN];
        call.not_found_hint = K::NOT_FOUND_HINT;
        let answer = self.client.query(&call).await?;
        Ok(Some(answer).filter(|answer| answer.status == StatusCode::OK))
    }

    /// Creates the row of `new`, whose JSON is `body`.
    pub(crate) async fn create(
        &self,
        name: &'static str,
        body: &(impl Serialize + Sync),
        new: &K::New,
        context: Option<&RequestContext>,
    ) -> Result<Insertion<K>> {
        let key = K::key(new);
        let created = async {
            let mut call = self.client.inner.transport.write(name, K::PATH, body, key.clone())?;
            call.outcomes = K::REFUSALS;
            call.not_found_hint = K::NOT_FOUND_HINT;
            let answer = self.client.send(call, context).await?;
            match answer.problem_among(K::REFUSALS) {
                Some(KEY_TAKEN) => return Ok(Insertion::KeyTaken),
                Some(_) => return Ok(Insertion::Refused),
                None => {}
            }
            let row: K = answer.parsed::<K::Body>()?.into();
            if row.number() < 1 || row != K::with_number(new, row.number()) {
                return Err(Self::another(&answer));
            }
            Ok(if answer.is_replayed() { Insertion::AlreadyInserted(row) } else { Insertion::Inserted(row) })
        };
        created.await.map_err(|error| error.with_idempotency_key(key.clone()))
    }

    pub(crate) fn another(answer: &Response) -> Error {
        answer.unreadable(&format!("the response contains another {}", K::ROW))
    }
}
