//! A line for people. Everything that is said in words passes through here: what happened, decisions, the inner log,
//! errors.

use std::path::Path;

use crate::change::seen_from;
use crate::escape::escaped;

/// What kind of news it is: it decides the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// How things are.
    Plain,
    /// What was wanted.
    Good,
    /// What needs a look.
    Bad,
}

/// A sentence as one line, with our name in front.
pub fn line(tone: Tone, color: bool, sentence: &str) -> String {
    let sentence = escaped(sentence);
    let number = match tone {
        Tone::Plain => "2",
        Tone::Good => "32",
        Tone::Bad => "33",
    };
    if color { format!("\x1b[{number}mreloadrun:\x1b[0m {sentence}\n") } else { format!("reloadrun: {sentence}\n") }
}

/// An error, which may have hints on lines of their own.
pub fn paragraph(text: &str) -> String {
    let mut lines = text.split('\n');
    let first = line(Tone::Bad, false, lines.next().unwrap_or_default());
    lines.fold(first, |text, next| text + &*escaped(next) + "\n")
}

/// A path as it is shown: relative to the directory where it is near it.
pub fn shown(path: &Path, directory: &Path) -> String {
    seen_from(directory, path).display().to_string()
}
