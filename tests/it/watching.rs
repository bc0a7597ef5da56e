//! What counts as a change, on all three backends.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use crate::support::Sandbox;
use crate::support::watched::{assert_fence, assert_restart, names, on_every_backend, set_time, watch};

on_every_backend! {
    fn a_save_in_place_and_a_save_by_rename_are_one_restart_each(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("app.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        sandbox.write("app.py", "two, longer");
        assert_restart(&mut session, 2, &["app.py"]);
        sandbox.write("app.py.new", "three");
        fs::rename(sandbox.path("app.py.new"), sandbox.path("app.py")).unwrap();
        assert_restart(&mut session, 3, &["app.py"]);
        assert_fence(&sandbox, &mut session, 4);
        assert_eq!(session.stop().count("started"), 4);
    }

    fn created_deleted_and_touched_files_count(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("app.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        sandbox.write("new.py", "new");
        assert_restart(&mut session, 2, &["new.py"]);
        fs::remove_file(sandbox.path("new.py")).unwrap();
        assert_restart(&mut session, 3, &["new.py"]);
        set_time(&sandbox.path("app.py"), SystemTime::now());
        assert_restart(&mut session, 4, &["app.py"]);
        session.stop();
    }

    fn an_older_time_counts_and_chmod_open_and_read_do_not(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("app.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        set_time(&sandbox.path("app.py"), SystemTime::now() - Duration::from_secs(86_400));
        assert_restart(&mut session, 2, &["app.py"]);
        fs::set_permissions(sandbox.path("app.py"), fs::Permissions::from_mode(0o600)).unwrap();
        drop(File::options().read(true).write(true).open(sandbox.path("app.py")).unwrap());
        sandbox.read("app.py");
        assert_fence(&sandbox, &mut session, 3);
        session.stop();
    }

    fn a_file_in_just_created_directories_is_found(backend) {
        let sandbox = Sandbox::new();
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        sandbox.write("a/b/c/x.py", "deep");
        assert_restart(&mut session, 2, &["x.py"]);
        sandbox.write("a/b/c/x.py", "deeper still");
        assert_restart(&mut session, 3, &["x.py"]);
        session.stop();
    }

    fn a_directory_that_moves_in_moves_within_and_moves_out_counts(backend) {
        let sandbox = Sandbox::new();
        let outside = sandbox.beside().join("outside");
        fs::create_dir_all(outside.join("deep")).unwrap();
        fs::write(outside.join("deep/x.py"), "x").unwrap();
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        fs::rename(&outside, sandbox.path("inside")).unwrap();
        assert_restart(&mut session, 2, &["x.py"]);
        fs::rename(sandbox.path("inside"), sandbox.path("elsewhere")).unwrap();
        session.wait_armed(3);
        sandbox.write("elsewhere/deep/x.py", "seen under its new name");
        assert_restart(&mut session, 4, &["x.py"]);
        fs::rename(sandbox.path("elsewhere"), &outside).unwrap();
        assert_restart(&mut session, 5, &["x.py"]);
        session.stop();
    }

    fn ignored_files_do_not_count_unless_they_are_named(backend) {
        let sandbox = Sandbox::new();
        sandbox.write(".gitignore", "build/\n*.gen.py\n.env\n");
        sandbox.write("build/x.py", "");
        sandbox.write("node_modules/m/x.py", "");
        let mut session = watch(&sandbox, backend, &["-w", "*.py;.env;build/kept.py", "-i", "tests"]);
        for ignored in ["build/x.py", "node_modules/m/x.py", "x.gen.py", "tests/x.py", "sub/tests/y.py", "notes.txt", ".x.py.swp"] {
            sandbox.write(ignored, "changed");
        }
        assert_fence(&sandbox, &mut session, 2);
        sandbox.write(".env", "A=1");
        assert_restart(&mut session, 3, &[".env"]);
        sandbox.write("build/kept.py", "named");
        assert_restart(&mut session, 4, &["kept.py"]);
        sandbox.write("build/x.py", "changed again");
        assert_fence(&sandbox, &mut session, 5);
        session.stop();
    }

    fn nested_ignore_files_apply_with_their_negations(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("sub/.gitignore", "*.py\n!kept.py\n");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        sandbox.write("sub/x.py", "ignored");
        assert_fence(&sandbox, &mut session, 2);
        sandbox.write("sub/kept.py", "kept");
        assert_restart(&mut session, 3, &["kept.py"]);
        session.stop();
    }

    fn a_changed_ignore_file_applies_in_the_next_generation(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("x.py", "");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        sandbox.write(".gitignore", "x.py\n");
        assert_fence(&sandbox, &mut session, 2);
        sandbox.write("x.py", "ignored by now");
        assert_fence(&sandbox, &mut session, 3);
        session.stop();
    }

    fn without_patterns_everything_counts_that_is_not_ignored(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("sub/page.html", "");
        let mut session = watch(&sandbox, backend, &[]);
        sandbox.write("sub/page.html", "changed");
        assert_restart(&mut session, 2, &["page.html"]);
        sandbox.write("app.log", "own output");
        sandbox.write("__pycache__/x.pyc", "own output");
        assert_fence(&sandbox, &mut session, 3);
        session.stop();
    }

    fn patterns_reach_outside_of_the_directory(backend) {
        let sandbox = Sandbox::new();
        let other = sandbox.beside().join("other");
        fs::create_dir_all(other.join("sub")).unwrap();
        let absolute = format!("{}/*.toml", other.display());
        let mut session = watch(&sandbox, backend, &["-w", &absolute, "-w", "../lib/**", "-w", "*.py"]);
        fs::write(other.join("app.toml"), "x").unwrap();
        assert_restart(&mut session, 2, &["app.toml"]);
        fs::write(other.join("sub/not.toml"), "x").unwrap();
        assert_fence(&sandbox, &mut session, 3);
        fs::create_dir_all(sandbox.beside().join("lib/deep")).unwrap();
        fs::write(sandbox.beside().join("lib/deep/x.c"), "a directory that was not there").unwrap();
        assert_restart(&mut session, 4, &["x.c"]);
        session.stop();
    }

    fn a_name_that_does_not_exist_yet_counts_when_it_is_created(backend) {
        let sandbox = Sandbox::new();
        let mut session = watch(&sandbox, backend, &["-w", "conf/d/app.toml;later"]);
        sandbox.write("conf/d/app.toml", "at last");
        assert_restart(&mut session, 2, &["app.toml"]);
        sandbox.write("later/any.thing", "a directory, as it turns out");
        assert_restart(&mut session, 3, &["any.thing"]);
        fs::remove_dir_all(sandbox.path("conf")).unwrap();
        assert_restart(&mut session, 4, &["app.toml"]);
        sandbox.write("conf/d/app.toml", "again");
        assert_restart(&mut session, 5, &["app.toml"]);
        session.stop();
    }

    fn a_root_that_is_deleted_and_created_again_is_watched_again(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("src/x.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "src/**/*.py"]);
        fs::remove_dir_all(sandbox.path("src")).unwrap();
        assert_restart(&mut session, 2, &["x.py"]);
        sandbox.write("src/x.py", "two");
        assert_restart(&mut session, 3, &["x.py"]);
        sandbox.write("src/sub/y.py", "three");
        assert_restart(&mut session, 4, &["y.py"]);
        session.stop();
    }

    fn a_symlinked_file_and_a_symlinked_directory_are_followed(backend) {
        let sandbox = Sandbox::new();
        let shared = sandbox.beside().join("shared");
        fs::create_dir_all(shared.join("pkg")).unwrap();
        fs::write(shared.join("one.py"), "1").unwrap();
        fs::write(shared.join("two.py"), "2").unwrap();
        fs::write(shared.join("pkg/x.py"), "x").unwrap();
        symlink(shared.join("one.py"), sandbox.path("link.py")).unwrap();
        symlink(shared.join("pkg"), sandbox.path("pkg")).unwrap();
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        fs::write(shared.join("one.py"), "changed behind the link").unwrap();
        assert_restart(&mut session, 2, &["link.py"]);
        symlink(shared.join("two.py"), sandbox.path("link.new")).unwrap();
        fs::rename(sandbox.path("link.new"), sandbox.path("link.py")).unwrap();
        assert_restart(&mut session, 3, &["link.py"]);
        fs::write(shared.join("pkg/x.py"), "changed behind the directory").unwrap();
        assert_restart(&mut session, 4, &["x.py"]);
        fs::write(shared.join("one.py"), "nobody links here any more").unwrap();
        assert_fence(&sandbox, &mut session, 5);
        session.stop();
    }

    fn a_symlink_to_a_directory_is_followed_when_it_changes(backend) {
        let sandbox = Sandbox::new();
        let releases = sandbox.beside().join("releases");
        for version in ["v1", "v2"] {
            fs::create_dir_all(releases.join(version)).unwrap();
            fs::write(releases.join(version).join("x.py"), version).unwrap();
        }
        fs::write(releases.join("v1/only.py"), "only in v1").unwrap();
        symlink("v1", releases.join("latest")).unwrap();
        symlink(releases.join("latest"), sandbox.path("current")).unwrap();
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        symlink("v2", releases.join("new")).unwrap();
        fs::rename(releases.join("new"), releases.join("latest")).unwrap();
        assert_restart(&mut session, 2, &["only.py", "x.py"]);
        fs::write(releases.join("v2/x.py"), "edited in v2").unwrap();
        assert_restart(&mut session, 3, &["x.py"]);
        session.stop();
    }

    fn a_file_behind_a_symlink_is_found_again_when_its_directory_is_swapped(backend) {
        let sandbox = Sandbox::new();
        let real = sandbox.beside().join("real");
        for (name, content) in [("conf", "old"), ("new", "the new one")] {
            fs::create_dir_all(real.join(name)).unwrap();
            fs::write(real.join(name).join("app.toml"), content).unwrap();
        }
        symlink(real.join("conf/app.toml"), sandbox.path("app.toml")).unwrap();
        symlink(sandbox.beside().join("secrets/env"), sandbox.path(".env")).unwrap();
        let mut session = watch(&sandbox, backend, &["-w", "*.toml;.env;fence.py"]);
        fs::rename(real.join("conf"), real.join("old")).unwrap();
        fs::rename(real.join("new"), real.join("conf")).unwrap();
        assert_restart(&mut session, 2, &["app.toml"]);
        fs::write(real.join("conf/app.toml"), "and edited").unwrap();
        assert_restart(&mut session, 3, &["app.toml"]);
        fs::create_dir(sandbox.beside().join("secrets")).unwrap();
        fs::write(sandbox.beside().join("secrets/env"), "A=1").unwrap();
        assert_restart(&mut session, 4, &[".env"]);
        assert_fence(&sandbox, &mut session, 5);
        session.stop();
    }

    fn symlinks_to_the_root_directory_and_to_their_own_directory_are_not_followed(backend) {
        let sandbox = Sandbox::new();
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        symlink("/", sandbox.path("everything")).unwrap();
        symlink(".", sandbox.path("loop")).unwrap();
        assert_fence(&sandbox, &mut session, 2);
        session.stop();
    }

    fn files_of_reloadrun_in_the_watched_directory_do_not_count(backend) {
        let sandbox = Sandbox::new();
        let lockfile = sandbox.path("it.lock");
        let mut session = watch(&sandbox, backend, &["--interval", "30ms", "--lockfile", lockfile.to_str().unwrap()]);
        for generation in 2..5 {
            assert_fence(&sandbox, &mut session, generation);
        }
        session.stop();
    }

    fn a_hard_link_counts_and_so_does_a_name_that_is_not_utf8(backend) {
        use std::os::unix::ffi::OsStrExt;
        let sandbox = Sandbox::new();
        fs::write(sandbox.beside().join("origin"), "x").unwrap();
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        fs::hard_link(sandbox.beside().join("origin"), sandbox.path("linked.py")).unwrap();
        assert_restart(&mut session, 2, &["linked.py"]);
        fs::write(sandbox.root().join(std::ffi::OsStr::from_bytes(b"\xff.py")), "x").unwrap();
        assert_restart(&mut session, 3, &["\u{fffd}.py"]);
        session.stop();
    }

    fn a_signal_instead_of_a_restart_leaves_the_command_running(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("app.toml", "one");
        let script = "trap 'echo got HUP' HUP; trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
        let mut session = sandbox.start(["--backend", backend, "--interval", "100ms", "-w", "*.toml", "--on-change", "signal:HUP", "--", "sh", "-c", script]);
        session.wait_armed(1);
        session.wait_until("its traps", || session.stdout().starts_with("ready"));
        for round in 1..=3 {
            sandbox.write("app.toml", format!("round {round}"));
            let changed = session.wait("changed");
            assert_eq!((changed["action"].as_str(), changed["generation"].as_u64()), (Some("signal:SIGHUP"), Some(1)));
            session.wait_until("the signal", || session.stdout().matches("got HUP").count() == round);
        }
        let ended = session.stop();
        assert_eq!((ended.count("started"), ended.count("changed")), (1, 3), "{ended:#?}");
        assert!(ended.stderr.contains("app.toml changed (-w '*.toml'); sent SIGHUP"), "{}", ended.stderr);
    }
}

#[test]
fn a_save_before_its_watch_exists_and_one_during_a_stop_are_followed_by_a_start() {
    let sandbox = Sandbox::new();
    for number in 0..2000 {
        sandbox.write(format!("d{number}/x.py"), "");
    }
    let last = sandbox.write("d1999/last.py", "one");
    let script = "cat d1999/last.py; trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done";
    let mut session = sandbox.start(["-w", "*.py", "--", "sh", "-c", script]);
    session.wait_started(1);
    fs::write(&last, "two").unwrap();
    session.wait_started(2);
    session.wait_until("the content saved in the gap", || session.stdout().ends_with("two"));
    session.wait_where("watching", |seen| seen["generation"] == 2);
    fs::write(&last, "three").unwrap();
    session.wait_where("stopping", |seen| seen["generation"] == 2);
    fs::write(&last, "four").unwrap();
    session.wait_armed(3);
    session.wait_until("the content saved during the stop", || session.stdout().ends_with("four"));
    assert_eq!(session.stop().count("started"), 3);
}

#[test]
fn a_program_that_is_written_longer_than_the_limit_is_started_again_when_it_is_complete() {
    let sandbox = Sandbox::new();
    let tool = sandbox.script("tool.sh", "echo run; exec sleep 600");
    let mut session = sandbox.start(["-w", "*.sh", "--", "./tool.sh"]);
    session.wait_armed(1);
    session.wait_until("the first run", || session.stdout() == "run\n");
    let mut file = File::options().append(true).open(&tool).unwrap();
    file.write_all(b"# more\n").unwrap();
    let exited = session.wait("exited");
    assert_eq!((exited["generation"].as_u64(), exited["code"].as_u64()), (Some(2), Some(126)), "text file busy");
    drop(file);
    session.wait_started(3);
    session.wait_until("the second run", || session.stdout() == "run\nrun\n");
    session.stop();
}

#[test]
fn a_directory_created_while_the_watches_are_set_up_is_the_only_change() {
    let sandbox = Sandbox::new();
    for number in 0..3000 {
        sandbox.write(format!("d{number}/x.py"), "");
    }
    let mut session = sandbox.start(["-w", "*.py", "--", "sleep", "600"]);
    session.wait_started(1);
    sandbox.write("a_new/one/y.py", "y");
    let started = session.wait_armed(2);
    assert!(names(&started) == ["y.py"], "{} files", names(&started).len());
    assert_fence(&sandbox, &mut session, 3);
    session.stop();
}

#[test]
fn after_a_directory_above_the_watched_one_is_replaced_saves_still_count() {
    let sandbox = Sandbox::new();
    for (name, content) in [("x/way/a/b/c.toml", "1"), ("x/new/a/b/c.toml", "2"), ("x/third/a/b/d.toml", "3")] {
        sandbox.write(name, content);
    }
    let arguments = ["--interval", "100ms", "-w", "x/way/a/b/*.toml", "--", "sleep", "1000"];
    let mut session = sandbox.start(arguments);
    session.wait_armed(1);
    std::fs::rename(sandbox.path("x/way"), sandbox.path("x/old")).unwrap();
    std::fs::rename(sandbox.path("x/new"), sandbox.path("x/way")).unwrap();
    assert_restart(&mut session, 2, &["c.toml"]);
    sandbox.write("x/way/a/b/c.toml", "22");
    assert_restart(&mut session, 3, &["c.toml"]);
    std::fs::rename(sandbox.path("x/way"), sandbox.path("x/older")).unwrap();
    std::fs::rename(sandbox.path("x/third"), sandbox.path("x/way")).unwrap();
    assert_restart(&mut session, 4, &["c.toml", "d.toml"]);
    session.stop().assert_code(143);
}
