// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Suppresses the messages of panics in a history. Some panics are part of it, and the one that
//! ends it is printed once, when the history is short.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Until this is dropped, the messages of this thread's panics are kept and not printed.
pub(crate) struct Quiet(());

/// Starts to suppress messages.
pub(crate) fn begin() -> Quiet {
    static HOOK: Once = Once::new();

    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                return usual(info);
            }
            let payload = info.payload();
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            let place = info.location().map(ToString::to_string);
            let message = format!(
                "{} at {}",
                text.unwrap_or_default(),
                place.unwrap_or_default()
            );
            LAST.with_borrow_mut(|last| *last = message);
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    Quiet(())
}

/// The message and the place of the last panic.
pub(crate) fn last_message() -> String {
    LAST.with_borrow(Clone::clone)
}

impl Drop for Quiet {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
