//! Other processes.

use hairtrigger_tests::crimes::processes::*;

crimes! {
    c22_forks: FORKS,
}
