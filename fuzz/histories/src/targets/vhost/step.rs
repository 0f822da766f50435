// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Step`]: the operations.

use arbitrary::Arbitrary;

pub use super::notifiers::Act;

/// Which back-end is started.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Which {
    /// The one that was stopped last, or that a failed start has returned.
    Same,
    /// A new one in this process.
    Local,
    /// A new vhost-user daemon; whether it confirms all requests (REPLY_ACK).
    Daemon(bool),
}

/// Which eventfd a ring gets.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Source {
    /// The one that it has.
    Keep,
    /// A new one.
    New,
    /// A new one in semaphore mode.
    Semaphore,
    /// Any other, also one that another ring or the errors have.
    Any(u8),
}

/// How a request to the back-end goes.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Fault {
    /// It is refused, and nothing has happened.
    Refused,
    /// It is carried out, and fails nevertheless.
    Late,
    /// A stop returns so many bases too few or too many.
    Bases(i8),
    /// The daemon's reply of this number is another one.
    Reply(u8, Reply),
}

/// The reply of a daemon that disobeys. Later ones follow as they should, if it says so, and then
/// the connection is closed.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Reply {
    /// What is wrong with it.
    pub wrong: Wrong,
    /// Whether others follow.
    pub continues: bool,
}

/// What is wrong with a reply.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Wrong {
    /// There is none.
    Missing,
    /// It ends after so many bytes.
    Short(u8),
    /// Its flags.
    Flags(u32),
    /// The request that it replies to.
    Request(u32),
    /// Its size.
    Size(u32),
    /// Its value, or that of a ring that was not asked for.
    Value(u64),
    /// It carries so many descriptors.
    Descriptors(u8),
    /// It comes twice.
    Twice,
    /// Other bytes follow.
    More(u64),
}

/// One operation.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    /// Starts a back-end.
    Start(Which),
    /// Stops it.
    Stop,
    /// Takes the rings from it.
    Abandon,
    /// Sets kick and call of a ring.
    SetPair(u8, Source, Source),
    /// Reads the errors.
    Failed,
    /// Makes new rings, so many, perhaps with the pairs that these had; drops the old ones.
    Renew(u8, bool),
    /// The guest adds a buffer, and kicks unless the device has suppressed that.
    Add(u8),
    /// The device looks at the ring if it was kicked.
    Serve(u8),
    /// The device suppresses kicks, or allows them again and looks at the ring.
    Suppress(u8, bool),
    /// The device reports an error of the ring.
    Break(u8),
    /// A process with an eventfd does something.
    Act(Act),
    /// A fault at one of the next requests to the back-end.
    Fail(u8, Fault),
    /// An act at one of the next requests.
    During(u8, Act),
}
