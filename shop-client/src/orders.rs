//! Placing and finding orders.

use shop_core::api::NewOrderBody;

use crate::client::generate_key;
use crate::resource::Resource;
use crate::{NewOrder, Order, Placement, Product, Result, ShopClient, TotalPrice, UserNumber};

/// The orders of a service: places them, and finds them by their number.
///
/// ```no_run
/// use shop_client::{Placement, ShopClient, UserNumber};
///
/// # async fn example(client: ShopClient, user: UserNumber) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = client.orders();
/// match orders.place_new(user, "Notebook".parse()?, 2, "50.00".parse()?).await? {
///     Placement::Placed(order) => println!("order {}", order.id),
///     Placement::UnknownUser => println!("unknown user: try again later"),
///     other => println!("not placed: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
pub type Orders = Resource<Order>;

impl ShopClient {
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
        Orders::new(self.clone())
    }
}

impl Resource<Order> {
    /// Places an order. Its key makes it the same order, however often it is sent. The order's own
    /// [context](NewOrder::with_context) takes precedence over that of the client.
    ///
    /// Returns [`UnknownUser`](Placement::UnknownUser) when the service does not know the user; a user becomes known
    /// shortly after the registration. Returns [`AlreadyPlaced`](Placement::AlreadyPlaced) when the key was used
    /// before, possibly by an earlier attempt of this call whose response was lost.
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
    /// As [`ShopClient::buy`](crate::ShopClient::buy), and [`Unsupported`](crate::ErrorKind::Unsupported) where the
    /// service does not have the role of orders.
    ///
    /// # Cancel safety
    /// Once polled, the order is sent and retried even if the future is dropped.
    pub async fn place(&self, new: &NewOrder) -> Result<Placement> {
        let body = NewOrderBody::from(new);
        self.create("place", &body, new, new.context.as_deref()).await.map(Placement::from)
    }

    /// Places an order with a key that is generated here. An error [contains](crate::Error::idempotency_key) it.
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
        let new = NewOrder::new(generate_key(), user, product, quantity, total_price);
        self.place(&new).await.map_err(|error| error.with_generated_key(new.key))
    }
}
