//! Users and orders on the pages of both services.

use serde_json::json;

use super::NASTY;
use super::driver::Browser;
use crate::process::{Binary, Process, get, until};

/// An order may come before the event that tells of its user.
const WAIT: (&str, &str) = ("ORDER_USER_WAIT_MS", "4000");
const FOCUS: &str = "return document.activeElement.id";

#[tokio::test]
async fn user_and_order_are_created_and_shown() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[WAIT]).await;
    browser.open(&facing.path("/")).await;
    until("show the form", async || browser.texts("#register").await.len() == 1).await;

    browser.fill(&[("new-email", "ada@example.com"), ("new-name", NASTY)]).await;
    // One user, however often it is clicked.
    let button = browser.by_id("register-button").await;
    browser.driver.action_chain().double_click_element(&button).perform().await.unwrap();
    browser.shows("register-answer", "Registered as user 1.").await;
    browser.shows("user-id", "1").await;
    browser.shows("user-email", "ada@example.com").await;
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
    browser.shows("order-total", "12 345 678.90").await;
    // The page catches up with what the user's service hears of.
    browser.shows("user-orders", "1").await;
    assert_eq!(browser.run("return document.querySelectorAll('.accounts img').length").await, json!(0));
    assert_eq!(browser.run("return document.title").await, json!("Purchases"));

    // Each leads to the other.
    browser.open(&facing.path("/?anew")).await;
    until("show the form", async || browser.texts("#find-order").await.len() == 1).await;
    browser.fill(&[("which-order", "1\n")]).await;
    browser.shows("order-id", "1").await;
    for (link, shown) in [("#order-user button", "users"), ("#user-orders button", "orders")] {
        until("show a link", async || browser.texts(link).await == ["1"]).await;
        browser.run(&format!("document.querySelector({link:?}).click()")).await;
        assert_eq!(browser.run(FOCUS).await, json!(shown));
    }
    browser.shows("user-name", NASTY).await;
    browser.shows("order-product", NASTY).await;
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn form_shows_the_errors_of_the_service_for_users_and_orders() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    browser.open(&facing.path("/")).await;
    until("show the form", async || browser.texts("#register").await.len() == 1).await;
    browser.fill(&[("new-email", "ada@example.com"), ("new-name", "Ada")]).await;
    browser.click("register-button").await;
    browser.shows("register-answer", "Registered as user 1.").await;

    browser.fill(&[("new-email", "ada@EXAMPLE.com"), ("new-name", "Eva")]).await;
    browser.click("register-button").await;
    browser.shows("register-problem", "Email already registered.").await;
    browser.shows("register-answer", "").await;
    browser.fill(&[("new-email", "ada")]).await;
    browser.click("register-button").await;
    let why = "value is not a valid email address: An email address must have an @-sign.";
    browser.shows("new-email-problem", why).await;
    assert_eq!(browser.run(FOCUS).await, json!("new-email"));

    // Each member that is wrong, and the first of them has the focus.
    let order = [("new-user", "1"), ("new-product", "Notebook"), ("new-quantity", "2.5"), ("new-total", "x")];
    browser.fill(&order).await;
    browser.click("place-button").await;
    until("show the quantity", async || browser.text("new-quantity-problem").await.contains("integer")).await;
    until("show the price", async || browser.text("new-total-problem").await.contains("decimal")).await;
    assert_eq!(browser.run(FOCUS).await, json!("new-quantity"));
    browser.fill(&[("new-user", "7"), ("new-quantity", "2"), ("new-total", "50")]).await;
    browser.click("place-button").await;
    browser.shows("place-problem", "User not found.").await;
    browser.shows("new-quantity-problem", "").await;

    for (input, number, problem) in [
        ("which-user", "2", "User not found."),
        ("which-order", "99999999999999999999", "Order not found."),
        // Nor can it be another path.
        ("which-user", "..", "Enter the user ID, such as 1."),
    ] {
        browser.fill(&[(input, &format!("{number}\n"))]).await;
        browser.shows(&format!("{input}-problem"), problem).await;
        assert!(browser.by_id(input).await.attr("aria-invalid").await.unwrap().is_some(), "{input}");
    }
    assert!(
        !browser.by_id("user").await.is_displayed().await.unwrap(),
        "who was shown is not who is asked for"
    );
    browser.end().await;
}

#[tokio::test]
async fn user_with_unknown_outcome_is_retried_without_a_duplicate() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    browser.open(&facing.path("/")).await;
    until("show the form", async || browser.texts("#register").await.len() == 1).await;
    browser.lose_answers().await;
    browser.fill(&[("new-email", "ada@example.com"), ("new-name", "Ada")]).await;
    browser.click("register-button").await;
    let in_doubt =
        async || browser.texts("#register-problem").await.concat().contains("Press Register again");
    until("show the doubt", in_doubt).await;

    browser.driver.refresh().await.unwrap();
    until("show the doubt", in_doubt).await;
    browser.click("register-button").await;
    // Without the key, the address would be taken.
    browser.shows("register-answer", "Registered as user 1.").await;
    assert_eq!(get(&facing.path("/users/2")).await.0, 404);
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn page_shows_only_the_roles_of_the_service() {
    let Some(browser) = Browser::start().await else { return };
    for (roles, shown) in [
        ("purchases", vec![]),
        ("purchases,users", vec!["Users"]),
        ("purchases,users,orders", vec!["Users", "Orders"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let management = Process::start(Binary::Management, folder.path(), &[("SHOP_ROLES", roles)]).await;
        browser.open(&management.path("/")).await;
        if shown.is_empty() {
            // What the page does when it is loaded, once more: that it shows nothing has no end that could be seen.
            let decide = r#"return import("/page/accounts.js").then(({ setUpAccounts }) => setUpAccounts())"#;
            browser.run(decide).await;
            assert!(browser.texts(".accounts").await.is_empty());
        }
        until("show what there is", async || browser.texts(".accounts h2").await == shown).await;
    }
    browser.end().await;
}
