//! What the daemon listens on: opened at the start, changed by a reload, taken away at the end.

mod tcp;
mod unix;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::config::Config;
use crate::shard::{Door, Listener};

/// Whoever may write to the data socket may ask functions.
const DATA_MODE: u32 = 0o660;
/// The administration is its user's alone.
const ADMIN_MODE: u32 = 0o600;

/// What is open.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
    /// The number of the next listener.
    next: u32,
}

/// A listener, of which every shard has a socket.
#[derive(Debug)]
struct Open {
    number: u32,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Tcp {
        /// As the configuration says it, perhaps with port 0.
        asked: SocketAddr,
        /// As it is.
        address: SocketAddr,
    },
    Unix {
        door: Door,
        group: Option<u32>,
        file: unix::File,
    },
}

/// What is told to the shards. The listeners are open already, and connections wait in them.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// For each shard what it listens on from now on, in the order of their numbers.
    pub(crate) new: Vec<Vec<Listener>>,
    /// Numbers of those that are to be closed.
    pub(crate) old: Vec<u32>,
}

/// A change that has been prepared: everything new is open, nothing old is touched. Dropped, it never was.
#[derive(Debug)]
pub(crate) struct Prepared {
    opened: Vec<Open>,
    change: Change,
    /// Groups to which a socket that stays is to be given.
    regrouped: Vec<(PathBuf, Option<u32>)>,
    next: u32,
}

impl Listeners {
    /// Opens what a configuration asks for beyond what is open, for so many shards. An address that is in use is
    /// tried again for as long as `patience`.
    pub(crate) fn prepare(&self, config: &Config, shards: u16, patience: Duration) -> Result<Prepared> {
        let new = (0..shards).map(|_| Vec::new()).collect();
        let change = Change { new, old: Vec::new() };
        let mut prepared = Prepared { opened: Vec::new(), change, regrouped: Vec::new(), next: self.next };
        let mut staying = Vec::new();
        for asked in &config.listen {
            let same =
                |open: &&Open| matches!(&open.place, Place::Tcp { asked: other, .. } if other == asked);
            // One address may be asked for several times: each with port 0 is another.
            match self.open.iter().filter(same).find(|open| !staying.contains(&open.number)) {
                Some(open) => staying.push(open.number),
                None => prepared.open_tcp(*asked, shards, patience)?,
            }
        }
        let data = config.socket.as_ref().map(|path| (path, Door::Unix, DATA_MODE, config.socket_group));
        let admin = config.admin.as_ref().map(|path| (path, Door::Admin, ADMIN_MODE, None));
        for (path, door, mode, group) in data.into_iter().chain(admin) {
            match self.open.iter().find(|open| open.is_at(path, door)) {
                Some(open) => {
                    staying.push(open.number);
                    if matches!(open.place, Place::Unix { group: other, .. } if other != group) {
                        prepared.regrouped.push((path.clone(), group));
                    }
                }
                None => prepared.open_unix(path, door, mode, group)?,
            }
        }
        let leaving = self.open.iter().map(|open| open.number).filter(|number| !staying.contains(number));
        prepared.change.old = leaving.collect();
        Ok(prepared)
    }

    /// Makes a prepared change. The files of sockets that leave are removed.
    pub(crate) fn commit(&mut self, prepared: Prepared) -> Result<Change> {
        let Prepared { opened, change, regrouped, next } = prepared;
        for (path, new) in regrouped {
            unix::give_to(&path, new)
                .with_context(|| format!("the socket {} cannot be given to its new group", path.display()))?;
            let same = |open: &&mut Open| open.is_at(&path, Door::Unix);
            if let Some(Place::Unix { group, .. }) =
                self.open.iter_mut().find(same).map(|open| &mut open.place)
            {
                *group = new;
            }
        }
        self.open.retain(|open| !change.old.contains(&open.number));
        self.open.extend(opened);
        self.next = next;
        Ok(change)
    }

    /// The addresses, with the ports that the kernel chose.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = |open: &Open| match &open.place {
            Place::Tcp { address, .. } => Some(*address),
            Place::Unix { .. } => None,
        };
        self.open.iter().filter_map(tcp).collect()
    }

    /// The unix socket behind which this is.
    pub(crate) fn socket(&self, behind: Door) -> Option<&Path> {
        self.open.iter().find_map(|open| match &open.place {
            Place::Unix { door, file, .. } if *door == behind => Some(file.path()),
            Place::Unix { .. } | Place::Tcp { .. } => None,
        })
    }
}

impl Open {
    fn is_at(&self, path: &Path, behind: Door) -> bool {
        matches!(&self.place, Place::Unix { door, file, .. } if *door == behind && file.path() == path)
    }
}

impl Prepared {
    fn open_tcp(&mut self, asked: SocketAddr, shards: u16, patience: Duration) -> Result<()> {
        let cannot = || format!("cannot listen on {asked}");
        let (address, sockets) = tcp::listen(asked, shards, patience).with_context(cannot)?;
        self.add(Place::Tcp { asked, address }, sockets, Door::Tcp);
        Ok(())
    }

    fn open_unix(&mut self, path: &Path, door: Door, mode: u32, group: Option<u32>) -> Result<()> {
        let cannot = || format!("cannot listen on {}", path.display());
        let (file, socket) = unix::listen(path, mode, group).with_context(cannot)?;
        // One queue: whichever shard looks first takes the connection.
        let sockets: std::io::Result<Vec<_>> = self.change.new.iter().map(|_| socket.try_clone()).collect();
        self.add(Place::Unix { door, group, file }, sockets.with_context(cannot)?, door);
        Ok(())
    }

    fn add(&mut self, place: Place, sockets: Vec<OwnedFd>, door: Door) {
        let number = self.next;
        self.next += 1;
        for (of_shard, socket) in self.change.new.iter_mut().zip(sockets) {
            of_shard.push(Listener { number, socket, door });
        }
        self.opened.push(Open { number, place });
    }
}

#[cfg(test)]
mod tests;
