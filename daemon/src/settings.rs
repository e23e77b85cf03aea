//! Reading a settings file (a manifest, the daemon's configuration) and saying everything that is wrong with
//! it: always `path:line:column: what was expected; found what`, a sentence for each mistake.

use std::fmt::{self, Write as _};
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hairtrigger_sandbox::limits::MAX_SETTINGS;
use serde::Serialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::suggest;
use crate::units::{Time, parse_duration};

/// Something wrong with a settings file, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    /// The file, or a directory of functions.
    pub(crate) file: PathBuf,
    /// Line and column, from 1; columns count characters. `None` for what is wrong with the file as a whole.
    #[serde(flatten)]
    pub(crate) place: Option<Place>,
    /// What was expected and what was found.
    pub(crate) message: String,
}

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Place {
    pub(crate) line: usize,
    /// In characters.
    pub(crate) column: usize,
}

impl Mistake {
    /// One that is not at any line.
    pub(crate) fn of(file: &Path, message: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), place: None, message: message.to_string() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.map(|Place { line, column }| format!("{line}:{column}:")).unwrap_or_default();
        let stop = if self.message.ends_with(['.', '?']) { "" } else { "." };
        let line = format!("{}:{place} {}{stop}", self.file.display(), self.message);
        // A path may have any characters in its name, and is not to be another line, or to move somebody's cursor.
        for c in line.chars() {
            if c.is_control() { write!(f, "{}", c.escape_debug())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

/// Settings that are refused: everything that is wrong with them. Displayed as one line for each mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct BadSettings(Vec<Mistake>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl From<Mistake> for BadSettings {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

impl BadSettings {
    /// Each of them.
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

/// Gathers mistakes, so that a person hears of all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// The value; or `None`, with what is wrong noted.
    pub(crate) fn note<T>(&mut self, read: Result<T, BadSettings>) -> Option<T> {
        read.map_err(|BadSettings(mut bad)| self.0.append(&mut bad)).ok()
    }

    /// The value of a key, as `read` understands it; `None` if it is not there, or noted as wrong.
    pub(crate) fn read<'d, T>(
        &mut self,
        section: &Section<'d>,
        key: &'static str,
        read: impl FnOnce(&Setting<'d>) -> Result<T, BadSettings>,
    ) -> Option<T> {
        let setting = section.get(key)?;
        self.note(read(&setting))
    }

    /// Notes one more.
    pub(crate) fn add(&mut self, mistake: Mistake) {
        self.0.push(mistake);
    }

    /// `value`, unless something was noted. Mistakes of one file come in its order.
    pub(crate) fn unless_any<T>(mut self, value: T) -> Result<T, BadSettings> {
        if self.0.is_empty() {
            return Ok(value);
        }
        // Stable: the files stay in the order in which they were read.
        for of_one_file in self.0.chunk_by_mut(|one, next| one.file == next.file) {
            of_one_file.sort_by_key(|mistake| mistake.place);
        }
        Err(BadSettings(self.0))
    }
}

/// Reads a settings file.
pub(crate) fn read(path: &Path) -> Result<String, BadSettings> {
    let refuse = |why: &dyn fmt::Display| Mistake::of(path, why);
    let file = open(path).map_err(|error| refuse(&format_args!("cannot be opened: {error}")))?;
    let mut text = String::new();
    let size = file.take(MAX_SETTINGS + 1).read_to_string(&mut text);
    let size = size.map_err(|error| refuse(&format_args!("cannot be read: {error}")))?;
    if size as u64 > MAX_SETTINGS {
        return Err(refuse(&format_args!("is longer than {MAX_SETTINGS} bytes")).into());
    }
    Ok(text)
}

/// Opens a file that somebody has named. A pipe that nobody writes to is not waited for.
pub(crate) fn open(path: &Path) -> std::io::Result<std::fs::File> {
    let file = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() { Ok(file) } else { Err(std::io::Error::other("it is no file")) }
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

    /// The top of the file. Every key that is not one of `keys` is a mistake.
    pub(crate) fn top(
        self,
        table: &'d DeTable<'d>,
        keys: &[&'static str],
        mistakes: &mut Mistakes,
    ) -> Section<'d> {
        let section = Section { document: self, title: "", table };
        section.refuse_strangers(keys, mistakes);
        section
    }

    /// One sentence that points to the beginning of `span`. Columns count characters.
    fn refuse(self, span: Range<usize>, why: fmt::Arguments<'_>) -> BadSettings {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = Some(Place { line, column });
        Mistake { file: self.path.to_owned(), place, message: why.to_string() }.into()
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
    /// Notes every key that is not one of `keys`.
    fn refuse_strangers(&self, keys: &[&'static str], mistakes: &mut Mistakes) {
        let place = if self.title.is_empty() { "here".to_owned() } else { format!("in [{}]", self.title) };
        let strangers = self.table.keys().filter(|key| !keys.iter().any(|known| known == key.get_ref()));
        for stranger in strangers {
            let name = Shown(stranger.get_ref());
            let why = match suggest::nearest(stranger.get_ref(), keys.iter().copied()) {
                Some(near) => format!("there is no key {name} {place}; did you mean {near}?"),
                None => format!("there is no key {name} {place}; the keys are {}", keys.join(", ")),
            };
            mistakes.note::<()>(Err(self.document.refuse(stranger.span(), format_args!("{why}"))));
        }
    }

    /// What is said of a key that is not there; `why` is a sentence about it.
    pub(crate) fn refuse_absence(&self, why: fmt::Arguments<'_>) -> BadSettings {
        self.document.refuse(0..0, why)
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

    /// Whether the value is `false`: a thing that is switched off.
    pub(crate) fn is_false(&self) -> bool {
        self.value.get_ref().as_bool() == Some(false)
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

    /// A table. Every key that is not one of `keys` is a mistake.
    pub(crate) fn section(
        &self,
        keys: &[&'static str],
        mistakes: &mut Mistakes,
    ) -> Result<Section<'d>, BadSettings> {
        let section = self.any_section()?;
        section.refuse_strangers(keys, mistakes);
        Ok(section)
    }

    /// The elements, if the value is an array.
    pub(crate) fn elements(&self) -> Option<Vec<Setting<'d>>> {
        let array: &'d DeArray<'d> = self.value.get_ref().as_array()?;
        Some(array.iter().map(|value| Setting { value, ..*self }).collect())
    }

    /// A time within bounds, written with its unit.
    pub(crate) fn time(&self, least: Duration, most: Duration) -> Result<Duration, BadSettings> {
        let expected =
            || format!("a time from {} to {} like \"500ms\", \"3s\" or \"2m\"", Time(least), Time(most));
        self.text(expected(), |text| parse_duration(text).filter(|time| (least..=most).contains(time)))
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
