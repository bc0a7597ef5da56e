//! The command line: the flags of this harness; those that `cargo test` passes to every test are ignored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The values for `--backend` of reloadrun.
const BACKENDS: [&str; 3] = ["inotify", "notify", "poll"];

/// The time of a run without `--edits`, for each backend.
const SHORT: Duration = Duration::from_secs(12);

/// The longest run.
const LONGEST: Duration = Duration::from_secs(3600);

/// The number of edits in one round, so that a failure can be reproduced quickly.
pub const ROUND: usize = 150;

/// The options of a run.
#[derive(Debug)]
pub struct Options {
    /// The seed of the first round; each further round adds one.
    pub seed: u64,
    /// The number of edits for each backend; in a short run as many as possible.
    pub edits: usize,
    /// The time for each backend.
    pub time: Duration,
    /// The backends, one after the other.
    pub backends: Vec<&'static str>,
    /// The tree: `small` or `large`.
    pub tree: &'static str,
    /// Whether to keep the machine busy meanwhile.
    pub load: bool,
    /// Whether this is the short run within the test suite.
    pub short: bool,
    /// Whether to show every edit.
    pub verbose: bool,
}

/// What this process must do.
#[derive(Debug)]
pub enum Wanted {
    /// Run the torture test.
    Run(Options),
    /// Print the names of the tests.
    List,
    /// Nothing: other tests were selected.
    Nothing,
}

impl Options {
    /// Reads the command line and the environment (`TORTURE_SEED`).
    ///
    /// # Errors
    /// A message.
    pub fn of_process() -> Result<Wanted, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() % 1_000_000_000);
        let mut options = Options {
            seed: u64::try_from(now).expect("it is below a billion"),
            edits: usize::MAX,
            time: SHORT,
            backends: BACKENDS.to_vec(),
            tree: "small",
            load: false,
            short: true,
            verbose: false,
        };
        if let Ok(seed) = std::env::var("TORTURE_SEED") {
            options.seed = number("TORTURE_SEED", &seed)?;
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
                "--edits" => {
                    options.edits = usize::try_from(number(&flag, &value()?)?).map_err(|error| error.to_string())?;
                    options.time = if options.short { LONGEST } else { options.time };
                    options.short = false;
                }
                "--seconds" => {
                    options.time = Duration::from_secs(number(&flag, &value()?)?).min(LONGEST);
                    options.short = false;
                }
                "--backend" => {
                    let wanted = value()?;
                    options.backends.retain(|backend| wanted == "all" || *backend == wanted);
                    if options.backends.is_empty() {
                        return Err(format!("--backend {wanted}: expected inotify, notify, poll or all"));
                    }
                }
                "--tree" => {
                    options.tree = match value()?.as_str() {
                        "small" => "small",
                        "large" => "large",
                        other => return Err(format!("--tree {other}: expected small or large")),
                    }
                }
                "--load" => options.load = true,
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
        if !filters.is_empty() && !filters.iter().any(|filter| "torture".contains(filter.as_str())) {
            return Ok(Wanted::Nothing);
        }
        Ok(Wanted::Run(options))
    }
}

fn number(what: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{what} {text}: expected a number"))
}
