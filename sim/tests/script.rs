//! Clients of a shop, who note what they ask and what it answers.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use shop_core::log::{DeadLetter, LogExt as _, LogRecord};
use shop_core::ports::{PageLimit, Period, PurchaseErase as _, Summary, UtcOffset};
use shop_core::record::encode;
use shop_core::{
    Clock as _, Error, ErrorKind, NewPurchase, Outcome, Price, PublishedPurchase, Purchase, Shop,
    SystemClock, UserId, Uuid,
};
use shop_store::embedded::{
    EmbeddedLog, EmbeddedLogOptions, EmbeddedShop, EmbeddedStoreOptions, FILE, backup,
    check_integrity,
};
use tokio::time::{Instant, sleep, timeout};

use crate::files::{Disk, RECOVERY, locked};
use crate::follower::Follower;
use crate::history::{Answer, Erasure, History, price_of};
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
/// A price that no attempt has.
const OTHER: usize = 999_999;
/// The time within which a record is stored when nothing fails.
pub const STORED_WITHIN: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is wrong, if something is.
pub type Checked<T = ()> = Result<T, String>;

pub type Shared = Arc<Mutex<History>>;

fn user_id(user: usize) -> String {
    // Ids that begin with each other.
    "u".repeat(user + 1)
}

pub fn unexpected(what: &str) -> impl Fn(Error) -> String {
    move |error| format!("{what}: {}", error.chain())
}

/// Opens the shop in `folder`, lets clients call it, and closes it, twice. Errors are findings, unless `disk` has failed just
/// before.
///
/// # Errors
/// What is wrong, if something is.
pub async fn run(disk: &Arc<Disk>, history: &Shared, seed: u64, operations: usize) -> Checked {
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = disk.folder();
    for operations in [operations / 2, operations - operations / 2] {
        let embedded = match EmbeddedShop::open(folder).await {
            Err(_) if disk.may_fail() => {
                sleep(RECOVERY).await;
                EmbeddedShop::open(folder).await
            }
            opened => opened,
        };
        let embedded = Arc::new(embedded.map_err(unexpected("it does not open"))?);
        // Another process has the same folder.
        let other = match shop_of(folder).await {
            Err(_) if disk.may_fail() => None,
            opened => Some(opened.map_err(unexpected("another process does not open it"))?),
        };
        let first = locked(history).attempts.len();
        let follower = Follower::start(&embedded.shop(), disk).await?;
        let client = |number| Client {
            disk: Some(Arc::clone(disk)),
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
        let history = locked(history).clone();
        follower.end(&history, first).await?;
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
    /// `None` for one that cannot fail.
    disk: Option<Arc<Disk>>,
    embedded: Arc<EmbeddedShop>,
    shop: Shop,
    history: Shared,
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

    fn purchase(user: usize, attempt: usize, key: Option<&str>) -> NewPurchase {
        let id: UserId = user_id(user).parse().unwrap();
        let purchase = NewPurchase::new(
            id,
            "ada".parse::<shop_core::UserName>().unwrap(),
            Price::from_minor(price_of(attempt), 0).unwrap(),
        );
        match key {
            Some(key) => purchase.with_key(key).unwrap(),
            None => purchase,
        }
    }

    /// Whether an error is to be expected.
    fn may_fail(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.may_fail())
    }

    async fn buy(&mut self, user: usize, count: usize, has_keys: bool) -> Checked {
        let (first, purchases) = {
            let mut history = locked(&self.history);
            let first = history.attempts.len();
            let purchases: Vec<_> = (first..first + count)
                .map(|number| {
                    let key = has_keys.then(|| format!("key-{number}"));
                    let purchase = Self::purchase(user, number, key.as_deref());
                    history.begin(user, key, false);
                    purchase
                })
                .collect();
            (first, purchases)
        };
        // Some callers go away.
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
        answers
            .into_iter()
            .enumerate()
            .try_for_each(|(number, answer)| match answer {
                Ok(bought) if bought.replayed => Err(format!(
                    "attempt {} was never made before: {bought:?}",
                    first + number
                )),
                answer => self.answered(first + number, answer),
            })
    }

    fn answered(&self, attempt: usize, answer: shop_core::Result<PublishedPurchase>) -> Checked {
        let answer = match answer {
            Ok(bought) => Answer::Bought(bought.purchase.without_context()),
            Err(error) if !self.may_fail() => {
                return Err(unexpected("a purchase is refused")(error));
            }
            Err(error) if error.outcome() == Outcome::NotApplied => Answer::NotApplied,
            Err(_) => Answer::None,
        };
        locked(&self.history).attempts[attempt].answer = answer;
        Ok(())
    }

    /// Appends a purchase to the log, as another program does.
    async fn append(&mut self, user: usize) -> Checked {
        let id = Uuid::from_u128(self.random.u128(..));
        let attempt = locked(&self.history).begin(user, None, true);
        let purchase = Self::purchase(user, attempt, None).into_purchase(SystemClock.now(), || id);
        match self
            .embedded
            .log()
            .append(encode(&purchase).map_err(unexpected("encoding"))?)
            .await
        {
            Ok(_) => locked(&self.history).attempts[attempt].answer = Answer::Bought(purchase),
            Err(_) if self.may_fail() => {}
            Err(error) => return Err(unexpected("an append fails")(error)),
        }
        Ok(())
    }

    /// Appends a record that no store accepts.
    async fn poison(&self) -> Checked {
        let number = {
            let mut history = locked(&self.history);
            history.poison.push(false);
            history.poison.len() - 1
        };
        let record = LogRecord::new(0, SystemClock.now(), Some(number.to_string().into()));
        match self.embedded.log().append(record).await {
            Ok(_) => locked(&self.history).poison[number] = true,
            Err(_) if self.may_fail() => {}
            Err(error) => return Err(unexpected("an append fails")(error)),
        }
        Ok(())
    }

    /// Buys something else with a key that was used.
    async fn conflict(&mut self, user: usize) -> Checked {
        let (keys, erased) = {
            let history = locked(&self.history);
            let own = history
                .attempts
                .iter()
                .filter(|attempt| attempt.user == user);
            let bought = own.filter(|attempt| matches!(attempt.answer, Answer::Bought(_)));
            let keys = bought
                .filter_map(|attempt| attempt.key.clone())
                .collect::<Vec<_>>();
            (keys, history.erasures.contains_key(&user))
        };
        let Some(key) = self.random.choice(keys) else {
            return Ok(());
        };
        match self.shop.buy(Self::purchase(user, OTHER, Some(&key))).await {
            Err(error) if error.kind() == ErrorKind::Conflict || self.may_fail() => Ok(()),
            Err(error) if error.kind() == ErrorKind::Erased && erased => Ok(()),
            answer => Err(format!("{key} is used for another purchase: {answer:?}")),
        }
    }

    /// Copies the folder, and opens the copy. A backup is not copied again.
    async fn back_up(&self) -> Checked {
        let Some(disk) = &self.disk else {
            return Ok(());
        };
        let before = locked(&self.history).clone();
        let copy = crate::folder();
        match backup(disk.folder(), copy.path()).await {
            Err(_) if self.may_fail() => return Ok(()),
            copied => drop(copied.map_err(unexpected("a backup fails"))?),
        }
        let history = before.copied_until(locked(&self.history).clone());
        let judged = Box::pin(judge(copy.path(), &Arc::new(Mutex::new(history)))).await;
        judged.map_err(|found| format!("a backup: {found}"))
    }

    /// Buys once more what was bought with a key.
    async fn repeat(&mut self, user: usize) -> Checked {
        let (known, erased, is_erased) = {
            let history = locked(&self.history);
            let erasure = history.erasures.get(&user).copied();
            let erased = erasure.map_or(0, |erasure| erasure.before);
            let own = history
                .attempts
                .iter()
                .enumerate()
                .filter(|(number, attempt)| {
                    let is_erased =
                        *number < erased && !matches!(attempt.answer, Answer::Bought(_));
                    attempt.user == user && attempt.key.is_some() && !is_erased
                });
            let own = own
                .map(|(number, attempt)| (number, attempt.clone()))
                .collect::<Vec<_>>();
            (
                own,
                erased,
                erasure.is_some_and(|erasure| erasure.is_answered),
            )
        };
        let Some((number, attempt)) = self.random.choice(known) else {
            return Ok(());
        };
        if attempt.answer == Answer::NotApplied {
            locked(&self.history).attempts[number].answer = Answer::None;
        }
        let again = self
            .shop
            .buy(Self::purchase(user, number, attempt.key.as_deref()))
            .await;
        match (again, attempt.answer) {
            (Err(error), _) if number < erased && error.kind() == ErrorKind::Erased => Ok(()),
            (again, _) if number < erased && is_erased && !self.may_fail() => Err(format!(
                "attempt {number} was erased, and is bought again: {again:?}"
            )),
            (_, _) if number < erased => Ok(()),
            (Ok(again), Answer::Bought(first)) if again.purchase != first || !again.replayed => {
                Err(format!(
                    "attempt {number} was bought as {first:?}, and again as {again:?}"
                ))
            }
            (Ok(again), Answer::NotApplied) if again.replayed => Err(format!(
                "attempt {number} was refused, and is there: {again:?}"
            )),
            // A repetition that failed says nothing of the first.
            (Err(_), _) if self.may_fail() => Ok(()),
            (answer, _) => self.answered(number, answer),
        }
    }

    async fn list(&self, user: usize) -> Checked {
        let before = locked(&self.history).clone();
        let seen = look(&self.shop, user).await;
        match seen {
            Err(_) if self.may_fail() => Ok(()),
            seen => before.judge(user, &seen.map_err(unexpected("a listing fails"))?, false),
        }
    }

    async fn erase(&self, user: usize) -> Checked {
        let erasure = {
            let mut history = locked(&self.history);
            let erasure = Erasure {
                before: history.attempts.len(),
                is_answered: false,
            };
            history.erasures.insert(user, erasure);
            erasure
        };
        let id = user_id(user).parse().unwrap();
        loop {
            match self.embedded.store().erase(&id, 50).await {
                Ok(erased) if erased.count == 0 => break,
                Ok(_) => {}
                Err(_) if self.may_fail() => return Ok(()),
                Err(error) => return Err(unexpected("an erasure fails")(error)),
            }
        }
        locked(&self.history).erasures.insert(
            user,
            Erasure {
                is_answered: true,
                ..erasure
            },
        );
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

async fn look(shop: &Shop, user: usize) -> shop_core::Result<Seen> {
    let user = shop
        .user(user_id(user))
        .with_page_size(PageLimit::new(PAGE)?);
    until_equal(async || Ok((user.purchases().try_collect().await?, user.summary().await?))).await
}

/// Opens what a power cut has left in `folder`, and compares it with what was answered before.
///
/// # Errors
/// What is wrong, if something is.
pub async fn judge(folder: &Path, history: &Shared) -> Checked {
    let embedded = EmbeddedShop::open(folder)
        .await
        .map_err(unexpected("it does not open"))?;
    let (shop, before) = (embedded.shop(), locked(history).clone());
    for user in 0..CLIENTS * USERS {
        before.judge(
            user,
            &look(&shop, user)
                .await
                .map_err(unexpected("a listing fails"))?,
            false,
        )?;
    }
    let embedded = Arc::new(embedded);
    all_right(&embedded, history).await?;
    let client = Client {
        disk: None,
        embedded: Arc::clone(&embedded),
        shop,
        history: Arc::clone(history),
        random: fastrand::Rng::with_seed(before.attempts.len() as u64),
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

/// Compares all that is stored with what was answered. What is only in the log is stored soon.
async fn all_right(embedded: &EmbeddedShop, history: &Shared) -> Checked {
    let history = locked(history).clone();
    let until = Instant::now() + STORED_WITHIN;
    while let Err(found) = compare(embedded, &history).await? {
        if Instant::now() > until {
            return Err(found);
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn compare(embedded: &EmbeddedShop, history: &History) -> Checked<Checked> {
    let shop = &embedded.shop();
    let letters = embedded
        .log()
        .pending_dead_letters()
        .await
        .map_err(unexpected("dead letters fail"))?;
    let number = |letter: &DeadLetter| {
        str::from_utf8(letter.record.value.as_deref()?)
            .ok()?
            .parse()
            .ok()
    };
    if let Err(found) =
        history.judge_dead_letters(&letters.iter().filter_map(number).collect::<Vec<_>>())
    {
        return Ok(Err(found));
    }
    let mut sums = (0, 0);
    for user in 0..CLIENTS * USERS {
        let seen = look(shop, user)
            .await
            .map_err(unexpected("a listing fails"))?;
        if let Err(found) = history.judge(user, &seen, true) {
            return Ok(Err(found));
        }
        sums = (sums.0 + seen.1.count, sums.1 + seen.1.total_spent.units());
    }
    let days = shop
        .all_users()
        .totals(Period::Day, UtcOffset::UTC)
        .await
        .map_err(unexpected("totals fail"))?;
    let days = days.iter().fold((0, 0), |(count, units), day| {
        (
            count + day.summary.count,
            units + day.summary.total_spent.units(),
        )
    });
    let whole = shop
        .all_users()
        .summary()
        .await
        .map_err(unexpected("totals fail"))?;
    let whole = (whole.count, whole.total_spent.units());
    if days == sums && whole == sums {
        return Ok(Ok(()));
    }
    Ok(Err(format!(
        "all users have {whole:?}, {days:?} by days, and each of them {sums:?} together"
    )))
}
