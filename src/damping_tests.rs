use super::{Damping, LONGEST, Series};
use crate::change::{Change, ChangeKind, ChangeSet, Look};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::path::PathBuf;
use std::time::Duration;

fn change(path: &str, kind: ChangeKind) -> Change {
    let path = PathBuf::from(path);
    Change { path, kind, rule: "r".into(), config: false, open: false, seen: Look::ABSENT }
}

fn created(path: &str) -> Change {
    change(path, ChangeKind::Created)
}

fn modified(path: &str) -> Change {
    change(path, ChangeKind::Modified)
}

fn set(changes: impl IntoIterator<Item = Change>) -> ChangeSet {
    ChangeSet::new(changes)
}

/// Performs these restarts one after the other and returns the delay of each in milliseconds.
fn waits(damping: &mut Damping, restarts: impl IntoIterator<Item = ChangeSet>) -> Vec<u128> {
    let mut waits = Vec::new();
    for changes in restarts {
        waits.push(damping.wait(changes.iter()).map_or(0, |wait| wait.as_millis()));
        damping.restart(&changes, Duration::ZERO);
    }
    waits
}

/// Performs these restarts until a series is reported: the number of the restart, and the report.
fn told(restarts: impl IntoIterator<Item = ChangeSet>) -> Option<(usize, Series)> {
    let mut damping = Damping::default();
    let mut restarts = restarts.into_iter().enumerate();
    restarts.find_map(|(index, changes)| Some((index + 1, damping.restart(&changes, Duration::ZERO)?)))
}

const RAMP: [u128; 8] = [500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000];

/// Five restarts without a delay, then the growing delays.
fn damped_from_the_sixth_on() -> Vec<u128> {
    [vec![0; 5], RAMP.to_vec()].concat()
}

#[test]
fn a_build_with_fresh_names_is_delayed_from_the_sixth_restart_on() {
    // New names each time; the same names, new at first; each file deleted before it is rewritten; more names each
    // time.
    let names = |number: usize| set([created(&format!("/out/{number}.js"))]);
    let same = |number: usize| {
        let kind = if number == 0 { ChangeKind::Created } else { ChangeKind::Modified };
        set([change("/site/a", kind), change("/site/b", kind)])
    };
    let cleaned = |number: usize| {
        let kinds = [ChangeKind::Created, ChangeKind::Deleted, ChangeKind::Created];
        set([change("/site/a", kinds[number % 3])])
    };
    let growing = |number: usize| set((0..=number).map(|file| created(&format!("/{file}"))));
    let kinds: [&dyn Fn(usize) -> ChangeSet; 4] = [&names, &same, &cleaned, &growing];
    for (index, restart) in kinds.into_iter().enumerate() {
        let waits = waits(&mut Damping::default(), (0..13).map(restart));
        assert_eq!(waits, damped_from_the_sixth_on(), "kind {index}");
        let (number, series) = told((0..13).map(restart)).expect("a report");
        assert_eq!((number, series.restarts, series.waits), (6, 6, true), "kind {index}");
    }
}

#[test]
fn an_old_file_is_delayed_from_the_61st_restart_on_and_reported_at_the_tenth() {
    let saves = || std::iter::repeat_with(|| set([modified("/app.py")]));
    let waited = waits(&mut Damping::default(), saves().take(68));
    assert_eq!(waited, [vec![0; 60], RAMP.to_vec()].concat());
    let (number, series) = told(saves().take(68)).expect("a report");
    assert_eq!((number, series), (10, Series { files: vec!["/app.py".into()], restarts: 10, waits: false }));
}

#[test]
fn a_file_that_was_deleted_first_is_old_when_it_is_created_again() {
    let kinds = [ChangeKind::Deleted, ChangeKind::Created, ChangeKind::Modified];
    let restarts = (0..30).map(|number| set([change("/a", kinds[number % 3])]));
    assert_eq!(waits(&mut Damping::default(), restarts), [0; 30]);
}

#[test]
fn one_old_file_among_fresh_ones_prevents_the_early_delay() {
    let mixed = |number: usize| set([created(&format!("/{number}")), modified("/.coverage")]);
    let waited = waits(&mut Damping::default(), (0..62).map(mixed));
    assert_eq!(waited, [vec![0; 60], RAMP[..2].to_vec()].concat());
    assert_eq!(told((0..20).map(mixed)).map(|(number, _)| number), Some(10));
}

/// A series of fresh names whose restarts are delayed.
fn damped() -> Damping {
    let mut damping = Damping::default();
    waits(&mut damping, (0..8).map(|number| set([created(&format!("/out/{number}"))])));
    assert_eq!(damping.wait([&created("/out/x")]), Some(Duration::from_secs(4)));
    damping
}

#[test]
fn a_very_late_change_or_a_config_change_ends_a_series_and_forgets_its_files() {
    let config = set([Change { config: true, ..modified("/reloadrun.toml") }]);
    for (changes, quiet) in [(set([modified("/out/1")]), Duration::from_millis(10_001)), (config, Duration::ZERO)] {
        let mut damping = damped();
        assert_eq!(damping.restart(&changes, quiet), None);
        let old_now = std::iter::repeat_with(|| set([modified("/out/1")]));
        assert_eq!(waits(&mut damping, old_now.take(20)), [0; 20]);
    }
}

#[test]
fn a_late_change_ends_a_series_but_the_output_of_a_slow_build_stays_fresh() {
    for (quiet, fresh) in [(2001, true), (10_000, true), (10_001, false)] {
        let mut damping = damped();
        assert_eq!(damping.restart(&set([modified("/out/1")]), Duration::from_millis(quiet)), None);
        let build = std::iter::repeat_with(|| set([modified("/out/1")]));
        let expected = if fresh { [0, 0, 0, 0, 0, 500, 1000] } else { [0; 7] };
        assert_eq!(waits(&mut damping, build.take(7)), expected, "after {quiet} ms");
    }
    let mut damping = damped();
    damping.restart(&set([modified("/out/1")]), Duration::from_secs(2));
    assert_eq!(damping.wait([&modified("/out/1")]), Some(Duration::from_secs(8)), "not later than 2 s");
}

#[test]
fn an_old_file_outside_the_series_is_not_delayed_and_restarts_the_count() {
    for outside in [modified("/app.py"), change("/app.py", ChangeKind::Deleted)] {
        let mut damping = damped();
        assert_eq!(damping.wait([&created("/out/x"), &outside]), None);
        damping.restart(&set([created("/out/x"), outside]), Duration::ZERO);
        // The output of the build is still fresh. The save counts as the first of five.
        let build = std::iter::repeat_with(|| set([modified("/out/1")]));
        assert_eq!(waits(&mut damping, build.take(6)), [0, 0, 0, 0, 500, 1000]);
    }
}

#[test]
fn old_files_that_take_turns_are_one_series() {
    let turns = (0..30).map(|number| set([modified(["/a.aux", "/a.log", "/a.pdf"][number % 3])]));
    // Each new file restarts the count.
    let (number, series) = told(turns).expect("a report");
    assert_eq!((number, series.restarts, series.files.len()), (12, 10, 3));
}

#[test]
fn a_change_during_the_stop_belongs_to_the_series() {
    let mut damping = Damping::default();
    damping.restart(&set([created("/out/a")]), Duration::ZERO);
    damping.join(&set([created("/out/b")]));
    let build = (0..5).map(|_| set([modified("/out/b")]));
    assert_eq!(waits(&mut damping, build), [0, 0, 0, 0, 500]);
    damping.join(&set([modified("/app.py")]));
    assert_eq!(damping.wait([&modified("/out/b")]), None, "a save during the stop ends it");
}

#[test]
fn a_file_that_was_saved_once_in_between_is_not_reported_as_a_cause() {
    let restarts = (0..20).map(|number| match number {
        3 => set([modified("/app.py"), created("/out/3")]),
        _ => set([created(&format!("/out/{number}"))]),
    });
    let (_, series) = told(restarts).expect("a report");
    assert!(series.waits && !series.files.contains(&"/app.py".into()), "{series:?}");
    let restarts = (0..20).map(|number| match number {
        3 => set([modified("/app.py"), modified("/x")]),
        _ => set([modified("/x")]),
    });
    assert_eq!(told(restarts).expect("a report").1.files, [PathBuf::from("/x")]);
}

fn any_change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![
        proptest::prelude::Just(ChangeKind::Created),
        proptest::prelude::Just(ChangeKind::Modified),
        proptest::prelude::Just(ChangeKind::Deleted)
    ];
    ((0..6u8), kind, proptest::prelude::prop::bool::weighted(0.02))
        .prop_map(|(path, kind, config)| Change { config, ..change(&format!("/{path}"), kind) })
}

proptest! {
    #[test]
    fn for_any_input_no_delay_is_too_early_too_long_or_unreported(
        restarts in proptest::collection::vec((proptest::collection::vec(any_change(), 1..4), proptest::prelude::prop::bool::weighted(0.97), any::<bool>()), 0..300),
    ) {
        let mut damping = Damping::default();
        let (mut in_row, mut told, mut last) = (0u32, false, Duration::ZERO);
        for (changes, soon, joins) in restarts {
            let changes = set(changes);
            let wait = damping.wait(changes.iter());
            if let Some(wait) = wait {
                prop_assert!(in_row >= 5, "only the sixth may be delayed");
                prop_assert!(wait <= LONGEST && wait >= Duration::from_millis(500));
                prop_assert!(wait == last * 2 || wait == LONGEST || wait == Duration::from_millis(500));
                prop_assert!(!changes.has_config());
                prop_assert!(told || wait == Duration::from_millis(500), "a long delay without a report");
                let old = changes.iter().any(|change| change.kind != ChangeKind::Created && !damping.knows(&change.path));
                prop_assert!(!old, "an unknown old file is not delayed");
            }
            let outside = changes.iter().any(|change| change.kind != ChangeKind::Created && !damping.knows(&change.path));
            let series = damping.restart(&changes, if soon { Duration::ZERO } else { Duration::from_secs(3) });
            if !soon || changes.has_config() {
                prop_assert_eq!(series, None);
                (in_row, told, last) = (0, false, Duration::ZERO);
                continue;
            }
            if outside {
                (in_row, told, last) = (0, false, Duration::ZERO);
            }
            in_row += 1;
            last = wait.filter(|_| !outside).unwrap_or(last);
            if let Some(series) = series {
                prop_assert!(!told, "reported twice");
                prop_assert!(!series.files.is_empty());
                told = true;
            }
            prop_assert!(told || in_row < 10, "not reported by the tenth");
            if joins {
                damping.join(&changes);
            }
        }
    }
}

#[test]
fn a_file_created_between_two_commands_is_fresh_unless_it_was_known_before() {
    let mut damping = Damping::default();
    damping.came(["/x".as_ref()]);
    assert!(!damping.knows("/x".as_ref()), "there is no series yet");
    damping.restart(&set([created("/out/a"), modified("/app.py")]), Duration::ZERO);
    damping.came(["/out/b".as_ref(), "/app.py".as_ref()]);
    let build = (0..5).map(|_| set([modified("/out/b")]));
    assert_eq!(waits(&mut damping, build), [0, 0, 0, 0, 500]);
    assert_eq!(damping.wait([&modified("/app.py")]), None);
}

#[test]
fn a_restart_for_a_vanished_file_counts_too() {
    let mut damping = Damping::default();
    (0..5).for_each(|_| damping.restart_for_nothing(Duration::ZERO));
    assert_eq!(damping.wait([&created("/out/a")]), Some(Duration::from_millis(500)));
    damping.restart_for_nothing(Duration::from_secs(3));
    assert_eq!(damping.wait([&created("/out/a")]), None);
}
