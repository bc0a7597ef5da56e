use super::{Degraded, Limit, Loss, Named};
use crate::exit_code::CommandStatus;
use crate::generation::Generation;
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn named(pid: i32, name: &str) -> Named {
    Named { pid, name: name.into(), owner: "root".into() }
}

/// One of each kind, with this text wherever a text comes from outside.
pub fn every(text: &str) -> Vec<Degraded> {
    let (directory, file_system, reason) = (|| text.into(), || text.to_owned(), || text.to_owned());
    let (path, interval, delay) = (|| text.into(), SECOND, SECOND);
    let limit = || Some(Limit { count: 8192, sysctl: "fs.inotify.max_user_watches".into() });
    let died = |loss| Degraded::ChildDied { generation: Generation::FIRST, loss, delay: Some(delay) };
    vec![
        Degraded::WatchLimit { limit: limit(), held: 5, interval },
        Degraded::InstanceLimit { limit: limit(), interval },
        Degraded::OpenFilesLimit { count: 64, interval },
        Degraded::BackendRefused { reason: reason(), interval },
        Degraded::WatchRefused { directory: directory(), reason: reason(), interval },
        Degraded::QueueOverflow,
        Degraded::Polled { directory: directory(), file_system: file_system(), interval },
        Degraded::Layered { directory: directory(), file_system: file_system(), interval },
        Degraded::MountedFile { path: path() },
        Degraded::EnteredNotListed { directory: directory(), file: path(), interval },
        Degraded::UnreadableDirectory { directory: directory() },
        Degraded::UnlistedDirectory { directory: directory(), reason: reason() },
        Degraded::LargeLink { link: path(), target: path(), files: 1001, directories: 2 },
        Degraded::NeverQuiet { path: path() },
        Degraded::IgnoreFileIsLink { path: path() },
        Degraded::IgnoreFileTooLarge { path: path(), bytes: 3, rules: 2, globs: 1 },
        Degraded::IgnoreFileUnreadable { path: path(), reason: reason() },
        Degraded::RestartSeries {
            files: vec![text.into()],
            restarts: 6,
            within: SECOND,
            waits: true,
            longest: SECOND,
            remedy: text.into(),
        },
        died(Loss::Ended(CommandStatus::Signaled { signal: 9, name: text.into(), core: false })),
        died(Loss::Left),
        died(Loss::NoAnswer),
        Degraded::ChildNotStarted { reason: reason(), delay },
        Degraded::LockfileNotWritten { path: path(), reason: reason() },
        Degraded::LockfileNotTouched { reason: reason() },
        Degraded::SignalRefused { signal: "SIGHUP".into(), process: named(7, text) },
        Degraded::OutOfReach { processes: vec![named(7, text)] },
        Degraded::NotReady { timeout: SECOND, reason: reason() },
        Degraded::NotReplaced { generation: Generation::FIRST.next(), how: reason(), stays: Generation::FIRST },
        Degraded::AnsweredByOther { place: text.into(), who: text.into() },
        Degraded::OwnerUnknown { place: text.into(), why: reason(), accepted: true },
        Degraded::OwnerUnknown { place: text.into(), why: reason(), accepted: false },
        Degraded::OutletEnded { how: reason(), delay },
        Degraded::SurvivedKill { pids: vec![7] },
        Degraded::HiddenProcesses,
        Degraded::NoProc,
        Degraded::NoSubreaper,
        Degraded::Untraced { why: reason() },
        Degraded::TraceGap { why: reason() },
        Degraded::NeedsRights { program: path(), starts_again: true },
        Degraded::NeedsRights { program: path(), starts_again: false },
        Degraded::NoRoomForEvents { kept: 256 * 1024 },
    ]
}

/// The variants' own names, as serde has them from the enum: a new one cannot be forgotten here.
fn variants() -> BTreeSet<String> {
    let error = serde_json::from_str::<Degraded>("{\"?\":null}").expect_err("no variant is called so").to_string();
    let (_, list) = error.split_once("expected one of").expect("serde lists the variants");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_kind_has_the_name_of_its_variant_and_a_place_in_the_documentation() {
    let kinds: BTreeSet<String> = every("x").iter().map(|degraded| degraded.kind().to_owned()).collect();
    assert_eq!(kinds, variants());
    let page = include_str!("../docs/events.md");
    let section = page.split("\n## ").find(|section| section.starts_with("`degraded`")).expect("it is documented");
    let items = section.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next());
    let documented: Vec<String> = items.map(str::to_owned).collect();
    assert_eq!(documented.len(), kinds.len(), "each once: {documented:?}");
    assert_eq!(documented.into_iter().collect::<BTreeSet<_>>(), kinds);
}

#[test]
fn every_kind_survives_the_pipe_between_child_and_supervisor() {
    for degraded in every("a\n\u{e9}") {
        let bytes = postcard::to_stdvec(&degraded).expect("plain data");
        assert_eq!(postcard::from_bytes::<Degraded>(&bytes).expect("the same"), degraded);
    }
}

#[test]
fn what_happens_at_one_moment_is_told_each_time_and_a_state_is_told_once() {
    let moments: BTreeSet<&str> =
        every("x").iter().filter(|degraded| degraded.lasts().is_none()).map(Degraded::kind).collect();
    let expected = [
        "answered_by_other",
        "child_died",
        "child_not_started",
        "hidden_processes",
        "lockfile_not_touched",
        "not_ready",
        "not_replaced",
        "out_of_reach",
        "outlet_ended",
        "queue_overflow",
        "signal_refused",
        "survived_kill",
    ];
    assert_eq!(moments, expected.into());
}

#[test]
fn what_lasts_is_known_again_although_its_numbers_differ() {
    let held = |held| Degraded::WatchLimit { limit: None, held, interval: SECOND };
    assert_eq!(held(5).lasts(), held(6).lasts());
    let link =
        |link: &str, files| Degraded::LargeLink { link: link.into(), target: "/t".into(), files, directories: 2 };
    assert_eq!(link("/a", 1001).lasts(), link("/a", 1002).lasts());
    assert_ne!(link("/a", 1001).lasts(), link("/b", 1001).lasts());
    let unreadable = |directory: &str| Degraded::UnreadableDirectory { directory: directory.into() };
    assert_eq!(unreadable("/a").topic(), unreadable("/b").topic(), "one line a generation");
    assert_ne!(unreadable("/a").lasts(), unreadable("/b").lasts(), "another one later is news");
}

#[test]
fn every_sentence_says_what_is_wrong_and_what_to_do() {
    let sentences = [
        "this user's limit of 8192 watched directories is reached (reloadrun holds 5); raise it with `sysctl fs.inotify.max_user_watches=N`, or watch less with -w and -i; until then the rest is polled every 1s",
        "this user's limit of 8192 inotify instances is reached; raise it with `sysctl fs.inotify.max_user_watches=N`; until then everything is polled every 1s",
        "the limit of 64 open files leaves no room for an inotify instance; raise it with `ulimit -n N`; until then everything is polled every 1s",
        "the system sends no file events (/a), so everything is polled every 1s (--interval)",
        "/a cannot be watched (/a), so it is polled every 1s (--interval)",
        "the kernel's event queue overflowed; everything was rescanned, and no change was missed (fs.inotify.max_queued_events sets its size)",
        "/a is on /a, which sends no file events; it is polled every 1s (--interval)",
        "/a is on /a: changes made through it are noticed at once; changes made in its lower layers are found by polling every 1s (--interval), less often in a large tree",
        "/a is a mount of its own (a subPath volume or a bind-mounted file): a new file that is renamed over its source never arrives here; mount the directory instead",
        "/a may be entered but not listed, so it sends no file events; /a is polled every 1s (--interval)",
        "/a cannot be read, so changes in it are not noticed; make it readable, or leave it out with -i",
        "/a cannot be listed (/a), so changes in it may not be noticed",
        "/a leads out of the tree to /a: 1001 files in 2 directories are watched there; --no-follow leaves such symlinks out, -i this one",
        "files keep changing (/a for one), so a change passes after 10 times --debounce without the quiet time; leave out with -i what is written all the time",
        "/a is a symlink, which git does not read; replace it with a file",
        "/a is too large: only the first 3 bytes are used, with at most 2 rules, 1 of them with wildcards",
        "/a cannot be read (/a), so its rules are not used; make it readable",
        "/a changed within 1s of a start, 6 restarts in a row; further such restarts are delayed by up to 1s each. If the command itself writes it, ignore it: /a",
        "the child of generation 1 is gone (it was killed by /a); its command was ended, and the next child starts in 1s",
        "the child of generation 1 is gone (somebody else asked it to end, or it could not do its work); its command was ended, and the next child starts in 1s",
        "the child of generation 1 is gone (it did not answer); its command was ended, and the next child starts in 1s",
        "no child can be started: /a; trying again in 1s",
        "cannot write to the lockfile /a (/a); it stays empty; the lock and the heartbeat still work",
        "the lockfile cannot be touched (/a), so the heartbeat stops and the child will end; choose another place with --lockfile",
        "SIGHUP did not reach the command: this user may not signal process 7 (/a, owned by root); start reloadrun as its owner or as root",
        "process 7 (/a, owned by root) cannot be ended, because this user may not signal it; it runs on. End it yourself (sudo kill 7), or start reloadrun as root",
        "not ready after 1s: /a; the command runs on",
        "generation 2 /a; generation 1 stays",
        "/a answers, but it is /a, not ours; the command is not ready by that",
        "/a answers, and whose socket it is cannot be told (/a); it is taken for the command's, because nothing answered before the start",
        "/a answers, but something answered there before the start already, and whose socket it is cannot be told (/a); the command is not ready by that",
        "the process of reloadrun that answers HTTP requests /a; it is started again in 1s, and the command runs on",
        "process 7 survived SIGKILL (blocked in the kernel) and was left running",
        "processes that /proc does not show were left running",
        "there is no /proc here, so processes that leave the command's process group cannot be found; mount it",
        "the system does not give orphaned processes to reloadrun, as under QEMU's emulation of another processor; what the command sets aside by a double fork may be left running",
        "the command cannot be traced: /a; files elsewhere that it reads are not watched, and files that it writes may restart it (--discover off does not try)",
        "not every file that the command reads is known: /a; nothing is left out because of it",
        "a needs its rights: discovery is off for this command; the command is started again (--discover off does not try)",
        "a needs its rights: discovery is off for this command, from the next start on (--discover off does not try)",
        "there is no room for the events (a full disk, or ulimit -f); up to 256 KiB of them wait until there is",
    ];
    let told: Vec<String> = every("/a").iter().map(ToString::to_string).collect();
    assert_eq!(told, sentences);
    let many: Vec<Named> = (1..=6).map(|pid| named(pid, if pid == 2 { "" } else { "sudo" })).collect();
    assert_eq!(
        Degraded::OutOfReach { processes: many }.to_string(),
        "processes 1 (sudo, owned by root), 2, 3 (sudo, owned by root), 4 (sudo, owned by root) and 2 more cannot be ended, because this user may not signal them; they run on. End them yourself (sudo kill 1 2 3 4 5 6), or start reloadrun as root"
    );
    let unknown = Degraded::InstanceLimit { limit: None, interval: SECOND };
    assert!(
        unknown
            .to_string()
            .starts_with("this user's limit of inotify instances is reached; raise it with `sysctl fs.inotify.*=N`")
    );
    assert_eq!(
        Degraded::SurvivedKill { pids: vec![7, 8] }.to_string(),
        "processes 7, 8 survived SIGKILL (blocked in the kernel) and were left running"
    );
}
