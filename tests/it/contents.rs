//! `--compare content`: a file with the same bytes as at the start does not cause a restart.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

use crate::support::watched::{assert_fence, assert_restart, on_every_backend, run, set_time};
use crate::support::{Sandbox, Session};

/// The line of the internal log when the digests of a generation are complete.
const KNOWN: &str = "the contents are known";

/// Watches with `--compare content`; the command sleeps.
fn watch(sandbox: &Sandbox, backend: &str, arguments: &[&str]) -> Session {
    let fixed = ["--backend", backend, "--interval", "100ms", "--compare", "content"];
    let command = ["--", "sleep", "600"];
    let words = fixed.iter().chain(arguments).chain(&command);
    let mut session = sandbox.start_with(words, |command| {
        command.env("RELOADRUN_LOG", "debug");
    });
    session.wait_armed(1);
    wait_known(&session, 1);
    session
}

/// Waits until this many generations know the contents.
fn wait_known(session: &Session, generations: usize) {
    session.wait_until("the digests", || session.stderr().matches(KNOWN).count() >= generations);
}

#[test]
fn what_the_command_reads_elsewhere_is_compared_as_well() {
    let sandbox = Sandbox::new();
    let library = sandbox.beside().join("library.txt");
    fs::write(&library, "one").unwrap();
    set_time(&library, SystemTime::UNIX_EPOCH);
    let command = ["--compare", "content", "--", "sh", "-c", "cat ../library.txt; exec sleep 600"];
    let mut session = sandbox.start_with(command, |command| {
        command.env("RELOADRUN_LOG", "debug");
    });
    session.wait_armed(1);
    session.wait_until("its digest", || session.stderr().contains("the contents are known made=1"));
    fs::write(&library, "one").unwrap();
    assert_fence(&sandbox, &mut session, 2);
    fs::write(&library, "two").unwrap();
    assert_restart(&mut session, 3, &["library.txt"]);
    session.stop();
}

on_every_backend! {
    fn the_same_bytes_do_not_restart_however_they_are_written(backend) {
        let sandbox = Sandbox::new();
        let app = sandbox.write("app.py", "one");
        sandbox.write("v1/conf.py", "conf");
        sandbox.write("v2/conf.py", "conf");
        symlink("v1", sandbox.path("..data")).unwrap();
        symlink("..data/conf.py", sandbox.path("conf.py")).unwrap();
        let rewrites: [(&str, &dyn Fn()); 6] = [
            ("touch", &|| run(&sandbox, "touch", &["app.py"])),
            ("an older time", &|| set_time(&app, SystemTime::UNIX_EPOCH)),
            ("in place", &|| drop(sandbox.write("app.py", "one"))),
            ("aside", &|| {
                sandbox.write("app.tmp", "one");
                fs::rename(sandbox.path("app.tmp"), &app).unwrap();
            }),
            ("removed and created again", &|| {
                fs::remove_file(&app).unwrap();
                sandbox.write("app.py", "one");
            }),
            ("a volume's swap", &|| {
                symlink("v2", sandbox.path("..new")).unwrap();
                fs::rename(sandbox.path("..new"), sandbox.path("..data")).unwrap();
            }),
        ];
        let mut session = watch(&sandbox, backend, &["-w", "*.py;conf.py"]);
        let mut generation = 1;
        for (what, rewrite) in rewrites {
            rewrite();
            // Only the fence causes the next start, and its child gets the digests from this one.
            generation += 1;
            assert_fence(&sandbox, &mut session, generation);
            wait_known(&session, usize::try_from(generation).unwrap());
            assert_eq!(session.starts() as u64, generation, "{what}: {}", session.account());
        }
        sandbox.write("app.py", "two");
        assert_restart(&mut session, generation + 1, &["app.py"]);
        session.stop();
    }

    fn a_signal_is_sent_only_for_changed_bytes(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("app.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py", "--on-change", "signal:CONT"]);
        for content in ["two", "three", "two"] {
            sandbox.write("app.py", content);
            session.wait("changed");
            wait_known(&session, session.events().iter().filter(|seen| seen["event"] == "changed").count() + 1);
            run(&sandbox, "touch", &["app.py"]);
            sandbox.write("app.py", content);
        }
        sandbox.write("fence.py", "fence");
        session.wait_where("changed", |seen| seen["changes"].to_string().contains("fence.py"));
        assert_eq!(session.stop().count("changed"), 4);
    }
}

#[test]
fn a_file_that_is_too_large_counts_by_its_time() {
    let sandbox = Sandbox::new();
    let large = sandbox.write("large.bin", "");
    fs::File::options().write(true).open(&large).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    let mut session = watch(&sandbox, "inotify", &["-w", "*.bin"]);
    run(&sandbox, "touch", &["large.bin"]);
    assert_restart(&mut session, 2, &["large.bin"]);
    session.stop();
}

#[test]
fn digests_are_passed_on_and_files_are_not_read_again() {
    let sandbox = Sandbox::new();
    for number in 0..300 {
        sandbox.write(format!("d{}/{number}.py", number % 150), format!("{number}"));
    }
    let mut session = watch(&sandbox, "inotify", &["-w", "*.py"]);
    for generation in 2..5 {
        assert_fence(&sandbox, &mut session, generation);
        wait_known(&session, usize::try_from(generation).unwrap());
    }
    let stderr = session.stderr();
    let made: Vec<&str> = stderr.lines().filter(|line| line.contains(KNOWN)).collect();
    assert!(made[0].contains("made=300"), "{made:?}");
    // At most the fence is read: it is new, or it was compared.
    for later in &made[1..] {
        assert!(later.contains("made=0") || later.contains("made=1"), "{made:?}");
    }
    session.stop();
}
