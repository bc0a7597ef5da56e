use super::{Job, OwnStop, STOP_FOR_CERTAIN, STOPPED, Seen, Step, Suspension, TOGETHER};
use crate::os::signals::Signal;
use crate::os::tree::Process;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

fn seen(pid: i32, state: char) -> Seen {
    let process = Process { pid, parent: 1, group: 1, session: 1, state, started: 1 };
    Seen { process, switches: Some(5), is_child: false }
}

fn child(pid: i32, state: char) -> Seen {
    Seen { is_child: true, ..seen(pid, state) }
}

fn sent(seen: &Seen, signal: Signal) -> Step {
    Step::Signal(seen.process, signal)
}

#[test]
fn the_supervisor_follows_a_command_that_has_stopped_and_no_other() {
    let (with, stuck) = (Suspension::WithCommand(7), Suspension::WithStuck(7));
    for (how, tree, follows) in [
        (with, vec![seen(7, 'T')], true),
        (with, vec![seen(7, 'S'), seen(8, 'T')], false),
        (with, vec![], false),
        (stuck, vec![seen(7, 'D'), seen(8, 'T')], true),
        (stuck, vec![seen(7, 'D'), seen(8, 'S')], false),
        (stuck, vec![seen(7, 'S'), seen(8, 'T')], false),
    ] {
        let (mut job, now) = (Job::default(), Instant::now());
        assert_eq!(job.suspend(how, true, now), [Step::Look]);
        assert_eq!(job.due(), None);
        let expected: &[Step] = if follows { &[Step::StopSelf(OwnStop::AsJob)] } else { &[] };
        assert_eq!(job.seen(&tree, false, now), expected, "{how:?} {tree:?}");
        assert_eq!(job.seen(&tree, false, now), [], "once");
    }
    let steps = Job::default().suspend(Suspension::Alone, true, Instant::now());
    assert_eq!(steps, [Step::StopSelf(OwnStop::AsJob)]);
}

#[test]
fn a_tree_is_asked_to_stop_then_made_to_and_the_child_never() {
    for (how, own) in [(Suspension::WithTree, OwnStop::AsJob), (Suspension::Asked, OwnStop::ForCertain)] {
        for shares in [false, true] {
            let (mut job, began) = (Job::default(), Instant::now());
            assert_eq!(job.suspend(how, shares, began), [Step::Look]);
            let (one, other) = (seen(7, 'S'), seen(8, 'S'));
            let tree = [child(6, 'S'), one.clone(), other.clone()];
            let asked = [sent(&one, Signal::TSTP), sent(&other, Signal::TSTP)];
            if shares {
                assert_eq!(job.seen(&tree, false, began), [], "they may have got it when we did");
                assert_eq!(job.seen(&tree, false, began + TOGETHER), asked);
            } else {
                assert_eq!(job.seen(&tree, false, began), asked);
            }
            assert_eq!(job.tick(began + 2 * TOGETHER), [Step::Look]);
            assert_eq!(job.seen(&tree, false, began + 2 * TOGETHER), [], "asked once");
            let tree = [child(6, 'S'), seen(7, 'T'), other.clone()];
            assert_eq!(job.seen(&tree, false, began + STOP_FOR_CERTAIN), [sent(&other, Signal::STOP)]);
            let tree = [child(6, 'S'), seen(7, 'T'), seen(8, 'T')];
            let last = job.seen(&tree, false, began + STOP_FOR_CERTAIN + MS);
            let then: &[Step] = if own == OwnStop::AsJob { &[Step::Look] } else { &[] };
            assert_eq!(last, [&[Step::StopSelf(own)], then].concat());
        }
    }
}

#[test]
fn a_tree_that_will_not_stop_or_that_has_yet_to_come_is_waited_for_no_longer_than_600_ms() {
    for (tree, awaits) in [(vec![seen(7, 'S')], false), (vec![], true)] {
        let (mut job, began) = (Job::default(), Instant::now());
        job.suspend(Suspension::Asked, false, began);
        let mut now = began;
        while !job.seen(&tree, awaits, now).contains(&Step::StopSelf(OwnStop::ForCertain)) {
            let due = job.due().expect("it looks again");
            assert!(due > now && due <= now + 5 * MS);
            now = due;
        }
        assert!(now >= began + STOPPED && now < began + STOPPED + 5 * MS);
        assert_eq!(job.due(), None);
    }
}

#[test]
fn whoever_is_stopped_is_continued_and_where_fg_may_have_done_it_a_moment_later() {
    let (mut job, now) = (Job::default(), Instant::now());
    let (stopped, waiting) = (seen(7, 'T'), seen(8, 'D'));
    let tree = [child(6, 'T'), stopped.clone(), waiting.clone(), seen(9, 'S')];
    let everyone = [&tree[0], &stopped, &waiting].map(|seen| sent(seen, Signal::CONT));
    assert_eq!(job.go_on(false, now), [Step::Look]);
    assert_eq!(job.seen(&tree, false, now), everyone);

    assert_eq!(job.go_on(true, now), [Step::Look]);
    assert_eq!(job.seen(&tree, false, now), []);
    assert_eq!((job.due(), job.tick(now)), (Some(now + TOGETHER), vec![]));
    assert_eq!(job.tick(now + TOGETHER), [Step::Look]);
    let ran_since = Seen { switches: Some(6), ..waiting };
    let tree = [seen(6, 'S'), stopped.clone(), ran_since];
    let steps = job.seen(&tree, false, now + TOGETHER);
    assert_eq!(steps, [sent(&stopped, Signal::CONT)], "a second Ctrl-Z is left alone");

    assert_eq!(job.go_on(true, now), [Step::Look]);
    assert_eq!(job.seen(&[seen(9, 'S')], false, now), []);
    assert_eq!(job.due(), None, "nobody is stopped");
}

#[test]
fn what_is_told_of_a_stop_that_we_made_ourselves_stops_nobody() {
    let with = Suspension::WithCommand(7);
    // While the tree is being stopped.
    let (mut job, now) = (Job::default(), Instant::now());
    job.suspend(Suspension::Asked, true, now);
    assert_eq!(job.suspend(with, true, now), []);
    assert_eq!(job.seen(&[seen(7, 'T')], false, now), [Step::StopSelf(OwnStop::ForCertain)]);
    // While it is being continued: told late, or a second Ctrl-Z.
    for stopped_again in [false, true] {
        assert_eq!(job.go_on(true, now), [Step::Look]);
        assert_eq!(job.seen(&[seen(7, 'T')], false, now), []);
        assert_eq!(job.suspend(with, true, now), []);
        let switches = Some(if stopped_again { 6 } else { 5 });
        let steps = job.seen(&[Seen { switches, ..seen(7, 'T') }], false, now + TOGETHER);
        let continued = sent(&seen(7, 'T'), Signal::CONT);
        assert_eq!(steps, if stopped_again { vec![Step::Look] } else { vec![continued, Step::Look] });
        let last = job.seen(&[seen(7, if stopped_again { 'T' } else { 'S' })], false, now + TOGETHER);
        assert_eq!(last, if stopped_again { vec![Step::StopSelf(OwnStop::AsJob)] } else { vec![] });
    }
}

#[test]
fn an_end_gives_up_stopping_and_does_not_give_up_continuing() {
    let now = Instant::now();
    for how in [Suspension::WithTree, Suspension::Asked, Suspension::WithCommand(7)] {
        let mut job = Job::default();
        job.suspend(how, false, now);
        job.give_up_stopping();
        assert_eq!((job.due(), job.seen(&[seen(7, 'T')], false, now)), (None, vec![]));
    }
    let mut job = Job::default();
    job.go_on(true, now);
    job.give_up_stopping();
    assert_eq!(job.seen(&[seen(7, 'T')], false, now), []);
    assert_eq!(job.due(), Some(now + TOGETHER));
}
