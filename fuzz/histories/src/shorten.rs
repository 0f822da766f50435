// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`shorten`]: finds a shorter history that fails too.

/// How many histories are tried at most.
const TRIES: usize = 5_000;

/// Removes steps, in large pieces first, as long as the rest still fails.
pub(crate) fn shorten<S: Clone>(steps: &[S], mut fails: impl FnMut(&[S]) -> bool) -> Vec<S> {
    let mut short = steps.to_vec();
    let mut tries = 0;
    let mut piece = short.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < short.len() && tries < TRIES {
            let mut rest = short.clone();
            rest.drain(at..(at + piece).min(short.len()));
            tries += 1;
            if fails(&rest) {
                short = rest;
                has_shrunk = true;
            } else {
                at += piece;
            }
        }
        // Single steps are tried again until none can be removed.
        if !(piece == 1 && has_shrunk && tries < TRIES) {
            piece /= 2;
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_left() {
        let steps: Vec<u32> = (0..1000).collect();
        let fails = |steps: &[u32]| steps.contains(&17) && steps.contains(&901);
        assert_eq!(shorten(&steps, fails), [17, 901]);
    }

    #[test]
    fn order_matters() {
        let steps = [3, 1, 2, 3, 1];
        let fails = |steps: &[u32]| {
            let one = steps.iter().position(|step| *step == 1);
            one.is_some_and(|at| steps.iter().skip(at).any(|step| *step == 3))
        };
        assert_eq!(shorten(&steps, fails), [1, 3]);
    }

    #[test]
    fn a_history_that_fails_by_chance_ends() {
        let mut calls = 0;
        let steps: Vec<u32> = (0..2000).collect();
        shorten(&steps, |_| {
            calls += 1;
            calls % 2 == 0
        });
        assert!(calls <= TRIES);
    }
}
