//! `hairtrigger check`: says everything that is wrong, and starts nothing.

use std::collections::BTreeMap;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};

use anyhow::Result;
use hairtrigger_sandbox::grants::Grants;
use serde::Serialize;

use super::exit::Exit;
use crate::config::Origin;
use crate::control::registry;
use crate::manifest::{Manifest, May, OffLimits};
use crate::settings::{BadSettings, Mistake, Mistakes};

/// What is checked.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A tree of functions, as `serve` takes it or as `dev` would build it.
    Tree(PathBuf),
    /// A configuration, and the functions that it names.
    Configuration(Origin),
}

/// What was found, as `--json` prints it.
#[derive(Serialize)]
struct Report<'r> {
    ok: bool,
    /// The names of functions that have no mistakes, if there are none at all.
    functions: Vec<&'r str>,
    /// What is granted to those that are granted something, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    grants: BTreeMap<&'r str, &'r Grants>,
    mistakes: &'r [Mistake],
}

pub(super) fn run(what: &What, json: bool) -> Result<Exit> {
    let found = match what {
        What::Tree(root) => tree(root),
        What::Configuration(origin) => configuration(origin),
    };
    let (functions, mistakes) = match &found {
        Ok(functions) => (&**functions, &[][..]),
        Err(bad) => (&[][..], bad.mistakes()),
    };
    let granted = functions.iter().filter(|function| function.grants != Grants::default());
    if json {
        let report = Report {
            ok: found.is_ok(),
            functions: functions.iter().map(|function| &*function.name).collect(),
            grants: granted.map(|function| (&*function.name, &function.grants)).collect(),
            mistakes,
        };
        serde_json::to_writer_pretty(stdout(), &report)?;
        writeln!(stdout())?;
    } else if mistakes.is_empty() {
        let plural = if functions.len() == 1 { "" } else { "s" };
        writeln!(stdout(), "{} function{plural}, no mistakes", functions.len())?;
        for function in granted {
            writeln!(stdout(), "{} may {}", function.name, May(&function.grants))?;
        }
    } else {
        for mistake in mistakes {
            writeln!(stderr(), "{mistake}")?;
        }
    }
    Ok(if found.is_ok() { Exit::Success } else { Exit::Settings })
}

fn configuration(origin: &Origin) -> Result<Vec<Manifest>, BadSettings> {
    let functions = registry::deployed(&origin.load()?, &origin.file)?;
    Ok(functions.into_iter().map(|function| function.manifest).collect())
}

fn tree(root: &Path) -> Result<Vec<Manifest>, BadSettings> {
    let mut bad = Mistakes::default();
    let manifests = registry::manifests(root, &OffLimits::functions(root), &mut bad);
    if manifests.is_empty() {
        // Of mistakes there may be some already; then this one would only confuse.
        bad.unless_any(())?;
        return Err(Mistake::of(root, "there is no function.toml here or below").into());
    }
    for (path, manifest) in &manifests {
        bad.note(whence(path, manifest).map_err(|sentence| Mistake::of(path, sentence).into()));
    }
    bad.unless_any(manifests.into_iter().map(|(_, manifest)| manifest).collect())
}

/// Something that the function is built from, or the plugin itself, must be there.
fn whence(path: &Path, manifest: &Manifest) -> Result<(), String> {
    let home = path.parent().unwrap_or(Path::new(""));
    let readable = |what: &str, file: &Path| {
        let file = home.join(file);
        match std::fs::File::open(&file).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => Ok(()),
            Ok(_) => Err(format!("the {what} {} is no file", file.display())),
            Err(error) => Err(format!("the {what} {} cannot be read: {error}", file.display())),
        }
    };
    match (&manifest.source, &manifest.library) {
        (Some(source), _) => readable("source", source),
        (None, Some(library)) => readable("plugin", library),
        (None, None) if home.join("Cargo.toml").is_file() => Ok(()),
        (None, None) => {
            Err("it has neither source nor library, and there is no Cargo.toml beside it".to_owned())
        }
    }
}
