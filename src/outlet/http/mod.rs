//! HTTP/1.1: `server` takes connections and bounds them, `route` knows who may ask for what, and each path has a file.

mod guard;
mod live;
mod probes;
mod reply;
mod route;
mod server;

pub use self::guard::{host_name, host_of, is_reserved};
pub use self::reply::{Reply, method_not_allowed, reply, text};
pub use self::route::answer;
pub use self::server::{Listener, Place};
