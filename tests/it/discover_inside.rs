//! Programs that are hard to trace: they work inside as ever, and what they read counts.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::control::ask;
use super::ends::{left_out, wrapped};
use super::out_of_reach::{as_user, with_root_inside};
use crate::support::chromium;
use crate::support::namespace::Namespace;
use crate::support::watched::{is_installed, names};
use crate::support::{Sandbox, Session};

/// A file system in user space that its only program serves, in one thread.
const SERVED: &str = include_str!("support/served.py");

/// Maps a file whose page it does not touch, and has the kernel read a path there.
const MAPPED: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
page = libc.mmap(None, 4096, 1, 2, os.open(sys.argv[1], os.O_RDONLY), 0)
libc.open.argtypes = [ctypes.c_void_p, ctypes.c_int]
print("opened" if libc.open(page, 0) >= 0 else "not opened", flush=True)
"#;

/// A sandbox with `lib.txt` beside its root, and a program `shows` that prints it.
fn sandbox_with_program() -> Option<Sandbox> {
    if !is_installed("cc", "discovery in a debugger") {
        return None;
    }
    let sandbox = Sandbox::new();
    fs::write(sandbox.beside().join("lib.txt"), "read\n").unwrap();
    let source = "#include <stdio.h>\nint main(void) { char b[9] = {0}; FILE *f = fopen(\"../lib.txt\", \"r\"); fread(b, 1, 8, f); puts(b); return 0; }\n";
    fs::write(sandbox.beside().join("shows.c"), source).unwrap();
    let built = Command::new("cc").args(["-g", "-o", "shows", "shows.c"]).current_dir(sandbox.beside()).status();
    assert!(built.unwrap().success());
    Some(sandbox)
}

/// Whether there is a line like this on standard output, and no complaint. Then an edit of the file beside restarts the command,
/// which says so again.
fn works_and_reads(sandbox: &Sandbox, script: &str, line: &str) {
    let script = format!("{script}; echo ended; exec sleep 600");
    let mut session = sandbox.start(["--", "sh", "-c", &script]);
    for generation in 1..=2 {
        session.wait_armed(generation);
        let times = usize::try_from(generation).unwrap();
        session.wait_until("the end of the program", || session.stdout().matches("ended\n").count() == times);
        assert_eq!(session.stdout().lines().filter(|said| *said == line).count(), times, "{}", session.account());
        if generation == 1 {
            fs::write(sandbox.beside().join("lib.txt"), "read\n").unwrap();
        }
    }
    let started = session.events().into_iter().rfind(|event| event["event"] == "started").unwrap();
    assert_eq!(names(&started), ["lib.txt"], "{}", session.account());
    assert_eq!(session.stop().count("degraded"), 0);
}

#[test]
fn debuggers_and_tracers_work_inside() {
    let Some(sandbox) = sandbox_with_program() else { return };
    fs::write(sandbox.beside().join("commands"), "b 2\nc\nn\nq\n").unwrap();
    fs::write(sandbox.beside().join("shows.py"), "import sys\nsys.stdout.write(open('../lib.txt').read())\n").unwrap();
    let gdb = "gdb -batch -nx -ex 'break main' -ex run -ex 'catch syscall openat' -ex c -ex delete -ex c ../shows";
    for (program, script, line) in [
        ("gdb", gdb, "read"),
        ("strace", "strace -f -o ../log ../shows", "read"),
        ("python3", "python3 -m pdb ../shows.py < ../commands", "(Pdb) read"),
    ] {
        if is_installed(program, "discovery in a debugger") {
            works_and_reads(&sandbox, script, line);
        }
    }
}

#[test]
fn a_mount_namespace_inside_is_no_gap_and_what_is_read_there_counts() {
    let Some(sandbox) = sandbox_with_program() else { return };
    let script =
        "unshare --user --map-root-user --mount sh -c 'mount -t tmpfs none /mnt && echo > /mnt/x && exec ../shows'";
    let tried = wrapped(&["sh", "-c", script], &sandbox.command(["--version"]), &sandbox).output().unwrap();
    if !tried.status.success() {
        return left_out("discovery in a mount namespace: none can be made here");
    }
    works_and_reads(&sandbox, script, "read");
}

/// A session in a mount namespace whose command serves a file system and starts this; `None` if that is not possible here.
fn serving(sandbox: &Sandbox, source: &str, reader: &str) -> Option<Session> {
    fs::write(sandbox.beside().join("served.py"), SERVED).unwrap();
    fs::write(sandbox.beside().join("mapped.py"), MAPPED).unwrap();
    fs::write(sandbox.beside().join("source.txt"), source).unwrap();
    fs::create_dir(sandbox.beside().join("mount")).unwrap();
    let words = ["--", "python3", "../served.py", "../mount", "sh", "-c"];
    let script = format!("{reader}; echo ended; exec sleep 600");
    let works = "test -w /dev/fuse && timeout 10 python3 ../served.py ../mount sh -c 'cat ../mount/file.txt && kill $PPID' > ../tried.txt; umount ../mount";
    match Namespace::of_mounts(works).start(sandbox, &[&words[..], &[&script]].concat()) {
        Ok(session) => Some(session),
        Err(reason) => {
            left_out(&format!("discovery in a file system that the command serves: {reason}"));
            None
        }
    }
}

#[test]
fn a_file_system_that_the_command_serves_itself_is_read_through_its_own_mount() {
    let sandbox = Sandbox::new();
    let reader = "cat ../mount/file.txt; ls ../mount; test -e ../mount/absent";
    let Some(mut session) = serving(&sandbox, "one\n", reader) else { return };
    session.wait_armed(1);
    session.wait_until("the first reading", || session.stdout() == "one\nfile.txt\nended\n");
    for path in ["../mount/file.txt", "../source.txt", "x.py"] {
        // What was read a moment ago may not be known yet.
        session.wait_until(path, || ask(&sandbox, &["explain", path]).status.success());
    }
    fs::write(sandbox.beside().join("source.txt"), "two\n").unwrap();
    // The mount may have been noticed only after the reading, and then its file has come, once.
    let is_source = |event: &Value| event["event"] == "changed" && names(event).contains(&"source.txt".to_owned());
    session.wait_until("the restart", || session.events().iter().any(is_source));
    session.wait_until("the second reading", || session.stdout().ends_with("two\nfile.txt\nended\n"));
    session.stop().assert_code(143);
}

#[test]
fn a_path_in_memory_that_the_command_has_to_serve_holds_up_nobody_for_long() {
    let sandbox = Sandbox::new();
    // The page of the path is read from the file system, which opens a file for that.
    let Some(session) = serving(&sandbox, "../source.txt\0", "python3 ../mapped.py ../mount/file.txt") else { return };
    // The mount may have been noticed only after the reading, and then its file has come, once.
    session.wait_until("the end of the reader", || session.stdout().ends_with("opened\nended\n"));
    session.wait_until("the gap to be told", || session.events().iter().any(|event| event["kind"] == "trace_gap"));
    let ended = session.stop();
    let degraded = ended.events.iter().filter(|event| event["event"] == "degraded");
    assert!(degraded.clone().all(|event| event["kind"] == "trace_gap"), "{:#?}", ended.events);
    ended.assert_code(143);
}

#[test]
fn a_browser_in_its_real_sandbox_works_for_an_ordinary_user() {
    let (Some((sandbox, _)), Some(program)) = (with_root_inside(), chromium::program()) else {
        return left_out("discovery in a browser's sandbox: there is no browser, or no other user");
    };
    let events = sandbox.events().display().to_string();
    let [user, groups] = as_user();
    let page = sandbox.path("page.html");
    fs::write(&page, "<p id=a>no<script>a.textContent='sho'+'wn'</script>").unwrap();
    let has_helper = Path::new("/usr/lib/chromium/chrome-sandbox").exists();
    // By user namespaces, and by a set-uid helper.
    for (flag, is_told) in [("--disable-setuid-sandbox", 0), ("--disable-namespace-sandbox", 1)] {
        if is_told == 1 && !has_helper {
            left_out("discovery in a browser's sandbox with a set-uid helper: there is none");
            continue;
        }
        let browser = format!(
            "HOME=$PWD {} --headless --disable-gpu {flag} --user-data-dir=../profile --dump-dom file://$PWD/page.html 2> ../said.txt",
            program.display()
        );
        let unwrapped = wrapped(&["setpriv", &user, &groups, "sh", "-c", &browser], &sandbox.command([""]), &sandbox);
        let untraced = String::from_utf8_lossy(&{ unwrapped }.output().unwrap().stdout).into_owned();
        if !untraced.contains("shown") {
            left_out(&format!("discovery in a browser's sandbox: {flag} does not work here"));
            continue;
        }
        let script = format!("{browser}; echo ended; exec sleep 600");
        let inner =
            sandbox.command(["--events", &events, "-w", "app.txt", "--discover", "add", "--", "sh", "-c", &script]);
        let mut session = Session::start(wrapped(&["setpriv", &user, &groups], &inner, &sandbox), &sandbox);
        session.wait_started(1 + is_told);
        session.wait_until("the end of the browser", || session.stdout().contains("ended"));
        assert!(session.stdout().contains(">shown<"), "{}", session.account());
        let ended = session.stop();
        assert_eq!(ended.count("degraded") as u64, is_told, "{:#?}", ended.events);
    }
}
