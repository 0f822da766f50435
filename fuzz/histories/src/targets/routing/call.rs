// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Call`]: a request as a call of the table, on any thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use irq_routing::{Error, MessageEdit, RoutingTable, Transaction};

use super::each::{EachEdit, Reply};
use super::pool::{self, Started};
use super::round::{Edits, Outcome, Request, last_of_each};
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
    Each(Vec<MessageEdit>, Vec<EachEdit>),
    Drive(HeldLine),
    Flush,
    Recommit,
    Retranslate,
}

/// The result of a call, with a rejected transaction.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) result: Outcome,
    pub(super) rejected: Option<Open>,
    pub(super) drive: Option<Result<HeldDriven, HeldLine>>,
}

impl Call {
    pub(super) fn request(&self) -> Request {
        match self {
            Self::Commit(open) => Request::Edits(open.edits.clone()),
            Self::Each(_, edits) => Request::Each(edits.clone()),
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
            let result = result.unwrap_or(Err(Why::Panic)).map(|()| vec![]);
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
            Self::Each(edits, _) => Returned {
                result: Ok(commit_each(table, edits)),
                rejected: None,
                drive: None,
            },
            Self::Drive(HeldLine {
                line,
                table,
                key,
                arming,
            }) => {
                let (result, drive) = match line.drive() {
                    Ok(line) => (
                        Ok(vec![]),
                        Ok(HeldDriven {
                            line,
                            table,
                            key,
                            arming,
                        }),
                    ),
                    Err(rejected) => (
                        Err(Why::from(&rejected.error)),
                        Err(HeldLine {
                            line: rejected.value,
                            table,
                            key,
                            arming,
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
                        result: Ok(vec![]),
                        rejected: None,
                        drive: None,
                    },
                    Ok(Err(rejected)) => Returned {
                        result: Err((&rejected.error).into()),
                        rejected: Some(Open {
                            transaction: rejected.value,
                            // Validation has removed the edits that do not count.
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

/// Resumes a panic once all replies have arrived.
fn commit_each(table: &RoutingTable, edits: Vec<MessageEdit>) -> Vec<Reply> {
    let (count, mut replies) = (edits.len(), Vec::new());
    let committed = catch_unwind(AssertUnwindSafe(|| {
        table.commit_each(edits, |at, outcome| {
            assert_eq!(at, replies.len(), "replies in their order");
            replies.push(Reply::from(outcome));
        });
    }));
    assert_eq!(replies.len(), count, "a reply for each edit");
    assert_eq!(committed.is_err(), replies.contains(&Reply::Panicked));
    replies
}

/// A call that started while another call's table was in the kernel, or that ran after it.
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
