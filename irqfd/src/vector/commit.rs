// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One commit for the routes of many vectors, of which one may be refused.

use std::sync::Arc;

use irq_routing::Transaction;

use super::Inner;
use crate::Error;

/// Commits the routes of all, or of each half by itself if they are refused, so that the guilty one
/// alone fails. Says of each how that went, without the lock of any.
pub(crate) fn commit(
    vectors: &[Arc<Inner>],
    end: &mut impl FnMut(&Arc<Inner>, Result<(), Arc<Error>>),
) {
    let Some(first) = vectors.first() else {
        return;
    };
    let mut transaction = first.table.transaction();
    transaction.reserve(vectors.len());
    for vector in vectors {
        vector.stage(&vector.control.lock(), &mut transaction);
    }
    commit_staged(vectors, transaction, end);
}

/// The same for vectors whose routes are staged already.
pub(crate) fn commit_staged(
    vectors: &[Arc<Inner>],
    transaction: Transaction,
    end: &mut impl FnMut(&Arc<Inner>, Result<(), Arc<Error>>),
) {
    if vectors.is_empty() {
        return;
    }
    let result = transaction.commit();
    let result = result.map_err(|rejected| Arc::new(Error::of_route(rejected.error)));
    let guilty = matches!(&result, Err(error) if error.is_of_one());
    if guilty && vectors.len() > 1 {
        let (first, second) = vectors.split_at(vectors.len() / 2);
        commit(first, end);
        commit(second, end);
    } else {
        for vector in vectors {
            end(vector, result.clone());
        }
    }
}
