//! Ignore files: which of them count, and from when on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::ends::left_out;
use crate::support::Sandbox;
use crate::support::namespace::Namespace;
use crate::support::watched::{assert_fence, assert_restart, on_every_backend, run, watch};

on_every_backend! {
    fn a_gitignore_counts_as_it_is_now(backend) {
        let sandbox = Sandbox::new();
        sandbox.write(".gitignore", "out.py\nbuild/\n");
        sandbox.write("out.py", "one");
        sandbox.write("build/deep/x.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        sandbox.write("out.py", "two, ignored");
        sandbox.write("build/deep/x.py", "two, ignored");
        assert_fence(&sandbox, &mut session, 2);
        // To change the rules is no change by itself.
        sandbox.write(".gitignore", "# nothing\n");
        assert_fence(&sandbox, &mut session, 3);
        sandbox.write("out.py", "three, counts");
        assert_restart(&mut session, 4, &["out.py"]);
        sandbox.write("build/deep/x.py", "three, counts");
        assert_restart(&mut session, 5, &["x.py"]);
        sandbox.write(".gitignore", "/out.py\n/build\n");
        sandbox.write("out.py", "four, is ignored again");
        sandbox.write("build/deep/x.py", "four, is ignored again");
        assert_fence(&sandbox, &mut session, 6);
        assert_eq!(session.stop().count("started"), 6);
    }

    fn a_save_right_after_the_rules_have_changed_counts_in_the_same_generation(backend) {
        let sandbox = Sandbox::new();
        sandbox.write(".gitignore", "out.py\nbuild/\n");
        sandbox.write("out.py", "one");
        sandbox.write("build/x.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        fs::write(sandbox.path(".new"), "build/\n").unwrap();
        fs::rename(sandbox.path(".new"), sandbox.path(".gitignore")).unwrap();
        sandbox.write("out.py", "two");
        assert_restart(&mut session, 2, &["out.py"]);
        fs::remove_file(sandbox.path(".gitignore")).unwrap();
        sandbox.write("build/x.py", "two");
        assert_restart(&mut session, 3, &["x.py"]);
        session.stop();
    }

    fn a_gitignore_that_is_watched_is_itself_a_reason(backend) {
        let sandbox = Sandbox::new();
        sandbox.write(".gitignore", "out.py\n");
        sandbox.write("out.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py;.gitignore"]);
        sandbox.write(".gitignore", "# nothing\n");
        assert_restart(&mut session, 2, &[".gitignore"]);
        session.stop();
    }
}

#[test]
fn rules_that_lie_outside_of_what_is_watched_count_as_they_are_now() {
    let sandbox = Sandbox::new();
    run(&sandbox, "git", &["init", "-q"]);
    let global = sandbox.beside().join("home/.config/git/ignore");
    fs::create_dir_all(global.parent().unwrap()).unwrap();
    let rules = [
        (sandbox.path(".gitignore"), "above.py"),
        (sandbox.path(".git/info/exclude"), "excluded.py"),
        (global, "global.py"),
    ];
    for (file, name) in &rules {
        fs::write(file, name).unwrap();
        sandbox.write(format!("src/{name}"), "one");
    }
    let arguments = ["--interval", "50ms", "-w", "src/**/*.py", "--", "sleep", "600"];
    let mut session = sandbox.start_with(arguments, |command| {
        command.env("HOME", sandbox.beside().join("home")).env_remove("XDG_CONFIG_HOME");
    });
    session.wait_armed(1);
    for (_, name) in &rules {
        sandbox.write(format!("src/{name}"), "two, ignored");
    }
    sandbox.write("src/fence.py", "");
    assert_restart(&mut session, 2, &["fence.py"]);
    for (generation, (file, name)) in (3..).zip(&rules) {
        // No event tells of it: it is looked at once an interval.
        fs::write(file, "# nothing is ignored").unwrap();
        sandbox.write(format!("src/{name}"), "three, counts");
        assert_restart(&mut session, generation, &[name]);
    }
    session.stop();
}

#[test]
fn a_repository_that_begins_here_leaves_the_rules_above_behind() {
    let sandbox = Sandbox::new();
    sandbox.write(".gitignore", "*\n");
    sandbox.write("p/a.py", "one");
    run(&sandbox, "git", &["init", "-q"]);
    let explained = |expected: &str| {
        let output = sandbox.command(["-C", "p", "-w", "*.py", "--explain", "a.py"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(expected), "{said}");
    };
    explained("does nothing: '*' in ");
    run(&sandbox, "git", &["-C", "p", "init", "-q"]);
    explained("leads to a restart: -w '*.py'");
}

#[test]
fn an_ignore_file_that_cannot_be_honoured_is_said_once() {
    let sandbox = Sandbox::new();
    let large = sandbox.write(".gitignore", "ignored.py\n");
    fs::File::options().append(true).open(large).unwrap().set_len(100 << 20).unwrap();
    sandbox.write("ignored.py", "one");
    let mut session = watch(&sandbox, "inotify", &["-w", "*.py"]);
    let said = session.wait_where("degraded", |event| event["message"].as_str().unwrap().contains(".gitignore"));
    assert_eq!(said["kind"], "ignore_file_too_large", "{said}");
    sandbox.write("ignored.py", "two");
    assert_fence(&sandbox, &mut session, 2);
    assert_fence(&sandbox, &mut session, 3);
    assert_eq!(session.stop().count("degraded"), 1);
}

#[test]
fn an_ignore_file_that_cannot_be_read_is_said() {
    let sandbox = Sandbox::new();
    sandbox.write("a.py", "");
    let path = sandbox.write(".gitignore", "a.py\n");
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    let readable = "if cat .gitignore; then echo 'everything can be read here' >&2; exit 1; fi >/dev/null 2>&1";
    let arguments = ["-w", "*.py", "--", "sleep", "600"];
    let mut session = match Namespace::of_no_privileges(readable).start(&sandbox, &arguments) {
        Ok(session) => session,
        Err(reason) => return left_out(&format!("an unreadable ignore file: {reason}")),
    };
    let said = session.wait_where("degraded", |event| event["message"].as_str().unwrap().contains(".gitignore"));
    assert!(said["message"].as_str().unwrap().contains("cannot be read (permission denied)"), "{said}");
    session.stop();
}
