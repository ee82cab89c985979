//! The macros that generate one named test per case.

/// One `#[tokio::test]` per case of a log, in a module with the given name. The expression creates
/// a fresh [`LogFixture`](crate::conformance::LogFixture), whose methods `log` and `sink` return
/// the log and a sink on it. With a preceding `if` it returns an `Option`, and the tests pass
/// without a fixture when a server is not available.
#[macro_export]
macro_rules! log_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), log, (&fixture);
            published_records_are_delivered,
            receipts_name_their_purchase,
            receipts_state_the_durability,
            publishing_again_keeps_the_id,
            published_records_are_unchanged,
            one_users_records_keep_their_order,
            a_dropped_publish_may_still_complete,
            a_batch_has_one_result_per_purchase,
            a_failed_purchase_does_not_fail_its_batch,
            a_batch_keeps_the_order_of_each_user,
            a_batch_may_repeat_a_purchase,
            a_dropped_batch_can_be_published_again,
            a_closed_sink_rejects_publishes,
            batches_respect_the_record_limit,
            batches_respect_the_byte_limit,
            a_record_keeps_its_timestamp,
            a_new_group_starts_at_the_earliest,
            groups_are_independent,
            uncommitted_records_are_redelivered,
            committed_records_are_not_redelivered,
            commit_returns_one_outcome_per_position,
            records_deleted_unread_are_a_gap,
            an_uncommitted_gap_is_redelivered,
            deleting_committed_records_is_no_gap,
            a_smaller_offset_moves_the_position_back,
            a_dropped_next_loses_nothing,
            a_rebalance_waits_for_the_revocation,
            a_revocation_ends_at_its_timeout,
            a_revoked_partition_delivers_nothing,
            next_control_returns_no_batch,
            a_commit_of_an_ended_epoch_is_fenced,
            lag_counts_uncommitted_records,
            a_closed_source_releases_its_partitions,
            foreign_records_are_delivered_unchanged,
            dead_letters_are_byte_identical,
            dead_letters_may_be_put_again,
        );
    };
}

/// One `#[tokio::test]` per case of the administration of a log, in a module with the given name.
/// The expression creates a fresh [`LogFixture`](crate::conformance::LogFixture).
#[macro_export]
macro_rules! log_admin_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), log_admin, (&fixture);
            appended_records_are_unchanged,
            a_scan_yields_the_whole_log,
            a_scan_disturbs_no_group,
            a_tail_starts_at_offsets,
            a_tail_yields_later_records,
            positions_are_the_committed_offsets_of_a_group,
            a_record_is_found_by_its_position,
            a_dead_letter_is_found_by_its_record,
            pending_dead_letters_are_listed_once,
            pending_dead_letters_keep_their_order,
            a_listing_excludes_later_dead_letters,
            a_listing_does_not_repeat_a_replayed_dead_letter,
            a_replayed_record_keeps_its_id,
            a_replayed_event_is_unchanged,
            a_replayed_dead_letter_is_resolved,
            a_discarded_dead_letter_is_resolved,
            a_resolved_dead_letter_stays_resolved,
            dead_letters_at_one_offset_are_distinct,
            a_gap_is_not_replayed,
            dead_letters_are_resolved_by_position,
            dead_letters_are_found_by_position,
            resolving_nothing_changes_nothing,
            an_erased_record_keeps_its_position,
            groups_are_listed_reset_and_forgotten,
            the_ports_share_one_topic,
        );
    };
}

/// One `#[tokio::test]` per case of a store, in a module with the given name. The expression
/// creates a fresh store, which implements `RecordStore<Purchase>`, `PurchaseQuery` and `Clone`, or
/// another [`StoreFixture`](crate::conformance::StoreFixture):
/// `store_suite!(own_store, async { OwnStore::default() });`. It runs the cases of `PurchaseStore`
/// and `PurchaseQuery`; `erase_suite!` those of `PurchaseErase`, and `refund_suite!` those of
/// refunds.
#[macro_export]
macro_rules! store_suite {
    ($name:ident, $($fixture:tt)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may be in this module or given by its path")]
            use super::*;

            $crate::conformance_cases!(store, fixture = ($($fixture)+), store, (&fixture);
                outcomes_match_their_batch,
                a_new_purchase_is_stored,
                stored_purchases_are_unchanged,
                a_duplicate_changes_nothing,
                a_conflict_changes_nothing,
                details_of_a_later_version_are_kept,
                a_batch_may_repeat_itself,
                racing_inserts_store_once,
                a_conflict_does_not_block_the_batch,
                an_empty_batch_is_fine,
                a_dropped_insert_leaves_the_store_consistent,
                a_reopened_store_has_its_purchases,
            );
            $crate::conformance_cases!(query, fixture = ($($fixture)+), query, (&fixture);
                a_selector_matches_its_purchases_only,
                a_reference_selects_its_purchases_only,
                all_purchases_are_listed_or_unsupported,
                pages_are_ordered_both_ways,
                extreme_timestamps_are_ordered,
                next_is_none_exactly_at_the_end,
                the_limit_may_change,
                a_scan_yields_purchases_present_throughout,
                scan_batches_yield_everything_once,
                names_are_ordered_by_their_bytes,
                a_foreign_cursor_is_invalid,
                a_range_selects_by_time,
                a_cursor_belongs_to_its_range,
                totals_are_exact_per_period,
                totals_follow_the_zone,
                too_many_buckets_are_invalid,
                sums_are_exact,
                an_unknown_user_has_an_empty_summary,
                get_finds_by_id,
                wait_for_returns_when_stored,
            );
        }
    };
}

/// One `#[tokio::test]` per case of a store from which purchases can be erased, in a module with
/// the given name. The expression creates a fresh
/// [`EraseFixture`](crate::conformance::EraseFixture).
#[macro_export]
macro_rules! erase_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), erase, (&fixture);
            purchases_of_the_user_are_erased,
            erased_purchases_are_not_listed,
            erasing_again_changes_nothing,
            an_erased_purchase_does_not_come_back,
            later_purchases_are_stored,
            a_marked_purchase_is_never_stored,
            marking_does_not_change_stored_purchases,
            marks_are_found,
            the_oldest_purchases_are_deleted,
            a_deleted_purchase_may_be_stored_again,
            old_purchases_are_counted,
            a_clock_that_jumps_deletes_nothing,
        );
    };
}

/// One `#[tokio::test]` per case of refunds in a store, in a module with the given name. The
/// expression creates a fresh [`EraseFixture`](crate::conformance::EraseFixture).
#[macro_export]
macro_rules! refund_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), refund, (&fixture);
            a_purchase_is_refunded_once,
            sums_are_net,
            what_is_no_refund_is_refused,
            a_refund_takes_name_and_reference_from_its_purchase,
            a_refund_waits_for_its_purchase,
            the_order_of_arrival_does_not_matter,
            a_waiting_refund_is_kept_once,
            the_first_valid_refund_is_applied,
            a_contradicting_refund_is_returned_until_removed,
            a_waiting_refund_is_erased_with_its_user,
            a_refund_of_an_erased_purchase_is_erased,
            an_old_waiting_refund_is_deleted,
            a_refund_is_deleted_with_its_purchase,
            a_refund_is_erased_with_its_purchase,
            any_order_of_calls_has_the_state_of_the_model,
        );
    };
}

/// One `#[tokio::test]` per case of the currency of a store, in a module with the given name. The
/// expression creates a fresh [`EraseFixture`](crate::conformance::EraseFixture).
#[macro_export]
macro_rules! currency_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), currency, (&fixture);
            the_first_currency_is_kept,
            a_purchase_gives_the_store_its_currency,
            a_purchase_in_another_currency_is_rejected,
            an_absent_currency_is_no_conflict,
        );
    };
}

/// One `#[tokio::test]` per case of the pipeline, in a module with the given name. The expression
/// creates a pair of a fresh [`LogFixture`](crate::conformance::LogFixture) and a fresh
/// [`StoreFixture`](crate::conformance::StoreFixture).
#[macro_export]
macro_rules! pipeline_suite {
    ($name:ident, $($fixtures:tt)+) => {
        $crate::conformance_cases!($name, fixtures = ($($fixtures)+), pipeline, (&fixtures.0, &fixtures.1);
            everything_is_stored_once,
            redelivery_stores_once,
            an_outage_is_waited_for,
            unknown_outcomes_are_retried,
            a_crash_before_commit_duplicates_nothing,
            the_position_waits_for_a_slow_batch,
            a_shutdown_drains_batches_in_flight,
            poison_is_dead_lettered,
            a_conflict_is_dead_lettered,
            a_rejected_purchase_is_dead_lettered,
            a_gap_is_dead_lettered,
            foreign_records_are_stored_once,
            a_revocation_mid_batch_loses_nothing,
            the_position_waits_for_the_dead_letters,
            too_many_dead_letters_stop_the_pipeline,
            conflicts_do_not_count_towards_the_limit,
            a_refund_waits_for_its_purchase,
            members_may_join_and_leave,
        );
    };
}

/// One `#[tokio::test]` per case of the [`Operations`](crate::operations::Operations) on a log and a
/// store, in a module with the given name. The expression creates a pair of a fresh
/// [`LogFixture`](crate::conformance::LogFixture) and a fresh
/// [`EraseFixture`](crate::conformance::EraseFixture).
#[macro_export]
macro_rules! operations_suite {
    ($name:ident, $($fixtures:tt)+) => {
        $crate::conformance_cases!($name, fixtures = ($($fixtures)+), operations, (&fixtures.0, &fixtures.1);
            a_missing_part_is_unsupported,
            a_status_counts_lag_and_dead_letters,
            parked_records_are_dead_letters,
            a_record_that_needs_no_dead_letter_is_not_parked,
            resolved_dead_letters_are_counted,
            an_export_yields_purchases_before_refunds,
            an_erased_user_leaves_nothing,
        );
    };
}

/// One `#[tokio::test]` per case of a [`PurchaseFeed`](crate::feed::PurchaseFeed) over a log and a
/// store, in a module with the given name. The expression creates a fresh
/// [`LogFixture`](crate::conformance::LogFixture) and a fresh
/// [`StoreFixture`](crate::conformance::StoreFixture).
#[macro_export]
macro_rules! feed_suite {
    ($name:ident, $($fixtures:tt)+) => {
        $crate::conformance_cases!($name, fixtures = ($($fixtures)+), feed, (&fixtures.0, &fixtures.1);
            purchases_are_yielded_in_order_and_once,
            records_in_flight_at_the_first_subscription_are_yielded,
            an_error_of_the_store_skips_nothing,
            purchases_that_are_never_listed_delay_nothing,
            a_cursor_yields_exactly_the_rest,
            a_new_subscription_yields_nothing_old,
            a_slow_subscription_ends_and_continues,
            a_partition_delays_no_other_one,
        );
    };
}

/// One `#[tokio::test]` per case of a [`Shop`](crate::Shop), in a module with the given name. The
/// expression creates a fresh [`ShopFixture`](crate::conformance::ShopFixture).
#[macro_export]
macro_rules! shop_suite {
    ($name:ident, $($fixture:tt)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may be in this module or given by its path")]
            use super::*;

            $crate::conformance_cases!(shop, fixture = ($($fixture)+), shop, (&fixture);
                a_bought_purchase_is_listed,
                a_time_is_kept,
                a_repetition_returns_the_first_purchase,
                a_repetition_of_a_new_key_returns_the_first_purchase,
                a_key_with_other_content_is_a_conflict,
                a_key_cannot_be_claimed_by_another_user,
                an_erased_key_is_refused,
                each_purchase_of_a_batch_has_a_result,
                pages_are_those_of_the_selection,
            );
            $crate::conformance_cases!(events, fixture = ($($fixture)+), events, (&fixture);
                purchases_are_yielded_in_order_and_once,
                a_cursor_yields_exactly_the_rest,
                a_foreign_cursor_is_refused,
                a_position_yields_what_follows,
            );
        }
    };
}

/// One `#[tokio::test]` per case of a store of records, in a module with the given name. The
/// expression creates a fresh [`RecordStoreFixture`](crate::conformance::RecordStoreFixture).
#[macro_export]
macro_rules! record_store_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), record_store, (&fixture);
            outcomes_match_their_batch,
            a_record_is_applied_once,
            a_batch_may_repeat_itself,
            racing_batches_apply_once,
            a_conflict_does_not_block_the_batch,
            an_empty_batch_is_fine,
            a_dropped_apply_may_be_repeated,
        );
    };
}

/// The tests of a suite of this crate, or of the crate that is named first.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($kit:tt: $name:ident, $fixture:ident = (if $make:expr), $suite:ident, $arguments:tt; $($case:ident,)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may be in this module or given by its path")]
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let case = async {
                        let Some($fixture) = $make.await else { return };
                        $kit::conformance::$suite::$case $arguments.await;
                    };
                    $crate::conformance::limited(stringify!($case), case).await;
                }
            )+
        }
    };
    ($kit:tt: $name:ident, $fixture:ident = ($make:expr), $suite:ident, $($rest:tt)+) => {
        $crate::conformance_cases!($kit: $name, $fixture = (if async { Some($make.await) }), $suite, $($rest)+);
    };
    ($name:ident, $fixture:ident = $make:tt, $suite:ident, $($rest:tt)+) => {
        $crate::conformance_cases!($crate: $name, $fixture = $make, $suite, $($rest)+);
    };
}
