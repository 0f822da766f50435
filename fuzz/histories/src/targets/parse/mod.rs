// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Documents from untrusted places: saved states, registers of other formats, routing dumps, and
//! the layouts of virtio. A valid document is changed step by step, and read after each step.
//!
//! Reading never panics, and takes memory in proportion to the text. What is read is written again
//! as it was. It is restored if a model accepts it, which was written from the documentation. Then
//! what was restored works. Otherwise nothing has changed.

mod change;
mod dump;
mod form;
mod layout;
mod level;
mod memory;
mod msi;
mod msix;
mod routing;
mod saved;
mod tree;
mod values;
mod vm;

use arbitrary::{Arbitrary, Unstructured};
use kvm_test::open_fds;

pub use change::{Change, Cut};

use crate::History;
use tree::Tree;

/// What the document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Kind {
    /// A saved routing table.
    Routing,
    /// A saved MSI-X table.
    Msix,
    /// The registers of an MSI-X table.
    MsixRegisters,
    /// A saved MSI capability.
    Msi,
    /// The registers of an MSI capability.
    MsiRegisters,
    /// A saved line.
    Level,
    /// A routing dump.
    Dump,
    /// The doorbells of a virtio device.
    Layout,
}

/// Bytes as they are in the input.
#[derive(Debug, Clone)]
pub struct Raw(pub Vec<u8>);

impl Arbitrary<'_> for Raw {
    fn arbitrary(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let len = usize::from(u8::arbitrary(u)?).min(u.len());
        Ok(Self(u.bytes(len)?.to_vec()))
    }
}

/// One operation.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    /// Begins with a valid document; the number selects which one, and the object that reads it.
    Begin(Kind, u16),
    /// Changes the document.
    Change(Change),
    /// Reads a changed document, and forgets the change.
    Try(Change),
    /// Reads a part of the text, or a changed text.
    Cut(Cut, Option<Cut>),
    /// Reads any bytes.
    Read(Raw),
    /// A request to the VM fails at the next restore: which one, and how.
    Fail(u8, bool),
}

/// What is read, and by what.
#[derive(Debug)]
struct Reading<'a> {
    shape: u16,
    text: &'a [u8],
    /// What the text was made of, unless it was changed afterwards.
    tree: Option<&'a Tree>,
    /// Whether the document is the valid one.
    valid: bool,
    /// The request that fails, and whether with ENOMEM, or else EINVAL.
    fault: Option<(u8, bool)>,
}

struct World {
    kind: Kind,
    shape: u16,
    document: Tree,
    valid: bool,
    fault: Option<(u8, bool)>,
}

impl World {
    fn new(kind: Kind, shape: u16) -> Self {
        let document = match kind {
            Kind::Routing => routing::valid(shape),
            Kind::Msix => msix::valid(shape),
            Kind::MsixRegisters => msix::valid_registers(shape),
            Kind::Msi => msi::valid(shape),
            Kind::MsiRegisters => msi::valid_registers(shape),
            Kind::Level => level::valid(shape),
            Kind::Dump => dump::valid(shape),
            Kind::Layout => layout::valid(shape),
        };
        Self {
            kind,
            shape,
            document,
            valid: true,
            fault: None,
        }
    }

    fn text(&self, document: &Tree) -> Vec<u8> {
        let text = match self.kind {
            Kind::Dump => document.lines(),
            _ => document.json(),
        };
        text.into_bytes()
    }

    fn read_document(&mut self, document: &Tree, valid: bool) {
        let text = self.text(document);
        self.read(&text, Some(document), valid);
    }

    fn read(&mut self, text: &[u8], tree: Option<&Tree>, valid: bool) {
        let reading = Reading {
            shape: self.shape,
            text,
            tree,
            valid,
            fault: self.fault.take(),
        };
        match self.kind {
            Kind::Routing => routing::read(&reading),
            Kind::Msix => msix::read(&reading),
            Kind::MsixRegisters => msix::read_registers(&reading),
            Kind::Msi => msi::read(&reading),
            Kind::MsiRegisters => msi::read_registers(&reading),
            Kind::Level => level::read(&reading),
            Kind::Dump => dump::read(&reading),
            Kind::Layout => layout::read(&reading),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Begin(kind, shape) => {
                let fault = self.fault;
                *self = Self::new(kind, shape);
                self.fault = fault;
                self.read_document(&self.document.clone(), true);
            }
            Step::Change(change) => {
                change.apply(&mut self.document);
                self.valid = false;
                self.read_document(&self.document.clone(), false);
            }
            Step::Try(change) => {
                let mut document = self.document.clone();
                change.apply(&mut document);
                self.read_document(&document, false);
            }
            Step::Cut(one, other) => {
                let mut text = self.text(&self.document);
                one.apply(&mut text);
                if let Some(other) = other {
                    other.apply(&mut text);
                }
                self.read(&text, None, false);
            }
            Step::Read(Raw(text)) => self.read(&text, None, false),
            Step::Fail(nth, memory) => {
                self.fault = Some((nth, memory));
                self.read_document(&self.document.clone(), self.valid);
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub enum Parse {}

impl History for Parse {
    type Step = Step;

    fn run(steps: &[Step]) {
        let before = open_fds().expect("procfs");
        let mut world = World::new(Kind::Routing, 0);
        for step in steps {
            world.run(step.clone());
        }
        assert_eq!(open_fds().expect("procfs"), before, "descriptors stay open");
    }
}
