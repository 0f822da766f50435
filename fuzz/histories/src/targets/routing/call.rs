// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Call`]: a request as a call of the table, on some thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use irq_routing::{Error, RoutingTable, Transaction};

use super::pool::{self, Started};
use super::round::{Edits, Request, last_of_each};
use super::why::Why;
use super::world::{HeldDriven, HeldLine};

/// A transaction, and what the model knows of it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) transaction: Transaction,
    pub(super) edits: Edits,
    pub(super) table: usize,
}

/// A call that may issue ioctls.
#[derive(Debug)]
pub(super) enum Call {
    Commit(Open),
    Drive(HeldLine),
    Flush,
    Recommit,
    Retranslate,
}

/// What it returned, with a transaction that was rejected.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) result: Result<(), Why>,
    pub(super) rejected: Option<Open>,
    pub(super) drive: Option<Result<HeldDriven, HeldLine>>,
}

impl Call {
    pub(super) fn request(&self) -> Request {
        match self {
            Self::Commit(open) => Request::Edits(open.edits.clone()),
            Self::Drive(held) => Request::Drive(held.line.gsi().number()),
            Self::Flush => Request::Flush,
            Self::Recommit => Request::Recommit,
            Self::Retranslate => Request::Retranslate,
        }
    }

    pub(super) fn carry_out(self, table: &RoutingTable) -> Returned {
        let result = |call: &dyn Fn() -> Result<(), Error>| {
            let result = catch_unwind(AssertUnwindSafe(call));
            let result = result.map(|result| result.map_err(|error| Why::from(&error)));
            let result = result.unwrap_or(Err(Why::Panic));
            Returned {
                result,
                rejected: None,
                drive: None,
            }
        };
        match self {
            Self::Flush => result(&|| table.flush()),
            Self::Recommit => result(&|| table.recommit()),
            Self::Retranslate => result(&|| table.retranslate()),
            Self::Drive(HeldLine { line, table, key }) => {
                let (result, drive) = match line.drive() {
                    Ok(line) => (Ok(()), Ok(HeldDriven { line, table, key })),
                    Err(rejected) => (
                        Err(Why::from(&rejected.error)),
                        Err(HeldLine {
                            line: rejected.value,
                            table,
                            key,
                        }),
                    ),
                };
                Returned {
                    result,
                    rejected: None,
                    drive: Some(drive),
                }
            }
            Self::Commit(open) => {
                let Open {
                    transaction,
                    edits,
                    table,
                } = open;
                let committed = catch_unwind(AssertUnwindSafe(|| transaction.commit()));
                match committed {
                    Ok(Ok(())) => Returned {
                        result: Ok(()),
                        rejected: None,
                        drive: None,
                    },
                    Ok(Err(rejected)) => Returned {
                        result: Err((&rejected.error).into()),
                        rejected: Some(Open {
                            transaction: rejected.value,
                            // What was validated has lost the edits that do not count.
                            edits: match rejected.error {
                                Error::GsiOutOfRange { .. } => edits,
                                _ => last_of_each(&edits),
                            },
                            table,
                        }),
                        drive: None,
                    },
                    Err(_) => Returned {
                        result: Err(Why::Panic),
                        rejected: None,
                        drive: None,
                    },
                }
            }
        }
    }
}

/// One that was started while another one's table was in the kernel, or carried out after it.
#[derive(Debug)]
pub(super) enum Joined<R> {
    Started(Started<R>),
    Ended(R),
}

impl<R: Send + 'static> Joined<R> {
    pub(super) fn new(in_flight: bool, job: impl FnOnce() -> R + Send + 'static) -> Self {
        if in_flight {
            let started = pool::start(job);
            started.wait_until_it_waits();
            Self::Started(started)
        } else {
            Self::Ended(job())
        }
    }

    pub(super) fn join(self) -> R {
        match self {
            Self::Started(started) => started.join(),
            Self::Ended(result) => result,
        }
    }
}
