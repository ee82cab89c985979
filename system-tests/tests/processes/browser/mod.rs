//! The pages of both services in a browser, on the embedded default: each thing that a page does, once. The numbers and
//! texts are those of `shop-http/tests/page`.

use driver::Browser;

use crate::prelude::*;

mod access;
mod accounts;
mod buying;
mod console;
mod dead_letters;
mod driver;
mod importing;
mod keyboard;
mod layout;
mod listing;

/// A name that would run as a script if a page inserted it as HTML.
const NASTY: &str = r"<img src=x onerror='document.title=`run`'>";

/// A browser, and a facing on a new folder.
async fn with_facing() -> Option<(Browser, TempDir, Process)> {
    let browser = Browser::start().await?;
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    Some((browser, folder, facing))
}

/// A browser, and both services on a new folder, of which management has these settings.
async fn with_both(settings: &[(&str, &str)]) -> Option<(Browser, TempDir, Process, Process)> {
    let browser = Browser::start().await?;
    let (folder, management) = Process::fresh(Binary::Management, settings).await;
    let to_management = [("MANAGEMENT_URL", &*management.url)];
    let facing = Process::start(Binary::Facing, folder.path(), &to_management).await;
    Some((browser, folder, management, facing))
}

/// Enters the customer on the page of facing.
async fn identify(browser: &Browser, userid: &str, username: &str) {
    browser.counts("#identify", 1).await;
    browser
        .fill(&[("userid", userid), ("username", username)])
        .await;
    browser.click("identify-button").await;
    browser.shows("me", username).await;
}

/// Opens the page of facing as a customer of this user ID and name.
async fn open_as(browser: &Browser, facing: &Process, userid: &str, username: &str) {
    browser.open(&facing.path("/")).await;
    identify(browser, userid, username).await;
}

/// Enters a price and buys, without the time in which that can be undone.
async fn buy_for(browser: &Browser, price: &str) {
    browser.fill(&[("price", price)]).await;
    browser.click("buy-button").await;
    let now = "const now = document.getElementById('buy-now'); now?.click(); return now !== null";
    browser.returns(now, true).await;
}

/// Buys with these further members. Returns the purchase.
async fn buy_by_api(facing: &Process, userid: &str, price: &str, further: Value) -> Value {
    let mut body = json!({"username": "ada", "userid": userid, "price": price});
    body.as_object_mut()
        .unwrap()
        .extend(further.as_object().cloned().unwrap_or_default());
    let (status, mut answer) = post(&facing.path("/v1/purchases"), &body.to_string()).await;
    assert_eq!(status, 201, "{answer}");
    answer["purchase"].take()
}
