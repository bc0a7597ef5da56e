//! Where control sockets lie: in a directory of their own, which belongs to the user alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::os::local::PrivateDirectory;
use crate::os::lock::random;
use crate::os::process::{exists, own_pid};
use crate::os::user::own_user;

/// Its name in the runtime directory, which belongs to one user.
const IN_RUNTIME: &str = "reloadrun";

/// The directory in which a run makes its socket, the first that can be had.
///
/// # Errors
/// The last one that was tried, and the reason.
pub fn directory_for_socket(environment: &Environment) -> Result<PrivateDirectory, (PathBuf, io::Error)> {
    let runtime = environment.runtime_directory().map(|directory| directory.join(IN_RUNTIME));
    let temporary = in_temporary(&environment.temporary_directory(), own_user());
    if let Some(directory) = runtime.and_then(|path| PrivateDirectory::create(&path).ok()) {
        return Ok(directory);
    }
    PrivateDirectory::create(&temporary).map_err(|error| (temporary, error))
}

/// The directories in which a client looks. After `su` or `docker exec`, the variables may not be those of the run, so the usual
/// places are among them. For root, the directories of all users are.
pub fn directories(environment: &Environment) -> Vec<PrivateDirectory> {
    let user = own_user();
    let mut temporaries = vec![environment.temporary_directory()];
    temporaries.extend(Some(PathBuf::from("/tmp")).filter(|usual| !temporaries.contains(usual)));
    let mut paths: Vec<PathBuf> =
        environment.runtime_directory().map(|directory| directory.join(IN_RUNTIME)).into_iter().collect();
    paths.push(Path::new("/run/user").join(user.to_string()).join(IN_RUNTIME));
    paths.extend(temporaries.iter().map(|temporary| in_temporary(temporary, user)));
    if user == 0 {
        paths.extend(listed(Path::new("/run/user")).map(|of_user| of_user.join(IN_RUNTIME)));
        let prefix = format!("{IN_RUNTIME}-");
        let is_ours = |path: &PathBuf| {
            let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix(&prefix));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        paths.extend(temporaries.iter().flat_map(|temporary| listed(temporary).filter(is_ours).collect::<Vec<_>>()));
    }
    let mut found: Vec<PrivateDirectory> = Vec::new();
    for path in paths {
        let is_known = |path: &Path| found.iter().any(|known| known.path() == path);
        if is_known(&path) {
            continue;
        }
        if let Ok(directory) = PrivateDirectory::open(&path)
            && (directory.owner() == user || user == 0)
        {
            found.push(directory);
        }
    }
    found
}

fn in_temporary(temporary: &Path, user: u32) -> PathBuf {
    temporary.join(format!("{IN_RUNTIME}-{user}"))
}

fn listed(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// A name for a socket of this process, `PID-RANDOM.sock`.
pub fn new_name() -> String {
    format!("{}-{:08x}.sock", own_pid(), random().unwrap_or(0) & 0xffff_ffff)
}

/// The pid in the name of a socket; `None` if it is not the name of one.
pub fn pid_of(name: &str) -> Option<i32> {
    let (pid, random) = name.strip_suffix(".sock")?.split_once('-')?;
    let is_hexadecimal = random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    pid.parse().ok().filter(|pid| is_hexadecimal && *pid > 0)
}

/// Whether it is the name of a socket whose process does not exist. It may all the same, in another pid namespace.
pub fn may_be_dead(name: &str) -> bool {
    pid_of(name).is_some_and(|pid| !exists(pid))
}

#[cfg(test)]
mod tests {
    use super::{directories, directory_for_socket, may_be_dead, new_name, pid_of};
    use crate::environment::tests::environment;
    use crate::os::process::own_pid;
    use crate::os::user::own_user;

    #[test]
    fn only_the_exact_form_of_a_name_is_a_socket() {
        assert_eq!(pid_of(&new_name()), Some(own_pid()));
        for name in
            ["7-0123abcd.lock", "7.sock", "-0123abcd.sock", "x-0123abcd.sock", "7-0123abc.sock", "0-0123abcd.sock"]
        {
            assert_eq!(pid_of(name), None, "{name}");
        }
        assert!(!may_be_dead(&new_name()) && may_be_dead("4194305-0123abcd.sock"));
    }

    #[test]
    fn a_client_finds_the_directory_of_a_run_whose_runtime_directory_it_does_not_know() {
        let top = tempfile::tempdir().unwrap();
        let (runtime, temporary) = (top.path().join("run"), top.path().join("tmp"));
        std::fs::create_dir(&runtime).unwrap();
        std::fs::create_dir(&temporary).unwrap();
        let (runtime, temporary) = (runtime.to_str().unwrap(), temporary.to_str().unwrap());
        let with_runtime = environment(&[("XDG_RUNTIME_DIR", runtime), ("TMPDIR", temporary)]);
        let without = environment(&[("TMPDIR", temporary)]);
        let shown = |of| {
            let found = directories(of);
            found.iter().map(|directory| directory.path().to_owned()).collect::<Vec<_>>()
        };
        let one = directory_for_socket(&with_runtime).unwrap();
        assert_eq!(one.path().to_str().unwrap(), format!("{runtime}/reloadrun"));
        assert!(shown(&with_runtime).contains(&one.path().to_owned()));
        let other = directory_for_socket(&without).unwrap();
        assert_eq!(other.path().to_str().unwrap(), format!("{temporary}/reloadrun-{}", own_user()));
        assert!(
            shown(&without).contains(&other.path().to_owned())
                && shown(&with_runtime).contains(&other.path().to_owned())
        );
        // A runtime directory that takes nothing.
        let broken = environment(&[("XDG_RUNTIME_DIR", "/proc/nowhere"), ("TMPDIR", temporary)]);
        assert_eq!(directory_for_socket(&broken).unwrap().path(), other.path());
        let nowhere = environment(&[("TMPDIR", "/proc/nowhere")]);
        assert!(directory_for_socket(&nowhere).is_err());
    }
}
