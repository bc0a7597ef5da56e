//! The readers of settings: each looks first at the flag, then at the key in the file, and collects the mistakes.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::caller::Caller;
use super::duration::parse_duration;
use super::file::{Entry, File, nearest};
use super::keys::least;
use super::paths::canonical_name;

/// What was typed is passed by the caller of each reader; the rest is here.
pub struct Settings<'a> {
    /// The config file.
    pub file: &'a File,
    /// What is wrong so far.
    pub mistakes: Vec<String>,
    /// Who asks.
    pub caller: &'a Caller,
    /// Where relative paths of the command line begin.
    pub here: &'a Path,
    /// The directory of the config file: relative paths in it begin there.
    pub home: &'a Path,
}

impl Settings<'_> {
    /// With `~` as the home directory.
    pub fn expanded(&self, path: &str) -> PathBuf {
        self.caller.expanded(OsStr::new(path))
    }

    /// A duration, of at least what the key allows and at most a day.
    pub fn duration(&mut self, key: &str, given: Option<&String>, default: Duration) -> Duration {
        let Some(entry) = self.flag_or_text(key, given) else { return default };
        let Some(duration) = parse_duration(&entry.value) else {
            self.wrong(&entry, "expected a duration like 500ms, 2s or 1m; a bare number is seconds");
            return default;
        };
        let least = least(key);
        if duration < least || duration > Duration::from_secs(24 * 60 * 60) {
            let least = humantime::format_duration(least);
            self.wrong(&entry, &format!("must be at least {least} and at most one day"));
        }
        duration
    }

    /// One of these words.
    pub fn choice<T: Copy>(&mut self, key: &str, given: Option<&String>, default: T, choices: &[(&str, T)]) -> T {
        let Some(entry) = self.flag_or_text(key, given) else { return default };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == entry.value) {
            return *choice;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.wrong(
            &entry,
            &format!("must be one of {}{}", names.join(", "), meant(&entry.value, names.iter().copied())),
        );
        default
    }

    /// A path; a relative one begins where it was written.
    pub fn path(&mut self, key: &str, given: Option<&OsString>) -> Option<PathBuf> {
        let (path, place, base) = match given {
            Some(path) => (path.clone(), format!("--{key}"), self.here),
            None => self.text(key).map(|entry| (entry.value.into(), entry.place, self.home))?,
        };
        if path.is_empty() {
            self.mistakes.push(format!("{place} '': expected a path"));
            return None;
        }
        Some(canonical_name(&base.join(self.caller.expanded(&path))))
    }

    /// The value of the flag, else that of its key.
    pub fn flag_or_text(&self, key: &str, given: Option<&String>) -> Option<Entry<String>> {
        given.map(|value| Entry { value: value.clone(), place: format!("--{key}") }).or_else(|| self.text(key))
    }

    /// Paths of a repeatable flag or of its key, what to call it in a message, and where relative ones begin.
    pub fn flag_or_paths(&self, key: &str, given: &[OsString]) -> (Vec<OsString>, String, PathBuf) {
        match self.list(key) {
            Some(entry) if given.is_empty() => {
                (entry.value.into_iter().map(OsString::from).collect(), entry.place, self.home.to_owned())
            }
            _ => (given.to_vec(), format!("--{key}"), self.here.to_owned()),
        }
    }

    /// Where a key stands in the config file.
    pub fn place(&self, key: &str) -> Option<&str> {
        let File { texts, lists, flags, .. } = self.file;
        let texts = texts.iter().map(|(name, entry)| (name, &entry.place));
        let lists = lists.iter().map(|(name, entry)| (name, &entry.place));
        let flags = flags.iter().map(|(name, entry)| (name, &entry.place));
        texts.chain(lists).chain(flags).find(|(name, _)| *name == key).map(|(_, place)| place.as_str())
    }

    /// The value of a key.
    pub fn text(&self, key: &str) -> Option<Entry<String>> {
        self.file.texts.iter().find(|(name, _)| name == key).map(|(_, entry)| entry.clone())
    }

    /// The values of a key.
    pub fn list(&self, key: &str) -> Option<Entry<Vec<String>>> {
        self.file.lists.iter().find(|(name, _)| name == key).map(|(_, entry)| entry.clone())
    }

    /// Whether a key is true.
    pub fn flag(&self, key: &str) -> bool {
        self.file.flags.iter().any(|(name, entry)| name == key && entry.value)
    }

    /// Adds a mistake in this value.
    pub fn wrong(&mut self, entry: &Entry<String>, sentence: &str) {
        self.mistakes.push(format!("{} '{}': {sentence}", entry.place, entry.value));
    }
}

/// A guess at what was meant, to follow a sentence.
pub fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}
