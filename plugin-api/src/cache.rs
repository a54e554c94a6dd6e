//! Remembers for a while what a ticket system said, so that it isn't asked again with each ticket.

use std::time::{Duration, Instant};

/// How long a value is used after it was looked up.
const FRESH: Duration = Duration::from_secs(600);

/// A value of the ticket system that seldom changes (its labels, its fields, a project), and that is looked
/// up at most once in ten minutes. A plugin keeps it in its instance.
///
/// ```
/// # use ticket_plugin_api::Cached;
/// let mut labels = Cached::default();
/// let known = labels.get(|| Ok::<_, ticket_plugin_api::Error>(vec!["noc"]))?;
/// assert_eq!(known, &["noc"]);
/// // Now it is known: nothing is asked.
/// labels.get(|| unreachable!() as ticket_plugin_api::Result<Vec<&str>>)?;
/// # Ok::<(), ticket_plugin_api::Error>(())
/// ```
#[derive(Debug)]
pub struct Cached<T> {
    value: Option<(Instant, T)>,
}

impl<T> Default for Cached<T> {
    fn default() -> Cached<T> {
        Cached { value: None }
    }
}

impl<T> Cached<T> {
    /// The value. It is looked up if it never was, or more than ten minutes ago.
    ///
    /// # Errors
    /// What `look_up` fails with. Nothing is kept then, so that the next call looks it up again.
    pub fn get<E>(&mut self, look_up: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
        let fresh = self.value.take_if(|(since, _)| since.elapsed() < FRESH);
        let kept = match fresh {
            Some(kept) => kept,
            None => (Instant::now(), look_up()?),
        };
        Ok(&mut self.value.insert(kept).1)
    }

    /// The value as it was last looked up, however long ago; None if it never was.
    pub fn last(&mut self) -> Option<&mut T> {
        self.value.as_mut().map(|(_, value)| value)
    }

    /// Forgets the value. A plugin does this when the ticket system refuses what the value says.
    pub fn clear(&mut self) {
        self.value = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_looked_up_once_until_it_is_cleared_and_a_failure_is_not_kept() {
        let mut cached = Cached::default();
        assert_eq!(cached.get(|| Err::<u8, _>("down")), Err("down"));
        assert_eq!(cached.get(|| Ok::<_, ()>(1)), Ok(&mut 1));
        assert_eq!(cached.get(|| Ok::<_, ()>(2)), Ok(&mut 1));
        cached.clear();
        assert_eq!(cached.get(|| Ok::<_, ()>(3)), Ok(&mut 3));
    }

    #[test]
    fn an_old_value_is_looked_up_again() {
        let Some(long_ago) = Instant::now().checked_sub(FRESH) else { return };
        let mut cached = Cached { value: Some((long_ago, 1)) };
        assert_eq!(cached.get(|| Ok::<_, ()>(2)), Ok(&mut 2));
    }
}
