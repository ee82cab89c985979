//! Users: registered, and found.

use shop_core::api::{NewUserBody, UserOrdersBody};
use shop_core::users::MAX_LISTED_ORDERS;

use crate::client::generate_key;
use crate::resource::Resource;
use crate::{Email, NewUser, OrderNumber, PersonName, Registration, Result, ShopClient, User, UserNumber};

/// The users of a service: to be registered, and to be found by their number.
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
    /// The users that the service has registered, where it has the role of users. They are known by numbers, and are not
    /// those who [buy](Self::user).
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
    /// Registers a user, with the key that makes it the same user however often it is sent. The user's own
    /// [context](NewUser::with_context) comes before that of the client.
    ///
    /// [`AlreadyRegistered`](Registration::AlreadyRegistered) says that the key was used before, perhaps by an attempt of this very call
    /// whose answer was lost.
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
    /// As [`ShopClient::buy`](crate::ShopClient::buy), and [`Unsupported`](crate::ErrorKind::Unsupported) where the service does not have the role
    /// of users.
    ///
    /// # Cancel safety
    /// Once polled, the user is sent, and sent again, whether or not the future is polled again.
    pub async fn register(&self, new: &NewUser) -> Result<Registration> {
        let body = NewUserBody::from(new);
        self.create("register", &body, new, new.context.as_deref()).await.map(Registration::from)
    }

    /// Registers a user with a key that is made here, and that an error [has](crate::Error::idempotency_key).
    ///
    /// # Errors
    /// As [`register`](Self::register).
    ///
    /// # Cancel safety
    /// As [`register`](Self::register).
    pub async fn register_new(&self, email: Email, name: PersonName) -> Result<Registration> {
        let new = NewUser::new(generate_key(), email, name);
        self.register(&new).await.map_err(crate::Error::with_fresh_key)
    }

    /// The numbers of the orders that this user is known to have placed, the first 1,000 in their order. `None` when
    /// there is no such user.
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
            return Err(answer.unreadable("the orders in the answer are too many, or in no order"));
        }
        Ok(Some(body.orders.into_iter().map(OrderNumber::new).collect()))
    }
}
