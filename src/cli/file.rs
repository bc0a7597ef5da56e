//! `reloadrun.toml` as written: every key of the command line, each with its line, and every mistake at once.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::args::keys;
use super::shell::becoming_its_command;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<T> {
    /// The value.
    pub value: T,
    /// `reloadrun.toml:3: interval`, to begin a sentence with.
    pub place: String,
}

/// The keys of a config file, of the right types; what they mean is not looked at here.
#[derive(Debug, Default)]
pub struct File {
    /// Keys with a text or a number.
    pub texts: Vec<(String, Entry<String>)>,
    /// Keys with a list of texts; a single text is a list of one.
    pub lists: Vec<(String, Entry<Vec<String>>)>,
    /// Keys with true or false.
    pub flags: Vec<(String, Entry<bool>)>,
}

const LISTS: [&str; 3] = ["watch", "ignore", "listen"];
const FLAGS: [&str; 5] = ["no-ignore", "no-follow", "clear", "quiet", "verbose"];

/// As many mistakes are told of one file: nobody reads more of them at once.
const MOST_MISTAKES: usize = 20;

impl File {
    /// Reads the text of a config file.
    ///
    /// # Errors
    /// One sentence for each mistake, with file, line, key, what was expected, and the nearest known key.
    pub fn read(path: &Path, text: &str) -> Result<File, Vec<String>> {
        // Line ends are the editor's, and a shell would take a carriage return for a part of its last word.
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
                mistakes.push(format!("{name}: there may be more mistakes; these are the first {MOST_MISTAKES}"));
                break;
            }
            mistakes.push(format!("{place}{sentence}"));
        }
        if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
    }

    fn take(&mut self, key: &str, value: &Spanned<DeValue<'_>>, place: &str, known: &[String]) -> Result<(), String> {
        let place = place.to_owned();
        let wrong = |expected: &str| format!(" must be {expected}, not {}", described(value.get_ref()));
        match value.get_ref() {
            _ if !known.iter().any(|known| known == key) => return Err(unknown(key, known)),
            DeValue::Boolean(flag) if FLAGS.contains(&key) => {
                self.flags.push((key.to_owned(), Entry { value: *flag, place }));
            }
            _ if FLAGS.contains(&key) => return Err(wrong("true or false")),
            DeValue::Array(items) if LISTS.contains(&key) || key == "command" => {
                let texts: Option<Vec<String>> =
                    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
                let value = texts.ok_or_else(|| " must be a list of texts only".to_owned())?;
                self.lists.push((key.to_owned(), Entry { value, place }));
            }
            DeValue::String(text) if LISTS.contains(&key) => {
                self.lists.push((key.to_owned(), Entry { value: vec![text.to_string()], place }));
            }
            DeValue::String(text) if key == "command" => {
                // A line, as one would type it: the shell's business. The signals are the program's, if it is but one.
                let value = vec!["/bin/sh".to_owned(), "-c".to_owned(), becoming_its_command(text)];
                self.lists.push((key.to_owned(), Entry { value, place }));
            }
            _ if LISTS.contains(&key) => return Err(wrong("a text or a list of texts")),
            _ if key == "command" => return Err(wrong("a list like [\"python\", \"app.py\"] or a shell line")),
            DeValue::String(text) => self.texts.push((key.to_owned(), Entry { value: text.to_string(), place })),
            DeValue::Integer(number) if is_duration(key) => {
                self.texts.push((key.to_owned(), Entry { value: number.to_string(), place }));
            }
            DeValue::Float(number) if is_duration(key) => {
                self.texts.push((key.to_owned(), Entry { value: number.to_string(), place }));
            }
            DeValue::Integer(number) if key == "stop-signal" => {
                self.texts.push((key.to_owned(), Entry { value: number.to_string(), place }));
            }
            _ if is_duration(key) => return Err(wrong("a duration like \"500ms\" or a number of seconds")),
            _ => return Err(wrong("a text")),
        }
        Ok(())
    }
}

fn is_duration(key: &str) -> bool {
    matches!(key, "interval" | "debounce" | "stop-timeout")
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown(key: &str, known: &[String]) -> String {
    // A former name, which no likeness leads from.
    let renamed = (key == "settle").then_some("debounce");
    match renamed.or(nearest(key, known.iter().map(String::as_str))) {
        Some(known) => format!(": unknown key; did you mean {known}?"),
        None => format!(": unknown key; known are {}", known.join(", ")),
    }
}

/// The word most like another, if any is like it at all.
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
    fn every_mistake_is_told_with_its_line_and_what_was_expected() {
        let text = "watch = 3\n\nintervall = \"1s\"\nclear = \"yes\"\ndebounce = true\nstop_signal = \"HUP\"\nx = 1\n";
        let mistakes = File::read(Path::new("reloadrun.toml"), text).unwrap_err();
        for expected in [
            "reloadrun.toml:1: watch must be a text or a list of texts, not a number",
            "reloadrun.toml:3: intervall: unknown key; did you mean interval?",
            "reloadrun.toml:4: clear must be true or false, not a text",
            "reloadrun.toml:5: debounce must be a duration like \"500ms\" or a number of seconds, not true or false",
            "reloadrun.toml:6: stop_signal: unknown key; did you mean stop-signal?",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake == expected), "{expected}\nin {mistakes:#?}");
        }
        assert!(mistakes.iter().any(|mistake| mistake.starts_with("reloadrun.toml:7: x: unknown key; known are")));
        assert_eq!(mistakes.len(), 6);
    }

    #[test]
    fn very_many_mistakes_are_found_fast_and_told_in_part() {
        let text: String = (0..100_000).map(|number| format!("x{number} = 1\n")).collect();
        let began = std::time::Instant::now();
        let mistakes = File::read(Path::new("a.toml"), &text).unwrap_err();
        // 37 s when each key was compared with a list that was made anew for it.
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        assert_eq!(mistakes.len(), 21);
        assert!(mistakes[0].starts_with("a.toml:1: x0: unknown key; known are"), "{}", mistakes[0]);
        assert!(mistakes[19].starts_with("a.toml:20: x19: unknown key"), "{}", mistakes[19]);
        assert_eq!(mistakes[20], "a.toml: there may be more mistakes; these are the first 20");
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let mistakes = File::read(Path::new("a.toml"), "watch = '*.py'\ninterval = = 3\n").unwrap_err();
        assert!(mistakes[0].starts_with("a.toml:2: "), "{mistakes:?}");
    }

    #[test]
    fn a_command_is_a_list_or_a_line_for_the_shell() {
        let read = |text: &str| File::read(Path::new("a.toml"), text).unwrap().lists[0].1.value.clone();
        assert_eq!(read("command = ['a', 'b c']"), ["a", "b c"]);
        assert_eq!(read("command = 'a | b'"), ["/bin/sh", "-c", "a | b"]);
        assert_eq!(read("command = \"\"\"\r\na\r\nb\r\n\"\"\"\r\n"), ["/bin/sh", "-c", "a\nb\n"]);
        assert_eq!(read("command = ['sh', '-c', '''a\r\nb''']\r\n"), ["sh", "-c", "a\nb"]);
        assert_eq!(read("command = 'a b'"), ["/bin/sh", "-c", "exec a b"]);
    }
}
