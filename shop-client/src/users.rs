//! Users: registered, and found.

use reqwest::StatusCode;
use shop_core::json::{EMAIL_TAKEN, NewUserBody, UNKNOWN_USER, USER_KEY_TAKEN, UserBody, UserOrdersBody};
use shop_core::users::MOST_ORDERS;

use crate::answer::Answer;
use crate::client::fresh_key;
use crate::exchange::Call;
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
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until a user is"]
pub struct Users {
    client: ShopClient,
}

const ABSENT: &str = "the service at this address does not have the role of users: check both";

impl Users {
    pub(crate) const fn new(client: ShopClient) -> Self {
        Self { client }
    }

    /// Registers a user, with the key that makes it the same user however often it is sent. The user's own
    /// [context](NewUser::with_context) comes before that of the client.
    ///
    /// [`Repeated`](Registration::Repeated) says that the key was used before, perhaps by an attempt of this very call
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
    /// As [`ShopClient::buy`], and [`Unsupported`](crate::ErrorKind::Unsupported) where the service does not have the role
    /// of users.
    ///
    /// # Cancel safety
    /// Once polled, the user is sent, and sent again, whether or not the future is polled again.
    pub async fn register(&self, new: &NewUser) -> Result<Registration> {
        self.send(new).await.map_err(|error| error.with_key(new.key.clone()))
    }

    /// Registers a user with a key that is made here, and that an error [has](crate::Error::idempotency_key).
    ///
    /// # Errors
    /// As [`register`](Self::register).
    ///
    /// # Cancel safety
    /// As [`register`](Self::register).
    pub async fn register_new(&self, email: Email, name: PersonName) -> Result<Registration> {
        let new = NewUser::new(fresh_key(), email, name);
        self.register(&new).await.map_err(crate::Error::of_a_fresh_key)
    }

    /// The user with this number, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like when it cannot be asked for, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the service does not have the role of users.
    pub async fn get(&self, id: UserNumber) -> Result<Option<User>> {
        let Some(answer) = self.ask("user", format!("users/{id}")).await? else { return Ok(None) };
        let user = answer.row::<UserBody, User>()?;
        if user.id == id { Ok(Some(user)) } else { Err(about_another(&answer)) }
    }

    /// The numbers of the orders that this user is known to have placed, the first 1,000 in their order. `None` when
    /// there is no such user.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        let Some(answer) = self.ask("orders_of", format!("users/{id}/orders")).await? else {
            return Ok(None);
        };
        let body: UserOrdersBody = answer.parsed()?;
        if body.user_id != id.get() {
            return Err(about_another(&answer));
        }
        if body.orders.len() > MOST_ORDERS || !body.orders.is_sorted_by(|one, next| one < next) {
            return Err(answer.unreadable("the orders in the answer are too many, or in no order"));
        }
        Ok(Some(body.orders.into_iter().map(OrderNumber::new).collect()))
    }

    async fn send(&self, new: &NewUser) -> Result<Registration> {
        let exchange = &self.client.inner.exchange;
        let mut call = exchange.write("register", "users", &NewUserBody::from(new), new.key.clone())?;
        call.expected = |answer| answer.status == StatusCode::CREATED || refusal(answer).is_some();
        call.absent = ABSENT;
        let answer = self.client.send(call, new.context.as_deref()).await?;
        if let Some(refusal) = refusal(&answer) {
            return Ok(refusal);
        }
        let user = answer.row::<UserBody, User>()?;
        if user.id < UserNumber::FIRST || user != new.numbered(user.id) {
            return Err(about_another(&answer));
        }
        Ok(if answer.is_replayed() { Registration::Repeated(user) } else { Registration::Registered(user) })
    }

    /// The answer to a question about a user, unless there is no such user.
    async fn ask(&self, name: &'static str, path: String) -> Result<Option<Answer>> {
        let exchange = &self.client.inner.exchange;
        let mut call = Call::question(name, exchange.url(&path, &[]), exchange.timeouts.get);
        call.expected =
            |answer| answer.status == StatusCode::OK || answer.says(StatusCode::NOT_FOUND, UNKNOWN_USER);
        call.absent = ABSENT;
        let answer = self.client.ask(&call).await?;
        Ok(Some(answer).filter(|answer| answer.status == StatusCode::OK))
    }
}

/// What the service refuses for a reason that is no fault of the request.
fn refusal(answer: &Answer) -> Option<Registration> {
    if answer.says(StatusCode::BAD_REQUEST, EMAIL_TAKEN) {
        Some(Registration::EmailTaken)
    } else if answer.says(StatusCode::CONFLICT, USER_KEY_TAKEN) {
        Some(Registration::KeyTaken)
    } else {
        None
    }
}

fn about_another(answer: &Answer) -> crate::Error {
    answer.unreadable("the answer is about another user")
}
