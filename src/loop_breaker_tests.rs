use super::{ALIKE, BACK_OFF, LoopBreaker, Next, PATIENCE, Sight, TRIAL_HOLD, pattern_of};
use crate::change::{Change, ChangeKind, ChangeSet, Hold, Look, Stamp};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A breaker, its restarts and a clock.
struct Bench {
    breaker: LoopBreaker,
    now_ns: i64,
    /// Moves on with every write.
    writes: i64,
    /// Whether every write has the same content.
    alike: bool,
    /// Whether somebody writes in every pause.
    written_in_pauses: bool,
    accused: Vec<String>,
    paused: Vec<Duration>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            breaker: LoopBreaker::new(),
            now_ns: 0,
            writes: 0,
            alike: false,
            written_in_pauses: false,
            accused: vec![],
            paused: vec![],
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now_ns += i64::try_from(time.as_nanos()).unwrap();
    }

    /// A command starts, and is restarted for these files, which were noticed so long after the start.
    fn restart(&mut self, paths: &[&str], ran: Duration, rewritten: bool) -> Vec<Hold> {
        let started = self.now_ns;
        self.pass(ran);
        self.writes += 1;
        let change = |path: &&str| Change {
            path: path.into(),
            kind: ChangeKind::Modified,
            rule: String::new(),
            config: false,
            open: false,
            rewritten,
            seen: Look::ABSENT,
        };
        let set = ChangeSet::new(paths.iter().map(change));
        let found = self.breaker.restart(&set, Some(started), self.now_ns);
        self.note(&found);
        // A pause has two looks.
        for _ in 0..2 {
            let Some(asked) = self.breaker.question() else { break };
            let sights: Vec<Sight> = asked.iter().map(|_| self.sight()).collect();
            let (next, found) = self.breaker.seen(&sights);
            self.note(&found);
            let Next::Pause(pause) = next else { break };
            self.paused.push(pause);
            self.pass(pause);
            self.writes += i64::from(self.written_in_pauses);
        }
        self.breaker.holds()
    }

    fn sight(&self) -> Sight {
        let stamp = Stamp { mtime_ns: self.writes, size: 1, inode: 1 };
        let content = Some(if self.alike { 7 } else { u64::try_from(self.writes).unwrap() });
        Sight { look: Look { stamp: Some(stamp), ctime_ns: 0 }, content }
    }

    fn note(&mut self, found: &[super::Conviction]) {
        self.accused.extend(found.iter().map(|one| one.path.display().to_string()));
    }

    /// A command that rewrites a file until it is convicted, and once more whatever is said.
    fn until_convicted(&mut self, path: &str) {
        for _ in 0..6 {
            let held = !self.breaker.holds().is_empty();
            self.restart(&[path], millis(200), held);
        }
        assert_eq!(self.accused, [path]);
    }
}

fn hold(path: &str, time: Duration) -> Hold {
    Hold { path: PathBuf::from(path), time }
}

#[test]
fn a_command_that_rewrites_a_file_is_convicted_by_two_trials_and_told_once() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        assert_eq!(bench.restart(&["/a"], millis(200), false), []);
    }
    assert_eq!(bench.paused, []);
    assert_eq!(bench.restart(&["/a"], millis(200), false), [hold("/a", TRIAL_HOLD)]);
    assert_eq!(bench.paused, [millis(400)], "twice the time between two changes");
    assert_eq!(bench.restart(&["/a"], millis(200), true), [hold("/a", TRIAL_HOLD)], "one trial is not enough");
    assert!(bench.accused.is_empty());
    assert_eq!(bench.restart(&["/a"], millis(200), true), [hold("/a", BACK_OFF.0)]);
    for seconds in [8, 16, 32, 60, 60] {
        assert_eq!(bench.restart(&["/a"], millis(200), true), [hold("/a", Duration::from_secs(seconds))]);
    }
    assert_eq!((bench.accused, bench.paused.len()), (vec!["/a".to_owned()], 2));
}

#[test]
fn who_writes_in_the_pause_is_somebody_else_and_left_alone_for_ten_minutes() {
    let mut bench = Bench::new();
    bench.written_in_pauses = true;
    for _ in 0..200 {
        assert_eq!(bench.restart(&["/a"], millis(100), true), []);
    }
    assert_eq!((bench.paused.len(), bench.accused.len()), (1, 0));
    bench.pass(Duration::from_secs(600));
    for _ in 0..4 {
        bench.restart(&["/a"], millis(100), true);
    }
    assert_eq!(bench.paused.len(), 2, "then it is asked again");
}

#[test]
fn who_waits_for_each_start_is_asked_three_times_and_never_accused() {
    let mut bench = Bench::new();
    let held = (0..200).filter(|_| !bench.restart(&["/a"], millis(30), false).is_empty()).count();
    assert_eq!((held, bench.paused.len(), bench.accused.len()), (3, 3, 0));
}

#[test]
fn the_same_content_many_times_convicts_if_nobody_writes_in_the_pause() {
    let mut bench = Bench::new();
    bench.alike = true;
    for count in 1..=16 {
        assert!(bench.accused.is_empty(), "after {count}");
        bench.restart(&["/a"], millis(300), false);
    }
    assert_eq!(bench.accused, ["/a"]);
    // Not if the content was another one a few starts ago.
    let mut bench = Bench::new();
    for count in 1..=16 {
        bench.alike = count > 16 - ALIKE + 1;
        bench.restart(&["/a"], millis(300), false);
    }
    assert!(bench.accused.is_empty());
}

#[test]
fn patience_ends_with_a_long_pause() {
    let mut bench = Bench::new();
    for _ in 0..PATIENCE - 1 {
        bench.restart(&["/a"], Duration::from_secs(4), false);
    }
    assert!(bench.accused.is_empty());
    bench.restart(&["/a"], Duration::from_secs(4), false);
    assert_eq!(bench.accused, ["/a"]);
    assert_eq!(bench.paused.last(), Some(&Duration::from_secs(8)), "longer than the pace of the changes");
}

#[test]
fn another_file_a_late_change_and_a_command_that_did_not_start_end_the_series() {
    let interruptions: [fn(&mut Bench); 3] = [
        |bench| drop(bench.restart(&["/b"], millis(200), false)),
        |bench| drop(bench.restart(&["/a"], Hold::SOON + millis(1), false)),
        |bench| drop(bench.breaker.restart(&ChangeSet::default(), None, bench.now_ns)),
    ];
    for interrupt in interruptions {
        let mut bench = Bench::new();
        for _ in 0..20 {
            for _ in 0..3 {
                assert_eq!(bench.restart(&["/a"], millis(200), false), []);
            }
            interrupt(&mut bench);
        }
        assert!(bench.paused.is_empty());
    }
}

#[test]
fn only_the_files_behind_every_restart_are_suspected() {
    let mut bench = Bench::new();
    for other in ["/b", "/c", "/d"] {
        bench.restart(&["/a", other], millis(200), false);
    }
    assert_eq!(bench.restart(&["/a", "/e"], millis(200), false), [hold("/a", TRIAL_HOLD)]);
}

#[test]
fn a_second_file_is_found_after_the_first_and_restarts_at_once_until_then() {
    let mut bench = Bench::new();
    bench.until_convicted("/a");
    bench.accused.clear();
    let kept = hold("/a", BACK_OFF.0);
    for _ in 0..3 {
        assert_eq!(bench.restart(&["/a", "/b"], millis(900), true), std::slice::from_ref(&kept));
    }
    assert_eq!(bench.restart(&["/a", "/b"], millis(900), true), [kept.clone(), hold("/b", TRIAL_HOLD)]);
    bench.restart(&["/a", "/b"], millis(900), true);
    assert_eq!(bench.restart(&["/a", "/b"], millis(900), true), [kept, hold("/b", BACK_OFF.0)]);
    assert_eq!(bench.accused, ["/b"]);
}

#[test]
fn a_command_that_runs_long_without_a_change_is_pardoned_and_so_is_all_by_a_new_configuration() {
    let mut bench = Bench::new();
    bench.until_convicted("/a");
    assert_eq!(bench.restart(&["/b"], BACK_OFF.0 * 2, false), [hold("/a", BACK_OFF.0)], "not yet");
    assert_eq!(bench.restart(&["/b"], BACK_OFF.0 * 2 + millis(1), false), []);
    let mut bench = Bench::new();
    bench.until_convicted("/a");
    bench.breaker.reset();
    assert_eq!(bench.breaker.holds(), []);
}

#[test]
fn the_config_file_is_never_suspected() {
    let mut bench = Bench::new();
    let change = Change {
        path: "/reloadrun.toml".into(),
        kind: ChangeKind::Modified,
        rule: String::new(),
        config: true,
        open: false,
        rewritten: true,
        seen: Look::ABSENT,
    };
    for _ in 0..300 {
        assert!(bench.breaker.restart(&ChangeSet::new([change.clone()]), Some(bench.now_ns), bench.now_ns).is_empty());
        assert_eq!(bench.breaker.question(), None);
        bench.pass(millis(100));
    }
}

#[test]
fn the_sentence_names_the_file_and_what_to_type() {
    let conviction = super::Conviction { path: "/app/sub/cache.json".into(), hold: BACK_OFF.0 };
    assert_eq!(
        conviction.sentence(Path::new("/app"), false),
        "sub/cache.json is rewritten shortly after every start, by the command itself as it seems; restarts for it back off (next in 4s at the earliest): leave it out with -i 'sub/cache.json'"
    );
    let named = conviction.sentence(Path::new("/else"), true);
    assert!(named.contains("/app/sub/cache.json is named by -w: take it out there"), "{named}");
    for (path, pattern) in
        [("a.json", "a.json"), ("a[1]*;.json", r"a\[1\]\*\;.json"), ("it's", r"it'\''s"), ("!a", "./!a")]
    {
        assert_eq!(pattern_of(path), pattern);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_hold_is_longer_than_a_minute_no_pause_than_ten_seconds_and_nobody_is_accused_twice(
        steps in proptest::collection::vec((0u8..3, any::<bool>(), any::<bool>(), 0u64..6000), 0..400),
        alike in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        bench.alike = alike;
        for (path, rewritten, written, ran) in steps {
            bench.written_in_pauses = written;
            let paths: &[&str] = [&["/a"][..], &["/a"], &["/a", "/b"]][usize::from(path)];
            let holds = bench.restart(paths, millis(ran), rewritten);
            prop_assert!(holds.iter().all(|hold| hold.time <= BACK_OFF.1));
            prop_assert!(holds.iter().all(|hold| hold.path != Path::new("/never")));
            prop_assert!(bench.paused.iter().all(|pause| *pause <= Duration::from_secs(10)));
        }
        let mut once = bench.accused.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), bench.accused.len());
    }

    #[test]
    fn changes_of_ever_different_files_are_never_delayed(
        steps in proptest::collection::vec((any::<bool>(), 0u64..6000), 0..400),
    ) {
        let mut bench = Bench::new();
        for (number, (rewritten, ran)) in steps.into_iter().enumerate() {
            let path = format!("/{number}");
            prop_assert!(bench.restart(&[&path], millis(ran), rewritten).is_empty());
        }
        prop_assert!(bench.paused.is_empty());
    }
}
