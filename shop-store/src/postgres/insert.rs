//! Inserts batches of rows, and returns one outcome for each row: inserted, duplicate, conflict,
//! erased, or rejected.
//!
//! ```text
//! batch ──▶ insert_all ──every row is new──▶ done
//!               │ an id is stored already
//!               ▼
//!           insert_new ──▶ the rows that were not inserted, compared with the stored rows
//!               │ a row is rejected, for example by a constraint
//!               ▼
//!           each half of the rows by itself, down to the rejected row
//! ```
//!
//! Each statement is one transaction. The statements are idempotent, so a batch whose outcome is
//! unknown is sent again.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use shop_core::log::Reason;
use shop_core::ports::InsertOutcome;
use shop_core::{Details, ErrorKind, Purchase, PurchaseId, Result};
use tokio::time::Instant;
use tokio_postgres::Row;

use super::connection::{PostgresConnection, Statement, confirmed};
use super::error::{postgres_error, unavailable_error};
use super::rows::answer_column;
use super::sqlstate;

/// The maximum number of rows in a statement. A larger batch is inserted by several statements.
pub(super) const MAX_ROWS: usize = 10_000;

/// The number of batches that are sent by [`TargetTable::insert_new`] after a batch that contained
/// a stored row.
///
/// A batch that repeats stored rows is often followed by further such batches, for example while a log
/// is read again. A plain insert that fails leaves dead rows in the table, so it is tried again only
/// after this many batches without a stored row.
const EXPECTED_REPEATS: u32 = 100;

/// A row of a table with the primary key `id`.
pub trait Insertable: Send + Sync {
    /// The type of the primary key.
    type Id: Ord + Copy;

    /// Returns the primary key of this row.
    fn id(&self) -> Self::Id;

    /// Returns whether this row and `other`, a row with the same id, are the same record sent
    /// twice.
    fn same_content(&self, other: &Self) -> bool;

    /// Returns whether the content of this row's details is the same as in `stored`, the JSON of
    /// stored details.
    ///
    /// The default implementation is for rows without details.
    fn has_same_details(&self, stored: Option<&str>) -> bool {
        stored.is_none()
    }

    /// Binds one array for each column, with the values of `rows` in their order.
    fn bind(statement: Statement, rows: &[&Self]) -> Statement;
}

/// The table that rows are inserted into, from which the SQL of inserts is built.
#[derive(Debug)]
pub struct TargetTable {
    /// The name of the table.
    pub name: &'static str,
    /// The names of the columns, separated by commas, with `id` first.
    pub columns: &'static str,
    /// The SQL of the parameters, one array for each column. A price is sent as text and converted
    /// by the server, because this keeps the scale of a price of zero, as in `0.00`.
    pub arrays: &'static str,
    /// The SQL expression that compares the sent row `rest` with the row `stored` of the same id.
    ///
    /// Its value is 1 (`SAME`), 2 (`ERASED`) or 3 (`OTHER_DETAILS`), or 0 if the content of
    /// the stored row differs.
    pub compared: &'static str,
    /// The SQL expression of the details of the row `stored`. For `OTHER_DETAILS`, they are
    /// compared by [`Insertable::has_same_details`].
    pub stored_details: &'static str,
}

/// The code of a stored row with the same content.
const SAME: i32 = 1;
/// The code of the mark of an erased purchase.
const ERASED: i32 = 2;
/// The code of a stored row that differs only in the text of its details. Different JSON texts may
/// represent the same content.
const OTHER_DETAILS: i32 = 3;

impl TargetTable {
    /// Returns the SQL of a common table expression `input`, which contains one row for each sent
    /// row, numbered from 1.
    fn input(&self) -> String {
        let Self {
            columns, arrays, ..
        } = self;
        format!(
            "with input as materialized (
                select * from unnest({arrays}) with ordinality as input ({columns}, number)
            )"
        )
    }

    /// Returns the SQL of a plain insert of all rows.
    ///
    /// The insert fails, and inserts nothing, if the id of a row is stored already. The answer is
    /// the number of inserted rows, which is lower than the number of sent rows if a trigger
    /// skipped some.
    fn insert_all(&self) -> String {
        let Self {
            name,
            columns,
            arrays,
            ..
        } = self;
        format!(
            "with inserted as (insert into {name} ({columns}) select * from unnest({arrays}) returning 1)
             select count(*) as count from inserted"
        )
    }

    /// Returns the SQL of an insert of the rows whose id is not stored.
    ///
    /// The answer contains one row for each row that was not inserted, see
    /// `compare`.
    pub fn insert_new(&self) -> String {
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

    /// Returns the SQL that compares the rows of the common table expression `rest` with the stored
    /// rows of the same ids.
    ///
    /// The answer contains one row for each row of `rest`: its number, the code of the comparison
    /// and the stored details. The code is null if the snapshot of the statement contains no row
    /// with the id: another transaction inserted it meanwhile, or a trigger skipped the insert.
    ///
    /// The statement waits until the stored rows are on the standby, see [`confirmed`], because a
    /// duplicate is acknowledged like an inserted row.
    ///
    /// `offset 0` keeps the planner from joining the whole table. The few rows of `rest` are looked
    /// up by their ids.
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

/// The table of purchases. In the row of an erased purchase, all columns except the id are null.
pub(super) const PURCHASES: TargetTable = TargetTable {
    name: "purchases",
    columns: r#"id, userid, username, price, "timestamp", details"#,
    arrays: "$1::text[], $2::text[], $3::text[], $4::text[]::numeric[], $5::timestamptz[], $6::text[]::json[]",
    // The details are compared as text. PostgreSQL cannot compare values of the type json, and
    // jsonb rejects some numbers. So details with other text get a code of their own, and are
    // compared after they were parsed.
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
        let no_excluded_members = &[];
        let stored_details = stored.map_or(Ok(Details::NONE), |json| {
            Details::from_json(json.as_bytes(), no_excluded_members)
        });
        // Details that cannot be read count as different.
        stored_details.is_ok_and(|details| self.clone().with_details(details).same_content(self))
    }

    fn bind(statement: Statement, rows: &[&Self]) -> Statement {
        statement
            .bind(column_values(rows, |row| row.id.to_string()))
            .bind(column_values(rows, |row| row.user_id.to_string()))
            .bind(column_values(rows, |row| row.user_name.to_string()))
            .bind(column_values(rows, |row| row.price.to_string()))
            .bind(column_values(rows, |row| SystemTime::from(row.timestamp)))
            .bind(column_values(rows, |row| row.details.to_json()))
    }
}

/// Returns the value of one column for each of `rows`.
pub fn column_values<R, V>(rows: &[&R], value_of: impl Fn(&R) -> V) -> Vec<V> {
    rows.iter().map(|row| value_of(row)).collect()
}

/// Inserts the rows of `batch` whose id is not stored into `table`. Returns one outcome for each
/// row, in the same order.
///
/// # Errors
/// An error that is not about a row, such as [`ErrorKind::Unavailable`] or
/// [`ErrorKind::DeadlineExceeded`]. Some rows may have been inserted. It is safe to insert the
/// batch again.
pub async fn insert<R: Insertable>(
    connection: &PostgresConnection,
    table: &TargetTable,
    batch: &[R],
) -> Result<Vec<InsertOutcome>> {
    let mut indexes: Vec<usize> = (0..batch.len()).collect();
    // Concurrent statements that insert the same ids wait for each other. They all insert in the
    // order of the ids, so there is no deadlock. The sort is stable: of rows with equal ids, the
    // first one in the batch is inserted.
    indexes.sort_by_key(|index| batch[*index].id());

    let mut batch_insert = BatchInsert {
        connection,
        table,
        batch,
        deadline: Instant::now() + connection.options.insert_timeout,
        outcomes: vec![InsertOutcome::Inserted; batch.len()],
    };
    for chunk in indexes.chunks(MAX_ROWS) {
        batch_insert.insert(chunk).await?;
    }

    Ok(batch_insert.outcomes)
}

/// The insert of one batch, with the outcomes so far.
struct BatchInsert<'a, R> {
    connection: &'a PostgresConnection,
    table: &'a TargetTable,
    batch: &'a [R],
    deadline: Instant,
    outcomes: Vec<InsertOutcome>,
}

impl<R: Insertable> BatchInsert<'_, R> {
    /// Inserts the rows at `indexes`, and sets the outcome of each row.
    ///
    /// The server does not tell which row of a statement it rejects. So after a rejection, each half of
    /// the rows is inserted by itself, until the rejected row is alone.
    async fn insert(&mut self, indexes: &[usize]) -> Result<()> {
        let mut pending_parts = vec![indexes];
        while let Some(part) = pending_parts.pop() {
            let rejection = match self.write(part).await {
                Ok(comparison_rows) => {
                    self.set_outcomes(part, &comparison_rows).await?;
                    continue;
                }
                Err(error) if !sqlstate::is_about_rows(&error) => return Err(error),
                Err(error) => error,
            };

            if let [index] = part {
                self.outcomes[*index] = match Reason::refused(rejection) {
                    Ok(reason) => InsertOutcome::Rejected(reason),
                    Err(error) => InsertOutcome::Unknown(error),
                };
            } else {
                // The first half is popped next, which keeps the order of the ids.
                let (first_half, second_half) = part.split_at(part.len() / 2);
                pending_parts.extend([second_half, first_half]);
            }
        }
        Ok(())
    }

    /// Sends the rows at `indexes`, and inserts the rows whose id is not stored.
    ///
    /// Returns the answer of [`TargetTable::compare`] for the rows that were not inserted.
    ///
    /// Batches rarely contain stored rows. As long as none does, the rows are sent by the faster
    /// [`TargetTable::insert_all`], which neither checks for conflicts nor returns ids
    /// (docs/performance.md).
    async fn write(&self, indexes: &[usize]) -> Result<Vec<Row>> {
        let repeats = &self.connection.repeats;
        let mut expected_repeats = repeats.load(Ordering::Relaxed);
        if expected_repeats == 0 {
            let plain_insert = self.statement(self.table.insert_all(), indexes);
            match self.connection.write_by(plain_insert, self.deadline).await {
                Ok(answer) => {
                    let inserted_count: i64 = answer_column(&answer, "count")?;
                    if usize::try_from(inserted_count) == Ok(indexes.len()) {
                        return Ok(Vec::new());
                    }
                }
                Err(error) if sqlstate::is_unique_violation(&error) => {}
                Err(error) => return Err(error),
            }
            // The id of a row is stored or occurs twice, or a trigger skipped a row. So the rows
            // are sent again by the slower statement below.
        }

        let insert_new = self.statement(self.table.insert_new(), indexes);
        let comparison_rows = self.connection.write_by(insert_new, self.deadline).await?;
        expected_repeats = if comparison_rows.is_empty() {
            expected_repeats.saturating_sub(1)
        } else {
            EXPECTED_REPEATS
        };
        repeats.store(expected_repeats, Ordering::Relaxed);
        Ok(comparison_rows)
    }

    /// Sets the outcomes of the rows at `indexes` after their insert.
    ///
    /// `comparison_rows` are the answer of [`TargetTable::compare`] for the rows that were not
    /// inserted.
    async fn set_outcomes(&mut self, indexes: &[usize], comparison_rows: &[Row]) -> Result<()> {
        let mut is_new = vec![true; indexes.len()];
        let mut unseen_rows = Vec::new();
        for comparison_row in comparison_rows {
            let (position, outcome) = self
                .read_comparison(indexes, comparison_row)
                .ok_or_else(invalid_answer)?;
            is_new[position] = false;
            match outcome {
                Some(outcome) => self.outcomes[indexes[position]] = outcome,
                None => unseen_rows.push(indexes[position]),
            }
        }

        // The remaining ids are new. If several rows share an id, the first one was inserted, and
        // the others are compared with the first one. They follow each other, because the rows are
        // sorted by id.
        let mut inserted_row = None::<&R>;
        for (index, is_new) in indexes.iter().zip(is_new) {
            if !is_new {
                continue;
            }
            let row = &self.batch[*index];
            self.outcomes[*index] = match inserted_row {
                Some(first_row) if first_row.id() == row.id() => {
                    if first_row.same_content(row) {
                        InsertOutcome::Duplicate
                    } else {
                        InsertOutcome::Conflict
                    }
                }
                _ => {
                    inserted_row = Some(row);
                    InsertOutcome::Inserted
                }
            };
        }

        if unseen_rows.is_empty() {
            return Ok(());
        }
        self.compare_again(&unseen_rows).await
    }

    /// Compares the rows at `indexes` again, which the insert neither inserted nor found stored, and
    /// sets their outcomes.
    ///
    /// Usually, another transaction inserted these rows meanwhile. A new statement gets a new snapshot,
    /// which contains such rows. A row that is missing from the new snapshot too is not stored. Its
    /// outcome is unknown, with an error that says so.
    async fn compare_again(&mut self, indexes: &[usize]) -> Result<()> {
        let sql = format!(
            "{}, rest as (table input) {}",
            self.table.input(),
            self.table.compare()
        );
        let compare = self.statement(sql, indexes);
        let comparison_rows = self.connection.write_by(compare, self.deadline).await?;

        for comparison_row in &comparison_rows {
            let (position, outcome) = self
                .read_comparison(indexes, comparison_row)
                .ok_or_else(invalid_answer)?;
            self.outcomes[indexes[position]] = outcome.unwrap_or_else(|| {
                let message =
                    "PostgreSQL has not stored the row: a trigger has skipped it, or it was deleted";
                InsertOutcome::Unknown(unavailable_error(message))
            });
        }
        Ok(())
    }

    /// Reads one row of the answer to [`TargetTable::compare`]. Returns the position of the sent
    /// row in `indexes`, and its outcome. The inner outcome is `None` if the statement did not see
    /// a stored row.
    ///
    /// The whole result is `None` if the row lacks the expected columns, or is not about a sent
    /// row.
    fn read_comparison(
        &self,
        indexes: &[usize],
        comparison_row: &Row,
    ) -> Option<(usize, Option<InsertOutcome>)> {
        let number: i64 = comparison_row.try_get("number").ok()?;
        // The numbers of `with ordinality` begin at 1.
        let position = usize::try_from(number - 1).ok()?;
        let sent_row = &self.batch[*indexes.get(position)?];
        let code: Option<i32> = comparison_row.try_get("compared").ok()?;
        let stored_details: Option<&str> = comparison_row.try_get("details").ok()?;

        let outcome = code.map(|code| match code {
            SAME => InsertOutcome::Duplicate,
            ERASED => InsertOutcome::Erased,
            OTHER_DETAILS if sent_row.has_same_details(stored_details) => InsertOutcome::Duplicate,
            _ => InsertOutcome::Conflict,
        });
        Some((position, outcome))
    }

    /// Creates the statement `sql` with the rows at `indexes` as its parameters.
    fn statement(&self, sql: String, indexes: &[usize]) -> Statement {
        let rows: Vec<&R> = indexes.iter().map(|index| &self.batch[*index]).collect();
        R::bind(Statement::new(sql), &rows)
    }
}

/// Returns the error for an answer that does not fit the rows that were sent.
fn invalid_answer() -> shop_core::Error {
    postgres_error(
        ErrorKind::Internal,
        "PostgreSQL returned a row that was not sent",
    )
}
