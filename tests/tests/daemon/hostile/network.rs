//! Networks, and what processes speak to each other by.

use hairtrigger_tests::crimes::network::*;

crimes! {
    c13_connects_by_tcp: CONNECTS_BY_TCP,
}
