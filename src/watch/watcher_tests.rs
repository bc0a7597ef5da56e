use super::backend::Entry;
use super::{Mark, Watcher};
use crate::change::ChangeSet;
use crate::config::{Backend, Config, Discover};
use crate::discover::Learned;
use crate::filter::{Filter, OwnFiles};
use crate::os;
use crate::os::seccomp::{Access, Found, Sighting};
use crate::protocol::WatchState;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The watcher of a child that is given this.
fn next(directory: &Path, watch: &str, state: WatchState, behind: &ChangeSet) -> Watcher {
    let config = crate::config::tests::config(directory, watch, "");
    let filter = Arc::new(Filter::new(&config, OwnFiles::default()));
    Watcher::new(&config, filter, behind, state).unwrap()
}

/// A watcher that has not armed anything.
fn unarmed(directory: &Path, watch: &str) -> Watcher {
    next(directory, watch, WatchState::new(Backend::Auto).unwrap(), &ChangeSet::default())
}

/// A watcher that has armed a directory.
fn armed(directory: &Path, watch: &str) -> Watcher {
    let mut watcher = unarmed(directory, watch);
    assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
    watcher
}

fn settle(watcher: &mut Watcher) {
    let deadline = Instant::now() + Duration::from_secs(1);
    let wait = watcher.wait().unwrap();
    while watcher.settler().is_empty() && Instant::now() < deadline {
        wait.until(deadline);
        watcher.look();
    }
}

#[test]
fn a_write_in_the_very_tick_of_the_start_counts_although_it_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let path = std::fs::canonicalize(directory.path()).unwrap().join("a.py");
    std::fs::write(&path, "one").unwrap();
    let mut watcher = armed(path.parent().unwrap(), "*.py");
    // As if the command had started in the tick of this write, and another one had come in the same tick.
    watcher.survey.ledger.start.at_ns = watcher.survey.ledger.snapshot.get(&path).map(|stamp| stamp.mtime_ns);
    watcher.survey.take_in_entry(&path, Entry::Closed);
    assert!(watcher.settler().is_empty(), "to open a file for writing is no change");
    watcher.survey.take_in_entry(&path, Entry::Modified);
    watcher.survey.take_in_entry(&path, Entry::Closed);
    assert!(watcher.settler().is_certain());
    assert_eq!(watcher.settler().paths(), [path]);
}

#[test]
fn a_link_that_turned_there_and_back_counts_because_the_command_may_have_read_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    for name in ["one.txt", "two.txt"] {
        std::fs::write(root.join(name), name).unwrap();
    }
    let link = root.join("app.py");
    let turn = |target: &str| {
        std::os::unix::fs::symlink(target, root.join("new")).unwrap();
        std::fs::rename(root.join("new"), &link).unwrap();
    };
    turn("one.txt");
    let mut watcher = armed(&root, "*.py");
    watcher.command_starts();
    turn("two.txt");
    settle(&mut watcher);
    assert_eq!(watcher.settler().paths(), [link.as_path()]);
    turn("one.txt");
    watcher.look();
    watcher.confirm(Instant::now());
    assert_eq!(watcher.settler().paths(), [link.as_path()]);
}

#[test]
fn what_was_saved_before_the_start_is_no_change_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    std::fs::write(root.join("a.py"), "one").unwrap();
    let mut watcher = armed(&root, "*.py");
    std::fs::write(root.join("a.py"), "before the start").unwrap();
    std::fs::write(root.join("b.py"), "before the start").unwrap();
    std::thread::sleep(Duration::from_millis(20)); // beyond the tick, in which nobody can tell before from after
    watcher.command_starts();
    assert!(watcher.settler().is_empty(), "{:?}", watcher.settler().paths());
    assert!(watcher.recent().contains(&root.join("a.py")), "its compiled file may be old");
    std::fs::write(root.join("a.py"), "after the start").unwrap();
    settle(&mut watcher);
    assert_eq!(watcher.settler().paths(), [root.join("a.py")]);
}
#[test]
fn only_a_new_name_that_is_swept_in_waits() {
    for (watch, at_once) in
        [("*.py", true), ("new.py", true), ("**;*.py", true), ("", false), (".", false), ("**", false), ("n*", true)]
    {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        std::fs::write(root.join("old.py"), "one").unwrap();
        let mut watcher = armed(&root, watch);
        for (name, certain) in [("new.py", at_once), ("old.py", true)] {
            std::fs::write(root.join(name), "two").unwrap();
            watcher.survey.take_in_entry(&root.join(name), Entry::Closed);
            if watcher.settler().holds(&root.join(name)) {
                assert_eq!(watcher.settler().is_certain(), certain, "-w '{watch}': {name}");
            }
            watcher.survey.ledger.settler.command.drain();
        }
    }
}
#[test]
fn a_path_that_another_thread_names_is_watched_at_once_and_compared_with_how_it_looked_when_it_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    let [read, changed] = ["read.py", "changed.py"].map(|name| root.join(name));
    [&read, &changed].iter().for_each(|path| std::fs::write(path, "one").unwrap());
    let looks = [&read, &changed].map(|path| os::fs::look(path));
    std::fs::write(&changed, "changed since it was read").unwrap();
    // Nothing is armed: the paths are all that is watched.
    let mut watcher = unarmed(&root, "*.py");
    let (wait, door) = (watcher.wait().unwrap(), watcher.door());
    let far = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            door.add(vec![(read.clone(), looks[0])]);
            door.add(vec![(changed.clone(), looks[1])]);
        });
        while watcher.settler().is_empty() {
            wait.until(far);
            watcher.look();
        }
    });
    assert_eq!(watcher.settler().paths(), [changed.as_path()]);
    std::fs::write(&read, "two").unwrap();
    while !watcher.settler().holds(&read) {
        wait.until(far);
        watcher.look();
    }
    assert!(Instant::now() < far, "it was told, not waited for");
}

#[test]
fn a_save_of_a_file_that_is_not_known_yet_to_be_read_counts_when_that_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    let [late, unread] = ["late.py", "unread.py"].map(|name| root.join(name));
    [&late, &unread].iter().for_each(|path| std::fs::write(path, "one").unwrap());
    let config = Config { discover: Discover::Only, ..crate::config::tests::config(&root, "", "") };
    let filter = Arc::new(Filter::new(&config, OwnFiles::default()));
    let state = WatchState::new(Backend::Auto).unwrap();
    let mut watcher = Watcher::new(&config, Arc::clone(&filter), &ChangeSet::default(), state).unwrap();
    assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
    let (live, found) = (filter.live().unwrap(), Arc::new(Found::new().unwrap()));
    live.begin(Arc::clone(&found));
    found.end();
    let read = |path: &Path| {
        let (path, name, when) = (path.to_owned(), "cat (pid 7)".into(), Instant::now());
        let seen_ns = os::clock::file_clock_ns();
        Sighting::File { thread: 7, access: Access::Read, name, path, call: "open", when, seen_ns }
    };
    let door = watcher.door();
    let learn = |sighting: Sighting| {
        found.add(vec![sighting]);
        live.learn_all(&root, false, |learned| {
            if let Learned::News(news) = learned {
                door.add(news);
            }
        });
    };
    // Something is known, so that what is not known does not count.
    learn(read(&root.join("reloadrun.toml")));
    let seen = read(&late);
    for path in [&late, &unread] {
        std::fs::write(path, "two, after it was read").unwrap();
    }
    watcher.look();
    assert!(watcher.settler().is_empty(), "{:?}", watcher.settler().paths());
    learn(seen);
    watcher.look();
    assert_eq!(watcher.settler().paths(), [late.as_path()]);
}

/// What the supervisor holds for the children of one tree, and the tree.
struct Family {
    _directory: tempfile::TempDir,
    root: PathBuf,
    state: WatchState,
}

impl Family {
    fn new(files: &[&str]) -> Family {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        let family = Family { _directory: directory, root, state: WatchState::new(Backend::Auto).unwrap() };
        files.iter().for_each(|name| family.write(name, "at first"));
        family
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    /// The next child, before its command starts.
    fn born(&self) -> Watcher {
        next(&self.root, "*.py", self.state.duplicate().unwrap(), &ChangeSet::default())
    }

    /// The next child, whose command has started; it has all that the one before left.
    fn resumed(&self) -> Watcher {
        let mut watcher = self.born();
        assert!(watcher.gap.is_none(), "it goes on with the watches of the one before");
        watcher.command_starts();
        watcher
    }

    /// The first child, armed and started, leaves.
    fn first_leaves(&self) {
        let mut watcher = self.born();
        assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
        watcher.command_starts();
        assert!(watcher.leave());
    }
}

/// The names of what is pending once all of these are.
fn found(watcher: &mut Watcher, family: &Family, names: &[&str]) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let wait = watcher.wait().unwrap();
    while names.iter().any(|name| !watcher.settler().holds(&family.path(name))) && Instant::now() < deadline {
        wait.until(Instant::now() + Duration::from_millis(50));
        watcher.look();
    }
    let name = |path: PathBuf| path.strip_prefix(&family.root).unwrap().to_str().unwrap().to_owned();
    watcher.settler().paths().into_iter().map(name).collect()
}

#[test]
fn what_happens_between_two_children_is_known_to_the_second_and_what_comes_later_is_a_change() {
    let family = Family::new(&["a.py", "b.py", "d/c.py", "d/e/f.py", "old/g.py"]);
    family.first_leaves();
    for generation in 2..6 {
        family.write("a.py", &format!("between, {generation}"));
        family.write(&format!("new{generation}/deep/n.py"), "new");
        std::fs::remove_file(family.path("d/c.py")).unwrap();
        std::fs::rename(family.path("old"), family.path("moved")).unwrap();
        let mut watcher = family.resumed();
        assert_eq!(watcher.settler().paths(), [] as [&Path; 0]);
        assert!(watcher.recent().contains(&family.path("a.py")), "its compiled file may be old");
        let came = watcher.settle_down();
        assert!(came.contains(&family.path(&format!("new{generation}/deep/n.py"))), "{came:?}");
        let fresh = format!("new{generation}/deep/later.py");
        family.write(&fresh, "later");
        family.write("d/c.py", "again");
        family.write("d/e/f.py", &format!("changed in {generation}"));
        std::fs::rename(family.path("moved"), family.path("old")).unwrap();
        let expected = ["d/c.py", "d/e/f.py", "moved/g.py", &fresh, "old/g.py"];
        let mut all = found(&mut watcher, &family, &expected);
        all.sort();
        let mut sorted = expected.map(str::to_owned);
        sorted.sort();
        assert_eq!(all, sorted, "generation {generation}");
        let changes = watcher.survey.ledger.settler.command.drain();
        watcher.survey.ledger.accept(&changes);
        assert!(watcher.leave());
    }
}

#[test]
fn what_is_gone_stays_gone_for_children_that_begin_anew() {
    let family = Family::new(&["a.py", "d/b.py", "d/c.py", "e/f.py"]);
    // Without a queue, only how the files looked is left to the next one.
    let config = Config { backend: Backend::Poll, ..crate::config::tests::config(&family.root, "*.py", "") };
    for generation in 1..6 {
        // In the first one everything is there.
        if generation == 2 {
            std::fs::remove_file(family.path("d/b.py")).unwrap();
            std::fs::remove_dir_all(family.path("e")).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        let filter = Arc::new(Filter::new(&config, OwnFiles::default()));
        let state = WatchState { queue: None, memory: family.state.duplicate().unwrap().memory };
        let mut watcher = Watcher::new(&config, filter, &ChangeSet::default(), state).unwrap();
        watcher.command_starts();
        // Both directories change between the start and the arming, so that what is not there is looked for.
        let new = [format!("n{generation}.py"), format!("d/n{generation}.py")];
        new.iter().for_each(|name| family.write(name, "new"));
        assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
        let gone = |path: &&PathBuf| !path.exists();
        let told = watcher.settler().paths();
        // The second cannot tell when they went.
        assert!(generation == 2 || told.iter().filter(gone).count() == 0, "generation {generation}: {told:?}");
        let changes = watcher.survey.ledger.settler.command.drain();
        watcher.survey.ledger.accept(&changes);
        assert!(watcher.leave());
    }
}

#[test]
fn the_map_of_watches_says_what_the_kernel_says_after_many_children() {
    let family = Family::new(&["a.py", "d/c.py", "d/e/f.py", "x/y/z.py"]);
    family.first_leaves();
    for generation in 0..6 {
        family.write(&format!("g{generation}/h/i.py"), "new");
        std::fs::remove_dir_all(family.path(if generation % 2 == 0 { "d" } else { "x" })).unwrap();
        family.write("d/e/f.py", "again");
        let mut watcher = family.resumed();
        std::fs::rename(family.path(&format!("g{generation}")), family.path(&format!("r{generation}"))).unwrap();
        family.write("x/y/z.py", "again");
        watcher.look();
        let number = family.state.queue.as_ref().unwrap().as_raw_fd();
        let kernel = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        let field = |line: &str, name: &str, radix: u32| {
            let text = line.split_whitespace().find_map(|field| field.strip_prefix(name))?.to_owned();
            i64::from_str_radix(&text, radix).ok()
        };
        // The number of the watch is written in hexadecimal digits too.
        let lines = kernel.lines().filter(|line| line.starts_with("inotify"));
        let by_kernel: BTreeMap<i64, i64> =
            lines.map(|line| (field(line, "wd:", 16).unwrap(), field(line, "ino:", 16).unwrap())).collect();
        let ours = watcher.survey.coverage.watches().unwrap().all();
        let inode = |path: &Path| i64::try_from(std::fs::metadata(path).unwrap().ino()).unwrap();
        let ours: BTreeMap<i64, i64> = ours.map(|(path, watch)| (watch.0.into(), inode(path))).collect();
        assert_eq!(ours, by_kernel, "generation {generation}");
        assert!(watcher.leave());
    }
}

#[test]
fn a_file_that_is_written_while_the_children_change_counts_when_it_is_closed() {
    let family = Family::new(&["a.py"]);
    family.first_leaves();
    let mut file = std::fs::File::create(family.path("a.py")).unwrap();
    file.write_all(b"half").unwrap();
    let mut watcher = family.resumed();
    file.write_all(b" and whole").unwrap();
    drop(file);
    assert_eq!(found(&mut watcher, &family, &["a.py"]), ["a.py"]);
    while !watcher.settler().is_certain() {
        watcher.look();
    }
}

#[test]
fn what_did_not_pass_in_one_child_is_known_to_the_next_or_waits_on() {
    let family = Family::new(&["whole.py", "open.py"]);
    let mut watcher = family.born();
    watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX);
    watcher.command_starts();
    let mut open = std::fs::File::create(family.path("open.py")).unwrap();
    open.write_all(b"half").unwrap();
    family.write("whole.py", "changed");
    assert_eq!(found(&mut watcher, &family, &["whole.py", "open.py"]).len(), 2);
    assert!(watcher.leave());
    let mut watcher = family.resumed();
    assert_eq!(watcher.settler().paths(), [family.path("open.py")]);
    drop(open);
    while !watcher.settler().is_certain() {
        watcher.look();
    }
    assert_eq!(watcher.settler().paths(), [family.path("open.py")]);
}

#[test]
fn rules_that_change_between_two_children_count_for_the_second() {
    let family = Family::new(&["a.py", "d/b.py"]);
    family.write(".gitignore", "b.py\n");
    family.first_leaves();
    // Nothing has changed: what was ignored is ignored.
    let mut watcher = family.resumed();
    family.write("d/b.py", "ignored");
    family.write("a.py", "counts");
    assert_eq!(found(&mut watcher, &family, &["a.py"]), ["a.py"]);
    let changes = watcher.survey.ledger.settler.command.drain();
    watcher.survey.ledger.accept(&changes);
    assert!(watcher.leave());
    family.write(".gitignore", "a.py\n");
    let mut watcher = family.resumed();
    assert_eq!(watcher.settler().paths(), [] as [&Path; 0]);
    family.write("a.py", "ignored by now");
    family.write("d/b.py", "counts by now");
    assert_eq!(found(&mut watcher, &family, &["d/b.py"]), ["d/b.py"]);
    watcher.survey.ledger.settler.command.drain();
    assert!(watcher.leave());
    std::fs::remove_file(family.path(".gitignore")).unwrap();
    let mut watcher = family.resumed();
    family.write("a.py", "counts again");
    assert_eq!(found(&mut watcher, &family, &["a.py"]), ["a.py"]);
}

#[test]
fn a_queue_that_overflowed_between_two_children_leads_to_a_walk_with_a_queue_of_its_own() {
    let family = Family::new(&["a.py", "d/gone.py", "d/b.py"]);
    family.first_leaves();
    let most: usize =
        std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    for number in 0..=most / 3 {
        // Created, closed, deleted.
        let path = family.path(&format!("{number}.txt"));
        std::fs::write(&path, "").unwrap();
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::remove_file(family.path("d/gone.py")).unwrap();
    family.write("a.py", "nobody told");
    // A Python source of the last two seconds counts, since what was compiled from it may be old.
    let file = std::fs::File::options().write(true).open(family.path("a.py")).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    std::thread::sleep(Duration::from_millis(20)); // beyond the tick, in which nobody can tell before from after
    let mut watcher = family.born();
    watcher.command_starts();
    assert!(watcher.gap.is_some(), "it is armed anew");
    family.write("d/b.py", "after the start, before it is armed");
    assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
    assert_eq!(found(&mut watcher, &family, &["d/b.py"]), ["d/b.py"]);
    family.write("a.py", "after it is armed");
    assert_eq!(found(&mut watcher, &family, &["a.py"]), ["a.py", "d/b.py"]);
    assert!(!watcher.leave(), "nobody can go on with its queue");
}

#[test]
fn a_child_that_is_not_armed_or_polls_is_followed_by_one_that_walks_and_knows_what_was() {
    let family = Family::new(&["a.py", "d/b.py"]);
    let mut watcher = family.born();
    watcher.command_starts();
    assert!(!watcher.leave(), "it knows only a part");
    let state = WatchState::new(Backend::Poll).unwrap();
    std::thread::sleep(Duration::from_millis(20)); // beyond the tick, in which nobody can tell before from after
    let config = |root: &Path| crate::config::Config {
        backend: Backend::Poll,
        ..crate::config::tests::config(root, "*.py", "")
    };
    let polling = || {
        let config = config(&family.root);
        let filter = Arc::new(Filter::new(&config, OwnFiles::default()));
        let mut watcher = Watcher::new(&config, filter, &ChangeSet::default(), state.duplicate().unwrap()).unwrap();
        assert!(watcher.gap.is_some());
        watcher.command_starts();
        watcher
    };
    let mut first = polling();
    assert!(first.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
    assert!(first.leave());
    let mut second = polling();
    std::fs::remove_file(family.path("d/b.py")).unwrap();
    assert!(second.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
    assert_eq!(
        second.settler().paths(),
        [family.path("d/b.py")],
        "only the one before knew that there was such a file"
    );
}

/// What a watcher tells until it answers.
fn told_until_passed(watcher: &mut Watcher) -> Vec<PathBuf> {
    let (mut told, wait) = (Vec::new(), watcher.wait().unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    watcher.door().mark(Mark::Asked(7));
    loop {
        let soon = Instant::now() + Duration::from_millis(20);
        wait.until(watcher.settler().due().map_or(soon, |due| due.min(soon)));
        watcher.look();
        let now = Instant::now();
        watcher.confirm(now);
        if let Some(changes) = watcher.take(now) {
            told.extend(changes.paths().map(Path::to_owned));
        }
        match &watcher.passed()[..] {
            [] => assert!(now < deadline, "it does not answer"),
            passed => {
                assert_eq!(passed, [Mark::Asked(7)]);
                return told;
            }
        }
    }
}

#[test]
fn whoever_asks_is_answered_when_all_that_was_done_before_has_been_told() {
    for backend in [Backend::Auto, Backend::Notify, Backend::Poll] {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        let mut config = crate::config::tests::config(&root, "*.py", "");
        (config.backend, config.interval) = (backend, Duration::from_secs(3600));
        let filter = Arc::new(Filter::new(&config, OwnFiles::default()));
        std::fs::write(root.join("old.py"), "1").unwrap();
        let state = WatchState::new(backend).unwrap();
        let mut watcher = Watcher::new(&config, filter, &ChangeSet::default(), state).unwrap();
        assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
        watcher.command_starts();
        assert_eq!(told_until_passed(&mut watcher), [] as [PathBuf; 0], "{backend:?}: nothing was done");
        for round in 0..20 {
            std::fs::create_dir(root.join(format!("{round}"))).unwrap();
            let written: Vec<PathBuf> = [format!("{round}/new.py"), format!("{round}.py"), "old.py".to_owned()]
                .iter()
                .map(|name| root.join(name))
                .collect();
            written.iter().for_each(|path| std::fs::write(path, format!("{round} and more")).unwrap());
            std::fs::write(root.join("other.txt"), "counts for nothing").unwrap();
            let mut told = told_until_passed(&mut watcher);
            told.sort();
            told.dedup();
            let mut expected = written;
            expected.sort();
            assert_eq!(told, expected, "{backend:?}, round {round}");
        }
    }
}

#[test]
fn nobody_is_answered_before_everything_is_armed() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    let mut watcher = unarmed(&root, "*.py");
    watcher.command_starts();
    std::fs::write(root.join("a.py"), "1").unwrap();
    watcher.door().mark(Mark::Job);
    watcher.look();
    assert_eq!(watcher.passed(), []);
    assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX));
    watcher.look();
    assert_eq!(watcher.settler().paths(), [root.join("a.py")]);
    assert_eq!(watcher.passed(), [], "it is pending");
    std::thread::sleep(Duration::from_millis(150));
    watcher.confirm(Instant::now());
    assert_eq!(watcher.take(Instant::now()).unwrap().len(), 1);
    assert_eq!(watcher.passed(), [Mark::Job]);
}
