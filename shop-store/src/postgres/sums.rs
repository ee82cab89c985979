//! Answers questions for totals from sums that the database keeps, without reading the purchases.
//!
//! `sums.sql` has the tables. Triggers record each change of `purchases` in `purchases_deltas`, and
//! the [`fold`](super::fold) adds these records to `purchases_sums`. An answer adds up three parts
//! in one statement, and so in one snapshot:
//!
//! ```text
//!  from                                                                    to
//!   │ rows │ quarters │ hours │     UTC days     │ hours │ quarters │ rows   │
//!          └───────────── and the deltas of this range ────────────┘
//! ```
//!
//! Days in another time zone begin within a UTC day, so they are added up from hours, or from quarters
//! of an hour.
//!
//! A *scope* is what sums are kept for: the whole shop, whose scope is the empty text, or one user.
//! The sums of the shop are always kept. The sums of a user are kept once a question about the user
//! has counted many purchases. In all other cases, the purchases themselves are added up, see
//! [`kept_query`] and [`PostgresStore::read_kept_slots`].

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shop_core::ports::{Selector, TimeRange, Totals, TotalsRequest};
use shop_core::{ErrorKind, Result, Timestamp, UserId};
use tokio::time::Instant;
use tokio_postgres::Row;

use super::PostgresStore;
use super::connection::Statement;
use super::error::postgres_error;
use super::fold::FoldTask;
use super::select::add_selection;
use super::{rows, sqlstate};
use crate::StoreInspection;

/// The name of the scope of the whole shop. The id of a user is never empty.
pub(super) const SHOP_SCOPE: &str = "";

/// The number of purchases of a user that a question may count before sums are kept for the user.
pub(super) const MAX_COUNTED: u64 = 1_000;

/// The maximum number of users whose sums a store remembers to be kept. A store that would exceed it
/// forgets all users, and finds out again.
const MAX_KNOWN_USERS: usize = 10_000;

/// The pause between two requests to keep the sums of a user.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after the server rejected a statement on the tables of the sums, for example because of
/// a missing right.
const PAUSE_AFTER_REJECTION: Duration = Duration::from_secs(60);

/// The lengths of the periods in `purchases_sums`: a UTC day, an hour, and a quarter of an hour. Each
/// period consists of whole periods of the next length.
pub(super) const PERIOD_MINUTES: [i64; 3] = [24 * 60, 60, 15];

/// The milliseconds of a minute.
const MINUTE_MILLIS: i64 = 60_000;
/// The milliseconds of a quarter of an hour.
const QUARTER_MILLIS: i64 = 15 * MINUTE_MILLIS;

/// What the clones of a store know about the kept sums.
#[derive(Debug, Default)]
pub(super) struct KeptSums {
    /// The users whose sums were complete when the store looked last.
    known_users: Mutex<HashSet<UserId>>,
    /// The time before which no request to keep sums is sent.
    next_request: Mutex<Option<Instant>>,
    /// The time before which the tables of the sums are not read.
    next_read: Mutex<Option<Instant>>,
    /// The background task that folds deltas into sums.
    pub(super) fold_task: FoldTask,
}

impl KeptSums {
    /// Returns the name of the scope of `selector`, if its sums may be kept.
    fn scope_of(&self, selector: &Selector) -> Option<String> {
        match selector {
            Selector::All => Some(SHOP_SCOPE.to_owned()),
            Selector::User(user) => lock(&self.known_users)
                .contains(user)
                .then(|| user.to_string()),
            Selector::Name(_) | Selector::Reference(..) => None,
        }
    }

    /// Records that the sums of `user` are complete.
    fn remember_user(&self, user: &UserId) {
        let mut known_users = lock(&self.known_users);
        if known_users.len() >= MAX_KNOWN_USERS {
            known_users.clear();
        }
        known_users.insert(user.clone());
    }

    /// Records that the sums of the scope of `selector` are not complete.
    fn forget_user(&self, selector: &Selector) {
        if let Selector::User(user) = selector {
            lock(&self.known_users).remove(user);
        }
    }
}

/// Locks a value that no panic leaves half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// If the time in `next_time` has come, sets it to the end of `pause`, and returns `true`. Else returns
/// `false`.
fn try_begin_pause(next_time: &Mutex<Option<Instant>>, pause: Duration) -> bool {
    let now = Instant::now();
    let mut next_time = lock(next_time);
    if next_time.is_some_and(|time| now < time) {
        return false;
    }
    *next_time = Some(now + pause);
    true
}

impl PostgresStore {
    /// Reads the slots of a question from the kept sums, as rows of
    /// [`sums_query`](super::select::sums_query).
    ///
    /// Returns `None` if the purchases have to be read: the sums of the scope are not complete, the
    /// question does not fit the sums, or the tables of the sums are missing or may not be read.
    ///
    /// # Errors
    /// Any other error of the statement.
    pub(super) async fn read_kept_slots(
        &self,
        selector: &Selector,
        request: &TotalsRequest,
        deadline: Instant,
    ) -> Result<Option<Vec<Row>>> {
        let Some(scope) = self.sums.scope_of(selector) else {
            return Ok(None);
        };
        let Some(query) = kept_query(scope, selector, request) else {
            return Ok(None);
        };
        if lock(&self.sums.next_read).is_some_and(|time| Instant::now() < time) {
            return Ok(None);
        }

        let mut slots = match self.connection.run(query, deadline).await {
            Ok(rows) => rows,
            Err(error) if sqlstate::is_about_statement(&error) => {
                tracing::debug!(error = %error.chain(), "the tables of sums cannot be read");
                *lock(&self.sums.next_read) = Some(Instant::now() + PAUSE_AFTER_REJECTION);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // The column is null if the scope is not kept.
        let is_ready = rows::answer_column::<Option<bool>>(&slots, "ready")?.unwrap_or_default();
        if !is_ready {
            self.sums.forget_user(selector);
            return Ok(None);
        }

        // If there is no slot, the answer is one row with nulls.
        slots.retain(|row| matches!(row.try_get::<_, Option<i64>>("count"), Ok(Some(_))));
        Ok(Some(slots))
    }

    /// Requests in the background that the sums of `user` are kept. The caller has counted `count`
    /// purchases of the user.
    ///
    /// Does nothing if `count` is small, because few purchases are added up quickly, or if another
    /// request was sent within the last second.
    pub(super) fn keep_sums_of_large_user(&self, user: &UserId, count: u64) {
        if count <= MAX_COUNTED || !try_begin_pause(&self.sums.next_request, PAUSE) {
            return;
        }
        let store = self.clone();
        let user = user.clone();
        tokio::spawn(async move {
            if let Err(error) = store.request_sums(&user).await {
                tracing::debug!(error = %error.chain(), "the sums of a user cannot be kept");
                let next_time = Instant::now() + PAUSE_AFTER_REJECTION;
                *lock(&store.sums.next_request) = Some(next_time);
            }
        });
    }

    /// Finds out whether the sums of `user` are complete, and requests to keep them if they are not
    /// kept. The [`fold`](super::fold) of an ingesting process fulfils the request.
    ///
    /// # Errors
    /// An error of a statement, for example if the database is read-only.
    pub(super) async fn request_sums(&self, user: &UserId) -> Result<()> {
        let select = "select ready from purchases_kept where scope = $1";
        let query = Statement::new(select).bind(user.to_string());
        let kept_rows = self.connection.query(query).await?;
        if let Some(row) = kept_rows.first() {
            // A column that cannot be read counts as `false`: then the purchases are added up.
            if row.try_get("ready").unwrap_or_default() {
                self.sums.remember_user(user);
            }
            return Ok(());
        }

        let insert =
            "insert into purchases_kept (scope) values ($1) on conflict (scope) do nothing";
        let request = Statement::new(insert).bind(user.to_string());
        self.connection.write(request).await?;
        self.sums.fold_task.wake();
        Ok(())
    }
}

impl PostgresStore {
    /// Adds a fault to `inspection` if the kept sums would miss changes of the purchases.
    ///
    /// # Errors
    /// An error of the query.
    pub(super) async fn inspect_triggers(&self, inspection: &mut StoreInspection) -> Result<()> {
        let select = "
            select to_regclass('purchases_kept') is not null and 5 > (
                select count(*) from pg_trigger where tgrelid = to_regclass('purchases')
                    and starts_with(tgname::text, 'purchases_sums_') and tgenabled in ('O', 'A')
            ) as misses_changes";
        let rows = self.connection.query(Statement::new(select)).await?;
        if rows::answer_column(&rows, "misses_changes")? {
            let message = "triggers are missing or disabled, so totals are wrong: create or enable them, and then \
                           delete all rows of purchases_kept";
            let fault = postgres_error(ErrorKind::Unsupported, message);
            inspection
                .faults
                .push(fault.with_context("table", "purchases"));
        }
        Ok(())
    }
}

/// The parts of a range of time that are read from different tables.
#[derive(Debug, Default)]
struct RangeParts {
    /// The part of all whole quarters of an hour. Deltas are read for this part.
    whole_quarters: MillisRange,
    /// The parts that are read from the sums, each with the length of its periods in minutes.
    periods: Vec<(i64, MillisRange)>,
    /// The parts at both ends that are read from the purchases.
    edges: Vec<MillisRange>,
}

/// The start and the end of a part, in milliseconds since 1970. The end is not included. `None` stands
/// for no bound.
///
/// Each bound is a [`Timestamp`]: [`align_range`] returns no range that starts later than the last one,
/// and the first one is a multiple of each length.
type MillisRange = (Option<i64>, Option<i64>);

impl RangeParts {
    /// Divides `range`, with periods of at most `longest_minutes`.
    ///
    /// Returns `None` if the range contains no whole quarter of an hour.
    fn new(range: TimeRange, longest_minutes: i64) -> Option<Self> {
        let from = range.from().map(Timestamp::as_millis);
        let to = range.to().map(Timestamp::as_millis);
        let whole_quarters = align_range(from, to, QUARTER_MILLIS)?;
        let mut parts = Self {
            whole_quarters,
            ..Self::default()
        };
        parts.edges = around(whole_quarters, (from, to));

        // The longest periods come first. The range around them is divided into shorter ones.
        let mut undivided = vec![whole_quarters];
        let lengths = PERIOD_MINUTES.into_iter();
        for minutes in lengths.filter(|minutes| *minutes <= longest_minutes) {
            let mut shorter = Vec::new();
            for part in undivided {
                match align_range(part.0, part.1, minutes * MINUTE_MILLIS) {
                    Some(whole_periods) => {
                        parts.periods.push((minutes, whole_periods));
                        shorter.extend(around(whole_periods, part));
                    }
                    None => shorter.push(part),
                }
            }
            undivided = shorter;
        }
        Some(parts)
    }
}

/// Returns the parts of `outer` before and after `inner`, which is within it. A part that would be
/// empty is left out.
fn around(inner: MillisRange, outer: MillisRange) -> Vec<MillisRange> {
    let mut parts = Vec::new();
    if inner.0 != outer.0 {
        parts.push((outer.0, inner.0));
    }
    if inner.1 != outer.1 {
        parts.push((inner.1, outer.1));
    }
    parts
}

/// Returns the largest range within `from` and `to` whose bounds are multiples of `length`, all in
/// milliseconds.
///
/// Returns `None` if the range is empty, or if its start is later than the last [`Timestamp`].
fn align_range(from: Option<i64>, to: Option<i64>, length: i64) -> Option<MillisRange> {
    let start = from.map(|from| from + (-from).rem_euclid(length));
    let end = to.map(|to| to - to.rem_euclid(length));
    let is_empty = match (start, end) {
        (Some(start), Some(end)) => start >= end,
        (Some(start), None) => Timestamp::from_millis(start).is_err(),
        (None, _) => false,
    };
    (!is_empty).then_some((start, end))
}

/// Returns the length in minutes of the longest periods that divide slots, so that no period is part of
/// two slots. Returns `None` if a slot begins within a quarter of an hour.
///
/// `slot_millis` is the length of a slot, or `None` if all purchases are in one slot. Slots begin at
/// multiples of their length in the zone that is `zone_minutes` ahead of UTC.
fn longest_period(slot_millis: Option<i64>, zone_minutes: i64) -> Option<i64> {
    let fits = |minutes: &i64| {
        slot_millis.is_none_or(|slot_millis| {
            slot_millis % (minutes * MINUTE_MILLIS) == 0 && zone_minutes % minutes == 0
        })
    };
    PERIOD_MINUTES.into_iter().find(fits)
}

/// Returns the query of the slots of a question from the sums of `scope`.
///
/// Returns `None` if a period begins within a quarter of an hour, or if the range contains no whole
/// quarter.
///
/// The columns `count`, `total` and `first_time` are those of
/// [`sums_query`](super::select::sums_query), and are null if there is no slot. The column `ready`
/// is true if the sums of the scope are complete. If not, the slots are not valid, and the server
/// has read none of the other tables.
pub(super) fn kept_query(
    scope: String,
    selector: &Selector,
    request: &TotalsRequest,
) -> Option<Statement> {
    let slots = Totals::slots(request);
    let slot_length = slots.map(|(_shift, length)| length);
    let longest_minutes = longest_period(slot_length, request.zone.minutes().into())?;
    let parts = RangeParts::new(request.range, longest_minutes)?;

    let mut branches = Branches {
        statement: Statement::new("").bind(scope),
        selects: Vec::new(),
    };
    branches = branches.with_sums("purchases_deltas", "", parts.whole_quarters);
    for (minutes, range) in parts.periods {
        let condition = format!("and minutes = {minutes}");
        branches = branches.with_sums("purchases_sums", &condition, range);
    }
    for edge in parts.edges {
        branches = branches.with_purchases(selector, edge);
    }
    let mut statement = branches.statement;
    let branches = branches.selects.join(" union all ");

    let (first_time, group_by) = match slots {
        None => ("null::timestamptz", String::new()),
        Some((shift, length)) => ("min(start)", group_by_slot("start", shift, length)),
    };
    let sql = format!(
        "with kept as materialized (select ready from purchases_kept where scope = $1),
         parts (start, count, total) as ({branches}),
         slots as (
             select sum(count)::bigint as count, trim_scale(sum(total))::text as total,
                 {first_time} as first_time
             from parts {group_by}
         )
         select (select ready from kept) as ready, slots.*
         from (select) as single left join slots on true"
    );
    statement.sql = sql.into();
    Some(statement)
}

/// The branches of [`kept_query`], each of which selects the rows of one part of the range, and the
/// statement with their parameters.
struct Branches {
    statement: Statement,
    selects: Vec<String>,
}

impl Branches {
    /// Adds a branch that reads the sums of `range` from `table`, where `condition` holds.
    fn with_sums(mut self, table: &str, condition: &str, range: MillisRange) -> Self {
        let (statement, bounds) = add_bounds(self.statement, range);
        self.statement = statement;
        self.selects.push(format!(
            "select start, count, total from {table}
             where (select ready from kept) and scope = $1 {condition} {bounds}"
        ));
        self
    }

    /// Adds a branch that reads the purchases of `selector` in `range`.
    fn with_purchases(mut self, selector: &Selector, range: MillisRange) -> Self {
        let (from, to) = range;
        let (statement, condition) =
            add_selection(self.statement, selector, bound_time(from), bound_time(to));
        self.statement = statement;
        self.selects.push(format!(
            r#"select "timestamp", (price >= 0)::integer, price from purchases
               where (select ready from kept) and {condition}"#
        ));
        self
    }
}

/// Binds the bounds of `range` to `statement`. Returns the statement, and the SQL condition that the
/// column `start` is within the bounds.
fn add_bounds(mut statement: Statement, range: MillisRange) -> (Statement, String) {
    let mut condition = String::new();
    let (start, end) = range;
    for (bound, operator) in [(start, ">="), (end, "<")] {
        if let Some(time) = bound_time(bound) {
            statement = statement.bind(std::time::SystemTime::from(time));
            condition += &format!(" and start {operator} ${}", statement.parameters.len());
        }
    }
    (statement, condition)
}

/// Returns the time of a bound of a [`MillisRange`], if there is a bound.
fn bound_time(bound: Option<i64>) -> Option<Timestamp> {
    Timestamp::from_millis(bound?).ok()
}

/// Returns the SQL that groups rows by the slot of the time in `column`, and limits the slots.
///
/// `shift` and `length` are those of [`Totals::slots`]. One slot more than is allowed is returned at
/// most, which is enough to reject the request. The slots are computed by `date_bin`, which uses
/// integers. An expression of `extract` would compute with numeric values for each row, which is
/// slower.
pub(super) fn group_by_slot(column: &str, shift: i64, length: i64) -> String {
    let limit = Totals::MAX_SLOTS + 1;
    format!(
        "group by date_bin('{length} ms', {column}, timestamptz 'epoch' - interval '1 ms' * {shift}) limit {limit}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * MINUTE_MILLIS;
    const HOUR: i64 = 60 * MINUTE_MILLIS;

    fn parts(from: Option<i64>, to: Option<i64>, longest_minutes: i64) -> Option<RangeParts> {
        let at = |millis: i64| Timestamp::from_millis(millis).unwrap();
        let range = TimeRange::new(from.map(at), to.map(at)).unwrap();
        RangeParts::new(range, longest_minutes)
    }

    #[test]
    fn a_range_is_divided_at_days_hours_and_quarters() {
        let first_quarter = DAY - HOUR - QUARTER_MILLIS;
        let last_quarter = 3 * DAY + 2 * HOUR + 3 * QUARTER_MILLIS;
        let (from, to) = (first_quarter - 1, last_quarter + 1);
        let part = |start, end| (Some(start), Some(end));
        let first = part(first_quarter, DAY - HOUR);
        let last = part(3 * DAY + 2 * HOUR, last_quarter);
        for (longest, periods) in [
            (
                1_440,
                vec![
                    (1_440, part(DAY, 3 * DAY)),
                    (60, part(DAY - HOUR, DAY)),
                    (60, part(3 * DAY, 3 * DAY + 2 * HOUR)),
                    (15, first),
                    (15, last),
                ],
            ),
            (
                60,
                vec![
                    (60, part(DAY - HOUR, 3 * DAY + 2 * HOUR)),
                    (15, first),
                    (15, last),
                ],
            ),
            (15, vec![(15, part(first_quarter, last_quarter))]),
        ] {
            let divided = parts(Some(from), Some(to), longest).unwrap();
            assert_eq!(divided.whole_quarters, part(first_quarter, last_quarter));
            assert_eq!(divided.periods, periods);
            assert_eq!(
                divided.edges,
                [part(from, first_quarter), part(last_quarter, to)]
            );
        }
    }

    #[test]
    fn a_range_without_bounds_is_days_alone() {
        let divided = parts(None, None, 1_440).unwrap();
        assert_eq!(divided.periods, [(1_440, (None, None))]);
        assert!(divided.edges.is_empty());
    }

    #[test]
    fn a_range_within_a_quarter_has_no_sums() {
        assert!(parts(Some(1), Some(QUARTER_MILLIS), 1_440).is_none());
        let last = Timestamp::MAX.as_millis();
        assert!(parts(Some(last - 1), None, 1_440).is_some());
        assert!(parts(Some(last - DAY), None, 1_440).is_some());
    }

    #[test]
    fn slots_are_added_up_from_the_longest_periods_that_fit() {
        let (day, hour) = (Some(DAY), Some(HOUR));
        for (slot_millis, zone_minutes, longest) in [
            (day, 0, Some(1_440)),
            (day, 120, Some(60)),
            (day, -210, Some(15)),
            (day, 345, Some(15)),
            (day, 7, None),
            (hour, 0, Some(60)),
            (hour, -60, Some(60)),
            (hour, 30, Some(15)),
            (None, 7, Some(1_440)),
        ] {
            let found = longest_period(slot_millis, zone_minutes);
            assert_eq!(found, longest, "{slot_millis:?} {zone_minutes}");
        }
    }
}
