//! What a worker is given when it checks in, made before anybody waits for it.

use std::io;
use std::os::fd::OwnedFd;

use crate::channel::{DaemonEnd, Geometry, WorkerDescriptors};
use crate::sys;

/// A channel and an output pipe for one worker.
#[derive(Debug)]
pub(super) struct Kit {
    pub(super) channel: DaemonEnd,
    pub(super) descriptors: WorkerDescriptors,
    pub(super) output: OwnedFd,
    pub(super) output_theirs: OwnedFd,
}

/// Makes kits for one function and keeps some.
#[derive(Debug)]
pub(super) struct Kits {
    geometry: Geometry,
    ready: Vec<Kit>,
}

/// Kits kept ready for one function.
const SPARE: usize = 2;

impl Kits {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self { geometry, ready: Vec::new() }
    }

    /// A kit: a ready one, or one made now.
    pub(super) fn take(&mut self) -> io::Result<Kit> {
        match self.ready.pop() {
            Some(kit) => Ok(kit),
            None => self.make(),
        }
    }

    /// Whether some are missing.
    pub(super) fn short(&self) -> bool {
        self.ready.len() < SPARE
    }

    /// Makes one. On a failure none: whoever takes the next meets the same failure and reports it.
    pub(super) fn replenish(&mut self) {
        self.ready.extend(self.make().ok());
    }

    fn make(&self) -> io::Result<Kit> {
        let (channel, descriptors) = DaemonEnd::create(self.geometry)?;
        let (output, output_theirs) = sys::output_pipe()?;
        Ok(Kit { channel, descriptors, output, output_theirs })
    }
}
