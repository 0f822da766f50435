// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lists what a crate makes public, one item a line, from the JSON that rustdoc writes:
//! `public-items CRATE.json OTHER.json... >LIST`. The standard error gets a line with the numbers.
//!
//! An impl of a trait is listed without its functions, which the trait decides. Derived impls are
//! one line for each type. `Send` and `Sync` are listed where a type lacks them; blanket impls and
//! other auto traits are left out. Types of the other crates have their public paths, not those of
//! the private modules that define them.
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;

use public_api::{Builder, PublicApi, PublicItem};
use rustdoc_types::{Attribute, Crate, Id, Impl, Item, ItemEnum};

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let path = paths
        .next()
        .ok_or("usage: public-items CRATE.json OTHER.json...")?;
    let (json, api) = read(&path)?;
    let mut moved = Vec::new();
    for other in paths {
        moved.append(&mut public_paths(&other)?);
    }
    let print = |text: &dyn ToString| {
        let text = text.to_string();
        println!(
            "{}",
            moved
                .iter()
                .fold(text, |text, (from, to)| replace(&text, from, to))
        );
    };

    let item = |id: Id| {
        json.index
            .get(&id)
            .ok_or_else(|| format!("{path} has no item {id:?}"))
    };
    let mut derived = BTreeMap::<String, Vec<&str>>::new();
    for public in api.items() {
        if let Some((name, of)) = derived_impl(public, item(public.id())?) {
            derived.entry(of).or_default().push(name);
        }
    }
    let mut count = Count::default();
    let mut own = Vec::new();
    for public in api.items() {
        let this = item(public.id())?;
        let parent = match public.parent_id().map(item).transpose()? {
            Some(Item {
                inner: ItemEnum::Impl(parent),
                ..
            }) => Some(parent),
            _ => None,
        };
        let of_trait = parent.is_some_and(|parent| parent.trait_.is_some());
        match &this.inner {
            // A method is the same in whichever impl block of its type it stands.
            ItemEnum::Impl(Impl { trait_: None, .. }) => continue,
            inner if parent.is_some() && !of_trait => {
                count.add(inner);
                own.push(public.to_string());
                continue;
            }
            _ => {}
        }
        own.sort_unstable();
        own.drain(..).for_each(|item| print(&item));
        match &this.inner {
            ItemEnum::Impl(Impl {
                trait_: Some(name),
                is_synthetic: true,
                is_negative,
                ..
            }) => {
                if *is_negative && matches!(name.path.as_str(), "Send" | "Sync") {
                    print(public);
                }
            }
            ItemEnum::Impl(_) => match derived_impl(public, this) {
                None => print(public),
                // All of the type, in place of the first.
                Some((_, of)) => {
                    if let Some(mut names) = derived.remove(&of) {
                        names.retain(|name| *name != "StructuralPartialEq");
                        names.sort_unstable();
                        print(&format!("derived for {of}: {}", names.join(", ")));
                    }
                }
            },
            ItemEnum::Function(_) if of_trait => {}
            _ if of_trait => print(public),
            inner => {
                if !is_page(&json, inner) {
                    count.add(inner);
                }
                print(public);
            }
        }
    }
    own.sort_unstable();
    own.drain(..).for_each(|item| print(&item));
    eprintln!("{count}");
    Ok(())
}

fn read(path: &str) -> Result<(Crate, PublicApi), Box<dyn Error>> {
    let json = serde_json::from_reader(BufReader::new(File::open(path)?))?;
    Ok((
        json,
        Builder::from_rustdoc_json(path)
            .omit_blanket_impls(true)
            .build()?,
    ))
}

/// Returns where each type and trait of a crate is defined, and under which path it is public.
fn public_paths(path: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let (json, api) = read(path)?;
    let mut paths = Vec::new();
    for public in api.items() {
        let Some(defined) = json.paths.get(&public.id()) else {
            continue;
        };
        let (from, text) = (defined.path.join("::"), public.to_string());
        let to = text.split(['<', '(', ' ']).find(|word| word.contains("::"));
        if let Some(to) = to.map(|to| to.trim_end_matches(':'))
            && from != to
        {
            paths.push((from, to.to_owned()));
        }
    }
    Ok(paths)
}

/// Replaces whole paths, not the beginnings of longer names.
fn replace(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let longer = part.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        result += if longer { from } else { to };
        result += part;
    }
    result
}

/// Returns the trait and the type of an impl that `derive` has made.
fn derived_impl<'a>(public: &PublicItem, item: &'a Item) -> Option<(&'a str, String)> {
    let ItemEnum::Impl(Impl {
        trait_: Some(name), ..
    }) = &item.inner
    else {
        return None;
    };
    if !item.attrs.contains(&Attribute::AutomaticallyDerived) {
        return None;
    }
    let text = public.to_string();
    let (_, of) = text.split_once(" for ")?;
    Some((name.path.rsplit("::").next()?, of.to_owned()))
}

/// Whether it is a module of documentation alone, in which nothing can be named.
fn is_page(json: &Crate, item: &ItemEnum) -> bool {
    let ItemEnum::Module(module) = item else {
        return false;
    };
    let mut inside = module.items.iter().filter_map(|id| json.index.get(id));
    inside.all(|item| is_page(json, &item.inner))
}

/// How many items can be named.
#[derive(Default)]
struct Count {
    items: u32,
    variants: u32,
    fields: u32,
}

impl Count {
    fn add(&mut self, item: &ItemEnum) {
        match item {
            ItemEnum::Variant(_) => self.variants += 1,
            ItemEnum::StructField(_) => self.fields += 1,
            _ => self.items += 1,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            items,
            variants,
            fields,
        } = self;
        write!(f, "{items} items, {variants} variants and {fields} fields")
    }
}
