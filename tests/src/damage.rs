//! Files of plugins that were damaged on their way: the same ones in each run.

use std::fmt;
use std::ops::Range;

use crate::random::Random;

/// A part of a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The header of the file.
    Header,
    /// The table of segments.
    Segments,
    /// A section, by its name.
    Section(&'static str),
    /// Anything.
    Everything,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Only so many of its bytes arrived.
    CutAt(usize),
    /// So many bits of a part were turned around.
    Flipped(Part, usize),
    /// A page of it, by its number, came as zeros.
    Zeroed(usize),
}

/// Parts whose damage leads the dynamic linker, or the code, astray.
const PARTS: &[Part] = &[
    Part::Header,
    Part::Segments,
    Part::Section(".dynamic"),
    Part::Section(".rela.dyn"),
    Part::Section(".rela.plt"),
    Part::Section(".dynsym"),
    Part::Section(".dynstr"),
    Part::Section(".gnu.hash"),
    Part::Section(".gnu.version_r"),
    Part::Section(".init_array"),
    Part::Section(".data.rel.ro"),
    Part::Section(".got"),
    Part::Section(".text"),
    Part::Everything,
];

const PAGE: usize = 4096;
/// Where a file is cut that is cut within what describes it: around the header, its fields and the tables behind it.
const EDGES: &[usize] = &[0, 1, 3, 4, 5, 15, 16, 18, 19, 20, 52, 63, 64, 65, 119, 120, 300, 511, 512];

/// So many kinds of damage to a file: a fifth are cuts, a tenth pages of zeros, the rest are bits.
pub fn damages(file: &[u8], count: usize, random: &mut Random) -> Vec<Damage> {
    let cuts = EDGES.iter().copied().chain((0..).map(|_| random.place(file.len())));
    let mut damages: Vec<Damage> = cuts.take(count / 5).map(Damage::CutAt).collect();
    damages.extend((0..count / 10).map(|_| Damage::Zeroed(random.place(file.len().div_ceil(PAGE)))));
    let parts: Vec<Part> = PARTS.iter().copied().filter(|part| part.range(file).is_some()).collect();
    for number in 0..count - damages.len() {
        let bits = [1, 1, 2, 8, 64][random.place(5)];
        damages.push(Damage::Flipped(parts[number % parts.len()], bits));
    }
    damages
}

impl Damage {
    /// Does it to a file.
    pub fn done_to(self, file: &[u8], random: &mut Random) -> Vec<u8> {
        let mut bytes = file.to_vec();
        match self {
            Self::CutAt(length) => bytes.truncate(length),
            Self::Zeroed(page) => bytes.iter_mut().skip(page * PAGE).take(PAGE).for_each(|byte| *byte = 0),
            Self::Flipped(part, bits) => {
                let range = part.range(file).expect("the file has this part");
                for _ in 0..bits {
                    bytes[range.start + random.place(range.len())] ^= 1 << random.place(8);
                }
            }
        }
        bytes
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutAt(length) => write!(f, "cut at {length}"),
            Self::Flipped(part, bits) => write!(f, "{bits} bits of {part:?}"),
            Self::Zeroed(page) => write!(f, "page {page} zeroed"),
        }
    }
}

impl Part {
    /// Where it lies in a shared object of x86-64, if that has it.
    fn range(self, file: &[u8]) -> Option<Range<usize>> {
        let range = match self {
            Self::Header => 0..64,
            Self::Segments => {
                let from = number(file, 32, 8)?;
                from..from + number(file, 54, 2)? * number(file, 56, 2)?
            }
            Self::Section(name) => section(file, name)?,
            Self::Everything => 0..file.len(),
        };
        (!range.is_empty() && range.end <= file.len()).then_some(range)
    }
}

fn section(file: &[u8], name: &str) -> Option<Range<usize>> {
    let (table, entry) = (number(file, 40, 8)?, number(file, 58, 2)?);
    let header = |index: usize| table + index * entry;
    let contents =
        |at: usize| Some(number(file, at + 24, 8)?..number(file, at + 24, 8)? + number(file, at + 32, 8)?);
    let names = file.get(contents(header(number(file, 62, 2)?))?)?;
    let at = (0..number(file, 60, 2)?).map(header).find(|at| {
        let from = number(file, *at, 4).and_then(|from| names.get(from..));
        from.is_some_and(|from| {
            from.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        })
    })?;
    contents(at)
}

/// A number of so many bytes, the least significant first.
fn number(file: &[u8], at: usize, bytes: usize) -> Option<usize> {
    file.get(at..at + bytes)?
        .iter()
        .rev()
        .try_fold(0_usize, |value, byte| Some(value.checked_mul(256)? | usize::from(*byte)))
}
