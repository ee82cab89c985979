//! Totals per period, added up while the rows are read.

use rusqlite::Connection;
use shop_core::ports::{Bucket, Selector, Totals, TotalsRequest};
use shop_core::{Price, Result, Timestamp};

use super::select;
use super::totals::Sums;
use crate::embedded::error::unreadable;

/// Reads the totals of the selected purchases. The index yields them in the order of time, so that the rows of a slot
/// follow each other.
pub(super) fn read(
    connection: &Connection,
    selector: &Selector,
    request: &TotalsRequest,
) -> rusqlite::Result<Result<Vec<Bucket>>> {
    let (from, to) = (request.range.from(), request.range.to());
    let sql = format!("SELECT timestamp, price FROM {}", select::selection(selector, from, to));
    let (filter, [from, to]) = (select::filter(selector), [from, to].map(select::millis));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(&*select::parameters(&filter, &from, &to))?;
    let slots = Totals::slots(request);
    let (mut totals, mut current) = (Totals::new(*request), None);
    while let Some(row) = rows.next()? {
        let millis: i64 = row.get(0)?;
        let price: Price = row.get_ref(1)?.as_str()?.parse().map_err(|error| unreadable(1, error))?;
        let slot = slots.map(|(shift, length)| (millis + shift) / length);
        match &mut current {
            Some((of, _, sums)) if *of == slot => Sums::add(sums, price),
            _ => {
                if let Err(error) = end(&mut totals, current.take())? {
                    return Ok(Err(error));
                }
                current = Some((slot, millis, Sums::of(price)));
            }
        }
    }
    Ok(end(&mut totals, current)?.map(|()| totals.into_buckets()))
}

/// Adds the sums of a slot, which contains this time.
fn end(totals: &mut Totals, slot: Option<(Option<i64>, i64, Sums)>) -> rusqlite::Result<Result<()>> {
    let Some((_, millis, sums)) = slot else { return Ok(Ok(())) };
    let time = Timestamp::from_millis(millis).map_err(|error| unreadable(0, error))?;
    Ok(sums.summary().and_then(|summary| totals.add_summary(time, summary)))
}
