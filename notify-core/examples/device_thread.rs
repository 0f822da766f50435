// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A queue whose device has a thread of its own: a handler, a pause for a snapshot, and the end.
//!
//! ```sh
//! cargo run -p notify-core --features dispatcher --example device_thread
//! ```
//!
//! Here the program itself signals the host notifier. In a VMM KVM does so when the guest writes
//! the queue's doorbell; the crate `ioeventfd` sets that up, and `irqfd` does the same for the
//! guest notifier.

use std::error::Error;
use std::sync::Arc;
use std::thread;

use notify_core::NotifierPair;
use notify_core::dispatcher::Dispatcher;

fn main() -> Result<(), Box<dyn Error>> {
    let queue = NotifierPair::new()?;
    let (kick, call) = (&queue.host_notifier, &queue.guest_notifier);

    let dispatcher = Dispatcher::new()?;
    let handle = dispatcher.handle();
    let to_guest = Arc::clone(call);
    let token = handle.add(Arc::clone(kick), move |kicks| {
        println!("device: {kicks} kick(s), so it looks at the ring");
        to_guest.notify()?;
        Ok(())
    })?;
    let device = thread::spawn(move || dispatcher.run());

    kick.notify()?;
    call.wait(None)?; // the interrupt

    // After `pause` the handler does not run, and kicks stay in the notifier, as a snapshot needs.
    handle.pause(token)?;
    kick.notify()?;
    assert!(!call.is_signalled()?);
    handle.resume(token)?;
    call.wait(None)?;

    // `remove` returns the kicks that the handler has not seen.
    assert_eq!(handle.remove(token)?, None);
    handle.stop()?;
    device
        .join()
        .map_err(|_| "the device's thread panicked")??;
    Ok(())
}
