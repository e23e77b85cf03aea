//! Ways to end, and to break the contract.

use hairtrigger_tests::crimes::exits::*;

crimes! {
    c63_exits: EXITS,
}
