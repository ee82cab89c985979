//! Clients of a shop, who note what they ask and what it answers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use shop_core::ports::PurchaseErase as _;
use shop_core::record::encode;
use shop_core::{
    Clock as _, Error, ErrorKind, NewPurchase, Outcome, Price, PublishedPurchase, Shop, SystemClock, UserId,
    Uuid,
};
use shop_store::embedded::{
    EmbeddedLog, EmbeddedLogOptions, EmbeddedShop, EmbeddedStoreOptions, FILE, backup, check_integrity,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::history::{Answer, Erasure, History, price_of};
use crate::replaced;

/// The users of a client: no other client buys for them.
const USERS: usize = 3;
/// The number of clients.
const CLIENTS: usize = 4;
/// What a batch has at most: some are longer than the write-ahead log may be.
const BATCHES: [usize; 6] = [2, 3, 5, 20, 100, 700];
/// The group of the ingest.
const GROUP: &str = "purchase-group";
/// The farthest in seconds that the wall clock jumps.
const JUMP: i64 = 86_400;
/// A price that no attempt has.
const OTHER: usize = 999_999;
/// The time within which a record is stored when nothing fails.
const STORED_WITHIN: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is wrong.
pub type Found<T = ()> = Result<T, String>;

pub type Shared = Arc<Mutex<History>>;

pub fn locked(history: &Shared) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

fn user_id(user: usize) -> String {
    // Ids that begin with each other.
    "u".repeat(user + 1)
}

fn unexpected(what: &str) -> impl Fn(Error) -> String {
    move |error| format!("{what}: {}", error.chain())
}

/// Opens the shop in `folder`, lets clients call it, and closes it. Errors are findings unless `may_fail`.
///
/// # Errors
/// What is wrong.
pub async fn run(folder: &Path, history: &Shared, seed: u64, operations: usize, may_fail: bool) -> Found {
    let mut random = fastrand::Rng::with_seed(seed);
    // A folder is also left and opened again.
    for operations in [operations / 2, operations - operations / 2] {
        let embedded = match EmbeddedShop::open(folder).await {
            Err(_) if may_fail => return Ok(()),
            opened => Arc::new(opened.map_err(unexpected("it does not open"))?),
        };
        // Another process has the same folder.
        let other = match EmbeddedLog::open(folder, EmbeddedLogOptions::default()).await {
            Err(_) if may_fail => None,
            opened => Some(opened.map_err(unexpected("another process does not open it"))?),
        };
        let others = match &other {
            Some(log) => Some(shop_of(log).await).filter(|shop| !may_fail || shop.is_ok()).transpose(),
            None => Ok(None),
        };
        let others = others.map_err(unexpected("another process does not open it"))?;
        let clients: JoinSet<_> = (0..CLIENTS)
            .map(|number| Client {
                folder: folder.to_owned(),
                embedded: Arc::clone(&embedded),
                shop: others.clone().filter(|_| number % 2 == 1).unwrap_or_else(|| embedded.shop()),
                history: Arc::clone(history),
                random: random.fork(),
                number,
                may_fail,
                backs_up: true,
            })
            .map(|client| client.run(operations / CLIENTS))
            .collect();
        clients.join_all().await.into_iter().collect::<Found>()?;
        drop((other, others));
        let embedded = Arc::into_inner(embedded).ok_or("a client still has the shop")?;
        match embedded.close(CLOSE_TIMEOUT).await {
            Err(_) if may_fail => {}
            closed => closed.map_err(unexpected("it does not close"))?,
        }
    }
    Ok(())
}

/// The shop of a process that shares the folder.
async fn shop_of(log: &EmbeddedLog) -> shop_core::Result<Shop> {
    let store = log.store(&EmbeddedStoreOptions::default()).await?;
    Ok(Shop::of(log.storing_sink(GROUP).await?, store))
}

struct Client {
    folder: PathBuf,
    embedded: Arc<EmbeddedShop>,
    shop: Shop,
    history: Shared,
    random: fastrand::Rng,
    number: usize,
    may_fail: bool,
    /// Not of a backup.
    backs_up: bool,
}

impl Client {
    async fn run(mut self, operations: usize) -> Found {
        for _ in 0..operations {
            let user = self.number * USERS + self.random.usize(..USERS);
            match self.random.u32(..100) {
                0..35 => self.buy(user, 1, false).await?,
                35..45 => self.append(user).await?,
                45..60 => self.buy(user, 1, true).await?,
                60..67 => self.repeat(user).await?,
                67..70 => self.conflict(user).await?,
                70..82 => {
                    let count = BATCHES[self.random.usize(..BATCHES.len())];
                    let has_keys = self.random.bool();
                    self.buy(user, count, has_keys).await?;
                }
                82..94 => self.list(user).await?,
                94..96 => replaced::jump(self.random.i64(-JUMP..JUMP)),
                96 if self.backs_up => self.back_up().await?,
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

    async fn buy(&mut self, user: usize, count: usize, has_keys: bool) -> Found {
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
        let answers = async {
            match <[NewPurchase; 1]>::try_from(purchases) {
                Ok([purchase]) => vec![self.shop.buy(purchase).await],
                Err(purchases) => self.shop.buy_many(purchases).await,
            }
        };
        // Some callers go away.
        let patience = if self.random.u32(..8) == 0 { self.random.u64(..2_000) } else { u64::from(u32::MAX) };
        let Ok(answers) = timeout(Duration::from_micros(patience), answers).await else { return Ok(()) };
        answers.into_iter().enumerate().try_for_each(|(number, answer)| self.answered(first + number, answer))
    }

    fn answered(&self, attempt: usize, answer: shop_core::Result<PublishedPurchase>) -> Found {
        let answer = match answer {
            Ok(bought) => Answer::Bought(bought.purchase.id),
            Err(error) if !self.may_fail => return Err(unexpected("a purchase is refused")(error)),
            Err(error) if error.outcome() == Outcome::NotApplied => Answer::NotApplied,
            Err(_) => Answer::None,
        };
        locked(&self.history).attempts[attempt].answer = answer;
        Ok(())
    }

    /// Appends a purchase to the log, as another program does.
    async fn append(&mut self, user: usize) -> Found {
        let id = Uuid::from_u128(self.random.u128(..));
        let attempt = locked(&self.history).begin(user, None, true);
        let purchase = Self::purchase(user, attempt, None).into_purchase(SystemClock.now(), || id);
        match self.embedded.log().append(encode(&purchase).map_err(unexpected("encoding"))?).await {
            Ok(_) => locked(&self.history).attempts[attempt].answer = Answer::Bought(id.into()),
            Err(_) if self.may_fail => {}
            Err(error) => return Err(unexpected("an append fails")(error)),
        }
        Ok(())
    }

    /// Buys something else with a key that was used.
    async fn conflict(&mut self, user: usize) -> Found {
        let keys = {
            let history = locked(&self.history);
            let own = history.attempts.iter().filter(|attempt| attempt.user == user);
            let bought = own.filter(|attempt| matches!(attempt.answer, Answer::Bought(_)));
            bought.filter_map(|attempt| attempt.key.clone()).collect::<Vec<_>>()
        };
        let Some(key) = self.random.choice(keys) else { return Ok(()) };
        match self.shop.buy(Self::purchase(user, OTHER, Some(&key))).await {
            Err(error)
                if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Erased) || self.may_fail =>
            {
                Ok(())
            }
            answer => Err(format!("{key} is used for another purchase: {answer:?}")),
        }
    }

    /// Copies the folder, and opens the copy.
    async fn back_up(&self) -> Found {
        let before = locked(&self.history).clone();
        let copy = crate::folder();
        match backup(&self.folder, copy.path()).await {
            Err(_) if self.may_fail => return Ok(()),
            copied => drop(copied.map_err(unexpected("a backup fails"))?),
        }
        let history = before.copied_until(locked(&self.history).clone());
        let judged = Box::pin(judge(copy.path(), &Arc::new(Mutex::new(history)))).await;
        judged.map_err(|found| format!("a backup: {found}"))
    }

    /// Buys once more what was bought with a key.
    async fn repeat(&mut self, user: usize) -> Found {
        let (known, erased, is_erased) = {
            let history = locked(&self.history);
            let erasure = history.erasures.get(&user).copied();
            let erased = erasure.map_or(0, |erasure| erasure.before);
            let own = history.attempts.iter().enumerate().filter(|(number, attempt)| {
                let is_erased = *number < erased && !matches!(attempt.answer, Answer::Bought(_));
                attempt.user == user && attempt.key.is_some() && !is_erased
            });
            let own = own.map(|(number, attempt)| (number, attempt.clone())).collect::<Vec<_>>();
            (own, erased, erasure.is_some_and(|erasure| erasure.is_answered))
        };
        let Some((number, attempt)) = self.random.choice(known) else { return Ok(()) };
        if attempt.answer == Answer::NotApplied {
            locked(&self.history).attempts[number].answer = Answer::None;
        }
        let again = self.shop.buy(Self::purchase(user, number, attempt.key.as_deref())).await;
        match (again, attempt.answer) {
            (Err(error), _) if number < erased && error.kind() == ErrorKind::Erased => Ok(()),
            (again, _) if number < erased && is_erased && !self.may_fail => {
                Err(format!("attempt {number} was erased, and is bought again: {again:?}"))
            }
            (_, _) if number < erased => Ok(()),
            (Ok(again), Answer::Bought(id)) if again.purchase.id != id || !again.replayed => {
                Err(format!("attempt {number} was bought as {id}, and again as {again:?}"))
            }
            // A repetition that failed says nothing of the first.
            (Err(_), _) if self.may_fail => Ok(()),
            (answer, _) => self.answered(number, answer),
        }
    }

    async fn list(&self, user: usize) -> Found {
        let before = locked(&self.history).clone();
        match look(&self.shop, user).await {
            Err(_) if self.may_fail => Ok(()),
            Err(error) => Err(unexpected("a listing fails")(error)),
            // A purchase of unknown outcome may appear in between.
            Ok((listed, summary)) if !self.may_fail => before.judge(user, &listed, summary, false),
            Ok(_) => Ok(()),
        }
    }

    async fn erase(&self, user: usize) -> Found {
        let erasure = {
            let mut history = locked(&self.history);
            let erasure = Erasure { before: history.attempts.len(), is_answered: false };
            history.erasures.insert(user, erasure);
            erasure
        };
        let id = user_id(user).parse().unwrap();
        loop {
            match self.embedded.store().erase(&id, 50).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) if self.may_fail => return Ok(()),
                Err(error) => return Err(unexpected("an erasure fails")(error)),
            }
        }
        locked(&self.history).erasures.insert(user, Erasure { is_answered: true, ..erasure });
        Ok(())
    }
}

type Seen = (Vec<shop_core::Purchase>, shop_core::ports::Summary);

async fn look(shop: &Shop, user: usize) -> shop_core::Result<Seen> {
    let user = shop.user(user_id(user));
    Ok((user.purchases().try_collect().await?, user.summary().await?))
}

/// Opens what a power cut has left in `folder`, and compares it with what was answered before.
///
/// # Errors
/// What is wrong.
pub async fn judge(folder: &Path, history: &Shared) -> Found {
    let embedded = EmbeddedShop::open(folder).await.map_err(unexpected("it does not open"))?;
    let shop = embedded.shop();
    let before = locked(history).clone();
    let until = Instant::now() + STORED_WITHIN;
    // What is only in the log is stored soon.
    while let Err(found) = all_right(&shop, &before).await {
        if Instant::now() > until {
            return Err(found);
        }
        sleep(Duration::from_millis(100)).await;
    }
    let client = Client {
        folder: folder.to_owned(),
        embedded: Arc::new(embedded),
        shop,
        history: Arc::clone(history),
        random: fastrand::Rng::with_seed(before.attempts.len() as u64),
        number: 0,
        may_fail: false,
        backs_up: false,
    };
    let embedded = Arc::clone(&client.embedded);
    Box::pin(client.run(12)).await?;
    let embedded = Arc::into_inner(embedded).ok_or("a client still has the shop")?;
    embedded.close(CLOSE_TIMEOUT).await.map_err(unexpected("it does not close"))?;
    let file = folder.join(format!("{FILE}.db"));
    let damage = check_integrity(file).await.map_err(unexpected("the check fails"))?;
    if damage.is_empty() { Ok(()) } else { Err(format!("the file is damaged: {damage:?}")) }
}

async fn all_right(shop: &Shop, history: &History) -> Found {
    let mut sums = (0, 0);
    for user in 0..CLIENTS * USERS {
        let (listed, summary) = look(shop, user).await.map_err(unexpected("a listing fails"))?;
        history.judge(user, &listed, summary, true)?;
        sums = (sums.0 + summary.count, sums.1 + summary.total_spent.units());
    }
    let all = shop.all_users().summary().await.map_err(unexpected("totals fail"))?;
    if (all.count, all.total_spent.units()) == sums {
        return Ok(());
    }
    Err(format!("all users have {all:?}, and each of them {sums:?} together"))
}
