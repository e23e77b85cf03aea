//! The requests of llhttp's tests, and what becomes of each here: `tests/llhttp/README.md` has the table, and this
//! test says that it is true.

use std::fs;
use std::path::Path;

use hairtrigger_tests::home::Home;

use crate::own;

#[test]
fn each_request_of_llhttps_tests_gets_the_answers_of_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("llhttp");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("it lies in the repository");
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(&read("requests.json")).expect("a list of cases");
    assert!(cases.len() > 160, "only {} cases", cases.len());
    let table = read("README.md");
    let home = Home::new();
    home.add("silent", &own("silent"), "routes = ['/']");
    let daemon = home.start();
    let mut wrong = Vec::new();
    for case in &cases {
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        let mut connection = daemon.connect();
        // It may be refused before it was sent.
        connection.send_regardless(text("request")).end_sending_regardless();
        let statuses = connection.receive_statuses();
        let expected: Vec<u16> = serde_json::from_value(case["answers"].clone()).expect("statuses");
        if statuses != expected {
            wrong.push(format!("{}: {statuses:?} and not {expected:?}", text("case")));
        }
        let answers = expected.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let answers = if answers.is_empty() { "none" } else { &answers };
        let cell = |key: &str| text(key).replace('|', "\\|");
        let row = format!("| {} | {} | {answers} | {} |\n", cell("case"), cell("llhttp"), text("why"));
        assert!(table.contains(&row), "the table lacks {row}");
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    daemon.stop();
}
