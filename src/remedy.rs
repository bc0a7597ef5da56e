//! What the user is told of a series of restarts, and what to type against it. Pure: what must be known of the tree is
//! asked for.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::damping::{LONGEST, SOON, Series};
use crate::degraded::Degraded;
use crate::os::process::quoted;

/// More patterns than this help nobody.
const MOST_PATTERNS: usize = 5;

/// So many files of one directory are given by name; more of them by a pattern.
const MOST_NAMES: usize = 2;

/// Where the files lie.
pub struct Place<'a> {
    /// What patterns and shown paths are relative to.
    pub directory: &'a Path,
    /// The files that `-w` names one by one: against those `-i` does not help.
    pub named: &'a [PathBuf],
    /// The files in a directory, or also below it, that count and do not belong to the series.
    pub others: &'a dyn Fn(&Path, Reach) -> Vec<PathBuf>,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Into the directory alone.
    Here,
    /// Into those below it too.
    Below,
}

/// What to tell of a series.
pub fn told(series: &Series, place: &Place) -> Degraded {
    Degraded::RestartSeries {
        files: series.files.iter().map(|file| shown(file, place.directory)).collect(),
        restarts: series.restarts,
        within: SOON,
        waits: series.waits,
        longest: LONGEST,
        remedy: remedy(&series.files, place),
    }
}

/// What to type.
fn remedy(files: &[PathBuf], place: &Place) -> String {
    let named: Vec<String> =
        files.iter().filter(|file| place.named.contains(file)).map(|file| shown(file, place.directory)).collect();
    let mut patterns = Vec::new();
    let mut whole = Vec::new();
    for (top, files) in by_top(files, place.directory) {
        let has_names = cover(&top, &files, place, &mut patterns);
        // Whether it may go with all else that is in it, the user knows.
        let common = common_directory(&files);
        if has_names && common != place.directory {
            whole.push(pattern(&common, place));
        }
    }
    let taken_out = match &named[..] {
        [] => String::new(),
        [last] => format!("take {last} out of -w, and "),
        [rest @ .., last] => format!("take {} and {last} out of -w, and ", rest.join(", ")),
    };
    let whole = if whole.is_empty() { String::new() } else { format!(" (or the whole directory: {})", option(&whole)) };
    format!("{taken_out}{}{whole}", option(&patterns))
}

/// The files by the first directory below `directory`; those outside of it by the directory that they are all in.
fn by_top(files: &[PathBuf], directory: &Path) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut tops: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let outside: Vec<PathBuf> = files.iter().filter(|file| !file.starts_with(directory)).cloned().collect();
    let outside = common_directory(&outside);
    for file in files {
        let parent = file.parent().unwrap_or(directory);
        let top = match parent.strip_prefix(directory).map(|below| below.components().next()) {
            Ok(Some(Component::Normal(first))) => directory.join(first),
            Ok(_) => directory.to_owned(),
            Err(_) => outside.clone(),
        };
        tops.entry(top).or_default().push(file.clone());
    }
    tops
}

/// The fewest patterns that mean these files, all of them in `top`, and no others that count. Gives back whether files
/// had to be named, and not only directories.
fn cover(top: &Path, files: &[PathBuf], place: &Place, patterns: &mut Vec<String>) -> bool {
    if top != place.directory && (place.others)(top, Reach::Below).is_empty() {
        patterns.push(pattern(top, place));
        return false;
    }
    let (here, below): (Vec<PathBuf>, Vec<PathBuf>) =
        files.iter().cloned().partition(|file| file.parent() == Some(top));
    let mut has_names = !here.is_empty();
    for (directory, files) in by_top(&below, top) {
        has_names |= cover(&directory, &files, place, patterns);
    }
    let names: Vec<String> = here.iter().filter_map(|file| file.file_name()).map(text).collect();
    let others = if names.len() > MOST_NAMES { (place.others)(top, Reach::Here) } else { Vec::new() };
    let others: Vec<String> = others.iter().filter_map(|file| file.file_name()).map(text).collect();
    patterns.extend(of_names(&names, &others).into_iter().map(|name| {
        let directory = pattern(top, place);
        if top == place.directory { anchored(name) } else { format!("{directory}/{name}") }
    }));
    has_names
}

/// A few names as they are; more of them by what they have in common, and the others do not.
fn of_names(names: &[String], others: &[String]) -> Vec<String> {
    if names.len() <= MOST_NAMES {
        return names.iter().map(|name| escaped(name)).collect();
    }
    let spares = |start: &str, end: &str| !others.iter().any(|other| other.starts_with(start) && other.ends_with(end));
    if let Some((start, end)) = common_ends(names).filter(|(start, end)| spares(start, end)) {
        return vec![format!("{}*{}", escaped(start), escaped(end))];
    }
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in names {
        kinds.entry(extension(name)).or_default().push(name.clone());
    }
    let of_kind = |(extension, names): (&str, Vec<String>)| match &names[..] {
        [one] => vec![escaped(one)],
        _ if !extension.is_empty() && spares("", extension) => vec![format!("*{}", escaped(extension))],
        names => names.iter().map(|name| escaped(name)).collect(),
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

/// `.coverage.*`, `app-*.js`: what all names begin and end with, cut where a part of a name ends.
fn common_ends(names: &[String]) -> Option<(&str, &str)> {
    let separator = |character: char| ".-_".contains(character);
    let (first, rest) = names.split_first()?;
    let (mut start, mut end) = (first.as_str(), first.as_str());
    for name in rest {
        start = &start[..common(start.chars(), name.chars())];
        end = &end[end.len() - common(end.chars().rev(), name.chars().rev())..];
    }
    let ends_there = |name: &String| name[start.len()..].chars().next().is_none_or(separator);
    let start =
        if names.iter().all(ends_there) { start } else { &start[..start.rfind(separator).map_or(0, |at| at + 1)] };
    let end = end.find(separator).map_or("", |at| &end[at..]);
    let shortest = names.iter().map(String::len).min()?;
    (!start.chars().all(separator) && start.len() + end.len() <= shortest).then_some((start, end))
}

/// How many bytes are the same at the beginning.
fn common(one: impl Iterator<Item = char>, other: impl Iterator<Item = char>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum()
}

/// With its dot; a leading dot begins none.
fn extension(name: &str) -> &str {
    name.rfind('.').filter(|at| *at > 0).map_or("", |at| &name[at..])
}

fn common_directory(files: &[PathBuf]) -> PathBuf {
    let mut parents = files.iter().filter_map(|file| file.parent());
    let Some(first) = parents.next() else { return PathBuf::new() };
    parents.fold(first.to_owned(), |common, parent| {
        common
            .components()
            .zip(parent.components())
            .take_while(|(one, other)| one == other)
            .map(|(one, _)| one)
            .collect()
    })
}

/// The path as a pattern that means just this.
fn pattern(path: &Path, place: &Place) -> String {
    anchored(escaped(&text(path.strip_prefix(place.directory).unwrap_or(path).as_os_str())))
}

/// `!` would negate, and `-` would begin an option.
fn anchored(pattern: String) -> String {
    if pattern.starts_with(['!', '-']) { format!("./{pattern}") } else { pattern }
}

fn escaped(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ';' => pattern.extend(['\\', character]),
            // A byte that is no UTF-8, or that nobody can type.
            char::REPLACEMENT_CHARACTER => pattern.push('?'),
            character if character.is_control() => pattern.push('?'),
            _ => pattern.push(character),
        }
    }
    pattern
}

/// `-i site`, `-i '*.aux;*.log'`.
fn option(patterns: &[String]) -> String {
    let some = patterns[..patterns.len().min(MOST_PATTERNS)].join(";");
    let more = patterns.len().saturating_sub(MOST_PATTERNS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("-i {}{more}", quoted(&[some.into()]))
}

fn shown(file: &Path, directory: &Path) -> String {
    file.strip_prefix(directory).unwrap_or(file).display().to_string()
}

fn text(name: impl AsRef<std::ffi::OsStr>) -> String {
    name.as_ref().to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "remedy_tests.rs"]
mod tests;
