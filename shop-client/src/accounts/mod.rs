//! Users and orders of a service: creates them, and finds them by their number. Feature `accounts`.

use std::marker::PhantomData;

use async_trait::async_trait;
use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shop_core::api::UserOrdersBody;
use shop_core::api::problem::{EMAIL_TAKEN, KEY_TAKEN, UNKNOWN_ORDER, UNKNOWN_USER};
use shop_core::entity::Entity;
use shop_core::users::MAX_LISTED_ORDERS;

use crate::client::generate_key;
use crate::response::Response;
use crate::{Error, IntoValid, Result, ShopClient};

#[cfg(feature = "mock")]
pub use shop_core::entity::MockEntityStore;
pub use shop_core::entity::{EntityStore, Insertion};
pub use shop_core::orders::{NewOrder, Order, OrderNumber, Product, TotalPrice};
#[cfg(feature = "mock")]
pub use shop_core::users::MockUserOrders;
pub use shop_core::users::{Email, NewUser, PersonName, User, UserNumber, UserOrders, UserStore};

/// The entities of one type that a service owns: [`Users`] or [`Orders`].
#[derive(Debug, Clone)]
#[must_use = "no request is sent until an entity is found or created"]
pub struct Entities<E> {
    client: ShopClient,
    kind: PhantomData<fn() -> E>,
}

/// The users of a service: registers them, and finds them by their number.
///
/// ```no_run
/// use shop_client::{Insertion, ShopClient};
///
/// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
/// let users = client.users();
/// match users.register_new("ada@example.com", "Ada").await? {
///     Insertion::Inserted(user) => println!("{:?}", users.orders_of(user.id).await?),
///     other => println!("not registered: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
pub type Users = Entities<User>;

/// The orders of a service: places them, and finds them by their number.
///
/// ```no_run
/// use shop_client::{Insertion, ShopClient, UserNumber};
///
/// # async fn example(client: ShopClient, user: UserNumber) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = client.orders();
/// match orders.place_new(user, "Notebook", 2, "50.00").await? {
///     Insertion::Inserted(order) => println!("order {}", order.id),
///     Insertion::Refused => println!("unknown user: try again later"),
///     other => println!("not placed: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
pub type Orders = Entities<Order>;

impl ShopClient {
    /// The users of the service, if it has the role of users. They are identified by numbers, and
    /// are unrelated to the user ids of [purchases](crate::Shop::user).
    ///
    /// ```no_run
    /// use shop_client::{Insertion, ShopClient};
    ///
    /// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Insertion::Inserted(user) = client.users().register_new("ada@example.com", "Ada").await? {
    ///     println!("user {}", user.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn users(&self) -> Users {
        Entities {
            client: self.clone(),
            kind: PhantomData,
        }
    }

    /// The orders of the service, if it has the role of orders.
    ///
    /// ```no_run
    /// use shop_client::{OrderNumber, ShopClient};
    ///
    /// # async fn example(client: ShopClient) -> Result<(), shop_client::Error> {
    /// let order = client.orders().get(OrderNumber::new(7)).await?;
    /// println!("{}", order.map_or("unknown".to_owned(), |order| order.total_price.to_string()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn orders(&self) -> Orders {
        Entities {
            client: self.clone(),
            kind: PhantomData,
        }
    }
}

/// How the API has the entities of a type.
pub trait Resource: Entity<New: Serialize> + DeserializeOwned {
    /// The path of all.
    const PATH: &'static str;
    /// The noun for one of them.
    const NOUN: &'static str;
    /// The name of the call that creates one.
    const CREATE: &'static str;
    /// The problem type for an unknown number.
    const UNKNOWN: &'static str;
    /// The problem types of a create request that are outcomes rather than errors.
    const REFUSALS: &'static [&'static str];
    /// The error message when the path does not exist.
    const NOT_FOUND_HINT: &'static str;
}

impl Resource for User {
    const PATH: &'static str = "v1/users";
    const NOUN: &'static str = "user";
    const CREATE: &'static str = "register";
    const UNKNOWN: &'static str = UNKNOWN_USER;
    const REFUSALS: &'static [&'static str] = &[EMAIL_TAKEN, KEY_TAKEN];
    const NOT_FOUND_HINT: &'static str =
        "the service at this address does not have the role of users: check both";
}

impl Resource for Order {
    const PATH: &'static str = "v1/orders";
    const NOUN: &'static str = "order";
    const CREATE: &'static str = "place";
    const UNKNOWN: &'static str = UNKNOWN_ORDER;
    const REFUSALS: &'static [&'static str] = &[UNKNOWN_USER, KEY_TAKEN];
    const NOT_FOUND_HINT: &'static str =
        "the service at this address does not have the role of orders: check both";
}

impl<E: Resource> Entities<E> {
    /// Creates a user or an order. Its key makes it the same one, however often it is sent. Its own
    /// context takes precedence over that of the client.
    ///
    /// Returns [`Refused`](Insertion::Refused) when another user has the address, or when the
    /// service does not know the user of the order; a user becomes known shortly after the
    /// registration. Returns [`AlreadyInserted`](Insertion::AlreadyInserted) when the key was used
    /// before, possibly by an earlier attempt of this call whose response was lost.
    ///
    /// ```no_run
    /// use shop_client::{NewUser, ShopClient};
    ///
    /// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let ada = NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?);
    /// println!("{:?}", client.users().insert(&ada).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As a buy of a [`ShopClient`], and [`Unsupported`](crate::ErrorKind::Unsupported) where the
    /// service does not have the role.
    ///
    /// # Cancel safety
    /// Once polled, it is sent and retried even if the future is dropped.
    pub async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        let key = E::key(new);
        let created = async {
            let mut call = self
                .client
                .transport
                .write(E::CREATE, E::PATH, new, key.clone())?;
            call.expected_problems = E::REFUSALS;
            call.not_found_hint = E::NOT_FOUND_HINT;
            let answer = self.client.send(call, E::context(new)).await?;
            match answer.find_problem_type(E::REFUSALS) {
                Some(KEY_TAKEN) => return Ok(Insertion::KeyTaken),
                Some(_) => return Ok(Insertion::Refused),
                None => {}
            }
            let row: E = answer.parse_json()?;
            if row.number() < 1.into() || row != E::with_number(new, row.number()) {
                return Err(Self::another(&answer));
            }
            Ok(if answer.is_replayed() {
                Insertion::AlreadyInserted(row)
            } else {
                Insertion::Inserted(row)
            })
        };
        created
            .await
            .map_err(|error| error.with_idempotency_key(key.clone()))
    }

    /// Finds the user or the order with this number.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and others when the query fails, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the service does not have the role.
    pub async fn get(&self, number: E::Number) -> Result<Option<E>> {
        let Some(answer) = self.find(E::NOUN, &format!("/{number}")).await? else {
            return Ok(None);
        };
        let row: E = answer.parse_json()?;
        if row.number() == number {
            Ok(Some(row))
        } else {
            Err(Self::another(&answer))
        }
    }

    /// The response at `path` below that of all; `None` when the number is unknown.
    async fn find(&self, name: &'static str, path: &str) -> Result<Option<Response>> {
        let mut call = self
            .client
            .transport
            .query(name, &format!("{}{path}", E::PATH), &[]);
        call.expected_problems = &[E::UNKNOWN];
        call.not_found_hint = E::NOT_FOUND_HINT;
        let answer = self.client.query(&call).await?;
        Ok(Some(answer).filter(|answer| answer.status == StatusCode::OK))
    }

    fn another(answer: &Response) -> Error {
        answer.unreadable_error(&format!("the response contains another {}", E::NOUN))
    }
}

impl Users {
    /// Registers a user with a key that is generated here. An error
    /// [contains](crate::Error::idempotency_key) it.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// # Cancel safety
    /// As [`insert`](Self::insert).
    pub async fn register_new(
        &self,
        email: impl IntoValid<Email>,
        name: impl IntoValid<PersonName>,
    ) -> Result<Insertion<User>> {
        let new = NewUser::new(generate_key(), email.into_valid()?, name.into_valid()?);
        self.insert(&new)
            .await
            .map_err(|error| error.with_generated_key(new.key))
    }

    /// The numbers of the orders that this user is known to have placed, the first 1,000 in
    /// ascending order. `None` when there is no such user.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        let Some(answer) = self.find("orders_of", &format!("/{id}/orders")).await? else {
            return Ok(None);
        };
        let body: UserOrdersBody = answer.parse_json()?;
        if body.user_id != id {
            return Err(Self::another(&answer));
        }
        if body.orders.len() > MAX_LISTED_ORDERS
            || !body.orders.is_sorted_by(|one, next| one < next)
        {
            return Err(
                answer.unreadable_error("the orders in the response are too many or not sorted")
            );
        }
        Ok(Some(body.orders))
    }
}

impl Orders {
    /// Places an order with a key that is generated here. An error
    /// [contains](crate::Error::idempotency_key) it.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// # Cancel safety
    /// As [`insert`](Self::insert).
    pub async fn place_new(
        &self,
        user: UserNumber,
        product: impl IntoValid<Product>,
        quantity: i32,
        total_price: impl IntoValid<TotalPrice>,
    ) -> Result<Insertion<Order>> {
        let new = NewOrder::new(
            generate_key(),
            user,
            product.into_valid()?,
            quantity,
            total_price.into_valid()?,
        );
        self.insert(&new)
            .await
            .map_err(|error| error.with_generated_key(new.key))
    }
}

/// A dropped call is still sent: the row and its event are written together, or neither is.
#[async_trait]
impl<E: Resource> EntityStore<E> for Entities<E> {
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        self.insert(new).await
    }

    async fn get(&self, number: E::Number) -> Result<Option<E>> {
        self.get(number).await
    }

    /// Checks whether the role of the service works.
    async fn check(&self) -> Result<()> {
        self.client
            .check_part(E::PATH.trim_start_matches("v1/"))
            .await
    }
}

#[async_trait]
impl UserOrders for Users {
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        self.orders_of(id).await
    }
}
