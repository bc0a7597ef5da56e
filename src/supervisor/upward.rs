//! What our own parent is told, if it has asked for it (`NOTIFY_SOCKET`): a service manager sees the command's truth through
//! us. No I/O, and time is an argument.
//!
//! | what is known                                    | message                                     |
//! |--------------------------------------------------|---------------------------------------------|
//! | the command serves, and did not before           | READY=1                                     |
//! | it is replaced, and the parent takes it for ready | RELOADING=1 with MONOTONIC_USEC             |
//! | the same, and it ended by itself or failed       | the same: nothing is ready until it is again |
//! | the run ends                                     | STOPPING=1, once                            |
//! | another line says how things are                 | STATUS                                      |
//! | half of WATCHDOG_USEC has passed                 | WATCHDOG=1, if that is meant for us         |
//!
//! MAINPID is never sent: the service manager watches this process, and it ends as the command does. What the parent has no
//! room for is sent again later, in order, except for WATCHDOG: one that is late is not true any more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::environment::Environment;

/// The variables of a service manager that are meant for us and not for the command.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// So many messages are kept for a parent that does not read. Of more, the oldest are not worth anything any more.
const MOST_KEPT: usize = 32;

/// The shortest time between two signs of life.
const SHORTEST: Duration = Duration::from_millis(1);

/// How things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Whether a command serves.
    pub serves: bool,
    /// Whether it is on its way out, though another one may serve until the next does.
    pub is_replaced: bool,
    /// Whether the run ends.
    pub ends: bool,
    /// The same in a line.
    pub line: String,
}

/// What a parent believes, and what it is to be told.
#[derive(Debug)]
pub struct Upward {
    /// Whether it takes the command for ready.
    is_ready: bool,
    /// Whether it was ever told so.
    is_ending: bool,
    line: String,
    /// Messages that it has not taken.
    kept: VecDeque<String>,
    /// Between two signs of life, and when the next one is due.
    watchdog: Option<(Duration, Instant)>,
}

impl Upward {
    /// Nothing has been told yet.
    pub fn new(watchdog: Option<Duration>, now: Instant) -> Upward {
        Upward {
            is_ready: false,
            is_ending: false,
            line: String::new(),
            kept: VecDeque::new(),
            watchdog: watchdog.map(|period| (period, now)),
        }
    }

    /// Takes in how things are now. `monotonic_us` is CLOCK_MONOTONIC.
    pub fn take(&mut self, truth: &Truth, monotonic_us: i64) {
        let mut lines = Vec::new();
        let is_ready = truth.serves && !truth.is_replaced;
        if self.is_ending {
            // There is no way back.
        } else if truth.ends {
            self.is_ending = true;
            lines.push("STOPPING=1".to_owned());
        } else if is_ready && !self.is_ready {
            self.is_ready = true;
            lines.push("READY=1".to_owned());
        } else if !is_ready && self.is_ready {
            self.is_ready = false;
            lines.push(format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}"));
        }
        if self.line != truth.line {
            self.line.clone_from(&truth.line);
            lines.push(format!("STATUS={}", truth.line));
        }
        if !lines.is_empty() {
            self.kept.push_back(lines.join("\n"));
        }
        if self.kept.len() > MOST_KEPT {
            self.kept.pop_front();
        }
    }

    /// The message to be sent next.
    pub fn next(&self) -> Option<&str> {
        self.kept.front().map(String::as_str)
    }

    /// It was sent, or never will be.
    pub fn sent(&mut self) {
        self.kept.pop_front();
    }

    /// When a sign of life is due.
    pub fn due(&self) -> Option<Instant> {
        self.watchdog.map(|(_, due)| due)
    }

    /// A sign of life, if one is due.
    pub fn beat(&mut self, now: Instant) -> Option<&'static str> {
        let (period, due) = self.watchdog.as_mut()?;
        if now < *due {
            return None;
        }
        *due = now + *period;
        Some("WATCHDOG=1")
    }
}

/// How often a sign of life is wanted from the process with this pid; `None` if none is, or from another process.
pub fn watchdog(environment: &Environment, pid: i32) -> Option<Duration> {
    let number = |name| environment.text(name).map(|text| text.parse::<u64>().ok());
    if number("WATCHDOG_PID").is_some_and(|wanted| wanted != u64::try_from(pid).ok()) {
        return None;
    }
    let whole = number("WATCHDOG_USEC").flatten().filter(|count| *count > 0)?;
    Some(Duration::from_micros(whole / 2).max(SHORTEST))
}

#[cfg(test)]
mod tests {
    use super::{MOST_KEPT, Truth, Upward, watchdog};
    use crate::environment::tests::environment;
    use std::time::{Duration, Instant};

    fn truth(serves: bool, is_replaced: bool, ends: bool, line: &str) -> Truth {
        Truth { serves, is_replaced, ends, line: line.into() }
    }

    /// What is sent for these, `|` between messages and `;` between lines.
    fn told(truths: &[Truth]) -> String {
        let mut upward = Upward::new(None, Instant::now());
        let mut all = Vec::new();
        for (at, truth) in truths.iter().enumerate() {
            upward.take(truth, i64::try_from(at).unwrap());
            while let Some(message) = upward.next() {
                all.push(message.replace('\n', ";"));
                upward.sent();
            }
        }
        all.join("|")
    }

    #[test]
    fn a_parent_is_told_each_turn_once() {
        let (up, down) = (|line| truth(true, false, false, line), |line| truth(false, false, false, line));
        let hosted = truth(true, true, false, "1 runs on");
        for (truths, expected) in [
            (vec![down(""), up("")], "READY=1"),
            (vec![up(""), up("")], "READY=1"),
            (vec![down(""), down("")], ""),
            (vec![up("1"), down("1"), up("2")], "READY=1;STATUS=1|RELOADING=1;MONOTONIC_USEC=1|READY=1;STATUS=2"),
            (
                vec![up("1"), hosted.clone(), up("2")],
                "READY=1;STATUS=1|RELOADING=1;MONOTONIC_USEC=1;STATUS=1 runs on|READY=1;STATUS=2",
            ),
            (vec![hosted], "STATUS=1 runs on"),
            (vec![down(""), truth(true, false, true, "x"), truth(true, false, true, "x")], "STOPPING=1;STATUS=x"),
            (vec![up(""), truth(false, false, true, ""), up("")], "READY=1|STOPPING=1"),
        ] {
            assert_eq!(told(&truths), expected, "{truths:?}");
        }
    }

    #[test]
    fn a_parent_that_does_not_read_gets_the_newest_messages_in_order() {
        let mut upward = Upward::new(None, Instant::now());
        for number in 0..100 {
            upward.take(&truth(false, false, false, &number.to_string()), 0);
        }
        for number in 100 - MOST_KEPT..100 {
            assert_eq!(upward.next(), Some(format!("STATUS={number}").as_str()));
            upward.sent();
        }
        assert_eq!(upward.next(), None);
    }

    #[test]
    fn signs_of_life_come_at_half_the_time_and_only_where_they_are_meant_for_us() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("WATCHDOG_USEC", "30000000")], Some(15_000_000)),
            (&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")], Some(15_000_000)),
            (&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")], None),
            (&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "x")], None),
            (&[("WATCHDOG_USEC", "0")], None),
            (&[("WATCHDOG_USEC", "-5")], None),
            (&[("WATCHDOG_USEC", "soon")], None),
            (&[("WATCHDOG_USEC", "10")], Some(1000)),
        ] {
            assert_eq!(watchdog(&environment(variables), 7), expected.map(Duration::from_micros), "{variables:?}");
        }
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut upward = Upward::new(Some(second), start);
        assert_eq!(upward.beat(start), Some("WATCHDOG=1"), "the first at once");
        assert_eq!(upward.beat(start + second / 2), None);
        assert_eq!(upward.due(), Some(start + second));
        assert_eq!(upward.beat(start + second), Some("WATCHDOG=1"));
    }
}
