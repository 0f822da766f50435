// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Tree`]: a document that can be changed anywhere, also to what no serialiser writes: fields in
//! any order, twice, or without their names.

use std::fmt::Write;

use serde_json::Value;

/// A document.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    /// A number, a string or a word, as it is written.
    Atom(String),
    List(Vec<Tree>),
    /// A field without a name is a bare word in a line of a dump.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    pub(super) fn number(number: impl Into<i128>) -> Self {
        Self::Atom(number.into().to_string())
    }

    pub(super) fn list<T: Copy + Into<i128>>(numbers: &[T]) -> Self {
        Self::List(numbers.iter().map(|number| Self::number(*number)).collect())
    }

    pub(super) fn map<const N: usize>(fields: [(&str, Tree); N]) -> Self {
        let fields = fields.into_iter();
        Self::Map(fields.map(|(name, tree)| (name.to_owned(), tree)).collect())
    }

    /// The fields of a map are sorted, but for the version, which is the first one.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Array(list) => Self::List(list.iter().map(Self::of).collect()),
            Value::Object(map) => {
                let mut fields: Vec<_> = map.iter().collect();
                fields.sort_by_key(|(name, _)| *name != "version");
                let fields = fields.into_iter();
                Self::Map(
                    fields
                        .map(|(name, it)| (name.clone(), Self::of(it)))
                        .collect(),
                )
            }
            atom => Self::Atom(atom.to_string()),
        }
    }

    pub(super) fn json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text);
        text
    }

    fn write_json(&self, text: &mut String) {
        match self {
            Self::Atom(atom) => text.push_str(atom),
            Self::List(list) => {
                text.push('[');
                for (n, tree) in list.iter().enumerate() {
                    text.push_str(if n == 0 { "" } else { "," });
                    tree.write_json(text);
                }
                text.push(']');
            }
            Self::Map(fields) => {
                text.push('{');
                for (n, (name, tree)) in fields.iter().enumerate() {
                    let comma = if n == 0 { "" } else { "," };
                    let _ = write!(text, "{comma}\"{name}\":");
                    tree.write_json(text);
                }
                text.push('}');
            }
        }
    }

    /// The lines of a routing dump: a map is a line of words, a list is a row of pins.
    pub(super) fn lines(&self) -> String {
        match self {
            Self::Atom(atom) => atom.clone(),
            Self::List(lines) => lines.iter().map(|line| line.line() + "\n").collect(),
            Self::Map(_) => self.line(),
        }
    }

    fn line(&self) -> String {
        let words: Vec<String> = match self {
            Self::Atom(atom) => return atom.clone(),
            Self::List(row) => {
                let cells: Vec<_> = row.iter().map(Self::line).collect();
                return format!("{{{}}}", cells.join(", "));
            }
            Self::Map(words) => words
                .iter()
                .map(|(name, word)| match name.as_str() {
                    "" => word.line(),
                    name => format!("{name}={}", word.line()),
                })
                .collect(),
        };
        words.join(" ")
    }

    /// How many nodes it has.
    pub(super) fn nodes(&self) -> usize {
        1 + self.children().map(Self::nodes).sum::<usize>()
    }

    fn children(&self) -> Box<dyn Iterator<Item = &Tree> + '_> {
        match self {
            Self::Atom(_) => Box::new(std::iter::empty()),
            Self::List(list) => Box::new(list.iter()),
            Self::Map(fields) => Box::new(fields.iter().map(|(_, tree)| tree)),
        }
    }

    fn children_mut(&mut self) -> Box<dyn Iterator<Item = &mut Tree> + '_> {
        match self {
            Self::Atom(_) => Box::new(std::iter::empty()),
            Self::List(list) => Box::new(list.iter_mut()),
            Self::Map(fields) => Box::new(fields.iter_mut().map(|(_, tree)| tree)),
        }
    }

    /// The node of this number, in the order of the text.
    pub(super) fn node(&mut self, number: usize) -> Option<&mut Tree> {
        let Some(mut number) = number.checked_sub(1) else {
            return Some(self);
        };
        for child in self.children_mut() {
            let nodes = child.nodes();
            if number < nodes {
                return child.node(number);
            }
            number -= nodes;
        }
        None
    }

    /// The node whose child has this number, and which child it is.
    pub(super) fn parent(&mut self, number: usize) -> Option<(&mut Tree, usize)> {
        let mut number = number.checked_sub(1)?;
        let nodes: Vec<usize> = self.children().map(Self::nodes).collect();
        for (index, nodes) in nodes.into_iter().enumerate() {
            if number == 0 {
                return Some((self, index));
            }
            if number < nodes {
                return self.children_mut().nth(index)?.parent(number);
            }
            number -= nodes;
        }
        None
    }

    /// The field of this name.
    pub(super) fn field(&self, wanted: &str) -> Option<&Tree> {
        let Self::Map(fields) = self else {
            return None;
        };
        let found = fields.iter().find(|(name, _)| name == wanted);
        found.map(|(_, tree)| tree)
    }

    /// The number that it is, cut to 64 bits; 0 for anything else.
    pub(super) fn as_u64(&self) -> u64 {
        match self {
            Self::Atom(atom) => atom.parse::<i128>().unwrap_or(0) as u64,
            _ => 0,
        }
    }

    /// The numbers of a list.
    pub(super) fn as_numbers(&self) -> Vec<u64> {
        self.children().map(Self::as_u64).collect()
    }
}
