//! Series of restarts.

use super::bench::{Bench, changed, leaving, report, rules, set, started};
use crate::change::{Change, ChangeKind, ChangeSet};
use crate::config::OnExit;
use crate::exit_code::ChildEnd;
use crate::protocol::{Report, Response};
use std::time::Duration;

/// A machine whose command is restarted for files of its own, each time within 2 s: what is said at each.
fn series(count: u64, kind: ChangeKind, response: Response) -> (Bench, Vec<String>) {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    let said = (0..count).map(|number| {
        let path = format!("/out/{}", if kind == ChangeKind::Created { number } else { 0 });
        let change = Change { path: path.into(), kind, ..set(false).iter().next().expect("one").clone() };
        let changes = ChangeSet::new([change]);
        let changed = Report::Changed { changes, noticed_ns: 1_000_000, quiet: Duration::ZERO, response };
        let said = bench.says(report(changed));
        bench.step(leaving(ChildEnd::Reload));
        bench.step(started());
        said
    });
    let said = said.collect();
    (bench, said)
}

#[test]
fn a_series_is_told_after_its_change_once_at_the_sixth_or_the_tenth() {
    for response in [Response::Restart, Response::Start] {
        for (kind, at) in [(ChangeKind::Created, 6), (ChangeKind::Modified, 10)] {
            let (_, said) = series(20, kind, response);
            for (index, said) in said.iter().enumerate() {
                let expected = if index + 1 == at {
                    format!("tell changed; tell series of {at}")
                } else {
                    "tell changed".to_owned()
                };
                assert_eq!(*said, expected, "restart {} for {kind} files", index + 1);
            }
        }
    }
}

#[test]
fn signals_are_no_series() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    for _ in 0..70 {
        assert_eq!(bench.says(changed(false, Response::Signal)), "tell changed");
    }
    assert!(!bench.machine.damping().is_in_series());
}

#[test]
fn the_next_child_knows_what_waits_until_the_settings_change() {
    let (mut bench, _) = series(8, ChangeKind::Created, Response::Restart);
    let next = Change { path: "/out/0".into(), ..set(false).iter().next().expect("one").clone() };
    assert_eq!(bench.machine.damping().wait([&next]), Some(Duration::from_secs(4)));
    bench.machine.adapt(rules(OnExit::Wait));
    assert_eq!(bench.machine.damping().wait([&next]), None);
}

#[test]
fn a_save_during_the_stop_is_no_restart_of_its_own() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    for _ in 0..20 {
        assert_eq!(bench.says(changed(false, Response::Restart)), "tell changed");
    }
}
