//! Orders: placed, and found.

use shop_core::api::NewOrderBody;
use shop_core::api::problem::UNKNOWN_USER;

use crate::client::generate_key;
use crate::resource::{Created, Resource};
use crate::{NewOrder, Order, OrderNumber, Placement, Product, Result, TotalPrice, UserNumber};

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
pub type Orders = Resource<Order>;

impl Resource<Order> {
    /// Places an order, with the key that makes it the same order however often it is sent. The order's own
    /// [context](NewOrder::with_context) comes before that of the client.
    ///
    /// [`UnknownUser`](Placement::UnknownUser) says that the orders have not heard of the user: who was registered just
    /// now is known a moment later. [`AlreadyPlaced`](Placement::AlreadyPlaced) says that the key was used before, perhaps by an
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
    /// As [`ShopClient::buy`](crate::ShopClient::buy), and [`Unsupported`](crate::ErrorKind::Unsupported) where the service does not have the role
    /// of orders.
    ///
    /// # Cancel safety
    /// Once polled, the order is sent, and sent again, whether or not the future is polled again.
    pub async fn place(&self, new: &NewOrder) -> Result<Placement> {
        let is_it = |order: &Order| order.id >= OrderNumber::FIRST && *order == new.numbered(order.id);
        let created = async {
            let call = self.creation("place", &NewOrderBody::from(new), &new.key)?;
            self.create(call, new.context.as_deref(), is_it).await
        };
        let created = created.await.map_err(|error| error.with_key(new.key.clone()))?;
        Ok(match created {
            Created::New(order) => Placement::Placed(order),
            Created::Repeated(order) => Placement::AlreadyPlaced(order),
            Created::Refused(UNKNOWN_USER) => Placement::UnknownUser,
            Created::Refused(_) => Placement::KeyTaken,
        })
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
        let new = NewOrder::new(generate_key(), user, product, quantity, total_price);
        self.place(&new).await.map_err(crate::Error::of_a_fresh_key)
    }
}
