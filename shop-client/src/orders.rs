//! Orders: placed, and found.

use reqwest::StatusCode;
use shop_core::json::{NewOrderBody, ORDER_KEY_TAKEN, OrderBody, UNKNOWN_ORDER, UNKNOWN_USER};

use crate::answer::Answer;
use crate::client::fresh_key;
use crate::exchange::Call;
use crate::{NewOrder, Order, OrderNumber, Placement, Product, Result, ShopClient, TotalPrice, UserNumber};

/// The orders of a service: to be placed, and to be found by their number.
///
/// ```no_run
/// use shop_client::{Placement, ShopClient, UserNumber};
///
/// # async fn example(client: ShopClient, user: UserNumber) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = client.orders();
/// match orders.place_new(user, "Notebook".parse()?, 2, "50.00".parse()?).await? {
///     Placement::Placed(order) => println!("order {}", order.id),
///     Placement::UnknownUser => println!("nobody has told of this user yet: try again later"),
///     other => println!("not placed: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until an order is"]
pub struct Orders {
    client: ShopClient,
}

const ABSENT: &str = "the service at this address does not have the role of orders: check both";

impl Orders {
    pub(crate) const fn new(client: ShopClient) -> Self {
        Self { client }
    }

    /// Places an order, with the key that makes it the same order however often it is sent. The order's own
    /// [context](NewOrder::with_context) comes before that of the client.
    ///
    /// [`UnknownUser`](Placement::UnknownUser) says that the orders have not heard of the user: who was registered just
    /// now is known a moment later. [`Repeated`](Placement::Repeated) says that the key was used before, perhaps by an
    /// attempt of this very call whose answer was lost.
    ///
    /// ```no_run
    /// use shop_client::{NewOrder, ShopClient, UserNumber};
    ///
    /// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let (user, key) = (UserNumber::new(1), "basket-7".parse()?);
    /// let order = NewOrder::new(key, user, "Notebook".parse()?, 2, "50.00".parse()?);
    /// println!("{:?}", client.orders().place(&order).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ShopClient::buy`], and [`Unsupported`](crate::ErrorKind::Unsupported) where the service does not have the role
    /// of orders.
    ///
    /// # Cancel safety
    /// Once polled, the order is sent, and sent again, whether or not the future is polled again.
    pub async fn place(&self, new: &NewOrder) -> Result<Placement> {
        self.send(new).await.map_err(|error| error.with_key(new.key.clone()))
    }

    /// Places an order with a key that is made here, and that an error [has](crate::Error::idempotency_key).
    ///
    /// # Errors
    /// As [`place`](Self::place).
    ///
    /// # Cancel safety
    /// As [`place`](Self::place).
    pub async fn place_new(
        &self,
        user: UserNumber,
        product: Product,
        quantity: i32,
        total_price: TotalPrice,
    ) -> Result<Placement> {
        let new = NewOrder::new(fresh_key(), user, product, quantity, total_price);
        self.place(&new).await.map_err(crate::Error::of_a_fresh_key)
    }

    /// The order with this number, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like when it cannot be asked for, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the service does not have the role of orders.
    pub async fn get(&self, id: OrderNumber) -> Result<Option<Order>> {
        let exchange = &self.client.inner.exchange;
        let url = exchange.url(&format!("orders/{id}"), &[]);
        let mut call = Call::question("order", url, exchange.timeouts.get);
        call.expected =
            |answer| answer.status == StatusCode::OK || answer.says(StatusCode::NOT_FOUND, UNKNOWN_ORDER);
        call.absent = ABSENT;
        let answer = self.client.ask(&call).await?;
        if answer.status != StatusCode::OK {
            return Ok(None);
        }
        let order = answer.row::<OrderBody, Order>()?;
        if order.id == id { Ok(Some(order)) } else { Err(about_another(&answer)) }
    }

    async fn send(&self, new: &NewOrder) -> Result<Placement> {
        let exchange = &self.client.inner.exchange;
        let mut call = exchange.write("place", "orders", &NewOrderBody::from(new), new.key.clone())?;
        call.expected = |answer| answer.status == StatusCode::CREATED || refusal(answer).is_some();
        call.absent = ABSENT;
        let answer = self.client.send(call, new.context.as_deref()).await?;
        if let Some(refusal) = refusal(&answer) {
            return Ok(refusal);
        }
        let order = answer.row::<OrderBody, Order>()?;
        if order.id < OrderNumber::FIRST || order != new.numbered(order.id) {
            return Err(about_another(&answer));
        }
        Ok(if answer.is_replayed() { Placement::Repeated(order) } else { Placement::Placed(order) })
    }
}

/// What the service refuses for a reason that is no fault of the request.
fn refusal(answer: &Answer) -> Option<Placement> {
    if answer.says(StatusCode::NOT_FOUND, UNKNOWN_USER) {
        Some(Placement::UnknownUser)
    } else if answer.says(StatusCode::CONFLICT, ORDER_KEY_TAKEN) {
        Some(Placement::KeyTaken)
    } else {
        None
    }
}

fn about_another(answer: &Answer) -> crate::Error {
    answer.unreadable("the answer is about another order")
}
