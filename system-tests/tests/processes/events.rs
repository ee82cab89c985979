//! Events of purchases, across processes and kills.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use shop_client::NewPurchase;

use crate::process::{Binary, Process, plain, soon};

/// A reader that continues after each end of its stream.
struct Reader {
    query: &'static str,
    response: Option<reqwest::Response>,
    text: String,
    last: Option<String>,
}

impl Reader {
    async fn connected(process: &Process, query: &'static str) -> Self {
        let mut reader = Self {
            query,
            response: None,
            text: String::new(),
            last: None,
        };
        reader.connect(process).await;
        // The first event has the position alone.
        assert_eq!(reader.next().await, Some(None));
        reader
    }

    async fn connect(&mut self, process: &Process) {
        let request = plain().get(process.path(&format!("/v1/purchases/events?{}", self.query)));
        let request = match &self.last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = soon("connect", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        self.response = Some(response);
        self.text = String::new();
    }

    /// The purchase of the next event, if it has one; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Option<Value>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                self.last = field("id: ").map(str::to_owned);
                let purchase = field("data: ").map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                return Some(purchase);
            }
            let chunk = soon("event", self.response.as_mut()?.chunk()).await;
            match chunk {
                Ok(Some(chunk)) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Reads `count` purchases, and continues at `process` if the stream ends.
    async fn ids(&mut self, process: &Process, count: usize) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        while ids.len() < count {
            match self.next().await {
                Some(Some(purchase)) => {
                    ids.insert(purchase["id"].as_str().unwrap().to_owned());
                }
                Some(None) => {}
                None => self.connect(process).await,
            }
        }
        ids
    }
}

async fn buy_all(facing: &Process, count: usize) -> BTreeSet<String> {
    let client = facing.client();
    let mut ids = BTreeSet::new();
    for number in 0..count {
        let user = ["u1", "u2"][number % 2];
        let purchase = NewPurchase::for_user(user)
            .with_user_name("ada")
            .with_price("1")
            .unwrap();
        ids.insert(client.buy(purchase).await.unwrap().purchase.id.to_string());
    }
    ids
}

async fn start(folder: &Path) -> Process {
    Process::start(Binary::Facing, folder, &[]).await
}

#[tokio::test]
async fn a_reader_gets_every_purchase_across_kills() {
    let folder = tempfile::tempdir().unwrap();
    let facing = start(folder.path()).await;
    let mut reader = Reader::connected(&facing, "username=ada").await;
    let mut mine = Reader::connected(&facing, "userid=u1").await;
    let bought = buy_all(&facing, 20).await;
    assert_eq!(reader.ids(&facing, 20).await, bought);
    facing.kill().await;
    // Bought while the readers are disconnected.
    let facing = start(folder.path()).await;
    let missed = buy_all(&facing, 20).await;
    facing.kill().await;
    let facing = start(folder.path()).await;
    let last = buy_all(&facing, 2).await;
    assert_eq!(reader.ids(&facing, 22).await, &missed | &last);
    assert_eq!(mine.ids(&facing, 21).await.len(), 21, "half of them");
    assert!(
        facing.terminate().await.success(),
        "open streams end with the service"
    );
}

/// Management follows the log of another process, which ingests it.
#[tokio::test]
async fn management_follows_purchases_of_facing() {
    let folder = tempfile::tempdir().unwrap();
    let facing = start(folder.path()).await;
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let mut all = Reader::connected(&management, "everyone=true").await;
    let bought = buy_all(&facing, 50).await;
    assert_eq!(all.ids(&management, 50).await, bought);
    management.stop().await;
    assert_eq!(all.next().await, None);
}

/// Facing follows the log in the folder, and queries management for stored purchases and the position of ingest.
/// Management uses another group than the setting of facing.
#[tokio::test]
async fn facing_sends_what_management_has_ingested() {
    let folder = tempfile::tempdir().unwrap();
    let group = [("KAFKA_GROUP_ID", "another-group")];
    let management = Process::start(Binary::Management, folder.path(), &group).await;
    let settings = [("MANAGEMENT_URL", &*management.url)];
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    let mut reader = Reader::connected(&facing, "username=ada").await;
    let bought = buy_all(&facing, 20).await;
    assert_eq!(reader.ids(&facing, 20).await, bought);
    assert!(facing.terminate().await.success() && management.terminate().await.success());
}
