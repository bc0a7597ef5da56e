//! One file, saved in all styles of editors and tools: one restart each, with the new content and the right file name.
//! And operations that are not saves.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use crate::support::watched::{
    assert_fence, assert_restart, assert_run, is_installed, line_read, names, on_every_backend, run, set_time, watch,
    watch_reading,
};
use crate::support::{Sandbox, Session};

/// A session on `app.py` with the content "one", and a second file beside it.
fn edit_app(backend: &str, arguments: &[&str]) -> (Sandbox, Session) {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "one");
    sandbox.write("other.py", "other");
    let mut session = watch_reading(&sandbox, backend, arguments, &["app.py"]);
    // Also checks that the command reads and prints the content.
    sandbox.write("app.py", "two");
    assert_run(&mut session, 2, &["app.py"], &["two"]);
    (sandbox, session)
}

/// Asserts with a fence that there were no more generations.
fn assert_no_more(sandbox: &Sandbox, mut session: Session, generations: u64) {
    assert_fence(sandbox, &mut session, generations + 1);
    assert_eq!(session.stop().count("started") as u64, generations + 1);
}

on_every_backend! {
    fn a_truncated_file_is_waited_for_during_the_pause_of_its_writer(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        let mut generation = 2;
        for pause in [10, 30, 50, 70, 90] {
            generation += 1;
            let mut file = File::create(sandbox.path("app.py")).unwrap();
            // The pause of the writer: nothing may happen in it.
            std::thread::sleep(Duration::from_millis(pause));
            file.write_all(format!("whole after {pause} ms").as_bytes()).unwrap();
            drop(file);
            assert_run(&mut session, generation, &["app.py"], &[&format!("whole after {pause} ms")]);
        }
        assert_no_more(&sandbox, session, generation);
    }

    fn a_file_truncated_and_closed_before_it_is_written_is_waited_for_too(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        drop(File::create(sandbox.path("app.py")).unwrap());
        // A little less than the 100 ms that an incomplete save waits.
        std::thread::sleep(Duration::from_millis(50));
        sandbox.write("app.py", "whole");
        assert_run(&mut session, 3, &["app.py"], &["whole"]);
        assert_no_more(&sandbox, session, 3);
    }

    fn an_append_at_once_or_in_pieces_is_one_restart(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        File::options().append(true).open(sandbox.path("app.py")).unwrap().write_all(b", three").unwrap();
        assert_run(&mut session, 3, &["app.py"], &["two, three"]);
        let mut file = File::options().append(true).open(sandbox.path("app.py")).unwrap();
        for piece in [", four", ", five", ", six"] {
            file.write_all(piece.as_bytes()).unwrap();
            // A writer with pauses between its writes.
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(file);
        assert_run(&mut session, 4, &["app.py"], &["two, three, four, five, six"]);
        assert_no_more(&sandbox, session, 4);
    }

    fn a_write_through_a_mapping_is_one_restart(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        let write = "
import mmap, sys
with open('app.py', 'r+b') as file:
    mapping = mmap.mmap(file.fileno(), 0)
    if sys.argv[1] == 'descriptor first':
        file.close()
    mapping[:] = sys.argv[2].encode()
    mapping.close()
";
        run(&sandbox, "python3", &["-c", write, "mapping first", "new"]);
        assert_run(&mut session, 3, &["app.py"], &["new"]);
        run(&sandbox, "python3", &["-c", write, "descriptor first", "old"]);
        assert_run(&mut session, 4, &["app.py"], &["old"]);
        assert_no_more(&sandbox, session, 4);
    }

    fn the_save_of_a_jetbrains_editor_is_one_restart(backend) {
        for arguments in [&["-w", "*.py"][..], &["-w", "app.py", "-w", "fence.py"], &[]] {
            let (sandbox, mut session) = edit_app(backend, arguments);
            sandbox.write("app.py___jb_tmp___", "three");
            fs::rename(sandbox.path("app.py"), sandbox.path("app.py___jb_old___")).unwrap();
            fs::rename(sandbox.path("app.py___jb_tmp___"), sandbox.path("app.py")).unwrap();
            fs::remove_file(sandbox.path("app.py___jb_old___")).unwrap();
            assert_run(&mut session, 3, &["app.py"], &["three"]);
            assert_no_more(&sandbox, session, 3);
        }
    }

    fn sed_in_place_is_one_restart(backend) {
        // Without patterns, its temporary file would count too if it paused before the rename.
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        run(&sandbox, "sed", &["-i", "s/two/three/", "app.py"]);
        assert_run(&mut session, 3, &["app.py"], &["three"]);
        run(&sandbox, "sed", &["-i.bak~", "s/three/four/", "app.py"]);
        assert_run(&mut session, 4, &["app.py"], &["four"]);
        assert_no_more(&sandbox, session, 4);
    }

    fn an_older_file_copied_with_its_time_is_one_restart(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        let older = sandbox.beside().join("older");
        fs::write(&older, "old").unwrap();
        set_time(&older, SystemTime::now() - Duration::from_secs(86_400));
        run(&sandbox, "cp", &["-p", older.to_str().unwrap(), "app.py"]);
        assert_run(&mut session, 3, &["app.py"], &["old"]);
        // Like rsync: written under a hidden name, the time set, renamed.
        sandbox.write(".app.py.a1B2c3", "eld");
        set_time(&sandbox.path(".app.py.a1B2c3"), SystemTime::now() - Duration::from_secs(172_800));
        fs::rename(sandbox.path(".app.py.a1B2c3"), sandbox.path("app.py")).unwrap();
        assert_run(&mut session, 4, &["app.py"], &["eld"]);
        assert_no_more(&sandbox, session, 4);
    }

    fn touch_is_one_restart_whatever_time_it_sets(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        for (generation, arguments) in
            [(3, &["app.py"][..]), (4, &["-d", "2001-02-03", "app.py"]), (5, &["-m", "app.py"]), (6, &["-r", "other.py", "app.py"])]
        {
            run(&sandbox, "touch", arguments);
            assert_run(&mut session, generation, &["app.py"], &["two"]);
        }
        // A new access time alone is not a change.
        run(&sandbox, "touch", &["-a", "app.py"]);
        assert_no_more(&sandbox, session, 6);
    }

    fn another_content_of_the_same_time_and_size_is_one_restart(backend) {
        let sandbox = Sandbox::new();
        let app = sandbox.write("app.py", "aaa");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        set_time(&app, time);
        let other = sandbox.beside().join("other");
        let other_path = other.to_str().unwrap();
        let new_inode = |content: &str| {
            fs::remove_file(&app).unwrap();
            // On many file systems it gets the inode number of the deleted file.
            run(&sandbox, "cp", &["-p", other_path, "app.py"]);
            content.to_owned()
        };
        let extract = |content: &str| {
            run(&sandbox, "tar", &["-cf", "../t.tar", "-C", sandbox.beside().to_str().unwrap(), "--transform=s/other/app.py/", "other"]);
            run(&sandbox, "tar", &["-xf", "../t.tar"]);
            content.to_owned()
        };
        let copy = |content: &str| {
            run(&sandbox, "cp", &["-p", other_path, "app.py"]);
            content.to_owned()
        };
        let both_times = |content: &str| {
            fs::write(&app, content).unwrap();
            let times = FileTimes::new().set_accessed(time).set_modified(time);
            File::options().write(true).open(&app).unwrap().set_times(times).unwrap();
            content.to_owned()
        };
        let time_alone = |content: &str| {
            fs::write(&app, content).unwrap();
            set_time(&app, time);
            content.to_owned()
        };
        type Way<'a> = (&'a str, &'a dyn Fn(&str) -> String);
        let ways: [Way<'_>; 5] = [
            ("rm and cp -p", &new_inode), ("tar x", &extract), ("cp -p", &copy), ("both times set", &both_times), ("one time set", &time_alone),
        ];
        // A write into the old inode that keeps time and size is visible only as events.
        let ways = if backend == "poll" { &ways[..2] } else { &ways[..] };
        // Some of these have two steps, which must count as one change.
        let arguments = ["-w", "*.py", "--debounce", "200ms"];
        let mut session = watch_reading(&sandbox, backend, &arguments, &["app.py"]);
        let mut generation = 1;
        for round in 0..2 {
            for (index, (what, make)) in ways.iter().enumerate() {
                let content = format!("{round}{index}x");
                fs::write(&other, &content).unwrap();
                set_time(&other, time);
                let read = make(&content);
                generation += 1;
                let started = session.wait_armed(generation);
                assert_eq!(names(&started), ["app.py"], "{what}: {}", session.account());
                assert_eq!(line_read(&session, generation), format!("{read}|"), "{what}");
                let now = fs::metadata(&app).unwrap();
                assert_eq!((now.modified().unwrap(), now.len()), (time, 3), "{what}");
            }
        }
        assert_no_more(&sandbox, session, generation);
    }

    fn a_file_replaced_by_a_hard_link_is_one_restart(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        let origin = sandbox.beside().join("origin");
        fs::write(&origin, "linked").unwrap();
        run(&sandbox, "ln", &["-f", origin.to_str().unwrap(), "app.py"]);
        assert_run(&mut session, 3, &["app.py"], &["linked"]);
        assert_no_more(&sandbox, session, 3);
    }

    fn a_file_of_two_names_that_count_is_one_restart_when_written_through_either(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        fs::hard_link(sandbox.path("app.py"), sandbox.path("twin.py")).unwrap();
        assert_run(&mut session, 3, &["twin.py"], &["two"]);
        // Only polling sees the change under the other name as well.
        let named = |name| if backend == "poll" { vec!["app.py", "twin.py"] } else { vec![name] };
        sandbox.write("twin.py", "by the twin");
        assert_run(&mut session, 4, &named("twin.py"), &["by the twin"]);
        sandbox.write("app.py", "by itself");
        assert_run(&mut session, 5, &named("app.py"), &["by itself"]);
        assert_no_more(&sandbox, session, 5);
    }

    fn a_write_to_a_file_of_two_names_is_one_restart_also_in_a_tree_that_is_watched_late(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("app.py", "one");
        fs::hard_link(sandbox.path("app.py"), sandbox.path("twin.py")).unwrap();
        for number in 0..150 {
            sandbox.write(format!("many/{number}/file.txt"), "");
        }
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &["app.py"]);
        // With another size, so that Python does not use the old bytecode.
        sandbox.write("app.py", "by itself");
        let named = if backend == "poll" { vec!["app.py", "twin.py"] } else { vec!["app.py"] };
        assert_run(&mut session, 2, &named, &["by itself"]);
        assert_no_more(&sandbox, session, 2);
    }

    fn a_write_through_an_unwatched_hard_link_is_seen_only_by_polling(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        let elsewhere = sandbox.beside().join("elsewhere");
        fs::hard_link(sandbox.path("app.py"), &elsewhere).unwrap();
        fs::write(&elsewhere, "by another name").unwrap();
        if backend == "poll" {
            assert_run(&mut session, 3, &["app.py"], &["by another name"]);
            return assert_no_more(&sandbox, session, 3);
        }
        // The kernel notifies only the directory through which the file was opened.
        assert_fence(&sandbox, &mut session, 3);
        assert_eq!(session.stop().count("started"), 3);
    }

    fn a_symlink_changed_to_another_file_is_one_restart(backend) {
        let sandbox = Sandbox::new();
        for name in ["v1", "v2", "v3"] {
            sandbox.write(format!("versions/{name}"), name);
        }
        symlink("versions/v1", sandbox.path("app.py")).unwrap();
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &["app.py"]);
        symlink("versions/v2", sandbox.path("app.new")).unwrap();
        fs::rename(sandbox.path("app.new"), sandbox.path("app.py")).unwrap();
        assert_run(&mut session, 2, &["app.py"], &["v2"]);
        fs::remove_file(sandbox.path("app.py")).unwrap();
        symlink("versions/v3", sandbox.path("app.py")).unwrap();
        assert_run(&mut session, 3, &["app.py"], &["v3"]);
        sandbox.write("versions/v3", "v3, edited");
        assert_run(&mut session, 4, &["app.py"], &["v3, edited"]);
        sandbox.write("versions/v2", "v2, edited");
        assert_no_more(&sandbox, session, 4);
    }

    fn a_file_renamed_to_another_case_is_one_restart(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("Foo.py", "foo");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &["Foo.py", "foo.py"]);
        fs::rename(sandbox.path("Foo.py"), sandbox.path("foo.py")).unwrap();
        assert_run(&mut session, 2, &["Foo.py", "foo.py"], &["", "foo"]);
        assert_no_more(&sandbox, session, 2);
    }

    fn operations_that_change_no_file_do_not_restart(backend) {
        let sandbox = Sandbox::new();
        let app = sandbox.write("app.py", "one");
        sandbox.write("pkg/x.py", "x");
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        let owner = fs::metadata(&app).unwrap();
        let owner = format!("{}:{}", owner.uid(), owner.gid());
        let time = fs::metadata(&app).unwrap().modified().unwrap();
        let nothings: [(&str, &dyn Fn()); 14] = [
            ("chmod", &|| fs::set_permissions(&app, fs::Permissions::from_mode(0o600)).unwrap()),
            ("chown", &|| run(&sandbox, "chown", &[&owner, "app.py"])),
            ("cat", &|| run(&sandbox, "cat", &["app.py"])),
            ("open to write, and close", &|| drop(File::options().read(true).write(true).open(&app).unwrap())),
            ("grep -r", &|| run(&sandbox, "grep", &["-r", "x", "."])),
            ("ls -lR", &|| run(&sandbox, "ls", &["-lR", "."])),
            ("the same time set again", &|| set_time(&app, time)),
            ("the same times set again, both", &|| run(&sandbox, "touch", &["-r", "app.py", "app.py"])),
            ("another name for it, and none again", &|| {
                fs::hard_link(&app, sandbox.path("link")).unwrap();
                fs::remove_file(sandbox.path("link")).unwrap();
            }),
            ("the time of a directory", &|| run(&sandbox, "touch", &["pkg", "."])),
            ("the mode of a directory", &|| run(&sandbox, "chmod", &["700", "pkg"])),
            ("new directories", &|| fs::create_dir_all(sandbox.path("a/b/c")).unwrap()),
            ("directories that go again", &|| fs::remove_dir_all(sandbox.path("a")).unwrap()),
            ("an ignored name", &|| drop(sandbox.write(".app.py.swp", "swap"))),
        ];
        let mut generation = 1;
        for (what, make) in nothings {
            make();
            generation += 1;
            assert_fence(&sandbox, &mut session, generation);
            assert_eq!(session.starts() as u64, generation, "{what}");
        }
        session.stop();
    }

    fn a_file_moved_away_and_back_within_the_debounce_time_does_not_restart(backend) {
        let sandbox = Sandbox::new();
        let app = sandbox.write("app.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py", "--debounce", "1s"]);
        for generation in 2..5 {
            fs::rename(&app, sandbox.path("away")).unwrap();
            fs::rename(sandbox.path("away"), &app).unwrap();
            assert_fence(&sandbox, &mut session, generation);
        }
        assert_eq!(session.stop().count("started"), 4);
    }

    fn a_file_swapped_for_another_and_back_is_reported_correctly_or_not_at_all(backend) {
        let (sandbox, mut session) = edit_app(backend, &["-w", "*.py"]);
        sandbox.write("another", "three");
        for (from, to) in [("app.py", "away"), ("another", "app.py"), ("app.py", "another"), ("away", "app.py")] {
            fs::rename(sandbox.path(from), sandbox.path(to)).unwrap();
        }
        sandbox.write("other.py", "the fence");
        // The stop of the old command may begin as soon as the other file is whole. Then there is a start without
        // changes, and the fence causes this start or the next.
        let last = session.wait_where("started", |seen| seen["changes"].to_string().contains("other.py"));
        let generation = last["generation"].as_u64().unwrap();
        assert_eq!(line_read(&session, generation), "two|");
        let starts = session.stop().count("started") as u64;
        assert!(starts == generation && starts <= 5, "{starts} starts");
    }
}

#[test]
fn the_save_of_vim_is_one_restart_with_and_without_its_backup() {
    if !is_installed("vim", "the saves of vim") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "one\n");
    let mut session = watch(&sandbox, "inotify", &[]);
    for (generation, options) in
        [(2, "set nobackup nowritebackup"), (3, "set backup backupcopy=no"), (4, "set backupcopy=yes")]
    {
        let edit = format!("normal Gocase {generation}");
        run(&sandbox, "vim", &["-es", "-u", "NONE", "-c", options, "-c", &edit, "-c", "wq", "app.py"]);
        assert_restart(&mut session, generation, &["app.py"]);
    }
    assert_fence(&sandbox, &mut session, 5);
    assert_eq!(session.stop().count("started"), 5);
}

#[test]
fn an_older_file_synced_by_rsync_with_its_time_is_one_restart() {
    if !is_installed("rsync", "the real rsync") {
        return;
    }
    let (sandbox, mut session) = edit_app("inotify", &["-w", "*.py"]);
    let older = sandbox.beside().join("older");
    fs::write(&older, "old, and of another size").unwrap();
    set_time(&older, SystemTime::now() - Duration::from_secs(86_400));
    run(&sandbox, "rsync", &["-t", older.to_str().unwrap(), "app.py"]);
    assert_run(&mut session, 3, &["app.py"], &["old, and of another size"]);
    assert_no_more(&sandbox, session, 3);
}
