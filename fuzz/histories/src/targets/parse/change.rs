// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Change`]: a change of a document that leaves its syntax as it is, and [`Cut`]: one of its
//! text.

use arbitrary::Arbitrary;

use super::tree::Tree;
use super::values::{NUMBERS, OTHERS, STRINGS};

/// A change of one node, which a number selects.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Change {
    /// Another value of the same type; a number is a limit, or next to one.
    Alike(u16, u8),
    /// Adds to a number.
    Add(u16, i8),
    /// Inverts a bit of a number.
    Bit(u16, u8),
    /// Something else: a word, a list, a map.
    Other(u16, u8),
    /// Removes it.
    Remove(u16),
    /// Repeats it: so many powers of two.
    Repeat(u16, u8),
    /// Exchanges two.
    Swap(u16, u16),
    /// Puts a copy of the first in the place of the second.
    Copy(u16, u16),
    /// Moves it to the end of its list, or to the front.
    Move(u16, bool),
    /// Gives its field another name: that of another field, or none that is known.
    Rename(u16, u8),
    /// Leaves out the names of its fields.
    Places(u16),
}

/// A change of a text.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Cut {
    /// Ends the text there.
    End(u16),
    /// Removes so many bytes.
    Delete(u16, u8),
    /// Inserts a word, a list, a map.
    Insert(u16, u8),
    /// Inverts a bit.
    Bit(u16, u8),
}

/// A document does not become longer than this by a change.
const LONGEST: usize = 1 << 14;

impl Change {
    pub(super) fn apply(self, document: &mut Tree) {
        let nodes = document.nodes();
        let index = |number: u16| place(number, nodes);
        match self {
            Self::Alike(at, which) => {
                // The next one that has a value.
                let mut rest = index(at)..nodes;
                let at = rest.find(|at| matches!(document.node(*at), Some(Tree::Atom(_))));
                if let Some(Tree::Atom(atom)) = at.and_then(|at| document.node(at)) {
                    let one = |list: &[&str]| list[usize::from(which) % list.len()].to_owned();
                    *atom = match atom.as_bytes().first() {
                        Some(b'"') => one(&STRINGS),
                        Some(b't') => "false".to_owned(),
                        Some(b'f') => "true".to_owned(),
                        Some(b'n') => one(&OTHERS),
                        _ => one(&NUMBERS),
                    };
                }
            }
            Self::Other(at, which) => {
                let other = OTHERS[usize::from(which) % OTHERS.len()];
                put(document, index(at), Tree::Atom(other.to_owned()));
            }
            Self::Add(at, add) => edit(document, index(at), |number| number + i128::from(add)),
            Self::Bit(at, bit) => edit(document, index(at), |number| number ^ 1 << (bit % 65)),
            Self::Remove(at) => match document.parent(index(at)) {
                Some((Tree::List(list), at)) => drop(list.remove(at)),
                Some((Tree::Map(fields), at)) => drop(fields.remove(at)),
                _ => {}
            },
            Self::Repeat(at, powers) => repeat(document, index(at), 1 << (powers % 13)),
            Self::Swap(one, other) => {
                let (one, other) = (index(one).min(index(other)), index(one).max(index(other)));
                let (Some(a), Some(b)) = (copy(document, one), copy(document, other)) else {
                    return;
                };
                // The second comes first, since it may be within the first.
                put(document, other, a);
                put(document, one, b);
            }
            Self::Copy(from, to) => {
                if let Some(tree) = copy(document, index(from)) {
                    put(document, index(to), tree);
                }
            }
            Self::Move(at, to_front) => {
                fn step<T>(list: &mut Vec<T>, at: usize, to_front: bool) {
                    let moved = list.remove(at);
                    list.insert(if to_front { 0 } else { list.len() }, moved);
                }
                match document.parent(index(at)) {
                    Some((Tree::List(list), at)) => step(list, at, to_front),
                    Some((Tree::Map(fields), at)) => step(fields, at, to_front),
                    _ => {}
                }
            }
            Self::Rename(at, other) => {
                if let Some((Tree::Map(fields), at)) = document.parent(index(at)) {
                    let other = usize::from(other) % (fields.len() + 1);
                    let name = fields.get(other).map_or("none", |(name, _)| name.as_str());
                    fields[at].0 = name.to_owned();
                }
            }
            Self::Places(at) => {
                if let Some(tree) = document.node(index(at))
                    && let Tree::Map(fields) = tree
                {
                    *tree = Tree::List(fields.drain(..).map(|(_, tree)| tree).collect());
                }
            }
        }
    }
}

/// Which of so many nodes: half of the time one of the first or of the last, where the fields are
/// that count for all.
fn place(number: u16, nodes: usize) -> usize {
    let some = usize::from(number / 4);
    match number % 4 {
        0 => some % nodes.min(8),
        1 => nodes - 1 - some % nodes.min(8),
        _ => some % nodes,
    }
}

fn copy(document: &mut Tree, at: usize) -> Option<Tree> {
    let short = document.nodes() < LONGEST;
    document.node(at).filter(|_| short).map(|node| node.clone())
}

fn put(document: &mut Tree, at: usize, tree: Tree) {
    if let Some(place) = document.node(at) {
        *place = tree;
    }
}

fn edit(document: &mut Tree, at: usize, change: impl FnOnce(i128) -> i128) {
    let Some(Tree::Atom(atom)) = document.node(at) else {
        return;
    };
    match (atom.as_str(), atom.strip_prefix("0x")) {
        ("true", _) => "false".clone_into(atom),
        ("false", _) => "true".clone_into(atom),
        (_, Some(digits)) => {
            if let Ok(number) = i128::from_str_radix(digits, 16) {
                *atom = format!("{:#x}", change(number));
            }
        }
        (digits, None) => {
            if let Ok(number) = digits.parse() {
                *atom = change(number).to_string();
            }
        }
    }
}

fn repeat(document: &mut Tree, at: usize, times: usize) {
    if document.nodes() + times * copy(document, at).map_or(1, |node| node.nodes()) > LONGEST {
        return;
    }
    match document.parent(at) {
        Some((Tree::List(list), at)) => {
            let copies = vec![list[at].clone(); times];
            list.splice(at..at, copies);
        }
        Some((Tree::Map(fields), at)) => {
            let copies = vec![fields[at].clone(); times];
            fields.splice(at..at, copies);
        }
        _ => {}
    }
}

impl Cut {
    pub(super) fn apply(self, text: &mut Vec<u8>) {
        let len = text.len();
        let index = |number: u16| usize::from(number) % (len + 1);
        match self {
            Self::End(at) => text.truncate(index(at)),
            Self::Delete(at, bytes) => {
                let at = index(at);
                text.drain(at..(at + usize::from(bytes)).min(len));
            }
            Self::Insert(at, which) => {
                let at = index(at);
                let other = OTHERS[usize::from(which) % OTHERS.len()];
                text.splice(at..at, other.bytes());
            }
            Self::Bit(at, bit) => {
                if let Some(byte) = text.get_mut(index(at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }
}
