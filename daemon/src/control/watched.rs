//! A thread whose end is noticed at once, however it comes.

use std::convert::Infallible;
use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

/// Resolves, to an error, once the thread has ended: its half of the channel is dropped, by a panic too.
pub(super) type Ended = oneshot::Receiver<Infallible>;

/// A thread, and word of its end.
#[derive(Debug)]
pub(super) struct Watched<T> {
    pub(super) thread: JoinHandle<T>,
    pub(super) ended: Ended,
}

impl<T: Send + 'static> Watched<T> {
    pub(super) fn start(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (guard, ended) = oneshot::channel();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let _guard = guard;
            work()
        })?;
        Ok(Self { thread, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_noticed_of_a_return_and_of_a_panic() {
        let Watched { thread, ended } = Watched::start("returns", || 7).unwrap();
        assert!(ended.blocking_recv().is_err());
        assert_eq!(thread.join().unwrap(), 7);
        let Watched { thread, ended } =
            Watched::start("panics", || -> u8 { panic!("for the test") }).unwrap();
        assert!(ended.blocking_recv().is_err());
        assert!(thread.join().is_err());
    }

    #[test]
    fn a_thread_that_runs_has_not_ended() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let Watched { thread, mut ended } = Watched::start("waits", move || wait.recv()).unwrap();
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(go);
        assert!(thread.join().is_ok());
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
