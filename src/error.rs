//! Errors: sentences for a person. Which exit code goes with them is decided where they are printed, in `run.rs`.

/// Why reloadrun cannot begin or go on. The text is lower-case, says what was wrong, where, what was
/// expected and what to do; it is printed after `reloadrun: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Wrong use: a flag, a pattern, a directory, the config file, a lockfile in use. Nothing was started.
    #[error("{0}")]
    Usage(String),
    /// Several of them at once, one sentence each.
    #[error("{}", .0.join("\n"))]
    Mistakes(Vec<String>),
    /// Wrong words on the command line: a text of several lines, in which the words that the user gave are escaped.
    #[error("{0}")]
    Words(String),
    /// Our own failure: the system refused something that reloadrun cannot do without.
    #[error("{0}")]
    Own(String),
}

impl Error {
    /// Wrong use, in a sentence.
    pub fn usage(sentence: impl Into<String>) -> Error {
        Error::Usage(sentence.into())
    }

    /// Our own failure, in a sentence.
    pub fn own(sentence: impl Into<String>) -> Error {
        Error::Own(sentence.into())
    }
}

/// A result with our error.
pub type Result<T> = std::result::Result<T, Error>;
