//! The message about a series of restarts, and the options that end it (the *remedy*): patterns for `-i` that match the
//! files of the series and no other watched files. Pure; the caller supplies the facts about the tree.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::damping::{LONGEST, SOON, Series};
use crate::degraded::Degraded;
use crate::escape::quoted;
use crate::pattern::escaped;

/// The most patterns that a message shows.
const MOST_PATTERNS: usize = 5;

/// Up to this many files of one directory are named one by one; more of them get a common pattern.
const MOST_NAMES: usize = 2;

/// The facts about the tree in which the files are.
pub struct Place<'a> {
    /// The directory that patterns and displayed paths are relative to.
    pub directory: &'a Path,
    /// The files that `-w` names literally: `-i` does not apply to them.
    pub named: &'a [PathBuf],
    /// Lists the watched files in a directory (or also below it) that are not in the series.
    pub others: &'a dyn Fn(&Path, Reach) -> Vec<PathBuf>,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The directory alone.
    Here,
    /// The directory and all below it.
    Below,
}

/// The report about a series, with the remedy.
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

/// The options to type, as text.
fn remedy(files: &[PathBuf], place: &Place) -> String {
    let named: Vec<String> =
        files.iter().filter(|file| place.named.contains(file)).map(|file| shown(file, place.directory)).collect();
    let mut patterns = Vec::new();
    let mut whole = Vec::new();
    for (top, files) in by_top(files, place.directory) {
        let has_names = cover(&top, &files, place, &mut patterns);
        // Only the user knows whether everything else in the directory may be ignored too.
        let common = common_directory(&files);
        if has_names && common != place.directory {
            whole.push(pattern(&common, place));
        }
    }
    let taken_out = match &named[..] {
        [] => String::new(),
        [last] => format!("remove {last} from -w and add "),
        [rest @ .., last] => format!("remove {} and {last} from -w and add ", rest.join(", ")),
    };
    let whole = if whole.is_empty() { String::new() } else { format!(" (or the whole directory: {})", option(&whole)) };
    format!("{taken_out}{}{whole}", option(&patterns))
}

/// Groups the files by the first directory below `directory`; those outside of it by their common directory.
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

/// Adds the fewest patterns that match these files, all of them in `top`, and no other watched files. Returns whether
/// files had to be named, not only directories.
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

/// Patterns for these names: a few names as they are, more of them by a common part that no name in `others` has.
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

/// The common start and end of all names (`.coverage.*`, `app-*.js`), cut at a separator.
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

/// The length of the common beginning, in bytes.
fn common(one: impl Iterator<Item = char>, other: impl Iterator<Item = char>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum()
}

/// The extension with its dot. A leading dot of the name does not start one.
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

/// The pattern that matches this path only.
fn pattern(path: &Path, place: &Place) -> String {
    anchored(escaped(&text(path.strip_prefix(place.directory).unwrap_or(path).as_os_str())))
}

/// Adds `./` to a pattern whose `!` would negate it or whose `-` would make it an option.
fn anchored(pattern: String) -> String {
    if pattern.starts_with(['!', '-']) { format!("./{pattern}") } else { pattern }
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
