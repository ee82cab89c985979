-- The price of a refund alone is negative. Only new rows are checked.
alter table purchases drop constraint if exists purchases_price_check, add constraint purchases_price_check check (
    abs(price) <= 1000000000000000 and scale(price) <= 8 and (price >= 0 or details ->> 'of' is not null)
) not valid;
