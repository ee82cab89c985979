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
use rdkafka::mocking::MockCluster;
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
    topic: String,
    addresses: String,
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

    /// On the brokers at `address`.
    pub(crate) async fn on_brokers(address: &str) -> Self {
        Self::on_brokers_with(address, |_| {}).await
    }

    /// On a cluster of three brokers in this process, with the default options as modified by `change`.
    pub(crate) async fn in_process_with(change: impl FnOnce(&mut KafkaLogOptions)) -> Self {
        let cluster = InProcessCluster::start(3);
        let mut options = Self::options(&cluster.addresses);
        change(&mut options);
        cluster.create_topic(&options.topic, options.partitions);
        cluster.create_topic(&format!("{}.dlq", options.topic), 1);
        Self::open(options, Some(cluster)).await
    }

    /// On the brokers at `address`, with the default options as modified by `change`.
    pub(crate) async fn on_brokers_with(
        address: &str,
        change: impl FnOnce(&mut KafkaLogOptions),
    ) -> Self {
        let mut options = Self::options(address);
        change(&mut options);
        Self::open(options, None).await
    }

    async fn open(options: KafkaLogOptions, cluster: Option<InProcessCluster>) -> Self {
        let topic = options.topic.clone();
        let addresses = options.brokers.clone();
        let log = KafkaLog::open(options).await.expect("a log");
        Self {
            log,
            topic,
            addresses,
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
        Some(Self::on_brokers(&address).await)
    }

    /// The log.
    pub(crate) const fn log(&self) -> &KafkaLog {
        &self.log
    }

    /// The log's topic.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The addresses of the brokers.
    pub(crate) fn addresses(&self) -> &str {
        &self.addresses
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
        format!("{}-{name}", self.topic)
    }

    async fn delete_before(&self, position: &RecordPosition) {
        let partition = position.partition.try_into();
        let offset = position.offset.try_into();
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(offset.expect("an offset"));
        list.add_partition_offset(&position.topic, partition.expect("a partition"), offset)
            .expect("an offset");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.addresses);
        let admin: AdminClient<_> = config.create().expect("a client");
        let deleted = admin
            .delete_records(&list, &AdminOptions::new())
            .await
            .expect("a deletion");
        deleted
            .elements()
            .iter()
            .for_each(|element| element.error().expect("a deletion"));
    }
}

/// librdkafka's cluster for tests, in this thread serves the cluster alone, as long as this lives.
///
/// It forgets everything at its end, keeps at most 5 MiB of a partition, creates no topics for an administrator,
/// and knows no limit of a record's size.
#[derive(Debug)]
pub(crate) struct InProcessCluster {
    /// The addresses of its brokers.
    pub(crate) addresses: String,
    orders: Sender<(Order, Sender<()>)>,
}

#[derive(Debug)]
enum Order {
    CreateTopic(String, i32),
    BrokerDown(i32),
    BrokerUp(i32),
    Fail(RDKafkaApiKey, Vec<RDKafkaRespErr>),
    /// The delay of every response.
    Delay(Duration),
    FailTopic(String, RDKafkaRespErr),
    /// The leader of a partition, if any.
    Lead(String, i32, Option<i32>),
    /// The highest supported version of a request.
    Limit(RDKafkaApiKey, i16),
}

impl InProcessCluster {
    /// A cluster of `brokers` brokers, numbered from 1.
    pub(crate) fn start(brokers: i32) -> Self {
        let (orders, to_do) = channel();
        let (started, addresses) = channel();
        let run = move || serve(brokers, &started, &to_do);
        std::thread::Builder::new()
            .name("kafka-in-process".into())
            .spawn(run)
            .expect("a thread");
        Self {
            addresses: addresses.recv().expect("a cluster"),
            orders,
        }
    }

    /// Creates a topic.
    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        let partitions = i32::try_from(partitions).expect("a number of partitions");
        self.order(Order::CreateTopic(topic.to_owned(), partitions));
    }

    /// Closes the connections of a broker, and rejects new ones.
    pub(crate) fn broker_down(&self, number: i32) {
        self.order(Order::BrokerDown(number));
    }

    /// Brings a broker back.
    pub(crate) fn broker_up(&self, number: i32) {
        self.order(Order::BrokerUp(number));
    }

    /// Fails the next writes with an error that is fatal for an idempotent producer.
    pub(crate) fn fail_producers(&self, writes: usize) {
        let broken = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        self.order(Order::Fail(RDKafkaApiKey::Produce, vec![broken; writes]));
    }

    /// Writes the records of the next `writes` requests, and returns errors.
    pub(crate) fn write_and_return_errors(&self, writes: usize) {
        let written = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND;
        self.order(Order::Fail(RDKafkaApiKey::Produce, vec![written; writes]));
    }

    /// Writes the records of the next `writes` requests, and returns the error for too few replicas,
    /// then fails one with an error that is fatal for an idempotent producer.
    pub(crate) fn write_and_fail_producers(&self, writes: usize) {
        let written = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND;
        let broken = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        let answers = std::iter::repeat_n(written, writes)
            .chain([broken])
            .collect();
        self.order(Order::Fail(RDKafkaApiKey::Produce, answers));
    }

    /// Rejects the next write like a broker that is not ready to lead the partition yet.
    pub(crate) fn reject_next_write(&self) {
        let unready = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
        self.order(Order::Fail(RDKafkaApiKey::Produce, vec![unready]));
    }

    /// Rejects the next requests for offsets like a broker that is not ready to lead the partition yet.
    pub(crate) fn reject_offset_requests(&self, requests: usize) {
        let unready = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
        self.order(Order::Fail(
            RDKafkaApiKey::ListOffsets,
            vec![unready; requests],
        ));
    }

    /// Delays every response of every broker.
    pub(crate) fn delay_responses(&self, delay: Duration) {
        self.order(Order::Delay(delay));
    }

    /// Fails the next heartbeats with the error for an evicted member.
    pub(crate) fn evict_members(&self, heartbeats: usize) {
        let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
        self.order(Order::Fail(
            RDKafkaApiKey::Heartbeat,
            vec![unknown; heartbeats],
        ));
    }

    /// Denies all access to a topic.
    pub(crate) fn deny_topic(&self, topic: &str) {
        let forbidden = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        self.order(Order::FailTopic(topic.to_owned(), forbidden));
    }

    /// Removes the leader of a partition.
    pub(crate) fn take_leader(&self, topic: &str, partition: i32) {
        self.order(Order::Lead(topic.to_owned(), partition, None));
    }

    /// Sets the leader of a partition.
    pub(crate) fn give_leader(&self, topic: &str, partition: i32, broker: i32) {
        self.order(Order::Lead(topic.to_owned(), partition, Some(broker)));
    }

    /// Hides the cluster id from clients that connect from now on, like the first versions of Kafka.
    pub(crate) fn hide_cluster_id(&self) {
        self.order(Order::Limit(RDKafkaApiKey::Metadata, 1));
    }

    /// Reports the cluster id to clients that connect from now on.
    pub(crate) fn show_cluster_id(&self) {
        self.order(Order::Limit(RDKafkaApiKey::Metadata, 2));
    }

    fn order(&self, order: Order) {
        let (done, answer) = channel();
        self.orders.send((order, done)).expect("the cluster runs");
        answer.recv().expect("the command was run");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this thread serves the cluster alone"
)]
fn serve(brokers: i32, started: &Sender<String>, to_do: &Receiver<(Order, Sender<()>)>) {
    let cluster = MockCluster::new(brokers).expect("a cluster");
    started
        .send(cluster.bootstrap_servers())
        .expect("the caller waits");
    while let Ok((order, done)) = to_do.recv() {
        let result = match order {
            Order::CreateTopic(topic, partitions) => {
                cluster.create_topic(&topic, partitions, brokers.min(3))
            }
            Order::BrokerDown(number) => cluster.broker_down(number),
            Order::BrokerUp(number) => cluster.broker_up(number),
            Order::Fail(request, errors) => {
                cluster.request_errors(request, &errors);
                Ok(())
            }
            Order::Delay(delay) => {
                (1..=brokers).try_for_each(|number| cluster.broker_round_trip_time(number, delay))
            }
            Order::FailTopic(topic, error) => cluster.topic_error(&topic, error),
            Order::Lead(topic, partition, broker) => {
                cluster.partition_leader(&topic, partition, broker)
            }
            Order::Limit(request, version) => cluster.apiversion(request, Some(0), Some(version)),
        };
        result.expect("the command succeeds");
        // A caller that no longer waits has already failed.
        let _caller_gone = done.send(());
    }
    // A commit in flight at the end of a test still gets its response, for which librdkafka waits without a limit.
    std::thread::sleep(Duration::from_secs(5));
}
