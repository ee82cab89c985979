//! One disk with repeated power cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rusqlite::Connection;
use rustix::process::Signal;
use shop_client::{PurchaseId, UserId};
use shop_core::log::{DeadLetter, LogAdminExt as _};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::disk::Disk;
use super::load::{Load, Place};
use super::mount::{Mount, Owner};
use super::plan::{Moment, Operation, Scene, Survival};
use crate::entities::backends;
use crate::kills::Random;
use crate::process::{ALL_ROLES, Binary, PATIENCE, Process, get, pause};

/// The folder of the services.
const FOLDER: &str = "data";

/// The files whose syncs fail, in turn.
pub(super) const SYNCED: [&str; 10] = [
    "shop.db-wal",
    "users.db-wal",
    "orders.db-wal",
    "log-user_created.db-wal",
    "log-order_created.db-wal",
    "shop.db",
    "users.db",
    "orders.db",
    "log-user_created.db",
    "log-order_created.db",
];
/// The bytes that are free until the sync of a database fails, so that its write-ahead log is soon copied.
const ROOM: usize = 512 << 10;

/// The error is the violation.
pub(super) type Result<T> = std::result::Result<T, String>;

/// The results of power cuts.
#[derive(Debug, Default)]
pub(super) struct Report {
    cuts: BTreeMap<(Scene, Survival), u64>,
    /// Cuts at the moment of their scene; the others were cut by time.
    pub(super) on_time: u64,
    /// Failed syncs, by file name.
    pub(super) failed: BTreeMap<String, u64>,
    acknowledged: usize,
    missing: usize,
    twice: usize,
    stale: usize,
    reads: usize,
    pub(super) users: u64,
    pub(super) orders: u64,
    pub(super) dead_letters: usize,
}

impl Report {
    pub(super) fn add_cut(&mut self, scene: Scene, survival: Survival) {
        *self.cuts.entry((scene, survival)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: Self) {
        for (kind, count) in other.cuts {
            *self.cuts.entry(kind).or_default() += count;
        }
        for (file, count) in other.failed {
            *self.failed.entry(file).or_default() += count;
        }
        self.on_time += other.on_time;
        self.acknowledged += other.acknowledged;
        self.missing += other.missing;
        self.twice += other.twice;
        self.stale += other.stale;
        self.reads += other.reads;
        self.users += other.users;
        self.orders += other.orders;
        self.dead_letters += other.dead_letters;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cuts: u64 = self.cuts.values().sum();
        writeln!(
            f,
            "{cuts} power cuts, {} at their moment: {:?}",
            self.on_time, self.cuts
        )?;
        if !self.failed.is_empty() {
            writeln!(f, "failed syncs: {:?}", self.failed)?;
        }
        let Self {
            acknowledged,
            missing,
            twice,
            stale,
            reads,
            ..
        } = self;
        write!(
            f,
            "acknowledged {acknowledged}, missing {missing}, twice {twice}, "
        )?;
        let Self {
            users,
            orders,
            dead_letters,
            ..
        } = self;
        write!(
            f,
            "stale own reads {stale} of {reads} reads; {users} users, {orders} orders, "
        )?;
        write!(f, "{dead_letters} dead letters")
    }
}

/// Both services.
pub(super) struct Services {
    pub(super) facing: Process,
    pub(super) management: Process,
}

pub(super) struct Series {
    disk: Arc<Disk>,
    /// The mount point of the disk.
    at: TempDir,
    mount: Option<Mount>,
    random: Random,
    load: Arc<Load>,
    report: Report,
}

impl Series {
    pub(super) async fn new(seed: u64, disk: Disk) -> Self {
        let disk = Arc::new(disk);
        let at = tempfile::tempdir().unwrap();
        let mut series = Self {
            disk,
            at,
            mount: None,
            random: Random::new(seed),
            load: Arc::new(Load::new()),
            report: Report::default(),
        };
        series.mount().await;
        series
    }

    pub(super) fn report(mut self) -> Report {
        self.report.failed = self.disk.failed();
        self.report
    }

    async fn mount(&mut self) {
        let disk = Arc::clone(&self.disk);
        let at = self.at.path().to_owned();
        let mounted =
            tokio::task::spawn_blocking(move || Mount::new(&disk, &at, Owner::this_process()))
                .await
                .unwrap();
        self.mount = Some(mounted.unwrap());
    }

    /// The folder of the services.
    fn folder(&self) -> PathBuf {
        self.at.path().join(FOLDER)
    }

    /// Cuts the power repeatedly, and judges the state after each cut.
    pub(super) async fn survive(&mut self, cuts: u64) -> Result<()> {
        let mut services = None;
        for cut in 0..cuts {
            let scene = Scene::of(cut, &mut self.random);
            let survival = Survival::of(cut, self.disk.is_defective(), &mut self.random);
            let round = self.round(cut, scene, survival, services.take()).await;
            self.report.add_cut(scene, survival);
            let checked = match round {
                Ok(started) => {
                    let checked =
                        check(&self.load, &mut self.report, &started, Load::users(cut)).await;
                    services = Some(started);
                    checked
                }
                Err(error) => Err(error),
            };
            checked.map_err(|error| format!("cut {cut} ({scene:?}, {survival:?}): {error}"))?;
        }
        let services = services.ok_or("no cut")?;
        Box::pin(self.count(cuts, services)).await
    }

    /// For each round: fails one sync of a file, lets the services continue, and cuts the power.
    pub(super) async fn survive_failed_syncs(&mut self, rounds: u64) -> Result<()> {
        let mut services = self.start().await?;
        for (round, file) in (0..rounds).zip(SYNCED.iter().cycle()) {
            let survival = Survival::of(round, true, &mut self.random);
            let failed = |error| format!("round {round} ({file}, {survival:?}): {error}");
            services = self
                .fail_sync(round, file, survival, services)
                .await
                .map_err(failed)?;
            self.report.add_cut(Scene::FailedSync, survival);
            check(&self.load, &mut self.report, &services, Load::users(round))
                .await
                .map_err(failed)?;
        }
        Box::pin(self.count(rounds, services)).await
    }

    async fn fail_sync(
        &mut self,
        round: u64,
        file: &'static str,
        survival: Survival,
        mut services: Services,
    ) -> Result<Services> {
        let is_log = file.ends_with("-wal");
        let is_killed = self.random.below(2) == 0;
        let moment = Moment::of(
            Operation::Sync,
            file,
            1 + self.random.below(if is_log { 20 } else { 2 }),
        );
        if is_killed && self.random.below(2) == 0 {
            self.disk.break_file(moment);
        } else {
            self.disk.fail_sync(moment);
        }
        self.disk.limit(if is_log { usize::MAX } else { ROOM });
        let mut calls = self
            .load
            .start(round, &Place::new(&services.facing, &services.management));
        let failed = async {
            while self.disk.is_failing() {
                pause().await;
            }
        };
        within("fail a sync", failed).await?;
        self.report.on_time += 1;
        self.disk.limit(usize::MAX);
        if is_killed {
            // The page cache outlives the processes.
            self.load.stop();
            services.facing.kill().await;
            services.management.kill().await;
            while let Some(ended) = within("end the calls", calls.join_next()).await? {
                ended.map_err(|error| error.to_string())?;
            }
            self.disk.heal();
            services = self.start().await?;
            calls = self
                .load
                .start(round, &Place::new(&services.facing, &services.management));
        }
        tokio::time::sleep(Duration::from_millis(self.random.below(400))).await;
        self.cut(survival, Some(services), calls).await?;
        self.start().await
    }

    /// Buys on a disk with little free space.
    pub(super) async fn fill(&mut self) -> Result<()> {
        let services = self.start().await?;
        let client = self.load.client(&services.facing.url);
        for purchase in 0..600 {
            if purchase == 300 {
                self.disk.limit(512 << 10);
            }
            within("buy", async { while !self.load.buy_last(&client).await {} }).await?;
        }
        check(
            &self.load,
            &mut self.report,
            &services,
            std::iter::once("last".parse().unwrap()),
        )
        .await?;
        terminate(services).await
    }

    /// Cuts the power in a scene, and restarts the services.
    async fn round(
        &mut self,
        round: u64,
        scene: Scene,
        survival: Survival,
        services: Option<Services>,
    ) -> Result<Services> {
        let moment = scene.moment(&mut self.random);
        let services = match services {
            Some(services) if scene.is_start() || scene == Scene::Truncation => {
                if scene == Scene::Shutdown {
                    self.disk.arm(moment.clone());
                }
                self.end(services, scene).await;
                self.prepare(scene).await?;
                None
            }
            services => services,
        };
        self.disk.arm(moment);
        let services = match services {
            None => tokio::select! {
                biased;
                () = self.disk.until_cut_off() => None,
                started = self.start() => Some(started?),
            },
            services => services,
        };
        let mut calls = JoinSet::new();
        if let Some(services) = &services {
            calls = self
                .load
                .start(round, &Place::new(&services.facing, &services.management));
        }
        let time = Duration::from_millis(500 + self.random.below(2_000));
        if tokio::time::timeout(time, self.disk.until_cut_off())
            .await
            .is_ok()
        {
            self.report.on_time += 1;
        }
        self.cut(survival, services, calls).await?;
        self.start().await
    }

    /// Ends the services before they are restarted.
    async fn end(&self, services: Services, scene: Scene) {
        let Services { facing, management } = services;
        if scene == Scene::Restart {
            facing.kill().await;
            management.kill().await;
            return;
        }
        facing.signal(Signal::TERM);
        management.signal(Signal::TERM);
        let ended = async { tokio::join!(facing.ended(), management.ended()) };
        // They are killed if the power is cut meanwhile.
        tokio::select! { () = self.disk.until_cut_off() => {}, _ = ended => {} }
    }

    /// Prepares the files for the start of a scene.
    async fn prepare(&mut self, scene: Scene) -> Result<()> {
        if scene != Scene::Truncation {
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        self.mount = None;
        self.disk.export(FOLDER, folder.path()).unwrap();
        self.load.buy_old(folder.path()).await?;
        self.disk.import(FOLDER, folder.path()).unwrap();
        self.mount().await;
        Ok(())
    }

    async fn start(&self) -> Result<Services> {
        self.start_on(&self.folder()).await
    }

    async fn start_on(&self, folder: &Path) -> Result<Services> {
        let started = async {
            tokio::try_join!(
                Process::try_start(Binary::Facing, folder, &[ALL_ROLES]),
                Process::try_start(Binary::Management, folder, &[ALL_ROLES]),
            )
        };
        let (facing, management) = within("start", started).await??;
        self.load.ledger.moved(&facing, &facing).await;
        Ok(Services { facing, management })
    }

    /// Cuts the power, if it is not cut yet, and discards unsynced changes.
    async fn cut(
        &mut self,
        survival: Survival,
        services: Option<Services>,
        mut calls: JoinSet<()>,
    ) -> Result<()> {
        self.disk.cut_off();
        self.load.stop();
        let services: Vec<_> = services
            .into_iter()
            .flat_map(|both| [both.facing, both.management])
            .collect();
        services
            .iter()
            .for_each(|service| service.signal(Signal::KILL));
        self.disk.forget(survival, &mut self.random);
        for service in services {
            within("end", service.kill()).await?;
        }
        while let Some(ended) = within("end the calls", calls.join_next()).await? {
            ended.map_err(|error| error.to_string())?;
        }
        self.mount = None;
        self.mount().await;
        Ok(())
    }

    /// Counts everything acknowledged.
    async fn count(&mut self, rounds: u64, services: Services) -> Result<()> {
        let old = (0..4).map(|number| format!("old-{number}").parse().unwrap());
        let users = (0..rounds).flat_map(Load::users).chain(old);
        check(&self.load, &mut self.report, &services, users).await?;
        terminate(services).await?;
        let folder = tempfile::tempdir().unwrap();
        self.mount = None;
        self.disk.export(FOLDER, folder.path()).unwrap();
        let services = self.start_on(folder.path()).await?;
        within("finish users and orders", async {
            while !self.load.finish().await {}
        })
        .await?;
        self.report.dead_letters = count_letters(&self.load, folder.path()).await?;
        let place = backends::Place::Files(folder.path());
        // It panics on missing rows.
        let count = self
            .load
            .ledger
            .count(&place, &services.facing, &services.facing);
        let counted = AssertUnwindSafe(count).catch_unwind().await;
        counted
            .map_err(|panic| format!("users and orders: {:?}", panic.downcast_ref::<String>()))?;
        (self.report.users, self.report.orders) = self.load.entities();
        terminate(services).await?;
        check_files(folder.path())
    }
}

/// Waits until the services have caught up, reads all purchases of these users, and judges the history.
pub(super) async fn check(
    load: &Load,
    report: &mut Report,
    services: &Services,
    users: impl Iterator<Item = UserId>,
) -> Result<()> {
    let client = load.client(&services.facing.url);
    // Once this is stored, one service reads the log. Only that one knows the lag.
    within("store the last purchase", async {
        while !load.buy_last(&client).await {}
    })
    .await?;
    let lag =
        async |service: &Process| get(&service.path("/health")).await.1["ingest"]["lag"].as_u64();
    within("catch up", async {
        while ![lag(&services.facing).await, lag(&services.management).await].contains(&Some(0)) {
            pause().await;
        }
    })
    .await?;
    for user in users {
        within("read it all", load.history.list_and_sum(&client, &user)).await?;
    }
    let verdict = load.history.judge();
    report.acknowledged = verdict.acknowledged;
    report.missing = verdict.missing.len();
    report.twice = verdict.twice.len();
    report.stale = verdict.stale.len();
    report.reads = verdict.reads;
    match verdict.violations.first() {
        Some(first) => Err(format!("{verdict}: {first}")),
        None => Ok(()),
    }
}

/// Asserts that each acknowledged conflict is dead-lettered once. Returns their number.
pub(super) async fn count_letters(load: &Load, folder: &Path) -> Result<usize> {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default()).await;
    let letters = log
        .map_err(|error| error.to_string())?
        .pending_dead_letters()
        .await;
    let letters = letters.map_err(|error| error.to_string())?;
    let id = |letter: &DeadLetter| -> Option<PurchaseId> {
        str::from_utf8(letter.record.headers.get("purchase-id")?)
            .ok()?
            .parse()
            .ok()
    };
    let kept: BTreeSet<_> = letters.iter().filter_map(id).collect();
    let conflicts = load.conflicts.lock().await;
    let sent = &conflicts.sent;
    let acknowledged = &conflicts.acknowledged;
    if kept.len() == letters.len() && acknowledged.is_subset(&kept) && kept.is_subset(sent) {
        return Ok(kept.len());
    }
    let missing: Vec<_> = acknowledged.difference(&kept).collect();
    Err(format!(
        "{} dead letters, of {} purchases, without {missing:?}",
        letters.len(),
        kept.len()
    ))
}

pub(super) async fn terminate(services: Services) -> Result<()> {
    for service in [services.facing, services.management] {
        let end = service.terminate().await;
        if !end.success() {
            return Err(format!("a service has ended with {end}"));
        }
    }
    Ok(())
}

/// No file is damaged.
fn check_files(folder: &Path) -> Result<()> {
    for file in [
        "shop",
        "users",
        "orders",
        "log-user_created",
        "log-order_created",
    ] {
        let connection = Connection::open(folder.join(format!("{file}.db"))).unwrap();
        let checked =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        if checked.as_deref() != Ok("ok") {
            return Err(format!("{file}.db is damaged: {checked:?}"));
        }
    }
    Ok(())
}

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_late| format!("{what}: not within {PATIENCE:?}"))
}
