use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use proptest::prelude::*;

use super::super::place::Places;
use super::*;

const DIRECTORY: &str = "/home/me/app";

fn empty() -> Discovery {
    Discovery::new(Places::new(Path::new(DIRECTORY), Some(Path::new("/home/me")), &[]))
}

fn first(call: &'static str) -> First {
    First { thread: 1, call, when: Instant::now() }
}

fn looked(path: &str, node: Node) -> Looked {
    Looked { name: Path::new(DIRECTORY).join(path), entry: None, target: None, node, id: None, device: None }
}

fn found(discovery: &Discovery) -> BTreeMap<PathBuf, (Role, Verdict)> {
    discovery.entries().map(|(path, entry, verdict)| (path.to_owned(), (entry.role, verdict))).collect()
}

fn after(accesses: &[(&str, Node, Access)]) -> BTreeMap<PathBuf, (Role, Verdict)> {
    let mut discovery = empty();
    for (path, node, access) in accesses {
        discovery.add(&looked(path, *node), *access, first("call"));
    }
    let at = |path: &Path| path.strip_prefix(DIRECTORY).unwrap_or(path).to_owned();
    found(&discovery).into_iter().map(|(path, found)| (at(&path), found)).collect()
}

#[test]
fn every_access_to_everything_there_is_has_its_role() {
    use Access::{Alter, Execute, List, Place, Read, Remove, Stat, Write};
    use Node::{Absent, Directory, File, Hidden, Other};
    for (node, access, expected) in [
        (File, Read, Some(Role::Read)),
        (File, List, Some(Role::Read)),
        (File, Stat, Some(Role::Asked)),
        (File, Execute, Some(Role::Executed)),
        (File, Write, Some(Role::Written)),
        (File, Alter, Some(Role::Written)),
        (File, Place, Some(Role::Written)),
        (File, Remove, Some(Role::Written)),
        (Absent, Read, Some(Role::Missed)),
        (Absent, List, Some(Role::Missed)),
        (Absent, Stat, Some(Role::Missed)),
        (Absent, Execute, Some(Role::Missed)),
        (Absent, Write, Some(Role::Written)),
        (Absent, Alter, Some(Role::Written)),
        (Absent, Place, Some(Role::Written)),
        (Absent, Remove, Some(Role::Written)),
        (Directory, Read, Some(Role::Listed)),
        (Directory, List, Some(Role::Listed)),
        (Directory, Stat, None),
        (Hidden, Read, None),
        (Hidden, Stat, None),
        (Hidden, Write, Some(Role::Written)),
        (Directory, Execute, None),
        (Directory, Write, None),
        (Directory, Alter, None),
        (Directory, Place, None),
        (Directory, Remove, None),
        (Other, Read, None),
        (Other, Write, None),
    ] {
        let roles = after(&[("x", node, access)]).get(Path::new("x")).map(|(role, _)| *role);
        assert_eq!(roles, expected, "{access:?} of {node:?}");
    }
}

#[test]
fn what_the_command_writes_is_its_own_whatever_else_it_does_with_it() {
    let written =
        after(&[("x", Node::File, Access::Read), ("x", Node::File, Access::Write), ("x", Node::File, Access::Stat)]);
    assert_eq!(written[Path::new("x")], (Role::Written, Verdict::Own));
}

fn rename(discovery: &mut Discovery, old: &Looked, new: &Looked) {
    let first = first("renameat2");
    discovery.add(old, Access::Remove, first);
    discovery.add(new, Access::Rename, first);
}

#[test]
fn what_lies_in_a_directory_that_the_command_renamed_is_its_own() {
    let mut discovery = empty();
    rename(&mut discovery, &looked("dist.new", Node::Absent), &looked("dist", Node::Directory));
    discovery.add(&looked("dist/a.js", Node::File), Access::Read, first("openat"));
    discovery.add(&looked("src", Node::Directory), Access::Place, first("mkdir"));
    discovery.add(&looked("src/a.js", Node::File), Access::Read, first("openat"));
    let found = found(&discovery);
    assert_eq!(found[&Path::new(DIRECTORY).join("dist/a.js")].1, Verdict::Own);
    assert_eq!(found[&Path::new(DIRECTORY).join("src/a.js")].1, Verdict::Counts);
}

#[test]
fn a_rename_after_which_the_old_name_is_taken_once_more_has_failed() {
    let in_src = Path::new(DIRECTORY).join("src/a.py");
    // `mv g src`, looked at when both calls were made: the first one finds that `src` is there.
    let mut discovery = empty();
    rename(&mut discovery, &looked("g", Node::Absent), &looked("src", Node::Directory));
    assert!(discovery.was_moved(&in_src));
    rename(&mut discovery, &looked("g", Node::Absent), &looked("src/g", Node::File));
    assert!(!discovery.was_moved(&in_src));
    // A name that is made anew meanwhile may be renamed again.
    let mut discovery = empty();
    rename(&mut discovery, &looked("src.new", Node::Absent), &looked("src", Node::Directory));
    discovery.add(&looked("src.new", Node::Directory), Access::Place, first("mkdir"));
    rename(&mut discovery, &looked("src.new", Node::Absent), &looked("other", Node::Directory));
    assert!(discovery.was_moved(&in_src));
}

#[test]
fn the_directory_of_the_command_and_those_above_are_never_its_own() {
    for name in [DIRECTORY, "/home/me"] {
        let mut discovery = empty();
        rename(
            &mut discovery,
            &looked("g", Node::Absent),
            &Looked { name: name.into(), ..looked("", Node::Directory) },
        );
        assert!(!discovery.was_moved(&Path::new(DIRECTORY).join("a.py")), "{name}");
    }
}

#[test]
fn a_link_counts_and_so_does_its_target_but_a_link_that_is_made_says_nothing_of_it() {
    let target = Path::new(DIRECTORY).join("target.txt");
    let link = Looked { target: Some(target.clone()), ..looked("link", Node::File) };
    for (access, of_target) in [
        (Access::Read, Some(Role::Read)),
        (Access::Write, Some(Role::Written)),
        (Access::Place, None),
        (Access::Remove, None),
    ] {
        let mut discovery = empty();
        discovery.add(&link, access, first("call"));
        assert_eq!(found(&discovery).get(&target).map(|(role, _)| *role), of_target, "{access:?}");
    }
}

#[test]
fn a_name_that_is_absent_counts_but_in_what_an_installation_or_a_build_makes() {
    let missed = after(&[
        ("config.local.toml", Node::Absent, Access::Read),
        ("node_modules/a/index.js", Node::Absent, Access::Stat),
        ("target/debug/x", Node::Absent, Access::Stat),
    ]);
    let verdicts: Vec<Verdict> = missed.values().map(|(_, verdict)| *verdict).collect();
    assert_eq!(verdicts, [Verdict::Counts, Verdict::NotMissed, Verdict::NotMissed]);
}

#[test]
fn new_names_are_those_with_the_extension_of_what_was_read_there() {
    let mut discovery = empty();
    let directory = Path::new(DIRECTORY).join("conf.d");
    assert_eq!(discovery.new_names(&directory), NewNames::All);
    discovery.add(&looked("conf.d/old.conf", Node::File), Access::Write, first("open"));
    discovery.add(&looked("conf.d/deep/a.txt", Node::File), Access::Read, first("open"));
    discovery.add(&looked("conf.dry", Node::File), Access::Read, first("open"));
    assert_eq!(discovery.new_names(&directory), NewNames::All);
    discovery.add(&looked("conf.d/a.conf", Node::File), Access::Read, first("open"));
    discovery.add(&looked("conf.d/README", Node::File), Access::Stat, first("stat"));
    assert_eq!(discovery.new_names(&directory), NewNames::With(["".into(), "conf".into()].into()));
}

#[test]
fn what_a_tool_only_asks_about_is_capped_and_told() {
    let mut discovery = empty();
    for number in 0..most(Role::Asked) + 10 {
        discovery.add(&looked(&format!("{number}"), Node::File), Access::Stat, first("stat"));
    }
    assert_eq!(found(&discovery).len(), most(Role::Asked));
    assert_eq!(discovery.too_many().collect::<Vec<_>>(), [(Role::Asked, false)]);
    let elsewhere = Looked { name: "/srv/lib".into(), ..looked("", Node::File) };
    discovery.add(&elsewhere, Access::Stat, first("stat"));
    assert_eq!(discovery.too_many().collect::<Vec<_>>(), [(Role::Asked, true)]);
    // What is read has room of its own, and makes room.
    discovery.add(&looked("0", Node::File), Access::Read, first("open"));
    discovery.add(&looked("read", Node::File), Access::Read, first("open"));
    discovery.add(&looked("one more", Node::File), Access::Stat, first("stat"));
    assert_eq!(found(&discovery).len(), most(Role::Asked) + 2);
}

#[test]
fn what_the_system_installed_takes_no_room_from_what_counts_and_is_no_loss() {
    let mut discovery = empty();
    for number in 0..most(Role::Asked) + 10 {
        let installed = Looked { name: format!("/usr/lib/{number}").into(), ..looked("", Node::File) };
        discovery.add(&installed, Access::Stat, first("stat"));
    }
    discovery.add(&looked("own", Node::File), Access::Stat, first("stat"));
    assert_eq!(found(&discovery).len(), most(Role::Asked) + 1);
    assert_eq!(discovery.too_many().count(), 0);
}

#[test]
fn a_gap_is_told_with_the_first_thread() {
    let mut discovery = empty();
    discovery.add_gap(Gap::IoUring, 7);
    discovery.add_gap(Gap::IoUring, 8);
    assert_eq!(discovery.gaps().collect::<Vec<_>>(), [(Gap::IoUring, 7)]);
}

fn accesses() -> impl Strategy<Value = Vec<(u8, Node, Access)>> {
    let node = prop_oneof![Just(Node::Absent), Just(Node::File), Just(Node::Directory), Just(Node::Other)];
    let access = prop_oneof![
        Just(Access::Read),
        Just(Access::List),
        Just(Access::Stat),
        Just(Access::Execute),
        Just(Access::Write),
        Just(Access::Alter),
        Just(Access::Place),
        Just(Access::Remove),
    ];
    proptest::collection::vec((0_u8..6, node, access), 0..40)
}

proptest! {
    /// The role of a path is the strongest of all, so the order in which threads are seen does not matter.
    #[test]
    fn the_order_of_calls_does_not_matter(accesses in accesses(), seed: u64) {
        let mut shuffled = accesses.clone();
        let mut state = seed;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(index, (state >> 33) as usize % (index + 1));
        }
        let roles = |accesses: &[(u8, Node, Access)]| {
            let names: Vec<String> = accesses.iter().map(|(name, ..)| format!("n{name}")).collect();
            let named: Vec<_> = accesses.iter().zip(&names).map(|((_, node, access), name)| (name.as_str(), *node, *access)).collect();
            after(&named)
        };
        prop_assert_eq!(roles(&accesses), roles(&shuffled));
    }

    /// More calls never take a path out, and never make one count that the command writes.
    #[test]
    fn more_calls_only_add(accesses in accesses(), more in accesses()) {
        let mut discovery = empty();
        for (name, node, access) in &accesses {
            discovery.add(&looked(&format!("n{name}"), *node), *access, first("call"));
        }
        let before = found(&discovery);
        for (name, node, access) in &more {
            discovery.add(&looked(&format!("n{name}"), *node), *access, first("call"));
        }
        let after = found(&discovery);
        for (path, (role, verdict)) in before {
            prop_assert!(after[&path].0 <= role);
            if verdict == Verdict::Own {
                prop_assert_eq!(after[&path].1, Verdict::Own);
            }
        }
    }
}
