//! The way to our own parent, if it has named one (`NOTIFY_SOCKET`): sends what [`Upward`] decides. Nothing here can hold the run
//! up, and a parent that cannot be reached is no failure.

use std::time::{Duration, Instant};

use tracing::debug;

use super::upward::{Truth, Upward, VARIABLES, watchdog};
use crate::environment::Environment;
use crate::os::clock::monotonic_ns;
use crate::os::notify::{Sent, ToParent};
use crate::os::process::own_pid;
use crate::os::reason;

/// A parent that wants to be told.
#[derive(Debug)]
struct Told {
    way: ToParent,
    upward: Upward,
}

/// The parent; nobody where none has asked.
#[derive(Debug)]
pub struct Parent {
    told: Option<Told>,
    /// Why it cannot be told, until that is told.
    complaint: Option<String>,
}

impl Parent {
    /// As the environment names it. Says that we are there, to find out whether anybody listens.
    pub fn of(environment: &Environment) -> Parent {
        let Some(address) = environment.get(VARIABLES[0]).filter(|address| !address.is_empty()) else {
            return Parent { told: None, complaint: None };
        };
        let refused = |why: String| {
            let address = address.display();
            format!("NOTIFY_SOCKET={address}: {why}; the parent of reloadrun is not told when the command is ready")
        };
        let way = match ToParent::open(address) {
            Ok(way) => way,
            Err(why) => return Parent { told: None, complaint: Some(refused(why)) },
        };
        let complaint = match way.send("STATUS=starting") {
            Sent::Yes | Sent::NotNow => None,
            Sent::Never(errno) => Some(refused(reason(errno))),
        };
        let upward = Upward::new(watchdog(environment, own_pid()), Instant::now());
        Parent { told: Some(Told { way, upward }), complaint }
    }

    /// Whether there is one that is told.
    pub fn is_told(&self) -> bool {
        self.told.is_some() && self.complaint.is_none()
    }

    /// The environment without the variables that are meant for us: what the command says there would be taken for what we say.
    pub fn hidden_from(environment: &Environment) -> Environment {
        VARIABLES.iter().fold(environment.clone(), |environment, name| environment.with(name, None))
    }

    /// Why the parent cannot be told, once.
    pub fn complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Tells how things are now.
    pub fn tell(&mut self, truth: impl FnOnce() -> Truth) {
        if let Some(told) = &mut self.told {
            told.upward.take(&truth(), monotonic_ns() / 1000);
            told.flush();
        }
    }

    /// When it has to hear of us.
    pub fn due(&self) -> Option<Instant> {
        self.told.as_ref().and_then(|told| told.upward.due())
    }

    /// Time has passed, in the only loop of the supervisor: that this is called shows that the loop is healthy.
    pub fn beat(&mut self, now: Instant) {
        if let Some(told) = &mut self.told {
            told.flush();
            if let Some(sign) = told.upward.beat(now) {
                told.way.send(sign);
            }
        }
    }

    /// The last words, for which there is a moment.
    pub fn finish(&mut self) {
        let until = Instant::now() + LAST_MOMENT;
        while let Some(told) = self.told.as_mut().filter(|told| told.upward.next().is_some()) {
            told.flush();
            if told.upward.next().is_none() || Instant::now() >= until {
                return;
            }
            std::thread::sleep(STEP);
        }
    }
}

/// A parent that is only busy gets so long in the end.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// Between two tries.
const STEP: Duration = Duration::from_millis(5);

impl Told {
    fn flush(&mut self) {
        while let Some(message) = self.upward.next() {
            match self.way.send(message) {
                Sent::Yes => {}
                Sent::NotNow => return,
                Sent::Never(errno) => debug!(%errno, "the parent is not told"),
            }
            self.upward.sent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Parent;
    use crate::environment::tests::environment;

    #[test]
    fn the_command_never_gets_the_variables_of_our_parent() {
        let all = environment(&[("NOTIFY_SOCKET", "/n"), ("WATCHDOG_PID", "1"), ("A", "1"), ("WATCHDOG_USEC", "9")]);
        let left: Vec<_> = Parent::hidden_from(&all).variables().to_vec();
        assert_eq!(left, [("A".into(), "1".into())]);
    }

    #[test]
    fn a_parent_that_cannot_be_told_is_complained_of_once() {
        for (address, complains) in
            [(None, false), (Some(""), false), (Some("/nobody/is/there"), true), (Some("x"), true)]
        {
            let variables: Vec<_> = address.iter().map(|address| ("NOTIFY_SOCKET", *address)).collect();
            let mut parent = Parent::of(&environment(&variables));
            assert_eq!(parent.complaint().is_some(), complains, "{address:?}");
            assert_eq!(parent.complaint(), None);
        }
    }
}
