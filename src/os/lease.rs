//! Whether a file is open for writing.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use super::fd::{F_SETSIG, control};

/// Whether any process has a regular file open for writing; `None` if the system does not say.
///
/// The kernel grants a read lease (fcntl(2): `F_SETLEASE`) only on a file that nobody has open for writing. It is given
/// back at once. A writer who opens the file between the two calls waits for the second one. Only the owner of a file, or a
/// process with CAP_LEASE, may take a lease, and some file systems have none.
pub fn is_open_for_writing(path: &Path) -> Option<bool> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    // It may be something else by now: nothing is waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    // The writer who waits causes a signal. SIGIO would end this process, and SIGURG does nothing.
    control(&file, F_SETSIG, libc::SIGURG).ok()?;
    match control(&file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => control(&file, libc::F_SETLEASE, libc::F_UNLCK).ok().map(|()| false),
        Err(Errno::EAGAIN) => Some(true),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_open_for_writing;
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    #[test]
    fn a_file_is_open_for_writing_as_long_as_anybody_could_write_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let writer = File::create(&path).unwrap();
        assert_eq!(is_open_for_writing(&path), Some(true));
        drop(writer);
        assert_eq!(is_open_for_writing(&path), Some(false));
        let reader = File::open(&path).unwrap();
        assert_eq!(is_open_for_writing(&path), Some(false));
        let appender = OpenOptions::new().append(true).open(&path).unwrap();
        assert_eq!(is_open_for_writing(&path), Some(true));
        drop((reader, appender));
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(is_open_for_writing(&link), Some(false));
    }

    #[test]
    fn a_writer_in_another_process_counts_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let script = format!("exec 9>'{}'; echo open; read line", path.display());
        let mut writer =
            Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(is_open_for_writing(&path), Some(true));
        drop(writer.stdin.take());
        writer.wait().unwrap();
        assert_eq!(is_open_for_writing(&path), Some(false));
    }

    #[test]
    fn nothing_is_said_of_what_is_no_regular_file_and_a_pipe_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in
            [pipe.as_path(), directory.path(), std::path::Path::new("/dev/null"), &directory.path().join("none")]
        {
            assert_eq!(is_open_for_writing(path), None, "{}", path.display());
        }
    }

    #[test]
    fn writers_who_open_the_file_meanwhile_succeed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        File::create(&path).unwrap();
        std::thread::scope(|scope| {
            let writes = scope.spawn(|| (0..5000).all(|_| OpenOptions::new().write(true).open(&path).is_ok()));
            while !writes.is_finished() {
                assert!(is_open_for_writing(&path).is_some());
            }
            assert!(writes.join().unwrap());
        });
    }
}
