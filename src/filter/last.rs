//! A cache of one answer: a walk asks for one file after the other of the same directory.

use std::borrow::Borrow;
use std::sync::{Mutex, MutexGuard};

/// The last question, and its answer.
#[derive(Debug)]
pub struct Last<K, V>(Mutex<Option<(K, V)>>);

impl<K, V: Clone> Last<K, V> {
    /// The answer to this question, found out if it was not the last one.
    pub fn answer<Q>(&self, question: &Q, find_out: impl FnOnce() -> V) -> V
    where
        K: Borrow<Q>,
        Q: ?Sized + PartialEq + ToOwned<Owned = K>,
    {
        if let Some((last, answer)) = self.lock().as_ref()
            && last.borrow() == question
        {
            return answer.clone();
        }
        // Not under the lock: what is found out may ask again.
        let answer = find_out();
        *self.lock() = Some((question.to_owned(), answer.clone()));
        answer
    }

    /// Forgets it.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(K, V)>> {
        self.0.lock().expect("a panic ends the process")
    }
}

impl<K, V> Default for Last<K, V> {
    fn default() -> Self {
        Last(Mutex::new(None))
    }
}
