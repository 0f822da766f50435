// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The parts of the tables: sections of rows, and an operation for each cell.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use notify_core::Rejected;

use crate::call::Call;

/// An operation, ready to run on a thread with a filter.
pub(crate) struct Body {
    /// One after the other, if a row is of several operations. Each panics if it fails.
    pub(crate) steps: Vec<Step>,
    /// What the documentation asks for after a failure, before the operation is tried again.
    pub(crate) repair: Step,
    /// The state of the objects that they are about, to be compared.
    pub(crate) state: Box<dyn Fn() -> String + Send>,
}

impl Body {
    /// The same operation, with a repair after a failure.
    pub(crate) fn repaired(mut self, repair: impl FnMut() + Send + 'static) -> Self {
        self.repair = Box::new(repair);
        self
    }
}

pub(crate) type Step = Box<dyn FnMut() + Send>;

/// The system calls of a cell; `None` if there is no such operation.
pub(crate) type Calls = Option<&'static [Call]>;

/// The thread on which a VMM runs an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thread {
    Vcpu,
    Device,
    Vmm,
}

impl Thread {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Vcpu => "vCPU thread",
            Self::Device => "device thread",
            Self::Vmm => "VMM thread",
        }
    }
}

/// A table: operations on one kind of object, on one thread.
pub(crate) struct Section {
    pub(crate) subject: &'static str,
    pub(crate) thread: Thread,
    /// The titles of the columns, if there are several.
    pub(crate) columns: &'static [&'static str],
    /// Whether an operation needs KVM.
    pub(crate) kvm: bool,
    pub(crate) rows: Vec<Row>,
}

/// One operation, in each of the columns.
pub(crate) struct Row {
    pub(crate) operation: &'static str,
    pub(crate) cells: Vec<Cell>,
}

pub(crate) struct Cell {
    pub(crate) calls: Calls,
    /// Sets everything up, without a filter, and returns the operation.
    pub(crate) setup: Box<dyn Fn() -> Body + Send + Sync>,
}

impl Row {
    /// An operation in a table with one column.
    pub(crate) fn new(
        operation: &'static str,
        calls: &'static [Call],
        setup: fn() -> Body,
    ) -> Self {
        let cell = Cell {
            calls: Some(calls),
            setup: Box::new(setup),
        };
        Self {
            operation,
            cells: vec![cell],
        }
    }

    /// The same operation for each column.
    pub(crate) fn each<K: Copy + Send + Sync + 'static, const N: usize>(
        operation: &'static str,
        columns: [K; N],
        calls: [Calls; N],
        setup: impl Fn(K) -> Body + Copy + Send + Sync + 'static,
    ) -> Self {
        let cells = columns.into_iter().zip(calls).map(|(column, calls)| Cell {
            calls,
            setup: Box::new(move || setup(column)),
        });
        Self {
            operation,
            cells: cells.collect(),
        }
    }
}

impl Section {
    /// The cells, each with its own name.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (String, &Cell)> {
        self.rows.iter().flat_map(move |row| {
            row.cells.iter().enumerate().map(move |(column, cell)| {
                let mut name = format!("{}: {}", self.subject, row.operation);
                if let Some(column) = self.columns.get(column) {
                    name = format!("{name} ({column})");
                }
                (format!("{name}, {}", self.thread.title()), cell)
            })
        })
    }
}

/// Leaks a value, as dropping it would make system calls.
pub(crate) fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// An operation on a value that is never dropped. Its result is dropped.
pub(crate) fn on<T: Sync + Debug, R: 'static>(value: &'static T, act: fn(&'static T) -> R) -> Body {
    with(value, move || drop(act(value)))
}

/// Several operations on a value that is never dropped.
pub(crate) fn on_each<T: Sync + Debug, const N: usize>(
    value: &'static T,
    acts: [fn(&'static T); N],
) -> Body {
    let steps = acts
        .into_iter()
        .map(|act| -> Step { Box::new(move || act(value)) });
    Body {
        steps: steps.collect(),
        repair: Box::new(|| {}),
        state: Box::new(move || format!("{value:?}")),
    }
}

/// An operation whose effect shows in this value.
pub(crate) fn with<T: Sync + Debug>(value: &'static T, act: impl FnMut() + Send + 'static) -> Body {
    Body {
        steps: vec![Box::new(act)],
        repair: Box::new(|| {}),
        state: Box::new(move || format!("{value:?}")),
    }
}

/// An operation that consumes a value, and whose effect shows in another one.
pub(crate) fn beside<T: Send + 'static>(
    shown: &'static (impl Sync + Debug),
    value: T,
    act: fn(T),
) -> Body {
    let mut value = Some(value);
    with(shown, move || act(value.take().unwrap()))
}

/// An operation that consumes a value.
pub(crate) fn take<T: Send + 'static>(value: T, act: fn(T)) -> Body {
    beside(&(), value, act)
}

/// An operation that consumes a value, or gives it back. Its result is never dropped.
pub(crate) fn give<T: Send + Debug + 'static, R: 'static, E: Debug + 'static>(
    value: T,
    mut act: impl FnMut(T) -> Result<R, Rejected<T, E>> + Send + 'static,
) -> Body {
    let slot = Arc::new(Mutex::new(Some(value)));
    let shown = Arc::clone(&slot);
    let step = move || {
        let value = slot.lock().unwrap().take().unwrap();
        match act(value) {
            Ok(result) => std::mem::forget(result),
            Err(Rejected { error, value }) => {
                *slot.lock().unwrap() = Some(value);
                panic!("{error:?}");
            }
        }
    };
    Body {
        steps: vec![Box::new(step)],
        repair: Box::new(|| {}),
        state: Box::new(move || format!("{:?}", shown.lock().unwrap())),
    }
}
