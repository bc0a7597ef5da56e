//! The command line: the flags of this harness; those that `cargo test` passes to every test are ignored.

use std::time::{SystemTime, UNIX_EPOCH};

/// The number of verdicts in the test suite.
const SHORT: usize = 2_000;

/// The options of a run.
#[derive(Debug)]
pub struct Options {
    /// The seed of the first tree; each further tree adds one.
    pub seed: u64,
    /// The minimum number of verdicts.
    pub verdicts: usize,
}

/// What this process must do.
#[derive(Debug)]
pub enum Wanted {
    /// Run the comparison.
    Run(Options),
    /// Print the names of the tests.
    List,
    /// Nothing: other tests were selected.
    Nothing,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// A message.
    pub fn of_process() -> Result<Wanted, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() % 1_000_000_000);
        let seed = u64::try_from(now).expect("it is below a billion");
        let mut options = Options { seed, verdicts: SHORT };
        let mut filters = Vec::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || value.clone().or_else(|| words.next()).ok_or(format!("{flag} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{flag} {text}: expected a number"));
            match flag.as_str() {
                "--seed" => options.seed = number(value()?)?,
                "--verdicts" => options.verdicts = usize::try_from(number(value()?)?).unwrap_or(usize::MAX),
                "--list" => return Ok(Wanted::List),
                "--ignored" => return Ok(Wanted::Nothing),
                "--test-threads" | "--skip" | "--format" | "--color" | "--logfile" | "--shuffle-seed" | "-Z" => {
                    value()?;
                }
                _ if flag.starts_with('-') => {}
                _ => filters.push(flag),
            }
        }
        if !filters.is_empty() && !filters.iter().any(|filter| "git".contains(filter.as_str())) {
            return Ok(Wanted::Nothing);
        }
        Ok(Wanted::Run(options))
    }
}
