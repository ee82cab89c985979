//! Metrics of requests that have no response, and of the process.

use shop_http::AccessLog;

use crate::log_lines::LogLines;
use crate::prelude::*;

async fn requests_in_flight(router: &Router) -> Option<u32> {
    let metrics = get(router, "/metrics").await.text;
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix("http_requests_in_flight "));
    value.unwrap().parse().ok()
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_response_is_read_or_its_client_has_disconnected() {
    let roles = AllRoles::default();
    let purchases = (0..2_000).map(|number| purchase("u1", number)).collect();
    roles.store.insert(purchases).await.unwrap();
    let options = HttpOptions::default().access_log(AccessLog::All);
    let facing = router(roles.facing(), options);

    let listing = request(Method::GET, "/getAllUserBuys/u1", &[], Body::empty());
    let response = facing.clone().oneshot(listing).await.unwrap();
    assert_eq!(requests_in_flight(&facing).await, Some(1));
    drop(response);
    assert_eq!(requests_in_flight(&facing).await, Some(0));

    let delay = Fault::Delay(Duration::from_secs(60));
    roles.faults.always(Call::Publish, delay);
    let lines = LogLines::of_this_thread("access");
    let body = r#"{"username":"ada","userid":"u1","price":1}"#;
    let buy = request(Method::POST, "/buy", &[JSON, ("x-request-id", "r-1")], body);
    let mut call = Box::pin(facing.clone().oneshot(buy));
    assert!((&mut call).now_or_never().is_none());
    assert_eq!(requests_in_flight(&facing).await, Some(1));
    drop(call);
    assert_eq!(requests_in_flight(&facing).await, Some(0));

    // Without a response there is no status, and nothing is counted. The attempt to publish continues.
    let line = r#"logged: {"target":"access","level":"INFO","http.method":"POST","http.route":"/buy","bytes":0,"duration_ms":"...","request.id":"r-1"}"#;
    let logged = lines.take_shown();
    assert!(logged.contains(line), "{logged}");
    let figures = get(&facing, "/metrics").await.text;
    assert!(!figures.contains(r#"route="/buy""#), "{figures}");
    assert!(figures.contains("\nshop_publish_total{outcome=\"unknown\"} 0\n"));
}
