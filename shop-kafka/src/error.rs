//! From librdkafka's and the brokers' errors to the one error of the ports.
//!
//! librdkafka's own codes are below zero
//! (<https://github.com/confluentinc/librdkafka/blob/v2.12.1/src/rdkafka.h>, `rd_kafka_resp_err_t`), those of the
//! brokers above (<https://kafka.apache.org/protocol#protocol_error_codes>).

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use shop_core::{Error, ErrorKind, Outcome};

const ORIGIN: &str = "kafka";

/// An error of ours.
pub(crate) fn kafka_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin(ORIGIN)
}

/// What `error` means to a caller.
pub(crate) fn from_kafka(error: KafkaError) -> Error {
    let (kind, message) = match &error {
        KafkaError::ClientConfig(..) => {
            (ErrorKind::Invalid, "librdkafka does not take the settings: see what it says")
        }
        KafkaError::ClientCreation(_) => {
            (ErrorKind::Invalid, "no client could be made: see what librdkafka says")
        }
        // Of these the library gives no code.
        KafkaError::AdminOp(code) => meaning(*code),
        other => {
            other.rdkafka_error_code().map_or((ErrorKind::Internal, "librdkafka refused a call"), meaning)
        }
    };
    kafka_error(kind, message).with_source(error)
}

/// What the `code` of a single topic or partition means to a caller.
pub(crate) fn from_code(code: Code) -> Error {
    let (kind, message) = meaning(code);
    kafka_error(kind, message).with_source(code)
}

/// The error of a port that was closed.
pub(crate) fn closed(what: &str) -> Error {
    kafka_error(ErrorKind::Closed, format!("the {what} is closed"))
}

/// Nothing was done, and Kafka has not been there yet.
pub(crate) fn not_reached() -> Error {
    Error::new(ErrorKind::Unavailable, "kafka has not been reached yet: see that the brokers run")
        .with_outcome(Outcome::NotApplied)
        .with_origin(ORIGIN)
}

/// Something was not acknowledged when a port was closed.
pub(crate) fn too_late() -> Error {
    kafka_error(ErrorKind::DeadlineExceeded, "some records were not acknowledged in time")
}

/// Whether the membership, in which something was asked, is over or about to change.
pub(crate) const fn is_fencing(code: Code) -> bool {
    matches!(
        code,
        Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::StaleMemberEpoch
            | Code::AssignmentLost
            | Code::Fenced
    )
}

/// Whether `code` says no more than that some broker did not answer: others may.
pub(crate) const fn is_about_connections(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::NodeUpdate
            | Code::BrokerDestroy
            | Code::DestroyBroker
            | Code::WaitingForCoordinator
    )
}

#[expect(clippy::too_many_lines, reason = "one total match, which names every code")]
fn meaning(code: Code) -> (ErrorKind, &'static str) {
    use ErrorKind::{Corrupt, DeadlineExceeded, Denied, Internal, Invalid};
    use ErrorKind::{Overloaded, TooLarge, Unavailable, Unsupported};
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::IllegalSASLState => (
            Denied,
            "wrong user or password, or a mechanism that the brokers do not take: see KAFKA_USERNAME, KAFKA_PASSWORD, KAFKA_SASL_MECHANISM",
        ),
        Code::UnsupportedSASLMechanism => {
            (Denied, "the brokers do not take this way to log in: see KAFKA_SASL_MECHANISM")
        }
        Code::TopicAuthorizationFailed => {
            (Denied, "the user has no right to the topic: grant READ, WRITE and DESCRIBE on it")
        }
        Code::GroupAuthorizationFailed => {
            (Denied, "the user has no right to the consumer group: grant READ on it")
        }
        Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed => (
            Denied,
            "the user lacks a right: grant WRITE on the topic and, before Kafka 2.8, IDEMPOTENT_WRITE on the cluster",
        ),
        Code::SecurityDisabled
        | Code::DelegationTokenAuthDisabled
        | Code::DelegationTokenNotFound
        | Code::DelegationTokenOwnerMismatch
        | Code::DelegationTokenRequestNotAllowed
        | Code::DelegationTokenExpired
        | Code::InvalidPrincipalType
        | Code::UnacceptableCredential
        | Code::PrincipalDeserializationFailure => (Denied, "the brokers refuse the credentials"),
        Code::PolicyViolation | Code::TopicDeletionDisabled => {
            (Denied, "a policy of the cluster forbids this")
        }
        Code::FencedInstanceId | Code::UnreleasedInstanceId => {
            (Denied, "another process uses the same instance id: give each its own KAFKA_INSTANCE_ID")
        }
        Code::SSL => (Unavailable, "no encrypted connection: see KAFKA_TLS and KAFKA_CA_FILE"),
        Code::Resolve => {
            (Unavailable, "no broker's name is known: see KAFKA_BOOTSTRAP_SERVERS and the name service")
        }
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::BrokerDestroy
        | Code::DestroyBroker
        | Code::NodeUpdate
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::UnknownBroker
        | Code::RebootstrapRequired => {
            (Unavailable, "the brokers cannot be reached: see that they run and that the address is right")
        }
        Code::OperationTimedOut | Code::TimedOutQueue | Code::RequestTimedOut => {
            (Unavailable, "the brokers did not answer in time")
        }
        Code::MessageTimedOut => {
            (DeadlineExceeded, "the brokers did not acknowledge the record in time; it may be in the log")
        }
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::ResourceNotFound => (Unavailable, "the topic does not exist, or not yet: create it"),
        Code::ISRInsufficient | Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            (Unavailable, "too few replicas are in sync: see the brokers, and min.insync.replicas")
        }
        Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ReplicaNotAvailable
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::ElectionNotNeeded
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::NotController
        | Code::StaleControllerEpoch
        | Code::StaleBrokerEpoch
        | Code::OffsetNotAvailable
        | Code::ListenerNotFound
        | Code::ReassignmentInProgress
        | Code::NoReassignmentInProgress => {
            (Unavailable, "the partition has no leader now: it gets one by itself while enough brokers run")
        }
        Code::WaitingForCoordinator
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator => (Unavailable, "the group has no coordinator now: it gets one by itself"),
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::UnknownGroup
        | Code::GroupIdNotFound
        | Code::RebalanceInProgress
        | Code::MemberIdRequired
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::AssignmentLost
        | Code::Fenced
        | Code::UnstableOffsetCommit
        | Code::PollExceeded => (Unavailable, "the group is sharing its partitions anew"),
        Code::KafkaStorageError | Code::LogDirNotFound => (Unavailable, "a broker's disk does not work"),
        Code::ThrottlingQuotaExceeded => (Unavailable, "the user's quota is used up: raise it, or send less"),
        Code::CriticalSystemResource | Code::FileSystem => {
            (Unavailable, "the machine has no memory, threads or files left")
        }
        Code::Retry
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::WaitCache
        | Code::Interrupted
        | Code::Outdated
        | Code::Partial
        | Code::OperationNotAttempted
        | Code::ConcurrentTransactions
        | Code::FetchSessionIdNotFound
        | Code::InvalidFetchSessionEpoch => (Unavailable, "the operation was interrupted: it is tried again"),
        Code::Fatal
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::UnknownProducerId
        | Code::GaplessGuarantee
        | Code::InvalidProducerIdMapping
        | Code::ProducerFenced
        | Code::Inconsistent => {
            (Unavailable, "the producer has lost track of what it has sent; a new one takes over")
        }
        Code::PurgeQueue | Code::PurgeInflight => (
            Unavailable,
            "the producer was ended before the brokers acknowledged the record; it may be in the log",
        ),
        Code::QueueFull => (Overloaded, "too many records wait for the brokers already"),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            (TooLarge, "the record is larger than the topic takes: see max.message.bytes")
        }
        Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidConfig
        | Code::TopicAlreadyExists => (
            Invalid,
            "the cluster does not take the topic as it is asked for: see its name, partitions and replicas",
        ),
        Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol
        | Code::UnsupportedAssignor
        | Code::GroupMaxSizeReached => (
            Invalid,
            "the group does not take this member: all members must share partitions in the same way, with times that the brokers allow",
        ),
        Code::InvalidArgument | Code::NotConfigured => (Invalid, "librdkafka does not take the settings"),
        Code::InvalidRecord | Code::InvalidTimestamp | Code::InvalidDifferentRecord => {
            (Invalid, "the brokers do not take the record: see the topic's settings")
        }
        Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::NotImplemented
        | Code::UnknownProtocol => {
            (Unsupported, "these brokers, or this build of librdkafka, cannot do that")
        }
        Code::BadMessage
        | Code::BadCompression
        | Code::InvalidMessage
        | Code::Underflow
        | Code::LogTruncation
        | Code::OffsetOutOfRange
        | Code::AutoOffsetReset => (Corrupt, "what the brokers hold cannot be read"),
        Code::State => (Unavailable, "the client is not in a state to do that"),
        Code::Unknown => (Unavailable, "a broker has met an error that it did not expect: see its log"),
        // Of librdkafka's inner life, of transactions, or of administration: nothing that we ask for. And what a later
        // version adds.
        _ => (Internal, "kafka refused an operation in a way that is not expected here"),
    }
}
