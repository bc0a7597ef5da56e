use super::{Batch, Goal, MOST_IN_A_ROW, Phase, Rollout, Step};
use crate::change::{Change, ChangeKind, ChangeSet, Look};
use proptest::prelude::{any, prop, proptest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn batch(paths: &[&str]) -> Batch {
    let change = |path: &&str| Change {
        path: PathBuf::from(path),
        kind: ChangeKind::Modified,
        rule: String::new(),
        config: *path == "reloadrun.toml",
        open: false,
        seen: Look::ABSENT,
    };
    Batch { changes: ChangeSet::new(paths.iter().map(change)), noticed_ns: 0, quiet: Duration::ZERO }
}

fn paths(step: Option<Step>) -> (&'static str, Vec<String>) {
    let (name, changes) = match step {
        None => return ("nothing", Vec::new()),
        Some(Step::Prepare(batch)) => ("prepare", batch.changes),
        Some(Step::Apply(batch)) => ("apply", batch.changes),
        Some(Step::Run(batch)) => ("run", batch.changes),
        Some(Step::Queue(batch)) => ("queue", batch.changes),
        Some(Step::Dequeue(batch)) => ("dequeue", batch.changes),
    };
    (name, changes.paths().map(|path| path.display().to_string()).collect())
}

fn rollout(goal: Goal, prepares: bool) -> Rollout {
    Rollout::new(goal, prepares, BTreeSet::new())
}

#[test]
fn without_a_preparation_a_change_is_applied_at_once() {
    for goal in [Goal::Restart, Goal::Signal] {
        assert_eq!(paths(rollout(goal, false).changed(batch(&["a"]))), ("apply", vec!["a".into()]));
    }
    assert_eq!(paths(rollout(Goal::Run, false).changed(batch(&["a"]))), ("run", vec!["a".into()]));
    assert_eq!(paths(rollout(Goal::Restart, false).changed(batch(&[]))), ("nothing", vec![]));
}

#[test]
fn a_change_is_applied_when_it_has_been_prepared_and_a_failed_one_waits_for_the_repair() {
    let mut rollout = rollout(Goal::Restart, true);
    assert_eq!(paths(rollout.changed(batch(&["a"]))), ("prepare", vec!["a".into()]));
    assert_eq!(paths(rollout.job_ended(false)), ("nothing", vec![]));
    assert_eq!(paths(rollout.changed(batch(&["b"]))), ("prepare", vec!["a".into(), "b".into()]));
    assert_eq!(paths(rollout.job_ended(true)), ("apply", vec!["a".into(), "b".into()]));
}

#[test]
fn a_change_during_a_preparation_leads_to_one_more_even_if_this_one_failed() {
    for succeeded in [true, false] {
        let mut rollout = rollout(Goal::Restart, true);
        rollout.changed(batch(&["a"]));
        assert_eq!(paths(rollout.changed(batch(&["b"]))), ("nothing", vec![]));
        assert_eq!(paths(rollout.job_ended(succeeded)), ("prepare", vec!["a".into(), "b".into()]));
        assert_eq!(paths(rollout.job_ended(true)), ("apply", vec!["a".into(), "b".into()]));
    }
}

#[test]
fn what_two_preparations_in_a_row_wrote_is_their_output_and_is_not_told() {
    let mut rollout = rollout(Goal::Restart, true);
    rollout.changed(batch(&["a.ts"]));
    rollout.changed(batch(&["a.js"]));
    assert_eq!(paths(rollout.job_ended(true)).0, "prepare");
    rollout.changed(batch(&["a.js"]));
    assert_eq!(paths(rollout.job_ended(true)), ("apply", vec!["a.ts".into()]));
    assert_eq!(rollout.carried().outputs.len(), 1);
    // From then on, one preparation is enough.
    rollout.changed(batch(&["a.ts"]));
    rollout.changed(batch(&["a.js"]));
    assert_eq!(paths(rollout.job_ended(true)), ("apply", vec!["a.ts".into()]));
    // An output that somebody edits while nothing runs is a source.
    assert_eq!(paths(rollout.changed(batch(&["a.js"]))).0, "prepare");
}

#[test]
fn a_source_saved_during_two_preparations_in_a_row_is_no_output() {
    let mut rollout = rollout(Goal::Restart, true);
    rollout.changed(batch(&["a"]));
    rollout.changed(batch(&["a"]));
    assert_eq!(paths(rollout.job_ended(true)).0, "prepare");
    rollout.changed(batch(&["a"]));
    assert_eq!(paths(rollout.job_ended(true)).0, "prepare", "the last save has not been prepared");
    assert_eq!(paths(rollout.job_ended(true)), ("apply", vec!["a".into()]));
}

#[test]
fn a_preparation_that_rewrites_its_own_source_ends_all_the_same() {
    for succeeded in [true, false] {
        let mut rollout = rollout(Goal::Restart, true);
        let mut step = rollout.changed(batch(&["a"]));
        let mut preparations = 0;
        while let Some(Step::Prepare(_)) = step {
            preparations += 1;
            rollout.changed(batch(&["a"]));
            step = rollout.job_ended(succeeded);
        }
        assert_eq!(preparations, MOST_IN_A_ROW);
        assert_eq!(paths(step).0, if succeeded { "apply" } else { "nothing" });
    }
}

#[test]
fn what_changes_during_a_run_is_in_the_next_one_whether_it_failed_or_not() {
    for succeeded in [true, false] {
        let mut rollout = rollout(Goal::Run, false);
        assert_eq!(paths(rollout.changed(batch(&["a"]))), ("run", vec!["a".into()]));
        assert_eq!(paths(rollout.changed(batch(&["b"]))), ("nothing", vec![]));
        assert_eq!(paths(rollout.changed(batch(&["a"]))), ("nothing", vec![]));
        assert_eq!(paths(rollout.job_ended(succeeded)), ("run", vec!["a".into(), "b".into()]));
        assert_eq!(paths(rollout.job_ended(succeeded)), ("nothing", vec![]));
    }
}

#[test]
fn a_changed_config_file_restarts_in_every_mode_after_the_run_has_ended() {
    let mut rollout = rollout(Goal::Run, false);
    rollout.changed(batch(&["a"]));
    assert_eq!(paths(rollout.changed(batch(&["reloadrun.toml"]))), ("nothing", vec![]));
    assert_eq!(paths(rollout.job_ended(true)), ("apply", vec!["reloadrun.toml".into()]));
}

#[test]
fn queued_changes_are_applied_when_the_command_has_ended_and_were_prepared_before() {
    let mut rollout = rollout(Goal::Queue, true);
    assert_eq!(paths(rollout.changed(batch(&["a"]))).0, "prepare");
    assert_eq!(paths(rollout.job_ended(true)), ("queue", vec!["a".into()]), "the command still runs");
    assert_eq!(paths(rollout.changed(batch(&["b"]))).0, "prepare");
    assert_eq!(paths(rollout.command_ended()), ("nothing", vec![]), "the preparation still runs");
    assert_eq!(paths(rollout.job_ended(true)), ("apply", vec!["a".into(), "b".into()]));
    let mut rollout = self::rollout(Goal::Queue, false);
    assert_eq!(paths(rollout.changed(batch(&["a"]))), ("queue", vec!["a".into()]));
    assert_eq!(paths(rollout.changed(batch(&["b"]))), ("queue", vec!["b".into()]));
    assert_eq!(paths(rollout.command_ended()), ("dequeue", vec!["a".into(), "b".into()]));
    assert_eq!(paths(rollout.changed(batch(&["c"]))), ("apply", vec!["c".into()]), "nothing runs");
}

#[test]
fn the_first_preparation_starts_the_command_in_every_mode_and_a_failed_one_waits() {
    for goal in [Goal::Restart, Goal::Signal, Goal::Queue, Goal::Run] {
        let mut rollout = rollout(goal, true);
        assert_eq!(paths(rollout.first(batch(&[]))), ("prepare", vec![]));
        assert_eq!(paths(rollout.job_ended(false)), ("nothing", vec![]));
        assert!(!rollout.carried().prepared);
        assert_eq!(paths(rollout.changed(batch(&["a"]))), ("prepare", vec!["a".into()]));
        assert_eq!(paths(rollout.job_ended(true)), ("apply", vec!["a".into()]));
        assert!(rollout.carried().prepared);
    }
}

#[test]
fn a_run_that_is_cut_off_and_what_came_meanwhile_is_owed_by_the_next_generation() {
    let mut rollout = rollout(Goal::Run, false);
    rollout.changed(batch(&["a"]));
    rollout.changed(batch(&["b"]));
    assert_eq!(rollout.carried().unserved.len(), 2);
    rollout.job_ended(true);
    assert_eq!(rollout.carried().unserved.len(), 1);
    rollout.changed(batch(&["c", "reloadrun.toml"]));
    assert_eq!(paths(rollout.job_ended(true)).0, "apply");
    assert_eq!(rollout.carried().unserved.paths().collect::<Vec<_>>(), [Path::new("c")], "new settings are read");
}

proptest! {
    /// Numbers the saves and the jobs: every save is in exactly one run that began after it.
    #[test]
    fn every_change_is_in_exactly_one_run_that_began_after_it(
        steps in prop::collection::vec((0usize..5, any::<bool>()), 1..80),
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let mut rollout = rollout(Goal::Run, false);
        let mut unserved: BTreeMap<PathBuf, u32> = BTreeMap::new();
        let runs = |step: Option<Step>, unserved: &mut BTreeMap<PathBuf, u32>| {
            if let Some(Step::Run(batch)) = step {
                for path in batch.changes.paths() {
                    assert!(unserved.remove(path).is_some(), "{} did not change since the last run", path.display());
                }
                assert!(unserved.is_empty(), "left out: {unserved:?}");
            }
        };
        for (name, ends) in steps {
            *unserved.entry(PathBuf::from(names[name])).or_default() += 1;
            let step = rollout.changed(batch(&[names[name]]));
            runs(step, &mut unserved);
            if ends {
                let step = rollout.job_ended(true);
                runs(step, &mut unserved);
            }
        }
        while rollout.is_busy() {
            let step = rollout.job_ended(true);
            runs(step, &mut unserved);
        }
        assert!(unserved.is_empty());
    }

    /// Each save is a file of its own, so that none looks like an output.
    #[test]
    fn every_save_is_applied_after_a_preparation_that_began_after_it_and_preparing_ends(
        saves in prop::collection::vec((0u8..3, any::<bool>()), 1..60),
        goal in prop::sample::select(vec![Goal::Restart, Goal::Signal, Goal::Run]),
    ) {
        let mut rollout = rollout(goal, true);
        let (mut unprepared, mut unapplied) = (BTreeSet::new(), BTreeSet::new());
        let take = |step: Option<Step>, unprepared: &mut BTreeSet<PathBuf>, unapplied: &mut BTreeSet<PathBuf>| match step {
            Some(Step::Prepare(batch)) => {
                unprepared.retain(|path: &PathBuf| !batch.changes.paths().any(|prepared| prepared == path));
                assert!(unprepared.is_empty(), "{unprepared:?}");
            }
            Some(Step::Apply(batch) | Step::Run(batch)) => {
                assert!(unprepared.is_empty(), "{unprepared:?}");
                unapplied.retain(|path: &PathBuf| !batch.changes.paths().any(|applied| applied == path));
                assert!(unapplied.is_empty(), "{unapplied:?}");
            }
            Some(Step::Queue(_) | Step::Dequeue(_)) => panic!("nothing is queued"),
            None => {}
        };
        for (number, (jobs, succeeds)) in saves.into_iter().enumerate() {
            let name = format!("{number}.py");
            unprepared.insert(PathBuf::from(&name));
            unapplied.insert(PathBuf::from(&name));
            let step = rollout.changed(batch(&[&name]));
            take(step, &mut unprepared, &mut unapplied);
            for _ in 0..jobs {
                if rollout.phase == Phase::Preparing {
                    rollout.changed(batch(&["output"]));
                }
                let step = rollout.job_ended(succeeds);
                take(step, &mut unprepared, &mut unapplied);
            }
        }
        let mut jobs = 0;
        while rollout.is_busy() {
            if rollout.phase == Phase::Preparing {
                rollout.changed(batch(&["output"]));
            }
            let step = rollout.job_ended(true);
            take(step, &mut unprepared, &mut unapplied);
            jobs += 1;
            assert!(jobs < 10, "preparing does not end");
        }
        assert!(unprepared.is_empty(), "{unprepared:?}");
    }
}

#[test]
fn what_changes_during_a_run_or_a_queued_command_follows_it_without_a_rest() {
    let late = |path| Batch { quiet: Duration::from_secs(60), ..batch(&[path]) };
    let mut runs = rollout(Goal::Run, false);
    assert!(matches!(runs.changed(late("a")), Some(Step::Run(batch)) if batch.quiet > Duration::ZERO));
    runs.changed(late("b"));
    assert!(matches!(runs.job_ended(true), Some(Step::Run(batch)) if batch.quiet == Duration::ZERO));
    let mut queue = rollout(Goal::Queue, false);
    queue.command_started();
    queue.changed(late("a"));
    assert!(matches!(queue.command_ended(), Some(Step::Dequeue(batch)) if batch.quiet == Duration::ZERO));
    assert!(matches!(queue.changed(late("a")), Some(Step::Apply(batch)) if batch.quiet > Duration::ZERO));
}
