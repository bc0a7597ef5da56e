//! A smoke run (`--smoke`, `reloadrun ci`): a server is started, proven, checked, ended and proven to be gone, and what became of
//! it is the exit code.
//!
//! It stands around an ordinary run. The supervisor is a process below this one; its events come through a pipe, and it is asked as
//! anybody could ask it: by a signal and by its control socket. So a smoke run shows what is in use everywhere else, and the
//! supervisor knows nothing of it. The check runs below a process of its own, so that its tree and the server's never mix.
//!
//! `machine` decides, `driver` does, with one wait.

mod check;
mod driver;
mod github;
mod machine;
mod output;
mod reports;
mod requests;
mod step;
mod supervised;
mod touched;

pub use self::driver::run;
