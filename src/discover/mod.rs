//! Which files a command depends on, and which it makes: what was seen of its system calls becomes sets of files.

mod first;
mod live;
mod look;
mod place;
mod renames;
mod rules;
mod sets;
mod words;

pub use live::{Learned, Live, Standing, Summary};
pub use look::{learn, needs_rights, settle};
pub use place::Places;
pub use sets::{Discovery, Entry, Gap, Kept, NewNames, Role, Verdict, most};
pub use words::{missed, too_many, untraceable};
