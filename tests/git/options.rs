//! The command line: our own flags, and tolerance for those that `cargo test` passes on to every test.

use std::time::{SystemTime, UNIX_EPOCH};

/// So many verdicts has the run of the test suite.
const SHORT: usize = 2_000;

/// What to do.
#[derive(Debug)]
pub struct Options {
    /// Of the first tree; the second one's is one more.
    pub seed: u64,
    /// How many verdicts at least.
    pub verdicts: usize,
}

/// What is asked of this process.
#[derive(Debug)]
pub enum Wanted {
    /// The comparison.
    Run(Options),
    /// The names of the tests.
    List,
    /// Other tests.
    Nothing,
}

impl Options {
    /// Of the command line.
    ///
    /// # Errors
    /// A sentence.
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
