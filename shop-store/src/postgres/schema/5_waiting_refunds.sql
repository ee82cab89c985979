-- The refunds that wait for their purchase, as the values of their records.
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
create table purchases_settings (
    name text primary key,
    value text not null
);
