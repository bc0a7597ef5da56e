//! Which run is meant: by its name, its pid, the variable of its command, or the directory.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::conversation::Conversation;
use crate::control::{Greeting, VARIABLE, directories, pid_of};
use crate::environment::Environment;
use crate::os::fd::{Wanted, wait_for_any};
use crate::os::local::{Connection, Peer, PrivateDirectory, connect};
use crate::os::user::own_user;

/// A full queue of a run that is busy is tried again after this time,
const AGAIN: Duration = Duration::from_millis(5);

/// so often.
const TRIES: u32 = 40;

/// When what is looked for has been found, the others get this time to greet.
const SOON: Duration = Duration::from_millis(200);

/// A run that has greeted.
#[derive(Debug)]
pub struct Run {
    /// The connection to it.
    pub conversation: Conversation,
    /// Whose it is.
    user: u32,
}

/// A process that listens and does not greet.
#[derive(Debug)]
pub struct Silent {
    /// By the name of its socket.
    pub pid: i32,
}

/// What a run is chosen by.
#[derive(Debug)]
pub struct Choice {
    /// Its name.
    pub name: Option<String>,
    /// Its pid.
    pub pid: Option<i32>,
    /// Where to look for it from.
    pub directory: PathBuf,
    /// Whether the variable of a command comes before the directory.
    pub by_environment: bool,
}

/// The run that is meant.
#[derive(Debug)]
pub enum Chosen {
    /// This one.
    One(Run),
    /// There is none; a sentence.
    None(String),
    /// The one with this pid, which does not answer.
    Silent(i32),
    /// More than one; sentences.
    Several(Vec<String>),
}

/// Everyone who can be asked. Sockets of the dead are left out. Once there is `enough`, whoever has not greeted gets a short time only.
pub fn all(environment: &Environment, until: Instant, enough: impl Fn(&[Run]) -> bool) -> (Vec<Run>, Vec<Silent>) {
    let (mut pending, mut runs, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for directory in directories(environment) {
        let mut names = directory.names();
        names.sort_by_key(|name| pid_of(name));
        for (name, pid) in names.iter().filter_map(|name| Some((name, pid_of(name)?))) {
            let Some(connection) = reach(&directory, name) else { continue };
            let Some(connection) = connection else {
                silent.push(Silent { pid });
                continue;
            };
            // Only the owner of the directory can have made it there; if it was somebody else, it is not what it seems.
            if let Ok(Peer { user, .. }) = connection.peer()
                && user == directory.owner()
            {
                pending.push((pid, Run { conversation: Conversation::new(connection), user }));
            }
        }
    }
    let soon = Instant::now() + SOON;
    loop {
        let now = Instant::now();
        for (pid, mut run) in std::mem::take(&mut pending) {
            match run.conversation.greet(now) {
                Some(true) => runs.push(run),
                Some(false) => silent.push(Silent { pid }),
                None => pending.push((pid, run)),
            }
        }
        let until = if enough(&runs) { soon.min(until) } else { until };
        if pending.is_empty() || now >= until {
            silent.extend(pending.into_iter().map(|(pid, _)| Silent { pid }));
            runs.sort_by_key(|run| run.conversation.greeting.pid);
            return (runs, silent);
        }
        let waited: Vec<_> = pending.iter().map(|(_, run)| (run.conversation.descriptor(), Wanted::ToRead)).collect();
        // An error is an early return.
        let _ = wait_for_any(&waited, until);
    }
}

/// Whether somebody listens at this name, and a connection, if it can be had at once: the queue of one that is stopped is full.
fn reach(directory: &PrivateDirectory, name: &str) -> Option<Option<Connection>> {
    for _ in 0..TRIES {
        match directory.connect(name) {
            Ok(connection) => return Some(Some(connection)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
            Err(_) => return None,
        }
    }
    Some(None)
}

/// Chooses.
pub fn choose(choice: &Choice, environment: &Environment, until: Instant) -> Chosen {
    let by_variable = choice.name.is_none() && choice.pid.is_none() && choice.by_environment;
    if by_variable && let Some(run) = of_variable(environment, until) {
        return Chosen::One(run);
    }
    let is_there = |runs: &[Run]| !meant(choice, &greetings(runs), own_user()).is_empty();
    let (mut runs, silent) = all(environment, until, is_there);
    let silent: Vec<i32> = silent.iter().map(|silent| silent.pid).collect();
    let others = runs.len();
    let greetings = greetings(&runs);
    let mut meant = meant(choice, &greetings, own_user());
    match meant.len() {
        0 => match silent.iter().find(|pid| is_meant(choice, **pid)) {
            Some(pid) => Chosen::Silent(*pid),
            None => Chosen::None(none(choice, others, &silent)),
        },
        1 => Chosen::One(runs.swap_remove(meant.remove(0))),
        count => {
            let head = format!("{count} runs are meant; choose one with --pid PID, or name them with --name:");
            let tell = |index: &usize| {
                let Greeting { pid, name, directory, command, .. } = greetings[*index].0;
                let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
                format!("pid {pid}{name}: {command} (in {directory})")
            };
            Chosen::Several([head].into_iter().chain(meant.iter().map(tell)).collect())
        }
    }
}

fn greetings(runs: &[Run]) -> Vec<(&Greeting, u32)> {
    runs.iter().map(|run| (&run.conversation.greeting, run.user)).collect()
}

/// The run whose command we are, or descend from.
fn of_variable(environment: &Environment, until: Instant) -> Option<Run> {
    let path = Path::new(environment.get(VARIABLE)?);
    let connection = connect(path).ok()?;
    let user = connection.peer().ok()?.user;
    if user != own_user() && user != 0 && own_user() != 0 {
        return None;
    }
    let mut conversation = Conversation::new(connection);
    (conversation.greet(until) == Some(true)).then_some(Run { conversation, user })
}

/// The indexes of those that are meant. One's own come before those of others.
fn meant(choice: &Choice, runs: &[(&Greeting, u32)], own: u32) -> Vec<usize> {
    let indexes = || 0..runs.len();
    let mut meant: Vec<usize> = match (&choice.name, choice.pid) {
        (None, None) => {
            let depth = |index: usize| {
                let directory = Path::new(&runs[index].0.directory);
                choice.directory.starts_with(directory).then(|| directory.components().count())
            };
            let deepest = indexes().filter_map(depth).max();
            indexes().filter(|index| deepest.is_some() && depth(*index) == deepest).collect()
        }
        (name, pid) => {
            let is_it = |greeting: &Greeting| {
                name.as_ref().is_none_or(|name| greeting.name.as_ref() == Some(name))
                    && pid.is_none_or(|pid| greeting.pid == pid)
            };
            indexes().filter(|index| is_it(runs[*index].0)).collect()
        }
    };
    if meant.iter().any(|index| runs[*index].1 == own) {
        meant.retain(|index| runs[*index].1 == own);
    }
    meant
}

/// Whether a run that says nothing of itself is meant, as far as its pid and the directory where it was started tell.
fn is_meant(choice: &Choice, pid: i32) -> bool {
    match (&choice.name, choice.pid) {
        (_, Some(meant)) => meant == pid,
        (Some(_), None) => false,
        (None, None) => fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| choice.directory.starts_with(at)),
    }
}

fn none(choice: &Choice, others: usize, silent: &[i32]) -> String {
    let what = match (&choice.name, choice.pid) {
        (Some(name), _) => format!("no run has the name {name}"),
        (None, Some(pid)) => format!("no run has the pid {pid}"),
        (None, None) => format!("no run has the directory {} or one above it", choice.directory.display()),
    };
    let others = match others {
        0 => "; none was found at all".to_owned(),
        1 => "; `reloadrun list` shows the one there is".to_owned(),
        others => format!("; `reloadrun list` shows the {others} there are"),
    };
    let silent: Vec<String> = silent.iter().map(i32::to_string).collect();
    match silent.is_empty() {
        true => what + &others,
        false => format!("{what}{others}; does not answer: pid {}", silent.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, meant};
    use crate::control::{Greeting, PROTOCOL};

    #[test]
    fn the_nearest_directory_above_is_meant_and_ones_own_run_before_that_of_others() {
        let runs: Vec<(Greeting, u32)> = [
            (1, None, "/", 0),
            (2, Some("web"), "/p", 7),
            (3, Some("api"), "/p/api", 7),
            (4, Some("api"), "/p/ap", 7),
            (5, None, "/p/api", 8),
            (6, Some("web"), "/q", 8),
        ]
        .into_iter()
        .map(|(pid, name, directory, user)| {
            let (name, directory) = (name.map(str::to_owned), directory.to_owned());
            (Greeting { reloadrun: "1".into(), protocol: PROTOCOL, pid, name, directory, command: "app".into() }, user)
        })
        .collect();
        let runs: Vec<(&Greeting, u32)> = runs.iter().map(|(greeting, user)| (greeting, *user)).collect();
        for (directory, name, pid, own, expected) in [
            ("/p/api/src", None, None, 7, &[3][..]),
            ("/p/api", None, None, 8, &[5]),
            ("/p/api", None, None, 9, &[3, 5]),
            ("/p/apis", None, None, 7, &[2]),
            ("/x", None, None, 7, &[1]),
            ("/x", Some("web"), None, 7, &[2]),
            ("/x", Some("web"), None, 9, &[2, 6]),
            ("/x", Some("api"), None, 7, &[3, 4]),
            ("/x", Some("api"), Some(4), 7, &[4]),
            ("/x", None, Some(6), 7, &[6]),
            ("/x", None, Some(66), 7, &[]),
            ("/x", Some("none"), None, 7, &[]),
        ] {
            let choice =
                Choice { name: name.map(str::to_owned), pid, directory: directory.into(), by_environment: false };
            let pids: Vec<i32> = meant(&choice, &runs, own).iter().map(|index| runs[*index].0.pid).collect();
            assert_eq!(pids, expected, "{directory} {name:?} {pid:?} {own}");
        }
    }
}
