create table purchases_clock (
    single boolean primary key default true check (single),
    seen timestamptz(3) not null
);
