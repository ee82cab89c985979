//! Inserts rows whose id is not stored yet, one outcome for each.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_trait::async_trait;
use shop_core::log::Reason;
use shop_core::ports::InsertOutcome;
use shop_core::{ErrorKind, Outcome, Purchase, PurchaseId, Result};
use tokio::time::Instant;
use tokio_postgres::types::Type;

use super::connection::{Connection, Statement};
use super::error::{self, postgres_error};
use super::rows::cell;
use super::{rows, sqlstate};
use crate::refunds::PurchaseRows;

/// Maximum number of rows in a statement. The rows of a larger batch are inserted by several statements.
pub(super) const MAX_ROWS: usize = 10_000;

/// After a repetition, so many batches without one are expected to have another: a plain insert that fails leaves dead rows.
const EXPECTED_REPEATS: u32 = 100;

/// A row of a table with the primary key `id`.
pub(super) trait Insertable: Send + Sync {
    type Id: Ord + Copy;

    fn id(&self) -> Self::Id;

    fn same_content(&self, other: &Self) -> bool;

    /// Binds an array for each column.
    fn bind(statement: Statement, rows: &[&Self]) -> Statement;
}

/// The table of rows.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Its columns, `id` first.
    pub(super) columns: &'static str,
    /// The types of the columns. A price is sent as a text, which keeps the scale of zero.
    pub(super) types: &'static [&'static str],
    /// Compares the row `rest` with the row `stored` of the same id: 1 for the same content, 2 for the mark of an erased
    /// purchase, 0 otherwise.
    pub(super) compared: &'static str,
}

impl Table {
    /// The parameters, an array for each column.
    fn arrays(&self) -> String {
        let arrays = (1..)
            .zip(self.types)
            .map(|(number, of)| format!("${number}::{of}[]"));
        arrays.collect::<Vec<_>>().join(", ")
    }

    /// The parameters as rows, with their numbers from 1.
    fn input(&self) -> String {
        let (arrays, columns) = (self.arrays(), self.columns);
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
        let (input, compare) = (self.input(), self.compare());
        format!(
            "{input}, inserted as (
                insert into {name} ({columns}) select {columns} from input on conflict (id) do nothing returning id
            ), rest as materialized (
                select * from input where id not in (select id from inserted)
            ) {compare}"
        )
    }

    /// Compares the rows of `rest` with the stored ones. Null for a row that is not in the snapshot of the statement:
    /// another transaction has inserted it meanwhile, or a trigger has skipped it.
    ///
    /// `offset 0` prevents a join of the whole table: the rows are looked up by their ids, and there are few of them.
    fn compare(&self) -> String {
        let Self { name, compared, .. } = self;
        format!(
            "select rest.number, found.compared from rest left join lateral (
                select {compared} as compared from {name} as stored where stored.id = rest.id offset 0
            ) as found on true"
        )
    }
}

/// The table of purchases. The row of an erased one has its id only.
pub(super) const PURCHASES: Table = Table {
    name: "purchases",
    columns: r#"id, userid, username, price, "timestamp", details"#,
    types: &["text", "text", "text", "text[]::numeric", "timestamptz", "text[]::json"],
    compared: "case when stored.userid is null then 2 else
        ((stored.userid, stored.username, stored.price, stored.details::jsonb)
        is not distinct from (rest.userid, rest.username, rest.price, rest.details::jsonb))::int end",
};

impl Insertable for Purchase {
    type Id = PurchaseId;

    fn id(&self) -> PurchaseId {
        self.id
    }

    fn same_content(&self, other: &Self) -> bool {
        Self::same_content(self, other)
    }

    fn bind(statement: Statement, rows: &[&Self]) -> Statement {
        let texts =
            |text: fn(&Self) -> String| rows.iter().map(|row| text(row)).collect::<Vec<_>>();
        let times: Vec<_> = rows
            .iter()
            .map(|row| SystemTime::from(row.timestamp))
            .collect();
        statement
            .bind(texts(|row| row.id.to_string()), Type::TEXT_ARRAY)
            .bind(texts(|row| row.user_id.to_string()), Type::TEXT_ARRAY)
            .bind(texts(|row| row.user_name.to_string()), Type::TEXT_ARRAY)
            .bind(texts(|row| row.price.to_string()), Type::TEXT_ARRAY)
            .bind(times, Type::TIMESTAMPTZ_ARRAY)
            .bind(
                rows.iter()
                    .map(|row| row.details.to_json())
                    .collect::<Vec<_>>(),
                Type::TEXT_ARRAY,
            )
    }
}

#[async_trait]
impl PurchaseRows for Connection {
    async fn insert_rows(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>> {
        insert(self, &PURCHASES, batch).await
    }

    async fn find(&self, ids: Vec<PurchaseId>) -> Result<HashMap<PurchaseId, Option<Purchase>>> {
        let stored = self.write(rows::rows_by_id(&ids)).await?;
        let found = |row| Some((rows::parsed(row, "id").ok()?, rows::purchase(row).ok()));
        Ok(stored.iter().filter_map(found).collect())
    }
}

/// Inserts `batch` into `table`. Returns one outcome for each row.
pub(super) async fn insert<R: Insertable>(
    connection: &Connection,
    table: &Table,
    batch: &[R],
) -> Result<Vec<InsertOutcome>> {
    let mut indices: Vec<usize> = (0..batch.len()).collect();
    // Statements that insert the same ids wait for each other, in the same order. Equal ids stay in the batch's order.
    indices.sort_by_key(|index| batch[*index].id());
    let deadline = Instant::now() + connection.options.insert_timeout;
    let outcomes = vec![InsertOutcome::Inserted; batch.len()];
    let mut insertion = Insertion {
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

struct Insertion<'a, R> {
    connection: &'a Connection,
    table: &'a Table,
    batch: &'a [R],
    deadline: Instant,
    outcomes: Vec<InsertOutcome>,
}

impl<R: Insertable> Insertion<'_, R> {
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
        for (number, compared) in numbers(rest)? {
            let Some(index) = indices.get(number) else {
                return Err(invalid_answer());
            };
            is_new[number] = false;
            match compared {
                Some(compared) => self.outcomes[*index] = outcome(compared),
                None => unseen.push(*index),
            }
        }
        // A repeated id was inserted by its first row.
        let mut first = None;
        for (index, _) in indices.iter().zip(is_new).filter(|(_, is_new)| *is_new) {
            let row = &self.batch[*index];
            match first.filter(|first: &&R| first.id() == row.id()) {
                Some(first) => self.outcomes[*index] = outcome(first.same_content(row).into()),
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
        for (number, compared) in numbers(&self.connection.write_by(compare, self.deadline).await?)?
        {
            let Some(index) = indices.get(number) else {
                return Err(invalid_answer());
            };
            self.outcomes[*index] = compared.map_or_else(
                || {
                    let message =
                        "PostgreSQL has not stored the row: a trigger has skipped it, or it was deleted";
                    let error = postgres_error(ErrorKind::Unavailable, message);
                    InsertOutcome::Unknown(error.with_outcome(Outcome::NotApplied))
                },
                outcome,
            );
        }
        Ok(())
    }

    fn statement(&self, sql: String, indices: &[usize]) -> Statement {
        let rows: Vec<&R> = indices.iter().map(|index| &self.batch[*index]).collect();
        R::bind(Statement::new(sql), &rows)
    }
}

/// The index of each row of [`Table::compare`], and how it compares with the stored one.
fn numbers(rows: &[tokio_postgres::Row]) -> Result<Vec<(usize, Option<i32>)>> {
    let read = |row: &tokio_postgres::Row| {
        let number = usize::try_from(row.try_get::<_, i64>(0).ok()? - 1).ok()?;
        Some((number, row.try_get(1).ok()?))
    };
    rows.iter()
        .map(|row| read(row).ok_or_else(invalid_answer))
        .collect()
}

fn invalid_answer() -> shop_core::Error {
    postgres_error(
        ErrorKind::Internal,
        "PostgreSQL returned a row that was not sent",
    )
}

const fn outcome(compared: i32) -> InsertOutcome {
    match compared {
        1 => InsertOutcome::Duplicate,
        2 => InsertOutcome::Erased,
        _ => InsertOutcome::Conflict,
    }
}
