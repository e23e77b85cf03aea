//! What the control thread can be asked to do while it runs, and by whom: `dev` after a build, a reload of
//! the configuration, the administration socket.

use tokio::sync::{mpsc, oneshot};

use super::registry::Deployed;

/// A wish.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this version of a function from now on, in place of the one of its name, if there is one. The
    /// old version serves until the new one can, and for good if the new one fails.
    Replace {
        /// The new version.
        function: Box<Deployed>,
        /// Hears what became of it.
        done: oneshot::Sender<Result<Replaced, NotReplaced>>,
    },
    /// Serve the function of this name no more; what is under way is finished.
    Remove {
        /// Its name.
        name: String,
    },
    /// Serve exactly these: the new and the changed are begun, those that are missing here are removed. Each
    /// function by itself keeps its old version if its new one fails.
    Apply {
        /// All of them, valid as a whole.
        functions: Vec<Deployed>,
    },
}

/// A new version serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    /// From the wish until requests went to it.
    pub(crate) took: std::time::Duration,
}

/// A new version does not serve.
#[derive(Clone, Debug)]
pub(crate) struct NotReplaced {
    /// The end of a sentence that says why.
    pub(crate) reason: String,
    /// Whether an older version goes on serving.
    pub(crate) kept: bool,
}

/// For whoever has wishes; may be cloned and used from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Commands(mpsc::UnboundedSender<Command>);

/// The control thread's end.
pub(crate) type Wishes = mpsc::UnboundedReceiver<Command>;

/// Both ends.
pub(crate) fn commands() -> (Commands, Wishes) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Commands(sender), receiver)
}

impl Commands {
    /// Asks for something. Nothing happens if the daemon is ending.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.0.send(command);
    }
}
