//! Macros that run the kit on a store of users or orders, or on an outbox.

/// The cases of [`conformance::entity`](crate::conformance::entity) for a store of `$entity`.
#[doc(hidden)]
#[macro_export]
macro_rules! entity_cases {
    ($entity:path, $($fixture:tt)+) => {
        $crate::conformance_cases!($crate: entity, fixture = ($($fixture)+), entity, (&$crate::conformance::EntityFixture::<$entity>::ports(&fixture).await);
            only_new_rows_take_a_number_and_have_an_event,
            racing_inserts_leave_no_gap,
            an_inserted_row_is_found,
        );
    };
}

/// One `#[tokio::test]` per case of a store of users, in a module with the given name. The
/// expression creates a fresh [`UsersFixture`](crate::conformance::UsersFixture).
#[macro_export]
macro_rules! users_suite {
    ($name:ident, $($fixture:tt)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may be in this module or given by its path")]
            use super::*;

            $crate::entity_cases!($crate::users::User, $($fixture)+);
            $crate::conformance_cases!($crate: users, fixture = ($($fixture)+), users, (&fixture);
                applied_orders_are_listed_once,
            );
        }
    };
}

/// One `#[tokio::test]` per case of a store of orders, in a module with the given name. The
/// expression creates a fresh [`EntityFixture`](crate::conformance::EntityFixture) of orders.
#[macro_export]
macro_rules! orders_suite {
    ($name:ident, $($fixture:tt)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may be in this module or given by its path")]
            use super::*;

            $crate::entity_cases!($crate::orders::Order, $($fixture)+);
            $crate::conformance_cases!($crate: orders, fixture = ($($fixture)+), orders, (&$crate::conformance::EntityFixture::<$crate::orders::Order>::ports(&fixture).await);
                an_order_waits_for_the_event_of_its_user,
                keys_count_per_user,
            );
        }
    };
}

/// One `#[tokio::test]` per case of a store from which users can be erased, in a module with the
/// given name. The expression creates a fresh
/// [`EraseUsersFixture`](crate::conformance::EraseUsersFixture).
#[macro_export]
macro_rules! erase_users_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($crate: $name, fixture = ($($fixture)+), erase_users, (&fixture);
            an_erased_user_is_unknown,
            only_the_number_of_an_erased_user_stays_taken,
        );
    };
}

/// All suites of a store of users and a store of orders, in a module with the given name. The
/// expression creates an optional fresh [`EntityStores`](crate::conformance::EntityStores): the
/// tests pass without a fixture when a server is not available.
#[macro_export]
macro_rules! entity_stores_suite {
    ($name:ident, $fixture:expr) => {
        mod $name {
            use $crate::conformance::StoreOf;
            use $crate::orders::Order;
            use $crate::users::User;

            use super::*;

            $crate::users_suite!(users, if $fixture);
            $crate::erase_users_suite!(erase_users, if $fixture);
            $crate::orders_suite!(orders, if $fixture);
            $crate::outbox_suite!(outbox_of_users, if async { $fixture.await.map(StoreOf::<User, _>::new) });
            $crate::outbox_suite!(outbox_of_orders, if async { $fixture.await.map(StoreOf::<Order, _>::new) });
            $crate::record_store_suite!(orders_of_users, if async { $fixture.await.map(StoreOf::<User, _>::new) });
            $crate::record_store_suite!(users_of_orders, if async { $fixture.await.map(StoreOf::<Order, _>::new) });
        }
    };
}

/// One `#[tokio::test]` per case of an outbox, in a module with the given name. The expression
/// creates a fresh [`OutboxFixture`](crate::conformance::OutboxFixture).
#[macro_export]
macro_rules! outbox_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($crate: $name, fixture = ($($fixture)+), outbox, (&fixture);
            entries_keep_their_order,
            open_writes_of_a_key_keep_their_order,
            a_late_commit_is_not_skipped,
            an_id_is_never_reused,
            deleted_entries_stay_deleted,
            a_write_notifies_the_relay,
            a_relay_under_faults_loses_nothing,
        );
    };
}
