use super::{Asks, Heard, Situation, asks, asks_for_sender};
use crate::os::signals::{Received, Signal};
use crate::supervisor::job::Suspension;

const LEADER: i32 = 7;
const STRANGER: i32 = 99;

#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Terminal,
    Stranger,
    Tree,
    Leader,
}

fn heard(signal: Signal, by: By, caller_ignores: bool) -> Heard {
    let (from_terminal, sender) = match by {
        By::Terminal => (true, 0),
        By::Stranger => (false, STRANGER),
        By::Tree => (false, 8),
        By::Leader => (false, LEADER),
    };
    Heard { received: Received { signal, from_terminal, sender }, caller_ignores, from_tree: by == By::Tree }
}

/// A command runs in the terminal's group; a command runs in a group of its own.
fn situations() -> [Situation; 2] {
    [true, false].map(|shares_terminal| Situation {
        shares_terminal,
        command_runs: true,
        leader: Some(LEADER),
        child_leaves: false,
        ending: false,
        reloads_on_hup: false,
    })
}

#[test]
fn a_service_managers_hup_is_a_reload_and_that_of_a_terminal_never() {
    let [_, own] = situations();
    let reloads = Situation { reloads_on_hup: true, ..own };
    for (signal, by, caller_ignores, expected) in [
        (Signal::HUP, By::Stranger, false, Asks::Restart),
        (Signal::HUP, By::Terminal, false, Asks::End { shown: false }),
        (Signal::HUP, By::Stranger, true, Asks::Nothing),
        (Signal::TERM, By::Stranger, false, Asks::End { shown: false }),
    ] {
        assert_eq!(asks(heard(signal, by, caller_ignores), reloads), expected, "{signal} {by:?}");
    }
}

#[test]
fn every_line_of_the_table_is_as_it_says() {
    let end = |shown| Asks::End { shown };
    let (alone, tree, asked) =
        (Asks::Stop(Suspension::Alone), Asks::Stop(Suspension::WithTree), Asks::Stop(Suspension::Asked));
    let nothing = Asks::Nothing;
    for (signal, by, shares, own) in [
        (Signal::USR1, By::Terminal, nothing, Asks::PassOn),
        (Signal::USR2, By::Terminal, nothing, Asks::PassOn),
        (Signal::WINCH, By::Terminal, nothing, Asks::PassOn),
        (Signal::WINCH, By::Stranger, Asks::PassOn, Asks::PassOn),
        (Signal::USR1, By::Tree, nothing, Asks::PassOn),
        (Signal::USR1, By::Leader, nothing, Asks::PassOn),
        (Signal::TSTP, By::Terminal, Asks::LookLater, tree),
        (Signal::TSTP, By::Stranger, asked, asked),
        (Signal::TSTP, By::Tree, nothing, asked),
        (Signal::CONT, By::Terminal, Asks::Continue, Asks::Continue),
        (Signal::CONT, By::Stranger, Asks::Continue, Asks::Continue),
        (Signal::QUIT, By::Terminal, Asks::Key, end(true)),
        (Signal::QUIT, By::Stranger, end(false), end(false)),
        (Signal::INT, By::Terminal, Asks::Key, end(true)),
        (Signal::INT, By::Stranger, end(false), end(false)),
        (Signal::INT, By::Tree, nothing, end(false)),
        (Signal::INT, By::Leader, nothing, end(false)),
        (Signal::TERM, By::Terminal, end(false), end(true)),
        (Signal::TERM, By::Stranger, end(false), end(false)),
        (Signal::HUP, By::Terminal, end(false), end(false)),
        (Signal::HUP, By::Stranger, end(false), end(false)),
        (Signal::CHLD, By::Terminal, nothing, nothing),
    ] {
        for (situation, expected) in situations().into_iter().zip([shares, own]) {
            assert_eq!(asks(heard(signal, by, false), situation), expected, "{signal} {by:?} {situation:?}");
        }
    }
    // Nothing runs that could have got a key.
    for situation in situations().map(|situation| Situation { command_runs: false, ..situation }) {
        let shares = situation.shares_terminal;
        assert_eq!(asks(heard(Signal::INT, By::Terminal, false), situation), end(true));
        assert_eq!(asks(heard(Signal::QUIT, By::Terminal, false), situation), end(true));
        let stop = asks(heard(Signal::TSTP, By::Terminal, false), situation);
        assert_eq!(stop, if shares { alone } else { tree });
    }
    // A second Ctrl-C while the command is being ended means all of it; Ctrl-\ stays the command's.
    for situation in situations().map(|situation| Situation { child_leaves: true, ending: true, ..situation }) {
        let shares = situation.shares_terminal;
        assert_eq!(asks(heard(Signal::INT, By::Terminal, false), situation), end(!shares));
        let quit = asks(heard(Signal::QUIT, By::Terminal, false), situation);
        assert_eq!(quit, if shares { Asks::Key } else { end(true) });
        assert_eq!(asks(heard(Signal::TSTP, By::Stranger, false), situation), nothing);
    }
}

#[test]
fn what_the_caller_ignored_is_ignored_if_it_is_hup_or_tstp_or_comes_from_the_terminal() {
    for situation in situations() {
        for signal in (1..=64).filter_map(Signal::from_number) {
            assert_eq!(asks(heard(signal, By::Terminal, true), situation), Asks::Nothing, "{signal}");
            let from_process = asks(heard(signal, By::Stranger, true), situation);
            let expected = match signal {
                Signal::HUP | Signal::TSTP => Asks::Nothing,
                _ => asks(heard(signal, By::Stranger, false), situation),
            };
            assert_eq!(from_process, expected, "{signal}");
        }
    }
}

#[test]
fn the_sender_is_only_looked_up_where_it_matters() {
    for signal in (1..=64).filter_map(Signal::from_number) {
        for by in [By::Terminal, By::Stranger, By::Tree] {
            for situation in situations() {
                let heard = heard(signal, by, false);
                if !asks_for_sender(heard.received, situation.shares_terminal) {
                    let (yes, no) = (Heard { from_tree: true, ..heard }, Heard { from_tree: false, ..heard });
                    assert_eq!(asks(yes, situation), asks(no, situation), "{heard:?}");
                }
            }
        }
    }
}
