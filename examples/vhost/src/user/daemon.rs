// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The daemon: a process with the device, which serves one connection and ends with it.

use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use crate::ring::SIZE;
use nix::sys::signal::{Signal, raise};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{
    Error as DaemonError, VhostUserBackendMut, VhostUserDaemon, VringRwLock, VringT,
};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use super::echo::{Rings, Step};

/// VIRTIO_F_VERSION_1.
pub(crate) const VERSION_1: u64 = 1 << 32;

/// Serves the listening socket that is this process's standard input. If `last_moment` is not 0,
/// the daemon kills itself at the moment of that number.
///
/// # Errors
///
/// Those of the socket and of the VMM at its other end.
pub fn run(last_moment: u32) -> Result<(), Box<dyn Error>> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let mut listener = Listener::from(UnixListener::from(socket));
    let backend = Arc::new(Mutex::new(Device {
        memory: None,
        left: last_moment,
    }));
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let daemon = VhostUserDaemon::new("vhost_user".to_owned(), backend, memory);
    let mut daemon = daemon.map_err(|error| error.to_string())?;
    daemon
        .start(&mut listener)
        .map_err(|error| error.to_string())?;
    match daemon.wait() {
        // The VMM has closed the connection, which is the regular end of a daemon.
        Ok(())
        | Err(DaemonError::HandleRequest(
            ProtocolError::Disconnected | ProtocolError::PartialMessage,
        )) => Ok(()),
        Err(error) => Err(error.to_string().into()),
    }
}

struct Device {
    memory: Option<GuestMemoryAtomic<GuestMemoryMmap>>,
    /// How many moments the daemon has left; 0 if it must not die.
    left: u32,
}

impl Device {
    /// A moment at which a crash loses something that the rings do not show: a kick was read and no
    /// ring looked at, or a buffer was used and the guest not called.
    fn moment(&mut self) {
        if self.left == 1 {
            // This does not return.
            let _ = raise(Signal::SIGKILL);
        }
        self.left = self.left.saturating_sub(1);
    }

    /// Serves the rings as far as they go, if both are enabled.
    fn serve(&mut self, vrings: &[VringRwLock]) -> io::Result<()> {
        self.moment();
        let (Some(memory), [receive, transmit, ..]) = (&self.memory, vrings) else {
            return Ok(());
        };
        let memory = memory.memory();
        let (mut receive, mut transmit) = (receive.get_mut(), transmit.get_mut());
        let enabled = receive.is_enabled() && transmit.is_enabled();
        if !enabled || !receive.get_queue().ready() || !transmit.get_queue().ready() {
            return Ok(());
        }
        loop {
            let mut rings = Rings {
                memory: &memory,
                receive: receive.get_queue_mut(),
                transmit: transmit.get_queue_mut(),
            };
            let step = rings.step()?;
            self.moment();
            match step {
                Step::Wait => return Ok(()),
                Step::CallReceive => receive.signal_used_queue()?,
                Step::CallTransmit => transmit.signal_used_queue()?,
                Step::Continue => {}
            }
        }
    }
}

impl VhostUserBackendMut for Device {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        2
    }

    fn max_queue_size(&self) -> usize {
        SIZE.into()
    }

    fn features(&self) -> u64 {
        VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&mut self, _: bool) {}

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        self.memory = Some(memory);
        Ok(())
    }

    /// Without an exit event, the end of the connection would wait for the worker for ever.
    fn exit_event(&self, _: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::CLOEXEC).ok()
    }

    fn handle_event(
        &mut self,
        _: u16,
        _: EventSet,
        vrings: &[VringRwLock],
        _: usize,
    ) -> io::Result<()> {
        // After an error the worker ends silently, and the VMM sees that the traffic stalls.
        self.serve(vrings)
            .inspect_err(|error| eprintln!("vhost_user: the daemon gives up: {error}"))
    }
}
