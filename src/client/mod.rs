//! Asks a run: the verbs `list`, `status`, `restart` and so on. Decides nothing about the run.

mod conversation;
mod find;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::conversation::{Conversation, Heard};
use self::find::{Choice, Chosen};
use crate::control::{Answer, Greeting, Outcome, PROTOCOL, Request, State, Status, Waited, in_words, line};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::escape::escaped;
use crate::exit_code::ExitCode;
use crate::os::reason;
use crate::report;

/// A run that has not answered for so long does not answer: it may be stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// When all runs are listed, one that has not greeted for so long is left out.
const GREETING: Duration = Duration::from_secs(1);

/// A run that has no room is asked again after this time.
const BUSY: Duration = Duration::from_millis(100);

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Which runs there are.
    List,
    /// How things are.
    Status,
    /// To start the command anew.
    Restart,
    /// To end the run, and wait for that.
    Stop,
    /// To collect changes.
    Pause,
    /// To let them lead to something again.
    Resume,
    /// The events from now on.
    Events,
    /// When every save made before is live, for so long at the most.
    Wait(Duration),
    /// Whether a change of this file would count.
    Explain(OsString),
}

/// A verb and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The verb.
    pub verb: Verb,
    /// Whether to print the answer for programs.
    pub json: bool,
    /// The name of the run.
    pub name: Option<String>,
    /// The pid of its supervisor.
    pub pid: Option<i32>,
    /// The directory to look from; the current one if none is given.
    pub directory: Option<OsString>,
}

/// Asks the run of this supervisor for a pause. Returns whether it has answered.
pub fn pause(supervisor: i32, environment: &Environment, until: Instant) -> bool {
    let choice = Choice { name: None, pid: Some(supervisor), directory: PathBuf::new(), by_environment: false };
    match find::choose(&choice, environment, until) {
        Chosen::One(mut run) => {
            let answer = run.conversation.ask(&Request::Pause, Some(until));
            matches!(answer, Heard::Line(line) if !matches!(serde_json::from_str(&line), Ok(Answer::Refused { .. } | Answer::Busy { .. }) | Err(_)))
        }
        Chosen::None(_) | Chosen::Silent(_) | Chosen::Several(_) => false,
    }
}

/// Asks, prints the answer, and gives back the exit code that it means.
///
/// # Errors
/// The directory does not exist; no run, or more than one, is meant; the run does not answer.
pub fn run(order: &Order, environment: &Environment) -> Result<ExitCode> {
    let here = here(order, environment)?;
    if matches!(&order.verb, Verb::Explain(path) if path.is_empty()) {
        return Err(Error::usage("explain '': expected a path"));
    }
    if order.verb == Verb::List {
        return list(environment, order.json);
    }
    let choice = Choice {
        name: order.name.clone(),
        pid: order.pid,
        directory: here.clone(),
        by_environment: order.directory.is_none(),
    };
    let gives_up = match order.verb {
        Verb::Wait(timeout) => Instant::now().checked_add(timeout),
        _ => Some(Instant::now() + PATIENCE),
    };
    let Answered { mut conversation, line, answer: understood } = loop {
        match ask(order, &choice, &here, environment, gives_up)? {
            Asked::Over(code) => return Ok(code),
            Asked::Again => std::thread::sleep(BUSY),
            Asked::Answered(Answered { answer: Answer::Busy { message }, .. }) => {
                if gives_up.is_some_and(|at| at <= Instant::now() + BUSY) {
                    let Verb::Wait(timeout) = order.verb else { return Err(Error::own(message)) };
                    return Ok(not_live(timeout, &format!(": {message}")));
                }
                std::thread::sleep(BUSY);
            }
            Asked::Answered(answered) => break answered,
        }
    };
    if let Answer::Refused { message } = understood {
        return Err(if matches!(order.verb, Verb::Wait(_)) { Error::usage(message) } else { Error::own(message) });
    }
    if order.json && understood != Answer::Events {
        print(&(line + "\n"))?;
    } else {
        print(&told(&understood))?;
    }
    match understood {
        Answer::Events => follow(&mut conversation),
        Answer::Stop { .. } => {
            // It is over when the run is.
            while matches!(conversation.hear(None), Heard::Line(_)) {}
            Ok(ExitCode::SUCCESS)
        }
        Answer::Wait(Waited { outcome, .. }) => Ok(match outcome {
            Outcome::Live => ExitCode::SUCCESS,
            Outcome::Failed | Outcome::Ended => ExitCode::NOT_LIVE,
            Outcome::Started | Outcome::Delivered | Outcome::Paused => ExitCode::UNPROVEN,
        }),
        Answer::Explain { counts: false, .. } => Ok(ExitCode::NOT_WATCHED),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// What asking once has led to.
enum Asked {
    Answered(Answered),
    /// There is no answer, and that has been said.
    Over(ExitCode),
    /// There is no answer yet.
    Again,
}

/// An answer, as it came and as it is understood, and the conversation that goes on.
struct Answered {
    conversation: Conversation,
    line: String,
    answer: Answer,
}

/// Finds the run and asks it, once.
fn ask(
    order: &Order,
    choice: &Choice,
    here: &Path,
    environment: &Environment,
    gives_up: Option<Instant>,
) -> Result<Asked> {
    let patience = if let Verb::Wait(timeout) = order.verb { timeout.min(PATIENCE) } else { PATIENCE };
    let mut conversation = match find::choose(choice, environment, Instant::now() + patience) {
        Chosen::One(run) => run.conversation,
        Chosen::None(sentence) => {
            report::complain(&[sentence]);
            return Ok(Asked::Over(ExitCode::NO_SUCH_RUN));
        }
        Chosen::Silent(pid) => {
            // It may be continued in time.
            let again = matches!(order.verb, Verb::Wait(_)) && gives_up.is_none_or(|at| at > Instant::now());
            return if again { Ok(Asked::Again) } else { silent(&order.verb, pid) };
        }
        Chosen::Several(sentences) => return Err(Error::Mistakes(sentences)),
    };
    let Greeting { protocol, pid, reloadrun, .. } = conversation.greeting.clone();
    if protocol != PROTOCOL {
        return Err(Error::own(format!(
            "the run with pid {pid} is of reloadrun {reloadrun}, which speaks another protocol ({protocol}, not {PROTOCOL}); use the same version"
        )));
    }
    let until = match order.verb {
        // It may need a walk over a large tree.
        Verb::Explain(_) => None,
        Verb::Wait(_) => gives_up,
        _ => Some(Instant::now() + PATIENCE),
    };
    let line = match (conversation.ask(&request(&order.verb, here), until), &order.verb) {
        (Heard::Line(line), _) => line,
        (Heard::End, Verb::Stop) => return Ok(Asked::Over(ExitCode::SUCCESS)),
        (Heard::End, Verb::Wait(_)) => {
            report::complain(&["the run has ended".to_owned()]);
            return Ok(Asked::Over(ExitCode::NOT_LIVE));
        }
        (Heard::End, _) => return Err(Error::own(format!("the run with pid {pid} has ended"))),
        (Heard::Nothing, Verb::Wait(timeout)) => return Ok(Asked::Over(not_live(*timeout, ""))),
        (Heard::Nothing, verb) => return silent(verb, pid),
    };
    match serde_json::from_str(&line) {
        Ok(answer) => Ok(Asked::Answered(Answered { conversation, line, answer })),
        Err(_) => Err(Error::own(format!("the run with pid {pid} answers what is not understood: {line}"))),
    }
}

fn silent(verb: &Verb, pid: i32) -> Result<Asked> {
    let why = format!("the run with pid {pid} does not answer; is it stopped? (`kill -CONT {pid}` continues it)");
    match verb {
        Verb::Wait(timeout) => Ok(Asked::Over(not_live(*timeout, &format!(": {why}")))),
        _ => Err(Error::own(why)),
    }
}

fn request(verb: &Verb, here: &Path) -> Request {
    match verb {
        Verb::List | Verb::Status => Request::Status,
        Verb::Restart => Request::Restart,
        Verb::Stop => Request::Stop,
        Verb::Pause => Request::Pause,
        Verb::Resume => Request::Resume,
        Verb::Events => Request::Events,
        Verb::Wait(_) => Request::Wait,
        Verb::Explain(path) => Request::explain(&crate::pattern::normalized(&here.join(path))),
    }
}

fn not_live(timeout: Duration, why: &str) -> ExitCode {
    let timeout = humantime::format_duration(timeout);
    report::complain(&[format!("the saves are not live after {timeout} (--timeout){why}")]);
    ExitCode::TIME_IS_UP
}

/// What a run says of a path.
#[derive(Debug)]
pub struct Explained {
    /// The pid of its supervisor.
    pub pid: i32,
    /// Its command.
    pub command: String,
    /// Whether a change would count.
    pub counts: bool,
    /// That, and why.
    pub message: String,
}

/// What the run of this directory says of a path, if there is one and no other, and it answers.
pub fn explained(path: &Path, directory: &Path, environment: &Environment) -> Option<Explained> {
    let choice = Choice { name: None, pid: None, directory: directory.to_owned(), by_environment: false };
    let Chosen::One(mut run) = find::choose(&choice, environment, Instant::now() + GREETING) else { return None };
    let Greeting { protocol, pid, command, .. } = run.conversation.greeting.clone();
    if protocol != PROTOCOL {
        return None;
    }
    // It may need a walk over a large tree.
    let Heard::Line(answer) = run.conversation.ask(&Request::explain(path), None) else { return None };
    match serde_json::from_str(&answer) {
        Ok(Answer::Explain { counts, message }) => Some(Explained { pid, command, counts, message }),
        _ => None,
    }
}

fn here(order: &Order, environment: &Environment) -> Result<PathBuf> {
    let current = std::env::current_dir()
        .and_then(std::fs::canonicalize)
        .map_err(|_| Error::usage("the current directory no longer exists; change to another one"))?;
    let Some(given) = &order.directory else { return Ok(current) };
    if given.is_empty() {
        return Err(Error::usage("--directory '': expected a directory"));
    }
    std::fs::canonicalize(current.join(environment.expanded(given)))
        .map_err(|error| Error::usage(format!("--directory {}: {}", given.display(), reason(error))))
}

/// An answer in words.
fn told(answer: &Answer) -> String {
    let sentence = match answer {
        Answer::Status(status) => return in_words(status).iter().map(|line| escaped(line) + "\n").collect(),
        Answer::Events => return String::new(),
        Answer::Restart { generation, already: false } => format!("restarting: generation {generation} follows"),
        Answer::Restart { generation, already: true } => format!("generation {generation} is on its way already"),
        Answer::Stop { again: false } => "stopping".to_owned(),
        Answer::Stop { again: true } => "stopping with KILL".to_owned(),
        Answer::Pause { already: false } => "paused: changes are collected until `reloadrun resume`".to_owned(),
        Answer::Pause { already: true } => "paused already".to_owned(),
        Answer::Resume { already: false } => "resumed".to_owned(),
        Answer::Resume { already: true } => "it was not paused".to_owned(),
        Answer::Wait(Waited { message, .. })
        | Answer::Explain { message, .. }
        | Answer::Busy { message }
        | Answer::Refused { message } => message.clone(),
    };
    format!("{}\n", escaped(&sentence))
}

fn follow(conversation: &mut Conversation) -> Result<ExitCode> {
    while let Heard::Line(event) = conversation.hear(None) {
        if !is_taken(&(event + "\n"))? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(environment: &Environment, json: bool) -> Result<ExitCode> {
    let (mut runs, silent) = find::all(environment, Instant::now() + GREETING, |_| false);
    // They answer at the same time.
    runs.iter_mut().for_each(|run| run.conversation.say(&Request::Status));
    let until = Instant::now() + PATIENCE;
    let mut silent: Vec<i32> = silent.iter().map(|silent| silent.pid).collect();
    let mut rows = Vec::new();
    for run in &mut runs {
        let answer = match run.conversation.hear(Some(until)) {
            Heard::Line(answer) => answer,
            Heard::Nothing => {
                silent.push(run.conversation.greeting.pid);
                continue;
            }
            Heard::End => continue,
        };
        let Ok(Answer::Status(status)) = serde_json::from_str(&answer) else { continue };
        if json {
            print(&line(&status))?;
        }
        rows.push(row(&status));
    }
    let complaints = silent.iter().map(|pid| format!("the run with pid {pid} does not answer; is it stopped?"));
    report::complain(&complaints.collect::<Vec<_>>());
    if json {
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        if silent.is_empty() {
            report::complain(&["no run was found".to_owned()]);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["PID", "NAME", "STATE", "GENERATION", "DIRECTORY", "COMMAND"].map(str::to_owned).to_vec();
    rows.insert(0, head);
    print(&table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn row(status: &Status) -> Vec<String> {
    let state = match status.state {
        State::Starting => "starting",
        State::Running => "running",
        State::Stopping => "stopping",
        State::Waiting => "waiting",
        State::Delayed => "delayed",
        State::Ending => "ending",
    };
    let state = if status.paused { format!("{state}, paused") } else { state.to_owned() };
    vec![
        status.pid.to_string(),
        status.name.clone().unwrap_or_else(|| "-".to_owned()),
        state,
        status.generation.to_string(),
        status.directory.clone(),
        status.command.clone(),
    ]
}

fn table(rows: &[Vec<String>]) -> String {
    let shown: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escaped(cell).into_owned()).collect()).collect();
    let columns = shown.first().map_or(0, Vec::len);
    let width = |column: usize| shown.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &shown {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn print(text: &str) -> Result<()> {
    is_taken(text).map(drop)
}

/// Prints, and says whether somebody reads it.
fn is_taken(text: &str) -> Result<bool> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        // `reloadrun events | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::own(format!("cannot write to standard output: {}", reason(error)))),
    }
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_is_aligned_and_harmless() {
        let rows = [
            vec!["PID".to_owned(), "NAME".into()],
            vec!["7".into(), "a\x1b[2J".into()],
            vec!["12345".into(), "-".into()],
        ];
        assert_eq!(table(&rows), "PID    NAME\n7      a\\u{1b}[2J\n12345  -\n");
    }
}
