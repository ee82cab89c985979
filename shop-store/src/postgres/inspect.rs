//! Inspects a database before tables are created in it: which tables exist, and which rights are
//! missing.
//!
//! Operators run the inspection before the first start. It names everything that would make the
//! start or a later write fail, and changes nothing.

use shop_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::connection::{PostgresConnection, Statement};
use super::error::postgres_error;
use super::rows::answer_column;
use super::schema::{SchemaDefinition, foreign_tables_error};

/// The result of an inspection of a database, see
/// [`PostgresStore::inspect`](super::PostgresStore::inspect).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseInspection {
    /// Whether the main table exists. If it does not, the store creates it.
    pub exists: bool,
    /// The number of rows in the main table that another program wrote, and that the store takes
    /// over. `None` if there are no tables to take over.
    pub taken_over: Option<i64>,
    /// Whether the server has standbys, but waits for none. Acknowledged writes can then be lost
    /// when a standby is promoted.
    pub has_asynchronous_standbys: bool,
}

/// The query of the state of the server. The answer is one row.
const SERVER_STATE: &str = "
    select to_regclass('shop_schema') is not null as has_schema_versions,
        current_setting('server_encoding') as encoding,
        current_setting('transaction_read_only') = 'on' as is_read_only,
        pg_is_in_recovery() as is_standby,
        exists (select from pg_stat_replication) and current_setting('synchronous_standby_names') = ''
            as has_asynchronous_standbys";

/// The query of the tables that exist, and of the rights that are missing.
///
/// | parameter | meaning |
/// |---|---|
/// | `$1` | the tables that the store reads and writes |
/// | `$2` | the main table; the store sets the sequence of its ids |
/// | `$3` | the tables that may be taken over; only their owner can create indexes on them |
///
/// The answer is one row:
///
/// | column | content |
/// |---|---|
/// | `schema` | the schema in which tables are created, or null if there is none |
/// | `may_create` | whether the user may create tables in this schema |
/// | `existing_tables` | the names of the tables that exist |
/// | `missing_rights` | the missing rights on these tables, as texts such as `SELECT on purchases` |
const RIGHTS: &str = "
    with present as (select name from unnest($1::text[]) as name where to_regclass(name) is not null)
    select current_schema()::text as schema,
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create,
        array(select name from present) as existing_tables,
        array(
            select wanted || ' on ' || name
                from present, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) as wanted
                where not has_table_privilege(name, wanted)
            union all select 'UPDATE on ' || sequence from present,
                lateral (select case name when $2 then pg_get_serial_sequence(name, 'id') end) as of (sequence)
                where not has_sequence_privilege(sequence, 'UPDATE')
            union all select 'ownership of ' || name from present join pg_class on oid = to_regclass(name)
                where name = any ($3) and not pg_has_role(relowner, 'USAGE')
        ) as missing_rights";

impl PostgresConnection {
    /// Inspects the tables in the database, and checks that the user has all rights. Changes
    /// nothing.
    ///
    /// # Errors
    /// Errors of [`PostgresStore::inspect`](super::PostgresStore::inspect).
    pub async fn inspect(&self) -> Result<DatabaseInspection> {
        let SchemaDefinition {
            name,
            adoptable,
            tables,
            changes,
            ..
        } = *self.definition;
        let deadline = Instant::now() + self.check_timeout.max(self.options.query_timeout);

        let server_state = self.run(Statement::new(SERVER_STATE), deadline).await?;
        if answer_column(&server_state, "is_read_only")? {
            let is_standby = answer_column(&server_state, "is_standby")?;
            return Err(read_only_error(is_standby));
        }

        let has_asynchronous_standbys = answer_column(&server_state, "has_asynchronous_standbys")?;
        if has_asynchronous_standbys {
            tracing::warn!(
                server = self.name,
                "the standbys of PostgreSQL are asynchronous: what is acknowledged can be lost at a promotion; set synchronous_standby_names"
            );
        }

        let encoding: &str = answer_column(&server_state, "encoding")?;
        if !["UTF8", "SQL_ASCII"].contains(&encoding) {
            let message = "the encoding of the database cannot hold every name: create one with encoding UTF8, and name it";
            return Err(
                postgres_error(ErrorKind::Unsupported, message).with_context("encoding", encoding)
            );
        }

        let mut version = 0_i32;
        if answer_column(&server_state, "has_schema_versions")? {
            let sql = format!(
                "select coalesce(max(version), 0) as version from shop_schema where name = '{name}'"
            );
            let rows = self.run(Statement::new(sql), deadline).await?;
            version = answer_column(&rows, "version")?;
        }
        let is_complete = usize::try_from(version).is_ok_and(|applied| applied >= changes.len());

        let mut required_tables = tables.to_vec();
        // Each change of the schema writes its number to `shop_schema`.
        if !is_complete {
            required_tables.push("shop_schema");
        }
        // Once a change was made, the tables belong to the store.
        let possibly_foreign = if version == 0 { adoptable } else { &[] };
        let rights_query = Statement::new(RIGHTS)
            .bind(required_tables)
            .bind(name.to_owned())
            .bind(possibly_foreign.to_vec());
        let rights = self.run(rights_query, deadline).await?;
        let existing_tables: Vec<String> = answer_column(&rights, "existing_tables")?;
        let mut missing_rights: Vec<String> = answer_column(&rights, "missing_rights")?;

        let exists = existing_tables.iter().any(|table| table == name);
        let foreign_tables: Vec<String> = existing_tables
            .into_iter()
            .filter(|table| possibly_foreign.contains(&table.as_str()))
            .collect();
        if !foreign_tables.is_empty() && !self.options.adopt_tables {
            return Err(foreign_tables_error(&foreign_tables));
        }

        // The right to create tables is needed only while changes are missing.
        if !is_complete {
            let schema: Option<String> = answer_column(&rights, "schema")?;
            let may_create: bool = answer_column(&rights, "may_create")?;
            match schema {
                None => missing_rights.push("a schema of the search_path".to_owned()),
                Some(schema) if !may_create => {
                    missing_rights.push(format!("CREATE on schema {schema}"));
                }
                Some(_) => {}
            }
        }
        if !missing_rights.is_empty() {
            let message = "the PostgreSQL user cannot create, read and write all tables";
            let error = postgres_error(ErrorKind::Denied, message);
            return Err(error.with_context("missing", missing_rights.join(", ")));
        }

        let mut taken_over = None;
        if !foreign_tables.is_empty() && exists {
            let count = Statement::new(format!("select count(*) as count from {name}"));
            let rows = self.run(count, deadline).await?;
            taken_over = Some(answer_column(&rows, "count")?);
        }
        Ok(DatabaseInspection {
            exists,
            taken_over,
            has_asynchronous_standbys,
        })
    }
}

/// Returns the error for a database whose transactions are read-only, because the server is a
/// standby or by its settings.
fn read_only_error(is_standby: bool) -> Error {
    let message = if is_standby {
        "the PostgreSQL server is a read-only standby: name the primary, or add target_session_attrs=read-write"
    } else {
        "transactions are read-only: set default_transaction_read_only to off for the database and the user"
    };
    postgres_error(ErrorKind::Denied, message)
}
