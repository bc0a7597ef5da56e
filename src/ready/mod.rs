//! Whether the command is ready (`--ready`): asked early and often, and proven to be of this generation.

mod machine;
mod owner;
