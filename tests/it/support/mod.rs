//! Support for the tests: a fresh directory for each, a running reloadrun with its event stream, real applications.

pub mod apps;
pub mod chromium;
pub mod http;
pub mod namespace;
pub mod sandbox;
pub mod session;
pub mod terminal;
pub mod watched;

pub use namespace::Namespace;
pub use sandbox::Sandbox;
pub use session::{Ended, Session};
pub use terminal::Terminal;
