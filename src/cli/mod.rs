//! Reads the command line and the config file into a [`Config`](crate::config::Config).

pub mod args;
pub mod caller;
mod ci;
mod completion;
mod duration;
mod env_file;
mod file;
pub mod init;
mod keys;
pub mod logging;
mod pages;
mod paths;
pub mod resolve;
mod schema;
mod settings;
mod shell;
mod smoke;
mod together;
pub mod trust;
mod verbs;
mod words;
