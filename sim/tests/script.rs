//! Clients of a shop, who note what they ask and what it answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use shop_core::log::{DeadLetter, LogExt as _, LogRecord};
use shop_core::ports::{ListOrder, PageLimit, Period, PurchaseErase as _, Summary, UtcOffset};
use shop_core::record::encode;
use shop_core::{
    Clock as _, Error, ErrorKind, IdempotencyKey, NewPurchase, Price, PublishedPurchase, Purchase,
    PurchaseId, Shop, SystemClock, Total, UserId, Uuid, id_from_key,
};
use shop_faults::history::{Acknowledgement, Call, History, Outcome, Sees, Sums};
use shop_store::embedded::{
    EmbeddedLog, EmbeddedLogOptions, EmbeddedShop, EmbeddedStoreOptions, FILE, backup,
    check_integrity,
};
use tokio::time::{Instant, sleep, timeout};

use crate::files::{RECOVERY, WatchedFolder};
use crate::follower::Follower;
use crate::replaced;

/// The users of a client: no other client buys for them.
const USERS: usize = 3;
/// The number of clients.
const CLIENTS: usize = 4;
/// The sizes of batches. The write-ahead log is copied after some of the largest.
const BATCH_SIZES: [usize; 6] = [2, 3, 5, 20, 100, 700];
/// The purchases of a page: few, so that most lists have several.
const PAGE: u16 = 100;
/// The group of the ingest.
const GROUP: &str = "purchase-group";
/// The farthest in seconds that the wall clock jumps.
const MAX_JUMP: i64 = 86_400;
/// The longest pause in seconds.
const MAX_PAUSE: u64 = 120;
/// The number of an attempt that does not exist.
const OTHER: usize = 999_999;
/// The time within which a record is stored when nothing fails.
pub const STORED_WITHIN: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is wrong, if something is.
pub type Checked<T = ()> = Result<T, String>;

fn user_id(user: usize) -> UserId {
    // Ids that begin with each other.
    "u".repeat(user + 1).parse().unwrap()
}

/// The price of an attempt, by the number of its call. No two attempts to buy have the same one.
fn price_of(attempt: usize) -> Price {
    Price::from_minor(attempt as i64 + 1, 0).unwrap()
}

/// The key of an attempt, if it has one.
fn key_of(attempt: usize) -> IdempotencyKey {
    format!("key-{attempt}").parse().unwrap()
}

fn id_of(user: &UserId, attempt: usize) -> PurchaseId {
    id_from_key(user, &key_of(attempt))
}

pub fn unexpected(what: &str) -> impl Fn(Error) -> String {
    move |error| format!("{what}: {}", error.chain())
}

/// Opens the shop in `folder`, lets clients call it, and closes it, twice. Errors are findings, unless the disk has failed
/// just before.
///
/// # Errors
/// What is wrong, if something is.
pub async fn run(
    folder: &Arc<WatchedFolder>,
    history: &Arc<History>,
    seed: u64,
    operations: usize,
) -> Checked {
    let mut random = fastrand::Rng::with_seed(seed);
    for operations in [operations / 2, operations - operations / 2] {
        let embedded = match EmbeddedShop::open(folder.path()).await {
            Err(_) if folder.may_fail() => {
                sleep(RECOVERY).await;
                EmbeddedShop::open(folder.path()).await
            }
            opened => opened,
        };
        let embedded = Arc::new(embedded.map_err(unexpected("it does not open"))?);
        // Another process has the same folder.
        let other = match shop_of(folder.path()).await {
            Err(_) if folder.may_fail() => None,
            opened => Some(opened.map_err(unexpected("another process does not open it"))?),
        };
        let follower = Follower::start(&embedded.shop(), folder, history).await?;
        let client = |number| Client {
            watched: Some(Arc::clone(folder)),
            embedded: Arc::clone(&embedded),
            shop: other
                .clone()
                .filter(|_| number % 2 == 1)
                .unwrap_or_else(|| embedded.shop()),
            history: Arc::clone(history),
            random: random.fork(),
            number,
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let ended = join_all(
            clients
                .into_iter()
                .map(|client| client.run(operations / CLIENTS)),
        )
        .await;
        ended.into_iter().collect::<Checked>()?;
        drop(other);
        // What fails now fails for good.
        sleep(RECOVERY).await;
        all_right(&embedded, history).await?;
        follower.end().await?;
        let embedded = Arc::into_inner(embedded).ok_or("a client still has the shop")?;
        embedded
            .close(CLOSE_TIMEOUT)
            .await
            .map_err(unexpected("it does not close"))?;
    }
    Ok(())
}

/// The shop of a process that shares the folder. SQLite's locks between processes are not simulated.
async fn shop_of(folder: &Path) -> shop_core::Result<Shop> {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default()).await?;
    let store = log.store(&EmbeddedStoreOptions::default()).await?;
    Ok(Shop::new(log.storing_sink(GROUP).await?, store))
}

struct Client {
    /// `None` for one whose disk cannot fail.
    watched: Option<Arc<WatchedFolder>>,
    embedded: Arc<EmbeddedShop>,
    shop: Shop,
    history: Arc<History>,
    random: fastrand::Rng,
    number: usize,
}

impl Client {
    async fn run(mut self, operations: usize) -> Checked {
        for _ in 0..operations {
            let user = self.number * USERS + self.random.usize(..USERS);
            match self.random.u32(..100) {
                0..35 => self.buy(user, 1, false).await?,
                35..43 => self.append(user).await?,
                43..45 => self.poison().await?,
                45..60 => self.buy(user, 1, true).await?,
                60..67 => self.repeat(user).await?,
                67..70 => self.conflict(user).await?,
                70..82 => {
                    let count = BATCH_SIZES[self.random.usize(..BATCH_SIZES.len())];
                    let has_keys = self.random.bool();
                    self.buy(user, count, has_keys).await?;
                }
                82..94 => self.list(user).await?,
                94 => sleep(Duration::from_secs(self.random.u64(..MAX_PAUSE))).await,
                95 => replaced::jump(self.random.i64(-MAX_JUMP..MAX_JUMP)),
                96 => self.back_up().await?,
                _ => self.erase(user).await?,
            }
        }
        Ok(())
    }

    fn purchase(user: usize, attempt: usize, key: Option<IdempotencyKey>) -> NewPurchase {
        let purchase = NewPurchase::new(
            user_id(user),
            "ada".parse::<shop_core::UserName>().unwrap(),
            price_of(attempt),
        );
        match key {
            Some(key) => purchase.with_key(key).unwrap(),
            None => purchase,
        }
    }

    /// Whether an error is to be expected.
    fn may_fail(&self) -> bool {
        let watched = self.watched.as_ref();
        watched.is_some_and(|watched| watched.may_fail())
    }

    /// Buys with one call. Some callers go away.
    async fn buy(&mut self, user: usize, count: usize, has_keys: bool) -> Checked {
        let first = self.history.len();
        let attempts = first..first + count;
        let mut purchases = Vec::new();
        for attempt in attempts.clone() {
            let key = has_keys.then(|| key_of(attempt));
            self.history.begin(Call::Buy {
                id: has_keys.then(|| id_of(&user_id(user), attempt)),
                user: user_id(user),
                price: price_of(attempt),
            });
            purchases.push(Self::purchase(user, attempt, key));
        }
        let patience = if self.random.u32(..8) == 0 {
            self.random.u64(..2_000)
        } else {
            u64::from(u32::MAX)
        };
        let answers = async {
            match <[NewPurchase; 1]>::try_from(purchases) {
                Ok([purchase]) => vec![self.shop.buy(purchase).await],
                Err(purchases) => self.shop.buy_many(purchases).await,
            }
        };
        let Ok(answers) = timeout(Duration::from_micros(patience), answers).await else {
            return Ok(());
        };
        for (attempt, answer) in attempts.zip(answers) {
            self.answered(attempt, answer)?;
        }
        Ok(())
    }

    /// Records the end of an attempt to buy. An error is a finding, unless the disk may have failed, or it says what the
    /// judge can judge.
    fn answered(&self, call: usize, answer: shop_core::Result<PublishedPurchase>) -> Checked {
        let outcome = match answer {
            Ok(bought) => Outcome::Bought(Acknowledgement::of_stored(bought)),
            Err(error) if error.kind() == ErrorKind::Conflict => Outcome::Conflict,
            Err(error) if error.kind() == ErrorKind::Erased => Outcome::BoughtBeforeErasure,
            Err(error) if !self.may_fail() => {
                return Err(unexpected("a purchase is refused")(error));
            }
            Err(error) if error.outcome() == shop_core::Outcome::NotApplied => Outcome::NotApplied,
            Err(_) => Outcome::Unknown,
        };
        self.history.end(call, outcome);
        Ok(())
    }

    /// Appends a purchase to the log, as another program does. Ingest stores it later.
    async fn append(&mut self, user: usize) -> Checked {
        let id = Uuid::from_u128(self.random.u128(..));
        let attempt = self.history.len();
        let purchase = Self::purchase(user, attempt, None).into_purchase(SystemClock.now(), || id);
        let call = self.history.begin(Call::Buy {
            id: Some(purchase.id),
            user: user_id(user),
            price: purchase.price,
        });
        let record = encode(&purchase).map_err(unexpected("encoding"))?;
        match self.embedded.log().append(record).await {
            Ok(position) => {
                let acknowledgement = Acknowledgement {
                    id: purchase.id,
                    purchase: Some(purchase),
                    position: Some((position.partition, position.offset)),
                    is_replayed: false,
                    is_stored: false,
                };
                self.history.end(call, Outcome::Bought(acknowledgement));
            }
            Err(_) if self.may_fail() => {}
            Err(error) => return Err(unexpected("an append fails")(error)),
        }
        Ok(())
    }

    /// Appends a record that no store accepts.
    async fn poison(&self) -> Checked {
        let number = self.history.len() as u64;
        let call = self.history.begin(Call::AppendPoison(number));
        let record = LogRecord::new(0, SystemClock.now(), Some(number.to_string().into()));
        match self.embedded.log().append(record).await {
            Ok(_) => self.history.end(call, Outcome::Done),
            Err(_) if self.may_fail() => {}
            Err(error) => return Err(unexpected("an append fails")(error)),
        }
        Ok(())
    }

    /// The attempts to buy with a key that may be repeated: the outcome of those that an erasure has met is unknown, but for
    /// acknowledged ones.
    fn repeatable(&self, user: usize) -> Vec<(usize, bool)> {
        let user = user_id(user);
        let entries = self.history.entries();
        let is_erasure = |call: &Call| matches!(call, Call::Erase(erased) if *erased == user);
        let erased = entries.iter().rposition(|entry| is_erasure(&entry.call));
        let mut attempts = Vec::new();
        for (attempt, entry) in entries.iter().enumerate() {
            let Call::Buy { id: Some(id), .. } = entry.call else {
                continue;
            };
            let is_bought = matches!(entry.outcome, Outcome::Bought(_));
            let is_known = is_bought || erased.is_none_or(|erased| erased < attempt);
            if id == id_of(&user, attempt) && is_known {
                attempts.push((attempt, is_bought));
            }
        }
        attempts
    }

    /// Buys once more what was bought with a key.
    async fn repeat(&mut self, user: usize) -> Checked {
        match self.random.choice(self.repeatable(user)) {
            Some((attempt, _)) => self.buy_with_key_of(attempt, user, attempt).await,
            None => Ok(()),
        }
    }

    /// Buys something else with a key that was used.
    async fn conflict(&mut self, user: usize) -> Checked {
        let mut bought = self.repeatable(user);
        bought.retain(|(_, is_bought)| *is_bought);
        match self.random.choice(bought) {
            Some((attempt, _)) => self.buy_with_key_of(attempt, user, OTHER).await,
            None => Ok(()),
        }
    }

    /// Buys what the attempt `content` buys, with the key of `attempt`.
    async fn buy_with_key_of(&self, attempt: usize, user: usize, content: usize) -> Checked {
        let call = self.history.begin(Call::Buy {
            id: Some(id_of(&user_id(user), attempt)),
            user: user_id(user),
            price: price_of(content),
        });
        let purchase = Self::purchase(user, content, Some(key_of(attempt)));
        let answer = self.shop.buy(purchase).await;
        self.answered(call, answer)
    }

    /// Copies the folder, and opens the copy. A backup is not copied again.
    async fn back_up(&self) -> Checked {
        let Some(watched) = &self.watched else {
            return Ok(());
        };
        let begin = self.history.now();
        let copy = crate::folder();
        match backup(watched.path(), copy.path()).await {
            Err(_) if self.may_fail() => return Ok(()),
            copied => drop(copied.map_err(unexpected("a backup fails"))?),
        }
        let history = Arc::new(self.history.of_copy_since(begin));
        let judged = Box::pin(judge(copy.path(), &history)).await;
        judged.map_err(|found| format!("a backup: {found}"))
    }

    async fn list(&self, user: usize) -> Checked {
        match list(&self.shop, &self.history, user, Sees::Earlier).await {
            Err(_) if self.may_fail() => Ok(()),
            listed => listed.map(drop).map_err(unexpected("a listing fails")),
        }
    }

    async fn erase(&self, user: usize) -> Checked {
        let id = user_id(user);
        let call = self.history.begin(Call::Erase(id.clone()));
        loop {
            match self.embedded.store().erase(&id, 50).await {
                Ok(erased) if erased.count == 0 => break,
                Ok(_) => {}
                Err(_) if self.may_fail() => return Ok(()),
                Err(error) => return Err(unexpected("an erasure fails")(error)),
            }
        }
        self.history.end(call, Outcome::Done);
        Ok(())
    }
}

type Seen = (Vec<Purchase>, Summary);

/// The list and the sums of one moment: nothing was stored between two readings.
async fn until_equal(read: impl AsyncFn() -> shop_core::Result<Seen>) -> shop_core::Result<Seen> {
    let mut last = read().await?;
    loop {
        let seen = read().await?;
        if seen == last {
            return Ok(seen);
        }
        last = seen;
    }
}

/// Lists the purchases of a user, and records them with their sum.
async fn list(
    shop: &Shop,
    history: &History,
    user: usize,
    sees: Sees,
) -> shop_core::Result<Summary> {
    let call = history.begin(Call::List {
        user: user_id(user),
        sees,
        order: ListOrder::NewestFirst,
    });
    let user = shop
        .user(user_id(user))
        .with_page_size(PageLimit::new(PAGE)?);
    let read = async || Ok((user.purchases().try_collect().await?, user.summary().await?));
    match until_equal(read).await {
        Ok((listed, summary)) => {
            history.end(call, Outcome::Listed(listed.into(), Some(summary)));
            Ok(summary)
        }
        Err(error) => {
            history.end(call, Outcome::NotApplied);
            Err(error)
        }
    }
}

/// The first violation of a history.
///
/// # Errors
/// The violation.
pub fn first_violation(history: &History) -> Checked {
    match history.judge().violations.into_iter().next() {
        Some(violation) => Err(violation),
        None => Ok(()),
    }
}

/// Opens what a power cut has left in `folder`, and compares it with what was answered before.
///
/// # Errors
/// What is wrong, if something is.
pub async fn judge(folder: &Path, history: &Arc<History>) -> Checked {
    let embedded = EmbeddedShop::open(folder)
        .await
        .map_err(unexpected("it does not open"))?;
    let shop = embedded.shop();
    for user in 0..CLIENTS * USERS {
        let listed = list(&shop, history, user, Sees::Earlier).await;
        listed.map_err(unexpected("a listing fails"))?;
    }
    first_violation(history)?;
    let embedded = Arc::new(embedded);
    all_right(&embedded, history).await?;
    let client = Client {
        watched: None,
        embedded: Arc::clone(&embedded),
        shop,
        history: Arc::clone(history),
        random: fastrand::Rng::with_seed(history.len() as u64),
        number: 0,
    };
    Box::pin(client.run(12)).await?;
    all_right(&embedded, history).await?;
    let embedded = Arc::into_inner(embedded).ok_or("a client still has the shop")?;
    embedded
        .close(CLOSE_TIMEOUT)
        .await
        .map_err(unexpected("it does not close"))?;
    let file = folder.join(format!("{FILE}.db"));
    let damage = check_integrity(file)
        .await
        .map_err(unexpected("the check fails"))?;
    if damage.is_empty() {
        Ok(())
    } else {
        Err(format!("the file is damaged: {damage:?}"))
    }
}

/// Reads all that is stored, and judges the history with it. What is only in the log is stored soon.
async fn all_right(embedded: &EmbeddedShop, history: &History) -> Checked {
    let until = Instant::now() + STORED_WITHIN;
    loop {
        // A reading that was too early is not kept.
        let history = history.clone();
        read_all(embedded, &history).await?;
        match first_violation(&history) {
            Err(_) if Instant::now() <= until => sleep(Duration::from_millis(100)).await,
            judged => return judged,
        }
    }
}

async fn read_all(embedded: &EmbeddedShop, history: &History) -> Checked {
    let call = history.begin(Call::ListDeadLetters);
    let letters = embedded
        .log()
        .pending_dead_letters()
        .await
        .map_err(unexpected("dead letters fail"))?;
    let numbers = letters.iter().filter_map(number_of).collect();
    history.end(call, Outcome::DeadLetters(numbers));

    let shop = &embedded.shop();
    let mut of_users = Summary::default();
    for user in 0..CLIENTS * USERS {
        let summary = list(shop, history, user, Sees::All)
            .await
            .map_err(unexpected("a listing fails"))?;
        of_users = together(of_users, summary)?;
    }

    let call = history.begin(Call::SumAll);
    let days = shop
        .all_users()
        .totals(Period::Day, UtcOffset::UTC)
        .await
        .map_err(unexpected("totals fail"))?;
    let mut of_days = Summary::default();
    for day in days {
        of_days = together(of_days, day.summary)?;
    }
    let of_shop = shop
        .all_users()
        .summary()
        .await
        .map_err(unexpected("totals fail"))?;
    let sums = Sums {
        of_shop,
        of_days,
        of_users,
    };
    history.end(call, Outcome::SummedAll(sums));
    Ok(())
}

/// The number of a record that no store accepts.
fn number_of(letter: &DeadLetter) -> Option<u64> {
    str::from_utf8(letter.record.value.as_deref()?)
        .ok()?
        .parse()
        .ok()
}

fn together(first: Summary, second: Summary) -> Checked<Summary> {
    let totals = [first.total_spent, second.total_spent];
    let total: Total = totals[0]
        .checked_add(totals[1])
        .map_err(|error| error.to_string())?;
    Ok(Summary::new(first.count + second.count, total))
}
