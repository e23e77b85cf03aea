//! Every crime with each layer off, and the table of it in SECURITY.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use hairtrigger_tests::artefacts;
use hairtrigger_tests::crimes::{Layer, catalogue};
use hairtrigger_tests::layers::{Off, run, title};

/// Set to anything, has the test write the table instead of comparing it; `tests/layers.sh` does.
const WRITE_VARIABLE: &str = "HAIRTRIGGER_WRITE_LAYERS";

const BEGIN: &str = "<!-- layers: begin -->\n";
const END: &str = "<!-- layers: end -->";

/// The layers that keep a function from others, each of which stands behind others.
const COLUMNS: [Layer; 4] = [Layer::Seccomp, Layer::Landlock, Layer::Namespaces, Layer::Uid];
/// The layers that bound what a function uses.
const BOUNDS: [Layer; 3] = [Layer::Groups, Layer::Limits, Layer::Deadline];

/// What was seen, by what was off and by deed.
type Seen = BTreeMap<(Off, String), String>;

fn offs() -> Vec<Off> {
    [None].into_iter().chain(COLUMNS.into_iter().chain(BOUNDS).map(Some)).collect()
}

/// Each deed of the catalogue, in order, with the layers that defend against it.
fn deeds() -> Vec<(String, &'static [Layer])> {
    catalogue()
        .flat_map(|crime| crime.deeds().map(move |deed| (title(crime, &deed), crime.defence)))
        .collect()
}

fn table(seen: &Seen) -> String {
    let cell = |off: Off, deed: &String| seen.get(&(off, deed.clone())).map(String::as_str);
    let mut out = String::from("\n| crime | all on |");
    for layer in COLUMNS {
        write!(out, " {} off |", layer.name()).expect("a string takes everything");
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(COLUMNS.len()));
    for (deed, _) in deeds() {
        let all_on = cell(None, &deed).unwrap_or_else(|| panic!("{deed} was not done"));
        write!(out, "\n| {deed} | {all_on} |").expect("a string takes everything");
        for layer in COLUMNS {
            let is = cell(Some(layer), &deed).unwrap_or_else(|| panic!("{deed} was not done"));
            // What a layer does not change is not repeated.
            write!(out, " {} |", if is == all_on { "=" } else { is }).expect("a string takes everything");
        }
    }
    out.push_str(
        "\n\nThe layers that bound what a function uses, each off for the crimes that it is there for:\n",
    );
    out.push_str("\n| crime | layer | on | off |\n|---|---|---|---|");
    for (deed, defence) in deeds() {
        for layer in BOUNDS.into_iter().filter(|layer| defence.first() == Some(layer)) {
            let (on, off) =
                (cell(None, &deed).unwrap_or_default(), cell(Some(layer), &deed).unwrap_or_default());
            let off = if on == off { "=" } else { off };
            write!(out, "\n| {deed} | {} | {on} | {off} |", layer.name()).expect("a string takes everything");
        }
    }
    out.push('\n');
    out
}

/// Where what was seen is not what the catalogue says of a crime's defence: with the first of its layers off something
/// about it changes, and a layer that is no part of it changes nothing.
fn contradictions(seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    for crime in catalogue() {
        let changes = |off: Layer, deed: &String| match (
            seen.get(&(None, deed.clone())),
            seen.get(&(Some(off), deed.clone())),
        ) {
            (Some(on), Some(off)) => (on != off).then(|| format!("{deed}: {on}, and {off}")),
            // It was not done with this layer off.
            (_, None) => None,
            (None, Some(_)) => panic!("{deed} was not done with all on"),
        };
        let deeds: Vec<_> = crime.deeds().map(|deed| title(crime, &deed)).collect();
        for off in Layer::ALL {
            let changed: Vec<_> = deeds.iter().filter_map(|deed| changes(off, deed)).collect();
            if crime.defence.first() == Some(&off) && changed.is_empty() {
                found.push(format!(
                    "{} is the same with {} off, which defends against it",
                    crime.name,
                    off.name()
                ));
            }
            if !crime.defence.contains(&off) {
                let names = changed
                    .iter()
                    .map(|change| format!("with {} off, which is no defence, {change}", off.name()));
                found.extend(names);
            }
        }
    }
    found
}

/// What is written above the table: when it was written, and on what.
fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().expect("there is a clock");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    let date = String::from_utf8(output.stdout).expect("a date is text");
    format!("As of {}, on Linux {}. `=` is as with all on.\n", date.trim(), kernel.trim())
}

/// The text between the markers, without its first line, which is the date.
fn kept(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (between, _) = rest.split_once(END)?;
    Some(between.split_once('\n').map_or("", |(_, table)| table))
}

/// With its own layer off a crime is done, or another layer is seen to stop it; which, SECURITY.md says.
#[test]
fn every_crime_with_each_layer_off() {
    let seen = run(Path::new(env!("CARGO_BIN_EXE_hairtrigger-commits")), &offs());
    assert_eq!(contradictions(&seen), [""; 0], "of what was seen and the catalogue");
    let path = artefacts::workspace().join("SECURITY.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let fresh = table(&seen);
    if env::var_os(WRITE_VARIABLE).is_some() {
        let (before, rest) = text.split_once(BEGIN).expect("SECURITY.md has the first marker");
        let (_, after) = rest.split_once(END).expect("SECURITY.md has the second marker");
        fs::write(&path, format!("{before}{BEGIN}{}{fresh}{END}{after}", date())).expect("it can be written");
        return;
    }
    let kept = kept(&text).expect("SECURITY.md has the markers of the table");
    let differs: Vec<_> = kept.lines().zip(fresh.lines()).filter(|(kept, fresh)| kept != fresh).collect();
    assert!(
        kept == fresh,
        "the table in SECURITY.md is not what was seen; lines that differ, kept and now: {differs:#?}\n\
         If that is as it should be: tests/layers.sh"
    );
}
