//! Registering and finding users.

use shop_core::api::{NewUserBody, UserOrdersBody};
use shop_core::users::MAX_LISTED_ORDERS;

use crate::client::generate_key;
use crate::resource::Resource;
use crate::{Email, NewUser, OrderNumber, PersonName, Registration, Result, ShopClient, User, UserNumber};

/// The users of a service: registers them, and finds them by their number.
///
/// ```no_run
/// use shop_client::{Registration, ShopClient};
///
/// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
/// let users = client.users();
/// match users.register_new("ada@example.com".parse()?, "Ada".parse()?).await? {
///     Registration::Registered(user) => println!("{:?}", users.orders_of(user.id).await?),
///     other => println!("not registered: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
pub type Users = Resource<User>;

impl ShopClient {
    /// The users of the service, if it has the role of users. They are identified by numbers, and are unrelated to the
    /// user ids of [purchases](Self::user).
    ///
    /// ```no_run
    /// use shop_client::{Registration, ShopClient};
    ///
    /// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let (email, name) = ("ada@example.com".parse()?, "Ada".parse()?);
    /// if let Registration::Registered(user) = client.users().register_new(email, name).await? {
    ///     println!("user {}", user.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn users(&self) -> Users {
        Users::new(self.clone())
    }
}

impl Resource<User> {
    /// Registers a user. Its key makes it the same user, however often it is sent. The user's own
    /// [context](NewUser::with_context) takes precedence over that of the client.
    ///
    /// Returns [`AlreadyRegistered`](Registration::AlreadyRegistered) when the key was used before, possibly by an
    /// earlier attempt of this call whose response was lost.
    ///
    /// ```no_run
    /// use shop_client::{NewUser, ShopClient};
    ///
    /// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let ada = NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?);
    /// println!("{:?}", client.users().register(&ada).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ShopClient::buy`](crate::ShopClient::buy), and [`Unsupported`](crate::ErrorKind::Unsupported) where the
    /// service does not have the role of users.
    ///
    /// # Cancel safety
    /// Once polled, the user is sent and retried even if the future is dropped.
    pub async fn register(&self, new: &NewUser) -> Result<Registration> {
        let body = NewUserBody::from(new);
        self.create("register", &body, new, new.context.as_deref()).await.map(Registration::from)
    }

    /// Registers a user with a key that is generated here. An error [contains](crate::Error::idempotency_key) it.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    ///
    /// # Cancel safety
    /// As [`register`](Self::register).
    pub async fn register_new(&self, email: Email, name: PersonName) -> Result<Registration> {
        let new = NewUser::new(generate_key(), email, name);
        self.register(&new).await.map_err(|error| error.with_generated_key(new.key))
    }

    /// The numbers of the orders that this user is known to have placed, the first 1,000 in ascending order. `None`
    /// when there is no such user.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        let Some(answer) = self.find("orders_of", &format!("/{id}/orders")).await? else { return Ok(None) };
        let body: UserOrdersBody = answer.parsed()?;
        if body.user_id != id.get() {
            return Err(Self::another(&answer));
        }
        if body.orders.len() > MAX_LISTED_ORDERS || !body.orders.is_sorted_by(|one, next| one < next) {
            return Err(answer.unreadable("the orders in the response are too many or not sorted"));
        }
        Ok(Some(body.orders.into_iter().map(OrderNumber::new).collect()))
    }
}
