//! The versions that a shard knows, by key.

use std::sync::Arc;

use super::function::Function;

/// The versions that a shard knows, by key.
#[derive(Debug, Default)]
pub(crate) struct Functions(Vec<Place>);

/// What stands under a key: the version that has it, or nothing but the name of the one that had it last.
#[derive(Debug, Default)]
struct Place {
    name: Option<Arc<str>>,
    function: Option<Box<Function>>,
}

impl Functions {
    pub(crate) fn get(&self, key: u32) -> Option<&Function> {
        self.0.get(key as usize)?.function.as_deref()
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut Function> {
        self.0.get_mut(key as usize)?.function.as_deref_mut()
    }

    /// The first version that there is from this key on.
    pub(crate) fn next_from(&mut self, key: u32) -> Option<&mut Function> {
        self.0.get_mut(key as usize..)?.iter_mut().find_map(|place| place.function.as_deref_mut())
    }

    /// The function's name, also after the version was removed.
    pub(crate) fn name(&self, key: u32) -> Option<&str> {
        self.0.get(key as usize)?.name.as_deref()
    }

    /// Keys are below [`MAX_VERSIONS`](hairtrigger_sandbox::limits::MAX_VERSIONS), which bounds the list.
    pub(crate) fn insert(&mut self, function: Function) {
        let at = function.key as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Place::default);
        }
        debug_assert!(self.0[at].function.is_none(), "a key is given to one version at a time");
        let name = Some(Arc::clone(&function.profile.name));
        self.0[at] = Place { name, function: Some(Box::new(function)) };
    }

    /// Reads the clocks of all workers, for the last time.
    pub(crate) fn read_clocks(&mut self, now: u64) {
        for function in self.0.iter_mut().filter_map(|place| place.function.as_mut()) {
            for slot in 0..function.profile.max {
                function.read_clock(slot, now);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: u32) {
        if let Some(place) = self.0.get_mut(key as usize) {
            place.function = None;
        }
    }
}
