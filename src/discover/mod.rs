//! Which files a command depends on, and which it makes: what was seen of its system calls becomes sets of files.

mod look;
mod place;
mod rules;
mod sets;

pub use look::learn;
pub use place::Places;
pub use sets::{Discovery, Entry, Gap, NewNames, Role, Verdict, most};
