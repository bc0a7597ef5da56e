//! Created and removed files and directories: deep directories created at once, roots and names that do not exist yet,
//! roots deleted and created again, moves in, out and across.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::watched::{
    assert_fence, assert_restart, assert_run, on_every_backend, paths, watch, watch_reading, watch_without_restarts,
};
use crate::support::{Sandbox, Session};

/// The number of new deep paths created in a row before the test waits for all of them.
const ROW: usize = 100;

/// Files that were created without a pause, and how often each was reported.
#[derive(Default)]
struct Made {
    named: BTreeMap<String, usize>,
    /// Those whose writer paused with an empty file for nearly 100 ms: they may be reported twice.
    slow: Vec<String>,
}

impl Made {
    /// Creates a new file in new directories.
    fn make(&mut self, sandbox: &Sandbox, name: &str) {
        let path = sandbox.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let begin = Instant::now();
        fs::write(&path, "new").unwrap();
        let path = path.to_str().unwrap().to_owned();
        if begin.elapsed() > Duration::from_millis(80) {
            self.slow.push(path.clone());
        }
        self.named.insert(path, 0);
    }

    /// Waits until every file was reported, each exactly once.
    fn wait(&mut self, session: &mut Session) {
        while self.named.values().any(|count| *count == 0) {
            for path in paths(&session.wait("changed")) {
                *self.named.get_mut(&path).unwrap_or_else(|| panic!("{path} was never made")) += 1;
            }
        }
        let twice: Vec<_> =
            self.named.iter().filter(|(path, count)| **count > 1 && !self.slow.contains(path)).collect();
        assert!(twice.is_empty(), "named twice: {twice:?}\n{}", session.account());
    }
}

on_every_backend! {
    fn no_file_written_at_once_into_new_deep_directories_is_lost(backend) {
        let rows = if backend == "inotify" { 30 } else { 3 };
        let sandbox = Sandbox::new();
        let mut session = watch_without_restarts(&sandbox, backend, &["-w", "*.py"]);
        let mut made = Made::default();
        for row in 0..rows {
            for trial in 0..ROW {
                made.make(&sandbox, &format!("row{row}/trial{trial}/a/b/c/x.py"));
            }
            made.wait(&mut session);
        }
        assert_eq!(made.named.len(), rows * ROW);
        session.stop();
    }

    fn a_file_written_at_once_into_new_deep_directories_is_one_restart(backend) {
        // From the sixth restart for new files on, each is delayed, so each session has five.
        let (sessions, rounds) = (if backend == "poll" { 1 } else { 6 }, 5);
        for _ in 0..sessions {
            let sandbox = Sandbox::new();
            let last = format!("d{rounds}/a/b/c/x.py");
            let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &[&last]);
            for round in 1..=rounds {
                sandbox.write(format!("d{round}/a/b/c/x.py"), "deep");
                assert_run(&mut session, round + 1, &["x.py"], &[if round == rounds { "deep" } else { "" }]);
            }
            assert_fence(&sandbox, &mut session, rounds + 2);
            session.stop();
        }
    }

    fn a_root_of_which_several_levels_are_missing_is_waited_for(backend) {
        let sandbox = Sandbox::new();
        let root = sandbox.beside().join("not/yet/there");
        let pattern = format!("{}/**/*.py", root.display());
        let file = root.join("sub/x.py");
        let mut session = watch_reading(&sandbox, backend, &["-w", &pattern, "-w", "fence.py"], &[file.to_str().unwrap()]);
        fs::create_dir(sandbox.beside().join("not")).unwrap();
        assert_fence(&sandbox, &mut session, 2);
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(&file, "there").unwrap();
        assert_run(&mut session, 3, &["x.py"], &["there"]);
        // The parents are removed and created as well.
        fs::remove_dir_all(sandbox.beside().join("not")).unwrap();
        assert_run(&mut session, 4, &["x.py"], &[""]);
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(&file, "there again").unwrap();
        assert_run(&mut session, 5, &["x.py"], &["there again"]);
        fs::rename(sandbox.beside().join("not"), sandbox.beside().join("moved")).unwrap();
        assert_run(&mut session, 6, &["x.py"], &[""]);
        fs::rename(sandbox.beside().join("moved"), sandbox.beside().join("not")).unwrap();
        assert_run(&mut session, 7, &["x.py"], &["there again"]);
        assert_fence(&sandbox, &mut session, 8);
        session.stop();
    }

    fn a_directory_far_above_a_root_that_is_swapped_for_another_is_followed(backend) {
        let sandbox = Sandbox::new();
        let releases = sandbox.beside().join("releases");
        for name in ["current", "next"] {
            fs::create_dir_all(releases.join(name).join("etc/app")).unwrap();
            fs::write(releases.join(name).join("etc/app/x.toml"), name).unwrap();
        }
        let file = releases.join("current/etc/app/x.toml");
        let pattern = format!("{}/*.toml", file.parent().unwrap().display());
        // A symlink leads there as well.
        std::os::unix::fs::symlink(&file, sandbox.path("link.toml")).unwrap();
        let arguments = ["-w", &pattern, "-w", "link.toml;fence.py"];
        let mut session = watch_reading(&sandbox, backend, &arguments, &[file.to_str().unwrap()]);
        fs::rename(releases.join("current"), releases.join("former")).unwrap();
        fs::rename(releases.join("next"), releases.join("current")).unwrap();
        assert_run(&mut session, 2, &["x.toml", "link.toml"], &["next"]);
        fs::write(releases.join("former/etc/app/x.toml"), "nobody looks here any more").unwrap();
        assert_fence(&sandbox, &mut session, 3);
        fs::write(&file, "edited").unwrap();
        assert_restart(&mut session, 4, &["x.toml", "link.toml"]);
        session.stop();
    }

    fn a_named_file_of_which_several_levels_are_missing_is_waited_for(backend) {
        let sandbox = Sandbox::new();
        let name = "etc/app/conf.d/app.toml";
        let mut session = watch_reading(&sandbox, backend, &["-w", name, "-w", "fence.py"], &[name]);
        sandbox.write("etc/other.toml", "not named");
        fs::create_dir_all(sandbox.path("etc/app")).unwrap();
        assert_fence(&sandbox, &mut session, 2);
        sandbox.write(name, "there");
        assert_run(&mut session, 3, &["app.toml"], &["there"]);
        sandbox.write("etc/app/conf.d/other.toml", "not named");
        fs::remove_file(sandbox.path(name)).unwrap();
        assert_run(&mut session, 4, &["app.toml"], &[""]);
        fs::remove_dir_all(sandbox.path("etc")).unwrap();
        sandbox.write(name, "there again");
        assert_run(&mut session, 5, &["app.toml"], &["there again"]);
        fs::remove_dir_all(sandbox.path("etc")).unwrap();
        sandbox.write(name, "and again");
        assert_run(&mut session, 6, &["app.toml"], &["and again"]);
        assert_fence(&sandbox, &mut session, 7);
        session.stop();
    }

    fn a_parent_that_is_removed_and_created_again_within_one_generation_is_followed(backend) {
        let sandbox = Sandbox::new();
        let name = "etc/app/conf.d/app.toml";
        let mut session = watch_without_restarts(&sandbox, backend, &["-w", name, "-w", "src/**/*.py"]);
        let mut expect = |path: &str| {
            let changed = session.wait("changed");
            assert_eq!(paths(&changed), [sandbox.path(path).to_str().unwrap()], "{}", session.account());
        };
        for round in 0..5 {
            sandbox.write(name, format!("round {round}"));
            expect(name);
            sandbox.write("src/a/b/x.py", format!("round {round}"));
            expect("src/a/b/x.py");
            fs::remove_dir_all(sandbox.path("etc")).unwrap();
            expect(name);
            fs::remove_dir_all(sandbox.path("src")).unwrap();
            expect("src/a/b/x.py");
        }
        session.stop();
    }

    fn a_root_deleted_created_again_and_written_at_once_is_one_restart(backend) {
        let rounds = if backend == "poll" { 5 } else { 50 };
        let sandbox = Sandbox::new();
        sandbox.write("src/x.py", "0");
        let mut session = watch_reading(&sandbox, backend, &["-w", "src/**/*.py;fence.py"], &["src/x.py"]);
        for round in 1..=rounds {
            fs::remove_dir_all(sandbox.path("src")).unwrap();
            let content = round.to_string();
            sandbox.write("src/x.py", &content);
            assert_run(&mut session, round + 1, &["x.py"], &[&content]);
        }
        assert_fence(&sandbox, &mut session, rounds + 2);
        session.stop();
    }

    fn a_root_deleted_created_again_and_written_at_once_is_reported_within_one_generation(backend) {
        let rounds = if backend == "poll" { 5 } else { 50 };
        let sandbox = Sandbox::new();
        sandbox.write("src/sub/x.py", "0");
        let mut session = watch_without_restarts(&sandbox, backend, &["-w", "src/**/*.py"]);
        for round in 1..=rounds {
            fs::remove_dir_all(sandbox.path("src")).unwrap();
            let file = sandbox.write("src/sub/x.py", round.to_string());
            let changed = session.wait("changed");
            assert_eq!(paths(&changed), [file.to_str().unwrap()], "round {round}\n{}", session.account());
        }
        session.stop();
    }

    fn the_directory_itself_deleted_and_created_again_is_watched_again(backend) {
        let sandbox = Sandbox::new();
        let root = sandbox.path("project");
        fs::create_dir(&root).unwrap();
        let file = root.join("x.py");
        fs::write(&file, "0").unwrap();
        let directory = root.to_str().unwrap();
        let mut session = watch_without_restarts(&sandbox, backend, &["-w", &format!("{directory}/**/*.py")]);
        for round in 1..=5 {
            fs::rename(&root, sandbox.path("former")).unwrap();
            fs::create_dir(&root).unwrap();
            fs::write(&file, round.to_string()).unwrap();
            assert_eq!(paths(&session.wait("changed")), [file.to_str().unwrap()], "{}", session.account());
            fs::remove_dir_all(sandbox.path("former")).unwrap();
        }
        session.stop();
    }

    fn a_file_renamed_across_two_watched_directories_is_one_restart_with_two_changes(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("one/x.py", "x");
        sandbox.write("two/y.py", "y");
        let mut session = watch_reading(&sandbox, backend, &["-w", "one/*.py;two/*.py;fence.py"], &["one/x.py", "two/x.py"]);
        fs::rename(sandbox.path("one/x.py"), sandbox.path("two/x.py")).unwrap();
        assert_run(&mut session, 2, &["x.py", "x.py"], &["", "x"]);
        fs::rename(sandbox.path("two/x.py"), sandbox.path("one/x.py")).unwrap();
        assert_run(&mut session, 3, &["x.py", "x.py"], &["x", ""]);
        // Renamed over another file: that file is modified, and the old name is deleted.
        fs::rename(sandbox.path("one/x.py"), sandbox.path("two/y.py")).unwrap();
        assert_restart(&mut session, 4, &["x.py", "y.py"]);
        assert_fence(&sandbox, &mut session, 5);
        session.stop();
    }

    fn a_directory_moved_in_out_edited_there_and_back_is_one_restart_each(backend) {
        let sandbox = Sandbox::new();
        let outside = sandbox.beside().join("outside");
        fs::create_dir_all(outside.join("deep")).unwrap();
        fs::write(outside.join("deep/x.py"), "made outside").unwrap();
        let inside = sandbox.path("pkg");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &["pkg/deep/x.py"]);
        let mut generation = 1;
        let mut content = "made outside".to_owned();
        for round in 0..3 {
            fs::rename(&outside, &inside).unwrap();
            generation += 1;
            assert_run(&mut session, generation, &["x.py"], &[&content]);
            fs::write(inside.join("deep/x.py"), format!("edited inside {round}")).unwrap();
            generation += 1;
            assert_run(&mut session, generation, &["x.py"], &[&format!("edited inside {round}")]);
            fs::rename(&inside, &outside).unwrap();
            generation += 1;
            assert_run(&mut session, generation, &["x.py"], &[""]);
            content = format!("edited outside {round}");
            fs::write(outside.join("deep/x.py"), &content).unwrap();
            generation += 1;
            assert_fence(&sandbox, &mut session, generation);
            // Two seconds without a change end the series of restarts, which would be delayed from the sixth on.
            std::thread::sleep(Duration::from_millis(2100));
        }
        session.stop();
    }

    fn a_directory_moved_out_is_no_longer_watched_within_one_generation(backend) {
        let sandbox = Sandbox::new();
        let outside = sandbox.beside().join("outside");
        let inside = sandbox.path("pkg");
        let file = sandbox.write("pkg/deep/x.py", "0");
        let fence = sandbox.path("fence.py");
        let mut session = watch_without_restarts(&sandbox, backend, &["-w", "*.py"]);
        let mut expect = |path: &Path| {
            let changed = session.wait("changed");
            assert_eq!(paths(&changed), [path.to_str().unwrap()], "{}", session.account());
        };
        for round in 0..3 {
            fs::rename(&inside, &outside).unwrap();
            expect(&file);
            fs::write(outside.join("deep/x.py"), format!("edited outside {round}")).unwrap();
            fs::write(outside.join("new.py"), "made outside").unwrap();
            fs::write(&fence, round.to_string()).unwrap();
            expect(&fence);
            fs::remove_file(outside.join("new.py")).unwrap();
            fs::rename(&outside, &inside).unwrap();
            expect(&file);
            fs::write(&file, format!("edited inside {round}")).unwrap();
            expect(&file);
        }
        session.stop();
    }
}

#[test]
fn a_file_at_any_depth_is_found_while_others_are_created_and_removed() {
    let sandbox = Sandbox::new();
    let mut session = watch_without_restarts(&sandbox, "inotify", &["-w", "*.py"]);
    let mut made = Made::default();
    for round in 0..20 {
        for depth in 1..10 {
            let gone: String = (0..depth).map(|level| format!("gone{level}/")).collect();
            sandbox.write(format!("{gone}y.txt"), "does not count");
            let path: String = (0..depth).map(|level| format!("r{round}_{level}/")).collect();
            made.make(&sandbox, &format!("{path}x.py"));
            fs::remove_dir_all(sandbox.path("gone0")).unwrap();
        }
        made.wait(&mut session);
    }
    session.stop();
}

#[test]
fn other_files_in_a_directory_that_is_watched_for_a_missing_root_do_not_count() {
    let sandbox = Sandbox::new();
    let mut session = watch(&sandbox, "inotify", &["-w", "missing/*.py;fence.py"]);
    sandbox.write("x.py", "beside, not below");
    sandbox.write("missed/x.py", "another name");
    assert_fence(&sandbox, &mut session, 2);
    sandbox.write("missing/x.py", "it");
    assert_restart(&mut session, 3, &["x.py"]);
    session.stop();
}
