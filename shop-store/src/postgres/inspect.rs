//! Looks at a database before anything is created in it.

use shop_core::{ErrorKind, Result};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::connection::{Connection, Statement};
use super::error::postgres_error;
use super::schema::{Definition, of_another_program};

/// What a store finds in its database, see [`PostgresStore::inspect`](super::PostgresStore::inspect).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Whether the table exists. Otherwise it is created.
    pub exists: bool,
    /// The number of rows that another program has made, and that are taken over.
    pub taken_over: Option<i64>,
}

impl Connection {
    /// See [`PostgresStore::inspect`](super::PostgresStore::inspect).
    pub(super) async fn inspect(&self) -> Result<Inspection> {
        let Definition { name, adoptable, .. } = *self.definition;
        let tables = if adoptable.is_empty() { vec![name] } else { adoptable.to_vec() };
        let sql = "
            with present as (select name from unnest($1::text[]) as name where to_regclass(name) is not null)
            select current_schema()::text, coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
                to_regclass('shop_schema') is not null, array(select name from present),
                array(select wanted || ' on ' || name from present, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE'])
                    as wanted where not has_table_privilege(name, wanted))";
        let deadline = Instant::now() + self.check_timeout.max(self.options.query_timeout);
        let rows = self.query_by(Statement::new(sql).bind(tables, Type::TEXT_ARRAY), deadline).await?;
        let schema: Option<String> = cell(&rows, 0)?;
        let (present, missing): (Vec<String>, Vec<String>) = (cell(&rows, 3)?, cell(&rows, 4)?);
        let sql = format!("select from shop_schema where name = '{name}'");
        let is_ours = cell(&rows, 2)? && !self.query_by(Statement::new(sql), deadline).await?.is_empty();
        let exists = present.iter().any(|table| table == name);
        let foreign = if is_ours || adoptable.is_empty() { Vec::new() } else { present };
        if !foreign.is_empty() && !self.options.adopt_tables {
            return Err(of_another_program(&foreign));
        }
        let creates = !is_ours && (!exists || !foreign.is_empty());
        let missing = match schema {
            None if creates => vec!["a schema of the search_path".to_owned()],
            Some(schema) if creates && !cell::<bool>(&rows, 1)? => vec![format!("CREATE on schema {schema}")],
            _ => missing,
        };
        if !missing.is_empty() {
            let message = "the PostgreSQL user cannot create, read and write all tables";
            let error = postgres_error(ErrorKind::Denied, message);
            return Err(error.with_context("missing", missing.join(", ")));
        }
        let mut found = Inspection { exists, taken_over: None };
        if !foreign.is_empty() && exists {
            let count = Statement::new(format!("select count(*) from {name}"));
            let rows = self.query_by(count, deadline).await?;
            found.taken_over = Some(cell(&rows, 0)?);
        }
        Ok(found)
    }
}

/// A column of the only row.
fn cell<'a, T: FromSql<'a>>(rows: &'a [Row], column: usize) -> Result<T> {
    let value = rows.first().and_then(|row| row.try_get(column).ok());
    value.ok_or_else(|| {
        postgres_error(ErrorKind::Internal, "PostgreSQL returned no description of the database")
    })
}
