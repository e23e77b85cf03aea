//! A function in C++ that reads megabytes: what it says of a table, beside what Python's `statistics` says.

use std::fmt::Write;
use std::process::Command;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use serde_json::{Value, json};

/// Reads a CSV file with nothing but its own library, and says what `aggregate` is to say.
const REFERENCE: &str = r#"
import csv, json, statistics, sys

with open(sys.argv[1], newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
answer = []
for name in rows[0]:
    cells = [row[name] for row in rows if row[name] != ""]
    column = {"name": name, "count": len(cells), "missing": len(rows) - len(cells)}
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        column["type"] = "text"
    else:
        cuts = statistics.quantiles(numbers, n=1000, method="inclusive")
        column["type"] = "integer" if all(cell.lstrip("-").isdigit() for cell in cells) else "number"
        column["mean"] = statistics.fmean(numbers)
        column["deviation"] = statistics.stdev(numbers)
        column["min"] = min(numbers)
        column["max"] = max(numbers)
        column["quantiles"] = {q: cuts[round(float(q) * 1000) - 1] for q in sys.argv[2].split(",")}
    answer.append(column)
json.dump({"rows": len(rows), "columns": answer}, sys.stdout)
"#;

fn start(home: &Home) -> Daemon<'_> {
    home.add_example("aggregate", &artefacts::function("plugins/aggregate/aggregate.cpp"));
    home.start()
}

/// A xorshift generator: the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// At least `bytes` bytes of sales: whole numbers, numbers of many sizes, gaps, and text with everything in it that
/// needs quotes.
fn sales(bytes: usize) -> String {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut text = "id,price,\"size, in m\",note,balance\r\n".to_owned();
    for id in 0_u64.. {
        let cents = random.below(10_000_000);
        write!(text, "{id},{}.{:02},", cents / 100, cents % 100).expect("memory takes it");
        if random.below(10) > 0 {
            let (digits, power) = (random.below(1_000_000), random.below(9));
            write!(text, "{digits}e-{power}").expect("memory takes it");
        }
        let note =
            ["plain", "", "\"quoted, with a comma\"", "\"two\nlines\"", "\"say \"\"hi\"\"\"", "größer"];
        let note = note[usize::try_from(random.below(6)).expect("a small number")];
        // Far from 0 beside its spread: a sum of squares would lose all digits of the deviation.
        let balance = 1_000_000_000 + random.below(1000);
        write!(text, ",{note},-{balance}.5\r\n").expect("memory takes it");
        if text.len() >= bytes {
            break;
        }
    }
    text
}

/// Equal, numbers to 12 digits.
#[track_caller]
fn assert_alike(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Object(one), Value::Object(other)) => {
            let names = |object: &serde_json::Map<String, Value>| {
                let mut names: Vec<String> = object.keys().cloned().collect();
                names.sort();
                names
            };
            assert_eq!(names(one), names(other), "{place}");
            for (name, value) in one {
                assert_alike(value, &other[name], &format!("{place}/{name}"));
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            assert_eq!(one.len(), other.len(), "{place}");
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                assert_alike(one, other, &format!("{place}/{at}"));
            }
        }
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().expect("a double"), other.as_f64().expect("a double"));
            let error = (one - other).abs();
            assert!(error <= 1e-12 * other.abs(), "{place}: {one} instead of {other}");
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

#[test]
fn ten_megabytes_are_summed_up_as_pythons_statistics_sums_them_up() {
    let python = artefacts::find_program("python3");
    let python = python.expect("this test needs Python; install it (on Debian: apt-get install python3)");
    let home = Home::new();
    let daemon = start(&home);
    let table = sales(10 << 20);
    let file = home.path().join("sales.csv");
    std::fs::write(&file, &table).expect("writable");
    let quantiles = "0.001,0.05,0.25,0.5,0.75,0.95,0.999";
    let answer = daemon.connect().post(&format!("/aggregate?quantiles={quantiles}"), table.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());

    let output = Command::new(python).args(["-c", REFERENCE]).arg(file).arg(quantiles).output();
    let output = output.expect("Python can be executed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    let kinds = ["integer", "number", "number", "text", "number"];
    assert_eq!(kinds.map(Value::from).to_vec(), kinds_of(&expected), "the table has other columns");
    assert_alike(&answer.json(), &expected, "");
    daemon.stop();
}

fn kinds_of(summary: &Value) -> Vec<Value> {
    let columns = summary["columns"].as_array().expect("columns");
    columns.iter().map(|column| column["type"].clone()).collect()
}

#[test]
fn the_longest_table_of_numbers_fits_the_memory() {
    let home = Home::new();
    let daemon = start(&home);
    // A number every two bytes, as many as there can be: each takes eight bytes until the quantiles are known.
    let mut table = b"n\n".to_vec();
    table.extend((0..(16 << 20) - 1).flat_map(|at| [b'0' + u8::try_from(at % 10).expect("a digit"), b'\n']));
    assert_eq!(table.len(), 32 << 20);
    let answer = daemon.connect().post("/aggregate", &table);
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
    let found = answer.json();
    assert_eq!(found["rows"], (16 << 20) - 1);
    let column = &found["columns"][0];
    assert_eq!((&column["type"], &column["min"], &column["max"]), (&json!("integer"), &json!(0), &json!(9)));
    assert_eq!(column["quantiles"], json!({"0.05": 0, "0.25": 2, "0.5": 4, "0.75": 7, "0.95": 9}));
    table.push(b'7');
    assert_eq!(daemon.connect().post("/aggregate", &table).status, 413);
    daemon.stop();
}

#[test]
fn the_query_chooses_and_mistakes_are_named() {
    let home = Home::new();
    let daemon = start(&home);
    let table = b"city;people\nUlm;126000\nBonn;NA\n";
    let path = "/aggregate?delimiter=%3B&columns=people&missing=NA&quantiles=0.5";
    let answer = daemon.connect().post(path, table);
    answer.assert_ok(
        "{\"rows\":2,\"columns\":[{\"name\":\"people\",\"type\":\"integer\",\"count\":1,\"missing\":1,\
         \"mean\":126000,\"deviation\":null,\"min\":126000,\"max\":126000,\"quantiles\":{\"0.5\":126000}}]}\n",
    );
    let refused = daemon.connect().post("/aggregate", b"a,b\n1,2\n3\n");
    assert_eq!(refused.status, 400);
    assert_eq!(refused.text(), "The row in line 3 has 1 field, but the header has 2.\n");
    let asked = daemon.get("/aggregate");
    assert_eq!((asked.status, asked.header("allow")), (405, "POST"));
    assert!(asked.text().starts_with("POST CSV with a header row to /aggregate"), "{}", asked.text());
    daemon.stop();
}
