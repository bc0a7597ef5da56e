//! The command line: the flags of this harness; those that `cargo test` passes to every test are ignored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of a run without `--faults`.
const SHORT: Duration = Duration::from_secs(30);

/// The longest run.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// The number of faults in one round, so that a failure can be reproduced quickly.
pub const ROUND: usize = 8;

/// The options of a run.
#[derive(Debug)]
pub struct Options {
    /// The seed of the first round; each further round adds one.
    pub seed: u64,
    /// The number of faults; in a short run as many as possible.
    pub faults: usize,
    /// The time of the run.
    pub time: Duration,
    /// Whether this is the short run within the test suite.
    pub short: bool,
    /// Whether supervisor and child may be killed in the same moment while there are strays that cannot have been seen.
    pub gap: bool,
    /// Whether to show every fault.
    pub verbose: bool,
}

/// What this process must do.
#[derive(Debug)]
pub enum Wanted {
    /// Run the fault test.
    Run(Options),
    /// Print the names of the tests.
    List,
    /// Nothing: other tests were selected.
    Nothing,
}

impl Options {
    /// Reads the command line and the environment (`FAULTS_SEED`).
    ///
    /// # Errors
    /// A message.
    pub fn of_process() -> Result<Wanted, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() % 1_000_000_000);
        let seed = u64::try_from(now).expect("it is below a billion");
        let mut options = Options { seed, faults: usize::MAX, time: SHORT, short: true, gap: false, verbose: false };
        if let Ok(seed) = std::env::var("FAULTS_SEED") {
            options.seed = number("FAULTS_SEED", &seed)?;
        }
        let mut filters = Vec::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || value.clone().or_else(|| words.next()).ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--seed" => options.seed = number(&flag, &value()?)?,
                "--faults" => {
                    options.faults = usize::try_from(number(&flag, &value()?)?).map_err(|error| error.to_string())?;
                    options.time = if options.short { LONGEST } else { options.time };
                    options.short = false;
                }
                "--seconds" => {
                    options.time = Duration::from_secs(number(&flag, &value()?)?).min(LONGEST);
                    options.short = false;
                }
                "--gap" => options.gap = true,
                "--verbose" => options.verbose = true,
                "--list" => return Ok(Wanted::List),
                "--ignored" => return Ok(Wanted::Nothing),
                "--test-threads" | "--skip" | "--format" | "--color" | "--logfile" | "--shuffle-seed" | "-Z" => {
                    value()?;
                }
                _ if flag.starts_with('-') => {}
                _ => filters.push(flag),
            }
        }
        if !filters.is_empty() && !filters.iter().any(|filter| "faults".contains(filter.as_str())) {
            return Ok(Wanted::Nothing);
        }
        Ok(Wanted::Run(options))
    }
}

fn number(what: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{what} {text}: expected a number"))
}
