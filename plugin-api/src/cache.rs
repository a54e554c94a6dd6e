//! What a ticket system said a while ago and still counts.

use std::time::{Duration, Instant};

/// How long a look-up counts.
const FRESH: Duration = Duration::from_secs(600);

/// A value that is looked up once in ten minutes: labels, fields, a project.
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
    /// The value, by `look_up` if there is none or if it is old. What `look_up` fails with is
    /// passed on, and nothing is kept.
    pub fn get<E>(&mut self, look_up: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
        let fresh = self.value.take_if(|(since, _)| since.elapsed() < FRESH);
        let kept = match fresh {
            Some(kept) => kept,
            None => (Instant::now(), look_up()?),
        };
        Ok(&mut self.value.insert(kept).1)
    }

    /// The value as it was last looked up.
    pub fn last(&mut self) -> Option<&mut T> {
        self.value.as_mut().map(|(_, value)| value)
    }

    /// Forgets the value: the server has refused what it said.
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
