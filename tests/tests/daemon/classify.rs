//! A function that has learned something: digits in, and what ONNX Runtime makes of the same model beside it.

use std::fs;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::home::Home;
use serde_json::{Value, json};

/// Images that the model has not seen, and the reference's answers.
fn reference() -> Vec<Value> {
    let path = artefacts::workspace().join("plugins/classify/model/reference.json");
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reference: Value = serde_json::from_slice(&text).expect("train.py writes JSON");
    assert!(reference["by"].as_str().is_some_and(|by| by.starts_with("onnxruntime ")), "{reference}");
    reference["cases"].as_array_mut().map(std::mem::take).expect("a list")
}

fn probabilities(of: &Value) -> Vec<f64> {
    let list = of["probabilities"].as_array().expect("a list");
    list.iter().map(|number| number.as_f64().expect("a number")).collect()
}

#[test]
fn digits_are_recognised_as_the_reference_implementation_recognises_them() {
    let home = Home::new();
    home.add_example("classify", &artefacts::plugin_apart("classify"));
    let daemon = home.start();
    let mut connection = daemon.connect();
    let cases = reference();
    assert_eq!(cases.len(), 60);
    let mut right = 0;
    for case in &cases {
        let pixels = case["pixels"].as_array().expect("a list");
        let rows: Vec<&[Value]> = pixels.chunks(8).collect();
        let answer = connection.post("/classify", json!({ "pixels": rows }).to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
        let answer = answer.json();
        let (found, expected) = (probabilities(&answer), probabilities(case));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found} instead of {expected} in {answer}");
        }
        let best = (0..10).max_by(|&one, &other| expected[one].total_cmp(&expected[other])).expect("ten");
        assert_eq!((&answer["label"], answer["probability"].as_f64()), (&best.into(), Some(found[best])));
        right += usize::from(answer["label"] == case["digit"]);
    }
    assert!(right >= 54, "only {right} of 60 digits are recognised");
    daemon.stop();
}

#[test]
fn what_is_no_image_is_refused_and_the_worker_lives_on() {
    let home = Home::new();
    home.add_example("classify", &artefacts::plugin_apart("classify"));
    let daemon = home.start();
    let worker = daemon.await_workers("classify", 1).remove(0).pid;
    let answer = daemon.connect().post("/classify", b"{\"pixels\": [17]}");
    assert_eq!((answer.status, answer.text()), (400, "Pixel 1 is 17, but pixels go from 0 to 16.\n"));
    let answer = daemon.connect().post("/classify", b"{\"pixels\": [[0]]}");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("pixels must be 8 rows of 8 numbers"), "{}", answer.text());
    assert_eq!((daemon.get("/classify").status, daemon.get("/classify").header("allow")), (405, "POST"));
    let blank = json!({ "pixels": vec![0; 64] }).to_string();
    assert_eq!(daemon.connect().post("/classify", blank.as_bytes()).status, 200);
    assert!(daemon.workers("classify").iter().any(|process| process.pid == worker), "the worker is gone");
    daemon.stop();
}

#[test]
fn its_parts_do_what_they_say() {
    let output = artefacts::cargo_apart("classify", "test").arg("--lib").output();
    let output = output.expect("cargo can be executed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" passed; 0 failed; 0 ignored;") && !said.contains(" 0 passed;"), "{said}");
}
