//! Inserts many rows into a table with few statements.

use rusqlite::Connection;
use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
use rusqlite::types::{ToSqlOutput, ValueRef};

/// The maximum number of rows that one statement inserts.
const MAX_ROWS: usize = 16;

/// The statements that insert 1 to 16 rows into one table. SQLite opens the table and its indexes
/// once for each statement, so few statements with many rows are fast.
pub(in crate::embedded) struct BulkInsert([String; MAX_ROWS]);

impl BulkInsert {
    /// Creates the statements for a table and its columns, such as `records (time, key)`.
    pub(in crate::embedded) fn new(table_and_columns: &str) -> Self {
        let column_count = table_and_columns.split(',').count();
        let values = vec!["?"; column_count].join(", ");
        // With `OR FAIL`, a conflict ends the statement, and the rows before the conflict stay. If a
        // conflict undid these rows, SQLite would have to copy their pages before each statement.
        Self(std::array::from_fn(|index| {
            let rows = vec![format!("({values})"); index + 1].join(", ");
            format!("INSERT OR FAIL INTO {table_and_columns} VALUES {rows}")
        }))
    }

    /// Inserts all `rows` in their order. `values` returns the values of a row.
    ///
    /// # Errors
    /// The error of SQLite, or [`StatementChangedRows`](rusqlite::Error::StatementChangedRows) if a
    /// unique index contains the values of a row already. After an error, the transaction must be
    /// rolled back, because the other rows may be inserted.
    pub(in crate::embedded) fn insert<T, const N: usize>(
        &self,
        connection: &Connection,
        rows: &[T],
        values: impl Fn(&T) -> [ValueRef<'_>; N],
    ) -> rusqlite::Result<()> {
        match &*self.insert_new(connection, rows, values)? {
            [] => Ok(()),
            conflicts => Err(rusqlite::Error::StatementChangedRows(
                rows.len() - conflicts.len(),
            )),
        }
    }

    /// Inserts the `rows` whose values no unique index contains yet, in their order.
    ///
    /// Returns the positions of the rows that were not inserted because of a conflict.
    pub(in crate::embedded) fn insert_new<T, const N: usize>(
        &self,
        connection: &Connection,
        rows: &[T],
        values: impl Fn(&T) -> [ValueRef<'_>; N],
    ) -> rusqlite::Result<Vec<usize>> {
        let mut conflicts = Vec::new();
        let mut processed = 0;
        let mut max_size = MAX_ROWS;
        while processed < rows.len() {
            let size = max_size.min(rows.len() - processed);
            let mut statement = connection.prepare_cached(&self.0[size - 1])?;
            let parameters = rows[processed..][..size]
                .iter()
                .flat_map(&values)
                .enumerate();
            // A parameter that is not bound is null, because the cache of statements clears the
            // bindings. So nulls are skipped.
            for (index, value) in parameters.filter(|(_, value)| !matches!(value, ValueRef::Null)) {
                statement.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(value))?;
            }
            // The number of rows per statement doubles after each success, up to the maximum.
            max_size = MAX_ROWS.min(size * 2);

            match statement.raw_execute() {
                Ok(_) => processed += size,
                // The rows before the conflict are inserted. Their number is the position of the
                // conflict.
                Err(error) if is_conflict(&error) => {
                    processed += usize::try_from(connection.changes()).unwrap_or_default();
                    conflicts.push(processed);
                    processed += 1;
                    // The next row is likely to conflict too, because a redelivered batch contains
                    // many such rows. So it is inserted alone.
                    max_size = 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(conflicts)
    }
}

/// Returns whether an error says that a primary key or a unique index contains the values already.
fn is_conflict(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE)
    )
}
