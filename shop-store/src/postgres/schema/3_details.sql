-- A program of the version before keeps the details of what it erases, and fails by this. Only new rows are checked.
alter table purchases add column details json, add constraint purchases_details_erased
    check (details is null or userid is not null) not valid;
create index purchases_by_reference on purchases ((details ->> 'reference'), "timestamp", id)
    where details ->> 'reference' is not null;
