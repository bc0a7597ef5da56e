//! Many changes at once, and entries that change their type: git and tar in a tree, directories replaced by symlinks,
//! files replaced by directories.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, Instant, SystemTime};

use crate::support::watched::{
    assert_converges, assert_fence, assert_run, line_read, names, on_every_backend, paths, run, set_time, watch_reading,
};
use crate::support::{Sandbox, Session};

/// How many files a branch changes.
const FILES: usize = 500;

fn git(sandbox: &Sandbox, arguments: &[&str]) {
    let who = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main", "-c", "gc.auto=0"];
    run(sandbox, "git", &[&who, arguments].concat());
}

/// Rewrites every file. The command reads the last one.
fn write_all(sandbox: &Sandbox, content: &str) {
    for number in 0..FILES {
        sandbox.write(format!("d{}/{number}.py", number % 7), format!("{content} {number}"));
    }
}

const LAST: &str = "d2/499.py";

/// A repository with a commit on `main`.
fn repository() -> Sandbox {
    let sandbox = Sandbox::new();
    git(&sandbox, &["init", "-q"]);
    write_all(&sandbox, "main");
    git(&sandbox, &["add", "."]);
    git(&sandbox, &["commit", "-q", "-m", "main"]);
    sandbox
}

/// A branch that changes every file; `main` stays checked out.
fn branch(sandbox: &Sandbox, name: &str) {
    git(sandbox, &["checkout", "-q", "-b", name]);
    write_all(sandbox, name);
    git(sandbox, &["commit", "-q", "-a", "-m", name]);
    git(sandbox, &["checkout", "-q", "main"]);
}

/// How long a burst is waited for after so many files with this longest pause, in nanoseconds.
type Wait = fn(usize, u128) -> u128;

/// How long a burst is waited for after so many files: 1 ms for each of them, up to 20 ms, and beyond that 8 times its longest
/// pause so far, up to 1 ms for each file and 100 ms.
fn wait_of_a_burst(files: usize, longest_pause: u128) -> u128 {
    let most = files as u128 * 1_000_000;
    (longest_pause * 8).clamp(most.min(20_000_000), most.min(100_000_000))
}

/// While git holds its lock.
fn wait_for_git(_: usize, _: u128) -> u128 {
    100_000_000
}

/// How many restarts this burst of writes may cause: one, and one more for each pause in it that was nearly as long as the
/// wait at that point. The pauses are computed from the file times. On an idle machine there are none. Files within 5 ms of a pause belong to the restart that it caused. Ten restarts are too
/// many on any machine.
fn most_restarts(sandbox: &Sandbox, since: SystemTime, wait: Wait) -> usize {
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let mut times: Vec<u128> = (0..FILES)
        .filter_map(|number| fs::metadata(sandbox.path(format!("d{}/{number}.py", number % 7))).ok())
        .map(|metadata| {
            u128::try_from(metadata.ctime()).unwrap() * 1_000_000_000 + u128::try_from(metadata.ctime_nsec()).unwrap()
        })
        .filter(|time| *time >= since)
        .collect();
    times.sort_unstable();
    let (mut so_far, mut longest, mut restarts, mut counted_from) = (1, 0, 1, 0);
    for pair in times.windows(2) {
        if pair[1] < counted_from {
            continue;
        }
        let pause = pair[1] - pair[0];
        if pause > wait(so_far, longest) * 9 / 10 {
            restarts += 1;
            (so_far, longest) = (0, 0);
            counted_from = pair[1] + 5_000_000;
        } else {
            longest = longest.max(pause);
        }
        so_far += 1;
    }
    restarts.min(10)
}

/// Asserts that all files changed, in one restart unless the writer paused, and that the command has read this content.
/// Ends with a fence and returns its generation.
fn assert_burst(
    sandbox: &Sandbox,
    session: &mut Session,
    generation: u64,
    (since, wait): (SystemTime, Wait),
    read: &str,
) -> u64 {
    let most = most_restarts(sandbox, since, wait);
    if most == 1 {
        let started = session.wait_armed(generation);
        assert_eq!(paths(&started).len(), FILES, "{}", session.account());
        assert_eq!(line_read(session, generation), format!("{read}|"));
        assert_fence(sandbox, session, generation + 1);
        return generation + 1;
    }
    // Files saved between two generations need not be reported, but the last command has read all of them.
    let last = assert_converges(sandbox, session, &[read]);
    assert!(last <= generation + most as u64, "{} restarts of {most}\n{}", last - generation, session.account());
    last
}

on_every_backend! {
    fn a_checkout_of_git_is_one_restart(backend) {
        let sandbox = repository();
        branch(&sandbox, "feature");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &[LAST]);
        let since = SystemTime::now() - Duration::from_millis(10);
        git(&sandbox, &["checkout", "-q", "feature"]);
        assert_burst(&sandbox, &mut session, 2, (since, wait_for_git), "feature 499");
        session.stop();
    }

    fn a_command_starts_only_when_git_has_let_go_of_its_lock_or_after_a_tenth_of_a_second(backend) {
        let sandbox = repository();
        let lock = sandbox.path(".git/index.lock");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &[LAST]);
        // As git does it: the lock, the files, the index in place of the lock.
        fs::write(&lock, "").unwrap();
        let before = Instant::now();
        sandbox.write(LAST, "locked");
        assert_run(&mut session, 2, &["499.py"], &["locked"]);
        assert!(before.elapsed() >= Duration::from_millis(100));
        fs::remove_file(&lock).unwrap();
        sandbox.write(LAST, "free");
        assert_run(&mut session, 3, &["499.py"], &["free"]);
        session.stop();
    }

    fn a_stash_of_git_and_its_return_are_one_restart_each(backend) {
        let sandbox = repository();
        write_all(&sandbox, "work");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &[LAST]);
        let since = SystemTime::now() - Duration::from_millis(10);
        git(&sandbox, &["stash", "-q"]);
        let last = assert_burst(&sandbox, &mut session, 2, (since, wait_for_git), "main 499");
        let since = SystemTime::now() - Duration::from_millis(10);
        git(&sandbox, &["stash", "pop", "-q"]);
        assert_burst(&sandbox, &mut session, last + 1, (since, wait_for_git), "work 499");
        session.stop();
    }

    fn a_rebase_of_git_is_one_restart(backend) {
        let sandbox = repository();
        branch(&sandbox, "feature");
        sandbox.write("more.txt", "more");
        git(&sandbox, &["add", "more.txt"]);
        git(&sandbox, &["commit", "-q", "-m", "more"]);
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &[LAST]);
        let since = SystemTime::now() - Duration::from_millis(10);
        git(&sandbox, &["rebase", "-q", "main", "feature"]);
        assert_burst(&sandbox, &mut session, 2, (since, wait_for_git), "feature 499");
        session.stop();
    }

    fn files_deleted_and_created_again_one_by_one_are_one_restart(backend) {
        let sandbox = Sandbox::new();
        write_all(&sandbox, "old");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &[LAST]);
        let since = SystemTime::now() - Duration::from_millis(10);
        for number in 0..FILES {
            let name = format!("d{}/{number}.py", number % 7);
            fs::remove_file(sandbox.path(&name)).unwrap();
            sandbox.write(&name, format!("new {number}"));
        }
        assert_burst(&sandbox, &mut session, 2, (since, wait_of_a_burst), "new 499");
        session.stop();
    }

    fn an_archive_of_older_files_unpacked_over_the_tree_is_one_restart(backend) {
        let sandbox = Sandbox::new();
        write_all(&sandbox, "old");
        for number in 0..FILES {
            set_time(&sandbox.path(format!("d{}/{number}.py", number % 7)), SystemTime::now() - Duration::from_secs(86_400));
        }
        let archive = sandbox.beside().join("archive.tar");
        let archive = archive.to_str().unwrap();
        run(&sandbox, "tar", &["cf", archive, "."]);
        write_all(&sandbox, "new");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &[LAST]);
        let since = SystemTime::now() - Duration::from_millis(10);
        run(&sandbox, "tar", &["xf", archive]);
        assert_burst(&sandbox, &mut session, 2, (since, wait_of_a_burst), "old 499");
        session.stop();
    }

    fn a_directory_replaced_by_a_symlink_and_back_is_one_restart_each(backend) {
        let sandbox = Sandbox::new();
        let elsewhere = sandbox.beside().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("x.py"), "linked").unwrap();
        sandbox.write("pkg/x.py", "own");
        sandbox.write("pkg/gone.py", "own");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &["pkg/x.py"]);
        fs::remove_dir_all(sandbox.path("pkg")).unwrap();
        symlink(&elsewhere, sandbox.path("pkg")).unwrap();
        assert_run(&mut session, 2, &["gone.py", "x.py"], &["linked"]);
        fs::write(elsewhere.join("x.py"), "linked, edited").unwrap();
        assert_run(&mut session, 3, &["x.py"], &["linked, edited"]);
        fs::remove_file(sandbox.path("pkg")).unwrap();
        sandbox.write("pkg/x.py", "own again");
        assert_run(&mut session, 4, &["x.py"], &["own again"]);
        fs::write(elsewhere.join("x.py"), "nobody links here any more").unwrap();
        assert_fence(&sandbox, &mut session, 5);
        sandbox.write("pkg/x.py", "own, edited");
        assert_run(&mut session, 6, &["x.py"], &["own, edited"]);
        session.stop();
    }

    fn a_directory_moved_away_and_a_symlink_put_in_its_place_are_one_restart(backend) {
        let sandbox = Sandbox::new();
        let former = sandbox.beside().join("former");
        sandbox.write("pkg/x.py", "own");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &["pkg/x.py"]);
        fs::rename(sandbox.path("pkg"), &former).unwrap();
        fs::create_dir(sandbox.beside().join("new")).unwrap();
        fs::write(sandbox.beside().join("new/x.py"), "new").unwrap();
        symlink("../new", sandbox.path("pkg")).unwrap();
        assert_run(&mut session, 2, &["x.py"], &["new"]);
        fs::write(former.join("x.py"), "nobody looks here").unwrap();
        assert_fence(&sandbox, &mut session, 3);
        // The new symlink is followed also without a restart in between.
        fs::write(sandbox.beside().join("new/x.py"), "new, edited").unwrap();
        assert_run(&mut session, 4, &["x.py"], &["new, edited"]);
        session.stop();
    }

    fn a_file_replaced_by_a_directory_and_back_is_one_restart_each(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("app.py", "a file");
        let mut session = watch_reading(&sandbox, backend, &["--debounce", "1s", "-w", "*.py"], &["app.py", "app.py/x.py"]);
        fs::remove_file(sandbox.path("app.py")).unwrap();
        sandbox.write("app.py/x.py", "in a directory");
        assert_run(&mut session, 2, &["app.py", "x.py"], &["", "in a directory"]);
        sandbox.write("app.py/x.py", "edited there");
        assert_run(&mut session, 3, &["x.py"], &["", "edited there"]);
        fs::remove_dir_all(sandbox.path("app.py")).unwrap();
        sandbox.write("app.py", "a file again");
        assert_run(&mut session, 4, &["app.py", "x.py"], &["a file again", ""]);
        assert_fence(&sandbox, &mut session, 5);
        session.stop();
    }

    fn a_named_file_replaced_by_a_directory_and_back_is_one_restart_each(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("conf", "a file");
        let mut session = watch_reading(&sandbox, backend, &["--debounce", "1s", "-w", "conf;fence.py"], &["conf", "conf/app.toml"]);
        fs::remove_file(sandbox.path("conf")).unwrap();
        sandbox.write("conf/app.toml", "in a directory");
        assert_run(&mut session, 2, &["conf", "app.toml"], &["", "in a directory"]);
        sandbox.write("conf/app.toml", "edited there");
        assert_run(&mut session, 3, &["app.toml"], &["", "edited there"]);
        fs::remove_dir_all(sandbox.path("conf")).unwrap();
        sandbox.write("conf", "a file again");
        assert_run(&mut session, 4, &["conf", "app.toml"], &["a file again", ""]);
        assert_fence(&sandbox, &mut session, 5);
        session.stop();
    }

    fn a_burst_of_new_changed_and_deleted_files_is_one_restart_after_its_end(backend) {
        let sandbox = Sandbox::new();
        write_all(&sandbox, "old");
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.py"], &[LAST]);
        for number in 0..FILES {
            let path = sandbox.path(format!("d{}/{number}.py", number % 7));
            match number % 3 {
                0 => fs::remove_file(path).unwrap(),
                1 => fs::write(path, "new").unwrap(),
                _ => fs::rename(&path, path.with_extension("old.py")).unwrap(),
            }
        }
        let started = session.wait_armed(2);
        // Each renamed file has two names.
        assert_eq!(names(&started).len(), FILES + FILES / 3);
        assert_eq!(line_read(&session, 2), "new|");
        assert_fence(&sandbox, &mut session, 3);
        session.stop();
    }
}

#[test]
fn a_long_burst_is_one_restart_when_polled_seldom() {
    let sandbox = Sandbox::new();
    write_all(&sandbox, "old");
    let mut session = sandbox.start([
        "--backend",
        "poll",
        "--interval",
        "1s",
        "--debounce",
        "1s",
        "-w",
        "*.py",
        "--",
        "sleep",
        "600",
    ]);
    session.wait_armed(1);
    for number in 0..FILES {
        sandbox.write(format!("d{}/{number}.py", number % 7), "new content");
        // A slow writer: its total time is longer than the interval.
        std::thread::sleep(Duration::from_millis(4));
    }
    assert_eq!(paths(&session.wait_armed(2)).len(), FILES, "{}", session.account());
    session.stop();
}
