create table purchases (
    id text collate "C" primary key,
    userid text collate "C",
    username text collate "C",
    -- Only the price of a refund is negative.
    price numeric constraint purchases_price_check check (
        abs(price) <= 1000000000000000 and scale(price) <= 8 and (price >= 0 or details ->> 'of' is not null)
    ),
    "timestamp" timestamptz(3)
        check ("timestamp" between '0001-01-01T00:00:00Z' and '9999-12-30T22:00:00Z'),
    details json,
    -- The row of an erased purchase, which is called a mark, has nothing but its id.
    constraint purchases_whole_or_erased check (num_nulls(userid, username, price, "timestamp") in (0, 4)),
    constraint purchases_details_erased check (details is null or userid is not null)
);
create index purchases_by_user on purchases (userid, "timestamp", id);
create index purchases_by_name on purchases (username, "timestamp", id);
create index purchases_by_time on purchases ("timestamp", id);
create index purchases_by_reference on purchases ((details ->> 'reference'), "timestamp", id)
    where details ->> 'reference' is not null;

-- One row: the last time that a deletion of old purchases saw.
create table purchases_clock (
    single boolean primary key default true check (single),
    seen timestamptz(3) not null
);

-- The refunds that wait until their purchase is stored. `value` is the value of the refund's record,
-- and `refusal` the reason why the refund can never be applied.
create table purchases_waiting (
    sequence bigint generated always as identity primary key,
    id text collate "C" not null,
    purchase text collate "C" not null,
    userid text collate "C" not null,
    "timestamp" timestamptz(3) not null,
    value text not null,
    origin text,
    refusal text
);
create index purchases_waiting_by_id on purchases_waiting (id);
create index purchases_waiting_by_purchase on purchases_waiting (purchase);
create index purchases_waiting_by_user on purchases_waiting (userid);
create index purchases_waiting_by_time on purchases_waiting ("timestamp");
-- The refunds that were refused, in the order in which ingest makes them dead letters.
create index purchases_waiting_refused on purchases_waiting (sequence) where refusal is not null;

-- The currency of the store, and how each imported file was read.
create table purchases_settings (
    name text primary key,
    value text not null
);
