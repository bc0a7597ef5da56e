//! From words on a command line and keys in a file to a [`Config`](crate::config::Config).

pub mod args;
mod file;
pub mod logging;
mod pages;
pub mod resolve;
mod shell;
pub mod trust;
mod words;
