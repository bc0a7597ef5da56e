//! `reloadrun.toml` as written: the same keys as the command line. Keeps the line number of each key and reports all
//! mistakes at once.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::args::keys;
use super::keys::{Kind, USUAL_BROWSER};
use super::shell::becoming_its_command;

/// A value and its place in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<T> {
    /// The value.
    pub value: T,
    /// `reloadrun.toml:3: interval`: the start of an error message about it.
    pub place: String,
}

/// The keys of a config file. Their types are checked here, their values in `resolve.rs`.
#[derive(Debug, Default)]
pub struct File {
    /// Keys with a string or a number.
    pub texts: Vec<(String, Entry<String>)>,
    /// Keys with a list of strings; a single string is a list of one.
    pub lists: Vec<(String, Entry<Vec<String>>)>,
    /// Keys with true or false.
    pub flags: Vec<(String, Entry<bool>)>,
    /// What is wrong with its keys and their types: file, line, key, what was expected, and for an unknown key the nearest
    /// known one.
    pub mistakes: Vec<String>,
}

/// The most mistakes reported for one file.
const MOST_MISTAKES: usize = 20;

impl File {
    /// Reads the text of a config file. A key with a mistake is left out.
    ///
    /// # Errors
    /// It is not TOML, or has very many mistakes: messages with file and line.
    pub fn read(path: &Path, text: &str) -> Result<File, Vec<String>> {
        // Some editors write CR LF, and a shell would take the CR as a part of the line's last word.
        let text = &text.replace("\r\n", "\n");
        let name = path.display();
        let line_ends: Vec<usize> = text.match_indices('\n').map(|(index, _)| index).collect();
        let place = |span: Range<usize>| format!("{name}:{}", 1 + line_ends.partition_point(|end| *end < span.start));
        let table = DeTable::parse(text).map_err(|error| {
            let place = place(error.span().unwrap_or(0..0));
            vec![format!("{place}: {}", error.message().replace('\n', ", "))]
        })?;
        let known = keys();
        let mut file = File::default();
        let mut mistakes = Vec::new();
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let place = format!("{}: {}", place(key.span()), key.get_ref());
            let Err(sentence) = file.take(key.get_ref(), value, &place, &known) else { continue };
            if mistakes.len() == MOST_MISTAKES {
                mistakes.push(format!("{name}: there are more mistakes; these are the first {MOST_MISTAKES}"));
                return Err(mistakes);
            }
            mistakes.push(format!("{place}{sentence}"));
        }
        Ok(File { mistakes, ..file })
    }

    fn take(&mut self, key: &str, value: &Spanned<DeValue<'_>>, place: &str, known: &[String]) -> Result<(), String> {
        let place = place.to_owned();
        let wrong = |expected: &str| format!(" must be {expected}, not {}", described(value.get_ref()));
        if !known.iter().any(|known| known == key) {
            let is_table = matches!(value.get_ref(), DeValue::Table(_));
            return Err(if is_table {
                format!(": unknown key; the keys stand at the top of the file, without a table like [{key}]")
            } else {
                unknown(key, known)
            });
        }
        let mut text = |value: String| self.texts.push((key.to_owned(), Entry { value, place: place.clone() }));
        match (Kind::of(key), value.get_ref()) {
            (Kind::Flag, DeValue::Boolean(flag)) => {
                self.flags.push((key.to_owned(), Entry { value: *flag, place }));
            }
            (Kind::Switch, DeValue::Boolean(true)) => text(USUAL_BROWSER.to_owned()),
            (Kind::Switch, DeValue::Boolean(false)) => {}
            (Kind::List | Kind::Command, DeValue::Array(items)) => {
                let texts: Option<Vec<String>> =
                    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
                let value = texts.ok_or_else(|| " must be a list of strings".to_owned())?;
                self.lists.push((key.to_owned(), Entry { value, place }));
            }
            (Kind::List, DeValue::String(text)) => {
                self.lists.push((key.to_owned(), Entry { value: vec![text.to_string()], place }));
            }
            (Kind::Command, DeValue::String(text)) => {
                // A line for the shell. With `exec`, a single program gets the signals directly.
                let value = vec!["/bin/sh".to_owned(), "-c".to_owned(), becoming_its_command(text)];
                self.lists.push((key.to_owned(), Entry { value, place }));
            }
            (Kind::Text | Kind::Duration | Kind::Signal | Kind::Switch, DeValue::String(value)) => {
                text(value.to_string())
            }
            (Kind::Duration | Kind::Signal, DeValue::Integer(number)) => {
                // 0x10 is 16.
                let number = i64::from_str_radix(number.as_str(), number.radix());
                text(number.map_err(|_| " is too large".to_owned())?.to_string());
            }
            (Kind::Duration, DeValue::Float(number)) => text(number.to_string()),
            (Kind::Flag, _) => return Err(wrong("true or false")),
            (Kind::List, _) => return Err(wrong("a string or a list of strings")),
            (Kind::Command, _) => return Err(wrong("a list like [\"python\", \"app.py\"] or a shell line")),
            (Kind::Duration, _) => return Err(wrong("a duration like \"500ms\" or a number of seconds")),
            (Kind::Switch, _) => return Err(wrong("true, false or a string")),
            (Kind::Signal, DeValue::Float(_)) => return Err(" must be a string or a whole number".to_owned()),
            (Kind::Signal, _) => return Err(wrong("a string or a whole number")),
            (Kind::Text, _) => return Err(wrong("a string")),
        }
        Ok(())
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown(key: &str, known: &[String]) -> String {
    // The former name of debounce; the two words are too different for `nearest`.
    let renamed = (key == "settle").then_some("debounce");
    match renamed.or(nearest(key, known.iter().map(String::as_str))) {
        Some(known) => format!(": unknown key; did you mean {known}?"),
        None => format!(": unknown key; the known keys are {}", known.join(", ")),
    }
}

/// The known word most similar to this one, if any is similar enough.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = word.to_lowercase().replace('_', "-");
    known
        .map(|candidate| (strsim::jaro_winkler(&plain, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::File;
    use std::path::Path;

    #[test]
    fn every_mistake_is_reported_with_its_line_and_what_was_expected() {
        let text = "watch = 3\n\nintervall = \"1s\"\nclear = \"yes\"\ndebounce = true\nstop_signal = \"HUP\"\nx = 1\n";
        let mistakes = File::read(Path::new("reloadrun.toml"), text).unwrap().mistakes;
        for expected in [
            "reloadrun.toml:1: watch must be a string or a list of strings, not a number",
            "reloadrun.toml:3: intervall: unknown key; did you mean interval?",
            "reloadrun.toml:4: clear must be true or false, not a string",
            "reloadrun.toml:5: debounce must be a duration like \"500ms\" or a number of seconds, not a boolean",
            "reloadrun.toml:6: stop_signal: unknown key; did you mean stop-signal?",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake == expected), "{expected}\nin {mistakes:#?}");
        }
        assert!(
            mistakes.iter().any(|mistake| mistake.starts_with("reloadrun.toml:7: x: unknown key; the known keys are"))
        );
        assert_eq!(mistakes.len(), 6);
    }

    #[test]
    fn a_file_with_very_many_mistakes_is_read_fast_and_only_the_first_are_reported() {
        let text: String = (0..100_000).map(|number| format!("x{number} = 1\n")).collect();
        let began = std::time::Instant::now();
        let mistakes = File::read(Path::new("a.toml"), &text).unwrap_err();
        // It took 37 s when the list of known keys was built again for each key.
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        assert_eq!(mistakes.len(), 21);
        assert!(mistakes[0].starts_with("a.toml:1: x0: unknown key; the known keys are"), "{}", mistakes[0]);
        assert!(mistakes[19].starts_with("a.toml:20: x19: unknown key"), "{}", mistakes[19]);
        assert_eq!(mistakes[20], "a.toml: there are more mistakes; these are the first 20");
    }

    #[test]
    fn a_syntax_error_is_reported_with_its_line() {
        let mistakes = File::read(Path::new("a.toml"), "watch = '*.py'\ninterval = = 3\n").unwrap_err();
        assert!(mistakes[0].starts_with("a.toml:2: "), "{mistakes:?}");
    }

    #[test]
    fn a_command_is_a_list_or_a_shell_line() {
        let read = |text: &str| File::read(Path::new("a.toml"), text).unwrap().lists[0].1.value.clone();
        assert_eq!(read("command = ['a', 'b c']"), ["a", "b c"]);
        assert_eq!(read("command = 'a | b'"), ["/bin/sh", "-c", "a | b"]);
        assert_eq!(read("command = \"\"\"\r\na\r\nb\r\n\"\"\"\r\n"), ["/bin/sh", "-c", "a\nb\n"]);
        assert_eq!(read("command = ['sh', '-c', '''a\r\nb''']\r\n"), ["sh", "-c", "a\nb"]);
        assert_eq!(read("command = 'a b'"), ["/bin/sh", "-c", "exec a b"]);
    }
}
