-- The counts and the sums of purchases per quarter of an hour, per hour and per UTC day.
--
-- A scope is what sums are kept for: '' is the whole shop, and any other scope is the id of a user.
-- The sums of a scope are the rows of `purchases_sums` and of `purchases_deltas` together.

-- The scopes whose changes the triggers record.
create table purchases_kept (
    scope text collate "C" primary key,
    -- Whether the sums of the scope are complete.
    ready boolean not null default false,
    -- The identity of this row. It differs from that of an earlier row of the same scope that was
    -- deleted.
    since xid8 not null default pg_current_xact_id(),
    -- The time of the request to keep the sums, for operators.
    asked timestamptz not null default now()
);

-- The changes that are not part of `purchases_sums` yet. Rows are only added and deleted, never
-- updated, so no writer waits for another writer.
create table purchases_deltas (
    scope text collate "C" not null,
    -- The start of a quarter of an hour.
    start timestamptz not null,
    count bigint not null,
    total numeric not null
);

-- The sums that the fold keeps up to date.
create table purchases_sums (
    scope text collate "C" not null references purchases_kept on delete cascade,
    -- The length of the period: 15 for a quarter of an hour, 60 for an hour, or 1440 for a UTC day.
    -- Each quarter of an hour is also part of the rows of its hour and of its day.
    minutes integer not null,
    start timestamptz not null,
    count bigint not null,
    total numeric not null,
    primary key (scope, minutes, start)
);

-- Records how a statement has changed the sums of the kept scopes. The argument of the trigger is
-- '1' if `changed_rows` were added, and '-1' if they were removed.
--
-- `fold.rs` relies on this: the function reads the kept scopes in a snapshot that is newer than the
-- transaction id of the writer. That is so for a volatile function at the isolation level `read
-- committed`. At a higher level, the snapshot may be older. There the function records the changes of
-- all scopes, and the fold discards the changes of scopes that are not kept.
create function purchases_add_deltas() returns trigger
language plpgsql security definer as $$
declare
    sign constant bigint := tg_argv[0];
    quarter constant interval := '15 minutes';
    origin constant timestamptz := '0001-01-01T00:00:00Z';
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        insert into purchases_deltas (scope, start, count, total)
        select scope, date_bin(quarter, "timestamp", origin) as start,
            sign * count(*) filter (where price >= 0), sign * sum(price)
        from changed_rows cross join lateral (values (''), (nullif(userid, ''))) as scopes (scope)
        where "timestamp" is not null and scope is not null
        group by scope, start;
        return null;
    end if;

    if not exists (select from purchases_kept) then
        return null;
    end if;

    insert into purchases_deltas (scope, start, count, total)
    select '', date_bin(quarter, "timestamp", origin) as start,
        sign * count(*) filter (where price >= 0), sign * sum(price)
    from changed_rows
    where "timestamp" is not null and exists (select from purchases_kept where scope = '')
    group by start;

    insert into purchases_deltas (scope, start, count, total)
    select scope, date_bin(quarter, "timestamp", origin) as start,
        sign * count(*) filter (where price >= 0), sign * sum(price)
    from changed_rows join purchases_kept on scope = userid
    where scope <> '' and "timestamp" is not null
    group by scope, start;
    return null;
end
$$;

-- Deletes all sums after the table of purchases was emptied. The fold builds them again.
create function purchases_forget_sums() returns trigger
language plpgsql security definer as $$
begin
    truncate purchases_kept, purchases_deltas, purchases_sums;
    return null;
end
$$;

-- The functions run with the rights of their owner. So their `search_path` excludes tables of the
-- caller, and nobody but the owner may attach them to another table.
do $$
declare
    name text;
begin
    foreach name in array array['purchases_add_deltas', 'purchases_forget_sums'] loop
        execute format('alter function %I() set search_path = pg_catalog, %I, pg_temp', name, current_schema());
        execute format('revoke all on function %I() from public', name);
    end loop;
end
$$;

create trigger purchases_sums_insert after insert on purchases
    referencing new table as changed_rows for each statement execute function purchases_add_deltas('1');
create trigger purchases_sums_delete after delete on purchases
    referencing old table as changed_rows for each statement execute function purchases_add_deltas('-1');
create trigger purchases_sums_update_old after update on purchases
    referencing old table as changed_rows for each statement execute function purchases_add_deltas('-1');
create trigger purchases_sums_update_new after update on purchases
    referencing new table as changed_rows for each statement execute function purchases_add_deltas('1');
create trigger purchases_sums_truncate after truncate on purchases
    for each statement execute function purchases_forget_sums();
