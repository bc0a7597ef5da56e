//! Reads the command line and the config file into a [`Config`](crate::config::Config).

pub mod args;
mod file;
pub mod logging;
mod pages;
pub mod resolve;
mod shell;
pub mod trust;
mod words;
