//! Other processes.

use hairtrigger_tests::crimes::processes::*;

crimes! {
    c22_forks: FORKS,
    c23_vforks: VFORKS,
    c24_calls_clone3: CALLS_CLONE3,
    c25_makes_namespaces: MAKES_NAMESPACES,
    c26_bombs_with_forks: BOMBS_WITH_FORKS,
    c27_bombs_with_threads: BOMBS_WITH_THREADS,
    c28_kills_everybody: KILLS_EVERYBODY,
    c29_kills_a_sibling: KILLS_A_SIBLING,
    c30_kills_its_template: KILLS_ITS_TEMPLATE,
    c31_takes_descriptors: TAKES_DESCRIPTORS,
    c32_traces: TRACES,
    c33_reads_foreign_memory: READS_FOREIGN_MEMORY,
    c34_types_into_a_terminal: TYPES_INTO_A_TERMINAL,
    c35_daemonises: DAEMONISES,
    c36_takes_privileges: TAKES_PRIVILEGES,
    c37_snoops: SNOOPS,
    c38_changes_limits: CHANGES_LIMITS,
}
