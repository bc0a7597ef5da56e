//! Every input in every situation. What belongs together stands in the files below.

#[path = "asks_tests.rs"]
mod asks;
#[path = "bench_tests.rs"]
mod bench;
#[path = "endings_tests.rs"]
mod endings;
#[path = "keys_tests.rs"]
mod keys;
#[path = "lifecycle_tests.rs"]
mod lifecycle;
#[path = "overlap_tests.rs"]
mod overlap;
#[path = "property_tests.rs"]
mod properties;
#[path = "series_tests.rs"]
mod series;
#[path = "standby_tests.rs"]
mod standby;

use self::bench::{
    Bench, FIRST_DELAY, asked, changed, degraded, died, exited, leaving, ready, restarting, signal, started, status,
    stopped, stopping, suspended, watching,
};
use crate::config::OnExit;
use crate::control::Request;
use crate::exit_code::ChildEnd;
use crate::heartbeat::Beat;
use crate::os::Errno;
use crate::os::signals::Signal;
use crate::protocol::Response;
use crate::supervisor::keyboard::Key;
use crate::supervisor::machine::Input;
use std::time::Duration;

/// Every situation there is: the command runs; it has ended and a change is waited for; it has ended and the delay
/// runs; the delay is over and the child was told to leave; all was told to end; the child has died.
fn situations() -> [(&'static str, Bench); 6] {
    let mut renewing = Bench::after(OnExit::Restart, &[started(), exited(1)]);
    renewing.pass(FIRST_DELAY);
    assert_eq!(renewing.says(Input::Tick), "send stop; fork 2");
    let mut ending = Bench::after(OnExit::Wait, &[started(), signal(Signal::TERM)]);
    ending.pass(Duration::from_secs(1));
    [
        ("running", Bench::after(OnExit::Wait, &[started()])),
        ("waiting", Bench::after(OnExit::Wait, &[started(), exited(1)])),
        ("delayed", Bench::after(OnExit::Restart, &[started(), exited(1)])),
        ("renewing", renewing),
        ("ending", ending),
        ("paused", Bench::after(OnExit::Wait, &[started(), died()])),
    ]
}

#[test]
fn every_input_in_every_situation_leads_to_what_the_table_says() {
    const LOST: &str = "forget watches; sweep; release; tell degraded";
    const LOST_BOTH: &str = "dismiss 2; forget watches; sweep; release; tell degraded";
    const NEXT: &str = "release; fork 2; start 2";
    const READY: &str = "release; start 2";
    const LAST: &str = "release; tell finished; sweep; finish 143";
    const LOST_LAST: &str = "forget watches; sweep; release; tell finished; sweep; finish 143";
    const STOP: &str = "send stop";
    const STOPS: &str = "tell stopping; fork 2";
    const ALONE: &str = "dismiss 2";
    const ASKED: &str = "look; stop for certain";
    const CONTINUE: &str = "look; SIGCONT to 7";
    const OVER: [&str; 4] = [
        "tell finished; sweep; finish 130",
        "tell finished; sweep; finish 143",
        "tell finished; sweep; finish 129",
        "tell finished; sweep; finish 131",
    ];
    let waits = "tell exited; tell waiting";
    const RENEW: &str = "send stop; fork 2; answer restart 2 false";
    const NEW: &str = "answer restart 2 false";
    const ON_ITS_WAY: &str = "answer restart 2 true";
    let alive_or = |said, other| [said, said, said, said, said, other];
    let alive = |said| alive_or(said, "");
    let table: [(Input, [&str; 6]); 41] = [
        // input                              running       waiting       delayed       renewing      ending        paused
        (started(), alive("tell started")),
        (watching(), alive("tell watching")),
        (changed(false, Response::Restart), alive("tell changed")),
        (changed(false, Response::Start), alive("tell changed")),
        (changed(false, Response::Signal), alive("tell changed")),
        (restarting(), ["fork 2", "fork 2", "fork 2", "", "", ""]),
        (stopping(), [STOPS, STOPS, STOPS, "tell stopping", "tell stopping", ""]),
        (stopped(), alive("tell stopped")),
        (ready(), alive("tell ready")),
        (status(), alive("tell status")),
        (degraded(), alive("tell degraded")),
        (exited(3), [waits, waits, waits, "tell exited", "tell exited", ""]),
        (leaving(ChildEnd::Reload), [NEXT, NEXT, NEXT, READY, LAST, ""]),
        (leaving(ChildEnd::Ended), [LOST, LOST, LOST, READY, LAST, ""]),
        (leaving(ChildEnd::Failed), [LOST, LOST, LOST, LOST_BOTH, LAST, ""]),
        (died(), [LOST, LOST, LOST, LOST_BOTH, LOST_LAST, ""]),
        (signal(Signal::INT), [STOP, STOP, STOP, ALONE, STOP, OVER[0]]),
        (signal(Signal::TERM), [STOP, STOP, STOP, ALONE, STOP, OVER[1]]),
        (signal(Signal::HUP), [STOP, STOP, STOP, ALONE, STOP, OVER[2]]),
        (signal(Signal::QUIT), [STOP, STOP, STOP, ALONE, STOP, OVER[3]]),
        (signal(Signal::USR1), alive("send 10")),
        (signal(Signal::USR2), alive("send 12")),
        (signal(Signal::WINCH), alive("send 28")),
        (signal(Signal::from_number(40).unwrap()), alive("send 40")),
        (signal(Signal::TSTP), [ASKED, ASKED, ASKED, ASKED, "", ASKED]),
        (signal(Signal::CONT), [CONTINUE; 6]),
        (suspended(), [""; 6]),
        (signal(Signal::CHLD), [""; 6]),
        (Input::Beat(Beat::Steady), [""; 6]),
        (Input::Beat(Beat::Removed), [STOP, STOP, STOP, ALONE, "", "tell finished; sweep; finish 0"]),
        (Input::Beat(Beat::Failed(Errno::EROFS)), ["tell degraded"; 6]),
        (Input::Unread { all: false }, ["", STOP, STOP, "", "", ""]),
        (Input::Unread { all: true }, [STOP, STOP, STOP, ALONE, "", "tell finished; sweep; finish 141"]),
        (asked(Request::Status), ["answer status"; 6]),
        (asked(Request::Events), ["follow"; 6]),
        (asked(Request::Restart), [RENEW, RENEW, RENEW, ON_ITS_WAY, "answer refused: the run is ending", NEW]),
        (
            asked(Request::Stop),
            [
                "answer stop false; send stop",
                "answer stop false; send stop",
                "answer stop false; send stop",
                "answer stop false; dismiss 2",
                "answer stop true; send stop",
                "answer stop false; tell finished; sweep; finish 0",
            ],
        ),
        (
            asked(Request::Pause),
            alive_or("send pause true; tell paused; answer pause false", "tell paused; answer pause false"),
        ),
        (asked(Request::Resume), ["answer resume true"; 6]),
        (Input::Key(Key::Restart), ["send stop; fork 2", "send stop; fork 2", "send stop; fork 2", "", "", ""]),
        (Input::Tick, [""; 6]),
    ];
    for (input, expected) in &table {
        for ((situation, mut bench), expected) in situations().into_iter().zip(expected) {
            assert_eq!(bench.says(input.clone()), *expected, "{input:?} when {situation}");
        }
    }
}
