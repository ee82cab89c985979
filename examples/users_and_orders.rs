//! Users and orders in two services: registers a user, places an order, repeats both.
//!
//! ```text
//! cargo run --example users_and_orders
//!
//! user 1 is ada@example.com
//! once more with the same key: AlreadyInserted(1), with another: Refused
//! order 1: 2 × Notebook for 50.00
//! order of an unknown user: Refused
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use shop_accounts::client::AccountsClient as _;
use shop_accounts::entity::Insertion;
use shop_accounts::users::{NewUser, UserNumber};
use shop_client::ShopClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In your program these are the addresses of a management with these roles, or twice the address of facing.
    let (users, orders) = examples::users_and_orders().await?;
    let (users, orders) = (
        ShopClient::builder(users).build()?,
        ShopClient::builder(orders).build()?,
    );
    let (users, orders) = (users.users(), orders.orders());

    // With your own key a registration can be repeated safely.
    let ada = NewUser::new(
        "sign-up-7".parse()?,
        "ada@example.com".parse()?,
        "Ada".parse()?,
    );
    let Insertion::Inserted(user) = users.insert(&ada).await? else {
        return Err("the address is taken".into());
    };
    println!("user {} is {}", user.id, user.email);
    let again = match users.insert(&ada).await? {
        Insertion::AlreadyInserted(first) => format!("AlreadyInserted({})", first.id),
        other => format!("{other:?}"),
    };
    let other = users.register_new(ada.email, "Another Ada").await?;
    println!("once more with the same key: {again}, with another: {other:?}");

    // The service of orders has received the user's event, or waits for it.
    match orders.place_new(user.id, "Notebook", 2, "50.00").await? {
        Insertion::Inserted(order) => {
            println!(
                "order {}: {} × {} for {}",
                order.id, order.quantity, order.product, order.total_price
            );
        }
        other => println!("{other:?}"),
    }
    let unknown = UserNumber::new(99);
    println!(
        "order of an unknown user: {:?}",
        orders.place_new(unknown, "Pencil", 1, "0.50").await?
    );
    Ok(())
}
