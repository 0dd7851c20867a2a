//! Idle servers that are nothing but numbers.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use super::super::Idle;

/// The idle servers of a pool, as numbers; the last was given back last.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf(pub(super) Rc<RefCell<Vec<(u32, Instant)>>>);

impl Idle for Shelf {
    type Lent = u32;
    type Out = u32;

    fn lend(&self) -> Option<u32> {
        self.0.borrow_mut().pop().map(|(server, _)| server)
    }

    fn longest(&self) -> Option<Instant> {
        self.0.borrow().first().map(|(_, since)| *since)
    }

    fn take_longest(&self) -> Option<u32> {
        let mut shelf = self.0.borrow_mut();
        (!shelf.is_empty()).then(|| shelf.remove(0).0)
    }

    fn take_all(&self) -> Vec<u32> {
        self.0.borrow_mut().drain(..).map(|(server, _)| server).collect()
    }
}
