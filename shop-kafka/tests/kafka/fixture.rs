//! The fixture of the log on Kafka, for the conformance kit: on a cluster in the process, or on real brokers.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use shop_core::conformance::{BATCH_BYTES, BATCH_RECORDS, Capabilities, LogFixture, skip};
use shop_core::log::{Log, RecordPosition};
use shop_core::ports::PurchaseSink;
use shop_core::{Clock as _, SystemClock};
use shop_kafka::{KafkaLog, KafkaLogOptions};

/// A variable of the test environment.
#[expect(clippy::disallowed_methods, reason = "the addresses of servers")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A log in a unique topic.
#[derive(Debug)]
pub(crate) struct KafkaFixture {
    log: KafkaLog,
    options: KafkaLogOptions,
    cluster: Option<InProcessCluster>,
    /// The server that runs as long as the fixture.
    pub(crate) server: Option<Arc<dyn Debug + Send + Sync>>,
}

/// The partitions of a fixture's topic.
const PARTITIONS: u32 = 5;

impl KafkaFixture {
    /// On a cluster of three brokers in this process.
    pub(crate) async fn in_process() -> Self {
        Self::in_process_with(|_| {}).await
    }

    /// On a cluster of three brokers in this process, with the default options as modified by `change`.
    pub(crate) async fn in_process_with(change: impl FnOnce(&mut KafkaLogOptions)) -> Self {
        let cluster = InProcessCluster::start(3);
        let mut options = Self::options(&cluster.addresses);
        // A change of members takes up to a second less in this cluster. A broker accepts only longer timeouts.
        options.session_timeout = Duration::from_secs(4);
        // Each read up to the end of a partition waits once for as long.
        let fetch_wait = ("fetch.wait.max.ms".into(), "40".to_owned().into());
        options.properties.extend([fetch_wait]);
        change(&mut options);
        cluster.create_topics(&options);
        Self::open(options, Some(cluster)).await
    }

    /// On the brokers at `address`, with the default options as modified by `change`.
    pub(crate) async fn on_brokers_with(
        address: &str,
        change: impl FnOnce(&mut KafkaLogOptions),
    ) -> Self {
        let mut options = Self::options(address);
        // A broker creates the topics of many tests at once.
        options.publish_timeout = Duration::from_secs(20);
        change(&mut options);
        Self::open(options, None).await
    }

    async fn open(options: KafkaLogOptions, cluster: Option<InProcessCluster>) -> Self {
        let log = KafkaLog::open(options.clone()).await.expect("a log");
        Self {
            log,
            options,
            cluster,
            server: None,
        }
    }

    /// On the brokers that `SHOP_TEST_KAFKA` names. `None` without, which is logged; a panic when `SHOP_TEST_REQUIRE` asks
    /// for `kafka`.
    pub(crate) async fn on_test_server() -> Option<Self> {
        let Some(address) = environment("SHOP_TEST_KAFKA") else {
            skip(
                "kafka",
                environment("SHOP_TEST_REQUIRE").as_deref(),
                "SHOP_TEST_KAFKA names no broker",
            );
            return None;
        };
        Some(Self::on_brokers_with(&address, |_| {}).await)
    }

    /// The log.
    pub(crate) const fn log(&self) -> &KafkaLog {
        &self.log
    }

    /// The log's topic.
    pub(crate) fn topic(&self) -> &str {
        &self.options.topic
    }

    /// The addresses of the brokers.
    pub(crate) fn addresses(&self) -> &str {
        &self.options.brokers
    }

    /// The cluster, if it is in this process.
    pub(crate) const fn cluster(&self) -> Option<&InProcessCluster> {
        self.cluster.as_ref()
    }

    /// Options for tests on the brokers at `address`: a new topic, small batches, and times that do not keep a
    /// test waiting.
    pub(crate) fn options(address: &str) -> KafkaLogOptions {
        let mut options = KafkaLogOptions::new(address);
        options.topic = format!("test-{}", SystemClock.fresh_id().simple());
        options.partitions = PARTITIONS;
        options.batch_records = BATCH_RECORDS;
        options.batch_bytes = BATCH_BYTES;
        options.statistics_interval = Duration::from_millis(100);
        options.heartbeat_interval = Duration::from_millis(200);
        // Enough time for a test to commit before it gives partitions up, also on a busy machine.
        options.revocation_timeout = Duration::from_secs(3);
        options
    }
}

#[async_trait]
impl LogFixture for KafkaFixture {
    /// librdkafka's cluster deletes no records. From the first join of a rebalance to the last it rejects commits as
    /// `REBALANCE_IN_PROGRESS`; a broker accepts them.
    fn capabilities(&self) -> Capabilities {
        match self.cluster {
            Some(_) => Capabilities::default()
                .without_deletion()
                .without_commits_during_joins(),
            None => Capabilities::default(),
        }
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    async fn sink(&self) -> Arc<dyn PurchaseSink> {
        Arc::new(self.log.sink())
    }

    /// Real brokers keep the groups of all tests, and of earlier runs.
    fn group(&self, name: &str) -> String {
        format!("{}-{name}", self.topic())
    }

    async fn delete_before(&self, position: &RecordPosition) {
        let partition = position.partition.try_into();
        let offset = position.offset.try_into();
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(offset.expect("an offset"));
        list.add_partition_offset(&position.topic, partition.expect("a partition"), offset)
            .expect("an offset");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.addresses());
        let admin: AdminClient<_> = config.create().expect("a client");
        let deleted = admin
            .delete_records(&list, &AdminOptions::new())
            .await
            .expect("a deletion");
        for element in deleted.elements() {
            element.error().expect("a deletion");
        }
    }
}

/// librdkafka's cluster for tests, which a thread of its own serves as long as this value lives.
///
/// It forgets everything at its end, keeps at most 5 MiB of a partition, creates no topics for an administrator,
/// and knows no limit of a record's size.
#[derive(Debug)]
pub(crate) struct InProcessCluster {
    /// The addresses of its brokers.
    pub(crate) addresses: String,
    changes: Sender<(Change, Sender<()>)>,
}

type Mock = MockCluster<'static, DefaultProducerContext>;
type Change = Box<dyn FnOnce(&Mock) -> KafkaResult<()> + Send>;

impl InProcessCluster {
    /// Starts a cluster of `brokers` brokers, numbered from 1.
    pub(crate) fn start(brokers: i32) -> Self {
        let (changes, changes_to_make) = channel();
        let (started, addresses) = channel();
        std::thread::Builder::new()
            .name("kafka-in-process".into())
            .spawn(move || serve(brokers, &started, &changes_to_make))
            .expect("a thread");
        Self {
            addresses: addresses.recv().expect("a cluster"),
            changes,
        }
    }

    /// Makes a change on the thread of the cluster, and waits until it is made.
    pub(crate) fn change(&self, change: impl FnOnce(&Mock) -> KafkaResult<()> + Send + 'static) {
        let (done, answer) = channel();
        let order = (Box::new(change) as Change, done);
        self.changes.send(order).expect("the cluster runs");
        answer.recv().expect("the change was made");
    }

    /// Creates the topics of a log with these options.
    fn create_topics(&self, options: &KafkaLogOptions) {
        self.create_topic(&options.topic, options.partitions);
        self.create_topic(&format!("{}.dlq", options.topic), 1);
    }

    /// Creates a topic, of which each partition is on as many brokers as there are, up to three.
    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        let topic = topic.to_owned();
        let partitions = i32::try_from(partitions).expect("a number of partitions");
        let brokers = self.addresses.split(',').count().min(3);
        let replicas = i32::try_from(brokers).expect("a number of brokers");
        self.change(move |mock| mock.create_topic(&topic, partitions, replicas));
    }

    /// Closes the connections of broker 1, and rejects new ones.
    pub(crate) fn broker_down(&self) {
        self.change(|mock| mock.broker_down(1));
    }

    /// Brings broker 1 back.
    pub(crate) fn broker_up(&self) {
        self.change(|mock| mock.broker_up(1));
    }

    /// Answers the next requests of this kind with these errors, one after the other.
    pub(crate) fn fail_next(&self, request: RDKafkaApiKey, errors: Vec<RDKafkaRespErr>) {
        self.change(move |mock| {
            mock.request_errors(request, &errors);
            Ok(())
        });
    }

    /// Sets the leader of a partition: broker 1, or none.
    pub(crate) fn set_leader(&self, topic: &str, partition: u32, leader: Option<i32>) {
        let topic = topic.to_owned();
        let partition = i32::try_from(partition).expect("a partition");
        self.change(move |mock| mock.partition_leader(&topic, partition, leader));
    }
}

/// A cluster with one broker, whose outage makes Kafka unavailable, and the options of a log on its topics.
///
/// librdkafka repeats a failed request for a producer id after 500 ms, and asks for a missing leader each second.
/// Beside other load 5 of 200 first publishes took 0.5 to 1.04 s.
pub(crate) fn one_broker() -> (InProcessCluster, KafkaLogOptions) {
    let cluster = InProcessCluster::start(1);
    let mut options = KafkaFixture::options(&cluster.addresses);
    options.publish_timeout = Duration::from_secs(3);
    cluster.create_topics(&options);
    (cluster, options)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this thread serves the cluster alone"
)]
fn serve(brokers: i32, started: &Sender<String>, changes: &Receiver<(Change, Sender<()>)>) {
    let cluster = MockCluster::new(brokers).expect("a cluster");
    started
        .send(cluster.bootstrap_servers())
        .expect("the caller waits");
    while let Ok((change, done)) = changes.recv() {
        change(&cluster).expect("the change succeeds");
        // A caller that no longer waits has already failed.
        let _caller_gone = done.send(());
    }
    // A commit in flight at the end of a test still gets its response, for which librdkafka waits without a limit.
    std::thread::sleep(Duration::from_secs(5));
}
