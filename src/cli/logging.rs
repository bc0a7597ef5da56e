//! The output beside the events: with `-v` one line for each decision, for people; with `RELOADRUN_LOG` the internal
//! log.
//!
//! Both use tracing. A decision has the level INFO and the fields `path` and `rule`; everything else has the level
//! DEBUG. Writing a line never blocks: printing decisions must not change their timing.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::config::{Config, Verbosity};
use crate::error::{Error, Result};
use crate::report::{Tone, line, put, shown, use_color};

/// The environment variable that filters the internal log.
const VARIABLE: &str = "RELOADRUN_LOG";

/// One save causes several events, and each of them leads to the same decision. A decision is printed again only if it
/// was not made for this long.
const ONE_DECISION: Duration = Duration::from_secs(1);

/// The number of decisions remembered before old ones are dropped.
const MOST_KNOWN: usize = 1000;

/// Turns on decisions and the internal log as configured, for this process and the children it forks.
///
/// # Errors
/// `RELOADRUN_LOG` is not a valid filter.
pub fn begin(config: &Config) -> Result<()> {
    let wanted = config.environment.text(VARIABLE).unwrap_or_default();
    let targets = filter(wanted).map_err(|()| {
        Error::usage(format!(
            "{VARIABLE}={wanted}: expected a level (error, warn, info, debug, trace, off) or a filter like reloadrun::watch=debug"
        ))
    })?;
    let decisions = config.verbosity == Verbosity::Verbose;
    if !decisions && wanted.is_empty() {
        return Ok(());
    }
    let is_wanted = filter_fn(move |metadata| {
        decisions && *metadata.level() == Level::INFO || targets.would_enable(metadata.target(), metadata.level())
    });
    let lines = Lines { directory: config.directory.clone(), color: use_color(config), told: Mutex::default() };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(is_wanted));
    // It fails only if a subscriber is already set, and no other code sets one.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Parses a level or a list of `target=level`. tracing takes any other word as the name of a target, so a misspelt
/// level would print nothing; it is an error here.
fn filter(text: &str) -> std::result::Result<Targets, ()> {
    if text.is_empty() {
        return Ok(Targets::new());
    }
    let known = |part: &str| {
        let name = part.split('=').next().unwrap_or_default();
        name.is_empty() || name.starts_with("reloadrun") || part.parse::<tracing::level_filters::LevelFilter>().is_ok()
    };
    if !text.split(',').all(known) {
        return Err(());
    }
    text.parse().map_err(|_| ())
}

/// Prints a line for each event.
struct Lines {
    directory: PathBuf,
    color: bool,
    told: Mutex<HashMap<String, Instant>>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let metadata = event.metadata();
        let sentence = match *metadata.level() {
            Level::INFO => words.decision(&self.directory),
            level => format!("{level} {}: {}{}", metadata.target(), words.message, words.rest),
        };
        let now = Instant::now();
        let mut told = self.told.lock().expect("a panic ends the process");
        if *metadata.level() != Level::INFO || is_news(&mut told, &sentence, now) {
            put(&line(Tone::Plain, self.color, &sentence));
        }
    }
}

/// Whether a decision was not made for `ONE_DECISION`. One that is made again and again is printed once, at the start.
fn is_news(told: &mut HashMap<String, Instant>, sentence: &str, now: Instant) -> bool {
    if told.len() >= MOST_KNOWN {
        told.retain(|_, at| now < *at + ONE_DECISION);
    }
    let before = told.insert(sentence.to_owned(), now);
    before.is_none_or(|at| now >= at + ONE_DECISION)
}

/// The fields of one event, as text.
#[derive(Default)]
struct Words {
    message: String,
    path: String,
    rule: String,
    rest: String,
}

impl Words {
    /// `notes.txt does not count (no watch pattern matches)`
    fn decision(&self, directory: &Path) -> String {
        let path = shown(Path::new(&self.path), directory);
        let mut sentence = [path.as_str(), self.message.as_str()].join(" ").trim_start().to_owned();
        if !self.rule.is_empty() {
            let _ = write!(sentence, " ({})", self.rule);
        }
        sentence
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "path" => write!(self.path, "{value:?}"),
            "rule" => write!(self.rule, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{ONE_DECISION, Words, filter, is_news};
    use std::collections::HashMap;
    use std::path::Path;
    use std::time::{Duration, Instant};

    #[test]
    fn a_filter_is_a_level_or_names_a_module_of_reloadrun() {
        for text in ["", "debug", "TRACE", "off", "info", "5", "reloadrun=debug", "reloadrun::watch=debug,warn"] {
            assert!(filter(text).is_ok(), "{text}");
        }
        for text in ["degub", "verbose", "1x", "reloadrun=loud", "debug,nothing", "watch=debug", "reloadrun=debug=1"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_decision_is_a_sentence_with_its_rule() {
        let words = |path: &str, rule: &str| Words {
            message: "does not count".into(),
            path: path.into(),
            rule: rule.into(),
            ..Words::default()
        };
        for (path, rule, sentence) in [
            ("/app/a.txt", "-i 'a*'", "a.txt does not count (-i 'a*')"),
            ("/etc/b.txt", "", "/etc/b.txt does not count"),
            ("", "", "does not count"),
        ] {
            assert_eq!(words(path, rule).decision(Path::new("/app")), sentence);
        }
    }

    #[test]
    fn a_repeated_decision_is_printed_once_until_it_was_not_made_for_a_while() {
        let (mut told, start) = (HashMap::new(), Instant::now());
        let mut news = |sentence: &str, ms: u64| is_news(&mut told, sentence, start + Duration::from_millis(ms));
        assert!(news("a", 0));
        assert!(!news("a", 1) && !news("a", 900) && !news("a", 1800), "repeated within a second");
        assert!(news("b", 1800));
        assert!(news("a", 1800 + ONE_DECISION.as_millis() as u64));
    }
}
