//! Inserts many rows with few statements.

use rusqlite::Connection;
use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
use rusqlite::types::{ToSqlOutput, ValueRef};

/// The maximum number of rows of a statement.
const MAX_ROWS: usize = 16;

/// The statements that insert 1 to 16 rows into a table. SQLite opens the table and its indexes once for each.
#[derive(Debug)]
pub(super) struct BulkInsert([String; MAX_ROWS]);

impl BulkInsert {
    /// Inserts into the table and columns `into`, such as `records (time, key)`.
    pub(super) fn new(into: &str) -> Self {
        let values = vec!["?"; into.split(',').count()].join(", ");
        // FAIL: a conflict ends the statement, and the rows before it stay. To undo them, SQLite would copy their pages.
        let sql = |rows| {
            format!(
                "INSERT OR FAIL INTO {into} VALUES {}",
                vec![format!("({values})"); rows].join(", ")
            )
        };
        Self(std::array::from_fn(|index| sql(index + 1)))
    }

    /// Inserts all `rows` in their order. After an error, the transaction must be rolled back.
    pub(super) fn insert<T, const N: usize>(
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

    /// The same for rows of which a unique index may have the values already. Returns the positions of these.
    pub(super) fn insert_new<T, const N: usize>(
        &self,
        connection: &Connection,
        rows: &[T],
        values: impl Fn(&T) -> [ValueRef<'_>; N],
    ) -> rusqlite::Result<Vec<usize>> {
        let mut conflicts = Vec::new();
        let mut done = 0;
        let mut limit = MAX_ROWS;
        while done < rows.len() {
            let size = limit.min(rows.len() - done);
            let mut statement = connection.prepare_cached(&self.0[size - 1])?;
            let all = rows[done..][..size].iter().flat_map(&values).enumerate();
            // What is not bound is null: the cache of statements clears them.
            for (index, value) in all.filter(|(_, value)| !matches!(value, ValueRef::Null)) {
                statement.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(value))?;
            }
            limit = MAX_ROWS.min(size * 2);
            match statement.raw_execute() {
                Ok(_) => done += size,
                Err(error) if is_conflict(&error) => {
                    done += usize::try_from(connection.changes()).unwrap_or_default();
                    conflicts.push(done);
                    done += 1;
                    // The next one is likely too: a redelivered batch has many.
                    limit = 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(conflicts)
    }
}

fn is_conflict(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_conflicting_rows_are_not_inserted() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE texts (id INTEGER PRIMARY KEY, text UNIQUE)")
            .unwrap();
        let texts = BulkInsert::new("texts (id, text)");
        let insert = |ids: &[i64]| {
            texts
                .insert_new(&connection, ids, |id| {
                    [ValueRef::Integer(*id), ValueRef::Integer(-id)]
                })
                .unwrap()
        };
        assert_eq!(insert(&[]), [0; 0]);
        assert_eq!(insert(&(100..200).collect::<Vec<_>>()), [0; 0]);
        // A repetition within the batch, and rows of another one.
        let ids: Vec<i64> = (0..70)
            .chain([69, 150])
            .chain(300..340)
            .chain([199, 198, 0, 400])
            .collect();
        assert_eq!(insert(&ids), [70, 71, 112, 113, 114]);
        let count =
            connection.query_row("SELECT count(*) FROM texts", [], |row| row.get::<_, u32>(0));
        assert_eq!(count.unwrap() as usize, 100 + ids.len() - 5);
        texts
            .insert(&connection, &[0_i64; 1], |id| {
                [ValueRef::Integer(*id), ValueRef::Null]
            })
            .unwrap_err();
    }
}
