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
            publishing_again_keeps_the_id,
            published_records_are_unchanged,
            one_users_records_keep_their_order,
            a_dropped_publish_may_still_complete,
            a_failed_purchase_does_not_fail_its_batch,
            a_closed_sink_rejects_publishes,
            batches_respect_the_byte_limit,
            a_record_keeps_its_timestamp,
            a_member_starts_at_the_committed_position,
            a_dropped_next_loses_nothing,
            a_rebalance_waits_for_the_revocation,
            a_revocation_ends_at_its_timeout,
            next_control_returns_no_batch,
            lag_counts_uncommitted_records,
            a_closed_source_releases_its_partitions,
            records_deleted_unread_are_a_gap,
            deleting_committed_records_is_no_gap,
        );
    };
}

/// One `#[tokio::test]` per case of the administration of a log, in a module with the given name.
/// The expression creates a fresh [`LogFixture`](crate::conformance::LogFixture).
#[macro_export]
macro_rules! log_admin_suite {
    ($name:ident, $($fixture:tt)+) => {
        $crate::conformance_cases!($name, fixture = ($($fixture)+), log_admin, (&fixture);
            the_ports_share_one_topic,
            a_scan_yields_the_whole_log,
            pending_dead_letters_are_listed_once,
            dead_letters_are_found_by_position,
            a_listing_does_not_repeat_a_replayed_dead_letter,
            a_replayed_record_keeps_its_id,
            a_resolved_dead_letter_stays_resolved,
            dead_letters_at_one_offset_are_distinct,
            an_erased_record_keeps_its_position,
            a_tail_yields_later_records,
            positions_are_the_committed_offsets_of_a_group,
            groups_are_listed_reset_and_forgotten,
        );
    };
}

/// One `#[tokio::test]` per case of a store, in a module with the given name. The expression
/// creates a fresh store, which implements `RecordStore<Purchase>`, `PurchaseQuery` and `Clone`, or
/// another [`StoreFixture`](crate::conformance::StoreFixture):
/// `store_suite!(own_store, async { OwnStore::default() });`. It runs the cases of `RecordStore`,
/// `PurchaseStore` and `PurchaseQuery`; `erase_suite!` those of `PurchaseErase`, and `refund_suite!` those of
/// refunds.
#[macro_export]
macro_rules! store_suite {
    ($name:ident, $($fixture:tt)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may be in this module or given by its path")]
            use super::*;

            $crate::conformance_cases!(store, fixture = ($($fixture)+), store, (&fixture);
                stored_purchases_are_unchanged,
                a_duplicate_changes_nothing,
                a_conflict_changes_nothing,
                a_reopened_store_has_its_purchases,
            );
            $crate::conformance_cases!(
                records, fixture = ($($fixture)+), record_store, (&$crate::conformance::PurchaseRecords(fixture));
                outcomes_match_their_batch,
                a_conflict_does_not_block_the_batch,
                racing_batches_apply_once,
                a_dropped_apply_may_be_repeated,
            );
            $crate::conformance_cases!(query, fixture = ($($fixture)+), query, (&fixture);
                a_selector_matches_its_purchases_only,
                pages_are_ordered_both_ways,
                a_scan_yields_purchases_present_throughout,
                a_foreign_cursor_is_invalid,
                totals_are_exact_per_period,
                too_many_buckets_are_invalid,
                scan_batches_yield_everything_once,
                pages_and_batches_end_by_their_bytes,
                wait_for_returns_when_stored,
                names_are_ordered_by_their_bytes,
                the_last_reading_of_a_file_is_kept,
            );
            $crate::conformance_cases!(durability, fixture = ($($fixture)+), durability, (&fixture);
                a_fail_over_keeps_what_was_acknowledged,
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
            a_marked_purchase_is_never_stored,
            the_oldest_purchases_are_deleted,
            the_last_seen_time_is_kept,
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
            a_refund_takes_name_and_reference_from_its_purchase,
            a_contradicting_refund_is_returned_until_removed,
            a_refund_is_never_of_a_later_purchase,
            refunds_of_unknown_purchases_hold_up_no_others,
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
            a_purchase_in_another_currency_is_rejected,
            an_absent_currency_equals_that_of_the_store,
            no_record_gives_the_store_a_currency,
        );
    };
}

/// One `#[tokio::test]` per case of a decorator, in a module with the given name: a sink, a store or a
/// query around another one. The expression is a closure that wraps the inner one, which is an `Arc`
/// of the port: `decorator_suite!(audited, sink: |inner| Audited { inner });`.
///
/// The tests find what a decorator drops: a part of the info, the batches of a sink, a check, or a
/// call.
#[macro_export]
macro_rules! decorator_suite {
    ($name:ident, sink: $wrap:expr) => {
        $crate::conformance_cases!($name, wrap = (async { $crate::conformance::decorator::sink($wrap) }), decorator, (&wrap);
            a_sink_forwards_its_info,
            a_sink_forwards_its_batches,
            a_sink_forwards_its_other_calls,
        );
    };
    ($name:ident, store: $wrap:expr) => {
        $crate::conformance_cases!($name, wrap = (async { $crate::conformance::decorator::store($wrap) }), decorator, (&wrap);
            a_store_forwards_its_info,
            a_store_forwards_its_calls,
        );
    };
    ($name:ident, query: $wrap:expr) => {
        $crate::conformance_cases!($name, wrap = (async { $crate::conformance::decorator::query($wrap) }), decorator, (&wrap);
            a_query_forwards_its_info,
            a_query_forwards_its_calls,
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
            an_outage_is_waited_for,
            a_crash_before_commit_duplicates_nothing,
            bad_records_are_dead_lettered,
            a_refund_waits_for_its_purchase,
            a_gap_is_dead_lettered,
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
            a_topic_without_a_reader_is_unread,
            parked_records_are_dead_letters,
            dead_letters_are_listed_by_position,
            a_forecast_says_what_becomes_a_dead_letter_again,
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
            records_in_flight_at_the_first_subscription_are_yielded,
            an_error_of_the_store_skips_nothing,
            purchases_that_are_never_listed_delay_nothing,
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
                a_repetition_returns_the_first_purchase,
                a_repetition_of_a_new_key_returns_the_first_purchase,
                a_key_cannot_be_claimed_by_another_user,
                an_erased_key_is_refused,
                each_purchase_of_a_batch_has_a_result,
                pages_are_those_of_the_selection,
            );
            $crate::conformance_cases!(events, fixture = ($($fixture)+), events, (&fixture);
                purchases_are_yielded_in_order_and_once,
                a_cursor_yields_exactly_the_rest,
                a_foreign_cursor_is_refused,
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
            a_conflict_does_not_block_the_batch,
            racing_batches_apply_once,
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
                    $crate::conformance::limited(concat!(stringify!($suite), "::", stringify!($case)), case).await;
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
