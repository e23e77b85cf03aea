//! The configuration and the functions are read again while the daemon serves. Either all of it is right and is
//! applied, or something is wrong, everybody who asked hears of all that is, and nothing changes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use super::command::Command;
use super::follow::Control;
use super::listener::Change;
use super::registry::{self, Deployed};
use super::{level, notify};
use crate::config::{Config, Origin};
use crate::settings::{BadSettings, Mistake};
use crate::shard::inbox::ToShard;
use crate::shard::ring::Key;

/// Who waits at the administration's socket for what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) shard: u16,
    pub(super) connection: Key,
}

/// What was read, right in itself.
#[derive(Debug)]
pub(super) struct Reading {
    config: Config,
    functions: Vec<Deployed>,
}

/// Reads again, one time after the other.
#[derive(Debug)]
pub(super) struct Reloads {
    /// `None` if there is nothing that could be read again.
    origin: Option<Origin>,
    turns: Turns,
    read: UnboundedSender<Result<Reading, BadSettings>>,
}

impl Reloads {
    /// What was read goes to `read`, and from there to [`Control::reloaded`].
    pub(super) fn new(origin: Option<Origin>, read: UnboundedSender<Result<Reading, BadSettings>>) -> Self {
        Self { origin, turns: Turns::default(), read }
    }

    /// The configuration's file.
    pub(super) fn file(&self) -> Option<&Path> {
        self.origin.as_ref().map(|origin| &*origin.file)
    }
}

/// Whose turn it is. Somebody who asks while files are read may mean what has changed since: another turn.
#[derive(Debug, Default)]
struct Turns {
    /// Those who hear of the turn under way.
    present: Option<Vec<Asker>>,
    /// Those who hear of the next.
    next: Option<Vec<Asker>>,
}

impl Turns {
    /// Somebody asks; true if a turn begins.
    fn ask(&mut self, asker: Option<Asker>) -> bool {
        let begins = self.present.is_none();
        let turn = if begins { &mut self.present } else { &mut self.next };
        turn.get_or_insert_default().extend(asker);
        begins
    }

    /// The turn is over; who hears of it, and whether another begins.
    fn end(&mut self) -> (Vec<Asker>, bool) {
        let heard = self.present.take().unwrap_or_default();
        self.present = self.next.take();
        (heard, self.present.is_some())
    }
}

/// What a reload has changed, by the names of the functions.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Changes {
    new: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
    unchanged: Vec<String>,
}

impl Control<'_> {
    /// Reads everything again. False if there is nothing that could be.
    pub(super) fn read_again(&mut self, asker: Option<Asker>) -> bool {
        if self.reloads.origin.is_none() {
            return false;
        }
        if self.reloads.turns.ask(asker) {
            self.begin_reading();
        }
        true
    }

    /// Files are read, and many of them, by another thread: functions' output does not wait for that.
    fn begin_reading(&self) {
        let Some(origin) = self.reloads.origin.clone() else { return };
        notify::reloading();
        let (running, to) = (self.config.clone(), self.reloads.read.clone());
        tokio::task::spawn_blocking(move || {
            let _ = to.send(read(&origin, &running));
        });
    }

    /// What was read is there, or what is wrong with it.
    pub(super) fn reloaded(&mut self, reading: Result<Reading, BadSettings>) {
        let applied = reading.and_then(|reading| self.apply(reading));
        // Who hears that it is done finds it done.
        self.carry_out();
        let file = self.reloads.file().map(|file| file.display().to_string()).unwrap_or_default();
        let (status, body) = match &applied {
            Ok(changes) => {
                let sentence = format!(
                    "reloaded {file}: {} new, {} changed, {} removed, {} as before",
                    changes.new.len(),
                    changes.changed.len(),
                    changes.removed.len(),
                    changes.unchanged.len()
                );
                notify::ready(&sentence);
                self.log.event(sentence);
                (200, json!({ "ok": true, "functions": changes }))
            }
            Err(bad) => {
                let mut text = format!("not reloaded {file}: everything stays as it was");
                notify::ready(&text);
                for mistake in bad.mistakes() {
                    let _ = write!(text, "\n  {mistake}");
                }
                self.log.event(text);
                (422, json!({ "ok": false, "mistakes": bad.mistakes() }))
            }
        };
        let (heard, again) = self.reloads.turns.end();
        for asker in heard {
            self.answer(asker, status, None, &body);
        }
        if again {
            self.begin_reading();
        }
    }

    /// Whatever may fail comes first, and changes nothing that anybody notices.
    fn apply(&mut self, Reading { config, functions }: Reading) -> Result<Changes, BadSettings> {
        let file = self.reloads.file().unwrap_or(Path::new("")).to_owned();
        let refuse = |why: &dyn std::fmt::Display| BadSettings::from(Mistake::of(&file, why));
        if self.ending {
            return Err(refuse(&"the daemon is ending"));
        }
        let changes = self.compare(&functions);
        let begun: Vec<_> = functions.iter().filter(|function| !self.versions.serves(function)).collect();
        if let Some(objection) = self.versions.objection_to_all(&begun) {
            return Err(refuse(&objection));
        }
        level::uids(&config, &functions).map_err(|error| refuse(&format_args!("{error:#}")))?;
        let shards = u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        let prepared = self.listeners.prepare(&config, shards, Duration::ZERO);
        let prepared = prepared.map_err(|error| refuse(&format_args!("{error:#}")))?;
        let Change { new, old } =
            self.listeners.commit(prepared).map_err(|error| refuse(&format_args!("{error:#}")))?;

        for (shard, listeners) in self.shards.iter().zip(new) {
            shard.tell(ToShard::Listen(listeners));
            shard.tell(ToShard::StopListening(old.clone()));
            shard.tell(ToShard::Timeouts(config.timeouts));
        }
        self.versions.cap_connections(config.max_connections);
        self.config = config;
        self.obey(Command::Apply { functions });
        Ok(changes)
    }

    fn compare(&self, functions: &[Deployed]) -> Changes {
        let known = self.versions.names();
        let mut changes = Changes::default();
        for function in functions {
            let name = &function.manifest.name;
            let list = match known.contains(name) {
                false => &mut changes.new,
                true if self.versions.serves(function) => &mut changes.unchanged,
                true => &mut changes.changed,
            };
            list.push(name.clone());
        }
        let stays = |name: &String| functions.iter().any(|function| function.manifest.name == *name);
        changes.removed = known.into_iter().filter(|name| !stays(name)).collect();
        changes
    }
}

fn read(origin: &Origin, running: &Config) -> Result<Reading, BadSettings> {
    let config = origin.reload(running)?;
    let functions = registry::deployed(&config, &origin.file)?;
    Ok(Reading { config, functions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_files_are_read_hears_of_the_next_time() {
        let asker = |index| Asker { shard: 0, connection: Key::new(index, 0) };
        let mut turns = Turns::default();
        assert!(turns.ask(Some(asker(1))), "nobody was before");
        assert!(!turns.ask(Some(asker(2))));
        assert!(!turns.ask(None));
        assert_eq!(turns.end(), (vec![asker(1)], true));
        assert!(!turns.ask(Some(asker(3))), "the next turn has begun");
        assert_eq!(turns.end(), (vec![asker(2)], true));
        assert_eq!(turns.end(), (vec![asker(3)], false));
        assert!(turns.ask(None), "even without anybody to hear of it");
        assert_eq!(turns.end(), (vec![], false));
    }
}
