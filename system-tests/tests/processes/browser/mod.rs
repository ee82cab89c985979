//! The pages of both services in a browser, on the embedded default: each thing that a page does, once. The numbers and
//! texts are those of `shop-http/tests/page`.
//!
//! The steps of each test are in `scenarios/TEST.steps`; [`scenario`] explains them.

mod driver;
mod scenario;

use scenario::play;

#[tokio::test]
async fn a_customer_sees_new_purchases_and_pages_of_older_ones() {
    play("a_customer_sees_new_purchases_and_pages_of_older_ones").await;
}

#[tokio::test]
async fn a_dead_letter_is_replayed_by_keyboard() {
    play("a_dead_letter_is_replayed_by_keyboard").await;
}

#[tokio::test]
async fn a_dead_letter_is_shown_and_replayed() {
    play("a_dead_letter_is_shown_and_replayed").await;
}

#[tokio::test]
async fn a_purchase_can_be_undone_until_it_is_sent() {
    play("a_purchase_can_be_undone_until_it_is_sent").await;
}

#[tokio::test]
async fn a_purchase_is_retried_without_a_duplicate() {
    play("a_purchase_is_retried_without_a_duplicate").await;
}

#[tokio::test]
async fn an_outage_is_shown_until_it_is_over() {
    play("an_outage_is_shown_until_it_is_over").await;
}

#[tokio::test]
async fn customers_are_remembered_and_asked_for_their_name() {
    play("customers_are_remembered_and_asked_for_their_name").await;
}

#[tokio::test]
async fn dead_letters_are_filtered_paged_and_resolved_together() {
    play("dead_letters_are_filtered_paged_and_resolved_together").await;
}

#[tokio::test]
async fn each_key_sees_what_it_may() {
    play("each_key_sees_what_it_may").await;
}

#[tokio::test]
async fn files_are_shown_mapped_and_imported_once() {
    play("files_are_shown_mapped_and_imported_once").await;
}

#[tokio::test]
async fn no_element_covers_a_field() {
    play("no_element_covers_a_field").await;
}

#[tokio::test]
async fn purchases_are_bought_and_refunded_by_keyboard_with_their_currency() {
    play("purchases_are_bought_and_refunded_by_keyboard_with_their_currency").await;
}

#[tokio::test]
async fn purchases_are_bought_and_seen() {
    play("purchases_are_bought_and_seen").await;
}

#[tokio::test]
async fn ranges_have_urls_totals_bars_and_files() {
    play("ranges_have_urls_totals_bars_and_files").await;
}

#[tokio::test]
async fn the_console_follows_the_roles() {
    play("the_console_follows_the_roles").await;
}

#[tokio::test]
async fn the_overview_follows_the_pipeline() {
    play("the_overview_follows_the_pipeline").await;
}

#[tokio::test]
async fn users_and_orders_are_created_and_shown() {
    play("users_and_orders_are_created_and_shown").await;
}

#[tokio::test]
async fn users_and_purchases_are_found() {
    play("users_and_purchases_are_found").await;
}
