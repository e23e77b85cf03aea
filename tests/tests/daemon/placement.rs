//! Who is let go first of those that want a core: the daemon's threads, and then workers.

use hairtrigger_tests::home::Home;
use hairtrigger_tests::stall::thread;

use crate::own;

/// The longest that a thread computes at a stretch, in nanoseconds, while others want its core.
fn turn(tid: i32) -> u64 {
    // SAFETY: an all-zero `sched_attr` is valid; the kernel writes as much as it is told that there is.
    unsafe {
        let mut attributes: libc::sched_attr = std::mem::zeroed();
        let size = size_of::<libc::sched_attr>();
        let read = libc::syscall(libc::SYS_sched_getattr, tid, &raw mut attributes, size, 0);
        assert_eq!(read, 0, "{}", std::io::Error::last_os_error());
        attributes.sched_runtime
    }
}

#[test]
fn shards_go_before_workers_and_workers_before_others() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    home.add("probe", &own("probe"), "");
    let daemon = home.start();
    let shards = ["shard-0", "shard-1"].map(|name| turn(thread(&daemon.process, name)));
    let workers: Vec<u64> = daemon.await_workers("probe", 1).iter().map(|worker| turn(worker.pid)).collect();
    assert_eq!((shards, &workers[..]), ([100_000; 2], &[200_000][..]));
    assert!(turn(daemon.process.pid) > 200_000, "the control thread is in no hurry");
    daemon.stop();
}
