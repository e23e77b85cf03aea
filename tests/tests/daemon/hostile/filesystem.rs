//! Files, and what is mapped or handed down.

use hairtrigger_tests::crimes::filesystem::*;

crimes! {
    c01_opens_etc_passwd: OPENS_ETC_PASSWD,
    c02_writes_its_own_code: WRITES_ITS_OWN_CODE,
    c03_climbs_out_with_dots: CLIMBS_OUT_WITH_DOTS,
    c04_follows_a_link_out: FOLLOWS_A_LINK_OUT,
    c05_goes_where_a_path_descriptor_leads: GOES_WHERE_A_PATH_DESCRIPTOR_LEADS,
    c06_opens_by_other_calls: OPENS_BY_OTHER_CALLS,
    c07_mounts: MOUNTS,
    c08_executes: EXECUTES,
    c09_makes_memory_files: MAKES_MEMORY_FILES,
    c10_makes_new_code: MAKES_NEW_CODE,
    c11_probes_files: PROBES_FILES,
    c12_finds_no_descriptors: FINDS_NO_DESCRIPTORS,
}
