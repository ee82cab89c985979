//! A reader of events, who continues after failures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use shop_core::{Purchase, Shop};
use shop_faults::history::{Call, History, Outcome};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::files::{RECOVERY, WatchedFolder, locked};
use crate::script::{Checked, STORED_WITHIN, first_violation, unexpected};

/// Follows the purchases of all users as they become visible.
pub struct Follower {
    history: Arc<History>,
    /// The number of the call in the history.
    call: usize,
    events: Arc<Mutex<Vec<Purchase>>>,
    task: JoinHandle<Checked>,
}

impl Follower {
    /// Begins now.
    ///
    /// # Errors
    /// What is wrong, if something is.
    pub async fn start(
        shop: &Shop,
        folder: &Arc<WatchedFolder>,
        history: &Arc<History>,
    ) -> Checked<Self> {
        let folder = Arc::clone(folder);
        let user = shop.all_users();
        let mut stream = loop {
            match user.events(None).await {
                Err(_) if folder.may_fail() => sleep(RECOVERY).await,
                opened => break opened.map_err(unexpected("events do not begin"))?,
            }
        };
        let call = history.begin(Call::Follow);
        let events = Arc::<Mutex<Vec<Purchase>>>::default();
        let seen = Arc::clone(&events);
        let follow = async move {
            let mut cursor = None;
            loop {
                match stream.next().await {
                    Some(Ok(item)) => {
                        locked(&seen).push(item.purchase);
                        cursor = Some(item.cursor);
                        continue;
                    }
                    None => return Ok(()),
                    Some(Err(error)) if !folder.may_fail() => {
                        return Err(unexpected("events end")(error));
                    }
                    // Without a cursor, some would be missed.
                    Some(Err(_)) if cursor.is_none() => return Ok(()),
                    Some(Err(_)) => sleep(RECOVERY).await,
                }
                if let Ok(again) = user.events(cursor.clone()).await {
                    stream = again;
                }
            }
        };
        Ok(Self {
            history: Arc::clone(history),
            call,
            events,
            task: tokio::spawn(follow),
        })
    }

    /// Judges the events with what was answered, as soon as they are there.
    ///
    /// # Errors
    /// What is wrong, if something is.
    pub async fn end(self) -> Checked {
        let until = Instant::now() + STORED_WITHIN;
        while !self.task.is_finished() {
            let events = locked(&self.events).clone();
            let history = History::clone(&self.history);
            history.end(self.call, Outcome::Followed(events.into()));
            match first_violation(&history) {
                Err(found) if Instant::now() > until => return Err(found),
                Err(_) => sleep(Duration::from_millis(100)).await,
                Ok(()) => break,
            }
        }
        self.task.abort();
        match self.task.await {
            Ok(ended) => ended,
            Err(_aborted) => Ok(()),
        }
    }
}
