//! Inspects a database: whether the store can be created or written in it, and whether its tables
//! keep what is written to them.
//!
//! The inspection names everything that would make the start or a later write fail, and everything
//! by which rows would be lost, doubled or hidden without an error of the server. It changes
//! nothing. A trigger that skips or rejects a row is no finding, because each write notices it.

use shop_core::{Error, ErrorKind, Result};
use tokio::time::Instant;
use tokio_postgres::Row;

use super::connection::{PostgresConnection, Statement};
use super::error::postgres_error;
use super::rows::answer_column;
use super::schema::{FOREIGN_TABLES, foreign_tables_error};
use crate::StoreInspection;

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
    with present as (
        select name, position from unnest($1::text[]) with ordinality as tables (name, position)
            where to_regclass(name) is not null
    )
    select current_schema()::text as schema,
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create,
        array(select name from present order by position) as existing_tables,
        array(
            (select wanted || ' on ' || name
                from present, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) with ordinality as rights (wanted, number)
                where not has_table_privilege(name, wanted) order by position, number)
            union all select 'UPDATE on ' || sequence from present,
                lateral (select case name when $2 then pg_get_serial_sequence(name, 'id') end) as of (sequence)
                where not has_sequence_privilege(sequence, 'UPDATE')
            union all select 'ownership of ' || name from present join pg_class on oid = to_regclass(name)
                where name = any ($3) and not pg_has_role(relowner, 'USAGE')
        ) as missing_rights";

/// The query of what the existing tables do with their rows.
///
/// `$2` has the names of columns for each table of `$1`, separated by commas. The answer has a row
/// for each table that exists:
///
/// | column | content |
/// |---|---|
/// | `table` | the name of the table |
/// | `is_table` | whether it is a table, and not for example a view |
/// | `is_unlogged` | whether a crash of the server empties the table |
/// | `hides_rows` | whether row level security applies to this user |
/// | `has_rules` | whether rules rewrite statements on the table |
/// | `loose_columns` | the columns whose collation takes different texts for equal |
/// | `doubled_columns` | the columns of `$2` without a unique index of this column alone |
const TABLES: &str = "
    select wanted.name as table,
        relkind in ('r', 'p') as is_table,
        relpersistence = 'u' as is_unlogged,
        row_security_active(relation.oid) as hides_rows,
        relkind in ('r', 'p') and relhasrules as has_rules,
        array(
            select attname::text from pg_attribute join pg_collation on pg_collation.oid = attcollation
                where attrelid = relation.oid and attnum > 0 and not attisdropped and not collisdeterministic
        ) as loose_columns,
        array(
            select name from unnest(string_to_array(wanted.columns, ',')) as name
                where not exists (
                    select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
                        where indrelid = relation.oid and attname = name and indnkeyatts = 1
                            and indisunique and indisvalid and indimmediate and indpred is null
                )
        ) as doubled_columns
    from unnest($1::text[], $2::text[]) with ordinality as wanted (name, columns, position)
        join pg_class as relation on relation.oid = to_regclass(wanted.name)
    order by position";

impl PostgresConnection {
    /// Inspects the tables in the database, and the rights of the user. Changes nothing.
    ///
    /// # Errors
    /// Errors of [`PostgresStore::inspect`](super::PostgresStore::inspect).
    pub async fn inspect(&self) -> Result<StoreInspection> {
        match self.inspect_database().await {
            // No statement runs beside tables of another program, see `SchemaMigrator`.
            Err(error) if error.context(FOREIGN_TABLES).is_some() => {
                let mut inspection = StoreInspection::default();
                inspection.faults.push(error);
                Ok(inspection)
            }
            result => result,
        }
    }

    /// Inspects the database by statements, which fail beside tables of another program.
    async fn inspect_database(&self) -> Result<StoreInspection> {
        let deadline = Instant::now() + self.check_timeout.max(self.options.query_timeout);
        let mut inspection = StoreInspection::default();
        let server_state = self.run(Statement::new(SERVER_STATE), deadline).await?;
        add_server_findings(&server_state, &mut inspection)?;

        let version = self.schema_version(&server_state, deadline).await?;
        self.inspect_rights(version, deadline, &mut inspection)
            .await?;
        self.inspect_tables(version, deadline, &mut inspection)
            .await?;
        Ok(inspection)
    }

    /// Returns the number of changes of the schema that were made in this database, or 0 if none was
    /// made.
    async fn schema_version(&self, server_state: &[Row], deadline: Instant) -> Result<i32> {
        if !answer_column(server_state, "has_schema_versions")? {
            return Ok(0);
        }
        let name = self.definition.name;
        let sql = format!(
            "select coalesce(max(version), 0) as version from shop_schema where name = '{name}'"
        );
        let rows = self.run(Statement::new(sql), deadline).await?;
        answer_column(&rows, "version")
    }

    /// Adds to `inspection` which tables exist, the tables of another program, and the missing
    /// rights.
    async fn inspect_rights(
        &self,
        version: i32,
        deadline: Instant,
        inspection: &mut StoreInspection,
    ) -> Result<()> {
        let definition = self.definition;
        let is_complete = usize::try_from(version)
            .is_ok_and(|applied_count| applied_count >= definition.changes.len());
        let mut required_tables: Vec<&str> =
            definition.tables.iter().map(|table| table.name).collect();
        // Each change of the schema writes its number to `shop_schema`.
        if !is_complete {
            required_tables.push("shop_schema");
        }
        // Once a change was made, the tables belong to the store.
        let possibly_foreign_tables = if version == 0 {
            definition.adoptable
        } else {
            &[]
        };
        let rights_query = Statement::new(RIGHTS)
            .bind(required_tables)
            .bind(definition.name.to_owned())
            .bind(possibly_foreign_tables.to_vec());
        let rights = self.run(rights_query, deadline).await?;
        let existing_tables: Vec<String> = answer_column(&rights, "existing_tables")?;
        let mut missing_rights: Vec<String> = answer_column(&rights, "missing_rights")?;

        inspection.exists = existing_tables.iter().any(|table| table == definition.name);
        let foreign_tables: Vec<String> = existing_tables
            .into_iter()
            .filter(|table| possibly_foreign_tables.contains(&table.as_str()))
            .collect();
        if !foreign_tables.is_empty() && !self.options.adopt_tables {
            inspection
                .faults
                .push(foreign_tables_error(&foreign_tables));
        } else if !foreign_tables.is_empty() && inspection.exists {
            let sql = format!("select count(*) as count from {}", definition.name);
            let rows = self.run(Statement::new(sql), deadline).await?;
            inspection.taken_over = Some(answer_column(&rows, "count")?);
        }

        // The right to create tables is needed only while changes are missing.
        if !is_complete {
            missing_rights.extend(missing_creation_right(&rights)?);
        }
        // Without a right on a table of sums, totals are slower. This is a warning and no error.
        missing_rights.retain(|right| {
            let is_right_for_speed = definition.tables.iter().any(|table| {
                table.is_only_faster && right.ends_with(&format!(" on {}", table.name))
            });
            if is_right_for_speed {
                inspection.warnings.push(format!(
                    "totals in PostgreSQL are slower without the right {right}: grant it"
                ));
            }
            !is_right_for_speed
        });
        if !missing_rights.is_empty() {
            let message = "the PostgreSQL user cannot create, read and write all tables";
            let error = postgres_error(ErrorKind::Denied, message)
                .with_context("missing", missing_rights.join(", "));
            inspection.write_error.get_or_insert(error);
        }
        Ok(())
    }

    /// Adds to `inspection` the properties by which the existing tables lose, double, hide or mix up
    /// rows.
    async fn inspect_tables(
        &self,
        version: i32,
        deadline: Instant,
        inspection: &mut StoreInspection,
    ) -> Result<()> {
        let tables = self.definition.tables;
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        let unique_columns: Vec<String> = tables
            .iter()
            .map(|table| table.unique_columns.join(","))
            .collect();
        let query = Statement::new(TABLES).bind(names).bind(unique_columns);
        let rows = self.run(query, deadline).await?;

        for row in &rows {
            self.judge_table(std::slice::from_ref(row), version, inspection)?;
        }
        Ok(())
    }

    /// Adds to `inspection` the properties by which a table loses, doubles, hides or mixes up rows.
    /// `answer` is the row about the table in the answer to [`TABLES`].
    fn judge_table(
        &self,
        answer: &[Row],
        version: i32,
        inspection: &mut StoreInspection,
    ) -> Result<()> {
        let table: &str = answer_column(answer, "table")?;
        let mut add_fault = |message: &str| {
            let fault = postgres_error(ErrorKind::Unsupported, message);
            inspection.faults.push(fault.with_context("table", table));
        };
        if !answer_column::<bool>(answer, "is_table")? {
            add_fault("there is a view in place of a table: drop it, or name another database");
            return Ok(());
        }
        if answer_column(answer, "is_unlogged")? {
            add_fault(
                "a crash of the server empties an unlogged table: alter it with `set logged`",
            );
        }
        if answer_column(answer, "hides_rows")? {
            add_fault(
                "row level security hides rows from the PostgreSQL user, so listings and sums lack them: disable it \
                 for the table, or give the user BYPASSRLS",
            );
        }

        let loose_columns: Vec<String> = answer_column(answer, "loose_columns")?;
        // Another program may have chosen the collations of the tables that it made.
        if !loose_columns.is_empty() && !self.definition.adoptable.contains(&table) {
            add_fault(&format!(
                "a collation takes different texts for equal, so users are mixed up: give {} the collation \"C\"",
                loose_columns.join(" and ")
            ));
        }
        let doubled_columns: Vec<String> = answer_column(answer, "doubled_columns")?;
        // The changes of the schema create the indexes with the tables, or after they are taken
        // over.
        if version > 0 && !doubled_columns.is_empty() {
            add_fault(&format!(
                "a unique index is missing, so what is delivered again is stored again: remove what is there twice, \
                 then create a unique index on {}",
                doubled_columns.join(", and one on ")
            ));
        }
        if answer_column(answer, "has_rules")? {
            inspection.warnings.push(format!(
                "rules of PostgreSQL change what is written to {table}: drop them"
            ));
        }
        Ok(())
    }
}

/// Returns what the user lacks to create tables, as a text such as `CREATE on schema public`, or `None`
/// if the user may create tables. `rights` is the answer to [`RIGHTS`].
fn missing_creation_right(rights: &[Row]) -> Result<Option<String>> {
    let schema: Option<String> = answer_column(rights, "schema")?;
    let may_create: bool = answer_column(rights, "may_create")?;
    Ok(match schema {
        None => Some("a schema of the search_path".to_owned()),
        Some(schema) if !may_create => Some(format!("CREATE on schema {schema}")),
        Some(_) => None,
    })
}

/// Adds to `inspection` what the state of the server says about each store in the database.
fn add_server_findings(server_state: &[Row], inspection: &mut StoreInspection) -> Result<()> {
    if answer_column(server_state, "is_read_only")? {
        let is_standby = answer_column(server_state, "is_standby")?;
        inspection.write_error = Some(read_only_error(is_standby));
    }

    let encoding: &str = answer_column(server_state, "encoding")?;
    if !["UTF8", "SQL_ASCII"].contains(&encoding) {
        let message = "the encoding of the database cannot hold every name: create one with encoding UTF8, and name it";
        let fault =
            postgres_error(ErrorKind::Unsupported, message).with_context("encoding", encoding);
        inspection.faults.push(fault);
    }

    if answer_column(server_state, "has_asynchronous_standbys")? {
        let warning = "the standbys of PostgreSQL are asynchronous: what is acknowledged can be lost at a promotion; \
                       set synchronous_standby_names";
        inspection.warnings.push(warning.to_owned());
    }
    Ok(())
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
