//! Maps errors of librdkafka and of the brokers to [`shop_core::Error`].
//!
//! An error code is either a local code of librdkafka, which is negative, or a code of the brokers,
//! which is positive. [`classify`] gives each code its [`ErrorKind`], and a message with advice for
//! operators.
//!
//! The kind tells whose fault an error is ([`ErrorKind::blame`]). The only fault of a caller is a
//! record that is too large: the caller of a publish chooses neither the settings of the topic nor
//! the clock that gives a record its time. The table of the tests has each code.
//!
//! - local codes: `rd_kafka_resp_err_t` in
//!   <https://github.com/confluentinc/librdkafka/blob/v2.12.1/src/rdkafka.h>
//! - codes of the brokers: <https://kafka.apache.org/protocol#protocol_error_codes>

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use shop_core::{Error, ErrorKind, Outcome};

/// Creates an error with the origin `kafka`.
pub(crate) fn kafka_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("kafka")
}

/// Converts an error of librdkafka. The error becomes the source of the result, unless it contains
/// the value of a setting.
pub(crate) fn from_kafka(error: KafkaError) -> Error {
    let (kind, message) = match &error {
        // The error of librdkafka is not kept as the source, because it contains the value, which
        // may be secret.
        KafkaError::ClientConfig(_, reason, ..) => {
            let message = format!("librdkafka rejected a setting: {}", reason.trim_end());
            return kafka_error(ErrorKind::Invalid, message);
        }
        KafkaError::ClientCreation(_) => (
            ErrorKind::Invalid,
            "librdkafka could not create a client: see the cause",
        ),
        // `rdkafka_error_code`, which the last arm calls, returns no code for this variant.
        KafkaError::AdminOp(code) => classify(*code),
        // librdkafka reports a leaderless partition as an unknown one.
        KafkaError::MetadataFetch(Code::UnknownPartition) => classify(Code::LeaderNotAvailable),
        other => other.rdkafka_error_code().map_or(
            (ErrorKind::Internal, "librdkafka rejected a call"),
            classify,
        ),
    };
    kafka_error(kind, message).with_source(error)
}

/// Converts the error code of a single topic or partition. The code becomes the source of the
/// result.
pub(crate) fn from_code(code: Code) -> Error {
    let (kind, message) = classify(code);
    kafka_error(kind, message).with_source(code)
}

/// Returns whether a call failed with `error` because members join or leave the group. Such a call
/// can be repeated.
pub(crate) fn is_rebalancing(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    let cause = source.and_then(|source| source.downcast_ref::<KafkaError>());
    let code = cause.and_then(KafkaError::rdkafka_error_code);
    matches!(
        code,
        Some(Code::IllegalGeneration | Code::RebalanceInProgress | Code::UnknownMemberId)
    )
}

/// Returns whether `error` says that the brokers refused the record itself before they wrote it.
///
/// Such a record is not in the log. After other errors, an earlier attempt to send the record may
/// have been written.
pub(crate) fn is_refused_record(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::InvalidTimestamp
                | Code::InvalidRecord
                | Code::InvalidDifferentRecord
                | Code::PolicyViolation
        )
    )
}

/// Converts the error of creating a client after the log was opened.
///
/// If librdkafka rejects a setting of the client, which is [`Invalid`](ErrorKind::Invalid), the
/// error becomes [`Denied`](ErrorKind::Denied): an operator must fix the setting. `Invalid` would
/// blame the caller, who chooses no settings. Other errors stay as they are.
pub(crate) fn as_settings_error(error: Error) -> Error {
    if error.kind() != ErrorKind::Invalid {
        return error;
    }
    kafka_error(
        ErrorKind::Denied,
        "a client cannot be created: correct the settings",
    )
    .with_source(error)
}

/// Creates the error of a call on a closed port, such as the sink.
pub(crate) fn closed(port: &str) -> Error {
    kafka_error(ErrorKind::Closed, format!("the {port} is closed"))
}

/// Creates the error of an operation that was not applied, because Kafka has not responded since
/// the start.
pub(crate) fn not_reached() -> Error {
    kafka_error(
        ErrorKind::Unavailable,
        "kafka has not been reached yet: check that the brokers run",
    )
    .with_outcome(Outcome::NotApplied)
}

/// Creates the error of a close that ended before all records were acknowledged.
pub(crate) fn too_late() -> Error {
    kafka_error(
        ErrorKind::DeadlineExceeded,
        "some records were not acknowledged in time",
    )
}

/// Returns the kind and the message, with advice for operators, of an error code.
#[expect(
    clippy::too_many_lines,
    reason = "one match that names every code with its advice"
)]
fn classify(code: Code) -> (ErrorKind, &'static str) {
    use ErrorKind::{
        Corrupt, DeadlineExceeded, Denied, Internal, Overloaded, TooLarge, Unavailable, Unsupported,
    };
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::IllegalSASLState => (
            Denied,
            "wrong user or password, or the brokers do not support the mechanism: check SHOP_KAFKA_USERNAME, SHOP_KAFKA_PASSWORD, SHOP_KAFKA_SASL_MECHANISM",
        ),
        Code::UnsupportedSASLMechanism => (
            Denied,
            "the brokers do not support this mechanism: check SHOP_KAFKA_SASL_MECHANISM",
        ),
        Code::TopicAuthorizationFailed => (
            Denied,
            "the user is not authorized for the topic: grant READ, WRITE and DESCRIBE on it",
        ),
        Code::GroupAuthorizationFailed => (
            Denied,
            "the user is not authorized for the consumer group: grant READ on it",
        ),
        Code::ClusterAuthorizationFailed => (
            Denied,
            "the user is not authorized: grant WRITE on the topic and, before Kafka 2.8, IDEMPOTENT_WRITE on the cluster",
        ),
        Code::SecurityDisabled | Code::UnacceptableCredential => {
            (Denied, "the brokers rejected the credentials")
        }
        Code::PolicyViolation => (Denied, "a policy of the cluster forbids the operation"),
        Code::FencedInstanceId | Code::UnreleasedInstanceId => (
            Denied,
            "another process uses the same instance id: set a different SHOP_KAFKA_INSTANCE_ID for each process",
        ),
        Code::SSL => (
            Unavailable,
            "the TLS handshake failed: check SHOP_KAFKA_TLS and SHOP_KAFKA_CA_FILE",
        ),
        Code::Resolve => (
            Unavailable,
            "no broker's host name can be resolved: check SHOP_KAFKA_BOOTSTRAP_SERVERS and DNS",
        ),
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::BrokerDestroy
        | Code::DestroyBroker
        | Code::NodeUpdate
        | Code::NetworkException
        | Code::BrokerNotAvailable => (
            Unavailable,
            "the brokers cannot be reached: check that they run and that the address is right",
        ),
        Code::OperationTimedOut | Code::TimedOutQueue | Code::RequestTimedOut => {
            (Unavailable, "the brokers did not respond in time")
        }
        Code::MessageTimedOut => (
            DeadlineExceeded,
            "the brokers did not acknowledge the record in time; it may be in the log",
        ),
        Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition => (
            Unavailable,
            "the topic or partition does not exist: create it",
        ),
        Code::ISRInsufficient | Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => (
            Unavailable,
            "not enough replicas are in sync: check the brokers and min.insync.replicas",
        ),
        Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ReplicaNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::NotController => (
            Unavailable,
            "the partition has no leader: check that enough brokers run; one is elected automatically",
        ),
        Code::WaitingForCoordinator
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator => (
            Unavailable,
            "the group has no coordinator: one is elected automatically",
        ),
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::RebalanceInProgress
        | Code::MemberIdRequired
        | Code::AssignmentLost
        | Code::UnstableOffsetCommit
        | Code::PollExceeded => (Unavailable, "the group is rebalancing"),
        Code::KafkaStorageError | Code::LogDirNotFound => {
            (Unavailable, "a broker's disk has failed")
        }
        Code::ThrottlingQuotaExceeded => (
            Unavailable,
            "the user's quota is exhausted: raise it, or send less",
        ),
        Code::CriticalSystemResource | Code::FileSystem => (
            Unavailable,
            "the machine has no memory, threads or file descriptors left",
        ),
        Code::Fatal
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::UnknownProducerId
        | Code::Inconsistent => (
            Unavailable,
            "the idempotent producer failed; it is replaced by a new one",
        ),
        Code::PurgeQueue | Code::PurgeInflight => (
            Unavailable,
            "the producer was closed before the brokers acknowledged the record; it may be in the log",
        ),
        Code::QueueFull => (Overloaded, "the producer queue is full"),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            (TooLarge, "the record exceeds the topic's max.message.bytes")
        }
        Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig => (
            Denied,
            "the cluster rejected the topic: check its name, partitions and replicas",
        ),
        Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol
        | Code::GroupMaxSizeReached => (
            Denied,
            "the group rejected this member: all members must use the same assignment strategy, with timeouts that the brokers allow",
        ),
        Code::InvalidArgument | Code::NotConfigured => {
            (Internal, "librdkafka rejected an argument")
        }
        Code::InvalidTimestamp => (
            Denied,
            "the brokers refuse the time of the record: compare the clock of this machine with the brokers', and check the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms",
        ),
        Code::InvalidRecord => (
            Denied,
            "the brokers refuse the record: check the topic's settings",
        ),
        Code::InvalidDifferentRecord => (
            Unavailable,
            "the brokers refused another record of the batch: repeat this one",
        ),
        Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::NotImplemented => (
            Unsupported,
            "the brokers, or this build of librdkafka, do not support the operation",
        ),
        Code::BadMessage
        | Code::BadCompression
        | Code::InvalidMessage
        | Code::OffsetOutOfRange
        | Code::AutoOffsetReset => (Corrupt, "the brokers returned data that cannot be read"),
        // Interruptions, and codes that later versions add. An unknown code may be an outage, so it
        // is retried.
        _ => (
            Unavailable,
            "kafka returned an unexpected error: see the cause and the brokers' logs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use ErrorKind::{
        Corrupt, DeadlineExceeded, Denied, Internal, Overloaded, TooLarge, Unavailable, Unsupported,
    };
    use shop_core::Blame::{self, Caller, Program, Surroundings};

    use super::*;

    /// The codes by whose fault they are, with the kind of their errors.
    ///
    /// A code that is in no row is [`Unavailable`], like the last row.
    #[rustfmt::skip]
    const BLAMES: &[(Blame, ErrorKind, &[Code])] = &[
        // A caller can send less.
        (Caller, TooLarge, &[Code::MessageSizeTooLarge, Code::MessageBatchTooLarge, Code::InvalidMessageSize]),
        // This program passed a wrong argument.
        (Program, Internal, &[Code::InvalidArgument, Code::NotConfigured]),
        // An operator must change a login, a right, a setting or a clock.
        (Surroundings, Denied, &[
            Code::Authentication, Code::SaslAuthenticationFailed, Code::IllegalSASLState, Code::UnsupportedSASLMechanism,
            Code::TopicAuthorizationFailed, Code::GroupAuthorizationFailed, Code::ClusterAuthorizationFailed,
            Code::SecurityDisabled, Code::UnacceptableCredential, Code::PolicyViolation,
            Code::FencedInstanceId, Code::UnreleasedInstanceId,
            Code::InvalidTopic, Code::InvalidPartitions, Code::InvalidReplicationFactor, Code::InvalidConfig,
            Code::InvalidGroupId, Code::InvalidSessionTimeout, Code::InconsistentGroupProtocol, Code::GroupMaxSizeReached,
            Code::InvalidTimestamp, Code::InvalidRecord,
        ]),
        (Surroundings, Unsupported, &[
            Code::UnsupportedVersion, Code::UnsupportedFeature, Code::UnsupportedForMessageFormat,
            Code::UnsupportedCompressionType, Code::NotImplemented,
        ]),
        (Surroundings, Corrupt, &[
            Code::BadMessage, Code::BadCompression, Code::InvalidMessage, Code::OffsetOutOfRange, Code::AutoOffsetReset,
        ]),
        // The queue is this process's, but it is full because the brokers are slow.
        (Surroundings, Overloaded, &[Code::QueueFull]),
        (Surroundings, DeadlineExceeded, &[Code::MessageTimedOut]),
        (Surroundings, Unavailable, &[
            Code::SSL, Code::Resolve,
            Code::BrokerTransportFailure, Code::AllBrokersDown, Code::BrokerDestroy, Code::DestroyBroker, Code::NodeUpdate,
            Code::NetworkException, Code::BrokerNotAvailable,
            Code::OperationTimedOut, Code::TimedOutQueue, Code::RequestTimedOut,
            Code::UnknownTopic, Code::UnknownPartition, Code::UnknownTopicOrPartition,
            Code::ISRInsufficient, Code::NotEnoughReplicas, Code::NotEnoughReplicasAfterAppend,
            Code::LeaderNotAvailable, Code::NotLeaderForPartition, Code::ReplicaNotAvailable, Code::FencedLeaderEpoch,
            Code::UnknownLeaderEpoch, Code::OffsetNotAvailable, Code::NotController,
            Code::WaitingForCoordinator, Code::CoordinatorLoadInProgress, Code::CoordinatorNotAvailable, Code::NotCoordinator,
            Code::IllegalGeneration, Code::UnknownMemberId, Code::RebalanceInProgress, Code::MemberIdRequired,
            Code::AssignmentLost, Code::UnstableOffsetCommit, Code::PollExceeded,
            Code::KafkaStorageError, Code::LogDirNotFound, Code::ThrottlingQuotaExceeded,
            Code::CriticalSystemResource, Code::FileSystem,
            Code::Fatal, Code::OutOfOrderSequenceNumber, Code::DuplicateSequenceNumber, Code::InvalidProducerEpoch,
            Code::UnknownProducerId, Code::Inconsistent, Code::PurgeQueue, Code::PurgeInflight,
            Code::InvalidDifferentRecord,
        ]),
        // Codes without a message of their own: what they mean is not known, so they may be an outage.
        (Surroundings, Unavailable, &[
            Code::Fail, Code::PartitionEOF, Code::UnknownGroup, Code::InProgress, Code::PreviousInProgress, Code::Conflict,
            Code::State, Code::UnknownProtocol, Code::NoOffset, Code::Outdated, Code::WaitCache, Code::Interrupted,
            Code::Partial, Code::ReadOnly, Code::Underflow, Code::InvalidType, Code::Retry, Code::GaplessGuarantee,
            Code::UnknownBroker, Code::Fenced, Code::Application, Code::Noop, Code::LogTruncation, Code::Unknown,
            Code::StaleControllerEpoch, Code::OffsetMetadataTooLarge, Code::InvalidRequiredAcks,
            Code::InvalidCommitOffsetSize, Code::TopicAlreadyExists, Code::InvalidReplicaAssignment, Code::InvalidRequest,
            Code::InvalidTransactionalState, Code::InvalidProducerIdMapping, Code::ConcurrentTransactions,
            Code::OperationNotAttempted, Code::ReassignmentInProgress, Code::NonEmptyGroup, Code::GroupIdNotFound,
            Code::FetchSessionIdNotFound, Code::InvalidFetchSessionEpoch, Code::ListenerNotFound, Code::StaleBrokerEpoch,
            Code::PreferredLeaderNotAvailable, Code::GroupSubscribedToTopic, Code::ProducerFenced, Code::ResourceNotFound,
        ]),
    ];

    #[test]
    fn each_code_is_the_fault_of_who_can_mend_it() {
        for (blame, kind, codes) in BLAMES {
            assert_eq!(kind.blame(), *blame, "{kind:?}");
            for code in *codes {
                assert_eq!(from_code(*code).kind(), *kind, "{code:?}");
            }
        }
    }

    #[test]
    fn a_setting_that_is_rejected_during_a_call_is_not_the_fault_of_the_call() {
        let rejected = || from_kafka(KafkaError::ClientCreation("no such setting".to_owned()));
        assert_eq!(rejected().kind(), ErrorKind::Invalid, "at the opening");
        assert_eq!(as_settings_error(rejected()).kind(), Denied);
    }
}
