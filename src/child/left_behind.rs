//! What is said of a command whose first process has ended while others were left, or that a signal has ended.

use std::ffi::OsString;
use std::path::Path;

use crate::config::{OnChange, OnExit};
use crate::os::signals::Signal;
use crate::os::tree::Process;
use crate::protocol::Report;

/// So many processes are named.
const MOST_NAMED: usize = 4;

/// What programs are to be given so that they stay in the foreground, by words of the command and names of processes.
const FOREGROUND: &[(&str, &str)] = &[
    ("gunicorn", "gunicorn without -D, --daemon and `daemon = True`"),
    ("uwsgi", "uwsgi without daemonize"),
    ("nginx", "nginx -g 'daemon off;'"),
    ("redis-server", "redis-server --daemonize no"),
    ("celery", "celery worker instead of celery multi, without --detach"),
    ("hypercorn", "hypercorn without --daemon"),
    ("unicorn", "unicorn without -D"),
    ("php-fpm", "php-fpm -F"),
    ("httpd", "httpd -D FOREGROUND"),
    ("apachectl", "apachectl -D FOREGROUND"),
    ("mongod", "mongod without --fork"),
    ("pg_ctl", "postgres instead of pg_ctl"),
    ("pm2", "pm2-runtime instead of pm2"),
    ("supervisord", "supervisord -n"),
    ("memcached", "memcached without -d"),
    ("haproxy", "haproxy without -D"),
    ("caddy", "caddy run instead of caddy start"),
];

const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];

/// A command has ended well, and these go on.
pub fn set_aside(left: &[Process], command: &[OsString], on_change: &OnChange, on_exit: OnExit) -> Option<Report> {
    let named = named(left)?;
    let follows = follows(left, on_change, on_exit);
    let how = remedy(left, command).map(|remedy| format!(" ({remedy})")).unwrap_or_default();
    let message = format!(
        "the command ended and left {named} behind; {follows}. Run it in the foreground{how}, so that its end is seen"
    );
    Some(Report::Advice { about: "set aside".to_owned(), message })
}

/// A command has ended well, and no file says which of these is its main process; why, as the beginning of a sentence.
pub fn without_main(why: &str, left: &[Process], on_change: &OnChange, on_exit: OnExit) -> Report {
    let message = match named(left) {
        Some(named) => {
            format!("{why}; the command counts as ended and left {named} behind; {}", follows(left, on_change, on_exit))
        }
        None => format!("{why}; the command counts as ended"),
    };
    Report::Advice { about: format!("main process: {why}"), message }
}

/// A command runs whose first process has set nothing aside, and no file names its main process; why, as above.
pub fn signals_first(why: &str, on_change: &OnChange) -> Report {
    let signal = match on_change {
        OnChange::Signal(signal) => signal.to_string(),
        OnChange::Restart | OnChange::Queue | OnChange::Run(_) => "a signal".to_owned(),
    };
    let message = format!("{why}; {signal} goes to the command's first process");
    Report::Advice { about: format!("main process: {why}"), message }
}

fn follows(left: &[Process], on_change: &OnChange, on_exit: OnExit) -> String {
    let (them, they) = if left.len() == 1 { ("it", "it ends") } else { ("them", "they end") };
    match (on_exit, on_change) {
        (OnExit::Exit, _) => format!("{they} with it"),
        (OnExit::Restart, _) => format!("{they} before the command is started again"),
        (OnExit::Wait, OnChange::Signal(signal)) => {
            format!("there is nobody to send {signal} to, so a change ends {them} and starts the command again")
        }
        (OnExit::Wait, OnChange::Restart | OnChange::Queue | OnChange::Run(_)) => {
            format!("a change ends {them} and starts the command again")
        }
    }
}

/// The signal for a change has ended the first process of the command; these were there too.
pub fn ended_by(signal: Signal, left: &[Process], command: &[OsString]) -> Report {
    let first = command.first().map(base_name).unwrap_or_default();
    let Some(named) = named(left) else {
        let message = format!(
            "{signal} ended the command, which has no handler for it, or had none yet; it is started again instead"
        );
        return Report::Advice { about: "ended by the signal".to_owned(), message };
    };
    let how = if SHELLS.contains(&first.as_str()) {
        format!("Write `exec` before the program that {first} runs")
    } else {
        format!("Start that program itself instead of {first}")
    };
    let message = format!(
        "{signal} ended {first}, the command's first process, and did not reach {named}; all of it is started again instead. {how}, and the signal reaches it"
    );
    Report::Advice { about: "did not reach".to_owned(), message }
}

/// `gunicorn (4711)`, `3 processes (gunicorn 4711, gunicorn 4712, tail 4713)`.
fn named(left: &[Process]) -> Option<String> {
    let name = |process: &Process| format!("{} {}", process.name(), process.pid);
    let first = left.first()?;
    if left.len() == 1 {
        return Some(format!("{} ({})", first.name(), first.pid));
    }
    let names: Vec<String> = left.iter().take(MOST_NAMED).map(name).collect();
    let more = left.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{} processes ({}{more})", left.len(), names.join(", ")))
}

fn remedy(left: &[Process], command: &[OsString]) -> Option<&'static str> {
    // A shell line is one word with blanks.
    let words = command.iter().map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> =
        words.flat_map(|word| word.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut names = words.iter().map(|word| base_name(&OsString::from(word))).chain(left.iter().map(Process::name));
    names.find_map(|name| FOREGROUND.iter().find(|(known, _)| *known == name).map(|(_, remedy)| *remedy))
}

fn base_name(word: &OsString) -> String {
    Path::new(word).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
