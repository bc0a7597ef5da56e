//! Hints about the user's command: what was probably meant by a command that cannot be started, and whether the command
//! contains another reloader.
//!
//! Nothing here changes what is run.

mod behind;
mod line;
mod meant;
mod reloader;
mod tools;

use std::ffi::OsString;

use self::meant::meant;
use crate::config::Config;
use crate::exit_code::CommandStatus;
use crate::filter::Filter;

/// Adds a guess at what was meant to the status of a command that could not be started.
pub fn explained(status: CommandStatus, config: &Config) -> CommandStatus {
    let guess = |why: String| match meant(&texts(config.words()), config) {
        Some(guess) => format!("{why}; {guess}"),
        None => why,
    };
    match status {
        CommandStatus::NotFound(why) => CommandStatus::NotFound(guess(why)),
        CommandStatus::CannotRun(why) => CommandStatus::CannotRun(guess(why)),
        other => other,
    }
}

/// A hint about a second reloader in the command, if there is one and it watches files that are watched here too.
pub fn second_reloader(config: &Config, filter: &Filter) -> Option<String> {
    let environment = |name: &str| config.environment.text(name).map(str::to_owned);
    let script = |name: &str| package_script(config, name);
    let found = reloader::find(&texts(config.words()), &environment, &script)?;
    found.watches().iter().any(|name| is_watched(name, config, filter)).then(|| found.sentence())
}

/// A hint about a command that stays the parent of its server, where sockets are held for it.
pub fn pid_of_another(config: &Config) -> Option<String> {
    let words = texts(config.words());
    let parent = behind::parent_of_the_server(&words).filter(|_| !config.listen.is_empty())?;
    Some(format!(
        "LISTEN_PID is the pid of {parent}, and not of the server that it starts: gunicorn, uWSGI and others take no socket then; start the server itself, write exec in front of it, or name the descriptor (gunicorn -b fd://3)"
    ))
}

/// Whether a file of this name would count in one of the directories where it is likely to be.
fn is_watched(name: &str, config: &Config, filter: &Filter) -> bool {
    let bases = config.watch.iter().flat_map(|pattern| [Some(pattern.base.as_path()), pattern.base.parent()]);
    let bases = bases.flatten().filter(|base| base.is_dir());
    let source = config.directory.join("src");
    let mut places = bases.chain([config.directory.as_path(), source.as_path()]);
    let extension = std::path::Path::new(name).extension();
    let named = config.watch.iter().any(|pattern| extension.is_some() && pattern.base.extension() == extension);
    named || places.any(|place| filter.decide(&place.join(name)).counts)
}

/// The line in package.json that `npm run NAME` runs.
fn package_script(config: &Config, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(config.directory.join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(package.get("scripts")?.get(name)?.as_str()?.to_owned())
}

fn texts(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}
