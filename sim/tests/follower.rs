//! A reader of events, who continues after failures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use shop_core::{Purchase, Shop};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::files::{Disk, RECOVERY, locked};
use crate::history::History;
use crate::script::{Checked, STORED_WITHIN, unexpected};

/// Follows the purchases of all users as they become visible.
pub struct Follower {
    events: Arc<Mutex<Vec<Purchase>>>,
    task: JoinHandle<Checked>,
}

impl Follower {
    /// Begins now.
    ///
    /// # Errors
    /// What is wrong, if something is.
    pub async fn start(shop: &Shop, disk: &Arc<Disk>) -> Checked<Self> {
        let (events, disk, user) = (Arc::default(), Arc::clone(disk), shop.all_users());
        let mut stream = loop {
            match user.events(None).await {
                Err(_) if disk.may_fail() => sleep(RECOVERY).await,
                opened => break opened.map_err(unexpected("events do not begin"))?,
            }
        };
        let seen: Arc<Mutex<Vec<Purchase>>> = Arc::clone(&events);
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
                    Some(Err(error)) if !disk.may_fail() => {
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
            events,
            task: tokio::spawn(follow),
        })
    }

    /// Compares the events since the attempt `first` with what was answered, as soon as they are there.
    ///
    /// # Errors
    /// What is wrong, if something is.
    pub async fn end(self, history: &History, first: usize) -> Checked {
        let until = Instant::now() + STORED_WITHIN;
        while !self.task.is_finished() {
            let events = locked(&self.events).clone();
            match history.judge_events(&events, first) {
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
