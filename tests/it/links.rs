//! Symlinks that lead out of the watched directories: followed, and reported if they add many files; not followed with
//! `--no-follow`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::limits::assert_one_complaint;
use crate::support::Sandbox;
use crate::support::watched::{assert_fence, assert_restart, names, on_every_backend, watch};

/// A tree with symlinks within it and out of it. Outside are some directories with some files each.
fn tree(directories: usize, files: usize) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let outside = sandbox.beside().join("outside");
    for directory in 0..directories {
        let path = outside.join(format!("d{directory}"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..files {
            fs::write(path.join(format!("{file}.py")), "out").unwrap();
        }
    }
    fs::write(outside.join("single.py"), "out").unwrap();
    fs::write(outside.join("named.py"), "out").unwrap();
    sandbox.write("lib/in.py", "in");
    sandbox.write("data/in.txt", "in");
    symlink(&outside, sandbox.path("out")).unwrap();
    symlink("../outside/single.py", sandbox.path("single.py")).unwrap();
    symlink("../outside/named.py", sandbox.path("named.py")).unwrap();
    symlink("data/in.txt", sandbox.path("in.py")).unwrap();
    (sandbox, outside)
}

on_every_backend! {
    fn files_behind_symlinks_count_unless_they_are_outside_and_no_follow_is_set(backend) {
        let (sandbox, outside) = tree(2, 2);
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        fs::write(outside.join("d1/1.py"), "two").unwrap();
        assert_restart(&mut session, 2, &["1.py"]);
        fs::write(outside.join("single.py"), "two").unwrap();
        assert!(session.wait_armed(3)["changes"].to_string().contains("single.py"));
        assert_eq!(session.stop().count("degraded"), 0);

        let mut session = watch(&sandbox, backend, &["-w", "*.py", "-w", "named.py", "--no-follow"]);
        for name in ["d1/1.py", "single.py", "d0/new.py"] {
            fs::write(outside.join(name), "three").unwrap();
        }
        // A new symlink and a changed one are not followed either.
        symlink("../outside/d0", sandbox.path("lib/out")).unwrap();
        symlink("../outside/single.py", sandbox.path("lib/single.py")).unwrap();
        fs::write(outside.join("d0/0.py"), "three").unwrap();
        sandbox.write("data/in.txt", "two");
        assert_restart(&mut session, 2, &["in.py"]);
        // A symlink that -w names is followed.
        fs::write(outside.join("named.py"), "two").unwrap();
        assert_restart(&mut session, 3, &["named.py"]);
        session.stop();
    }

    fn what_appears_behind_a_symlink_to_nothing_counts(backend) {
        for (before_the_start, with_a_restart_between) in [(true, false), (false, false), (false, true)] {
            let sandbox = Sandbox::new();
            let outside = sandbox.beside().join("outside");
            fs::create_dir(&outside).unwrap();
            let make = || {
                symlink("..data/near.py", sandbox.path("near.py")).unwrap();
                symlink(outside.join("a/b/far.py"), sandbox.path("far.py")).unwrap();
                symlink(outside.join("releases/1"), sandbox.path("moved")).unwrap();
                fs::rename(sandbox.path("moved"), sandbox.path("current")).unwrap();
                symlink("near.py", sandbox.path("chain.py")).unwrap();
            };
            if before_the_start {
                make();
            }
            let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
            if !before_the_start {
                make();
            }
            let mut generation = 2;
            if with_a_restart_between {
                assert_fence(&sandbox, &mut session, generation);
                generation += 1;
            }
            fs::create_dir(sandbox.path("..one")).unwrap();
            fs::write(sandbox.path("..one/near.py"), "1").unwrap();
            symlink("..one", sandbox.path("..data")).unwrap();
            assert!(names(&session.wait_armed(generation)).contains(&"near.py".to_owned()), "{}", session.account());
            fs::create_dir_all(outside.join("a/b")).unwrap();
            fs::write(outside.join("a/b/far.py"), "1").unwrap();
            assert_restart(&mut session, generation + 1, &["far.py"]);
            fs::create_dir_all(outside.join("releases/1")).unwrap();
            fs::write(outside.join("releases/1/x.py"), "1").unwrap();
            assert_restart(&mut session, generation + 2, &["x.py"]);
            fs::write(outside.join("a/b/far.py"), "two").unwrap();
            assert_restart(&mut session, generation + 3, &["far.py"]);
            session.stop();
        }
    }

    fn a_symlink_into_a_large_tree_is_reported_once_with_the_number_of_files(backend) {
        let (sandbox, outside) = tree(120, 3);
        let mut session = watch(&sandbox, backend, &["-w", "*.py"]);
        sandbox.write("lib/in.py", "two");
        session.wait_armed(2);
        let words = [
            "root/out leads out of the tree to ", outside.to_str().unwrap(),
            "362 files in 121 directories are watched there", "--no-follow leaves such symlinks out",
        ];
        assert_one_complaint(&session.stop(), &words);
        let ended = watch(&sandbox, backend, &["-w", "*.py", "--no-follow"]).stop();
        let watching = ended.events.iter().find(|seen| seen["event"] == "watching").unwrap();
        assert!(watching["directories"].as_u64() < Some(10), "{watching}");
        assert_eq!(ended.count("degraded"), 0);
    }
}
