use super::Hold;
use crate::change::{Change, ChangeKind, ChangeSet, Look};
use crate::damping::Damping;
use crate::settle::{Progress, Settler};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

fn change(path: &str, kind: ChangeKind) -> Change {
    Change { path: path.into(), kind, rule: "r".into(), config: false, open: false, seen: Look::ABSENT }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A child in a series of fresh files whose next restart waits 4 s, and what its watcher has found.
struct Bench {
    hold: Hold,
    settler: Settler,
    start: Instant,
    ended: Option<Instant>,
    awaited: bool,
}

impl Bench {
    fn new() -> Bench {
        let mut damping = Damping::default();
        for number in 0..8 {
            damping.restart(&ChangeSet::new([change(&format!("/out/{number}"), ChangeKind::Created)]), Duration::ZERO);
        }
        let start = Instant::now();
        Bench {
            hold: Hold::new(damping, false, start),
            settler: Settler::new(millis(100)),
            start,
            ended: None,
            awaited: false,
        }
    }

    /// At this time a file changes; until when does all that is pending wait, counted from the start?
    fn push(&mut self, at: u64, path: &str, kind: ChangeKind) -> Option<u128> {
        self.settler.push(change(path, kind), Progress::Whole, self.start + millis(at));
        self.until(at)
    }

    fn until(&mut self, at: u64) -> Option<u128> {
        let until = self.hold.until(&self.settler, self.ended, self.awaited, self.start + millis(at));
        until.map(|until| until.duration_since(self.start).as_millis())
    }

    /// All passes at this time: the notice that it passes for, and the quiet time before, in milliseconds.
    fn pass(&mut self, at: u64) -> (u128, u128) {
        let passed = self.hold.pass(&ChangeSet::default(), self.start + millis(at));
        (passed.noticed.duration_since(self.start).as_millis(), passed.quiet.as_millis())
    }
}

#[test]
fn whoever_waits_for_them_does_not_wait_for_the_series_but_for_the_jitter() {
    let mut bench = Bench::new();
    assert_eq!(bench.push(300, "/out/new", ChangeKind::Created), Some(4300));
    bench.awaited = true;
    assert_eq!(bench.until(1000), None);
    assert_eq!(bench.pass(1001), (1000, 300));
    let mut bench = Bench::new();
    (bench.hold, bench.awaited) = (bench.hold.spread(millis(3000)), true);
    assert_eq!(bench.push(300, "/out/new", ChangeKind::Created), Some(3300));
}

#[test]
fn changes_of_the_series_wait_together_counted_from_the_first_notice() {
    let mut bench = Bench::new();
    assert_eq!(bench.push(300, "/out/new", ChangeKind::Created), Some(4300));
    assert_eq!(bench.push(600, "/out/1", ChangeKind::Modified), Some(4300));
    assert_eq!(bench.until(4299), Some(4300));
    assert_eq!(bench.until(4300), None);
    assert_eq!(bench.pass(4301), (300, 300));
}

#[test]
fn an_old_file_outside_of_the_series_lets_all_pass_at_once_and_is_what_it_passes_for() {
    for at in [400, 3000] {
        let mut bench = Bench::new();
        bench.push(300, "/out/1", ChangeKind::Modified);
        assert_eq!(bench.push(at, "/app.py", ChangeKind::Modified), None);
        assert_eq!(bench.pass(at + 1), (u128::from(at), 300));
    }
}

#[test]
fn a_change_after_two_quiet_seconds_is_not_of_the_series() {
    let mut bench = Bench::new();
    assert_eq!(bench.push(2001, "/out/1", ChangeKind::Modified), None);
    assert_eq!(bench.pass(2002), (2001, 2001));
}

#[test]
fn while_a_change_waits_quiet_counts_once_the_command_has_ended() {
    // A build may be slow.
    let mut bench = Bench::new();
    bench.push(300, "/out/1", ChangeKind::Modified);
    assert_eq!(bench.push(3500, "/out/new", ChangeKind::Created), Some(4300));
    // One that has ended writes no more.
    for (ended, last, at, until) in
        [(1000, 300, 3001, None), (1000, 300, 3000, Some(4300)), (200, 900, 2950, None), (1500, 300, 3400, Some(4300))]
    {
        let mut bench = Bench::new();
        bench.push(300, "/out/1", ChangeKind::Modified);
        bench.push(last, "/out/2", ChangeKind::Modified);
        bench.ended = Some(bench.start + millis(ended));
        assert_eq!(
            bench.push(at, "/out/new", ChangeKind::Created),
            until,
            "ended at {ended}, changed at {last} and {at}"
        );
        if until.is_none() {
            assert_eq!(bench.pass(at + 1), (u128::from(at), u128::from(at - ended.max(last))));
        }
    }
}

#[test]
fn what_comes_to_nothing_waits_no_more_and_the_next_begins_anew() {
    let mut bench = Bench::new();
    bench.push(300, "/out/1", ChangeKind::Modified);
    bench.settler.withdraw("/out/1".as_ref());
    assert_eq!(bench.until(400), None);
    assert_eq!(bench.push(500, "/out/1", ChangeKind::Modified), Some(4500));
}

#[test]
fn a_signal_does_not_wait_but_the_start_of_a_command_that_has_ended_does() {
    let mut bench = Bench::new();
    bench.hold = Hold::new(bench.hold.damping.clone(), true, bench.start);
    assert_eq!(bench.push(300, "/out/1", ChangeKind::Modified), None);
    bench.ended = Some(bench.start + millis(350));
    assert_eq!(bench.push(400, "/out/1", ChangeKind::Modified), Some(4300));
}

#[test]
fn between_two_commands_of_a_queue_and_two_runs_there_is_no_rest_however_long_they_take() {
    let mut bench = Bench::new();
    bench.hold = bench.hold.without_rest(true, Arc::default());
    assert_eq!(bench.push(60_000, "/out/new", ChangeKind::Created), Some(64_000));
    let mut bench = Bench::new();
    bench.hold = bench.hold.without_rest(true, Arc::default());
    bench.ended = Some(bench.start + millis(100));
    assert_eq!(bench.push(60_000, "/out/new", ChangeKind::Created), None, "it is at rest");
    let mut bench = Bench::new();
    bench.hold = bench.hold.without_rest(false, Arc::new(AtomicBool::new(true)));
    assert_eq!(bench.push(60_000, "/out/new", ChangeKind::Created), Some(64_000));
}

#[test]
fn everything_waits_for_the_jitter_after_the_first_change_and_that_is_told_once() {
    let mut bench = Bench::new();
    let start = bench.start;
    bench.hold = Hold::new(Damping::default(), true, start).spread(millis(500));
    let told = |bench: &mut Bench, at| bench.hold.postponed(start + millis(at)).map(|delay| delay.as_millis());
    assert_eq!((bench.until(5), told(&mut bench, 5)), (None, None), "nothing is pending");
    for _ in 0..2 {
        assert_eq!(bench.push(10, "/a", ChangeKind::Modified), Some(510));
        assert_eq!(told(&mut bench, 20), Some(490));
        assert_eq!(bench.push(300, "/b", ChangeKind::Modified), Some(510), "what comes later waits with it");
        assert_eq!(told(&mut bench, 300), None);
        assert_eq!((bench.until(510), told(&mut bench, 510)), (None, None));
        assert_eq!(bench.pass(510).0, 10, "the notice is that of the first");
        bench.settler = Settler::new(millis(100));
    }
    // A series that waits longer anyway.
    bench = Bench::new();
    bench.hold = Hold::new(Bench::new().hold.damping, false, start).spread(millis(500));
    assert_eq!(bench.push(10, "/out/8", ChangeKind::Created), Some(4010));
    bench.hold = Hold::new(Bench::new().hold.damping, false, start).spread(millis(9000));
    assert_eq!(bench.push(10, "/out/8", ChangeKind::Created), Some(9010));
}
