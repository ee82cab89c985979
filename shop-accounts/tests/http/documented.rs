//! The addresses of users, normalized as by the replaced system.

use serde_json::json;
use shop_http::HttpOptions;

use crate::ADA;
use crate::entities::Entities;
use crate::shop::post;

#[tokio::test]
async fn emails_are_normalized() {
    let router = Entities::new().management(HttpOptions::default());
    let taken = json!({"detail": "Email already registered"});
    let sent = r#"{"email":"Ada <Ada@Example.COM> ","name":"","more":[1]}"#;
    let ada = json!({"id": 1, "email": "Ada@example.com", "name": ""});
    post(&router, "/users", sent).await.is(201, &ada);
    post(
        &router,
        "/users",
        r#"{"email":"Ada@EXAMPLE.com","name":"x"}"#,
    )
    .await
    .is(400, &taken);
    // A rejected request uses no number.
    let other = json!({"id": 2, "email": "ada@example.com", "name": "Ada"});
    post(&router, "/users", ADA).await.is(201, &other);
    // The last of two duplicate members counts.
    let twice = post(
        &router,
        "/users",
        r#"{"email":"b@example.com","email":"c@example.com","name":"C"}"#,
    );
    assert_eq!(twice.await.json()["email"], "c@example.com");
}
