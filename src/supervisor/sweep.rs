//! How whatever a dead child left behind is ended, and whatever is left at the very end: KILL, look, and look again until
//! nobody is left. Pure: the driver kills, collects and says what remains.
//!
//! | what remains                                    | what follows                             |
//! |-------------------------------------------------|------------------------------------------|
//! | nobody                                          | over                                     |
//! | only processes that may not be signalled        | over; they are told                      |
//! | the same, where `/proc` shows nobody            | look again, over after 1 s               |
//! | anyone else: killed and not ended, or a zombie  | look again, over after 10 s              |

use std::time::{Duration, Instant};

use crate::degraded::Degraded;

/// A killed process may take this long to end.
const SWEEP: Duration = Duration::from_secs(10);

/// The same where `/proc` shows nobody: our own child may still be ending.
const SWEEP_BLINDLY: Duration = Duration::from_secs(1);

/// Between two looks. The end of a grandchild tells us nothing, so there is nothing else to wait for.
const STEP: Duration = Duration::from_millis(2);

/// What is left after one round of killing and collecting.
#[derive(Debug, Clone, PartialEq)]
pub enum Remains {
    /// We have no child, and as a subreaper that means: no descendant.
    Nobody,
    /// Someone was killed and has not ended, or has ended and is not collected.
    Some,
    /// Nobody that `/proc` shows, but some child.
    Unseen,
    /// Only processes that may not be signalled.
    OutOfReach(Degraded),
}

/// One sweep.
#[derive(Debug)]
pub struct Sweep {
    began: Instant,
    next_look: Instant,
}

/// How a sweep ended.
#[derive(Debug, PartialEq)]
pub struct Swept {
    /// Who was left, and had to be.
    pub left: Option<Degraded>,
}

impl Sweep {
    /// The first round takes place now.
    pub fn begin(now: Instant) -> Sweep {
        Sweep { began: now, next_look: now + STEP }
    }

    /// When the next round is due.
    pub fn due(&self) -> Instant {
        self.next_look
    }

    /// Takes in what a round has left; `None` if there is to be another.
    pub fn look(&mut self, remains: Remains, now: Instant) -> Option<Swept> {
        let bound = match remains {
            Remains::Nobody => return Some(Swept { left: None }),
            Remains::OutOfReach(left) => return Some(Swept { left: Some(left) }),
            Remains::Unseen => SWEEP_BLINDLY,
            Remains::Some => SWEEP,
        };
        self.next_look = now + STEP;
        (now >= self.began + bound).then_some(Swept { left: None })
    }
}

#[cfg(test)]
mod tests {
    use super::{Remains, SWEEP, SWEEP_BLINDLY, Sweep, Swept};
    use crate::degraded::Degraded;
    use std::time::{Duration, Instant};

    #[test]
    fn a_sweep_ends_when_nobody_is_left_and_else_within_its_bound() {
        let began = Instant::now();
        let left = Degraded::HiddenProcesses;
        for (remains, bound, expected) in [
            (Remains::Nobody, Duration::ZERO, None),
            (Remains::OutOfReach(left.clone()), Duration::ZERO, Some(left)),
            (Remains::Unseen, SWEEP_BLINDLY, None),
            (Remains::Some, SWEEP, None),
        ] {
            let mut sweep = Sweep::begin(began);
            let mut now = began;
            let swept = loop {
                if let Some(swept) = sweep.look(remains.clone(), now) {
                    break swept;
                }
                assert!(sweep.due() > now && sweep.due() < now + Duration::from_millis(10));
                now += Duration::from_millis(2);
            };
            assert_eq!((swept, now - began), (Swept { left: expected }, bound), "{remains:?}");
        }
    }
}
