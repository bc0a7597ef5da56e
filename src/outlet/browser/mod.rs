//! Browsers (`--browser`): pages learn when to load again. `machine` decides, `news` reads the events of the run, `hub` tells the pages, `page` speaks with one of
//! them, `route` and `origin` know who may come.

mod hub;
mod machine;
mod news;
mod origin;
mod page;
mod page_id;
mod route;

pub use self::hub::Hub;
pub use self::route::answer;
