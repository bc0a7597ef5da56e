use super::{Effect, Input, Machine, Message, PageId, To};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// A machine, and a clock that goes on by a second with each step.
struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    /// Of a run whose first generation is ready, or can show nothing of the kind.
    fn begin(ready: Option<bool>) -> Bench {
        let mut bench = Bench { machine: Machine::default(), now: Instant::now() + 100 * SECOND };
        assert_eq!(bench.step(status(1, true, ready)), []);
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Message> {
        self.now += SECOND;
        let told = self.machine.step(input, self.now);
        assert!(told.iter().all(|(to, _)| *to == To::All), "{told:?}");
        told.into_iter().map(|(_, message)| message).collect()
    }

    /// What a page is told that comes now and is so old.
    fn come(&mut self, age: Option<Duration>) -> Vec<Message> {
        let page = PageId(7);
        let told = self.machine.step(Input::Came(page, age), self.now);
        assert!(told.iter().all(|(to, _)| *to == To::One(page)), "{told:?}");
        told.into_iter().map(|(_, message)| message).collect()
    }
}

fn status(generation: u64, runs: bool, ready: Option<bool>) -> Input {
    Input::Status { generation, runs, ready, failed: None, lasted: 5 * SECOND }
}

fn changed(effect: Effect, names: &[&str]) -> Input {
    Input::Changed { effect, names: names.iter().map(|name| (*name).to_owned()).collect(), count: names.len() }
}

fn overlay(text: &str) -> Vec<Message> {
    vec![Message::Overlay(Some(text.to_owned()))]
}

fn gone() -> Message {
    Message::Overlay(None)
}

#[test]
fn pages_load_again_once_a_generation_and_not_before_it_is_ready() {
    let mut bench = Bench::begin(Some(true));
    for generation in 2..5 {
        assert_eq!(bench.step(changed(Effect::Next, &["app.py"])), []);
        assert_eq!(bench.step(changed(Effect::Next, &["app.py", "b.py"])), [], "more come meanwhile");
        assert_eq!(bench.step(Input::Started(generation)), []);
        assert_eq!(bench.step(status(generation, true, Some(false))), []);
        assert_eq!(bench.step(Input::Ready(generation)), [Message::Reload]);
        // A probe asks, or readiness is told once more.
        assert_eq!(bench.step(status(generation, true, Some(true))), []);
        assert_eq!(bench.step(Input::Ready(generation)), []);
    }
}

#[test]
fn where_nothing_can_show_that_it_is_ready_the_start_is_what_counts() {
    let mut bench = Bench::begin(None);
    assert_eq!(bench.step(changed(Effect::Next, &["app.py"])), []);
    assert_eq!(bench.step(Input::Started(2)), []);
    assert_eq!(bench.step(status(1, true, None)), [], "an answer from before");
    assert_eq!(bench.step(status(2, true, None)), [Message::Reload]);
    assert_eq!(bench.step(Input::Started(3)), []);
    assert_eq!(bench.step(status(3, false, None)), [], "it has ended already");
}

#[test]
fn what_only_browsers_care_about_is_exchanged_or_loads_the_page_again() {
    let exchange = |name: &str| Message::Exchange(name.to_owned());
    for (names, expected) in [
        (&["static/a.css"][..], vec![exchange("static/a.css")]),
        (&["a.css", "b.PNG"], vec![exchange("a.css"), exchange("b.PNG")]),
        (&["page.html"], vec![Message::Reload]),
        (&["a.css", "page.html", "x.js"], vec![Message::Reload]),
        (&["css"], vec![Message::Reload]),
    ] {
        assert_eq!(Bench::begin(Some(true)).step(changed(Effect::Browser, names)), expected, "{names:?}");
    }
    let many: Vec<String> = (0..17).map(|number| format!("{number}.css")).collect();
    let many = Input::Changed { effect: Effect::Browser, count: many.len(), names: many };
    assert_eq!(Bench::begin(Some(true)).step(many), [Message::Reload]);
    let unnamed = Input::Changed { effect: Effect::Browser, names: vec!["a.css".into()], count: 2 };
    assert_eq!(Bench::begin(Some(true)).step(unnamed), [Message::Reload], "not all have a name");
}

#[test]
fn while_the_next_generation_is_on_its_way_nothing_is_exchanged() {
    let mut bench = Bench::begin(Some(true));
    bench.step(changed(Effect::Next, &["app.py"]));
    assert_eq!(bench.step(changed(Effect::Browser, &["a.css"])), []);
    bench.step(Input::Started(2));
    assert_eq!(bench.step(changed(Effect::Browser, &["b.html"])), []);
    assert_eq!(bench.step(Input::Ready(2)), [Message::Reload], "once for all of it");
    // The one before stays (--overlap): pages have not seen the stylesheet.
    bench.step(changed(Effect::Next, &["app.py"]));
    bench.step(changed(Effect::Browser, &["a.css"]));
    bench.step(Input::Started(3));
    let told = bench.step(Input::NotReplaced("generation 3 failed; generation 2 stays".into()));
    assert_eq!(
        told,
        [overlay("app.py changed; generation 3 failed; generation 2 stays"), vec![Message::Reload]].concat()
    );
}

#[test]
fn a_failure_shows_with_its_reason_to_everyone_and_goes_when_it_is_repaired() {
    let how = || "exited with 1".to_owned();
    for (failure, expected) in [
        (Input::Exited { well: false, how: how() }, "app.py and 1 more changed; the command exited with 1"),
        (Input::PrepareFailed { how: how() }, "app.py and 1 more changed; the preparation exited with 1"),
        (Input::Ran { well: false, how: how() }, "app.py and 1 more changed; the run for the change exited with 1"),
        (Input::NotReady("not ready after 1s".into()), "app.py and 1 more changed; not ready after 1s"),
    ] {
        let mut bench = Bench::begin(Some(true));
        bench.step(changed(Effect::Next, &["app.py", "b.py"]));
        bench.step(Input::Started(2));
        assert_eq!(bench.step(failure.clone()), overlay(expected));
        // A page that comes later sees it too, however old it is.
        assert_eq!(bench.come(Some(SECOND)), overlay(expected));
        assert_eq!(bench.come(None), overlay(expected));
        bench.step(changed(Effect::Next, &["app.py"]));
        bench.step(Input::Started(3));
        assert_eq!(bench.step(Input::Ready(3)), [gone(), Message::Reload], "{failure:?}");
        assert_eq!(bench.come(None), []);
    }
    // A preparation that succeeds is enough, though nothing follows it (--on-change signal:NAME).
    let mut bench = Bench::begin(Some(true));
    bench.step(Input::PrepareFailed { how: how() });
    assert_eq!(bench.step(Input::Prepared), [gone()]);
    assert_eq!(bench.step(Input::Prepared), []);
    // It became ready after all.
    let mut bench = Bench::begin(Some(true));
    bench.step(Input::Started(2));
    bench.step(Input::NotReady("not ready after 1s".into()));
    assert_eq!(bench.step(Input::Ready(2)), [gone(), Message::Reload]);
}

#[test]
fn signals_runs_and_builds_that_end_well_load_pages_again() {
    for input in [
        changed(Effect::Signal, &["app.py"]),
        Input::Ran { well: true, how: "exited with 0".into() },
        Input::Exited { well: true, how: "exited with 0".into() },
    ] {
        assert_eq!(Bench::begin(None).step(input.clone()), [Message::Reload], "{input:?}");
    }
    assert_eq!(Bench::begin(None).step(changed(Effect::Later, &["app.py"])), []);
}

#[test]
fn a_page_that_has_missed_a_reload_loads_again_and_one_that_comes_of_it_does_not() {
    let mut bench = Bench::begin(Some(true));
    // The command runs for six seconds by now.
    bench.now += SECOND;
    assert_eq!(bench.come(Some(60 * SECOND)), [Message::Reload], "it is older than what runs");
    assert_eq!(bench.come(Some(SECOND)), []);
    bench.step(Input::Started(2));
    bench.step(Input::Ready(2));
    bench.now += SECOND;
    assert_eq!(bench.come(Some(SECOND / 2)), [], "it began to load after that");
    assert_eq!(bench.come(Some(2 * SECOND)), [Message::Reload], "it was on its way then");
    assert_eq!(bench.come(None), [], "whoever does not tell its age is left alone");
}

#[test]
fn an_outlet_that_comes_late_knows_what_failed_and_what_is_on_its_way() {
    let mut machine = Machine::default();
    let failed = Some("exited with 1".to_owned());
    let status = Input::Status { generation: 4, runs: false, ready: None, failed, lasted: SECOND };
    let told = machine.step(status, Instant::now());
    assert_eq!(told, [(To::All, Message::Overlay(Some("the command exited with 1".into())))]);
    let mut bench = Bench::begin(Some(false));
    assert_eq!(bench.step(Input::Ready(1)), [Message::Reload]);
    // Pages may be there before it knows anything.
    let (mut machine, now) = (Machine::default(), Instant::now() + 100 * SECOND);
    for (number, age) in [(1, Some(60 * SECOND)), (2, Some(SECOND)), (3, None)] {
        assert_eq!(machine.step(Input::Came(PageId(number), age), now), []);
    }
    let told = machine.step(
        super::Input::Status { generation: 3, runs: true, ready: Some(true), failed: None, lasted: 5 * SECOND },
        now,
    );
    assert_eq!(told, [(To::One(PageId(1)), Message::Reload)], "it is older than what runs");
}
