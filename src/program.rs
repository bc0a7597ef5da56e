//! Finding programs as the shell does, and saying why one cannot be started.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::exit_code::CommandStatus;
use crate::os::fs::may_execute;
use crate::os::{Errno, errno};

/// Where programs are looked for without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Finds a program: a name with a slash from `directory`, any other in `path`, the value of `PATH`.
///
/// # Errors
/// The status of a command that could not begin, with the reason in a sentence.
pub fn find(name: &OsStr, directory: &Path, path: Option<&OsStr>) -> Result<PathBuf, CommandStatus> {
    if name.is_empty() {
        return Err(CommandStatus::NotFound("its name is empty".into()));
    }
    let shown = Path::new(name).display();
    if name.as_bytes().contains(&b'/') {
        return match runnable(&directory.join(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(CommandStatus::NotFound(format!("there is no {shown}"))),
            Err(errno) => Err(CommandStatus::CannotRun(format!("{shown}: {}", reason(errno)))),
        };
    }
    let mut refused = None;
    for entry in path.unwrap_or(OsStr::new(DEFAULT_PATH)).as_bytes().split(|&byte| byte == b':') {
        let entry = if entry.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(entry)) };
        match runnable(&directory.join(entry).join(name)) {
            Ok(()) => return Ok(entry.join(name)),
            Err(Errno::EACCES) => refused = Some(entry.join(name)),
            Err(_) => {}
        }
    }
    match refused {
        Some(path) => Err(CommandStatus::CannotRun(format!("{} is not executable", path.display()))),
        None => Err(CommandStatus::NotFound(format!("there is no program {shown} in PATH"))),
    }
}

/// Whether we may execute this file.
pub fn is_runnable(path: &Path) -> bool {
    runnable(path).is_ok()
}

fn runnable(path: &Path) -> Result<(), Errno> {
    let metadata = std::fs::metadata(path).map_err(|error| errno(&error))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    may_execute(path)
}

/// Why a program cannot be started, as the end of a sentence.
pub fn reason(errno: Errno) -> String {
    match errno {
        Errno::EACCES => "it is not executable (chmod +x)".into(),
        Errno::EISDIR => "it is a directory".into(),
        Errno::ENOENT => "the interpreter named in its first line does not exist".into(),
        Errno::ENOEXEC => "it is no program for this machine".into(),
        Errno::E2BIG => "its arguments and environment are too long".into(),
        Errno::EAGAIN => "the limit of processes is reached (ulimit -u)".into(),
        Errno::ENOMEM => "there is no memory for another process".into(),
        Errno::EMFILE | Errno::ENFILE => "the limit of open files is reached (ulimit -n)".into(),
        errno => crate::os::reason(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use super::{find, is_runnable};
    use crate::exit_code::CommandStatus;

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("a/flat", 0o644), ("here", 0o755)] {
            let file = place.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir_all(place.path().join("a/folder")).unwrap();
        place
    }

    #[test]
    fn a_program_is_found_as_the_shell_finds_it() {
        let place = place();
        let found = |name: &str, path: &str| find(OsStr::new(name), place.path(), Some(OsStr::new(path)));
        assert_eq!(found("tool", "a:b"), Ok(PathBuf::from("b/tool")), "the first that may be executed");
        assert_eq!(found("here", "a:"), Ok(PathBuf::from("./here")), "an empty entry is the directory itself");
        assert_eq!(found("./here", "a"), Ok(PathBuf::from("./here")), "a name with a slash needs no PATH");
        let nothing = |name: &str| CommandStatus::NotFound(format!("there is no program {name} in PATH"));
        assert_eq!(found("none", "a:b"), Err(nothing("none")));
        assert_eq!(found("folder", "a"), Err(nothing("folder")), "a directory is no program");
        assert_eq!(found("", "a"), Err(CommandStatus::NotFound("its name is empty".into())));
        assert_eq!(found("flat", "b:a"), Err(CommandStatus::CannotRun("a/flat is not executable".into())));
        assert_eq!(found("a/folder", ""), Err(CommandStatus::CannotRun("a/folder: it is a directory".into())));
        assert_eq!(found("here/x", ""), Err(CommandStatus::NotFound("there is no here/x".into())));
        assert!(find(OsStr::new("sh"), Path::new("/"), None).is_ok(), "without PATH the usual places count");
        assert!(is_runnable(&place.path().join("here")) && !is_runnable(&place.path().join("a")));
    }
}
