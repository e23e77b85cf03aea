//! Every bound of the project, by name, with its unit; and the relations between them.

use std::time::Duration;

// ---- HTTP -------------------------------------------------------------------------------------

/// Longest request line in bytes, without its line end. Beyond: 414.
pub const MAX_REQUEST_LINE: usize = 8 * 1024;
/// Longest request head (line and header fields) in bytes. Beyond: 431.
pub const MAX_HEAD: usize = 32 * 1024;
/// Most header fields of a request. Beyond: 431.
pub const MAX_HEADERS: usize = 100;
/// Longest extensions of all chunks of a body together, in bytes. Nothing uses them. Beyond: 400.
pub const MAX_CHUNK_EXTENSIONS: usize = 4 * 1024;
/// Longest trailer section of a chunked body in bytes. Beyond: 431.
pub const MAX_TRAILERS: usize = 8 * 1024;
/// Most fields of a trailer section. Beyond: 431.
pub const MAX_TRAILER_FIELDS: usize = 32;
/// Most connections of a shard.
pub const MAX_CONNECTIONS: usize = 16 * 1024;
/// How long a connection may stay without a request under way.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a request's head may take from its first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's body may take from the end of its head, beyond what [`MIN_TRANSFER_RATE`] grants it.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take to read an answer, beyond what [`MIN_TRANSFER_RATE`] grants it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bodies and answers that move at this rate or faster are never too slow, however long they are: in bytes a
/// second. Less than the poorest line that anybody sends from, more than a client that only wants to be waited
/// for cares to send.
pub const MIN_TRANSFER_RATE: u64 = 16 * 1024;
/// How long the daemon waits at a shutdown for invocations under way.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long those that are cut off at a shutdown have to take their last answers.
pub const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Bounds of what the configuration may say instead of these times.
pub const MIN_PHASE: Duration = Duration::from_millis(100);
/// See [`MIN_PHASE`].
pub const MAX_PHASE: Duration = Duration::from_secs(3600);

// ---- listeners ----------------------------------------------------------------------------------

/// Most shards, which are threads of the data plane.
pub const MAX_SHARDS: usize = 64;
/// Most addresses that the daemon listens on.
pub const MAX_ADDRESSES: usize = 16;
/// Connections that wait to be accepted by one listener; the kernel has a bound of its own (net.core.somaxconn).
pub const BACKLOG: i32 = 4096;
/// Longest path of a unix socket, in bytes: what a socket address holds beside the final NUL.
pub const MAX_SOCKET_PATH: usize = 107;

// ---- shards -------------------------------------------------------------------------------------

/// Versions of functions, the old ones included of which anything is left; a key of a worker has 16 bits for
/// its version.
pub const MAX_VERSIONS: u32 = 1 << 16;
/// A shard that hands invocations of a function over more often than this within [`HAND_OVER_WINDOW`] starts a
/// worker of its own.
pub const HAND_OVER_GROW: u32 = 16;
/// See [`HAND_OVER_GROW`].
pub const HAND_OVER_WINDOW: Duration = Duration::from_millis(100);
/// Most shards that an invocation goes through in search of a worker.
pub const MAX_HANDS: u8 = 4;

// ---- buffers of a shard -------------------------------------------------------------------------

/// Size of one provided receive buffer, in bytes.
pub const RECEIVE_BUFFER: usize = 4 * 1024;
/// Number of provided receive buffers of a shard; a power of two.
pub const RECEIVE_BUFFERS: u16 = 1024;
/// Entries of a shard's submission queue.
pub const RING_ENTRIES: u32 = 2048;
/// Entries of its completion queue.
pub const COMPLETION_ENTRIES: u32 = 4 * RING_ENTRIES;
/// What a shard's rings take of the memory that a user may lock, in bytes; at most.
pub const RING_MEMORY: u64 = 320 * 1024;
/// The kernel gives back what rings locked some time after their process has ended; for so long a start waits for it.
pub const RING_PATIENCE: Duration = Duration::from_secs(2);
/// So often it tries.
pub const RING_AGAIN: Duration = Duration::from_millis(10);
/// A connection that holds this much unparsed input beyond its request under way is not read from, in bytes.
pub const INPUT_HIGH_WATER: usize = 64 * 1024;
/// A connection with this much output that the kernel has not got takes no further request, in bytes: so much is
/// answered of what one client has sent ahead before others have their turn.
pub const OUTPUT_HIGH_WATER: usize = 32 * 1024;
/// A body of a known length up to this stays where it was received, behind its head; one that is longer gets a
/// buffer of its own, in bytes.
pub const INLINE_BODY: usize = 64 * 1024;
/// Most that is received of a body, or sent of an answer, by one operation, in bytes: a shard serves others
/// between two of them, and sees whether a client moves.
pub const TRANSFER_SLICE: usize = 1 << 20;
/// Most that is received at a time of a chunked body, in bytes.
pub const CHUNKED_SLICE: usize = 64 * 1024;
/// What is received of a body that nobody wants, to keep its connection, in bytes; before a longer one the
/// connection is closed.
pub const SKIPPED_BODY: u64 = 64 * 1024;
/// Bodies of requests that the daemon holds at a time, as far as they were received, in bytes. Each shard has its
/// share; beyond it: 503, unless it is the shard's only one.
pub const MAX_BODY_BYTES: u64 = 1 << 30;
/// Unsent output of all connections, in bytes. Each shard has its share; beyond it, requests are refused: 503.
pub const MAX_OUTPUT_BYTES: u64 = 1 << 30;
/// How long after descriptors were short connections are accepted again.
pub const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// Connections that the administration's socket may have on each shard beyond those of clients: who looks why there
/// are so many shall get in.
pub const ADMIN_CONNECTIONS: usize = 4;
/// Fewer connections than this are not worth starting for.
pub const LEAST_CONNECTIONS: usize = 64;
/// Descriptors that the daemon has of each worker.
pub const DESCRIPTORS_PER_WORKER: usize = 8;
/// Descriptors that are neither connections nor workers.
pub const DESCRIPTOR_RESERVE: usize = 256;
/// How long a connection is read from after its last answer.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// What a refused client is told to wait where nothing is known, and at least, in seconds.
pub const RETRY_AFTER_SECONDS: u32 = 1;
/// What it is told at most by what a function's invocations took of late, in seconds: that changes.
pub const MAX_RETRY_AFTER: u32 = 60;

/// Longest target, and method, that the record of an invocation keeps, in bytes.
pub const RECORDED_TARGET: usize = 256;
/// So often the CPU clock of a worker that has work is read; the invocations that it had in between share what it says.
pub const CPU_SAMPLE: Duration = Duration::from_millis(10);
/// CPU time after which an invocation is a long one: from then on its worker runs only when no other of its function
/// wants to. As much as most never use, and what one reading tells.
pub const DEMOTE_AFTER: Duration = Duration::from_millis(10);
/// The least time between two readings where an invocation is near its limit of CPU time: a tick of the timer wheel.
pub const CPU_LIMIT_LOOK: Duration = Duration::from_millis(1);
/// So often the clocks of workers that have no invocation are read.
pub const IDLE_CLOCKS: Duration = Duration::from_secs(5);
/// A worker without threads that has used so much in that time, all the while without an invocation, is ended: an honest one
/// has tidied up after its last one long before, and uses nothing.
pub const IDLE_CPU: Duration = Duration::from_millis(250);
/// So many clocks are read within one turn of a shard; the others' turn comes after [`CPU_SAMPLE`].
pub const CLOCKS_AT_ONCE: usize = 64;
/// Records of invocations that wait to be read; what comes on top is counted and dropped.
pub const RECORDS: usize = 8 * 1024;
/// So often at most it is said how many were dropped.
pub const LOST_TOLD: Duration = Duration::from_secs(1);

// ---- functions ----------------------------------------------------------------------------------

/// Most functions of one daemon.
pub const MAX_FUNCTIONS: usize = 1024;
/// Longest name of a function, in bytes.
pub const MAX_FUNCTION_NAME: usize = 64;
/// Most routes of one function.
pub const MAX_ROUTES: usize = 64;
/// Longest route, in bytes.
pub const MAX_ROUTE: usize = 512;
/// Most segments of a route's path.
pub const MAX_ROUTE_SEGMENTS: usize = 32;
/// Longest name of a wildcard in a route, in bytes.
pub const MAX_ROUTE_VALUE_NAME: usize = 32;
/// Most workers of one function.
pub const MAX_WORKERS: usize = 1024;
/// Most workers of all functions that a configuration may say.
pub const MAX_HOST_WORKERS: usize = MAX_FUNCTIONS * MAX_WORKERS;
/// Most invocations waiting for a worker of one function.
pub const MAX_QUEUE: usize = 4096;
/// Bounds and default of a function's time limit.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// See [`MIN_TIMEOUT`].
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// See [`MIN_TIMEOUT`].
pub const MAX_TIMEOUT: Duration = Duration::from_secs(900);
/// Bounds and default of a worker's memory, in bytes.
pub const MIN_MEMORY: u64 = 4 << 20;
/// See [`MIN_MEMORY`].
pub const DEFAULT_MEMORY: u64 = 128 << 20;
/// See [`MIN_MEMORY`].
pub const MAX_MEMORY: u64 = 64 << 30;
/// Default and greatest body of a request, in bytes.
pub const DEFAULT_MAX_REQUEST: u64 = 6 << 20;
/// See [`DEFAULT_MAX_REQUEST`].
pub const MAX_REQUEST: u64 = 1 << 30;
/// Default and greatest body of a response, in bytes.
pub const DEFAULT_MAX_RESPONSE: u64 = 6 << 20;
/// See [`DEFAULT_MAX_RESPONSE`].
pub const MAX_RESPONSE: u64 = 1 << 30;
/// Bounds of a function's CPU bandwidth, in cores.
pub const MIN_CPU: f64 = 0.01;
/// See [`MIN_CPU`].
pub const MAX_CPU: f64 = 1024.0;
/// Default of the workers of a function that are kept warm.
pub const DEFAULT_PROVISIONED: u32 = 1;
/// Default of the most workers of a function.
pub const DEFAULT_CONCURRENCY: u32 = 16;
/// Default of the most invocations that wait for a worker of a function.
pub const DEFAULT_QUEUE: u32 = 256;
/// Bounds of a function's rate, in requests a second.
pub const MIN_RATE: f64 = 0.001;
/// See [`MIN_RATE`].
pub const MAX_RATE: f64 = 1_000_000.0;
/// Most requests that may come at once within a rate.
pub const MAX_BURST: u32 = 1_000_000;
/// What a manifest may say of how long a worker that is not kept warm stays without work.
pub const MIN_IDLE: Duration = Duration::from_millis(100);
/// The most of it.
pub const MAX_IDLE: Duration = Duration::from_mins(60);
/// Its default: about what a person who looks at a page takes for the next click.
pub const DEFAULT_IDLE: Duration = Duration::from_mins(1);
/// What a manifest may say of how long a function without workers keeps its template.
pub const MIN_UNLOAD: Duration = Duration::from_secs(1);
/// The most of it.
pub const MAX_UNLOAD: Duration = Duration::from_hours(24);
/// Its default: who comes after so long a pause can wait for a load, which takes milliseconds and the plugin's init.
pub const DEFAULT_UNLOAD: Duration = Duration::from_mins(10);
/// Most variables of a function's environment.
pub const MAX_ENV: usize = 256;
/// Longest variable of a function's environment, name and value, in bytes.
pub const MAX_ENV_BYTES: usize = 32 * 1024;
/// Longest manifest or configuration file, in bytes.
pub const MAX_SETTINGS: u64 = 64 * 1024;
/// How long load and init of a function may take.
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a template may take to fork, the fork to check in, and a worker from there until it is ready.
pub const WORKER_START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the trusted part of a runner's set-up may take.
pub const SETUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits for a busy worker before more are started.
pub const GROW_AFTER: Duration = Duration::from_millis(1);
/// Arrivals are counted over windows of this length, to know how many workers they want.
pub const DEMAND_WINDOW: Duration = Duration::from_millis(20);
/// After so many windows without a look, what was known of arrivals counts half.
pub const DEMAND_FADE: u64 = 4;
/// A worker that has been idle for so long is not needed as much as by a function that wants one, whoever has more.
pub const AT_REST: Duration = Duration::from_millis(100);
/// A shard that wants workers which it has no grant for asks again after so long: others may have come to rest.
pub const ASK_AGAIN: Duration = Duration::from_millis(10);
/// Requests wait in a busy worker's channel, behind the one under way, for about this long at most.
pub const WAIT_IN_CHANNEL: Duration = Duration::from_millis(1);
/// A worker that ends earlier than this after its start, without having served, counts as stillborn.
pub const STILLBORN_AGE: Duration = Duration::from_secs(1);
/// So many stillborn workers in a row hold further starts back, and so many templates in a row that end before they
/// have a worker that serves have requests refused until the next is loaded.
pub const MAX_STILLBORN: u32 = 3;
/// How long after a start that came to nothing through no fault of the worker the next is made.
pub const START_AGAIN: Duration = Duration::from_millis(20);
/// For how long at first; doubled each time, up to the second.
pub const START_HOLD: Duration = Duration::from_millis(500);
/// See [`START_HOLD`].
pub const START_HOLD_MAX: Duration = Duration::from_secs(30);
/// How long after its template's end a function is loaded again, at first; doubled each time.
pub const RELOAD_HOLD: Duration = Duration::from_millis(100);
/// A template that has lived this long ends a row of failures.
pub const RELOAD_RECOVERED: Duration = Duration::from_secs(1);
/// See [`RELOAD_HOLD`].
pub const RELOAD_HOLD_MAX: Duration = Duration::from_secs(30);

// ---- channel ------------------------------------------------------------------------------------

/// Requests that may wait in one worker's channel, the one under way included; a power of two.
pub const CHANNEL_DEPTH: u32 = 64;
/// One slot of either region, in bytes: a descriptor and what is carried inline.
pub const CHANNEL_SLOT: usize = 4096;
/// Bodies beyond this are moved into and out of a channel by the kernel's own threads, while the shard serves
/// others, and the pages that they took there are given back afterwards; in bytes.
pub const LARGE_PAYLOAD: usize = 256 * 1024;
/// Buffers beyond this are given back by the kernel's own threads, while the shard serves others, in bytes.
pub const DISCARD_ASIDE: usize = 1 << 20;
/// Most header fields of a response.
pub const MAX_RESPONSE_HEADERS: usize = 64;
/// Longest head (header fields, encoded) of a response, in bytes. It is carried inline.
pub const MAX_RESPONSE_HEAD: usize = 2048;

// ---- confinement --------------------------------------------------------------------------------

/// File descriptors a function may have open.
pub const FUNCTION_NOFILE: u64 = 64;
/// Stack of a worker, in bytes.
pub const FUNCTION_STACK: u64 = 8 << 20;
/// What RLIMIT_DATA allows a worker beyond its memory limit, in bytes. It binds only until the worker is in
/// its own group, which ends it at the limit itself: so it must be more than a greedy worker can touch in the
/// tens of milliseconds until then, or the worker would see a failing malloc and not its end.
pub const DATA_SLACK: u64 = 128 << 20;
/// What RLIMIT_DATA allows a worker beyond its memory limit where there is no group to end it, in bytes: the
/// runner's own data, of which there is a quarter of this, and that of the libraries that a plugin needs.
pub const RUNNER_DATA: u64 = 1 << 20;
/// What a template's cgroup is given beyond its workers' memory, in bytes.
pub const TEMPLATE_MEMORY: u64 = 64 << 20;
/// How long a process that has ended may stay unreaped before it is believed that somebody keeps it.
pub const REAP_GRACE: Duration = Duration::from_millis(2);
/// Longest that the daemon's threads compute at a stretch while others want the core: short, so that the kernel lets them go
/// first when they wake.
pub const TURN: Duration = Duration::from_micros(100);
/// As [`TURN`], of a worker: long enough that it computes most of its requests at one stretch.
pub const WORKER_TURN: Duration = Duration::from_micros(200);
/// A group whose worker has ended is given to another once less than this part of a worker's memory is left in it.
pub const LEAF_LEFT_OVER: u64 = 4;
/// So many groups of a function may wait for that; then one is given to the next worker in any case.
pub const MAX_FREE_LEAVES: usize = 16;
/// Most paths that a function is granted to read, and as many to write.
pub const MAX_GRANTED_PATHS: usize = 16;
/// Longest paths that a function is granted, all together, in bytes.
pub const MAX_GRANTED_PATH_BYTES: usize = 16 * 1024;
/// Most ports that a function may connect to.
pub const MAX_GRANTED_PORTS: usize = 64;
/// Most threads of a worker that may be granted, beside its first.
pub const MAX_THREADS: u32 = 64;
/// Longest file of a function that may write some, in bytes.
pub const GRANTED_FILE_SIZE: u64 = 1 << 30;
/// A start of a thread that the warden has let through, and that has not been seen since, counts as a thread for so
/// long: the kernel carries a call out when it comes to it.
pub const THREAD_START: Duration = Duration::from_millis(100);
/// CPU bandwidth period, in microseconds.
pub const CPU_PERIOD_US: u64 = 100_000;
/// Longest name of the daemon's own control group, in bytes.
pub const MAX_CGROUP_NAME: usize = 64;
/// Signals that a process of a function may send to itself in its life: `abort` needs one, and each is
/// decided by the warden's one thread.
pub const MAX_SIGNALS: u32 = 64;
/// So often in [`IDLE_LOOKS_WINDOW`] the warden's one thread looks at all threads of a process only to refuse one more, or
/// looks up which thread asks about processors; what comes on top is refused without a look.
pub const MAX_IDLE_LOOKS: u32 = 64;
/// See [`MAX_IDLE_LOOKS`].
pub const IDLE_LOOKS_WINDOW: Duration = Duration::from_secs(1);
/// What a worker's `oom_score_adj` is, so that a host out of memory ends workers before what they depend on.
pub const WORKER_OOM_SCORE_ADJ: i32 = 500;
/// How long the spawner has nothing to do before it makes a runner in advance.
pub const PARK_IDLE: Duration = Duration::from_millis(1);
/// How long after one that could not be made.
pub const PARK_AGAIN: Duration = Duration::from_secs(1);
/// Parked runners that are kept ready.
pub const PARKED_RUNNERS: usize = 1;
/// First uid of the default range; it is the ns-inits', the following are the functions'.
pub const UID_BASE: u32 = 1_879_048_192;
/// Lowest first uid of a range: those below belong to the system and to people.
pub const MIN_UID_BASE: u32 = 65_536;
/// Number of uids of the default range.
pub const UID_COUNT: u32 = 65_536;
/// Longest line of a function's output that is kept whole, in bytes.
pub const MAX_LOG_LINE: usize = 8 * 1024;
/// Output of a worker that is kept in each [`OUTPUT_WINDOW`], in bytes; the rest is counted and dropped.
pub const MAX_OUTPUT: usize = 256 * 1024;
/// Marks of a worker's output that do not count as output in each [`OUTPUT_WINDOW`]: more than one worker has
/// invocations in that time.
pub const MAX_MARKS: usize = 128 * 1024;
/// Longest text of a load error taken from a template, in bytes.
pub const MAX_LOAD_MESSAGE: usize = 512;

// ---- output and start of the daemon ----------------------------------------------------------------

/// Lines about the daemon that wait to be written; what comes on top is counted and dropped. Each function of a
/// daemon may be loaded, and fail, at once.
pub const MAX_LOG_EVENTS: usize = 4096;
/// Output of one function that waits to be written, in bytes; what comes on top is counted and dropped.
pub const MAX_WAITING_OUTPUT: usize = 64 * 1024;
/// What a line of output costs beyond its text, in bytes: its place in the queue and the function's name.
pub const LOG_LINE_COST: usize = 64;
/// For so long a worker's pipe may fill [`MAX_OUTPUT`].
pub const OUTPUT_WINDOW: Duration = Duration::from_secs(1);
/// A pipe that has filled it is emptied once in this time: its function waits, not the daemon.
pub const SLOW_OUTPUT: Duration = Duration::from_millis(10);
/// What is read of a pipe at a time, in bytes.
pub const OUTPUT_SLICE: usize = 16 * 1024;
/// Most slices taken at once of a pipe whose function has ended; a pipe holds 64 KiB by default.
pub const LAST_OUTPUT_SLICES: usize = 64;
/// How long the end of the daemon waits for its last lines to be read.
pub const LAST_LINES: Duration = Duration::from_millis(200);
/// So often the watchdog looks whether the shards turn.
pub const WATCHDOG_LOOK: Duration = Duration::from_secs(1);
/// A shard that has had so much processor time without coming to the end of a turn is told of, and the service manager
/// does not hear that all is well; turns take some ten microseconds.
pub const STALL_TOLD: Duration = Duration::from_secs(2);
/// After so much of it the daemon ends itself.
pub const STALL_FATAL: Duration = Duration::from_secs(10);
/// How long a start waits for an address that is still in use: the listener of a daemon that has just died lives
/// on for some 50 ms in the kernel's care of its ring.
pub const BIND_PATIENCE: Duration = Duration::from_secs(1);
/// Directories deeper than this below the root of the functions are not looked at.
pub const MAX_TREE_DEPTH: usize = 8;

// ---- dev ------------------------------------------------------------------------------------------

/// Files must have been left alone for so long before what was made of them is built.
pub const WATCH_QUIET: Duration = Duration::from_millis(50);
/// After so long it is built although something still changes.
pub const WATCH_PATIENCE: Duration = Duration::from_secs(2);

const _: () = {
    assert!(MAX_REQUEST_LINE < MAX_HEAD);
    assert!(LEAST_CONNECTIONS < MAX_CONNECTIONS);
    assert!(ADMIN_CONNECTIONS * MAX_SHARDS <= DESCRIPTOR_RESERVE);
    assert!(RECEIVE_BUFFERS.is_power_of_two());
    // Submissions of 64 bytes and their 4 bytes of order, completions and descriptions of buffers of 16, and for each of
    // these a page that is not filled.
    let rings = RING_ENTRIES as u64 * (64 + 4) + (COMPLETION_ENTRIES as u64 + RECEIVE_BUFFERS as u64) * 16;
    assert!(rings + 4 * 4096 <= RING_MEMORY);
    assert!(
        WATCHDOG_LOOK.as_nanos() < STALL_TOLD.as_nanos()
            && 2 * STALL_TOLD.as_nanos() < STALL_FATAL.as_nanos()
    );
    assert!(CHANNEL_DEPTH.is_power_of_two());
    // What is large is not inline, neither in a connection's input nor in a slot.
    assert!(LARGE_PAYLOAD > INLINE_BODY && LARGE_PAYLOAD > CHANNEL_SLOT);
    assert!(crate::mark::MARK + LOG_LINE_COST < MAX_OUTPUT);
    assert!(MAX_RESPONSE_HEAD + 128 <= CHANNEL_SLOT);
    assert!(INLINE_BODY <= INPUT_HIGH_WATER && CHUNKED_SLICE <= TRANSFER_SLICE);
    assert!(DEFAULT_MAX_REQUEST <= MAX_REQUEST && DEFAULT_MAX_RESPONSE <= MAX_RESPONSE);
    assert!(MIN_MEMORY <= DEFAULT_MEMORY && DEFAULT_MEMORY <= MAX_MEMORY);
    assert!(DEFAULT_PROVISIONED <= DEFAULT_CONCURRENCY && DEFAULT_CONCURRENCY as usize <= MAX_WORKERS);
    assert!(DEFAULT_QUEUE as usize <= MAX_QUEUE);
    // What comes in one second may come at once; and for as long as the daemon may run, the time at which a rate's last
    // request is due is one that 64 bits hold in nanoseconds.
    assert!(MAX_RATE <= MAX_BURST as f64 && MIN_RATE > 0.0);
    assert!(MAX_BURST as f64 / MIN_RATE * 1e9 < (1_u64 << 61) as f64);
    assert!(1 <= RETRY_AFTER_SECONDS && RETRY_AFTER_SECONDS <= MAX_RETRY_AFTER);
    assert!(
        MIN_UNLOAD.as_nanos() <= DEFAULT_UNLOAD.as_nanos()
            && DEFAULT_UNLOAD.as_nanos() <= MAX_UNLOAD.as_nanos()
    );
    assert!(MIN_IDLE.as_nanos() <= DEFAULT_IDLE.as_nanos() && DEFAULT_IDLE.as_nanos() <= MAX_IDLE.as_nanos());
    assert!(DEMOTE_AFTER.as_nanos() >= CPU_SAMPLE.as_nanos());
    assert!(CPU_SAMPLE.as_nanos() < IDLE_CPU.as_nanos() && IDLE_CPU.as_nanos() < IDLE_CLOCKS.as_nanos());
    assert!(CPU_LIMIT_LOOK.as_nanos() < CPU_SAMPLE.as_nanos());
    assert!(UID_COUNT as usize > MAX_FUNCTIONS);
    // Each function may have an old version, a new one, and one more that was overtaken.
    assert!(MAX_FUNCTIONS * 3 < MAX_VERSIONS as usize);
    assert!(UID_BASE >= MIN_UID_BASE);
};
