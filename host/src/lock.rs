//! Locks a mutex whose values are valid whatever happens.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value in `mutex`. To be used where each statement leaves a valid value: then a panic while somebody held the lock
/// has left nothing half-done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
