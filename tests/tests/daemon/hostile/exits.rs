//! Ways to end, and to break the contract.

use hairtrigger_tests::crimes::exits::*;

crimes! {
    c63_exits: EXITS,
    c64_aborts: ABORTS,
    c65_handles_crashes_by_crashing: HANDLES_CRASHES_BY_CRASHING,
    c66_masks_all_signals: MASKS_SIGNALS,
    c67_panics_across_the_abi: PANICS_ACROSS_THE_ABI,
    c67_throws_across_the_abi: THROWS_ACROSS_THE_ABI,
    c68_jumps_out_of_its_invocation: JUMPS_OUT,
    c69_hangs_in_exit_handlers: HANGS_IN_EXIT_HANDLERS,
    c70_leaves_a_thread_behind: LEAVES_A_THREAD,
    c71_sets_alarms_for_others: SETS_ALARMS,
    c72_keeps_state_between_requests: KEEPS_STATE,
    c73_starts_a_thread_in_init: STARTS_A_THREAD_IN_INIT,
    c74_loads_slowly: LOADS_SLOWLY,
    c75_hangs: HANGS,
    c76_crashes: CRASHES,
    c77_answers_too_much: ANSWERS_TOO_MUCH,
    c78_closes_its_descriptors: CLOSES_DESCRIPTORS,
}
