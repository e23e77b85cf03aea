#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hairtrigger_daemon::fuzz::settings(data));
