//! Each violation is found in a history of users and orders into which it was planted.

use shop_accounts::entity::Entity as _;
use shop_accounts::orders::{NewOrder, Order, OrderNumber};
use shop_accounts::users::{NewUser, User, UserNumber};

use super::{Call, History, Outcome};

fn user(number: i64) -> NewUser {
    let email = format!("user-{number}@example.com").parse().unwrap();
    NewUser::new(
        format!("user-{number}").parse().unwrap(),
        email,
        "Ada".parse().unwrap(),
    )
}

fn order(number: i64) -> NewOrder {
    let key = format!("order-{number}").parse().unwrap();
    let product = "Notebook".parse().unwrap();
    NewOrder::new(key, UserNumber::new(1), product, 2, "50".parse().unwrap())
}

/// A history of sequential calls.
#[derive(Default)]
struct Script(History);

impl Script {
    fn call(self, call: Call, outcome: Outcome) -> Self {
        let call = self.0.begin(call);
        self.0.end(call, outcome);
        self
    }

    fn register(self, number: i64, id: i64) -> Self {
        let new = user(number);
        let user = User::with_number(&new, UserNumber::new(id));
        self.call(Call::Register(new), Outcome::Registered(user))
    }

    fn place(self, number: i64, id: i64) -> Self {
        let new = order(number);
        let order = Order::with_number(&new, OrderNumber::new(id));
        self.call(Call::Place(new), Outcome::Placed(order))
    }

    fn orders(self, numbers: &[i64]) -> Self {
        let found = numbers.iter().copied().map(OrderNumber::new).collect();
        self.call(
            Call::OrdersOf(UserNumber::new(1)),
            Outcome::OrdersFound(found),
        )
    }

    fn find(self, id: i64, found: Option<i64>) -> Self {
        let id = UserNumber::new(id);
        self.call(
            Call::FindUser(id),
            Outcome::FoundUser(found.map(|number| User::with_number(&user(number), id))),
        )
    }
}

/// A user, and two orders of it.
fn two() -> Script {
    let unknown = Script::default()
        .call(Call::Place(order(1)), Outcome::UnknownUser)
        .register(1, 1);
    unknown.place(1, 1).place(2, 2)
}

#[test]
fn correct_histories_pass() {
    let again = two()
        .register(1, 1)
        .place(1, 1)
        .orders(&[])
        .orders(&[1])
        .orders(&[1, 2])
        .find(1, Some(1));
    // A number whose response was lost may be in use.
    let unknown = again
        .call(Call::Register(user(2)), Outcome::Unknown)
        .register(3, 3)
        .find(2, Some(2));
    assert_eq!(
        unknown.find(4, None).0.judge().violations,
        Vec::<String>::new()
    );
}

#[test]
fn violations_are_found() {
    let other = User::with_number(&user(2), UserNumber::new(2));
    let number = OrderNumber::new(1);
    let order_of_other = vec![OrderNumber::new(1)];
    for (script, what) in [
        (two().register(2, 1), "user-2 has the number of"),
        (two().register(2, 3), "user 3 of 2"),
        (
            Script::default().place(1, 2).place(2, 1),
            "order 1 was requested after",
        ),
        (two().place(1, 3), "was acknowledged again as"),
        (
            two().call(Call::Register(user(3)), Outcome::Registered(other)),
            "has become",
        ),
        (two().find(1, None), "user 1 was not found"),
        (two().find(1, Some(2)), "user 1 was found as"),
        (two().find(2, Some(2)), "but not requested"),
        (
            two().call(Call::FindOrder(number), Outcome::FoundOrder(None)),
            "order 1 was not found",
        ),
        (
            two().call(
                Call::Place(order(3)),
                Outcome::Unexpected("KeyTaken".to_owned()),
            ),
            "KeyTaken",
        ),
        (
            two().call(Call::Place(order(3)), Outcome::UnknownUser),
            "has ordered, but was not known",
        ),
        (Script::default().place(1, 1), "was not registered"),
        (
            two().orders(&[1, 2]).orders(&[2]),
            "order 1 of user 1 was not listed again",
        ),
        (
            two().call(
                Call::OrdersOf(UserNumber::new(2)),
                Outcome::OrdersFound(order_of_other),
            ),
            "for user 2",
        ),
    ] {
        let violations = script.0.judge().violations;
        assert!(
            violations.iter().any(|violation| violation.contains(what)),
            "{what}: {violations:?}"
        );
    }
}
