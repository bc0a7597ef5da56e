use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use tempfile::TempDir;

use super::super::process::{own_group, own_pid, was_stopped};
use super::super::signals::{Dispositions, Signal, send};
use super::{ALARM, Action, Executable, Failure, Group, Kind, STEPS, Start, Step, pointers, spawn_by, write_own_pid};

const KINDS: [Kind; 2] = [Kind::Shared, Kind::Forked];

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn executable(command: &[&str], directory: &Path) -> Executable {
    let environment = [("PATH".into(), "/usr/bin:/bin".into())];
    Executable::new(Path::new(command[0]), &words(command), directory, &environment, false).unwrap()
}

fn start(kind: Kind, executable: &Executable) -> Result<i32, Failure> {
    spawn_by(kind, &STEPS, executable, Group::Own, None, &Dispositions::of_caller())
}

/// The exit code, or 128+n. Other tests of this process start programs too, so it waits for this one alone.
fn end_of(pid: i32) -> i32 {
    let mut raw = 0;
    // SAFETY: waitpid(2) writes one integer, or nothing to null.
    while unsafe { libc::waitpid(pid, &raw mut raw, 0) } != pid {
        assert_eq!(Errno::last(), Errno::EINTR);
    }
    if libc::WIFSIGNALED(raw) { 128 + libc::WTERMSIG(raw) } else { libc::WEXITSTATUS(raw) }
}

fn file(place: &TempDir, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = place.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn each_reason_why_a_program_cannot_start_is_told_and_leaves_no_process() {
    let place = tempfile::tempdir().unwrap();
    let plain = file(&place, "plain", "exit 0\n", 0o644);
    let orphan = file(&place, "orphan", "#!/no/such/interpreter\n", 0o755);
    let busy = file(&place, "busy", "", 0o755);
    fs::copy("/bin/true", &busy).unwrap();
    let _written = fs::OpenOptions::new().append(true).open(&busy).unwrap();
    let circle = place.path().join("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    let long = "x".repeat(200 * 1024);
    let here = place.path();
    let cases = [
        (executable(&["/no/such/program"], here), Step::Program, Errno::ENOENT),
        (executable(&["/dev/null/program"], here), Step::Program, Errno::ENOTDIR),
        (executable(&[text(&plain)], here), Step::Program, Errno::EACCES),
        (executable(&[text(here)], here), Step::Program, Errno::EACCES),
        (executable(&[text(&orphan)], here), Step::Program, Errno::ENOENT),
        (executable(&[text(&busy)], here), Step::Program, Errno::ETXTBSY),
        (executable(&[text(&circle)], here), Step::Program, Errno::ELOOP),
        (executable(&["/bin/true", &long], here), Step::Program, Errno::E2BIG),
        (executable(&[&format!("/{long}")], here), Step::Program, Errno::ENAMETOOLONG),
        (executable(&["/bin/true"], Path::new("/no/such/directory")), Step::Directory, Errno::ENOENT),
        (executable(&["/bin/true"], &plain), Step::Directory, Errno::ENOTDIR),
    ];
    for kind in KINDS {
        let mut last = 0;
        for (executable, step, errno) in &cases {
            let mut steps = STEPS;
            // Notes the pid, to see afterwards that it is gone.
            steps[4].1 = |start: &mut Start| {
                PID.store(own_pid(), Ordering::Relaxed);
                (STEPS[4].1)(start)
            };
            static PID: AtomicI32 = AtomicI32::new(0);
            let dispositions = Dispositions::of_caller();
            let failed = spawn_by(kind, &steps, executable, Group::Own, None, &dispositions).unwrap_err();
            assert_eq!(failed, Failure { step: *step, errno: *errno }, "{kind:?} {executable:?}");
            if kind == Kind::Shared {
                let pid = PID.load(Ordering::Relaxed);
                assert_ne!(pid, last);
                // SAFETY: waitpid(2) writes one integer, or nothing to null.
                assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) }, -1);
                assert_eq!(Errno::last(), Errno::ECHILD);
                last = pid;
            }
        }
    }
}

#[test]
fn a_script_without_a_first_line_for_it_is_run_by_the_shell() {
    let place = tempfile::tempdir().unwrap();
    let script = file(&place, "script", "test \"$1\" = seven && test \"$PWD\" != / && exit 7\n", 0o755);
    for kind in KINDS {
        let executable = executable(&[text(&script), "seven"], place.path());
        assert_eq!(end_of(start(kind, &executable).unwrap()), 7, "{kind:?}");
    }
}

#[test]
fn the_pid_in_the_environment_is_that_of_the_program() {
    let place = tempfile::tempdir().unwrap();
    let command = words(&["/bin/sh", "-c", "test \"$LISTEN_PID\" = $$ && test \"$OTHER\" = kept"]);
    let environment = [("OTHER".into(), "kept".into())];
    for kind in KINDS {
        let executable = Executable::new(Path::new("/bin/sh"), &command, place.path(), &environment, true).unwrap();
        assert_eq!(end_of(start(kind, &executable).unwrap()), 0, "{kind:?}");
    }
    let mut buffer = [0xFF; super::OWN_PID];
    for (pid, entry) in [(1, c"LISTEN_PID=1"), (90, c"LISTEN_PID=90"), (4_194_304, c"LISTEN_PID=4194304")] {
        let written = write_own_pid(&mut buffer, pid);
        // SAFETY: it points into the buffer, which is NUL-terminated.
        assert_eq!(unsafe { std::ffi::CStr::from_ptr(written) }, entry);
    }
    write_own_pid(&mut buffer, u32::MAX);
    assert_eq!(buffer.last(), Some(&0));
}

#[test]
fn the_program_leads_its_group_and_holds_none_of_our_descriptors() {
    let place = tempfile::tempdir().unwrap();
    let _ours = fs::File::open("/dev/null").unwrap();
    // The shell's own descriptor for the listing is the fourth.
    let script = "set -- $(ls /proc/self/fd); test $# -le 4 && test $(cut -d' ' -f5 /proc/$$/stat) = $$";
    for kind in KINDS {
        let executable = executable(&["/bin/sh", "-c", script], place.path());
        assert_eq!(end_of(start(kind, &executable).unwrap()), 0, "{kind:?}");
    }
}

#[test]
fn the_program_is_killed_at_the_end_of_the_thread_that_started_it() {
    for kind in KINDS {
        let begin = Instant::now();
        let pid = std::thread::spawn(move || start(kind, &executable(&["/bin/sleep", "60"], Path::new("/"))).unwrap())
            .join()
            .unwrap();
        assert_eq!(end_of(pid), 128 + libc::SIGKILL, "{kind:?}");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn a_clone_whose_parent_has_ended_does_not_execute_anything() {
    for kind in KINDS {
        let mut steps = STEPS;
        steps[0].1 = |start| {
            start.parent += 1;
            Ok(())
        };
        let executable = executable(&["/bin/true"], Path::new("/"));
        let failed = spawn_by(kind, &steps, &executable, Group::Own, None, &Dispositions::of_caller());
        assert_eq!(failed, Err(Failure { step: Step::Parent, errno: Errno::ESRCH }));
    }
}

#[test]
fn a_clone_that_is_killed_is_a_program_that_ended() {
    for kind in KINDS {
        let mut steps = STEPS;
        steps[4].1 = |_| {
            // SAFETY: integers only.
            unsafe { libc::kill(own_pid(), libc::SIGKILL) };
            Ok(())
        };
        let executable = executable(&["/bin/true"], Path::new("/"));
        let pid = spawn_by(kind, &steps, &executable, Group::Own, None, &Dispositions::of_caller()).unwrap();
        assert_eq!(end_of(pid), 128 + libc::SIGKILL, "{kind:?}");
    }
}

#[test]
fn a_stop_during_the_start_holds_up_nobody_for_long_and_stops_the_program() {
    // STOP takes effect at once, the TSTP of a Ctrl-Z as soon as it is let through.
    let stops: [Action; 2] = [
        |_| {
            // SAFETY: integers only.
            unsafe { libc::kill(own_pid(), libc::SIGSTOP) };
            Ok(())
        },
        |_| {
            // SAFETY: integers only.
            unsafe { libc::kill(own_pid(), libc::SIGTSTP) };
            Ok(())
        },
    ];
    for (kind, stop) in KINDS.into_iter().flat_map(|kind| stops.map(|stop| (kind, stop))) {
        let mut steps = STEPS;
        steps[6].1 = stop;
        let executable = executable(&["/bin/sleep", "60"], Path::new("/"));
        let begin = Instant::now();
        // TSTP stops nobody in an orphaned group. This one has a parent outside of it in the same session.
        let pid = spawn_by(kind, &steps, &executable, Group::Own, None, &Dispositions::of_caller()).unwrap();
        let took = begin.elapsed();
        assert!(took >= ALARM && took < ALARM + Duration::from_secs(20), "{kind:?} {took:?}");
        let stopped = (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            was_stopped(pid)
        });
        assert!(stopped, "{kind:?}");
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(name, "sleep\n", "it was stopped as the program");
        send(pid, Signal::KILL).unwrap();
        assert_eq!(end_of(pid), 128 + libc::SIGKILL);
    }
}

#[test]
fn a_plain_fork_does_where_a_filter_refuses_to_share_memory() {
    // In a process of its own, because a filter stays. It refuses clone(2) with CLONE_VFORK and lets all else through.
    in_a_process_of_its_own("a_plain_fork_does_where_a_filter_refuses_to_share_memory", || {
        refuse_vfork();
        let here = Path::new("/");
        let refused = start(Kind::Shared, &executable(&["/bin/true"], here));
        assert_eq!(refused, Err(Failure { step: Step::Clone, errno: Errno::EPERM }));
        let dispositions = Dispositions::of_caller();
        let spawn = |executable: &Executable| super::spawn(executable, Group::Own, None, &dispositions);
        assert_eq!(end_of(spawn(&executable(&["/bin/sh", "-c", "exit 5"], here)).unwrap()), 5);
        let failed = spawn(&executable(&["/no/such/program"], here)).unwrap_err();
        assert_eq!(failed, Failure { step: Step::Program, errno: Errno::ENOENT });
    });
}

fn refuse_vfork() {
    let code = |code: u32| u16::try_from(code).unwrap();
    let jump = |kind, k, jt, jf| libc::sock_filter { code: code(libc::BPF_JMP | libc::BPF_K | kind), jt, jf, k };
    let load = |k| libc::sock_filter { code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k };
    let answer = |k| libc::sock_filter { code: code(libc::BPF_RET | libc::BPF_K), jt: 0, jf: 0, k };
    let first_argument = if cfg!(target_endian = "little") { 16 } else { 20 };
    let mut filter = [
        load(0),
        jump(libc::BPF_JEQ, u32::try_from(libc::SYS_clone).unwrap(), 0, 3),
        load(first_argument),
        jump(libc::BPF_JSET, u32::try_from(libc::CLONE_VFORK).unwrap(), 0, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: prctl(2) reads the filter, which outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
    }
}

/// The process in which the handler below may run.
static OWN: AtomicI32 = AtomicI32::new(0);
static RAN: AtomicU32 = AtomicU32::new(0);
static RAN_IN_THE_CLONE: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    RAN.fetch_add(1, Ordering::Relaxed);
    // SAFETY: no arguments.
    if unsafe { libc::getpid() } != OWN.load(Ordering::Relaxed) {
        RAN_IN_THE_CLONE.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_handler_of_ours_runs_in_the_clone_in_a_thousand_starts_under_a_storm_of_signals() {
    in_a_process_of_its_own(
        "no_handler_of_ours_runs_in_the_clone_in_a_thousand_starts_under_a_storm_of_signals",
        || {
            OWN.store(own_pid(), Ordering::Relaxed);
            let storm = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH, 40];
            // The program is to ignore them, as our caller did; in this process they are handled.
            for number in storm {
                // SAFETY: the handlers only use atomics and getpid(2).
                unsafe { libc::signal(number, libc::SIG_IGN) };
            }
            let dispositions = Dispositions::of_caller();
            for number in &storm[..3] {
                // SAFETY: the handlers only use atomics and getpid(2).
                unsafe { libc::signal(*number, note as extern "C" fn(libc::c_int) as libc::sighandler_t) };
            }
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // The clone is in this group too.
                        storm.iter().for_each(|number| {
                            // SAFETY: integers only.
                            unsafe { libc::kill(0, *number) };
                        });
                    }
                });
                // The signals are for the whole process, and this thread must get some of them between two starts.
                let group = Group::Join(own_group());
                let good = executable(&["/bin/true"], Path::new("/"));
                let bad = executable(&["/no/such/program"], Path::new("/"));
                for round in 0..1000 {
                    if round % 10 == 9 {
                        let failed = spawn_by(Kind::Shared, &STEPS, &bad, group, None, &dispositions);
                        assert_eq!(failed, Err(Failure { step: Step::Program, errno: Errno::ENOENT }));
                    } else {
                        let pid = spawn_by(Kind::Shared, &STEPS, &good, group, None, &dispositions).unwrap();
                        assert_eq!(end_of(pid), 0, "in round {round}");
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            assert!(RAN.load(Ordering::Relaxed) > 1000, "there was a storm");
            assert!(!RAN_IN_THE_CLONE.load(Ordering::Relaxed));
        },
    );
}

#[test]
fn other_threads_allocate_while_programs_start() {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let allocating = |seed: usize| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let lists: Vec<Vec<usize>> = (0..50).map(|length| vec![seed; length * 7 % 4001]).collect();
                assert!(lists.iter().flatten().all(|number| *number == seed));
                rounds += 1;
            }
            rounds
        };
        let threads = [1, 2, 3].map(|seed| scope.spawn(move || allocating(seed)));
        for round in 0..300 {
            let executable = executable(&["/bin/sh", "-c", "exit 9"], Path::new("/"));
            assert_eq!(end_of(start(Kind::Shared, &executable).unwrap()), 9, "in round {round}");
        }
        done.store(true, Ordering::Relaxed);
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() > 0));
    });
}

#[test]
fn the_mask_of_the_thread_is_as_before_and_that_of_the_program_is_the_callers() {
    fn blocked(status: &str) -> String {
        status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned()
    }
    let own = || blocked(&fs::read_to_string("/proc/thread-self/status").unwrap());
    let caller = Dispositions::of_caller();
    super::super::signals::block(&[Signal::TERM, Signal::CHLD]);
    let before = own();
    assert_eq!(before, "0000000000014000");
    for kind in KINDS {
        let place = tempfile::tempdir().unwrap();
        let copied = place.path().join("status");
        // cp is no shell, which would change its mask.
        let copy = executable(&["/bin/cp", "/proc/self/status", text(&copied)], place.path());
        let pid = spawn_by(kind, &STEPS, &copy, Group::Own, None, &caller).unwrap();
        assert_eq!(end_of(pid), 0);
        let mut status = String::new();
        fs::File::open(&copied).unwrap().read_to_string(&mut status).unwrap();
        assert_eq!(blocked(&status), "0000000000000000", "{kind:?}");
        assert_eq!(own(), before, "{kind:?}");
        start(kind, &executable(&["/no/such/program"], place.path())).unwrap_err();
        assert_eq!(own(), before, "{kind:?}");
    }
    super::super::signals::unblock(&[Signal::TERM, Signal::CHLD]);
}

#[test]
fn what_contains_a_nul_byte_cannot_be_executed() {
    let nul = OsString::from("a\0b");
    let (fine, root) = (words(&["x"]), Path::new("/"));
    let new = |command: &[OsString], directory: &Path, environment: &[(OsString, OsString)]| {
        Executable::new(Path::new("/bin/true"), command, directory, environment, false).is_err()
    };
    assert!(new(std::slice::from_ref(&nul), root, &[]));
    assert!(new(&fine, Path::new(OsStr::new(&nul)), &[]));
    assert!(new(&fine, root, &[("A".into(), nul)]));
    assert!(!new(&fine, root, &[]));
    assert_eq!(pointers(&[]), [std::ptr::null()]);
}

/// Runs a test in a process of its own, in a process group of its own.
fn in_a_process_of_its_own(name: &str, body: fn()) {
    const MARK: &str = "RELOADRUN_TEST_OF_ITS_OWN";
    if std::env::var_os(MARK).is_some_and(|value| value == name) {
        return body();
    }
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("os::spawn::tests::{name}"), "--nocapture", "--test-threads=1"])
        .env(MARK, name)
        .process_group(0)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && shown.contains("1 passed"), "{shown}{}", String::from_utf8_lossy(&ended.stderr));
}
