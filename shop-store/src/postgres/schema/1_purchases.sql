create table purchases (
    id text collate "C" primary key,
    userid text collate "C",
    username text collate "C",
    price numeric check (price between 0 and 1000000000000000 and scale(price) <= 8),
    "timestamp" timestamptz(3)
        check ("timestamp" between '0001-01-01T00:00:00Z' and '9999-12-30T22:00:00Z'),
    -- The row of an erased purchase has its id only.
    constraint purchases_whole_or_erased check (num_nulls(userid, username, price, "timestamp") in (0, 4))
);
create index purchases_by_user on purchases (userid, "timestamp", id);
create index purchases_by_name on purchases (username, "timestamp", id);
create index purchases_by_time on purchases ("timestamp", id);
