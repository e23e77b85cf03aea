//! Memory, descriptors, output and time.

use hairtrigger_tests::crimes::resources::*;

crimes! {
    c51_bombs_memory: BOMBS_MEMORY,
    c55_overflows_the_stack: OVERFLOWS_THE_STACK,
    c59_loops: LOOPS,
}
