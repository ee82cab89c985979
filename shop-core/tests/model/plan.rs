//! Plans of events: plans are data, so that a failing one can be shrunk.

use std::time::Duration;

use proptest::prelude::*;
use shop_core::conformance::fault::{Call, Fault};
use shop_core::log::Reason;
use shop_core::{Error, ErrorKind};

/// The maximum number of concurrent members of a plan, without those that are leaving.
pub(crate) const MAX_MEMBERS: usize = 3;

/// One case: the setup of the pipeline, and the events.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) setting: Setting,
    pub(crate) steps: Vec<Step>,
}

/// The constants of a case. Times are in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) partitions: u32,
    pub(crate) batch_records: usize,
    pub(crate) in_flight: usize,
    /// The limit of bytes in flight.
    pub(crate) in_flight_bytes: usize,
    pub(crate) grace: u64,
    pub(crate) drain: u64,
    /// The duration of every insert; a put and a commit take half of it.
    pub(crate) latency: u64,
    /// The limit of consecutive dead letters; 0 is off.
    pub(crate) dead_letter_limit: usize,
    pub(crate) jitter_seed: u64,
}

/// The next event. A number selects one of the running members.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Publish(Vec<Item>),
    /// This many milliseconds pass.
    Pass(u64),
    /// Every task is polled this many times, and no time passes.
    Turns(u32),
    /// The next call there fails.
    InjectFault(Place, FaultKind),
    StoreAway,
    StoreBack,
    LettersAway,
    LettersBack,
    /// A member starts, unless there are enough.
    Join,
    /// The member shuts down cleanly.
    Leave(usize),
    Crash(Crash),
    /// All members and the store end at once, and the store loses what is not durable.
    CutPower,
    /// The member loses its membership, and is notified afterwards.
    Expel(usize),
}

/// A member ends at once.
#[derive(Debug, Clone)]
pub(crate) struct Crash {
    pub(crate) member: usize,
    /// The time in milliseconds until its group detects the crash.
    pub(crate) lingers: u64,
    /// Whether its pending requests still arrive.
    pub(crate) arrives: bool,
}

/// A record to publish. A number selects an earlier record.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// A purchase of this user.
    Fresh(u8),
    /// The same id, the same content, a later time.
    Again(usize),
    /// The same id, another price.
    OtherPrice(usize),
    /// The same id, another user, so perhaps another partition.
    OtherUser(usize),
    /// A purchase of this user that another producer has written: without an id.
    Foreign(u8),
    /// A record that cannot be decoded, with this user's key.
    Poison(u8),
    /// A record without a value, with this user's key.
    Tombstone(u8),
}

/// The port whose next call fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Insert,
    Put,
    /// The commit of a member.
    Commit(usize),
    /// The reading of a member.
    Next(usize),
}

/// The kind of fault; times are in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FaultKind {
    Refuse,
    LoseAnswer,
    HalfOut,
    /// The store rejects a purchase.
    Reject,
    Delay(u64),
    Outlive(u64),
    Twice,
    Forget,
}

impl Place {
    pub(crate) const fn call(self) -> Call {
        match self {
            Self::Insert => Call::Insert,
            Self::Put => Call::PutDeadLetters,
            Self::Commit(_) => Call::Commit,
            Self::Next(_) => Call::Next,
        }
    }
}

impl FaultKind {
    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::Refuse => Fault::unavailable(),
            Self::LoseAnswer => Fault::LoseAnswer,
            Self::HalfOut => Fault::PartialInsert,
            Self::Reject => {
                let error = Error::new(ErrorKind::TooLarge, "too large on purpose");
                Fault::Reject(Reason::refused(error).unwrap())
            }
            Self::Delay(millis) => Fault::Delay(Duration::from_millis(millis)),
            Self::Outlive(millis) => Fault::CompleteAfterTimeout(Duration::from_millis(millis)),
            Self::Twice => Fault::DeliverTwice,
            Self::Forget => Fault::LoseCommit,
        }
    }
}

impl Step {
    /// Its name in the summary.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Publish(_) => "step: publish",
            Self::Pass(_) => "step: time passes",
            Self::Turns(_) => "step: turns",
            Self::InjectFault(Place::Insert, _) => "step: fault of an insert",
            Self::InjectFault(Place::Put, _) => "step: fault of dead letters",
            Self::InjectFault(Place::Commit(_), _) => "step: fault of a commit",
            Self::InjectFault(Place::Next(_), _) => "step: fault of a read",
            Self::StoreAway => "step: the store is unavailable",
            Self::StoreBack => "step: the store recovers",
            Self::LettersAway => "step: the dead letters are unavailable",
            Self::LettersBack => "step: the dead letters recover",
            Self::Join => "step: join",
            Self::Leave(_) => "step: leave",
            Self::Crash(_) => "step: crash",
            Self::CutPower => "step: the power is cut",
            Self::Expel(_) => "step: lose membership",
        }
    }
}

pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    (settings(), prop::collection::vec(step(), 1..80))
        .prop_map(|(setting, steps)| Plan { setting, steps })
}

fn settings() -> impl Strategy<Value = Setting> {
    let time = || prop_oneof![5..60_u64, 60..1_500_u64];
    let latency = prop_oneof![1 => Just(0), 2 => 1..30_u64];
    let limit = prop_oneof![3 => Just(0), 1 => 2..6_usize];
    let bytes = prop_oneof![3 => Just(usize::MAX), 1 => 1..1_000_usize];
    let sizes = (1..=4_u32, 1..=4_usize, (1..=4_usize, bytes));
    (sizes, time(), time(), latency, limit, any::<u64>()).prop_map(
        |(
            (partitions, batch_records, (in_flight, in_flight_bytes)),
            grace,
            drain,
            latency,
            limit,
            jitter_seed,
        )| Setting {
            partitions,
            batch_records,
            in_flight,
            in_flight_bytes,
            grace,
            // Too little for an insert, a put and a commit, and no member would come past a limit of dead
            // dead letters: each would give up what the next one begins with.
            drain: drain.max(8 * latency),
            latency,
            dead_letter_limit: limit,
            jitter_seed,
        },
    )
}

fn millis() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 1..10_u64, 3 => 10..100_u64, 1 => 100..1_500_u64]
}

fn step() -> impl Strategy<Value = Step> {
    let crash = (0..MAX_MEMBERS, millis(), any::<bool>());
    prop_oneof![
        8 => prop::collection::vec(item(), 1..8).prop_map(Step::Publish),
        6 => millis().prop_map(Step::Pass),
        6 => (1..8_u32).prop_map(Step::Turns),
        10 => placed_fault().prop_map(|(place, fault_kind)| Step::InjectFault(place, fault_kind)),
        1 => Just(Step::StoreAway),
        1 => Just(Step::StoreBack),
        1 => Just(Step::LettersAway),
        1 => Just(Step::LettersBack),
        4 => Just(Step::Join),
        2 => (0..MAX_MEMBERS).prop_map(Step::Leave),
        2 => crash.prop_map(|(member, lingers, arrives)| Step::Crash(Crash { member, lingers, arrives })),
        1 => Just(Step::CutPower),
        2 => (0..MAX_MEMBERS).prop_map(Step::Expel),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        8 => (0..5_u8).prop_map(Item::Fresh),
        1 => (0..100_usize).prop_map(Item::Again),
        1 => (0..100_usize).prop_map(Item::OtherPrice),
        1 => (0..100_usize).prop_map(Item::OtherUser),
        1 => (0..5_u8).prop_map(Item::Foreign),
        1 => (0..5_u8).prop_map(Item::Poison),
        1 => (0..5_u8).prop_map(Item::Tombstone),
    ]
}

fn placed_fault() -> impl Strategy<Value = (Place, FaultKind)> {
    let any_call = || {
        prop_oneof![
            Just(FaultKind::Refuse),
            Just(FaultKind::LoseAnswer),
            millis().prop_map(FaultKind::Delay),
            millis().prop_map(FaultKind::Outlive),
        ]
    };
    let insert =
        prop_oneof![4 => any_call(), 1 => Just(FaultKind::HalfOut), 1 => Just(FaultKind::Reject)];
    let commit = prop_oneof![4 => any_call(), 1 => Just(FaultKind::Forget)];
    let next = prop_oneof![Just(FaultKind::Refuse), Just(FaultKind::Twice)];
    prop_oneof![
        4 => insert.prop_map(|fault_kind| (Place::Insert, fault_kind)),
        2 => any_call().prop_map(|fault_kind| (Place::Put, fault_kind)),
        2 => (0..MAX_MEMBERS, commit).prop_map(|(member, fault_kind)| (Place::Commit(member), fault_kind)),
        1 => (0..MAX_MEMBERS, next).prop_map(|(member, fault_kind)| (Place::Next(member), fault_kind)),
    ]
}
