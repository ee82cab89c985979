-- The refunds that were refused, in the order in which ingest makes them dead letters.
create index purchases_waiting_refused on purchases_waiting (sequence) where refusal is not null;
