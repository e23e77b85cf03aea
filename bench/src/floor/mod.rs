//! The floor: the least an HTTP server on io_uring does for a constant answer.
//!
//! One thread, one ring; multishot accept and receive into provided buffers; answers are constant bytes;
//! everything a turn queued goes to the kernel with the wait for the next turn, in one system call. It
//! finds the end of a request's head and looks at nothing else, so no server that reads what it is sent
//! can cost less. Every other server is held against it.

mod buffers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use io_uring::squeue::{self, SubmissionQueue};
use io_uring::{IoUring, cqueue, opcode, types};
use memchr::memmem;

use self::buffers::BufferRing;
use crate::HELLO;

/// Entries of the submission queue; a full one is submitted early.
const RING_ENTRIES: u32 = 1024;
/// Entries of the completion queue.
const COMPLETIONS: u32 = 8192;
/// Most connections; further ones are not taken.
const MAX_CONNECTIONS: u32 = 8192;
/// Answers that one send can carry; a client that pipelines more gets them in several.
const BATCH: usize = 64;
/// Longest head that may arrive in pieces, in bytes; a longer one closes the connection.
const MAX_HEAD: usize = 16 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// What a completion belongs to: the upper half of its user data. The lower half is a connection.
const ACCEPT: u64 = 0 << 32;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const SHUT_DOWN: u64 = 3 << 32;
const CLOSE: u64 = 4 << 32;
const KIND: u64 = 0xffff_ffff << 32;

/// A connection's slot. It is free again when its receive has ended and no send is under way, so that no
/// completion can meet a later connection in the same slot.
struct Connection {
    /// Its index among the ring's registered files: no descriptor table is searched per operation.
    file: types::Fixed,
    /// The beginning of a head whose end has not come yet.
    partial: Vec<u8>,
    /// Answers owed but not yet handed to the kernel.
    owed: usize,
    sending: bool,
    receiving: bool,
    /// The client sends no more; it is still owed its answers.
    ended: bool,
    /// The connection is broken, or not worth going on with.
    closing: bool,
}

/// Serves `address` until the process is ended.
///
/// # Errors
/// If the address is not a loopback one, cannot be bound, or io_uring lacks what the floor is made of.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    ensure!(address.ip().is_loopback(), "{address} is not a loopback address: the floor serves no others");
    let listener = TcpListener::bind(address).with_context(|| format!("binding {address}"))?;
    // Accepted sockets inherit it.
    set_nodelay(&listener).context("TCP_NODELAY")?;
    eprintln!("floor: listening on {}", listener.local_addr()?);

    let ring = IoUring::builder()
        .setup_cqsize(COMPLETIONS)
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .build(RING_ENTRIES)
        .context("io_uring_setup with SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1) failed")?;
    Floor::new(listener).run(ring)
}

struct Floor {
    listener: TcpListener,
    buffers: BufferRing,
    connections: Vec<Connection>,
    free: Vec<u32>,
    answers: &'static [u8],
    answer_len: usize,
}

impl Floor {
    fn new(listener: TcpListener) -> Self {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{HELLO}",
            HELLO.len()
        );
        Self {
            listener,
            buffers: BufferRing::new(),
            connections: Vec::new(),
            free: Vec::new(),
            // Sends point into it for as long as the process lives.
            answers: answer.repeat(BATCH).leak().as_bytes(),
            answer_len: answer.len(),
        }
    }

    fn run(mut self, mut ring: IoUring) -> Result<()> {
        let (mut submitter, mut queue, mut completions) = ring.split();
        submitter.register_ring_fd().context("registering the ring's descriptor (Linux 5.18)")?;
        submitter.register_files_sparse(MAX_CONNECTIONS).context("registering a table of files")?;
        self.buffers.register(&submitter).context("registering the buffer ring (Linux 5.19)")?;
        push(&mut queue, &submitter, &self.accept())?;
        loop {
            queue.sync();
            match submitter.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {}
                Err(error) => return Err(error).context("io_uring_enter"),
            }
            queue.sync();
            completions.sync();
            for completion in &mut completions {
                self.take(&completion, &mut queue, &submitter)?;
            }
            self.buffers.publish();
        }
    }

    fn take(
        &mut self,
        completion: &cqueue::Entry,
        queue: &mut SubmissionQueue<'_>,
        submitter: &io_uring::Submitter<'_>,
    ) -> Result<()> {
        let (kind, slot) = (completion.user_data() & KIND, low_half(completion.user_data()));
        match kind {
            ACCEPT => {
                // The table of registered files is as long as there may be connections: one too many is
                // refused by the kernel, with ENFILE.
                if let Ok(file) = u32::try_from(completion.result()) {
                    let slot = self.admit(types::Fixed(file));
                    push(queue, submitter, &receive(types::Fixed(file), slot))?;
                }
                if !cqueue::more(completion.flags()) {
                    push(queue, submitter, &self.accept())?;
                }
            }
            RECEIVE => {
                self.received(completion, slot);
                self.go_on(slot, queue, submitter)?;
            }
            SEND => {
                let connection = &mut self.connections[slot as usize];
                connection.sending = false;
                // MSG_WAITALL: less than everything means that the client is gone.
                connection.closing |= completion.result() <= 0;
                self.go_on(slot, queue, submitter)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn accept(&self) -> squeue::Entry {
        opcode::AcceptMulti::new(types::Fd(self.listener.as_raw_fd()))
            .allocate_file_index(true)
            .build()
            .user_data(ACCEPT)
    }

    /// Gives a new connection a slot.
    fn admit(&mut self, file: types::Fixed) -> u32 {
        let connection = Connection::new(file);
        if let Some(slot) = self.free.pop() {
            self.connections[slot as usize] = connection;
            return slot;
        }
        self.connections.push(connection);
        u32::try_from(self.connections.len() - 1).expect("fewer than MAX_CONNECTIONS")
    }

    /// Counts the requests that a receive completes, and gives its buffer back.
    fn received(&mut self, completion: &cqueue::Entry, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.receiving = cqueue::more(completion.flags());
        if let Some(buffer) = cqueue::buffer_select(completion.flags()) {
            let length = usize::try_from(completion.result()).unwrap_or(0);
            connection.input(self.buffers.bytes(buffer, length));
            self.buffers.give_back(buffer);
        }
        connection.ended |= completion.result() == 0;
        // Without buffers a receive ends, and is asked for again when some were given back.
        let starved = completion.result() == -libc::ENOBUFS;
        connection.closing |= completion.result() < 0 && !starved;
    }

    /// Queues what the connection needs next.
    fn go_on(
        &mut self,
        slot: u32,
        queue: &mut SubmissionQueue<'_>,
        submitter: &io_uring::Submitter<'_>,
    ) -> Result<()> {
        let connection = &mut self.connections[slot as usize];
        if connection.closing {
            if connection.receiving {
                // Ends the receive, whose completion comes here again.
                let shut_down = opcode::Shutdown::new(connection.file, libc::SHUT_RDWR);
                push(queue, submitter, &shut_down.build().user_data(SHUT_DOWN))?;
            } else if !connection.sending {
                push(queue, submitter, &close(connection.file))?;
                self.free.push(slot);
            }
            return Ok(());
        }
        if connection.owed > 0 && !connection.sending {
            let batch = connection.owed.min(BATCH);
            let bytes = &self.answers[..batch * self.answer_len];
            let length = u32::try_from(bytes.len()).context("a batch is below 4 GiB")?;
            let send = opcode::Send::new(connection.file, bytes.as_ptr(), length)
                .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                .build()
                .user_data(SEND | u64::from(slot));
            push(queue, submitter, &send)?;
            connection.owed -= batch;
            connection.sending = true;
        }
        if connection.ended {
            // Whatever comes last, the last answer or the end of the input, closes the connection.
            if connection.owed == 0 && !connection.sending && !connection.receiving {
                push(queue, submitter, &close(connection.file))?;
                self.free.push(slot);
            }
        } else if !connection.receiving {
            self.buffers.publish();
            push(queue, submitter, &receive(connection.file, slot))?;
            connection.receiving = true;
        }
        Ok(())
    }
}

impl Connection {
    fn new(file: types::Fixed) -> Self {
        Self {
            file,
            partial: Vec::new(),
            owed: 0,
            sending: false,
            receiving: true,
            ended: false,
            closing: false,
        }
    }

    /// Takes note of the requests whose heads end in `bytes`.
    fn input(&mut self, bytes: &[u8]) {
        if self.partial.is_empty() {
            // Nearly always: one whole request and nothing else. The search finds it without set-up cost.
            let end = memchr::memchr_iter(b'\n', bytes).find(|&at| bytes[..=at].ends_with(END_OF_HEAD));
            if end.is_some_and(|end| end + 1 == bytes.len()) {
                self.owed += 1;
                return;
            }
        }
        self.partial.extend_from_slice(bytes);
        let rest = memmem::rfind(&self.partial, END_OF_HEAD).map_or(0, |at| at + END_OF_HEAD.len());
        self.owed += memmem::find_iter(&self.partial[..rest], END_OF_HEAD).count();
        self.partial.drain(..rest);
        self.closing |= self.partial.len() > MAX_HEAD;
    }
}

fn receive(file: types::Fixed, slot: u32) -> squeue::Entry {
    opcode::RecvMulti::new(file, buffers::GROUP).build().user_data(RECEIVE | u64::from(slot))
}

fn close(file: types::Fixed) -> squeue::Entry {
    opcode::Close::new(file).build().user_data(CLOSE)
}

/// Queues `entry`, submitting what is queued already if there is no room.
fn push(
    queue: &mut SubmissionQueue<'_>,
    submitter: &io_uring::Submitter<'_>,
    entry: &squeue::Entry,
) -> Result<()> {
    // SAFETY: what an entry points to must outlive the operation: sends point into `Floor::answers`, which
    // is never freed; receives name a buffer group that lives as long as the ring; nothing else holds a
    // pointer. A send from memory that is freed or written before its completion would break this.
    while unsafe { queue.push(entry) }.is_err() {
        queue.sync();
        submitter.submit().context("io_uring_enter")?;
        queue.sync();
    }
    Ok(())
}

fn low_half(user_data: u64) -> u32 {
    u32::try_from(user_data & !KIND).expect("32 bits")
}

fn set_nodelay(listener: &TcpListener) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is borrowed and so open; the kernel reads one `c_int` from a live local.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of_val(&on)).expect("four bytes"),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::new(types::Fixed(0))
    }

    #[test]
    fn requests_are_counted_however_they_are_cut() {
        let stream = b"GET / HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        for step in 1..=stream.len() {
            let mut connection = connection();
            for piece in stream.chunks(step) {
                connection.input(piece);
            }
            assert_eq!((connection.owed, connection.partial.len()), (3, 0), "pieces of {step}");
        }
    }

    #[test]
    fn a_head_without_an_end_is_not_kept_for_ever() {
        let mut connection = connection();
        for _ in 0..=MAX_HEAD / 1000 {
            connection.input(&[b'x'; 1000]);
        }
        assert!(connection.closing);
        assert_eq!(connection.owed, 0);
    }
}
