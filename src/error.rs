//! Errors as messages for the user. `run.rs` prints them and chooses the exit code.

/// Why reloadrun cannot start or continue. The text is lower-case and names what is wrong, where, what was expected and
/// what to do. It is printed after `reloadrun: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Wrong usage: a flag, a pattern, a directory, the config file, a lockfile in use. Nothing was started.
    #[error("{0}")]
    Usage(String),
    /// Several usage errors at once, one message each.
    #[error("{}", .0.join("\n"))]
    Mistakes(Vec<String>),
    /// A command line that cannot be parsed: several lines of text, in which the user's words are already escaped.
    #[error("{0}")]
    Words(String),
    /// A failure of reloadrun: the system refused something that it cannot work without.
    #[error("{0}")]
    Own(String),
}

impl Error {
    /// A [`Error::Usage`] with this message.
    pub fn usage(sentence: impl Into<String>) -> Error {
        Error::Usage(sentence.into())
    }

    /// A [`Error::Own`] with this message.
    pub fn own(sentence: impl Into<String>) -> Error {
        Error::Own(sentence.into())
    }
}

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
