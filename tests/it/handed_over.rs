//! The command inherits from the caller the same as without reloadrun: descriptors, sockets of systemd, ignored and
//! blocked signals, the name of the directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::ends::{pid_of, wrapped};
use crate::support::{Sandbox, Session};

/// Runs a program to its end, with or without reloadrun, and returns its output.
fn said(sandbox: &Sandbox, wrapper: &[&str], options: Option<&[&str]>, command: &[&str]) -> String {
    let mut inner = match options {
        Some(options) => {
            sandbox.command(["-q", "--on-exit", "exit"].iter().chain(options).chain(&["--"]).chain(command))
        }
        None => {
            let mut plain = Command::new(command[0]);
            plain.args(&command[1..]);
            sandbox.furnish(&mut plain);
            plain
        }
    };
    if !wrapper.is_empty() {
        inner = wrapped(wrapper, &inner, sandbox);
    }
    let output = inner.stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{inner:?}: {output:?}");
    String::from_utf8(output.stdout).expect("plain text")
}

/// Starts reloadrun through another program, with its events.
fn start(sandbox: &Sandbox, wrapper: &[&str], arguments: &[&str]) -> Session {
    let events = sandbox.events();
    let mut inner = sandbox.command(["--events", events.to_str().expect("plain"), "-w", "app.txt"]);
    inner.args(arguments);
    Session::start(wrapped(wrapper, &inner, sandbox), sandbox)
}

/// Prints each descriptor of its process that is open on a file of these tests.
const DESCRIPTORS: &str =
    "for fd in /proc/$$/fd/*; do echo \"${fd##*/} $(readlink $fd)\"; done | grep '/given$\\|/events'";

#[test]
fn the_command_inherits_the_descriptors_of_the_caller_in_every_generation() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    sandbox.write("given", "given\n");
    let open = ["sh", "-c", "exec 3<given 4<>given 9>>given; exec \"$@\"", "sh"];
    let expected = said(&sandbox, &open, None, &["sh", "-c", DESCRIPTORS]);
    assert_eq!(expected.lines().count(), 3, "{expected}");
    let command = format!("{DESCRIPTORS}; echo; exec sleep 600");
    let mut session = start(&sandbox, &open, &["--", "sh", "-c", &command]);
    for generation in 1..=3 {
        session.wait_armed(generation);
        let so_far = format!("{expected}\n").repeat(usize::try_from(generation).expect("small"));
        session.wait_until("the descriptors", || session.stdout() == so_far);
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_armed(4);
    session.stop().assert_code(143);
}

#[test]
fn inherited_descriptors_work_also_with_a_low_limit_and_high_numbers() {
    let sandbox = Sandbox::new();
    sandbox.write("given", "given\n");
    for (prepare, number) in [("exec 3<given", "3"), ("exec 9<given; ulimit -n 32", "9")] {
        let wrapper = ["sh", "-c", &format!("{prepare}; exec \"$@\""), "sh"];
        let command = format!("cat <&{number}");
        assert_eq!(said(&sandbox, &wrapper, Some(&[]), &["sh", "-c", &command]), "given\n", "{prepare}");
    }
    // Too few descriptors for reloadrun itself: an error, and the number above the limit must stay open.
    let wrapper = ["sh", "-c", "exec 9<given; ulimit -n 9; exec \"$@\"", "sh"];
    let inner = sandbox.command(["--on-exit", "exit", "--", "true"]);
    assert_eq!(wrapped(&wrapper, &inner, &sandbox).output().expect("it starts").status.code(), Some(125));
    let pipe = ["bash", "-c", "exec \"$@\" <(echo given)", "bash"];
    if Command::new("bash").arg("-c").arg("true").status().is_ok_and(|status| status.success()) {
        assert_eq!(said(&sandbox, &pipe, Some(&[]), &["cat"]), "given\n");
    }
}

#[test]
fn the_command_does_not_inherit_the_descriptor_of_events_and_a_closed_one_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.write("given", "");
    let open = ["sh", "-c", "exec 3<given 5>>../events; exec \"$@\"", "sh"];
    let descriptors = said(&sandbox, &open, Some(&["--events", "fd:5"]), &["sh", "-c", DESCRIPTORS]);
    assert_eq!(descriptors, format!("3 {}\n", sandbox.path("given").display()));
    let events = fs::read_to_string(sandbox.beside().join("events")).expect("they were written");
    assert!(events.contains("\"finished\""), "{events}");
    // 3 to 8 are free, so reloadrun's own files may get these numbers.
    let close = ["sh", "-c", "exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&-; exec \"$@\"", "sh"];
    for number in 3..=8 {
        let inner = sandbox.command(["--events", &format!("fd:{number}"), "--", "true"]);
        let ended = wrapped(&close, &inner, &sandbox).output().expect("it starts");
        assert_eq!(ended.status.code(), Some(2), "{number}: {ended:?}");
    }
}

#[test]
fn the_command_inherits_the_sockets_of_systemd_in_every_generation() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    sandbox.write("given", "");
    let variables = "LISTEN_FDS=2 LISTEN_FDNAMES=web:admin LISTEN_PIDFDID=7";
    let activated = format!("exec 3<given 4<given; LISTEN_PID=$$ {variables} exec \"$@\"");
    let command = "echo $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PIDFDID; exec sleep 600";
    let mut session = start(&sandbox, &["sh", "-c", &activated, "sh"], &["--", "sh", "-c", command]);
    let mut expected = String::new();
    for generation in 1..=3 {
        expected += &format!("{} 2 web:admin\n", pid_of(&session.wait_armed(generation)));
        session.wait_until("the variables", || session.stdout() == expected);
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_armed(4);
    session.stop().assert_code(143);
    // Variables for another pid are not changed.
    let others = ["env", "LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_PIDFDID=7"];
    assert_eq!(
        said(&sandbox, &others, Some(&[]), &["sh", "-c", "echo $LISTEN_PID $LISTEN_FDS $LISTEN_PIDFDID"]),
        "1 2 7\n"
    );
}

/// A program that starts another with these signals ignored and those blocked. Python itself ignores SIGPIPE.
fn with_signals(ignored: &[i32], blocked: &[i32]) -> String {
    format!(
        "import os, signal, sys
for number in range(1, 65):
    if number not in (9, 19, 32, 33):
        signal.signal(number, signal.SIG_IGN if number in {ignored:?} else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, {blocked:?})
os.execvp(sys.argv[1], sys.argv[1:])"
    )
}

/// The sets of ignored and blocked signals in /proc/PID/status.
fn sets(status: &str) -> [u64; 2] {
    ["SigIgn:", "SigBlk:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
        u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
    })
}

#[test]
fn signal_dispositions_are_inherited_except_for_signals_that_reloadrun_sends() {
    let sandbox = Sandbox::new();
    let status = ["cat", "/proc/self/status"];
    let (int, pipe, term, usr1, hup, real_time) = (2, 13, 15, 10, 1, 35);
    let all: Vec<i32> = (1..=64).filter(|number| ![9, 17, 19, 32, 33].contains(number)).collect();
    let many = [int, pipe, hup, usr1, term, real_time, 64];
    for (ignored, blocked) in [
        (&[][..], &[][..]),
        (&[pipe], &[]),
        (&[int, 3], &[int]),
        (&[], &[term, pipe]),
        (&many, &many),
        (&all, &all),
        (&[], &all),
    ] {
        let script = with_signals(ignored, blocked);
        let wrapper = ["python3", "-c", script.as_str()];
        let before = sets(&said(&sandbox, &wrapper, None, &status));
        for (options, arrive) in [
            (&[][..], &[term][..]),
            (&["--stop-signal", "INT"], &[int]),
            (&["--stop-signal", "RTMIN+1"], &[real_time]),
            (&["--stop-signal", "KILL", "--on-change", "signal:USR1"], &[usr1]),
            (&["--on-change", "signal:HUP"], &[hup, term]),
        ] {
            let after = sets(&said(&sandbox, &wrapper, Some(options), &status));
            let expected = before.map(|set| arrive.iter().fold(set, |set, number| set & !(1 << (number - 1))));
            assert_eq!(after, expected, "{ignored:?} {blocked:?} {options:?}");
        }
    }
}

#[test]
fn a_stop_by_a_signal_that_the_caller_ignored_and_blocked_needs_no_kill() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let script = with_signals(&[2, 35], &[2, 35]);
    for signal in ["INT", "RTMIN+1"] {
        let arguments = ["--stop-signal", signal, "--stop-timeout", "1h", "--", "sleep", "600"];
        let mut session = start(&sandbox, &["python3", "-c", &script], &arguments);
        session.wait_armed(1);
        sandbox.write("app.txt", signal);
        assert_eq!(session.wait("stopped")["killed"], false);
        session.wait_armed(2);
        let ended = session.stop();
        ended.assert_code(143);
        assert!(!ended.stderr.contains("killed"), "{ended:#?}");
    }
}

#[test]
fn pwd_is_the_directory_of_the_command_by_the_name_that_the_user_knows() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("real/sub")).expect("fresh");
    fs::create_dir(sandbox.path("other")).expect("fresh");
    symlink("real", sandbox.path("link")).expect("fresh");
    symlink("../../other", sandbox.path("real/sub/away")).expect("fresh");
    let show = ["sh", "-c", "echo $PWD; pwd -P"];
    let absolute = sandbox.path("link/sub").display().to_string();
    let as_cd = |from: &str, to: &str| {
        let script = format!("cd '{from}' && cd '{to}' && echo $PWD && pwd -P");
        said(&sandbox, &[], None, &["sh", "-c", &script])
    };
    for from in [".", "link", "real", "link/sub"] {
        let wrapper = ["sh", "-c", &format!("cd {from}; exec \"$@\""), "sh"];
        for to in [".", "sub", "./sub/", "sub/../sub", "sub/away", absolute.as_str()] {
            if !sandbox.path(from).join(to).is_dir() {
                continue;
            }
            let got = said(&sandbox, &wrapper, Some(&["-C", to]), &show);
            assert_eq!(got, as_cd(from, to), "from {from}, -C {to}");
        }
        assert_eq!(said(&sandbox, &wrapper, Some(&[]), &show), as_cd(from, "."), "from {from}");
        // A PWD that does not name the directory, or is not set, is not used.
        for pwd in ["PWD=/", "PWD=.", "PWD=relative", "--unset=PWD"] {
            let lying: Vec<&str> = wrapper.iter().copied().chain(["env", pwd]).collect();
            let real = fs::canonicalize(sandbox.path(from)).expect("it exists").display().to_string();
            assert_eq!(said(&sandbox, &lying, Some(&[]), &show), format!("{real}\n{real}\n"), "from {from}, {pwd}");
        }
    }
    // The kernel and the shell resolve `..` after a symlink differently; the command runs where the kernel's way leads.
    let wrapper = ["sh", "-c", "cd link; exec \"$@\"", "sh"];
    let above = sandbox.root().display();
    assert_eq!(said(&sandbox, &wrapper, Some(&["-C", "sub/away/.."]), &show), format!("{above}\n{above}\n"));
    // The directory and the command come from a config file.
    sandbox
        .write("other/reloadrun.toml", "directory = \"../link\"\ncommand = [\"sh\", \"-c\", \"echo $PWD; pwd -P\"]\n");
    let wrapper = ["sh", "-c", "cd other; exec \"$@\"", "sh"];
    let output =
        wrapped(&wrapper, &sandbox.command(["-q", "--on-exit", "exit"]), &sandbox).output().expect("it starts");
    let (named, real) = (sandbox.path("link"), sandbox.path("real"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}\n{}\n", named.display(), real.display()));
}
