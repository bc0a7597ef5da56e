//! Reads the command line and the config file into a [`Config`](crate::config::Config).

pub mod args;
mod duration;
mod file;
pub mod logging;
pub mod resolve;
mod shell;
mod together;
pub mod trust;
mod verbs;
mod words;
