//! Macros that run the kit on a store of users or orders, or on an outbox.

/// One `#[tokio::test]` per case of a store from which users can be erased, in a module with the
/// given name. The expression creates a fresh
/// [`EraseUsersFixture`](crate::conformance::EraseUsersFixture).
#[macro_export]
macro_rules! erase_users_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($crate: $name, fixture = ($($fixture)+), erase_users, (&fixture);
            an_erased_user_is_unknown,
            the_number_of_an_erased_user_is_not_reused,
            the_address_of_an_erased_user_is_free,
            other_users_stay,
        );
    };
}

/// One `#[tokio::test]` per case of a store of users, in a module with the given name. The
/// expression creates a fresh [`UsersFixture`](crate::conformance::UsersFixture).
#[macro_export]
macro_rules! users_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($crate: $name, fixture = ($($fixture)+), users, (&fixture);
            numbers_have_no_gaps,
            racing_users_leave_no_gap,
            a_registered_user_is_found,
            an_email_is_unique,
            an_email_domain_is_case_insensitive,
            a_key_makes_registration_idempotent,
            a_key_belongs_to_one_user,
            each_user_has_one_event,
            order_events_are_applied_once,
        );
    };
}

/// One `#[tokio::test]` per case of a store of orders, in a module with the given name. The
/// expression creates a fresh [`OrdersFixture`](crate::conformance::OrdersFixture).
#[macro_export]
macro_rules! orders_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($crate: $name, fixture = ($($fixture)+), orders, (&fixture);
            user_events_are_applied_once,
            user_events_are_idempotent,
            numbers_have_no_gaps,
            racing_orders_leave_no_gap,
            a_placed_order_is_found,
            a_key_makes_placement_idempotent,
            a_key_belongs_to_one_order,
            keys_count_per_user,
            each_order_has_one_event,
        );
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
            the_oldest_entries_are_listed_first,
            deleted_entries_stay_deleted,
            the_backlog_counts,
            a_write_notifies_the_relay,
            a_relay_empties_the_outbox,
            a_relay_under_faults_loses_nothing,
        );
    };
}
