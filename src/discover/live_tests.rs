use std::fs;
use std::os::unix::fs::PermissionsExt;
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
        self.learn(calls.iter().map(|(name, access)| sighting(&self.root.join(name), *access)).collect())
    }

    fn learn(&self, seen: Vec<Sighting>) -> Vec<News> {
        let found = Arc::new(Found::new().unwrap());
        self.live.begin(Arc::clone(&found));
        found.add(seen);
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
fn a_file_that_was_written_or_replaced_since_it_was_read_looks_unknown() {
    let case = Case::new();
    let path = case.write("elsewhere/read.txt");
    let Sighting::File { seen_ns, .. } = sighting(&path, Access::Read) else { unreachable!() };
    assert_eq!(seen_at(&path, seen_ns + 1_000_000_000).stamp, look(&path).stamp);
    assert_eq!(seen_at(&path, seen_ns - 1_000_000_000).stamp, Some(Stamp::UNKNOWN));
    assert_eq!(seen_at(&case.root.join("absent"), 0).stamp, None);
    // Later, another file with an older time comes to this name.
    let other = case.write("other/old.txt");
    later_than(&[&path, &other]);
    let seen_ns = file_clock_ns();
    fs::rename(&other, &path).unwrap();
    assert_eq!(seen_at(&path, seen_ns).stamp, Some(Stamp::UNKNOWN));
}

#[test]
fn a_new_mode_or_one_more_link_makes_no_file_unknown() {
    let case = Case::new();
    let path = case.write("elsewhere/read.txt");
    later_than(&[&path]);
    let seen_ns = file_clock_ns();
    fs::create_dir(case.root.join("here")).unwrap();
    fs::hard_link(&path, case.root.join("here/read.txt")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(look(&path).ctime_ns >= seen_ns);
    assert_eq!(seen_at(&path, seen_ns).stamp, look(&path).stamp);
}

/// Waits until what is written from now on has a later time than these files and their directories.
fn later_than(paths: &[&PathBuf]) {
    let times = paths.iter().flat_map(|path| [fs::metadata(path), fs::metadata(path.parent().unwrap())]);
    let last = times.map(|metadata| crate::os::fs::ctime_ns(&metadata.unwrap())).max().unwrap();
    while file_clock_ns() <= last {
        std::thread::sleep(Duration::from_millis(1));
    }
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
    let looked = Looked { name: path.clone(), entry: None, target: None, node: Node::File, id: None, device: None };
    case.live.state().discovery.add(&looked, Access::Write, first);
    case.live.was_closed(&path);
    assert_eq!(case.standing("state.txt"), (true, None));
    case.live.was_closed(&path);
    assert!(!case.standing("state.txt").0);
}

#[test]
fn an_open_whose_event_never_came_explains_nothing_once_the_file_is_closed() {
    let case = Case::new();
    let path = case.write("state.txt");
    let earlier = || {
        let mut state = case.live.state();
        let writes = state.discovery.writes_to(&path).unwrap();
        writes.last = writes.last.and_then(|last| last.checked_sub(COMES));
        state.uneven.values_mut().for_each(|since| *since = since.checked_sub(COMES).unwrap());
    };
    case.see(&[("state.txt", Access::Write); 3]);
    // The kernel has made one event of several. The others may still come.
    case.live.was_closed(&path);
    assert!(case.live.closed_by_now().is_empty());
    earlier();
    // Somebody has it open.
    let writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    assert!(case.live.closed_by_now().is_empty());
    drop(writer);
    case.live.was_closed(&path);
    assert!(case.standing("state.txt").0);
    earlier();
    case.live.has_taken_in(case.live.closed_by_now());
    case.live.was_closed(&path);
    assert!(!case.standing("state.txt").0);
}

#[test]
fn what_was_told_before_events_were_missed_explains_none_of_the_later_ones() {
    let case = Case::new();
    let path = case.write("state.txt");
    let mut seen = vec![sighting(&path, Access::Write), sighting(&path, Access::Write)];
    seen.extend(rename(&case, "state.7", "state.txt"));
    for sighting in &mut seen {
        if let Sighting::File { when, .. } = sighting {
            *when = when.checked_sub(COMES).unwrap();
        }
    }
    case.learn(seen);
    case.live.has_missed();
    case.live.state().uneven.values_mut().for_each(|since| *since = since.checked_sub(COMES).unwrap());
    case.live.has_taken_in(case.live.closed_by_now());
    for event in [Live::was_closed, Live::was_moved_in] {
        event(&case.live, &path);
        assert!(!case.standing("state.txt").0);
        case.live.has_passed(&path);
    }
}

#[test]
fn a_rename_that_is_tried_twice_explains_one_event() {
    // Each rename of a file that was made, or of the same name once more, as `mv` does after a try that may not replace.
    for (is_made, explained) in [(&[true][..], 1), (&[true, false], 1), (&[true, true], 2), (&[true, false, true], 2)] {
        let case = Case::new();
        let path = case.write("state.txt");
        let mut seen = Vec::new();
        for is_made in is_made {
            seen.extend(is_made.then(|| sighting(&case.root.join("state.7"), Access::Write)));
            seen.extend(rename(&case, "state.7", "state.txt"));
        }
        case.learn(seen);
        for _ in 0..explained {
            case.live.was_moved_in(&path);
            assert!(case.standing("state.txt").0, "{is_made:?}");
        }
        case.live.was_moved_in(&path);
        assert!(!case.standing("state.txt").0, "{is_made:?}");
    }
}

#[test]
fn a_rename_whose_old_name_is_still_there_explains_nothing() {
    let case = Case::new();
    let [path, old] = ["app.conf", "new.conf"].map(|name| case.write(name));
    case.learn([vec![sighting(&path, Access::Read)], rename(&case, "new.conf", "app.conf")].concat());
    case.live.was_moved_in(&path);
    assert_eq!(case.standing("app.conf"), (false, Some(Role::Read)));
    // It was still to come, and comes.
    case.live.has_passed(&path);
    fs::rename(old, &path).unwrap();
    case.live.was_moved_in(&path);
    assert_eq!(case.standing("app.conf"), (true, None));
    case.live.was_moved_in(&path);
    assert!(!case.standing("app.conf").0);
}

#[test]
fn a_directory_whose_rename_failed_is_not_the_commands_and_one_whose_rename_comes_is() {
    let case = Case::new();
    ["src.new/a.py", "src/a.py"].iter().for_each(|name| drop(case.write(name)));
    case.learn(rename(&case, "src.new", "src"));
    assert_eq!(case.standing("src/a.py"), (false, None));
    fs::remove_dir_all(case.root.join("src")).unwrap();
    fs::rename(case.root.join("src.new"), case.root.join("src")).unwrap();
    assert_eq!(case.standing("src/a.py"), (true, None));
}

#[test]
fn what_somebody_else_writes_in_a_directory_that_the_command_renamed_counts_until_it_has_passed() {
    let case = Case::new();
    let path = case.write("site/index.html");
    let mut seen = vec![sighting(&case.root.join("site.new/index.html"), Access::Write)];
    seen.extend(rename(&case, "site.new", "site"));
    seen.push(sighting(&path, Access::Read));
    let open = fs::OpenOptions::new().append(true).open(&path).unwrap();
    case.learn(seen);
    // It was opened before the rename, and is closed after it.
    drop(open);
    case.live.was_closed(&path);
    assert_eq!(case.standing("site/index.html"), (true, None));
    case.live.was_closed(&path);
    assert_eq!(case.standing("site/index.html"), (false, Some(Role::Read)));
    case.live.has_passed(&path);
    assert_eq!(case.standing("site/index.html"), (true, None));
    case.live.was_moved_in(&case.root.join("site/new.html"));
    assert!(!case.standing("site/new.html").0, "the command has never named it");
    assert!(case.standing("site/other.html").0);
}

/// A rename as the two names of one call.
fn rename(case: &Case, old: &str, new: &str) -> Vec<Sighting> {
    let mut both = vec![sighting(&case.root.join(old), Access::Remove), sighting(&case.root.join(new), Access::Rename)];
    let Sighting::File { when: of_both, .. } = both[0] else { unreachable!() };
    both.iter_mut().for_each(|one| {
        if let Sighting::File { when, call, .. } = one {
            (*when, *call) = (of_both, "rename");
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
        let open = fs::OpenOptions::new().append(true).open(&path).unwrap();
        // It has been written under its own name, too.
        let mut seen = vec![sighting(&path, Access::Write), sighting(&case.root.join(opened), Access::Write)];
        renames.iter().for_each(|(old, new)| seen.extend(rename(&case, old, new)));
        let found = Arc::new(Found::new().unwrap());
        case.live.begin(Arc::clone(&found));
        found.add(seen);
        found.end();
        case.live.learn_all(&case.root, false, |_| ());
        drop(open);
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
fn a_file_that_was_closed_before_its_rename_explains_no_event_of_the_new_name_though_its_own_event_was_not_heard() {
    let case = Case::new();
    let path = case.write("site/index.html");
    let mut seen = vec![sighting(&case.root.join("site.new/index.html"), Access::Write)];
    seen.extend(rename(&case, "site.new", "site"));
    for sighting in &mut seen {
        if let Sighting::File { when, .. } = sighting {
            *when = when.checked_sub(COMES).unwrap();
        }
    }
    case.learn(seen);
    case.live.has_taken_in(case.live.closed_by_now());
    case.live.was_closed(&path);
    assert!(!case.standing("site/index.html").0);
}

#[test]
fn what_lies_in_a_directory_that_the_command_renames_is_its_own_before_it_is_named() {
    let case = Case::new();
    drop(case.write("dist/assets/a.js"));
    case.learn(rename(&case, "dist.new", "dist"));
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
    ]);
    case.write("dist/a.js");
    rename(&case, "dist.new", "dist").iter().for_each(|sighting| drop(case.live.learn(sighting, &case.root)));
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
