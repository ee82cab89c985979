//! Runs a plan on a log, a store and the members of a group, with a check by the oracle after each step.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shop_core::Result;
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::ingest::{DeadLetterLimit, Ingest, IngestCounters, IngestMonitor, IngestOptions};
use shop_core::log::LogSource;
use shop_core::memory::{InMemoryLog, InMemoryLogOptions, InMemorySource, Rebalancing};
use shop_core::ports::{PurchaseQuery, Selector};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::oracle::Oracle;
use crate::plan::{Crash, FaultKind, MAX_MEMBERS, Place, Plan, Setting, Step};
use crate::publisher::{Publisher, VirtualClock};
use crate::summary::Summary;
use crate::watch::{Line, VolatileStore, WatchedLog, WatchedSource, WatchedStore};

const GROUP: &str = "group";

/// Longer than any fault, any drain and any membership of a crashed member.
const LONG: Duration = Duration::from_secs(10);

/// The result of a plan.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) violation: Option<String>,
    pub(crate) summary: Summary,
    pub(crate) trace: Vec<(u128, &'static str, u64)>,
}

/// Runs a plan on paused time.
pub(crate) fn run(plan: &Plan, rebalancing: Rebalancing) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(&plan.setting, rebalancing);
        let violation = world.live(&plan.steps).await.err();
        let mut summary = world.oracle.summary();
        summary.add_faults(&world.faults.injected());
        world
            .retired
            .iter()
            .for_each(|faults| summary.add_faults(&faults.injected()));
        Ran {
            violation,
            summary,
            trace: world.oracle.trace(),
        }
    })
}

struct World {
    setting: Setting,
    log: InMemoryLog,
    store: VolatileStore,
    oracle: Oracle,
    publisher: Publisher,
    /// The faults of the store and the dead letters, for all members.
    faults: Faults,
    members: Vec<Member>,
    /// Crashed members that are not replaced yet.
    crashed: usize,
    leaving: Vec<Member>,
    /// The faults of all members so far.
    retired: Vec<Faults>,
    started: u64,
}

struct Member {
    line: Arc<Line>,
    /// The faults of its source.
    faults: Faults,
    source: Arc<InMemorySource>,
    monitor: IngestMonitor,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<IngestCounters>>,
}

impl World {
    fn new(setting: &Setting, rebalancing: Rebalancing) -> Self {
        let clock = Arc::new(VirtualClock::new());
        let mut options = InMemoryLogOptions::default();
        options.partitions = setting.partitions;
        options.batch_records = setting.batch_records;
        options.revocation_timeout = Duration::from_millis(setting.grace);
        options.rebalancing = rebalancing;
        options.clock = Arc::clone(&clock) as _;
        let log = InMemoryLog::new(options);
        let oracle = Oracle::new();
        Self {
            setting: setting.clone(),
            publisher: Publisher::new(log.clone(), clock, oracle.clone()),
            log,
            store: VolatileStore::default(),
            oracle,
            faults: Faults::new(),
            members: Vec::new(),
            crashed: 0,
            leaving: Vec::new(),
            retired: Vec::new(),
            started: 0,
        }
    }

    async fn live(&mut self, steps: &[Step]) -> Result<(), String> {
        self.join();
        for (number, step) in steps.iter().enumerate() {
            self.oracle.count(step.name());
            self.apply(step).await;
            self.check()
                .await
                .map_err(|violation| format!("after step {number}, {step:?}: {violation}"))?;
        }
        self.heal()
            .await
            .map_err(|violation| format!("after the recovery: {violation}"))
    }

    async fn apply(&mut self, step: &Step) {
        match step {
            Step::Publish(items) => self.publisher.publish(items).await,
            Step::Pass(millis) => tokio::time::sleep(Duration::from_millis(*millis)).await,
            Step::Turns(count) => {
                for _ in 0..*count {
                    tokio::task::yield_now().await;
                }
            }
            Step::InjectFault(place, fault_kind) => self.inject_fault(*place, *fault_kind),
            Step::StoreAway => self.faults.always(Call::Insert, Fault::unavailable()),
            Step::StoreBack => self.faults.clear(Call::Insert),
            Step::LettersAway => self
                .faults
                .always(Call::PutDeadLetters, Fault::unavailable()),
            Step::LettersBack => self.faults.clear(Call::PutDeadLetters),
            Step::Join if self.members.len() < MAX_MEMBERS => self.join(),
            Step::Join => {}
            Step::Leave(number) => self.leave(*number),
            Step::Crash(crash) => self.crash(crash),
            Step::CutPower => self.cut_power(),
            Step::Expel(number) => {
                if let Some(member) = self.member(*number) {
                    member.line.disturbed.store(true, Ordering::Relaxed);
                    member.source.lose_membership();
                }
            }
        }
    }

    fn member(&self, number: usize) -> Option<&Member> {
        self.members.get(number % self.members.len().max(1))
    }

    fn take_member(&mut self, number: usize) -> Option<Member> {
        let running = self.members.len();
        (running > 0).then(|| self.members.remove(number % running))
    }

    fn inject_fault(&self, place: Place, fault_kind: FaultKind) {
        let (Place::Commit(number) | Place::Next(number)) = place else {
            return self.faults.once(place.call(), fault_kind.fault());
        };
        if let Some(member) = self.member(number) {
            member.line.disturbed.store(true, Ordering::Relaxed);
            member.faults.once(place.call(), fault_kind.fault());
        }
    }

    fn options(&self) -> IngestOptions {
        let mut options = IngestOptions::default();
        options.max_in_flight_batches = self.setting.in_flight;
        options.max_in_flight_bytes = self.setting.in_flight_bytes;
        options.commit_interval = Duration::from_millis(10);
        options.drain_timeout = Duration::from_millis(self.setting.drain);
        options.initial_backoff = Duration::from_millis(5);
        options.max_backoff = Duration::from_millis(40);
        options.jitter_seed = Some(self.setting.jitter_seed);
        options.dead_letter_limit = DeadLetterLimit::consecutive(self.setting.dead_letter_limit);
        options
    }

    fn join(&mut self) {
        if self.crashed > 0 {
            self.crashed -= 1;
            self.oracle.count("event: a member restarts");
        }
        self.started += 1;
        let line = Arc::new(Line {
            member: self.started,
            oracle: self.oracle.clone(),
            latency: Duration::from_millis(self.setting.latency),
            cut: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            losses: AtomicU64::new(0),
            // A pipeline that stops at the limit leaves records undone on purpose.
            disturbed: AtomicBool::new(self.setting.dead_letter_limit > 0),
            leaving: Mutex::new(None),
        });
        let faults = Faults::new();
        let source = Arc::new(self.log.source(GROUP));
        let watched = WatchedSource {
            inner: Arc::clone(&source),
            line: Arc::clone(&line),
            next_end: Mutex::default(),
        };
        let store = WatchedStore {
            inner: self.store.clone(),
            line: Arc::clone(&line),
        };
        let log = WatchedLog {
            inner: self.log.clone(),
            line: Arc::clone(&line),
        };
        let ingest = Ingest::new(
            faults.source(Arc::new(watched)),
            self.faults.store(Arc::new(store)),
            self.faults.log(Arc::new(log)),
            self.options(),
        );
        let monitor = ingest.monitor();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
        self.retired.push(faults.clone());
        self.members.push(Member {
            line,
            faults,
            source,
            monitor,
            stop: Some(stop),
            task,
        });
    }

    fn leave(&mut self, number: usize) {
        let Some(mut member) = self.take_member(number) else {
            return;
        };
        let drain = Duration::from_millis(self.setting.drain) / 4 * 3;
        *member.line.leaving.lock().unwrap() = Some((Instant::now(), drain));
        if let Some(stop) = member.stop.take() {
            // It may have stopped with an error.
            let _was_running = stop.send(());
        }
        self.leaving.push(member);
    }

    fn crash(
        &mut self,
        Crash {
            member,
            lingers,
            arrives,
        }: &Crash,
    ) {
        let Some(member) = self.take_member(*member) else {
            return;
        };
        if member.monitor.status().in_flight > 0 {
            self.oracle
                .count("event: a member crashes with batches in flight");
        }
        self.crashed += 1;
        member.line.gone.store(true, Ordering::Relaxed);
        member.line.cut.store(!arrives, Ordering::Relaxed);
        member.task.abort();
        let source = member.source;
        let lingers = Duration::from_millis(*lingers);
        tokio::spawn(async move {
            tokio::time::sleep(lingers).await;
            drop(source.close(Duration::ZERO).await);
        });
    }

    /// All members and the store end at once. Records that the log has acknowledged stay.
    fn cut_power(&mut self) {
        for _ in 0..self.members.len() {
            self.crash(&Crash {
                member: 0,
                lingers: 1,
                arrives: false,
            });
        }
        self.store.cut_power();
    }

    async fn check(&mut self) -> Result<(), String> {
        self.look_after_members().await;
        let store = self.store.durable();
        self.oracle.check(
            &self.log.committed(GROUP),
            &store.all(),
            &self.log.all_dead_letters(),
        );
        let count = store
            .summary(&Selector::All)
            .await
            .map_err(|error| error.to_string())?
            .count;
        if count != store.all().len() as u64 {
            self.oracle
                .accuse(format!("the store counts {count} purchases"));
        }
        self.oracle.violation().map_or(Ok(()), Err)
    }

    /// Removes members that have ended, and checks how they ended.
    async fn look_after_members(&mut self) {
        let in_flight = self.setting.in_flight;
        if self
            .members
            .iter()
            .any(|member| member.monitor.status().in_flight > in_flight)
        {
            self.oracle
                .accuse("more batches are in flight than may be".to_owned());
        }
        let budget = self
            .setting
            .in_flight_bytes
            .saturating_add(self.oracle.largest_batch());
        if self
            .members
            .iter()
            .any(|member| member.monitor.status().in_flight_bytes >= budget)
        {
            self.oracle
                .accuse("more bytes are in flight than may be, and the last batch".to_owned());
        }
        let has_ended = |member: &mut Member| member.task.is_finished();
        let mut ended: Vec<Member> = self.members.extract_if(.., has_ended).collect();
        ended.extend(self.leaving.extract_if(.., has_ended));
        for member in ended {
            self.note_end(member).await;
        }
    }

    async fn note_end(&self, member: Member) {
        match member.task.await {
            Ok(Ok(_)) if member.stop.is_none() => {}
            Ok(Err(error))
                if self.setting.dead_letter_limit > 0
                    && error.to_string().contains("could not") =>
            {
                self.oracle
                    .count("event: a member stops at the limit of dead letters");
            }
            ended => self.oracle.accuse(format!("a member has ended: {ended:?}")),
        }
    }

    /// Removes all faults, and checks that everything is processed.
    async fn heal(&mut self) -> Result<(), String> {
        let calls = [Call::Insert, Call::PutDeadLetters, Call::Commit, Call::Next];
        for call in calls {
            self.faults.clear(call);
            self.members
                .iter()
                .for_each(|member| member.faults.clear(call));
        }
        tokio::time::sleep(LONG).await;
        self.check().await?;
        if !self.members.is_empty()
            && self.setting.dead_letter_limit == 0
            && !self.has_fallen_back()
        {
            self.oracle
                .count("event: everything is processed without a restart");
            self.oracle.missing().map_or(Ok(()), Err)?;
        }
        (0..MAX_MEMBERS).for_each(|_| self.leave(0));
        tokio::time::sleep(LONG).await;
        self.check().await?;
        self.restart_until_all_is_processed().await
    }

    /// Whether the committed position may be before the reader's: a commit was lost, or an older one was applied
    /// after a newer one. The next owner of the partition corrects it.
    fn has_fallen_back(&self) -> bool {
        let falls_back = [
            (Call::Commit, "LoseCommit"),
            (Call::Commit, "CompleteAfterTimeout"),
        ];
        let injected = self.retired.iter().map(Faults::injected);
        injected
            .into_iter()
            .any(|faults| falls_back.iter().any(|fault| faults.contains_key(fault)))
    }

    /// A position that moved back, or a limit of dead letters, requires further members. Each makes progress
    /// beyond the previous one.
    async fn restart_until_all_is_processed(&mut self) -> Result<(), String> {
        let mut last = None;
        while let Some(missing) = self.oracle.missing() {
            let committed = Some(self.log.committed(GROUP));
            if last == committed {
                return Err(missing);
            }
            last = committed;
            self.join();
            tokio::time::sleep(LONG).await;
            self.leave(0);
            tokio::time::sleep(LONG).await;
            self.check().await?;
        }
        Ok(())
    }
}
