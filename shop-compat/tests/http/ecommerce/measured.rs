//! Unusual values: the numbers, texts and messages of pydantic, which were measured at the replaced system, for the rows of
//! `measured.txt`.

use crate::rows::responses;

#[tokio::test]
async fn unusual_values_have_the_responses_of_the_replaced_system() {
    insta::assert_snapshot!(responses(include_str!("measured.txt")).await);
}
