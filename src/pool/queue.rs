//! The queue of those who wait for a server: in order of arrival, but for plugins whose migrations are in progress.
//!
//! Those go in front, in the order of their own arrival. So that nobody waits for ever, one who was overtaken is let
//! through after every few of them.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::dispatch::Granted;

/// So many may overtake in a row before somebody who was overtaken has his turn.
const MOST_IN_A_ROW: u32 = 8;

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) pool: usize,
    pub(super) plugin: usize,
    /// It wants room for a connection of its own.
    pub(super) private: bool,
    pub(super) give: oneshot::Sender<Granted>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The first `in_front` of them are served before their turn.
    waiters: VecDeque<Place>,
    in_front: usize,
    /// How many have overtaken somebody since the last one who did not.
    in_a_row: u32,
}

#[derive(Debug)]
struct Place {
    waiter: Waiter,
    /// Its turn has not come: it overtakes those who are not in front.
    overtakes: bool,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Joins at the end; of the front, if it is served before its turn.
    pub(super) fn join(&mut self, waiter: Waiter, before_its_turn: bool) {
        if before_its_turn {
            self.waiters.insert(self.in_front, Place { waiter, overtakes: true });
            self.in_front += 1;
        } else {
            self.waiters.push_back(Place { waiter, overtakes: false });
        }
    }

    /// Whoever waits for the plugin goes to the front, in the order in which they came.
    pub(super) fn put_in_front(&mut self, plugin: usize) {
        for at in self.in_front..self.waiters.len() {
            if self.waiters[at].waiter.plugin == plugin {
                self.move_to_front(at, self.in_front, true);
            }
        }
    }

    /// To be called before the queue is served: enough have overtaken in a row, and the first of the others is due.
    pub(super) fn let_one_through(&mut self) {
        if self.in_a_row >= MOST_IN_A_ROW && self.in_front < self.waiters.len() {
            self.in_a_row = 0;
            self.move_to_front(self.in_front, 0, false);
        }
    }

    /// The waiter in this place.
    pub(super) fn get(&self, at: usize) -> Option<&Waiter> {
        self.waiters.get(at).map(|place| &place.waiter)
    }

    /// The waiter in this place is served.
    pub(super) fn serve(&mut self, at: usize) -> Option<Waiter> {
        let Place { waiter, overtakes } = self.take(at)?;
        let overtaken = self.in_front < self.waiters.len();
        self.in_a_row = if overtakes && overtaken { self.in_a_row + 1 } else { 0 };
        Some(waiter)
    }

    /// The waiter leaves, if it is still here.
    pub(super) fn leave(&mut self, id: u64) {
        if let Some(at) = self.waiters.iter().position(|place| place.waiter.id == id) {
            self.take(at);
        }
    }

    /// Takes the first one out of which `wanted` is true, without its having been served.
    pub(super) fn take_first(&mut self, wanted: impl Fn(&Waiter) -> bool) -> Option<Waiter> {
        let at = self.waiters.iter().position(|place| wanted(&place.waiter))?;
        self.take(at).map(|place| place.waiter)
    }

    /// Takes everybody out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waiter> + '_ {
        self.in_front = 0;
        self.waiters.drain(..).map(|place| place.waiter)
    }

    fn take(&mut self, at: usize) -> Option<Place> {
        let place = self.waiters.remove(at)?;
        self.in_front -= usize::from(at < self.in_front);
        Some(place)
    }

    fn move_to_front(&mut self, from: usize, to: usize, overtakes: bool) {
        if let Some(Place { waiter, .. }) = self.take(from) {
            self.waiters.insert(to, Place { waiter, overtakes });
            self.in_front += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOG: usize = 7;
    const OTHERS: usize = 1;

    fn waiter(id: u64, plugin: usize) -> Waiter {
        Waiter { id, pool: 0, plugin, private: false, give: oneshot::channel().0 }
    }

    fn queue(of: &[(u64, usize, bool)]) -> Queue {
        let mut queue = Queue::default();
        of.iter().for_each(|(id, plugin, first)| queue.join(waiter(*id, *plugin), *first));
        queue
    }

    /// Serves whoever is first until nobody is left.
    fn order(mut queue: Queue) -> Vec<u64> {
        let next = || {
            queue.let_one_through();
            queue.serve(0).map(|waiter| waiter.id)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn whoever_comes_first_is_served_first() {
        assert_eq!(order(queue(&[(1, OTHERS, false), (2, CATALOG, false), (3, OTHERS, false)])), [1, 2, 3]);
    }

    #[test]
    fn those_before_their_turn_keep_the_order_among_themselves() {
        let queue = queue(&[(1, OTHERS, false), (2, CATALOG, true), (3, OTHERS, false), (4, CATALOG, true)]);
        assert_eq!(order(queue), [2, 4, 1, 3]);
    }

    #[test]
    fn a_plugin_that_begins_to_migrate_takes_those_who_wait_for_it_along() {
        let mut queue = queue(&[(1, OTHERS, false), (2, CATALOG, false), (3, OTHERS, false), (4, CATALOG, false)]);
        queue.put_in_front(CATALOG);
        queue.join(waiter(5, CATALOG), true);
        assert_eq!(order(queue), [2, 4, 5, 1, 3]);
    }

    #[test]
    fn one_who_was_overtaken_is_let_through_after_every_eighth() {
        let mut queue = queue(&[(100, OTHERS, false), (101, OTHERS, false), (102, OTHERS, false)]);
        (0..20).for_each(|id| queue.join(waiter(id, CATALOG), true));
        let expected = (0..8).chain([100]).chain(8..16).chain([101]).chain(16..20).chain([102]);
        assert_eq!(order(queue), expected.collect::<Vec<u64>>());
    }

    #[test]
    fn who_overtakes_nobody_owes_nobody_a_turn() {
        let mut queue = queue(&[]);
        for id in 0..20 {
            queue.join(waiter(id, CATALOG), true);
            queue.let_one_through();
            assert_eq!(queue.serve(0).map(|waiter| waiter.id), Some(id));
        }
        queue.join(waiter(100, OTHERS), false);
        queue.join(waiter(20, CATALOG), true);
        assert_eq!(order(queue), [20, 100]);
    }

    #[test]
    fn whoever_leaves_is_not_in_front_any_more() {
        let mut queue = queue(&[(1, OTHERS, false), (2, CATALOG, true), (3, CATALOG, true)]);
        queue.leave(2);
        queue.leave(2);
        queue.join(waiter(4, CATALOG), true);
        assert!(queue.take_first(|waiter| waiter.plugin == OTHERS).is_some_and(|waiter| waiter.id == 1));
        assert_eq!(order(queue), [3, 4]);
    }
}
