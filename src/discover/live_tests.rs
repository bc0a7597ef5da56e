use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::discover::sets::{Looked, Node};
use crate::os::clock::file_clock_ns;
use crate::os::seccomp::Access;

/// A directory, and what is known of a command in it.
struct Case {
    _directory: tempfile::TempDir,
    root: PathBuf,
    live: Live,
}

impl Case {
    fn new() -> Case {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let live = Live::new(Places::new(&root, None, &[]), false);
        Case { _directory: directory, root, live }
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        path
    }

    /// Has all of this seen, and learned. Returns what is to be watched.
    fn see(&self, calls: &[(&str, Access)]) -> Vec<News> {
        let found = Arc::new(Found::new().unwrap());
        self.live.begin(Arc::clone(&found));
        found.add(calls.iter().map(|(name, access)| sighting(&self.root.join(name), *access)).collect());
        found.end();
        let mut news = Vec::new();
        self.live.learn_all(&self.root, false, |learned| {
            if let Learned::News(learned) = learned {
                news.extend(learned);
            }
        });
        news
    }

    fn standing(&self, name: &str) -> (bool, Option<Role>) {
        let Standing { own, depends, .. } = self.live.standing(&self.root.join(name));
        (own, depends)
    }
}

fn sighting(path: &Path, access: Access) -> Sighting {
    let (path, name) = (path.to_owned(), "cat (pid 7)".into());
    Sighting::File { thread: 7, access, name, path, call: "call", when: Instant::now(), seen_ns: file_clock_ns() }
}

#[test]
fn what_is_read_is_to_be_watched_once_and_says_who_has_read_it() {
    let case = Case::new();
    let path = case.write("read.txt");
    let news = case.see(&[("read.txt", Access::Read), ("read.txt", Access::Stat), ("absent.txt", Access::Read)]);
    assert_eq!(news.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), [path, case.root.join("absent.txt")]);
    assert_eq!(case.standing("read.txt"), (false, Some(Role::Read)));
    assert_eq!(case.standing("absent.txt"), (false, Some(Role::Missed)));
    assert_eq!(case.standing("other.txt"), (false, None));
    let by = case.live.standing(&case.root.join("read.txt")).by.unwrap();
    assert_eq!(&*by, "cat (pid 7) 0.0 s after the start");
}

#[test]
fn a_file_that_was_touched_since_it_was_read_looks_unknown() {
    let case = Case::new();
    let path = case.write("read.txt");
    let Sighting::File { seen_ns, .. } = sighting(&path, Access::Read) else { unreachable!() };
    assert_eq!(seen_at(&path, seen_ns + 1_000_000_000).stamp, look(&path).stamp);
    assert_eq!(seen_at(&path, seen_ns - 1_000_000_000).stamp, Some(Stamp::UNKNOWN));
    assert_eq!(seen_at(&case.root.join("absent"), 0).stamp, None);
}

#[test]
fn each_open_for_writing_explains_one_close_and_one_more_is_somebody_elses_until_it_has_passed() {
    let case = Case::new();
    let path = case.write("state.txt");
    case.see(&[("state.txt", Access::Read), ("state.txt", Access::Write), ("state.txt", Access::Write)]);
    assert_eq!(case.standing("state.txt"), (true, None));
    case.live.was_closed(&path);
    case.live.was_closed(&path);
    assert_eq!(case.standing("state.txt"), (true, None));
    case.live.was_closed(&path);
    assert_eq!(case.standing("state.txt"), (false, Some(Role::Read)));
    case.live.has_passed(&path);
    assert_eq!(case.standing("state.txt"), (true, None));
    // What the command writes after that is its own again.
    let first = First { thread: 7, call: "call", when: Instant::now() };
    let looked = Looked { name: path.clone(), entry: None, target: None, node: Node::File };
    case.live.state().discovery.add(&looked, Access::Write, first);
    case.live.was_closed(&path);
    assert_eq!(case.standing("state.txt"), (true, None));
    case.live.was_closed(&path);
    assert!(!case.standing("state.txt").0);
}

#[test]
fn a_rename_that_is_tried_twice_explains_one_event() {
    for (tries, explained) in [
        (&[Access::Rename][..], 1),
        (&[Access::RenameNew], 1),
        (&[Access::RenameNew, Access::Rename], 1),
        (&[Access::Rename, Access::Rename], 2),
        (&[Access::RenameNew, Access::Rename, Access::Rename], 2),
    ] {
        let case = Case::new();
        let path = case.write("state.txt");
        case.see(&tries.iter().map(|access| ("state.txt", *access)).collect::<Vec<_>>());
        for _ in 0..explained {
            case.live.was_moved_in(&path);
            assert!(case.standing("state.txt").0, "{tries:?}");
        }
        case.live.was_moved_in(&path);
        assert!(!case.standing("state.txt").0, "{tries:?}");
    }
}

/// A rename as the two names of one call.
fn rename(case: &Case, old: &str, new: &str) -> Vec<Sighting> {
    let mut both = vec![sighting(&case.root.join(old), Access::Remove), sighting(&case.root.join(new), Access::Rename)];
    let Sighting::File { when: of_both, .. } = both[0] else { unreachable!() };
    both.iter_mut().for_each(|one| {
        if let Sighting::File { when, .. } = one {
            *when = of_both;
        }
    });
    both
}

#[test]
fn a_file_that_is_renamed_while_it_is_written_is_the_commands_when_it_is_closed() {
    // As kpathsea does with doc.fls: opened under one name, closed under another.
    for renames in [&[("log.7", "log")][..], &[("log.7", "log.8"), ("log.8", "log")], &[("tmp", "done")]] {
        let case = Case::new();
        let (opened, closed) = if renames[0].0 == "tmp" { ("tmp/log", "done/log") } else { ("log.7", "log") };
        let path = case.write(closed);
        // It has been written under its own name, too.
        let mut seen = vec![sighting(&path, Access::Write), sighting(&case.root.join(opened), Access::Write)];
        renames.iter().for_each(|(old, new)| seen.extend(rename(&case, old, new)));
        let found = Arc::new(Found::new().unwrap());
        case.live.begin(Arc::clone(&found));
        found.add(seen);
        found.end();
        case.live.learn_all(&case.root, false, |_| ());
        case.live.was_closed(&path);
        if renames[0].0 != "tmp" {
            case.live.was_moved_in(&path);
        }
        case.live.was_closed(&path);
        assert_eq!(case.standing(closed), (true, None), "{renames:?}");
        // One more is somebody else's, as ever.
        case.live.was_closed(&path);
        assert!(!case.standing(closed).0, "{renames:?}");
    }
}

#[test]
fn a_file_that_is_closed_before_it_is_renamed_explains_nothing_under_its_new_name() {
    let case = Case::new();
    let path = case.write("state");
    let found = Arc::new(Found::new().unwrap());
    case.live.begin(Arc::clone(&found));
    found.add(vec![sighting(&case.root.join("state.7"), Access::Write)]);
    found.add(rename(&case, "state.7", "state"));
    found.end();
    case.live.learn_all(&case.root, false, |_| ());
    case.live.was_closed(&case.root.join("state.7"));
    case.live.was_moved_in(&path);
    assert_eq!(case.standing("state"), (true, None));
    case.live.was_closed(&path);
    assert!(!case.standing("state").0);
}

#[test]
fn what_lies_in_a_directory_that_the_command_renames_is_its_own_before_it_is_there() {
    let case = Case::new();
    case.see(&[("dist", Access::Rename)]);
    assert_eq!(case.standing("dist/assets/a.js"), (true, None));
    assert_eq!(case.standing("distant"), (false, None));
}

#[test]
fn a_new_name_counts_where_such_files_are_read_and_an_old_one_does_not() {
    let case = Case::new();
    ["conf.d/a.conf", "conf.d/old.conf"].iter().for_each(|name| drop(case.write(name)));
    let news = case.see(&[("conf.d", Access::List), ("conf.d/a.conf", Access::Read)]);
    assert!(news.iter().any(|(path, _)| *path == case.root.join("conf.d")));
    for (name, depends) in [
        ("conf.d/new.conf", Some(Role::Listed)),
        ("conf.d/new.txt", None),
        ("conf.d/old.conf", None),
        ("conf.d/deep/new.conf", None),
    ] {
        assert_eq!(case.standing(name), (false, depends), "{name}");
    }
}

#[test]
fn what_was_found_is_handed_on_and_the_writes_are_over() {
    let case = Case::new();
    ["read.txt", "own.txt", "conf.d/a.conf"].iter().for_each(|name| drop(case.write(name)));
    case.see(&[
        ("read.txt", Access::Read),
        ("own.txt", Access::Write),
        ("own.txt", Access::Write),
        ("tmp.txt", Access::Write),
        ("tmp.txt", Access::Remove),
        ("conf.d", Access::List),
        ("conf.d/a.conf", Access::Read),
        ("dist", Access::Rename),
    ]);
    let kept = case.live.keep();
    let next = Case { live: Live::new(Places::new(&case.root, None, &[]), false), ..case };
    next.live.resume(kept);
    for (name, standing) in [
        ("read.txt", (false, Some(Role::Read))),
        ("own.txt", (true, None)),
        ("tmp.txt", (false, None)),
        ("conf.d/new.conf", (false, Some(Role::Listed))),
        ("dist/a.js", (true, None)),
    ] {
        assert_eq!(next.standing(name), standing, "{name}");
    }
    // Events of the generation before.
    next.live.was_closed(&next.root.join("own.txt"));
    assert!(next.standing("own.txt").0);
    next.see(&[("read.txt", Access::Read)]);
    next.live.was_closed(&next.root.join("own.txt"));
    assert!(!next.standing("own.txt").0, "nothing of this generation explains it");
    next.live.forget();
    assert_eq!(next.standing("read.txt"), (false, None));
}

#[test]
fn a_gap_makes_it_incomplete_and_stays_known() {
    let case = Case::new();
    assert!(!case.live.is_complete(), "nothing is known yet");
    case.write("read.txt");
    case.see(&[("read.txt", Access::Read)]);
    assert!(case.live.is_complete());
    assert!(case.live.state().discovery.add_gap(Gap::IoUring, 7));
    assert!(!case.live.is_complete());
    let next = Live::new(Places::new(&case.root, None, &[]), false);
    next.resume(case.live.keep());
    assert!(!next.is_complete());
    assert!(!next.state().discovery.add_gap(Gap::IoUring, 8), "it is no news");
}

#[test]
fn whoever_catches_up_waits_as_long_as_there_is_progress_and_once_where_there_is_none() {
    let case = Case::new();
    let found = Arc::new(Found::new().unwrap());
    case.live.begin(Arc::clone(&found));
    let catch_up = || {
        let began = Instant::now();
        case.live.catch_up();
        began.elapsed()
    };
    let some =
        |count: usize| (0..count).map(|number| sighting(&case.root.join(number.to_string()), Access::Stat)).collect();
    found.add(some(3));
    assert!(catch_up() >= PATIENCE);
    assert!(catch_up() < PATIENCE, "nobody learns");
    // One after the other, slower than all of them may take for one, but never as slow as one alone.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                std::thread::sleep(PATIENCE / 4);
                *case.live.learned.lock().unwrap() += 1;
                case.live.more.notify_all();
            }
        });
        while *case.live.learned.lock().unwrap() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        case.live.catch_up();
        assert_eq!(*case.live.learned.lock().unwrap(), 3);
    });
}
