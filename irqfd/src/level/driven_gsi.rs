// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DrivenGsi`]: the GSI of a line, kept out of use if something may signal it for ever.

use irq_routing::{DrivenLine, Line};

use crate::edge::Bound;

#[derive(Debug)]
pub(super) struct DrivenGsi {
    /// The irqfds of the devices on the line.
    bound: Bound,
    driven: DrivenLine,
    /// An irqfd could not be taken off.
    stuck: bool,
}

impl DrivenGsi {
    pub(super) fn new(driven: DrivenLine) -> Self {
        Self {
            bound: Bound::new(driven.line()),
            driven,
            stuck: false,
        }
    }

    pub(super) fn line(&self) -> &Line {
        self.driven.line()
    }

    pub(super) fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The route is to stay when the line goes.
    pub(super) fn keep(&mut self) {
        self.stuck = true;
    }
}

impl Drop for DrivenGsi {
    fn drop(&mut self) {
        if self.stuck {
            self.line().quarantine();
        }
    }
}
