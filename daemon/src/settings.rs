//! Reading a settings file (a manifest, the daemon's configuration) and saying what is wrong with it: always
//! `path:line:column: what was expected; found what`, in one sentence.

use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hairtrigger_sandbox::limits::MAX_SETTINGS;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::suggest;

/// A settings file that is refused: where it is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadSettings(String);

/// Reads a settings file.
pub(crate) fn read(path: &Path) -> Result<String, BadSettings> {
    let refuse = |why: &dyn fmt::Display| BadSettings(format!("{}: {why}.", path.display()));
    let file =
        std::fs::File::open(path).map_err(|error| refuse(&format_args!("cannot be opened: {error}")))?;
    let mut text = String::new();
    let size = file.take(MAX_SETTINGS + 1).read_to_string(&mut text);
    let size = size.map_err(|error| refuse(&format_args!("cannot be read: {error}")))?;
    if size as u64 > MAX_SETTINGS {
        return Err(refuse(&format_args!("is longer than {MAX_SETTINGS} bytes")));
    }
    Ok(text)
}

/// A file's name and text: what errors point into.
#[derive(Clone, Copy)]
pub(crate) struct Document<'d> {
    /// The file, for messages only.
    pub(crate) path: &'d Path,
    /// Its text.
    pub(crate) text: &'d str,
}

impl<'d> Document<'d> {
    /// Parses the text; the result is given to [`Document::top`].
    pub(crate) fn parse(self) -> Result<DeTable<'d>, BadSettings> {
        DeTable::parse(self.text).map(Spanned::into_inner).map_err(|error| {
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            self.refuse(error.span().unwrap_or(0..0), format_args!("{message}"))
        })
    }

    /// The top of the file, which may have `keys` and no others.
    pub(crate) fn top(
        self,
        table: &'d DeTable<'d>,
        keys: &[&'static str],
    ) -> Result<Section<'d>, BadSettings> {
        Section { document: self, title: "", table }.with_keys(keys)
    }

    /// One sentence that points to the beginning of `span`. Columns count characters.
    fn refuse(self, span: Range<usize>, why: fmt::Arguments<'_>) -> BadSettings {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let why = why.to_string();
        let stop = if why.ends_with(['.', '?']) { "" } else { "." };
        BadSettings(format!("{}:{line}:{column}: {why}{stop}", self.path.display()))
    }
}

/// A table of the file.
pub(crate) struct Section<'d> {
    document: Document<'d>,
    /// "" at the top.
    title: &'d str,
    table: &'d DeTable<'d>,
}

impl<'d> Section<'d> {
    /// Refuses every key that is not one of `keys`, the first in the file first.
    fn with_keys(self, keys: &[&'static str]) -> Result<Self, BadSettings> {
        let stranger = self.table.keys().filter(|key| !keys.iter().any(|known| known == key.get_ref()));
        let Some(stranger) = stranger.min_by_key(|key| key.span().start) else { return Ok(self) };
        let name = Shown(stranger.get_ref());
        let place = if self.title.is_empty() { "here".to_owned() } else { format!("in [{}]", self.title) };
        let why = match suggest::nearest(stranger.get_ref(), keys.iter().copied()) {
            Some(near) => format!("there is no key {name} {place}; did you mean {near}?"),
            None => format!("there is no key {name} {place}; the keys are {}", keys.join(", ")),
        };
        Err(self.document.refuse(stranger.span(), format_args!("{why}")))
    }

    /// A key's value, if the key is there.
    pub(crate) fn get(&self, key: &'static str) -> Option<Setting<'d>> {
        let value = self.table.get(key)?;
        Some(Setting { document: self.document, key, value })
    }

    /// The value of a key that has to be there.
    pub(crate) fn require(&self, key: &'static str, expected: &str) -> Result<Setting<'d>, BadSettings> {
        let missing =
            || self.document.refuse(0..0, format_args!("the key {key} is missing; it must be {expected}"));
        self.get(key).ok_or_else(missing)
    }

    /// Every key with its value, in the order of the file.
    pub(crate) fn entries(&self) -> Vec<Setting<'d>> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let setting = |(key, value): (&'d Spanned<_>, _)| {
            let key: &'d std::borrow::Cow<'d, str> = key.get_ref();
            Setting { document: self.document, key, value }
        };
        entries.into_iter().map(setting).collect()
    }
}

/// A value of the file, with its key.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'d> {
    document: Document<'d>,
    /// The key.
    pub(crate) key: &'d str,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Setting<'d> {
    /// What is said when this value is not what it must be; `expected` ends "… must be".
    pub(crate) fn refuse(&self, expected: impl fmt::Display) -> BadSettings {
        let (key, found) = (Shown(self.key), Found(self.value.get_ref()));
        self.document.refuse(self.value.span(), format_args!("{key} must be {expected}; found {found}"))
    }

    /// A string that `read` accepts.
    pub(crate) fn text<T>(
        &self,
        expected: impl fmt::Display,
        read: impl FnOnce(&'d str) -> Option<T>,
    ) -> Result<T, BadSettings> {
        self.value.get_ref().as_str().and_then(read).ok_or_else(|| self.refuse(expected))
    }

    /// A whole number within `bounds`.
    pub(crate) fn integer(
        &self,
        expected: impl fmt::Display,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, BadSettings> {
        self.as_u64().filter(|value| bounds.contains(value)).ok_or_else(|| self.refuse(expected))
    }

    /// A whole number from `least` to `most`; `note` says where `most` comes from.
    pub(crate) fn count(&self, least: u64, most: u64, note: &str) -> Result<u32, BadSettings> {
        let expected = || format!("a whole number from {least} to {most}{note}");
        let value = self.integer(expected(), least..=most)?;
        u32::try_from(value).map_err(|_| self.refuse(expected()))
    }

    /// A path that the kernel could take.
    pub(crate) fn path(&self) -> Result<PathBuf, BadSettings> {
        self.text("a path", |path| (!path.is_empty() && !path.contains('\0')).then(|| PathBuf::from(path)))
    }

    /// The value, if it is a whole number that is not negative.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        let integer = self.value.get_ref().as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// The value, if it is a number (a whole one of 32 bits, or a fraction).
    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self.value.get_ref() {
            DeValue::Integer(_) => self.as_u64().and_then(|value| u32::try_from(value).ok()).map(f64::from),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        }
    }

    /// The value, if it is a string.
    pub(crate) fn as_str(&self) -> Option<&'d str> {
        self.value.get_ref().as_str()
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Result<bool, BadSettings> {
        self.value.get_ref().as_bool().ok_or_else(|| self.refuse("true or false"))
    }

    /// The elements, if the value is an array.
    pub(crate) fn elements(&self) -> Option<Vec<Setting<'d>>> {
        let array: &'d DeArray<'d> = self.value.get_ref().as_array()?;
        Some(array.iter().map(|value| Setting { value, ..*self }).collect())
    }

    /// A table with `keys` and no others.
    pub(crate) fn section(&self, keys: &[&'static str]) -> Result<Section<'d>, BadSettings> {
        self.any_section()?.with_keys(keys)
    }

    /// A table with any keys.
    pub(crate) fn any_section(&self) -> Result<Section<'d>, BadSettings> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.refuse("a table"))?;
        Ok(Section { document: self.document, title: self.key, table })
    }
}

/// A text from the file within a sentence: on one line, and not longer than a line.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 60;
        write!(f, "{}", self.0.chars().take(MOST).collect::<String>().escape_debug())?;
        f.write_str(if self.0.chars().nth(MOST).is_some() { "…" } else { "" })
    }
}

/// A value within a sentence: itself if it is short, else its kind.
struct Found<'a>(&'a DeValue<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DeValue::String(text) => write!(f, "\"{}\"", Shown(text)),
            DeValue::Integer(integer) => write!(f, "{}", Shown(integer.as_str())),
            DeValue::Float(float) => write!(f, "{}", Shown(float.as_str())),
            DeValue::Boolean(value) => write!(f, "{value}"),
            DeValue::Datetime(_) => f.write_str("a date"),
            DeValue::Array(_) => f.write_str("an array"),
            DeValue::Table(_) => f.write_str("a table"),
        }
    }
}
