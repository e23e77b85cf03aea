//! Large payloads: begun, written by others, posted; read by others, cleared.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use super::super::Span;
use super::*;

const LARGE: usize = 1 << 20;
const ROOM: Geometry = Geometry { max_request: LARGE as u64, max_response: LARGE as u64 };

fn large_pair() -> Pair {
    pair_of(ROOM)
}

fn file(fd: BorrowedFd<'_>) -> std::fs::File {
    fd.try_clone_to_owned().unwrap().into()
}

/// Memory that a file takes, in bytes.
fn taken(fd: BorrowedFd<'_>) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file(fd).metadata().unwrap().blocks() * 512
}

/// Begins a request and writes its body.
fn begin(daemon: &mut DaemonEnd, body: &[u8]) {
    let span = daemon.begin_post(&view(b""), body.len()).expect("room");
    assert_eq!(span.length, body.len());
    file(daemon.request_file()).write_all_at(body, span.offset).unwrap();
}

#[test]
fn others_come_before_a_request_that_is_still_being_written() {
    let Pair { mut daemon, mut worker, descriptors: _descriptors } = large_pair();
    let body: Vec<u8> = (0..LARGE).map(|at| u8::try_from(at % 251).unwrap()).collect();
    begin(&mut daemon, &body);
    assert!(!worker.request_waits(), "it is not posted");
    post(&mut daemon, b"small");
    assert_eq!(daemon.post(&view(&body[..10_000])), Posted::Full, "the slab is in use");
    assert_eq!(daemon.begin_post(&view(b""), LARGE), None);
    assert!(worker.claim());
    assert_eq!(echo(&mut worker, 0).0, b"small");
    assert_eq!(take(&mut daemon), b"small");

    assert_ne!(daemon.finish_post(7), Posted::Full);
    assert!(worker.claim());
    assert!(echo(&mut worker, 0).0 == body, "the body is not what was written");
    assert!(take(&mut daemon) == body);
}

#[test]
fn a_request_that_was_given_up_leaves_its_room() {
    let mut daemon = large_pair().daemon;
    begin(&mut daemon, &[1; LARGE]);
    daemon.abandon_post();
    begin(&mut daemon, &[2; LARGE]);
    assert_ne!(daemon.finish_post(7), Posted::Full);
    // Posted: there is nothing to give up any more.
    daemon.abandon_post();
    assert_eq!(daemon.begin_post(&view(b""), LARGE), None);
}

#[test]
fn a_channel_full_of_others_keeps_what_was_begun() {
    let Pair { mut daemon, mut worker, descriptors: _descriptors } = large_pair();
    begin(&mut daemon, &[1; LARGE]);
    for _ in 0..CHANNEL_DEPTH {
        post(&mut daemon, b"small");
    }
    assert_eq!(daemon.finish_post(7), Posted::Full);
    assert!(worker.claim());
    echo(&mut worker, 0);
    take(&mut daemon);
    assert_ne!(daemon.finish_post(7), Posted::Full);
}

#[test]
fn pages_of_large_payloads_are_given_back() {
    let Pair { mut daemon, mut worker, descriptors } = large_pair();
    let (request, reply) = (descriptors.request.as_fd(), descriptors.reply.as_fd());
    for _ in 0..2 {
        begin(&mut daemon, &[1; LARGE]);
        daemon.finish_post(7);
        assert!(worker.claim());
        echo(&mut worker, 0);
        assert!(taken(request) > LARGE as u64 && taken(reply) > LARGE as u64);
        assert_eq!(take(&mut daemon).len(), LARGE);
        assert!(taken(request) < 64 * 1024, "{} B are still taken", taken(request));
        assert!(taken(reply) < 64 * 1024, "{} B are still taken", taken(reply));
    }
}

#[test]
fn pages_that_others_give_back_are_nobodys_until_then() {
    let Pair { mut daemon, mut worker, descriptors } = large_pair();
    begin(&mut daemon, &[1; LARGE]);
    assert_eq!(daemon.clear_request(), None, "it is in use");
    daemon.finish_post(7);
    post(&mut daemon, b"small");
    assert!(worker.claim());
    echo(&mut worker, 0);
    let reply = daemon.take_reply().unwrap().expect("a reply");
    let large = reply.body.large().expect("it is in the slab");
    assert_eq!(large.length, LARGE);
    assert_eq!(daemon.clear_reply(), Some(Span { offset: large.offset, length: LARGE }));
    let request = daemon.clear_request().expect("there is something to clear");
    assert!(request.length >= LARGE);
    assert_eq!((daemon.clear_reply(), daemon.clear_request()), (None, None), "asked for once");
    assert_eq!(daemon.begin_post(&view(b""), LARGE), None, "it is being cleared");

    // While the reply is looked at, the worker keeps off its place, whatever is taken back.
    assert_eq!(daemon.revoke().unwrap(), 0);
    assert!(!worker.claim(), "it was taken back");
    post(&mut daemon, b"another");
    assert!(worker.claim() && worker.slab_in_use());
    daemon.done_with_reply();
    assert!(!worker.slab_in_use());
    assert!(taken(descriptors.reply.as_fd()) > LARGE as u64, "clearing is somebody else's now");

    daemon.request_cleared();
    begin(&mut daemon, &[2; LARGE]);
}
