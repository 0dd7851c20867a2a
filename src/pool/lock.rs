//! The lock around all that one scheduler decides, so that a test can put one in its place that tries every order.

use std::ops::DerefMut;

use parking_lot::Mutex;

/// A lock around a value.
pub(super) trait Lock<T>: Send + Sync + 'static {
    /// Nobody has locked it yet.
    fn new(value: T) -> Self;

    /// Waits until nobody else has it.
    fn lock(&self) -> impl DerefMut<Target = T>;
}

impl<T: Send + 'static> Lock<T> for Mutex<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    #[inline]
    fn lock(&self) -> impl DerefMut<Target = T> {
        self.lock()
    }
}
