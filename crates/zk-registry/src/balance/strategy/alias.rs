//! The alias table, for drawing by weight in constant time: Walker's alias table (1977), built as Vose showed (1991).

use crate::balance::{EndpointSet, Pick, hash};

/// Draws places of a set with probabilities in proportion to the weights.
pub(super) struct Alias {
    len: usize,
    /// For each place: below this 32-bit number it is drawn itself, else its alias. Empty when all weights are the same.
    columns: Box<[(u32, u32)]>,
}

/// A table for no more instances than this is built in some microseconds.
pub(super) const SMALL: usize = 256;

impl Alias {
    /// Whether a table is needed for the set that takes long to build.
    pub(super) fn has_table(set: &EndpointSet) -> bool {
        !set.has_equal_weights() && set.len() > SMALL
    }

    pub(super) fn of(set: &EndpointSet) -> Self {
        let columns = if set.has_equal_weights() {
            Box::default()
        } else {
            columns(&set.iter().map(|endpoint| f64::from(endpoint.weight().get())).collect::<Vec<_>>())
        };
        Self { len: set.len(), columns }
    }

    /// One place: one random word.
    pub(super) fn draw(&self, pick: &mut Pick<'_>) -> usize {
        if self.columns.is_empty() {
            return pick.below(self.len);
        }
        let (place, coin) = hash::halves(pick.rng.next_u64());
        let place = hash::below(place, self.len);
        let (own, alias) = self.columns[place];
        if coin < own { place } else { alias as usize }
    }

    /// Two places: different ones with equal weights, nearly always different ones otherwise.
    #[inline]
    pub(super) fn draw_two(&self, pick: &mut Pick<'_>) -> (usize, usize) {
        if self.columns.is_empty() {
            let (first, second) = hash::halves(pick.rng.next_u64());
            let first = hash::below(first, self.len);
            let second = hash::below(second, self.len - 1);
            return (first, if self.len > 1 { second + usize::from(second >= first) } else { first });
        }
        let first = self.draw(pick);
        let second = self.draw(pick);
        (first, if second == first { self.draw(pick) } else { second })
    }
}

/// Splits each weight so that every column of the same height holds at most two of them.
fn columns(weights: &[f64]) -> Box<[(u32, u32)]> {
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    let mut shares: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..shares.len()).partition(|&place| shares[place] < 1.0);

    let mut columns: Box<[(u32, u32)]> = (0..shares.len()).map(|place| (u32::MAX, place as u32)).collect();
    while let (Some(&giver), Some(taker)) = (large.last(), small.pop()) {
        columns[taker] = ((shares[taker] * f64::from(u32::MAX)) as u32, giver as u32);
        shares[giver] -= 1.0 - shares[taker];
        if shares[giver] < 1.0 {
            large.pop();
            small.push(giver);
        }
    }
    columns
}
