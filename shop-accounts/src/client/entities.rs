//! The clients of users and of orders.
//!
//! [`Entities`] creates users or orders, and finds one by its number. [`Users`] and [`Orders`] name
//! its two forms, and add the calls of one type. The trait [`Resource`] says how `/v1` represents a
//! type: its paths, and the problems that are outcomes of a call rather than errors.
//!
//! A write carries a key, and is sent and retried like a buy of a [`ShopClient`].

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shop_api::problem::{EMAIL_TAKEN, KEY_TAKEN, UNKNOWN_ORDER, UNKNOWN_USER};
use shop_client::reqwest::Method;
use shop_client::{RawResponse, ShopClient};
use shop_core::{Clock as _, Error, IdempotencyKey, Invalid, Result, SystemClock, async_trait};

use crate::entity::{Entity, EntityStore, Insertion};
use crate::orders::{NewOrder, Order, OrderNumber, Product, TotalPrice};
use crate::users::{
    Email, MAX_LISTED_ORDERS, NewUser, PersonName, User, UserNumber, UserOrders, UserOrdersBody,
};

/// A client of the entities of one type that a service owns: of its [`Users`] or its [`Orders`].
#[derive(Debug, Clone)]
#[must_use = "no request is sent until an entity is found or created"]
pub struct Entities<E> {
    client: ShopClient,
    kind: PhantomData<fn() -> E>,
}

/// A client that registers users at a service, and finds a user by its number.
///
/// ```no_run
/// use shop_accounts::client::AccountsClient as _;
/// use shop_accounts::entity::Insertion;
/// use shop_client::ShopClient;
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

/// A client that places orders at a service, and finds an order by its number.
///
/// ```no_run
/// use shop_accounts::client::AccountsClient as _;
/// use shop_accounts::entity::Insertion;
/// use shop_accounts::users::UserNumber;
/// use shop_client::ShopClient;
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

/// The users and the orders of the service of a [`ShopClient`].
///
/// The calls of [`Users`] and [`Orders`] fail as [`Unsupported`](shop_core::ErrorKind::Unsupported)
/// if the service does not provide the role.
///
/// ```no_run
/// use shop_accounts::client::AccountsClient as _;
/// use shop_accounts::orders::OrderNumber;
/// use shop_client::ShopClient;
///
/// # async fn example(client: ShopClient) -> Result<(), shop_client::Error> {
/// let order = client.orders().get(OrderNumber::new(7)).await?;
/// println!("{}", order.map_or("unknown".to_owned(), |order| order.total_price.to_string()));
/// # Ok(())
/// # }
/// ```
pub trait AccountsClient {
    /// Returns a client of the users of the service.
    ///
    /// Users are identified by numbers, which are unrelated to the user ids of
    /// [purchases](shop_core::Shop::user).
    fn users(&self) -> Users;

    /// Returns a client of the orders of the service.
    fn orders(&self) -> Orders;
}

impl AccountsClient for ShopClient {
    fn users(&self) -> Users {
        Entities {
            client: self.clone(),
            kind: PhantomData,
        }
    }

    fn orders(&self) -> Orders {
        Entities {
            client: self.clone(),
            kind: PhantomData,
        }
    }
}

/// A type of entities that `/v1` serves: a [`User`] or an [`Order`].
pub trait Resource: Entity<New: Serialize> + DeserializeOwned {
    /// The path at which entities are created. An entity is at its number below this path.
    const PATH: &'static str;
    /// The noun for one entity, which is also the name of the call that finds an entity.
    const NOUN: &'static str;
    /// The name of the call that creates an entity.
    const CREATE: &'static str;
    /// The problem type of a number that the service does not know.
    const UNKNOWN: &'static str;
    /// The problem type of a new entity that is [refused](Insertion::Refused).
    const REFUSAL: &'static str;
    /// The error message if the service does not serve the path.
    const NOT_FOUND_HINT: &'static str;
}

impl Resource for User {
    const PATH: &str = "v1/users";
    const NOUN: &str = "user";
    const CREATE: &str = "register";
    const UNKNOWN: &str = UNKNOWN_USER;
    const REFUSAL: &str = EMAIL_TAKEN;
    const NOT_FOUND_HINT: &str =
        "the service at this address does not have the role of users: check both";
}

impl Resource for Order {
    const PATH: &str = "v1/orders";
    const NOUN: &str = "order";
    const CREATE: &str = "place";
    const UNKNOWN: &str = UNKNOWN_ORDER;
    const REFUSAL: &str = UNKNOWN_USER;
    const NOT_FOUND_HINT: &str =
        "the service at this address does not have the role of orders: check both";
}

impl<E: Resource> Entities<E> {
    /// Creates a user or an order, once for its key, however often the request is sent.
    ///
    /// The context of `new` takes precedence over the context of the client.
    ///
    /// Returns:
    /// - [`AlreadyInserted`](Insertion::AlreadyInserted) if the key was used before for the same
    ///   content, possibly by an earlier attempt of this call whose response was lost
    /// - [`Refused`](Insertion::Refused) if another user registered the address, or if the service
    ///   does not know the user of the order. A user becomes known shortly after the registration
    /// - [`KeyTaken`](Insertion::KeyTaken) if the key was used before for other content
    ///
    /// ```no_run
    /// use shop_accounts::client::AccountsClient as _;
    /// use shop_accounts::users::NewUser;
    /// use shop_client::ShopClient;
    ///
    /// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let ada = NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?);
    /// println!("{:?}", client.users().insert(&ada).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Unsupported`](shop_core::ErrorKind::Unsupported) if the service does not provide the role,
    ///   or if the response contains another entity
    /// - The errors of a buy: see [`ShopClient`]
    ///
    /// # Cancel safety
    /// Once the future was polled, the request is sent and retried even if the future is dropped.
    pub async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        self.send_new_entity(new)
            .await
            .map_err(|error| error.with_idempotency_key(E::key(new).clone()))
    }

    /// Sends `new` to the service, and returns the outcome of the insert.
    ///
    /// # Errors
    /// Returns the errors of [`insert`](Self::insert). The error of an unexpected response lacks
    /// the key.
    async fn send_new_entity(&self, new: &E::New) -> Result<Insertion<E>> {
        let mut client = self.client.clone();
        if let Some(context) = E::context(new) {
            client = client.with_context(context.clone());
        }
        let request = client
            .request(Method::POST, E::PATH)
            .name(E::CREATE)
            .json(new)
            .idempotency_key(E::key(new).clone())
            .expect_entity()
            .expect_problems(&[E::REFUSAL, KEY_TAKEN])
            .not_found_hint(E::NOT_FOUND_HINT);
        // Boxed, because the future of a request takes some kilobytes.
        let response = Box::pin(request.send()).await?;
        match response.find_problem_type(&[E::REFUSAL, KEY_TAKEN]) {
            Some(KEY_TAKEN) => return Ok(Insertion::KeyTaken),
            // `E::REFUSAL`
            Some(_refusal) => return Ok(Insertion::Refused),
            None => {}
        }

        // The service adds only the number to what was sent, and numbers begin at 1.
        let entity: E = response.json()?;
        if entity.number() < 1.into() || entity != E::with_number(new, entity.number()) {
            return Err(Self::other_entity_error(&response));
        }
        if response.is_replayed() {
            return Ok(Insertion::AlreadyInserted(entity));
        }
        Ok(Insertion::Inserted(entity))
    }

    /// Returns the user or the order with this number, if there is one.
    ///
    /// # Errors
    /// - [`Unsupported`](shop_core::ErrorKind::Unsupported) if the service does not provide the role,
    ///   or if the response contains another entity
    /// - [`Unavailable`](shop_core::ErrorKind::Unavailable) and other kinds if the query fails
    pub async fn get(&self, number: E::Number) -> Result<Option<E>> {
        let path = format!("{}/{number}", E::PATH);
        let Some(response) = self.query_path(E::NOUN, &path).await? else {
            return Ok(None);
        };

        let entity: E = response.json()?;
        if entity.number() != number {
            return Err(Self::other_entity_error(&response));
        }
        Ok(Some(entity))
    }

    /// Queries `path`, which contains the number of an entity, in a call that is named `name`.
    /// Returns `None` if the service does not know the number.
    ///
    /// # Errors
    /// Returns the errors of [`get`](Self::get).
    async fn query_path(&self, name: &'static str, path: &str) -> Result<Option<RawResponse>> {
        let request = self
            .client
            .request(Method::GET, path)
            .name(name)
            .expect_entity()
            .expect_problems(&[E::UNKNOWN])
            .not_found_hint(E::NOT_FOUND_HINT);
        let response = Box::pin(request.send()).await?;

        // The only other status that is no error is the expected problem, an unknown number.
        let is_known = response.status() == 200;
        Ok(is_known.then_some(response))
    }

    /// Returns the error of a response with an entity that was not requested.
    fn other_entity_error(response: &RawResponse) -> Error {
        response.unreadable_error(&format!("the response contains another {}", E::NOUN))
    }
}

impl Users {
    /// Registers a user with a generated key. Returns the outcome of [`insert`](Self::insert).
    ///
    /// # Errors
    /// - [`Invalid`](shop_core::ErrorKind::Invalid) if the address or the name is not valid
    /// - The errors of [`insert`](Self::insert), with the generated
    ///   [key](shop_core::Error::idempotency_key)
    ///
    /// # Cancel safety
    /// Once the future was polled, the request is sent and retried even if the future is dropped.
    pub async fn register_new(
        &self,
        email: impl TryInto<Email, Error: Into<Invalid>>,
        name: impl TryInto<PersonName, Error: Into<Invalid>>,
    ) -> Result<Insertion<User>> {
        let email = email.try_into().map_err(Into::<Invalid>::into)?;
        let name = name.try_into().map_err(Into::<Invalid>::into)?;
        let new_user = NewUser::new(generate_key(), email, name);
        self.insert(&new_user)
            .await
            .map_err(|error| error.with_generated_key(new_user.key))
    }

    /// Returns the numbers of the orders that the service knows of a user, in ascending order, at
    /// most the first 1,000. Returns `None` if there is no such user.
    ///
    /// # Errors
    /// Returns the errors of [`get`](Self::get).
    pub async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        let path = format!("{}/{id}/orders", User::PATH);
        let Some(response) = self.query_path("orders_of", &path).await? else {
            return Ok(None);
        };

        let body: UserOrdersBody = response.json()?;
        if body.user_id != id {
            return Err(Self::other_entity_error(&response));
        }
        let is_ascending = body.orders.is_sorted_by(|order, next| order < next);
        if body.orders.len() > MAX_LISTED_ORDERS || !is_ascending {
            let message = "the orders in the response are too many or not sorted";
            return Err(response.unreadable_error(message));
        }
        Ok(Some(body.orders))
    }
}

impl Orders {
    /// Places an order with a generated key. Returns the outcome of [`insert`](Self::insert).
    ///
    /// # Errors
    /// - [`Invalid`](shop_core::ErrorKind::Invalid) if the product, the quantity or the price is not
    ///   valid
    /// - The errors of [`insert`](Self::insert), with the generated
    ///   [key](shop_core::Error::idempotency_key)
    ///
    /// # Cancel safety
    /// Once the future was polled, the request is sent and retried even if the future is dropped.
    pub async fn place_new(
        &self,
        user: UserNumber,
        product: impl TryInto<Product, Error: Into<Invalid>>,
        quantity: i32,
        total_price: impl TryInto<TotalPrice, Error: Into<Invalid>>,
    ) -> Result<Insertion<Order>> {
        let product = product.try_into().map_err(Into::<Invalid>::into)?;
        let total_price = total_price.try_into().map_err(Into::<Invalid>::into)?;
        let new_order = NewOrder::new(generate_key(), user, product, quantity, total_price);
        self.insert(&new_order)
            .await
            .map_err(|error| error.with_generated_key(new_order.key))
    }
}

/// Generates a key, which is a UUID like the keys of purchases.
fn generate_key() -> IdempotencyKey {
    SystemClock.fresh_id().into()
}

/// A remote service as a store. An insert is sent even if its future is dropped. The service writes
/// the row and its event together, or neither.
#[async_trait]
impl<E: Resource> EntityStore<E> for Entities<E> {
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        self.insert(new).await
    }

    async fn get(&self, number: E::Number) -> Result<Option<E>> {
        self.get(number).await
    }

    /// Checks whether the service reports that its role works.
    async fn check(&self) -> Result<()> {
        self.client
            // The part of `/health` has the name of the path: `users` or `orders`.
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
