//! Unusual values: the numbers, texts and messages of `/v1`, for the rows of `strict.txt`.

use crate::rows::responses;

#[tokio::test]
async fn values_are_strict_in_v1() {
    insta::assert_snapshot!(responses(include_str!("strict.txt")).await);
}
