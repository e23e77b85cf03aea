use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

const NO_PATIENCE: Duration = Duration::ZERO;

/// A configuration with these addresses, and sockets in a directory of the test's.
fn config(addresses: &[&str], run: &Path) -> Config {
    let mut config = Config::for_functions(PathBuf::new());
    config.set_state(run.to_owned());
    config.listen = addresses.iter().map(|address| address.parse().unwrap()).collect();
    config
}

fn open(config: &Config, shards: u16) -> (Listeners, Change) {
    let mut listeners = Listeners::default();
    let prepared = listeners.prepare(config, shards, NO_PATIENCE).unwrap();
    let change = listeners.commit(prepared).unwrap();
    (listeners, change)
}

fn failure(config: &Config) -> String {
    format!("{:#}", Listeners::default().prepare(config, 1, NO_PATIENCE).unwrap_err())
}

/// How many connections wait in a listening socket.
fn waiting(listener: &Listener) -> usize {
    let socket = TcpListener::from(listener.socket.try_clone().unwrap());
    socket.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| match socket.accept() {
        Ok(accepted) => Some(accepted),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    })
    .count()
}

#[test]
fn every_shard_has_a_socket_of_each_address_and_gets_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (listeners, change) = open(&config(&["127.0.0.1:0", "[::1]:0"], folder.path()), 3);
    let addresses = listeners.addresses();
    let doors = |of_shard: &Vec<Listener>| of_shard.iter().map(|l| (l.number, l.door)).collect::<Vec<_>>();
    let expected = [(0, Door::Tcp), (1, Door::Tcp), (2, Door::Unix), (3, Door::Admin)];
    assert_eq!(change.new.iter().map(doors).collect::<Vec<_>>(), [expected; 3].map(Vec::from));
    assert_eq!(change.old, [0; 0]);
    for (index, address) in addresses.iter().enumerate() {
        // The kernel deals by a hash of the client's port: one shard of three gets none of 64 once in 10¹¹ runs.
        let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
        let dealt: Vec<_> = change.new.iter().map(|of_shard| waiting(&of_shard[index])).collect();
        assert_eq!(dealt.iter().sum::<usize>(), clients.len());
        assert!(dealt.iter().all(|count| *count > 0), "{dealt:?}");
    }
}

/// Neither one that shares its address nor one that does not; and whoever was there stays undisturbed.
#[test]
fn an_address_is_not_shared_with_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let (listeners, _change) = open(&config(&["127.0.0.1:0"], folder.path()), 2);
    let address = listeners.addresses()[0];
    let other = tempfile::tempdir().unwrap();
    let expected = format!("cannot listen on {address}: Address already in use (os error 98)");
    assert_eq!(failure(&config(&[&address.to_string()], other.path())), expected);

    let single = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = single.local_addr().unwrap();
    let expected = format!("cannot listen on {address}: Address already in use (os error 98)");
    assert_eq!(failure(&config(&[&address.to_string()], other.path())), expected);
    TcpStream::connect(address).unwrap();
    single.accept().unwrap();
}

/// However two daemons that start at once interleave: one of them waits.
#[test]
fn one_guard_excludes_another_from_its_first_moment_to_its_last() {
    let in_use = |address| tcp::Guard::take(address).err().map(|error| error.kind());
    let free = TcpListener::bind("127.0.0.9:0").unwrap().local_addr().unwrap();
    let guard = tcp::Guard::take(free).unwrap();
    assert_eq!(in_use(free), Some(ErrorKind::AddrInUse));
    guard.share().unwrap();
    assert_eq!(in_use(free), Some(ErrorKind::AddrInUse));
    drop(guard);
    assert_eq!(in_use(free), None);
}

/// Whoever connects while the guard is there comes again, and is not lost in its queue.
#[test]
fn the_guard_is_deaf() {
    for any in ["127.0.0.9:0", "[::1]:0"] {
        let address = TcpListener::bind(any).unwrap().local_addr().unwrap();
        let _guard = tcp::Guard::take(address).unwrap();
        let refused = TcpStream::connect_timeout(&address, Duration::from_millis(100)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TimedOut, "{address}");
    }
}

#[test]
fn an_address_that_becomes_free_is_waited_for() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (tried, wait) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            wait.recv().unwrap();
            drop(taken);
        });
        assert_eq!(tcp::listen(address, 1, NO_PATIENCE).unwrap_err().kind(), ErrorKind::AddrInUse);
        tried.send(()).unwrap();
        assert_eq!(tcp::listen(address, 1, Duration::from_secs(20)).unwrap().0, address);
    });
}

#[test]
fn sockets_have_their_rights_and_go_with_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&[], folder.path());
    config.socket_group = Some(12345);
    let (listeners, change) = open(&config, 2);
    let rights = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.file_type().is_socket(), metadata.mode() & 0o7777, metadata.gid())
    };
    let (data, admin) = (config.socket.clone().unwrap(), config.admin.clone().unwrap());
    // SAFETY: takes no pointers and cannot fail.
    let own = unsafe { libc::getegid() };
    assert_eq!(rights(&data), (true, 0o660, 12345));
    assert_eq!(rights(&admin), (true, 0o600, own));
    assert_eq!((listeners.socket(Door::Unix), listeners.socket(Door::Admin)), (Some(&*data), Some(&*admin)));
    assert_ne!(change.new[0][0].socket.as_raw_fd(), change.new[1][0].socket.as_raw_fd());
    let _client = UnixStream::connect(&data).unwrap();
    UnixListener::from(change.new[1][0].socket.try_clone().unwrap()).accept().unwrap();
    drop(listeners);
    assert!(!data.exists() && !admin.exists());
}

#[test]
fn what_a_dead_daemon_left_is_taken_over_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&[], folder.path());
    let path = config.socket.clone().unwrap();
    fs::create_dir(&config.run).unwrap();
    let refused =
        |why: &str| assert_eq!(failure(&config), format!("cannot listen on {}: {why}", path.display()));
    let living = UnixListener::bind(&path).unwrap();
    refused("somebody listens there already");
    living.accept().unwrap();
    drop(living);
    let (listeners, _change) = open(&config, 1);
    drop(listeners);
    fs::write(&path, "precious").unwrap();
    refused("what is there is no socket");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    // A file that has taken the place of ours is not ours to remove.
    let (listeners, _change) = open(&config, 1);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(listeners);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_change_opens_the_new_first_and_keeps_what_stays() {
    let folder = tempfile::tempdir().unwrap();
    let before = config(&["127.0.0.1:0", "127.0.0.2:0"], folder.path());
    let (mut listeners, first) = open(&before, 2);
    let addresses = listeners.addresses();

    let mut after = config(&["127.0.0.2:0", "127.0.0.3:0", "127.0.0.3:0"], folder.path());
    after.socket = Some(folder.path().join("new.sock"));
    let prepared = listeners.prepare(&after, 2, NO_PATIENCE).unwrap();
    assert!(after.socket.as_ref().unwrap().exists() && before.socket.as_ref().unwrap().exists());
    let change = listeners.commit(prepared).unwrap();
    let numbers = |of_shard: &Vec<Listener>| of_shard.iter().map(|l| l.number).collect::<Vec<_>>();
    assert_eq!(change.new.iter().map(numbers).collect::<Vec<_>>(), [[4, 5, 6], [4, 5, 6]]);
    assert_eq!(change.old, [0, 2]);
    assert_eq!(listeners.addresses()[0], addresses[1]);
    assert_eq!(listeners.addresses().len(), 3);
    assert!(!before.socket.as_ref().unwrap().exists());
    drop(first);

    // The same once more changes nothing, but for a group.
    after.socket_group = Some(12345);
    let prepared = listeners.prepare(&after, 2, NO_PATIENCE).unwrap();
    let change = listeners.commit(prepared).unwrap();
    assert!(change.new.iter().all(Vec::is_empty) && change.old.is_empty());
    assert_eq!(fs::symlink_metadata(after.socket.as_ref().unwrap()).unwrap().gid(), 12345);
}

#[test]
fn a_change_that_is_dropped_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let before = config(&["127.0.0.1:0"], folder.path());
    let (mut listeners, _first) = open(&before, 1);
    let mut after = config(&["127.0.0.4:0"], folder.path());
    let precious = folder.path().join("precious");
    fs::write(&precious, "").unwrap();
    after.socket = Some(folder.path().join("new.sock"));
    after.admin = Some(precious);
    assert!(listeners.prepare(&after, 1, NO_PATIENCE).is_err());
    assert!(!after.socket.as_ref().unwrap().exists());
    assert!(before.socket.as_ref().unwrap().exists());
    let prepared = listeners.prepare(&before, 1, NO_PATIENCE).unwrap();
    let change = listeners.commit(prepared).unwrap();
    assert!(change.new[0].is_empty() && change.old.is_empty());
}

#[test]
fn nobody_keeps_a_socket_from_being_made_by_a_lock_on_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    let held = fs::File::open(&run).unwrap();
    held.lock().unwrap();
    let (listeners, _change) = open(&config(&[], folder.path()), 1);
    assert!(listeners.socket(Door::Unix).is_some());
}
