//! Networks, and what processes speak to each other by.

use hairtrigger_tests::crimes::network::*;

crimes! {
    c13_connects_by_tcp: CONNECTS_BY_TCP,
    c14_sends_by_udp: SENDS_BY_UDP,
    c15_makes_raw_sockets: MAKES_RAW_SOCKETS,
    c16_makes_rare_sockets: MAKES_RARE_SOCKETS,
    c17_connects_to_an_abstract_socket: CONNECTS_TO_AN_ABSTRACT_SOCKET,
    c18_connects_to_the_administration: CONNECTS_TO_THE_ADMINISTRATION,
    c19_uses_system_v_ipc: USES_SYSTEM_V_IPC,
    c20_floods_with_descriptors: FLOODS_WITH_DESCRIPTORS,
    c21_uses_key_rings: USES_KEY_RINGS,
}
