//! Files, and what is mapped or handed down.

use hairtrigger_tests::crimes::filesystem::*;

crimes! {
    c01_opens_etc_passwd: OPENS_ETC_PASSWD,
}
