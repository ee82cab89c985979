//! `management replace`, with the programs of the replaced systems: there and back, while buyers buy.

mod ecommerce;
mod programs;
mod systems;

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;
use mongodb::{Client, Collection};
use programs::{Buyers, Facing, OldConsumer, OldFacing};
use systems::{
    PURCHASE_TRACKING, SCALABLE_SHOP, SHOPPING_SYSTEM, System, USER_BUY_LIST, fill, shown, types,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::kafka::{settings, start};
use crate::prelude::*;

/// How a system is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    NewTopic,
    SameTopic,
}

/// A site with the programs of a system, and its operator.
struct Site<'a> {
    servers: &'a Servers,
    system: &'static System,
    way: Way,
    topic: String,
    group: String,
    collection: Collection<Document>,
    buyers: Buyers,
    consumer: Option<OldConsumer>,
    management: Option<Process>,
    facing: Option<Process>,
    /// The documents of the old consumer when it has stopped, by what a listing is asked for to show them.
    before: BTreeMap<String, Document>,
}

impl<'a> Site<'a> {
    /// Starts the old programs, and waits until they have purchases and a record that is none.
    async fn start(servers: &'a Servers, system: &'static System, way: Way) -> Self {
        let (topic, group) = match way {
            Way::NewTopic => (servers.name("old"), servers.name("old-group")),
            Way::SameTopic => (servers.name("purchases"), servers.name("purchase-group")),
        };
        let address = servers.address("SHOP_TEST_KAFKA");
        let database = Client::with_uri_str(servers.address("SHOP_TEST_MONGODB_URI"))
            .await
            .unwrap();
        let collection = database
            .database(&servers.name("shop"))
            .collection("purchases");
        let facing = OldFacing::start(address, &topic);
        let key = system.key.map(|key| fill(key, 0));
        assert!(facing.write(key.as_deref(), system.odd.0).await);
        let consumer = start_consumer(system, address, [&topic, &group], &collection);
        let buyers = Buyers::start(system, Facing::Old(facing));
        until("consume what buyers have bought", async || {
            // The record that is no purchase may be in the last partition that it reads.
            let odd = system.list(&collection, system.odd.1).await;
            consumer.count() > 20 && odd.len() == 1
        })
        .await;
        Self {
            servers,
            system,
            way,
            topic,
            group,
            collection,
            buyers,
            consumer: Some(consumer),
            management: None,
            facing: None,
            before: BTreeMap::new(),
        }
    }

    /// The arguments of `replace` for this system.
    fn arguments<'b>(&'b self, more: &[&'b str]) -> Vec<&'b str> {
        let mut arguments = [&["--system", self.system.name], more].concat();
        if self.way == Way::NewTopic {
            arguments.extend(["--old-topic", &self.topic, "--old-group", &self.group]);
        }
        arguments
    }

    /// There is nothing to return from while the old consumer runs.
    async fn refuses_to_return(&self) {
        let settings = settings(self.servers);
        let settings = borrow_settings(&settings);
        let words = [vec!["replace"], self.arguments(&["--back"])].concat();
        let output = Binary::Management.run(&words, &settings).await;
        assert_ended(&output, 1, "there is nothing to return from");
    }

    /// Runs `management replace`, and does what it says. It is killed when it says `last`. Returns its reports.
    async fn replace(&mut self, more: &[&str], last: Option<&str>) -> Vec<Value> {
        let settings = settings(self.servers);
        let settings = borrow_settings(&settings);
        let arguments: Vec<_> = self
            .arguments(more)
            .into_iter()
            .map(str::to_owned)
            .collect();
        replace(&settings, &arguments, last, async |step: &str| {
            Box::pin(self.follow(step)).await;
        })
        .await
    }

    /// Does what a step says, unless it is done.
    async fn follow(&mut self, step: &str) {
        let begins = |words| step.starts_with(words);
        if begins("wait until the old consumer") && self.way == Way::SameTopic {
            // While they buy, it is always a few records behind.
            self.buyers.turn_to(Facing::Closed).await;
        } else if begins("start our management") && self.management.is_none() {
            self.management = Some(start(Binary::Management, self.servers, &[]).await);
            self.buyers.turn_to(self.old_facing()).await;
            self.buyers.more().await;
        } else if begins("start our facing") && self.facing.is_none() {
            self.move_to_our_facing().await;
        } else if begins("stop our facing") {
            let meanwhile = if self.way == Way::NewTopic {
                self.old_facing()
            } else {
                Facing::Closed
            };
            self.buyers.turn_to(meanwhile).await;
            self.facing.take().unwrap().stop().await;
        } else if begins("stop our management") {
            self.management.take().unwrap().stop().await;
        } else if begins("done: start the old consumer") {
            let address = self.servers.address("SHOP_TEST_KAFKA");
            let names = [&*self.topic, &*self.group];
            let consumer = start_consumer(self.system, address, names, &self.collection);
            self.consumer = Some(consumer);
            self.buyers.turn_to(self.old_facing()).await;
        }
        if step.contains("stop the old consumer")
            && let Some(consumer) = self.consumer.take()
        {
            self.stop_old_consumer(consumer).await;
        }
    }

    fn old_facing(&self) -> Facing {
        Facing::Old(OldFacing::start(
            self.servers.address("SHOP_TEST_KAFKA"),
            &self.topic,
        ))
    }

    async fn move_to_our_facing(&mut self) {
        let facing = start(Binary::Facing, self.servers, &[("SHOP_INGEST", "off")]).await;
        until_ready(&facing).await;
        self.buyers
            .turn_to(Facing::Ours(Box::new(facing.client())))
            .await;
        self.buyers.more().await;
        self.facing = Some(facing);
    }

    /// Stops it, and keeps what it has stored. Ours lists that.
    async fn stop_old_consumer(&mut self, consumer: OldConsumer) {
        // Ours changes the documents as soon as the member has left.
        let (count, _member) = consumer.stop().await;
        let theirs = self.documents().await.into_iter();
        let theirs =
            theirs.filter(|document| matches!(document.get("_id"), Some(Bson::ObjectId(_))));
        self.before = theirs
            .map(|document| (self.system.asked_for(&document), document))
            .collect();
        assert_eq!(self.before.len(), count as usize, "each once");
        assert_eq!(stored(self.management.as_ref().unwrap(), "u1").await, 1);
    }

    async fn documents(&self) -> Vec<Document> {
        let all = self.collection.find(doc! {}).await;
        all.unwrap().try_collect().await.unwrap()
    }

    /// Checks what `verify` has reported after the replacement: one report for each topic.
    fn assert_verified(&self, reports: &[Value]) {
        let reports = reports.iter().filter(|report| report["missing"].is_u64());
        let reports: Vec<_> = reports.collect();
        let topics = if self.way == Way::NewTopic { 2 } else { 1 };
        assert_eq!(reports.len(), topics, "{reports:?}");
        for (member, expected) in [
            ("missing", 0),
            ("mismatched", 0),
            ("twice", 0),
            ("by_others", self.before.len() as u64 - 1),
            ("undecodable", 1),
        ] {
            let counts = reports.iter().filter_map(|report| report[member].as_u64());
            assert_eq!(counts.sum::<u64>(), expected, "{member}: {reports:?}");
        }
    }

    /// Checks after the way back that the old programs list every purchase once, and what they have stored before as
    /// before.
    async fn end(mut self) {
        self.buyers.more().await;
        let bought = self.buyers.stop().await;
        // With what is no purchase.
        let all = u64::from(bought) + 1;
        until("consume all", async || {
            self.collection.count_documents(doc! {}).await.unwrap() >= all
        })
        .await;
        drop(self.consumer.take().unwrap().stop().await);
        assert_eq!(self.collection.count_documents(doc! {}).await.unwrap(), all);

        // The stand-in for MongoDB, which explains no plans, does not replace a number by an equal one of another type.
        let client = self.collection.client();
        let database = client.database(&self.collection.namespace().db);
        let explain = doc! { "explain": { "find": self.collection.name() } };
        let is_stand_in = database.run_command(explain).await.is_err();
        let before = self.before.values();
        let types_before: BTreeSet<_> = before.map(|one| types(one, is_stand_in)).collect();
        let buyers = (0..bought).map(|number| fill(self.system.listed_as, number));
        for asked in buyers.chain([self.system.odd.1.to_owned()]) {
            let listed = self.system.list(&self.collection, &asked).await;
            let [listed] = &listed[..] else {
                panic!("{asked:?} is lost or doubled: {listed:?}")
            };
            let types = types(listed, is_stand_in);
            assert!(types_before.contains(&types), "{listed}");
            if let Some(before) = self.before.get(&asked) {
                assert_eq!(shown(listed), shown(before));
            }
        }
    }
}

/// Starts the consumer of a system.
fn start_consumer(
    system: &'static System,
    servers: &str,
    topic_and_group: [&str; 2],
    collection: &Collection<Document>,
) -> OldConsumer {
    let collection = collection.clone();
    OldConsumer::start(system.commits, servers, topic_and_group, move |value| {
        let collection = collection.clone();
        Box::pin(async move {
            let document = system.document(&value);
            collection.insert_one(document).await.unwrap();
        })
    })
}

async fn until_ready(service: &Process) {
    let ready = service.path("/-/ready");
    until("be ready", async || get(&ready).await.0 == 200).await;
}

/// Runs `management replace`, and passes its steps to `follow`. It is killed when it says `last`. Returns its reports.
async fn replace(
    settings: &[(&str, &str)],
    arguments: &[String],
    last: Option<&str>,
    mut follow: impl AsyncFnMut(&str),
) -> Vec<Value> {
    let mut command = Binary::Management.command(settings);
    command
        .args(["replace", "--json", "--settle", "1"])
        .args(arguments);
    let mut command = command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(command.stdout.take().unwrap()).lines();
    let mut reports = Vec::new();
    while let Some(line) = soon("go on", lines.next_line()).await.unwrap() {
        let line: Value = serde_json::from_str(&line).unwrap();
        match line["step"].as_str() {
            Some(step) if last.is_some_and(|last| step.starts_with(last)) => {
                command.kill().await.unwrap();
                return reports;
            }
            Some(step) => follow(step).await,
            None => reports.push(line),
        }
    }
    assert!(command.wait().await.unwrap().success(), "{arguments:?}");
    reports
}

/// Replaces `system`, and returns. If `last` is given, the command is killed when it says that, and run again.
async fn there_and_back(system: &'static System, way: Way, last: Option<&str>) {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let mut site = Box::pin(Site::start(&servers, system, way)).await;
    let reports = Box::pin(site.replace(&["--dry-run"], None)).await;
    let [report] = &reports[..] else {
        panic!("{reports:?}")
    };
    for odd in ["odd_records", "odd_documents"] {
        assert_eq!(report[odd][0]["count"], 1, "{report}");
    }
    assert_eq!(report["steps"].as_array().unwrap().len(), 6, "{report}");
    site.refuses_to_return().await;

    if last.is_some() {
        let reports = Box::pin(site.replace(&[], last)).await;
        assert!(
            reports.is_empty() && site.facing.is_some() && site.consumer.is_some(),
            "{reports:?}"
        );
    }
    let reports = Box::pin(site.replace(&[], None)).await;
    site.assert_verified(&reports);
    Box::pin(site.replace(&["--back"], None)).await;
    assert!(site.management.is_none() && site.facing.is_none());
    Box::pin(site.end()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scalable_shop_is_replaced_by_a_new_topic_and_back_also_after_a_kill() {
    there_and_back(&SCALABLE_SHOP, Way::NewTopic, Some("stop the old consumer")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_buy_list_is_replaced_by_a_new_topic_and_back() {
    there_and_back(&USER_BUY_LIST, Way::NewTopic, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchase_tracking_is_replaced_by_a_new_topic_and_back() {
    there_and_back(&PURCHASE_TRACKING, Way::NewTopic, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shopping_system_is_replaced_by_a_new_topic_and_back() {
    there_and_back(&SHOPPING_SYSTEM, Way::NewTopic, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_is_replaced_on_the_same_topic_and_back() {
    there_and_back(&USER_BUY_LIST, Way::SameTopic, None).await;
}
