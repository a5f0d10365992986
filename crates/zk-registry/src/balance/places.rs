//! Places: a list whose clones share all of it but what changed, and in which every place is found in one step more than in a
//! slice.

use std::ops::Index as At;
use std::sync::Arc;

use super::endpoint::Index;

/// An immutable list in chunks of [`CHUNK`]; the last one may be shorter.
#[derive(Debug)]
pub(super) struct Places<T> {
    chunks: Spine<T>,
    len: usize,
}

/// The chunks of a list.
pub(super) type Spine<T> = Arc<[Arc<[T]>]>;

/// The list while it changes: [`share`](Self::share) copies the pointers to its chunks, a change the chunk that it touches.
#[derive(Debug)]
pub(super) struct PlacesMut<T> {
    full: Vec<Arc<[T]>>,
    /// The chunk that is not full.
    tail: Vec<T>,
}

/// A power of two, so that a place is found by a shift and a mask.
const CHUNK: usize = 64;

impl<T> Places<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, index: Index) -> Option<&T> {
        self.chunks.get(index.get() / CHUNK)?.get(index.get() % CHUNK)
    }

    /// The values of all chunks that `other` does not have at the same place.
    pub(super) fn not_shared_with<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        let is_shared = |(n, chunk): &(usize, &Arc<[T]>)| {
            other.chunks.get(*n).is_some_and(|other| Arc::ptr_eq(chunk, other))
        };
        let apart = self.chunks.iter().enumerate().filter(move |chunk| !is_shared(chunk));
        apart.flat_map(|(_, chunk)| chunk.iter())
    }

    pub(super) fn spine(&self) -> &Spine<T> {
        &self.chunks
    }
}

/// # Panics
///
/// When the place is outside the list.
impl<T> At<Index> for Places<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: Index) -> &T {
        &self.chunks[index.get() / CHUNK][index.get() % CHUNK]
    }
}

/// Shares the whole list.
impl<T> Clone for Places<T> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<T> Default for PlacesMut<T> {
    fn default() -> Self {
        Self { full: Vec::new(), tail: Vec::new() }
    }
}

impl<T: Clone> PlacesMut<T> {
    pub(super) fn len(&self) -> usize {
        self.full.len() * CHUNK + self.tail.len()
    }

    /// Appends a value; returns its place.
    pub(super) fn push(&mut self, value: T) -> usize {
        let place = self.len();
        self.tail.push(value);
        if self.tail.len() == CHUNK {
            self.full.push(std::mem::take(&mut self.tail).into());
        }
        place
    }

    /// The value at `place`, to be changed. `None`: there is none.
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        let chunk = match self.full.get_mut(place / CHUNK) {
            Some(chunk) => Arc::make_mut(chunk),
            None => &mut self.tail,
        };
        chunk.get_mut(place % CHUNK)
    }

    /// Takes the value at `place` out and puts the last one there, if it was another: that one is returned.
    pub(super) fn swap_remove(&mut self, place: usize) -> Option<&T> {
        if self.tail.is_empty() {
            self.tail = self.full.pop()?.to_vec();
        }
        let last = self.tail.pop()?;
        let hole = self.get_mut(place)?;
        *hole = last;
        Some(hole)
    }

    /// The list as it is now.
    pub(super) fn share(&self) -> Places<T> {
        let tail = (!self.tail.is_empty()).then(|| self.tail.as_slice().into());
        Places { chunks: self.full.iter().cloned().chain(tail).collect(), len: self.len() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_behave_like_a_vector(steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..900)) {
            let mut places = PlacesMut::default();
            let mut model: Vec<usize> = Vec::new();
            for (n, (step, at)) in steps.into_iter().enumerate() {
                let (before, old) = (places.share(), model.clone());
                let place = (!model.is_empty()).then(|| at.index(model.len()));
                match (step, place) {
                    (0, Some(place)) => {
                        model.swap_remove(place);
                        prop_assert_eq!(places.swap_remove(place), model.get(place));
                    }
                    (1, Some(place)) => {
                        model[place] = n;
                        *places.get_mut(place).unwrap() = n;
                    }
                    _ => {
                        model.push(n);
                        prop_assert_eq!(places.push(n), model.len() - 1);
                    }
                }
                let now = places.share();
                prop_assert_eq!(now.len(), model.len());
                prop_assert!((0..model.len() + 2).all(|place| now.get(Index::new(place)) == model.get(place)));
                prop_assert!((0..old.len()).all(|place| before[Index::new(place)] == old[place]), "what is shared never changes");
            }
        }
    }
}
