//! System calls that are dangerous by themselves.

use hairtrigger_tests::crimes::calls::*;

crimes! {
    c39_sets_up_io_uring: SETS_UP_IO_URING,
}
