//! Publishing many purchases with a sink that publishes one.

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use super::{PublishedPurchase, PurchaseSink, Receipt};
use crate::{NewPurchase, Purchase, RequestContext, Result, UserId};

/// The number of users whose purchases are published concurrently.
const CONCURRENT_USERS: usize = 64;

/// Publishes each of `purchases` by a [`publish`](PurchaseSink::publish): up to 64 users' concurrently, and those of one
/// user in their order. The default of [`publish_many`](PurchaseSink::publish_many).
///
/// # Cancel safety
/// As [`publish_many`](PurchaseSink::publish_many).
pub async fn publish_each<S: PurchaseSink + ?Sized>(
    sink: &S,
    purchases: &[Purchase],
) -> Vec<Result<Receipt>> {
    let users = purchases.iter().map(|purchase| &purchase.user_id);
    by_user(users, |index| sink.publish(&purchases[index])).await
}

/// As [`publish_each`], by [`publish_new`](PurchaseSink::publish_new).
///
/// # Cancel safety
/// As [`publish_new_many`](PurchaseSink::publish_new_many).
pub async fn publish_new_each<S: PurchaseSink + ?Sized>(
    sink: &S,
    new: &[NewPurchase],
    context: Option<&RequestContext>,
) -> Vec<Result<PublishedPurchase>> {
    let users = new.iter().map(|new| &new.user_id);
    let context = || context.cloned().map(Box::new);
    by_user(users, |index| sink.publish_new(new[index].clone(), context())).await
}

/// The results of `publish` for each index of `of_users`, the user ids: sequentially for one user.
async fn by_user<'a, T: Send>(
    of_users: impl Iterator<Item = &'a UserId>,
    publish: impl Fn(usize) -> BoxFuture<'a, T> + Send + Sync,
) -> Vec<T> {
    let mut users: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<&UserId, usize> = HashMap::new();
    for (index, user) in of_users.enumerate() {
        let user = *known.entry(user).or_insert_with(|| {
            users.push(Vec::new());
            users.len() - 1
        });
        users[user].push(index);
    }
    let publish = &publish;
    let published = users.into_iter().map(|indices| async move {
        let mut results = Vec::with_capacity(indices.len());
        for index in indices {
            results.push((index, publish(index).await));
        }
        results
    });
    let published: Vec<_> = stream::iter(published).buffer_unordered(CONCURRENT_USERS).collect().await;
    let mut results: Vec<_> = published.into_iter().flatten().collect();
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
