//! The macros that make one named test of each promise.

/// One `#[tokio::test]` for each promise of a log, in a module of the given name; the expression makes a
/// fresh [`LogFixture`](crate::conformance::LogFixture). With `if` before it, the expression answers an `Option`:
/// without a fixture, because a server is not there, the tests say nothing.
#[macro_export]
macro_rules! log_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), log, (&fixture);
            published_records_are_delivered,
            receipts_name_their_purchase,
            receipts_promise_what_the_sink_does,
            publishing_again_keeps_the_id,
            records_hold_what_was_published,
            one_users_records_keep_their_order,
            a_dropped_publish_is_not_taken_back,
            a_closed_sink_refuses_and_keeps,
            batches_keep_to_their_limit,
            batches_keep_to_their_bytes,
            a_record_keeps_its_time,
            a_new_group_starts_at_the_earliest,
            groups_are_independent,
            uncommitted_records_are_redelivered,
            committed_records_are_not_redelivered,
            commit_answers_each_position,
            a_smaller_offset_moves_the_position_back,
            a_dropped_next_loses_nothing,
            a_revocation_is_waited_for,
            a_revocation_ends_with_its_grace,
            a_revoked_partition_is_silent,
            an_interruption_is_no_batch,
            an_epoch_that_is_over_is_fenced,
            lag_is_what_is_not_committed,
            a_closed_source_hands_over,
            foreign_records_are_delivered_as_they_stand,
            dead_letters_are_byte_identical,
            dead_letters_may_be_put_again,
        );
    };
}

/// One `#[tokio::test]` for each promise that a log makes to its operators, in a module of the given name; the
/// expression makes a fresh [`LogFixture`](crate::conformance::LogFixture).
#[macro_export]
macro_rules! log_admin_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), log_admin, (&fixture);
            appended_records_are_kept_as_given,
            a_scan_yields_the_log_as_it_is,
            a_scan_disturbs_no_group,
            pending_letters_are_listed_once,
            pending_letters_keep_their_order,
            a_listing_leaves_out_what_comes_later,
            a_listing_does_not_meet_a_replayed_letter_again,
            a_replayed_record_keeps_its_id,
            a_replayed_event_is_unchanged,
            a_replayed_letter_is_resolved,
            a_discarded_letter_is_resolved,
            a_letter_put_again_is_pending_again,
            resolving_nothing_changes_nothing,
            the_ports_share_one_topic,
        );
    };
}

/// One `#[tokio::test]` for each promise of a store, in a module of the given name; the expression makes a
/// fresh [`StoreFixture`](crate::conformance::StoreFixture).
#[macro_export]
macro_rules! store_suite {
    ($name:ident, $($fixture:tt)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may stand beside the macro or be given by its path")]
            use super::*;

            $crate::conformance_cases!(store, fixture = ($($fixture)+), store, (&fixture);
                outcomes_match_their_batch,
                a_new_purchase_is_stored,
                purchases_are_kept_as_given,
                a_duplicate_changes_nothing,
                a_conflict_changes_nothing,
                a_batch_may_repeat_itself,
                racing_inserts_store_once,
                a_conflict_does_not_keep_others_out,
                an_empty_batch_is_fine,
                a_dropped_insert_leaves_the_store_whole,
            );
            $crate::conformance_cases!(query, fixture = ($($fixture)+), query, (&fixture);
                a_selector_sees_its_own,
                everybodys_purchases_are_listed_or_denied,
                pages_are_ordered_both_ways,
                the_ends_of_time_are_no_exception,
                next_is_none_exactly_at_the_end,
                the_limit_may_change,
                a_scan_sees_what_was_there_throughout,
                a_foreign_cursor_is_invalid,
                sums_are_exact,
                nobody_has_bought_nothing,
                get_finds_by_id,
            );
        }
    };
}

/// One `#[tokio::test]` for each promise of the pipeline, in a module of the given name; the expression makes
/// a pair of a fresh [`LogFixture`](crate::conformance::LogFixture) and a fresh
/// [`StoreFixture`](crate::conformance::StoreFixture).
#[macro_export]
macro_rules! pipeline_suite {
    ($name:ident, $($fixtures:tt)+) => {
        $crate::conformance_cases!($name, fixtures = ($($fixtures)+), pipeline, (&fixtures.0, &fixtures.1);
            everything_is_stored_once,
            redelivery_stores_once,
            an_outage_is_waited_for,
            unknown_outcomes_are_tried_again,
            a_crash_before_commit_doubles_nothing,
            the_position_waits_for_a_slow_batch,
            a_shutdown_finishes_what_is_on_its_way,
            poison_is_dead_lettered,
            a_conflict_is_dead_lettered,
            a_rejected_purchase_is_dead_lettered,
            foreign_records_are_stored_once,
            a_revocation_mid_batch_loses_nothing,
            the_bytes_in_flight_are_bounded,
            the_position_waits_for_the_dead_letters,
            too_many_dead_letters_stop_it,
            conflicts_do_not_count_towards_the_limit,
            members_may_come_and_go,
        );
    };
}

/// One `#[tokio::test]` for each promise of a store of users, in a module of the given name; the expression makes a
/// fresh [`UsersFixture`](crate::conformance::UsersFixture).
#[macro_export]
macro_rules! users_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), users, (&fixture);
            numbers_have_no_gaps,
            racing_users_leave_no_gap,
            a_registered_user_is_found,
            an_email_is_taken_once,
            a_domain_has_no_case,
            a_key_makes_a_user_repeatable,
            a_key_is_of_one_user,
            each_user_has_one_event,
            orders_are_known_once,
        );
    };
}

/// One `#[tokio::test]` for each promise of a store of records, in a module of the given name; the expression makes a
/// fresh [`RecordStoreFixture`](crate::conformance::RecordStoreFixture).
#[macro_export]
macro_rules! record_store_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), record_store, (&fixture);
            outcomes_match_their_batch,
            a_record_is_applied_once,
            a_batch_may_repeat_itself,
            racing_batches_apply_once,
            a_conflict_does_not_keep_others_out,
            an_empty_batch_is_fine,
            a_dropped_apply_may_be_repeated,
        );
    };
}

/// One `#[tokio::test]` for each promise of a store of orders, in a module of the given name; the expression makes a
/// fresh [`OrdersFixture`](crate::conformance::OrdersFixture).
#[macro_export]
macro_rules! orders_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), orders, (&fixture);
            users_are_known_by_their_events,
            user_events_are_idempotent,
            numbers_have_no_gaps,
            racing_orders_leave_no_gap,
            a_placed_order_is_found,
            a_key_makes_an_order_repeatable,
            a_key_is_of_one_order,
            each_order_has_one_event,
        );
    };
}

/// One `#[tokio::test]` for each promise of an outbox, in a module of the given name; the expression makes a fresh
/// [`OutboxFixture`](crate::conformance::OutboxFixture).
#[macro_export]
macro_rules! outbox_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), outbox, (&fixture);
            entries_keep_their_order,
            an_id_is_never_used_again,
            the_oldest_come_first,
            deleted_entries_stay_deleted,
            the_backlog_counts,
            a_write_notifies_the_relay,
            a_relay_empties_it,
            a_relay_under_faults_loses_nothing,
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($name:ident, $fixture:ident = (if $make:expr), $suite:ident, $arguments:tt; $($case:ident,)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may stand beside the macro or be given by its path")]
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let case = async {
                        let Some($fixture) = $make.await else { return };
                        $crate::conformance::$suite::$case $arguments.await;
                    };
                    $crate::conformance::limited(stringify!($case), case).await;
                }
            )+
        }
    };
    ($name:ident, $fixture:ident = ($make:expr), $suite:ident, $($rest:tt)+) => {
        $crate::conformance_cases!($name, $fixture = (if async { Some($make.await) }), $suite, $($rest)+);
    };
}
