//! Users and orders on the pages of both services.

use serde_json::json;

use super::NASTY;
use super::driver::Browser;
use crate::process::{ALL_ROLES, Binary, Process, until};

/// An order may arrive before the event of its user.
const WAIT: (&str, &str) = ("SHOP_ORDER_USER_WAIT", "4s");
const FOCUS: &str = "return document.activeElement.id";

#[tokio::test]
async fn user_and_order_are_created_and_shown() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (_folder, management) = Process::fresh(Binary::Management, &[ALL_ROLES, WAIT]).await;
    browser.open(&management.path("/#entities")).await;
    until("show the form", async || {
        browser.texts("#register").await.len() == 1
    })
    .await;

    browser
        .fill(&[("new-email", "ada@example.com"), ("new-name", NASTY)])
        .await;
    // Repeated clicks register one user.
    browser.double_click("register-button").await;
    browser
        .shows("register-answer", "Registered as user 1.")
        .await;
    browser.shows("user-user-id", "1").await;
    browser.shows("user-e-mail", "ada@example.com").await;
    browser.shows("user-name", NASTY).await;
    browser.shows("user-orders", "").await;

    browser
        .fill(&[
            ("new-user", "1"),
            ("new-product", NASTY),
            ("new-quantity", "2"),
            ("new-total", "12345678.90"),
        ])
        .await;
    browser.click("place-button").await;
    browser.shows("place-answer", "Recorded as order 1.").await;
    browser.shows("order-product", NASTY).await;
    browser.shows("order-quantity", "2").await;
    browser.shows("order-total-price", "12,345,678.90").await;
    // The page follows the events that the users' role consumes.
    browser.shows("user-orders", "1").await;
    assert_eq!(
        browser
            .run("return document.querySelectorAll('main img').length")
            .await,
        json!(0)
    );
    assert_eq!(
        browser.run("return document.title").await,
        json!("Users and orders · Purchases: management")
    );

    // Users and orders link to each other by stable URLs.
    for (address, link, shown) in [
        ("order=1", "#order-user-id a", "user-name"),
        ("user=1", "#user-orders a", "order-product"),
    ] {
        browser
            .open(&management.path(&format!("/?{shown}#entities?{address}")))
            .await;
        until("show a link", async || browser.texts(link).await == ["1"]).await;
        browser
            .run(&format!("document.querySelector({link:?}).click()"))
            .await;
        browser.shows(shown, NASTY).await;
        browser.driver.refresh().await.unwrap();
        browser.shows(shown, NASTY).await;
        browser.driver.back().await.unwrap();
        until("go back", async || {
            browser.texts(&format!("#{shown}")).await.is_empty()
        })
        .await;
    }
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn form_shows_the_errors_of_the_service_for_users_and_orders() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (_folder, management) = Process::fresh(Binary::Management, &[ALL_ROLES]).await;
    browser.open(&management.path("/#entities")).await;
    until("show the form", async || {
        browser.texts("#register").await.len() == 1
    })
    .await;
    browser
        .fill(&[("new-email", "ada@example.com"), ("new-name", "Ada")])
        .await;
    browser.click("register-button").await;
    browser
        .shows("register-answer", "Registered as user 1.")
        .await;

    browser
        .fill(&[("new-email", "ada@EXAMPLE.com"), ("new-name", "Eva")])
        .await;
    browser.click("register-button").await;
    browser
        .shows("register-problem", "Email already registered.")
        .await;
    browser.shows("register-answer", "").await;
    browser.fill(&[("new-email", "ada")]).await;
    browser.click("register-button").await;
    let why = "email is not valid: An email address must have an @-sign.";
    browser.shows("new-email-problem", why).await;
    assert_eq!(browser.run(FOCUS).await, json!("new-email"));

    // Each invalid member has an error, and the first one has the focus.
    let order = [
        ("new-user", "x"),
        ("new-product", "Notebook"),
        ("new-quantity", "2.5"),
        ("new-total", "5,00"),
    ];
    browser.fill(&order).await;
    browser.click("place-button").await;
    browser
        .shows("new-user-problem", "Enter a whole number, such as 1.")
        .await;
    browser
        .shows("new-quantity-problem", "Enter a whole number, such as 1.")
        .await;
    browser.shows("new-total-problem", "").await;
    assert_eq!(browser.run(FOCUS).await, json!("new-user"));
    browser
        .fill(&[("new-user", "1"), ("new-quantity", "2"), ("new-total", "x")])
        .await;
    browser.click("place-button").await;
    browser
        .shows(
            "new-total-problem",
            "Enter the amount as a number, such as 29.99.",
        )
        .await;
    browser
        .fill(&[
            ("new-user", "7"),
            ("new-quantity", "2"),
            ("new-total", "50"),
        ])
        .await;
    browser.click("place-button").await;
    browser.shows("place-problem", "User not found.").await;
    browser.shows("new-quantity-problem", "").await;

    for (noun, number, problem) in [
        ("user", "2", "The user 2 cannot be loaded: User not found."),
        (
            "order",
            "9223372036854775807",
            "The order 9223372036854775807 cannot be loaded: Order not found.",
        ),
        // An id cannot be another path.
        ("user", "..", "Enter a number, such as 1."),
    ] {
        browser
            .fill(&[(&format!("which-{noun}"), &format!("{number}\n"))])
            .await;
        browser.shows(&format!("{noun}-facts"), problem).await;
    }
    assert!(
        browser.texts("#user").await.is_empty(),
        "the previous user is no longer shown"
    );
    browser.end().await;
}
