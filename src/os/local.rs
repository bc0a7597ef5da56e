//! Local (unix) stream sockets in a directory that belongs to this user alone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, getsockopt, socket, sockopt::PeerCredentials,
};

use super::fd::{Wanted, wait_ready};
use super::fs::FileId;
use super::user::own_user;

/// A directory that this process has opened, so that nobody can put another one in its place.
#[derive(Debug)]
pub struct PrivateDirectory {
    file: File,
    path: PathBuf,
    owner: u32,
}

impl PrivateDirectory {
    /// Creates the directory (0700) if it is missing, and opens it. It is refused if it is a symlink or belongs to another user.
    ///
    /// # Errors
    /// The system's; `PermissionDenied` if the directory is not this user's.
    pub fn create(path: &Path) -> io::Result<PrivateDirectory> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let directory = PrivateDirectory::open(path)?;
        if directory.owner != own_user() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mode = directory.file.metadata()?.mode() & 0o7777;
        if mode != 0o700 {
            directory.file.set_permissions(fs::Permissions::from_mode(0o700))?;
        }
        Ok(directory)
    }

    /// Opens it.
    ///
    /// # Errors
    /// The system's: it does not exist, is no directory or is a symlink.
    pub fn open(path: &Path) -> io::Result<PrivateDirectory> {
        let flags = libc::O_NOFOLLOW | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let owner = file.metadata()?.uid();
        Ok(PrivateDirectory { file, path: path.to_owned(), owner })
    }

    /// Its owner.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// A path of any name in it that fits into a socket address (108 bytes), whatever the length of the directory's path.
    fn short(&self, name: &str) -> PathBuf {
        const MOST: usize = 107;
        let path = self.path.join(name);
        if path.as_os_str().len() <= MOST {
            return path;
        }
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.file.as_raw_fd()))
    }

    /// Listens at this name, without blocking. Nobody finds a socket at the name that does not listen yet.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self, name: &str) -> io::Result<Listener> {
        let first = format!(".{name}");
        let socket = UnixListener::bind(self.short(&first))?;
        socket.set_nonblocking(true)?;
        fs::rename(self.path.join(&first), self.path.join(name))?;
        let path = self.path.join(name);
        let identity = FileId::of(&path);
        Ok(Listener { socket, path, identity })
    }

    /// Connects to the socket of this name, without waiting.
    ///
    /// # Errors
    /// `ConnectionRefused` if its owner is dead, `WouldBlock` if too many wait there already.
    pub fn connect(&self, name: &str) -> io::Result<Connection> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect_to(socket.as_raw_fd(), &UnixAddr::new(&self.short(name))?)?;
        Connection::new(UnixStream::from(socket))
    }

    /// Removes the sockets that nobody listens at any more, of those that `may_be_dead` names.
    pub fn remove_dead(&self, may_be_dead: fn(&str) -> bool) {
        for name in self.names().iter().filter(|name| may_be_dead(name.trim_start_matches('.'))) {
            let path = self.path.join(name);
            // A name with a dot is one that may not listen yet.
            let is_young = || {
                let made = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
                made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < Duration::from_secs(60)))
            };
            let refused = self.connect(name).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if refused && !(name.starts_with('.') && is_young()) {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// Connects to the socket at this path.
///
/// # Errors
/// Those of [`PrivateDirectory::connect`].
pub fn connect(path: &Path) -> io::Result<Connection> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(directory), Some(name)) => PrivateDirectory::open(directory)?.connect(name),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// A socket that listens. Its file goes with it, and its directory, if nothing else is in it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    identity: Option<FileId>,
}

impl Listener {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to it.
    pub fn is_there(&self) -> bool {
        self.identity.is_some() && FileId::of(&self.path) == self.identity
    }

    /// Removes the sockets beside it that nobody listens at any more, of those that `may_be_dead` names.
    pub fn tidy(&self, may_be_dead: fn(&str) -> bool) {
        if let Some(directory) = self.path.parent().and_then(|path| PrivateDirectory::open(path).ok()) {
            directory.remove_dead(may_be_dead);
        }
    }

    /// The next one who has come; `None` if nobody has.
    ///
    /// # Errors
    /// EMFILE, ENFILE: no descriptor is left. Whoever has come stays where he is.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => return Connection::new(stream).map(Some),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    // Come and gone.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
            // Fails while others have sockets in it.
            let _ = self.path.parent().map(fs::remove_dir);
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The process that connected or listened; 0 if it has no number here.
    pub pid: i32,
    /// The user of that process then.
    pub user: u32,
}

/// A connection that never blocks.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Some(usize),
    /// None at the moment.
    NotNow,
    /// The other end writes nothing more.
    End,
    /// The connection is broken.
    Broken,
}

impl Connection {
    fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection { stream })
    }

    /// The same connection as a stream of the standard library. It stays non-blocking.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Two ends of one connection.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn pair() -> io::Result<(Connection, Connection)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Connection::new(one)?, Connection::new(other)?))
    }

    /// Who is at the other end (SO_PEERCRED).
    ///
    /// # Errors
    /// Those of getsockopt(2); none is expected.
    pub fn peer(&self) -> Result<Peer, Errno> {
        getsockopt(&self.stream, PeerCredentials).map(|found| Peer { pid: found.pid(), user: found.uid() })
    }

    /// Reads what is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> Got {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Got::End,
                Ok(count) => return Got::Some(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Got::NotNow,
                    io::ErrorKind::Interrupted => {}
                    _ => return Got::Broken,
                },
            }
        }
    }

    /// Writes as much as is taken; `None` if the connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(count) => return Some(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Some(0),
                    io::ErrorKind::Interrupted => {}
                    _ => return None,
                },
            }
        }
    }

    /// Whether the other end is closed in both directions.
    pub fn is_closed(&self) -> bool {
        matches!(wait_ready([(self.stream.as_fd(), Wanted::Closed)], Some(Instant::now())), Ok([true]))
    }

    /// Waits until something is there to be read, or the instant has come; says whether something is there.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        matches!(wait_ready([(self.stream.as_fd(), Wanted::ToRead)], until), Ok([true]))
    }
}

impl From<Connection> for OwnedFd {
    fn from(connection: Connection) -> OwnedFd {
        connection.stream.into()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::{Got, PrivateDirectory, connect};
    use crate::os::user::own_user;
    use std::io::ErrorKind;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    #[test]
    fn a_socket_is_reached_however_long_its_path_is_and_goes_with_its_owner_and_its_directory() {
        let top = tempfile::tempdir().unwrap();
        let long = top.path().join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        for parent in [top.path(), &long] {
            let directory = PrivateDirectory::create(&parent.join("reloadrun")).unwrap();
            assert_eq!(std::fs::metadata(directory.path()).unwrap().mode() & 0o7777, 0o700);
            let listener = directory.listen("1.sock").unwrap();
            assert_eq!(directory.names(), ["1.sock"]);
            let mut client = connect(listener.path()).unwrap();
            assert_eq!(client.peer().unwrap().user, own_user());
            let mut server = listener.accept().unwrap().unwrap();
            assert_eq!(server.peer().unwrap().pid, i32::try_from(std::process::id()).unwrap());
            assert_eq!(server.write(b"hello"), Some(5));
            let mut buffer = [0; 16];
            assert_eq!((client.read(&mut buffer), &buffer[..5]), (Got::Some(5), &b"hello"[..]));
            assert_eq!(client.read(&mut buffer), Got::NotNow);
            drop(server);
            assert_eq!(client.read(&mut buffer), Got::End);
            assert!(listener.accept().unwrap().is_none() && listener.is_there());
            drop(listener);
            assert!(!directory.path().exists());
        }
    }

    #[test]
    fn a_directory_of_somebody_else_a_symlink_and_a_file_are_refused_and_an_open_one_is_closed() {
        let top = tempfile::tempdir().unwrap();
        let (link, file, open) = (top.path().join("link"), top.path().join("file"), top.path().join("open"));
        symlink(top.path(), &link).unwrap();
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(PrivateDirectory::create(&link).is_err() && PrivateDirectory::create(&file).is_err());
        PrivateDirectory::create(&open).unwrap();
        assert_eq!(std::fs::metadata(&open).unwrap().mode() & 0o7777, 0o700);
        if own_user() != 0 {
            assert_eq!(PrivateDirectory::create(Path::new("/")).unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn only_the_sockets_of_the_dead_are_removed() {
        let top = tempfile::tempdir().unwrap();
        let directory = PrivateDirectory::create(&top.path().join("d")).unwrap();
        let alive = directory.listen("1.sock").unwrap();
        for name in ["2.sock", ".3.sock", "other"] {
            drop(std::os::unix::net::UnixListener::bind(directory.path().join(name)).unwrap());
        }
        directory.remove_dead(|name| name.ends_with(".sock"));
        let mut names = directory.names();
        names.sort();
        assert_eq!(names, [".3.sock", "1.sock", "other"], "a young one may be about to listen");
        assert_eq!(directory.connect("other").unwrap_err().kind(), ErrorKind::ConnectionRefused);
        drop(alive);
        assert_eq!(directory.names().len(), 2);
    }
}
