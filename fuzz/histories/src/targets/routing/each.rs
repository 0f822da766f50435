// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Independent edits (`commit_each`): staged, kept for later, committed, and their outcomes.

use irq_routing::{EditOutcome, MessageEdit, MsiMessage, Route};

use super::kernel::EINVAL;
use super::model::{Model, breaks_rule, is_bad};
use super::offer::{Offered, entries_of};
use super::round::{Part, Request};
use super::step::Item;
use super::why::Why;
use super::world::{World, message, pick};

/// The most ioctls of a search in one round.
const MOST_TABLES: usize = 16;

/// How many staged edits are kept for later.
const KEPT: usize = 8;

/// An edit in the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct EachEdit {
    pub(super) gsi: u32,
    /// The key of its lease.
    pub(super) key: u64,
    /// How many edits were staged under the lease, including this one.
    number: u64,
    message: MsiMessage,
    owner: u64,
}

/// The outcome of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Committed,
    Blocked,
    Superseded,
    NotTried,
    Failed(Why),
    Panicked,
}

impl From<EditOutcome> for Reply {
    fn from(outcome: EditOutcome) -> Self {
        match outcome {
            EditOutcome::Committed => Self::Committed,
            EditOutcome::Blocked => Self::Blocked,
            EditOutcome::Superseded => Self::Superseded,
            EditOutcome::NotTried => Self::NotTried,
            EditOutcome::Failed(error) => Self::Failed(Why::from(&*error)),
            EditOutcome::Panicked => Self::Panicked,
            other => panic!("{other:?}"),
        }
    }
}

impl EachEdit {
    pub(super) fn route(&self) -> Route {
        Route::Msi(self.message)
    }
}

impl World {
    /// Stages an edit, and also keeps it for later.
    pub(super) fn stage_each(&mut self, table: usize, item: &Item) {
        let Item::New(lease, number, owner) = *item else {
            return;
        };
        let Some((lease, key)) = self.lease(table, lease) else {
            return;
        };
        let message = message(number);
        let (edit, gsi) = (lease.edit(message), lease.gsi().number());
        let number = self.staged.entry(key).or_default();
        *number += 1;
        let owner = u64::from(owner % 3);
        let known = EachEdit {
            gsi,
            key,
            number: *number,
            message,
            owner,
        };
        if self.kept.len() == KEPT {
            let _ = self.kept.remove(0);
        }
        self.kept.push((edit.owned_by(owner), known));
    }

    /// An edit for each lease of a table.
    pub(super) fn flood(&self, table: usize, bad: u16, number: u8) -> Vec<Item> {
        let leases = self.models[table].leased().count() as u8;
        let item = |at: u8| {
            let message = match bad >> at & 1 {
                0 => number % 12,
                _ => 0xff,
            };
            Item::New(at, message, at / (1 + number / 0x40))
        };
        (0..leases).map(item).collect()
    }

    /// The edits of a request: new ones, and those kept from before.
    pub(super) fn edits_each(
        &mut self,
        table: usize,
        items: &[Item],
    ) -> (Vec<MessageEdit>, Vec<EachEdit>) {
        let mut edits = Vec::new();
        for item in items {
            self.stage_each(table, item);
            let at = match *item {
                Item::New(..) => self.kept.len().checked_sub(1),
                Item::Kept(number) => pick(number, self.kept.len()),
            };
            edits.extend(at.map(|at| self.kept[at]));
        }
        edits.into_iter().unzip()
    }
}

impl Model {
    /// Which edits shall be tried; the others have a reply.
    pub(super) fn prepare_each(&mut self, edits: &[EachEdit]) -> Vec<Option<Reply>> {
        let mut replies = vec![None; edits.len()];
        let last = |edit: &EachEdit| {
            let others = edits.iter().filter(|other| other.key == edit.key);
            others.map(|other| other.number).max()
        };
        for (at, edit) in edits.iter().enumerate() {
            let gsi = edit.gsi;
            let newest = self.newest.get(&edit.key).copied().max(last(edit));
            // If an edit occurs twice, the second one counts.
            let again = edits[at + 1..]
                .iter()
                .any(|other| other.key == edit.key && other.number == edit.number);
            replies[at] = if gsi >= self.limit {
                Some(Reply::Failed(Why::OutOfRange(gsi)))
            } else if !self.slot(gsi).of.is_lease(edit.key) {
                Some(Reply::Failed(Why::NotLeased(gsi)))
            } else if Some(edit.number) < newest || again {
                Some(Reply::Superseded)
            } else {
                None
            };
        }
        for (edit, reply) in edits.iter().zip(&replies) {
            if !matches!(reply, Some(Reply::Failed(_))) {
                let newest = self.newest.entry(edit.key).or_default();
                *newest = edit.number.max(*newest);
            }
        }
        replies
    }

    /// Offers the open edits of a part in groups, and halves a group that is refused.
    pub(super) fn search_each(&mut self, part: &mut Part<'_>, why: Offered) {
        let Request::Each(edits) = part.request else {
            panic!("{:?}", part.request);
        };
        let owner = |at: usize| edits[at].owner;
        let mut groups: Vec<(Vec<usize>, Offered)> = vec![((0..edits.len()).collect(), why)];
        let mut only_content = true;
        loop {
            // Those of several owners first, then the last one.
            let mixed = |group: &[usize]| group.iter().any(|at| owner(*at) != owner(group[0]));
            let chosen = groups.iter().rev().position(|(group, _)| mixed(group));
            let Some(last) = groups.len().checked_sub(1) else {
                break;
            };
            let (group, why) = groups.remove(last - chosen.unwrap_or(0));
            only_content &= why.by_content;
            let open: Vec<usize> = group
                .iter()
                .copied()
                .filter(|at| part.is_open(*at))
                .collect();
            if open.len() <= 1 || !why.is_of_one() {
                let reply = match why.why {
                    Why::Panic => Reply::Panicked,
                    why => Reply::Failed(why),
                };
                open.iter()
                    .for_each(|at| part.replies[*at] = Some(reply.clone()));
                continue;
            }
            if let Why::Full(count) = why.why {
                let excess = count as isize - self.limit as isize;
                let Some(end) = self.room_for(part, &group, excess) else {
                    self.fail_without_room(part, &group, count);
                    groups.extend(self.try_group(part, group));
                    continue;
                };
                let [front, rest] = [group[..end].to_vec(), group[end..].to_vec()];
                let tried = [front, rest].map(|half| self.try_group(part, half));
                groups.extend(tried.into_iter().rev().flatten());
                continue;
            }
            let middle = group.len() / 2;
            let borders = (1..group.len()).filter(|at| owner(group[*at]) != owner(group[*at - 1]));
            let border = borders
                .min_by_key(|at| (at.abs_diff(middle), *at))
                .unwrap_or(middle);
            let halves = [group[..border].to_vec(), group[border..].to_vec()];
            let is_empty = |half: &[usize]| !half.iter().any(|at| open.contains(at));
            if let Some(closed) = halves.iter().position(|half| is_empty(half)) {
                groups.push((halves[1 - closed].clone(), why));
                continue;
            }
            let tried = halves.map(|half| self.try_group(part, half));
            groups.extend(tried.into_iter().rev().flatten());
        }
        if only_content {
            self.check_found(part);
        }
    }

    /// Offers the open edits of a group. Returns the group if they are refused.
    fn try_group(
        &mut self,
        part: &mut Part<'_>,
        group: Vec<usize>,
    ) -> Option<(Vec<usize>, Offered)> {
        let open = group.iter().copied().filter(|at| part.is_open(*at));
        let open: Vec<usize> = open.collect();
        if open.is_empty() {
            return None;
        }
        if self.tables >= MOST_TABLES {
            let replies = open.iter();
            replies.for_each(|at| part.replies[*at] = Some(Reply::NotTried));
            return None;
        }
        let given: Vec<_> = open.iter().map(|at| part.given[*at]).collect();
        match self.offer(&[part.request], &given) {
            Ok(()) => part.succeed_with(&open),
            Err(why) => return Some((group, why)),
        }
        None
    }

    /// How many entries an edit adds to the table.
    fn growth(&self, part: &Part<'_>, at: usize) -> isize {
        let (gsi, route) = part.given[at];
        let after = route.iter().map(entries_of).sum::<isize>();
        after - self.wanted.get(&gsi).map_or(0, entries_of)
    }

    /// The first of a group for which there is no room, if there is room for any.
    fn room_for(&self, part: &Part<'_>, group: &[usize], excess: isize) -> Option<usize> {
        let open = |end: usize| group[..end].iter().filter(|at| part.is_open(**at));
        let need = |end| open(end).map(|at| self.growth(part, *at)).sum::<isize>();
        let room = need(group.len()) - excess;
        let mut ends = 1..=group.len();
        (room > 0).then(|| ends.find(|end| need(*end) > room).expect("too many") - 1)
    }

    fn fail_without_room(&self, part: &mut Part<'_>, group: &[usize], count: usize) {
        let open = group.iter().copied().filter(|at| part.is_open(*at));
        let (growing, others): (Vec<_>, Vec<_>) = open.partition(|at| self.growth(part, *at) > 0);
        let given_up: isize = others.iter().map(|at| -self.growth(part, *at)).sum();
        for at in growing.into_iter().skip(given_up as usize) {
            part.replies[at] = Some(Reply::Failed(Why::Full(count)));
        }
    }

    /// The search has found the refused edits, or has stopped early.
    fn check_found(&self, part: &Part<'_>) {
        for ((_, route), reply) in part.given.iter().zip(&part.replies) {
            let refused = matches!(reply, Some(Reply::Failed(Why::Refused { .. })));
            let is_bad = route.as_ref().is_some_and(is_bad);
            match reply {
                Some(Reply::Committed | Reply::Blocked) => assert!(!is_bad),
                Some(Reply::Failed(Why::Refused { edits: 1, .. })) => assert!(is_bad),
                Some(Reply::NotTried) => assert!(self.tables >= MOST_TABLES),
                _ => assert!(!refused, "refused with others"),
            }
        }
    }

    /// Fails without an ioctl: the table knows that the kernel refuses such messages.
    pub(super) fn refuse_broken_rules(part: &mut Part<'_>) {
        for at in 0..part.given.len() {
            let (gsi, route) = part.given[at];
            if part.is_open(at) && route.as_ref().is_some_and(breaks_rule) {
                part.replies[at] = Some(Reply::Failed(Why::Refused {
                    edits: 1,
                    first: Some(gsi),
                    errno: EINVAL,
                }));
            }
        }
    }
}

impl Part<'_> {
    /// Whether an edit is still to be tried. Edits of a transaction always are.
    pub(super) fn is_open(&self, at: usize) -> bool {
        self.replies.get(at).is_none_or(Option::is_none)
    }

    /// The edits that are to be tried.
    pub(super) fn open(&self) -> Vec<(u32, Option<Route>)> {
        let open = (0..self.given.len()).filter(|at| self.is_open(*at) && !self.held.contains(at));
        open.map(|at| self.given[at]).collect()
    }

    fn succeed_with(&mut self, edits: &[usize]) {
        for at in edits {
            self.replies[*at] = Some(match self.given[*at].1 {
                Some(_) => Reply::Committed,
                None => Reply::Blocked,
            });
        }
    }

    /// The kernel has all that it was given.
    pub(super) fn succeed(&mut self) {
        let open: Vec<usize> = (0..self.replies.len())
            .filter(|at| self.is_open(*at))
            .collect();
        self.succeed_with(&open);
    }
}
