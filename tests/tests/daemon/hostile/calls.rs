//! System calls that are dangerous by themselves.

use hairtrigger_tests::crimes::calls::*;

crimes! {
    c39_sets_up_io_uring: SETS_UP_IO_URING,
    c40_calls_bpf: CALLS_BPF,
    c41_calls_userfaultfd: CALLS_USERFAULTFD,
    c42_counts_events: COUNTS_EVENTS,
    c43_advises_others: ADVISES_OTHERS,
    c44_listens_to_its_own_calls: LISTENS_TO_ITS_OWN_CALLS,
    c45_changes_segments: CHANGES_SEGMENTS,
    c46_calls_as_i386: CALLS_AS_I386,
    c47_calls_by_other_numbers: CALLS_BY_OTHER_NUMBERS,
    c48_jumps_into_vsyscall: JUMPS_INTO_VSYSCALL,
    c49_changes_the_host: CHANGES_THE_HOST,
}
