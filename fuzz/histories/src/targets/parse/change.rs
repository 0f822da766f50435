// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Change`]: a change of a document that leaves its syntax as it is, and [`Cut`]: one of its text.

use arbitrary::Arbitrary;

use super::tree::Tree;

/// A change of one node, which is a number modulo the number of nodes.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Change {
    /// Another number: from a list of limits and their neighbours.
    Number(u16, u8),
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

/// Where limits are, and next to them.
const NUMBERS: [&str; 60] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "8",
    "9",
    "15",
    "16",
    "17",
    "23",
    "24",
    "25",
    "31",
    "32",
    "33",
    "63",
    "64",
    "65",
    "80",
    "127",
    "128",
    "129",
    "255",
    "256",
    "511",
    "512",
    "987",
    "988",
    "1023",
    "1024",
    "2047",
    "2048",
    "2049",
    "4095",
    "4096",
    "4097",
    "65535",
    "65536",
    "1048576",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "4276092928",
    "4276092929",
    "4276094976",
    "4274585600",
    "1099511627776",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551612",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "1.5",
    "1e999",
];

/// What may be found in place of anything.
const OTHERS: [&str; 44] = [
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "\"\"",
    "\"pins\"",
    "\"msi\"",
    "\"hv-sint\"",
    "\"gic\"",
    "\"aplic\"",
    "\"io-apic\"",
    "\"pic-master\"",
    "\"pic-slave\"",
    "\"x86\"",
    "\"x86-split\"",
    "\"arm64-gic\"",
    "\"riscv64-aia\"",
    "\"version\"",
    "\"\\u0000\"",
    "\"\\n\"",
    "\"\\ud83d\\ude00\"",
    "{\"pins\":[]}",
    "{\"pins\":[{\"chip\":\"gic\",\"pin\":0}]}",
    "{\"hv-sint\":{\"vcpu\":0,\"sint\":2}}",
    "{\"xen-evtchn\":{\"port\":1,\"vcpu\":0,\"priority\":2}}",
    "[0,false,null,null]",
    "[0,0,true]",
    "[[[[[[[[0]]]]]]]]",
    "{\"version\":3}",
    "\"",
    "{",
    "}",
    "]",
    ",",
    ":",
    "\\",
    "#",
    "=",
    "-1",
    "0x",
    "chip:",
    "\u{feff}",
    "\u{0}",
];

/// A document does not become longer than this by a change.
const LONGEST: usize = 1 << 14;

impl Change {
    pub(super) fn apply(self, document: &mut Tree) {
        let nodes = document.nodes();
        let index = |number: u16| usize::from(number) % nodes;
        match self {
            Self::Number(at, which) => {
                let number = NUMBERS[usize::from(which) % NUMBERS.len()];
                put(document, index(at), Tree::Atom(number.to_owned()));
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
