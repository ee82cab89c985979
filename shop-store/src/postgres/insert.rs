//! Inserts rows whose id is not stored yet, one outcome for each.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use shop_core::log::Reason;
use shop_core::ports::InsertOutcome;
use shop_core::{Details, ErrorKind, Outcome, Purchase, PurchaseId, Result};
use tokio::time::Instant;

use super::connection::{PostgresConnection, Statement, confirmed};
use super::error::{self, postgres_error};
use super::rows::cell;
use super::sqlstate;

/// Maximum number of rows in a statement. The rows of a larger batch are inserted by several statements.
pub(super) const MAX_ROWS: usize = 10_000;

/// After a repetition, so many batches without one are expected to have another: a plain insert that fails leaves dead rows.
const EXPECTED_REPEATS: u32 = 100;

/// A row of a table with the primary key `id`.
pub(super) trait Insertable: Send + Sync {
    type Id: Ord + Copy;

    fn id(&self) -> Self::Id;

    fn same_content(&self, other: &Self) -> bool;

    /// Returns whether `stored` are the same details as those of this row, if rows of this table have any.
    fn has_same_details(&self, stored: Option<&str>) -> bool {
        stored.is_none()
    }

    /// Binds an array for each column.
    fn bind(statement: Statement, rows: &[&Self]) -> Statement;
}

/// The table of rows.
#[derive(Debug)]
pub(super) struct TargetTable {
    pub(super) name: &'static str,
    /// Its columns, `id` first.
    pub(super) columns: &'static str,
    /// The types of the columns. A price is sent as a text, which keeps the scale of zero.
    pub(super) types: &'static [&'static str],
    /// Compares the row `rest` with the row `stored` of the same id: 0 for other content, and the codes [`SAME`],
    /// [`ERASED`] and [`OTHER_DETAILS`].
    pub(super) compared: &'static str,
    /// The details of the row `stored`, which are compared here for [`OTHER_DETAILS`].
    pub(super) stored_details: &'static str,
}

/// The code of a stored row with the same content.
const SAME: i32 = 1;
/// The code of the mark of an erased purchase.
const ERASED: i32 = 2;
/// The code of a stored row that differs in the text of its details at most. They may be the same content.
const OTHER_DETAILS: i32 = 3;

impl TargetTable {
    /// The parameters, an array for each column.
    fn arrays(&self) -> String {
        let arrays = (1..)
            .zip(self.types)
            .map(|(number, of)| format!("${number}::{of}[]"));
        arrays.collect::<Vec<_>>().join(", ")
    }

    /// The parameters as rows, with their numbers from 1.
    fn input(&self) -> String {
        let arrays = self.arrays();
        let columns = self.columns;
        format!(
            "with input as materialized (
                select * from unnest({arrays}) with ordinality as input ({columns}, number)
            )"
        )
    }

    /// Inserts the rows, or none if the id of one is stored already. Returns how many: a trigger may skip some.
    fn insert_all(&self) -> String {
        let (Self { name, columns, .. }, arrays) = (self, self.arrays());
        format!(
            "with inserted as (insert into {name} ({columns}) select * from unnest({arrays}) returning 1)
             select count(*) from inserted"
        )
    }

    /// Inserts the rows whose id is not stored. `rest` are the others.
    pub(super) fn insert_new(&self) -> String {
        let Self { name, columns, .. } = self;
        let input = self.input();
        let compare = self.compare();
        format!(
            "{input}, inserted as (
                insert into {name} ({columns}) select {columns} from input on conflict (id) do nothing returning id
            ), rest as materialized (
                select * from input where id not in (select id from inserted)
            ) {compare}"
        )
    }

    /// Compares the rows of `rest` with the stored ones, which are then as durable as inserted ones. Null for a row that is not in the snapshot of the statement:
    /// another transaction has inserted it meanwhile, or a trigger has skipped it.
    ///
    /// `offset 0` prevents a join of the whole table: the rows are looked up by their ids, and there are few of them.
    fn compare(&self) -> String {
        let Self {
            name,
            compared,
            stored_details,
            ..
        } = self;
        let confirmed = confirmed("rest");
        format!(
            ", {confirmed}
            select rest.number, found.compared, found.details from rest left join lateral (
                select {compared} as compared, {stored_details} as details
                from {name} as stored where stored.id = rest.id offset 0
            ) as found on true left join confirmed on true"
        )
    }
}

/// The table of purchases. The row of an erased one has its id only.
pub(super) const PURCHASES: TargetTable = TargetTable {
    name: "purchases",
    columns: r#"id, userid, username, price, "timestamp", details"#,
    types: &[
        "text",
        "text",
        "text",
        "text[]::numeric",
        "timestamptz",
        "text[]::json",
    ],
    // The details are compared as text: a comparison of json is none of content, and jsonb refuses some numbers.
    compared: "case when stored.userid is null then 2
        when (stored.userid, stored.username, stored.price)
            is distinct from (rest.userid, rest.username, rest.price) then 0
        when stored.details::text is not distinct from rest.details::text then 1
        else 3 end",
    stored_details: "stored.details::text",
};

impl Insertable for Purchase {
    type Id = PurchaseId;

    fn id(&self) -> PurchaseId {
        self.id
    }

    fn same_content(&self, other: &Self) -> bool {
        Self::same_content(self, other)
    }

    fn has_same_details(&self, stored: Option<&str>) -> bool {
        let details = match stored {
            Some(json) => Details::from_json(json.as_bytes(), &[]),
            None => Ok(Details::NONE),
        };
        details.is_ok_and(|details| self.clone().with_details(details).same_content(self))
    }

    fn bind(statement: Statement, rows: &[&Self]) -> Statement {
        let texts =
            |text: fn(&Self) -> String| rows.iter().map(|row| text(row)).collect::<Vec<_>>();
        let times: Vec<_> = rows
            .iter()
            .map(|row| SystemTime::from(row.timestamp))
            .collect();
        statement
            .bind(texts(|row| row.id.to_string()))
            .bind(texts(|row| row.user_id.to_string()))
            .bind(texts(|row| row.user_name.to_string()))
            .bind(texts(|row| row.price.to_string()))
            .bind(times)
            .bind(
                rows.iter()
                    .map(|row| row.details.to_json())
                    .collect::<Vec<_>>(),
            )
    }
}

/// Inserts `batch` into `table`. Returns one outcome for each row.
pub(super) async fn insert<R: Insertable>(
    connection: &PostgresConnection,
    table: &TargetTable,
    batch: &[R],
) -> Result<Vec<InsertOutcome>> {
    let mut indices: Vec<usize> = (0..batch.len()).collect();
    // Statements that insert the same ids wait for each other, in the same order. Equal ids stay in the batch's order.
    indices.sort_by_key(|index| batch[*index].id());
    let deadline = Instant::now() + connection.options.insert_timeout;
    let outcomes = vec![InsertOutcome::Inserted; batch.len()];
    let mut insertion = BatchInsert {
        connection,
        table,
        batch,
        deadline,
        outcomes,
    };
    for part in indices.chunks(MAX_ROWS) {
        insertion.insert(part).await?;
    }
    Ok(insertion.outcomes)
}

struct BatchInsert<'a, R> {
    connection: &'a PostgresConnection,
    table: &'a TargetTable,
    batch: &'a [R],
    deadline: Instant,
    outcomes: Vec<InsertOutcome>,
}

impl<R: Insertable> BatchInsert<'_, R> {
    /// Inserts the rows at `indices`. If the server rejects a row, each half is inserted by itself.
    async fn insert(&mut self, indices: &[usize]) -> Result<()> {
        let mut waiting = vec![indices];
        while let Some(indices) = waiting.pop() {
            match self.write(indices).await {
                Ok(rest) => self.compare(indices, &rest).await?,
                Err(error) if !sqlstate::is_about_rows(&error) => return Err(error),
                Err(error) => match indices {
                    [index] => {
                        let rejected = Reason::refused(error);
                        self.outcomes[*index] =
                            rejected.map_or_else(InsertOutcome::Unknown, InsertOutcome::Rejected);
                    }
                    _ => {
                        waiting.extend(
                            <[_; 2]>::from(indices.split_at(indices.len() / 2))
                                .into_iter()
                                .rev(),
                        );
                    }
                },
            }
        }
        Ok(())
    }

    /// Inserts the rows at `indices` whose id is not stored. Returns a row for each of the others.
    ///
    /// Batches rarely repeat what is stored. As long as none does, the statement neither asks for conflicts nor returns
    /// ids (docs/performance.md).
    async fn write(&self, indices: &[usize]) -> Result<Vec<tokio_postgres::Row>> {
        let repeats = &self.connection.repeats;
        let expected = repeats.load(Ordering::Relaxed);
        if expected == 0 {
            let sent = self.statement(self.table.insert_all(), indices);
            match self.connection.write_by(sent, self.deadline).await {
                Err(error) if error::code(&error) == Some(sqlstate::UNIQUE_VIOLATION) => {}
                Ok(count) if usize::try_from(cell::<i64>(&count, 0)?) != Ok(indices.len()) => {}
                inserted => return inserted.map(|_count| Vec::new()),
            }
        }
        let sent = self.statement(self.table.insert_new(), indices);
        let rest = self.connection.write_by(sent, self.deadline).await?;
        let expected = if rest.is_empty() {
            expected.saturating_sub(1)
        } else {
            EXPECTED_REPEATS
        };
        repeats.store(expected, Ordering::Relaxed);
        Ok(rest)
    }

    /// Sets the outcomes of the rows at `indices`, of which those in `rest` were stored before.
    async fn compare(&mut self, indices: &[usize], rest: &[tokio_postgres::Row]) -> Result<()> {
        let mut is_new = vec![true; indices.len()];
        let mut unseen = Vec::new();
        for comparison in RowComparison::all(rest)? {
            let Some(index) = indices.get(comparison.number) else {
                return Err(invalid_answer());
            };
            is_new[comparison.number] = false;
            match comparison.outcome(&self.batch[*index]) {
                Some(outcome) => self.outcomes[*index] = outcome,
                None => unseen.push(*index),
            }
        }
        // A repeated id was inserted by its first row.
        let mut first = None;
        for (index, _) in indices.iter().zip(is_new).filter(|(_, is_new)| *is_new) {
            let row = &self.batch[*index];
            match first.filter(|first: &&R| first.id() == row.id()) {
                Some(first) if first.same_content(row) => {
                    self.outcomes[*index] = InsertOutcome::Duplicate;
                }
                Some(_) => self.outcomes[*index] = InsertOutcome::Conflict,
                None => (first, self.outcomes[*index]) = (Some(row), InsertOutcome::Inserted),
            }
        }
        if unseen.is_empty() {
            Ok(())
        } else {
            self.compare_again(&unseen).await
        }
    }

    /// Compares rows that another transaction has inserted meanwhile. Those that are not there are not stored.
    async fn compare_again(&mut self, indices: &[usize]) -> Result<()> {
        let sql = format!(
            "{}, rest as (table input) {}",
            self.table.input(),
            self.table.compare()
        );
        let compare = self.statement(sql, indices);
        let compared = self.connection.write_by(compare, self.deadline).await?;
        for comparison in RowComparison::all(&compared)? {
            let Some(index) = indices.get(comparison.number) else {
                return Err(invalid_answer());
            };
            let outcome = comparison.outcome(&self.batch[*index]);
            self.outcomes[*index] = outcome.unwrap_or_else(|| {
                let message =
                    "PostgreSQL has not stored the row: a trigger has skipped it, or it was deleted";
                let error = postgres_error(ErrorKind::Unavailable, message);
                InsertOutcome::Unknown(error.with_outcome(Outcome::NotApplied))
            });
        }
        Ok(())
    }

    fn statement(&self, sql: String, indices: &[usize]) -> Statement {
        let rows: Vec<&R> = indices.iter().map(|index| &self.batch[*index]).collect();
        R::bind(Statement::new(sql), &rows)
    }
}

/// A row that was not inserted, compared with the stored row of the same id.
struct RowComparison<'a> {
    /// The position of the row in the statement.
    number: usize,
    /// One of the codes of [`TargetTable::compared`]; `None` if the statement did not see a stored row.
    code: Option<i32>,
    /// The stored details.
    details: Option<&'a str>,
}

impl<'a> RowComparison<'a> {
    /// Reads the answer to [`TargetTable::compare`].
    fn all(rows: &'a [tokio_postgres::Row]) -> Result<Vec<Self>> {
        rows.iter()
            .map(|row| Self::read(row).ok_or_else(invalid_answer))
            .collect()
    }

    fn read(row: &'a tokio_postgres::Row) -> Option<Self> {
        let number: i64 = row.try_get(0).ok()?;
        Some(Self {
            // Ordinality begins at 1.
            number: usize::try_from(number - 1).ok()?,
            code: row.try_get(1).ok()?,
            details: row.try_get(2).ok()?,
        })
    }

    /// Returns the outcome of `row`; `None` if the statement did not see a stored row.
    fn outcome<R: Insertable>(&self, row: &R) -> Option<InsertOutcome> {
        Some(match self.code? {
            SAME => InsertOutcome::Duplicate,
            ERASED => InsertOutcome::Erased,
            OTHER_DETAILS if row.has_same_details(self.details) => InsertOutcome::Duplicate,
            _ => InsertOutcome::Conflict,
        })
    }
}

fn invalid_answer() -> shop_core::Error {
    postgres_error(
        ErrorKind::Internal,
        "PostgreSQL returned a row that was not sent",
    )
}
