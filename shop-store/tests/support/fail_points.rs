//! Fail points of a MongoDB server: `configureFailPoint`, which servers for tests have.
//!
//! A `mongod` has them with `--setParameter enableTestCommands=1`; the server in `.ci/servers` has those used here.

use bson::{Bson, Document, doc};
use mongodb::Database;
use tokio::sync::{Mutex, MutexGuard};

use super::fixture::{MongoFixture, error_code, skipped};

/// A server has one fail point of each name, so tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// The fail points of the server of a fixture. They are off at the start, and off when the next test starts.
#[derive(Debug)]
pub(crate) struct FailPoints {
    admin: Database,
    /// The database of the fixture, which alone is affected where the server can tell.
    database: String,
    _turn: MutexGuard<'static, ()>,
}

impl FailPoints {
    /// Waits for the turn of this test. `None`, which is logged, if the server has no fail points; a panic when
    /// `SHOP_TEST_REQUIRE` asks for `failpoints`.
    pub(crate) async fn new(fixture: &MongoFixture) -> Option<Self> {
        let points = Self {
            admin: fixture.admin().await,
            database: fixture.database.clone(),
            _turn: TURN.lock().await,
        };
        for name in ["failCommand", "disableSnapshotting"] {
            let off = doc! { "configureFailPoint": name, "mode": "off" };
            if let Err(error) = points.admin.run_command(off).await {
                let why = format!("the server of the tests has no fail points: {}", error.kind);
                skipped("failpoints", &why);
                return None;
            }
        }
        Some(points)
    }

    /// Lets the next `times` commands `name` on the collection of purchases fail as `data` says: with `errorCode`,
    /// `closeConnection`, `blockConnection` and `blockTimeMS`, or a `writeConcernError` after the write.
    pub(crate) async fn fail_commands(&self, name: &str, times: i32, mut data: Document) {
        data.insert("failCommands", vec![name]);
        data.insert("namespace", format!("{}.purchases", self.database));
        self.configure("failCommand", Bson::Document(doc! { "times": times }), data)
            .await;
    }

    /// From now on no majority gets what is written. Writes with a majority wait for their `wtimeout`.
    pub(crate) async fn hold_majority(&self) {
        self.configure_majority("alwaysOn").await;
    }

    /// The majority catches up.
    pub(crate) async fn release_majority(&self) {
        self.configure_majority("off").await;
    }

    /// Drops what no majority has, as the primary's failure does. Returns `false`, and drops nothing, on a server that
    /// cannot do that by a command.
    pub(crate) async fn fail_over(&self) -> bool {
        let command = doc! { "failOver": 1, "database": &self.database };
        match self.admin.run_command(command).await {
            Ok(_) => true,
            // CommandNotFound.
            Err(error) if error_code(&error) == Some(59) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn configure_majority(&self, mode: &str) {
        // MongoDB ignores the name of the database, and holds back all of them.
        let data = doc! { "database": &self.database };
        self.configure("disableSnapshotting", mode.into(), data)
            .await;
    }

    async fn configure(&self, name: &str, mode: Bson, data: Document) {
        let command = doc! { "configureFailPoint": name, "mode": mode, "data": data };
        let configured = self.admin.run_command(command).await;
        configured.expect("a fail point");
    }
}
