//! Users and orders on the page of management.

use super::NASTY;
use super::driver::Browser;
use crate::prelude::*;

#[tokio::test]
async fn users_and_orders_are_created_and_shown() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    // An order may arrive before the event of its user.
    let wait = ("SHOP_ORDER_USER_WAIT", "4s");
    let (_folder, management) = Process::fresh(Binary::Management, &[ALL_ROLES, wait]).await;
    browser.open(&management.path("/#entities")).await;
    browser.counts("#register", 1).await;

    // Repeated clicks register one user.
    browser
        .fill(&[("new-email", "ada@example.com"), ("new-name", NASTY)])
        .await;
    browser.double_click("register-button").await;
    browser
        .shows("register-answer", "Registered as user 1.")
        .await;
    browser.shows("user-e-mail", "ada@example.com").await;
    browser.shows("user-name", NASTY).await;

    // Each invalid field has an error, and the first one has the focus.
    let order = [
        ("new-user", "x"),
        ("new-product", NASTY),
        ("new-quantity", "2.5"),
        ("new-total", "12345678.90"),
    ];
    browser.fill(&order).await;
    browser.click("place-button").await;
    let whole = "Enter a whole number, such as 1.";
    browser.shows("new-user-problem", whole).await;
    browser.shows("new-quantity-problem", whole).await;
    browser.shows("new-total-problem", "").await;
    browser.focuses("new-user").await;
    browser
        .fill(&[("new-user", "1"), ("new-quantity", "2")])
        .await;
    browser.click("place-button").await;
    browser.shows("place-answer", "Recorded as order 1.").await;
    browser.shows("order-total-price", "12,345,678.90").await;
    // The page follows the events that the users' role consumes.
    browser.shows("user-orders", "1").await;
    browser.counts("main img", 0).await;

    // Users and orders link to each other by stable URLs.
    for (address, link, shown) in [
        ("order=1", "#order-user-id a", "user-name"),
        ("user=1", "#user-orders a", "order-product"),
    ] {
        let url = format!("/?{shown}#entities?{address}");
        browser.open(&management.path(&url)).await;
        browser.has(link, &["1"]).await;
        browser
            .run(&format!("document.querySelector({link:?}).click()"))
            .await;
        browser.shows(shown, NASTY).await;
        browser.reload().await;
        browser.shows(shown, NASTY).await;
        browser.go_back().await;
        browser.counts(&format!("#{shown}"), 0).await;
    }
    browser.was_quiet(&management.url).await;

    browser.go("#entities").await;
    browser.counts("#register", 1).await;
    // What the service refuses, as a whole and at a field.
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
    browser.says("#new-email-problem", "@-sign").await;
    browser.focuses("new-email").await;
    // An id cannot be another path.
    for (number, problem) in [
        ("2", "The user 2 cannot be loaded: User not found."),
        ("..", "Enter a number, such as 1."),
    ] {
        browser
            .fill(&[("which-user", &format!("{number}\n"))])
            .await;
        browser.shows("user-facts", problem).await;
    }
    browser.end().await;
}
