use super::{Action, CommandStatusText, Input, LAST_WORDS, Machine, News, Plan, Pressure, Sight, Verdict};
use crate::event::What;
use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::verdict::Reason;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};
use std::time::{Duration, Instant};

const FIRST: Generation = Generation::FIRST;

fn plan(reloads: &[&str]) -> Plan {
    Plan {
        reloads: reloads.iter().map(|path| (*path).to_owned()).collect(),
        requests: false,
        overlap: false,
        notice: Duration::ZERO,
        deadline: Duration::from_secs(600),
        stop_timeout: Duration::from_secs(5),
    }
}

fn second() -> Generation {
    serde_json::from_value(2.into()).unwrap()
}

fn news(news: News) -> Input {
    Input::News(FIRST, news)
}

fn seen(stranger: Option<&str>, alive: bool) -> Input {
    Input::Seen(Sight { stranger: stranger.map(str::to_owned), alive, sockets: vec![7] })
}

/// The same with these sockets.
fn seen_with(sockets: &[u64]) -> Input {
    Input::Seen(Sight { stranger: None, alive: true, sockets: sockets.to_vec() })
}

fn ended(code: u8) -> Input {
    let words = CommandStatus::Exited(code).to_string();
    news(News::Ended("the server", CommandStatusText { words, code: CommandStatus::Exited(code).code() }))
}

fn check_ended(code: u8) -> Input {
    Input::CheckEnded(CommandStatus::Exited(code), Duration::ZERO)
}

/// A machine and the instant it is at.
struct Run {
    machine: Machine,
    now: Instant,
    all: Vec<Action>,
}

impl Run {
    fn begin(plan: Plan) -> Run {
        let now = Instant::now();
        let (machine, all) = Machine::begin(plan, now);
        Run { machine, now, all }
    }

    /// What follows, without what is told.
    fn feed(&mut self, input: Input) -> Vec<Action> {
        let actions = self.machine.step(input, self.now);
        self.all.extend(actions.clone());
        actions.into_iter().filter(|action| !matches!(action, Action::Tell(_))).collect()
    }

    fn all(&mut self, inputs: Vec<Input>) -> Vec<Action> {
        inputs.into_iter().flat_map(|input| self.feed(input)).collect()
    }

    fn wait(&mut self) -> Vec<Action> {
        self.now = self.machine.due().expect("it waits for something");
        self.feed(Input::Tick)
    }

    fn verdict(&self) -> Verdict {
        let finish = self.all.iter().find_map(|action| match action {
            Action::Finish(verdict) => Some(verdict.clone()),
            _ => None,
        });
        finish.unwrap_or_else(|| panic!("it is not over: {:?}", self.all))
    }

    /// Everything that runs ends, and nothing is left.
    fn end(mut self) -> (Option<Reason>, u8) {
        for input in [Input::RunEnded(Some(CommandStatus::Exited(143)), Some("x".into())), Input::Left(None)] {
            self.feed(input);
        }
        let verdict = self.verdict();
        (verdict.failure.map(|(reason, _)| reason), verdict.code.number())
    }
}

/// Up to the check.
fn checking() -> Run {
    let mut run = Run::begin(plan(&[]));
    let actions =
        run.all(vec![seen(None, false), news(News::Started), news(News::Ready), news(News::Paused), seen(None, true)]);
    assert_eq!(actions, [Action::Start, Action::Pause, Action::Look, Action::Check]);
    run
}

#[test]
fn a_green_check_with_a_server_that_lives_passes() {
    let mut run = checking();
    assert_eq!(run.feed(check_ended(0)), []);
    assert_eq!(run.wait(), [Action::Look]);
    assert_eq!(run.feed(seen(None, true)), [Action::EndRun(Pressure::Ask)]);
    assert_eq!(run.end(), (None, 0));
}

#[test]
fn the_code_is_the_check_s_then_the_server_s_then_that_of_the_deadline_then_1() {
    type Case = (Vec<Input>, Reason, u8);
    let table: Vec<Case> = vec![
        (vec![check_ended(3), seen(None, true)], Reason::CheckFailed, 3),
        (vec![ended(9), check_ended(0)], Reason::DiedDuringCheck, 9),
        (vec![ended(0), check_ended(0)], Reason::DiedDuringCheck, 1),
        (vec![ended(9), check_ended(4)], Reason::DiedDuringCheck, 4),
        (vec![news(News::Restarts("a changed".into())), check_ended(0)], Reason::DiedDuringCheck, 1),
        (vec![check_ended(0), ended(9)], Reason::DiedDuringCheck, 9),
        (vec![check_ended(0), seen(None, false), ended(9)], Reason::DiedDuringCheck, 9),
        (vec![check_ended(0), seen(None, true), ended(9)], Reason::DiedDuringCheck, 9),
        (vec![check_ended(0), seen_with(&[8])], Reason::DiedDuringCheck, 1),
        (vec![check_ended(0), seen_with(&[])], Reason::DiedDuringCheck, 1),
        (vec![check_ended(4), seen_with(&[8])], Reason::DiedDuringCheck, 4),
        (vec![check_ended(0), seen(Some("x"), true)], Reason::PortTaken, 1),
        (vec![Input::Signal(Signal::INT), check_ended(143)], Reason::Interrupted, 130),
        (vec![Input::Broken("x".into()), check_ended(143)], Reason::OwnFailure, 125),
    ];
    for (inputs, reason, code) in table {
        let mut run = checking();
        run.all(inputs.clone());
        assert_eq!(run.end(), (Some(reason), code), "{inputs:?}");
    }
}

#[test]
fn a_port_that_is_taken_before_ends_it_at_once_and_nothing_is_started() {
    let mut run = Run::begin(plan(&[]));
    assert_eq!(run.feed(seen(Some("process 7"), false)), [Action::LookForRest]);
    run.feed(Input::Left(None));
    let verdict = run.verdict();
    assert_eq!((verdict.failure.unwrap().0, verdict.code), (Reason::PortTaken, ExitCode::FAILED));
    assert!(!run.all.contains(&Action::Start));
}

#[test]
fn a_check_may_say_its_last_words_when_the_server_is_dead_and_is_ended_then() {
    let mut run = checking();
    let began = run.now;
    assert_eq!(run.feed(ended(9)), []);
    assert_eq!(run.feed(Input::RunEnded(None, None)), [], "the check goes on");
    assert_eq!(run.wait(), [Action::EndCheck { kill: false }]);
    assert_eq!(run.now, began + LAST_WORDS);
    assert_eq!(run.feed(check_ended(143)), [Action::LookForRest], "its end is no end of its own");
    run.feed(Input::Left(None));
    assert_eq!(run.verdict().code.number(), 9);
}

#[test]
fn both_are_ended_at_the_same_time_and_each_time_harder() {
    let mut run = checking();
    let asked = [Action::EndCheck { kill: false }, Action::EndRun(Pressure::Ask)];
    assert_eq!(run.feed(Input::Signal(Signal::TERM)), asked);
    assert_eq!(run.wait(), [Action::EndRun(Pressure::Insist), Action::EndCheck { kill: true }]);
    assert_eq!(run.wait(), [Action::EndRun(Pressure::Kill), Action::EndCheck { kill: true }]);
    run.feed(check_ended(137));
    assert_eq!(run.feed(Input::RunEnded(None, None)), [Action::LookForRest]);
    // A second signal does not wait.
    let mut run = checking();
    run.feed(Input::Signal(Signal::INT));
    assert_eq!(run.feed(Input::Signal(Signal::INT)), [], "one request, to the process and to its group");
    run.now += Duration::from_secs(1);
    let harder = run.feed(Input::Signal(Signal::INT));
    assert_eq!(harder, [Action::EndRun(Pressure::Insist), Action::EndCheck { kill: true }]);
}

#[test]
fn a_reload_needs_another_generation_that_is_ready_and_with_an_overlap_the_end_of_the_one_before() {
    for overlap in [false, true] {
        let mut run = Run::begin(Plan { overlap, ..plan(&["a"]) });
        let actions = run.all(vec![seen(None, false), news(News::Started), news(News::Ready)]);
        assert_eq!(actions, [Action::Start, Action::Touch(0)]);
        assert_eq!(run.feed(news(News::Ready)), [], "the same generation proves nothing");
        run.feed(news(News::Restarts("a changed".into())));
        run.feed(Input::News(second(), News::Started));
        let ready = run.feed(Input::News(second(), News::Ready));
        if overlap {
            assert_eq!(ready, []);
            assert_eq!(run.feed(news(News::Stopped)), [Action::Pause]);
        } else {
            assert_eq!(ready, [Action::Pause]);
        }
    }
}

#[test]
fn a_touch_that_leads_to_nothing_and_a_request_that_fails_are_failures() {
    let mut run = Run::begin(plan(&["a"]));
    run.all(vec![seen(None, false), news(News::Ready)]);
    run.wait();
    assert_eq!(run.end(), (Some(Reason::ReloadFailed), 1));
    let mut run = Run::begin(Plan { requests: true, ..plan(&["a"]) });
    let actions = run.all(vec![seen(None, false), news(News::Ready), Input::Answered]);
    assert_eq!(actions, [Action::Start, Action::BeginRequests, Action::Touch(0)]);
    run.all(vec![Input::News(second(), News::Started), Input::News(second(), News::Ready)]);
    let told = run.feed(Input::AllAnswered(7));
    assert_eq!(told, [Action::Pause]);
    let proven = |action: &Action| matches!(action, Action::Tell(What::ReloadProven { requests: Some(7), .. }));
    assert!(run.all.iter().any(proven));
    let mut run = Run::begin(Plan { requests: true, ..plan(&["a"]) });
    run.all(vec![seen(None, false), news(News::Ready), Input::Answered, Input::RequestFailed("x".into())]);
    assert_eq!(run.end(), (Some(Reason::ReloadFailed), 1));
}

#[test]
fn what_is_left_makes_a_green_run_red() {
    let mut run = checking();
    run.all(vec![check_ended(0), seen(None, true), Input::RunEnded(None, None), Input::Left(Some("7 (x)".into()))]);
    let verdict = run.verdict();
    assert_eq!((verdict.failure.unwrap().0, verdict.code), (Reason::Leaked, ExitCode::FAILED));
    assert_eq!(verdict.steps.last().unwrap().passed, Some(false));
}

#[test]
fn a_check_that_lets_changes_through_again_may_restart_the_server() {
    let mut run = checking();
    run.all(vec![news(News::Resumed), news(News::Restarts("a changed".into())), Input::News(second(), News::Ready)]);
    run.all(vec![check_ended(0), seen(None, true)]);
    assert_eq!(run.end(), (None, 0));
}

fn any_input() -> impl Strategy<Value = Input> {
    let words = || "x".to_owned();
    prop_oneof![
        any::<bool>().prop_map(|second_one| Input::News(if second_one { second() } else { FIRST }, News::Started)),
        any::<bool>().prop_map(|second_one| Input::News(if second_one { second() } else { FIRST }, News::Ready)),
        Just(news(News::NotReady(words()))),
        Just(news(News::Restarts(words()))),
        Just(news(News::Stopped)),
        Just(news(News::Stopping)),
        Just(news(News::Paused)),
        Just(news(News::Resumed)),
        (0..3u8).prop_map(ended),
        any::<(bool, bool)>().prop_map(|(taken, alive)| seen(taken.then_some("x"), alive)),
        Just(Input::Answered),
        Just(Input::AllAnswered(1)),
        Just(Input::RequestFailed(words())),
        Just(Input::NoPause),
        (0..3u8).prop_map(check_ended),
        any::<bool>().prop_map(|said| Input::RunEnded(Some(CommandStatus::Exited(1)), said.then(|| "x".to_owned()))),
        Just(Input::Signal(Signal::INT)),
        Just(Input::Broken(words())),
        Just(Input::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_it_comes_to_an_end_and_0_means_that_the_check_was_green(
        inputs in proptest::collection::vec(any_input(), 0..60), requests in any::<bool>(), overlap in any::<bool>(),
        reloads in 0..3usize
    ) {
        let mut run = Run::begin(Plan { requests, overlap, ..plan(&["a", "b"][..reloads.min(2)]) });
        for input in inputs {
            // Nothing ends that does not run.
            let runs = |action: &Action| run.all.contains(action);
            let possible = match &input {
                Input::CheckEnded(..) => runs(&Action::Check),
                Input::RunEnded(..) => runs(&Action::Start),
                _ => true,
            };
            if possible {
                run.feed(input);
            }
        }
        // In the end time passes, and what was asked to end has ended.
        for _ in 0..20 {
            if let Some(due) = run.machine.due() {
                run.now = run.now.max(due);
            }
            run.feed(Input::Tick);
        }
        if run.all.contains(&Action::Check) {
            run.feed(check_ended(0));
        }
        if run.all.contains(&Action::Start) {
            run.feed(Input::RunEnded(None, None));
        }
        run.feed(seen(None, true));
        for _ in 0..3 {
            run.feed(Input::RunEnded(None, None));
            run.feed(Input::Left(None));
        }
        let verdict = run.verdict();
        let finishes = run.all.iter().filter(|action| matches!(action, Action::Finish(_))).count();
        prop_assert!(finishes == 1);
        prop_assert!((verdict.code == ExitCode::SUCCESS) == verdict.failure.is_none());
        if verdict.code == ExitCode::SUCCESS {
            prop_assert!(verdict.check == Some(CommandStatus::Exited(0)));
            prop_assert!(verdict.steps.iter().all(|step| step.passed == Some(true)), "{:?}", verdict.steps);
        }
        let starts = run.all.iter().filter(|action| matches!(action, Action::Check)).count();
        prop_assert!(starts <= 1);
    }
}
