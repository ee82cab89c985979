//! Both services on one disk with repeated power cuts.

use rusqlite::Connection;

use super::disk::Disk;
use super::load::{Load, Services};
use super::machine::{Machine, Report, Result, within};
use super::mount::Owner;
use super::plan::{Moment, Operation, Scene, Survival};
use crate::entities::backends::Place;
use crate::prelude::*;

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
/// The bytes that are free where a write-ahead log is to be copied soon.
const ROOM: usize = 512 << 10;

pub(super) struct Series {
    machine: Machine,
    /// The services, while they run.
    services: Option<Services>,
}

impl Series {
    pub(super) async fn new(seed: u64, disk: Disk) -> Self {
        Self {
            machine: Machine::new(seed, disk, Owner::this_process()).await,
            services: None,
        }
    }

    pub(super) fn report(self) -> Report {
        let mut report = self.machine.report;
        for (file, count) in self.machine.disk.failed() {
            report.insert(format!("failed syncs of {file}"), count);
        }
        report
    }

    /// Cuts the power repeatedly, and judges the state after each cut.
    pub(super) async fn survive(&mut self, cuts: u64) -> Result<()> {
        for cut in 0..cuts {
            let scene = Scene::of(cut, &mut self.machine.random);
            let is_defective = self.machine.disk.is_defective();
            let survival = Survival::of(cut, is_defective, &mut self.machine.random);
            let survived = async {
                self.cut_in(scene, cut, survival).await?;
                self.check(cut).await
            };
            let context = |error| format!("cut {cut} ({scene:?}, {survival:?}): {error}");
            survived.await.map_err(context)?;
        }
        Box::pin(self.count_all(cuts)).await
    }

    /// For each round: fails one sync of a file, lets the services continue, and cuts the power.
    pub(super) async fn survive_failed_syncs(&mut self, rounds: u64) -> Result<()> {
        self.start().await?;
        for (round, file) in (0..rounds).zip(SYNCED.iter().cycle()) {
            let survival = Survival::of(round, true, &mut self.machine.random);
            let survived = async {
                self.fail_sync(round, file, survival).await?;
                self.check(round).await
            };
            let context = |error| format!("round {round} ({file}, {survival:?}): {error}");
            survived.await.map_err(context)?;
        }
        Box::pin(self.count_all(rounds)).await
    }

    async fn check(&mut self, round: u64) -> Result<()> {
        let services = self.services.as_ref().unwrap();
        self.machine.check(services, Load::users(round)).await
    }

    /// Cuts the power in a scene, and restarts the services.
    async fn cut_in(&mut self, scene: Scene, round: u64, survival: Survival) -> Result<()> {
        let moment = scene.moment(&mut self.machine.random);
        if scene == Scene::Shutdown {
            self.machine.disk.arm(moment.clone());
        }
        if scene.starts_services() {
            self.end(scene).await;
        }
        self.machine.disk.arm(moment);
        if self.services.is_none() {
            let disk = Arc::clone(&self.machine.disk);
            tokio::select! {
                biased;
                () = disk.until_cut_off() => {}
                started = self.start() => started?,
            };
        }
        let calls = self.call(round);
        if scene.needs_checkpoint() {
            tokio::time::sleep(Duration::from_millis(self.machine.random.below(600))).await;
            self.machine.disk.limit(ROOM);
        }
        let cut = self.machine.cut_power().await;
        self.machine.disk.limit(usize::MAX);
        self.machine.count(&format!("cuts in {scene:?} {cut}"));
        self.restart(survival, calls).await
    }

    /// Calls the services, if they run.
    fn call(&self, round: u64) -> JoinSet<()> {
        let services = self.services.as_ref();
        services.map_or_else(JoinSet::new, |services| {
            self.machine.load.start(round, services)
        })
    }

    async fn fail_sync(
        &mut self,
        round: u64,
        file: &'static str,
        survival: Survival,
    ) -> Result<()> {
        let is_log = file.ends_with("-wal");
        let nth = 1 + self.machine.random.below(if is_log { 20 } else { 2 });
        let disk = Arc::clone(&self.machine.disk);
        disk.fail_sync(Moment::of(Operation::Sync, file, nth));
        if !is_log {
            disk.limit(ROOM);
        }
        let mut calls = self.call(round);
        let failed = async {
            while disk.is_failing() {
                pause().await;
            }
        };
        within("fail a sync", failed).await?;
        disk.limit(usize::MAX);
        if self.machine.random.below(2) == 0 {
            // The page cache outlives the processes.
            self.machine.load.stop();
            self.kill().await;
            while within("end the calls", calls.join_next()).await?.is_some() {}
            self.start().await?;
            calls = self.call(round);
        }
        tokio::time::sleep(Duration::from_millis(self.machine.random.below(400))).await;
        disk.cut_off();
        self.machine.load.stop();
        self.restart(survival, calls).await
    }

    /// Ends the services before they are restarted, if they run.
    async fn end(&mut self, scene: Scene) {
        if scene == Scene::Restart {
            return self.kill().await;
        }
        let Some(Services { facing, management }) = self.services.take() else {
            return;
        };
        facing.signal(Signal::TERM);
        management.signal(Signal::TERM);
        let ended = async { tokio::join!(facing.ended(), management.ended()) };
        // They are killed if the power is cut meanwhile.
        tokio::select! { () = self.machine.disk.until_cut_off() => {}, _ = ended => {} }
    }

    async fn kill(&mut self) {
        if let Some(Services { facing, management }) = self.services.take() {
            facing.kill().await;
            management.kill().await;
        }
    }

    /// Starts the services again, which have lost their power.
    async fn restart(&mut self, survival: Survival, calls: JoinSet<()>) -> Result<()> {
        for service in self
            .services
            .iter()
            .flat_map(|both| [&both.facing, &both.management])
        {
            service.signal(Signal::KILL);
        }
        self.machine.forget(survival);
        within("end", self.kill()).await?;
        self.machine.boot(calls).await?;
        self.start().await
    }

    async fn start(&mut self) -> Result<()> {
        let folder = self.machine.folder().join(FOLDER);
        self.start_on(&folder).await
    }

    async fn start_on(&mut self, folder: &Path) -> Result<()> {
        // The log gets smaller after each start.
        let settings = [ALL_ROLES, ("SHOP_LOG_RETENTION", "1s")];
        let started = async {
            tokio::try_join!(
                Process::try_start(Binary::Facing, folder, &settings),
                Process::try_start(Binary::Management, folder, &settings),
            )
        };
        let (facing, management) = within("start", started).await??;
        self.machine.load.ledger.moved(&facing, &facing).await;
        self.services = Some(Services { facing, management });
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        let Services { facing, management } = self.services.take().unwrap();
        for service in [facing, management] {
            let end = service.terminate().await;
            if !end.success() {
                return Err(format!("a service has ended with {end}"));
            }
        }
        Ok(())
    }

    /// Counts everything acknowledged, in a copy of the files.
    async fn count_all(&mut self, rounds: u64) -> Result<()> {
        let services = self.services.as_ref().ok_or("no cut")?;
        let users = (0..rounds).flat_map(Load::users);
        self.machine.check(services, users).await?;
        self.stop().await?;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        self.machine.unmount();
        self.machine.disk.export(FOLDER, folder).unwrap();
        self.start_on(folder).await?;
        let services = self.services.as_ref().unwrap();
        let place = Place::Files(folder);
        self.machine.count_rest(services, &place, folder).await?;
        self.stop().await?;
        check_files(folder)
    }
}

/// No file is damaged.
fn check_files(folder: &Path) -> Result<()> {
    for file in &SYNCED[5..] {
        let connection = Connection::open(folder.join(file)).unwrap();
        let checked =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        if checked.as_deref() != Ok("ok") {
            return Err(format!("{file} is damaged: {checked:?}"));
        }
    }
    Ok(())
}
