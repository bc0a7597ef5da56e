//! Ignore files: which of them apply, and from when on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::ends::left_out;
use crate::support::Sandbox;
use crate::support::namespace::Namespace;
use crate::support::watched::{assert_fence, assert_restart, on_every_backend, run, watch};

on_every_backend! {
    fn an_edited_gitignore_applies_at_once(backend) {
        let sandbox = Sandbox::new();
        sandbox.write(".gitignore", "out.py\nbuild/\n");
        sandbox.write("out.py", "one");
        sandbox.write("build/deep/x.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        sandbox.write("out.py", "two, ignored");
        sandbox.write("build/deep/x.py", "two, ignored");
        assert_fence(&sandbox, &mut session, 2);
        // An edit of the rules does not cause a restart.
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

    fn a_save_right_after_an_edit_of_the_rules_counts_in_the_same_generation(backend) {
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

    fn a_gitignore_that_is_watched_itself_causes_a_restart(backend) {
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
fn edited_rules_outside_of_the_watched_directories_apply() {
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
        // There is no event for this file; it is checked once an interval.
        fs::write(file, "# nothing is ignored").unwrap();
        sandbox.write(format!("src/{name}"), "three, counts");
        assert_restart(&mut session, generation, &[name]);
    }
    session.stop();
}

#[test]
fn rules_above_do_not_apply_after_git_init() {
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
fn an_ignore_file_that_cannot_be_used_is_reported_once() {
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
fn an_ignore_file_that_cannot_be_read_is_reported() {
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
