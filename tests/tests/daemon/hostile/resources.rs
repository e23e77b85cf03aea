//! Memory, descriptors, output and time.

use hairtrigger_tests::crimes::resources::*;

crimes! {
    c51_bombs_memory: BOMBS_MEMORY,
    c52_fills_shared_memory: FILLS_SHARED_MEMORY,
    c53_has_the_kernel_use_memory: FILLS_THE_KERNEL,
    c54_exhausts_descriptors: EXHAUSTS_DESCRIPTORS,
    c55_overflows_the_stack: OVERFLOWS_THE_STACK,
    c56_steps_over_the_guard_of_its_stack: STEPS_OVER_THE_GUARD,
    c57_floods_its_output: FLOODS_ITS_OUTPUT,
    c58_writes_more_than_anybody_reads: WRITES_WHAT_NOBODY_READS,
    c59_loops: LOOPS,
    c60_sleeps_for_ever: SLEEPS,
    c61_stops_itself: STOPS,
    c62_copies_its_body_too_often: COPIES_ITS_BODY,
}
