//! Which files a command depends on, and which it makes: what was seen of its system calls becomes sets of files.

mod live;
mod look;
mod place;
mod rules;
mod sets;
mod words;

pub use live::Live;
pub use look::{learn, needs_rights};
pub use place::Places;
pub use sets::{Discovery, Entry, Gap, NewNames, Role, Verdict, most};
pub use words::{missed, untraceable};
