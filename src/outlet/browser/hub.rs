//! All pages that are open, and what they are told. A page that does not take what it is told is let go: it comes again, and is told then.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::machine::{Input, Machine, Message, To};
use super::news::{of_event, of_status};
use super::page_id::PageId;
use crate::outlet::link::Heard;

/// So many messages wait for a page.
const MOST_WAITING: usize = 32;

/// Everybody who is told.
#[derive(Debug, Default)]
pub struct Hub {
    machine: RefCell<Machine>,
    pages: RefCell<BTreeMap<PageId, mpsc::Sender<Message>>>,
    came: RefCell<u64>,
}

/// A page, for as long as it is connected.
#[derive(Debug)]
pub struct Membership {
    id: PageId,
    hub: Rc<Hub>,
    /// What it is told; the end of it when it is let go.
    pub messages: mpsc::Receiver<Message>,
}

impl Hub {
    /// Takes in everything that the run says.
    pub async fn follow(self: Rc<Self>, mut heard: mpsc::UnboundedReceiver<Heard>) {
        let mut directory = String::new();
        while let Some(heard) = heard.recv().await {
            let input = match heard {
                Heard::Greeting(greeting) => {
                    directory = greeting.directory;
                    None
                }
                Heard::Event(event) => of_event(&event, &directory),
                Heard::Status(status) => Some(of_status(&status, &directory)),
            };
            input.into_iter().for_each(|input| self.step(input));
        }
    }

    /// A page has come, which began to load so long ago, if it says so.
    pub fn join(self: &Rc<Self>, age: Option<Duration>) -> Membership {
        let id = PageId(self.came.replace_with(|came| *came + 1));
        let (sender, messages) = mpsc::channel(MOST_WAITING);
        self.pages.borrow_mut().insert(id, sender);
        self.step(Input::Came(id, age));
        Membership { id, hub: Rc::clone(self), messages }
    }

    fn step(&self, input: Input) {
        let told = self.machine.borrow_mut().step(input, Instant::now());
        for (to, message) in told {
            self.pages.borrow_mut().retain(|id, page| {
                let is_meant = to == To::All || to == To::One(*id);
                !is_meant || page.try_send(message.clone()).is_ok()
            });
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.hub.pages.borrow_mut().remove(&self.id);
    }
}
