use super::Watcher;
use super::backend::Entry;
use crate::change::ChangeSet;
use crate::filter::{Filter, OwnFiles};
use crate::os;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A watcher that has not armed anything.
fn unarmed(directory: &Path, watch: &str) -> Watcher {
    let config = crate::config::tests::config(directory, watch, "");
    let filter = Arc::new(Filter::new(&config, OwnFiles::default()));
    Watcher::new(&config, filter, &ChangeSet::default()).unwrap()
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
    watcher.survey.ledger.start.at_ns = watcher.snapshot().get(&path).map(|stamp| stamp.mtime_ns);
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
            watcher.survey.ledger.settler.drain();
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
            door.add(read.clone(), looks[0]);
            door.add(changed.clone(), looks[1]);
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
